package plan

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// relative is a package that may be in the closure of others.
type relative struct {
	tree      *record.Tree // for one of the command what it will be, but for its directory
	ofCommand bool
	m         *record.Manifest // read when it is asked for
	read      func() (*record.Manifest, error)
	bound     []*relative     // whose files its own load, of one of the command
	linkage   *record.Linkage // says what it leads to, in place of the manifest; nil where that has to

	closure []*relative // see familySet.closure
	leads   []*relative // see familySet.leadsTo
	known   bool        // leads is
	data    map[string]*record.File
	opened  map[string]bool // directories that its data stand in: see dataDir
	looks   []string        // see familySet.looksIn
}

// familySet finds the closures of packages, by what they are bound to and by their
// relations.
type familySet struct {
	orders pkginfo.Orders
	all    []*relative
	offers map[string][]*relative // by the name of a package or capability, or a path
	byPath map[string]*relative   // by the paths of their trees
	users  map[*relative][]*relative
	inDir  map[string][]*relative // see modules
	fault  error                  // of reading a manifest
}

func newFamilySet(orders pkginfo.Orders) *familySet {
	return &familySet{orders: orders, offers: map[string][]*relative{}, byPath: map[string]*relative{}}
}

func (s *familySet) add(r *relative) {
	s.all = append(s.all, r)
	s.offers[r.tree.Name] = append(s.offers[r.tree.Name], r)
	for _, c := range r.tree.Provides {
		if c.Name != r.tree.Name {
			s.offers[c.Name] = append(s.offers[c.Name], r)
		}
	}
	for _, l := range r.tree.Links {
		if strings.HasPrefix(l, "bin/") || strings.HasPrefix(l, "sbin/") {
			for _, name := range []string{"/" + l, "/usr/" + l} {
				s.offers[name] = append(s.offers[name], r)
			}
		}
	}
	if !r.ofCommand {
		s.byPath[r.tree.Path()] = r
	}
}

// addAll adds the packages of a generation that were installed beside the package manager.
func (s *familySet) addAll(g *record.Generation, manifest func(*record.Tree) (*record.Manifest, error)) {
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Origin != record.OriginSystem {
			s.add(&relative{tree: t, read: func() (*record.Manifest, error) { return manifest(t) }})
		}
	}
}

// manifest returns a package's manifest; an empty one, and the fault, when it cannot be
// read.
func (s *familySet) manifest(r *relative) *record.Manifest {
	if r.m != nil {
		return r.m
	}
	m, err := r.read()
	if err != nil {
		s.fault = cmp.Or(s.fault, err)
		m = &record.Manifest{Name: r.tree.Name, Version: r.tree.Version, Format: r.tree.Format}
	}
	r.m = m
	return m
}

func (s *familySet) manifests(list []*relative) []*record.Manifest {
	manifests := make([]*record.Manifest, len(list))
	for i, r := range list {
		manifests[i] = s.manifest(r)
	}
	return manifests
}

// leadsTo returns the packages that one needs: whose libraries its files load, and which
// answer its relations; those of them that it recommends, too.
func (s *familySet) leadsTo(r *relative) []*relative {
	if r.known {
		return r.leads
	}
	r.known = true
	add := func(o *relative) {
		if o != nil && o != r && !slices.Contains(r.leads, o) {
			r.leads = append(r.leads, o)
		}
	}
	bound := s.boundTo(r)
	for _, alternatives := range s.wants(r) {
		for _, of := range releasesOf(r.tree) {
			for _, want := range alternatives {
				if o := s.answering(r, of, want, bound); o != nil {
					add(o)
					break
				}
			}
		}
	}
	for _, o := range bound {
		add(o)
	}
	return r.leads
}

// boundTo returns the packages whose files a package's own load.
func (s *familySet) boundTo(r *relative) []*relative {
	if r.bound == nil {
		r.bound = []*relative{}
		known := func(tree string) bool { return s.byPath[tree] != nil }
		var leads []string
		if r.linkage != nil {
			leads = r.linkage.Leads
		} else {
			leads = graph.OfManifest(s.manifest(r), known)
		}
		for _, tree := range leads {
			if known(tree) {
				r.bound = append(r.bound, s.byPath[tree])
			}
		}
	}
	return r.bound
}

// releasesOf returns each of the releases that a tree came from, by itself.
func releasesOf(t *record.Tree) []*record.Named {
	all := []*record.Named{{Release: t.Release}}
	for _, other := range strings.Fields(t.Others) {
		all = append(all, &record.Named{Release: other})
	}
	return all
}

// answering returns the package that answers a relation of r, as one of a release; nil for
// none. One that r is bound to comes first, then one of that release, of the command, a default,
// and the highest version.
func (s *familySet) answering(r *relative, of *record.Named, want pkginfo.Constraint, bound []*relative) *relative {
	var best *relative
	rank := func(o *relative) int {
		n := 0
		for i, is := range []bool{o.tree.Default, o.ofCommand, o.tree.Shares(of), slices.Contains(bound, o)} {
			if is {
				n |= 1 << i
			}
		}
		return n
	}
	for _, o := range s.offering(want.Name) {
		t := o.tree
		if t.Format != r.tree.Format {
			continue
		}
		if !strings.HasPrefix(want.Name, "/") && !offers(s.orders, t.Format, t.Name, t.Version, t.Provides, want) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(rank(o), rank(best)), s.orders.Compare(t.Format, t.Version, best.tree.Version)) > 0 {
			best = o
		}
	}
	return best
}

// offering returns the packages, of any format, that have a name, provide it or, where it is a
// path, have that file. Commands are known without the packages' manifests.
func (s *familySet) offering(name string) []*relative {
	found, known := s.offers[name]
	dir := path.Base(path.Dir(name))
	if known || !strings.HasPrefix(name, "/") || dir == "bin" || dir == "sbin" {
		return found
	}
	at := layout.MergeUsr(strings.TrimPrefix(path.Clean(name), "/"))
	for _, o := range s.all {
		if s.manifest(o).Lookup(at) != nil {
			found = append(found, o)
		}
	}
	s.offers[name] = found
	return found
}

// closure returns what a package needs, itself first, then breadth first.
func (s *familySet) closure(r *relative) []*relative {
	if r.closure == nil {
		r.closure = s.reach([]*relative{r}, map[*relative]bool{})
	}
	return r.closure
}

func (s *familySet) reach(list []*relative, reached map[*relative]bool) []*relative {
	for _, r := range list {
		reached[r] = true
	}
	for i := 0; i < len(list); i++ {
		for _, o := range s.leadsTo(list[i]) {
			if !reached[o] && !s.isForOthers(o, list[i], list[0]) {
				reached[o] = true
				list = append(list, o)
			}
		}
	}
	return list
}

// isForOthers reports whether a package that r leads to is not for those of root's release: r
// came from several, and leads to another one of the same name for root's.
func (s *familySet) isForOthers(o, r, root *relative) bool {
	return r.tree.Others != "" && !o.tree.Shares(&root.tree.Named) && slices.ContainsFunc(s.leadsTo(r), func(other *relative) bool {
		return other.tree.Name == o.tree.Name && other.tree.Shares(&root.tree.Named)
	})
}

// family returns the closure of a package, and the packages that add to it, with what they
// need: those of its release that need it and bring modules or data into directories where
// the closure has its own, and those that have files where its programs look for modules.
func (s *familySet) family(r *relative) []*relative {
	reached := map[*relative]bool{}
	list := s.reach([]*relative{r}, reached)
	for _, o := range s.interpreters(r, list) {
		if !reached[o] {
			list = s.reach(append(list, o), reached)
		}
	}
	opened := map[string]bool{}
	for _, o := range list {
		for dir := range s.dirs(o) {
			opened[dir] = true
		}
	}
	for _, o := range s.tied(r, list) {
		for i := range s.manifest(o).Files {
			for _, name := range s.manifest(o).Files[i].Names { // where it looks, such as Perl's @INC
				opened[dataDir(layout.MergeUsr(strings.TrimPrefix(name, "/")+"/"))] = true
			}
		}
	}
	delete(opened, "")
	var adding []*relative
	asked := map[*relative]bool{}
	needing := s.needing(r)
	for _, o := range slices.Clone(needing) { // one that has nothing of its own may name what it is for
		needing = append(needing, s.leadsTo(o)...)
	}
	for _, core := range s.core(r) {
		for _, dir := range s.looksIn(core) {
			for _, o := range s.modules(r, dir) {
				if !asked[o] && !reached[o] {
					asked[o] = true
					adding = append(adding, o)
				}
			}
		}
	}
	if slices.ContainsFunc(list, s.links) { // what there is to be compiled with
		needing = append(needing, slices.DeleteFunc(slices.Clone(s.all), func(o *relative) bool { return !s.dirs(o)["include"] })...)
	}
	for _, o := range needing {
		if asked[o] || reached[o] || !o.tree.Shares(&r.tree.Named) {
			continue
		}
		asked[o] = true
		for dir := range s.dirs(o) {
			if opened[dir] {
				adding = append(adding, o)
				break
			}
		}
	}
	slices.SortFunc(adding, func(a, b *relative) int {
		return cmp.Or(strings.Compare(a.tree.Name, b.tree.Name), -s.orders.Compare(a.tree.Format, a.tree.Version, b.tree.Version), strings.Compare(a.tree.Dir, b.tree.Dir))
	})
	names := map[string]bool{}
	for _, o := range list {
		names[o.tree.Name] = true
	}
	for _, o := range adding {
		if !reached[o] && !names[o.tree.Name] { // one version of a package is enough
			names[o.tree.Name] = true
			list = s.reach(append(list, o), reached)
		}
	}
	return s.oneVersion(r, list)
}

// oneVersion leaves out packages of which another version is in a family of r: one of r's release
// stays, or else the first. The files of both are at the same paths.
func (s *familySet) oneVersion(r *relative, list []*relative) []*relative {
	key := func(o *relative) [2]string { return [2]string{o.tree.Name, s.manifest(o).Architecture} }
	best := map[[2]string]*relative{}
	for _, o := range list {
		if b := best[key(o)]; b == nil || !b.tree.Shares(&r.tree.Named) && o.tree.Shares(&r.tree.Named) {
			best[key(o)] = o
		}
	}
	best[key(r)] = r
	return slices.DeleteFunc(slices.Clone(list), func(o *relative) bool { return best[key(o)] != o })
}

// interpreters returns packages with the interpreters of a family's scripts that no relation leads
// to, since the root has them, and that are of its release, or found as defaults all the same: run
// from such a script in a view of their own, they would not have that one's files.
func (s *familySet) interpreters(r *relative, list []*relative) (found []*relative) {
	seen := map[string]bool{}
	for _, o := range list {
		for i := range s.manifest(o).Files {
			script := s.manifest(o).Files[i].Script
			if script == "" || seen[script] {
				continue
			}
			seen[script] = true
			var best *relative
			offering := s.offers["/"+layout.MergeUsr(strings.TrimPrefix(script, "/"))]
			if slices.ContainsFunc(offering, func(o *relative) bool { return slices.Contains(list, o) }) {
				continue
			}
			for _, o := range offering {
				shares := r.tree.Release != "" && o.tree.Shares(&r.tree.Named)
				if shares && (best == nil || o.tree.Default || !best.tree.Shares(&r.tree.Named)) || o.tree.Default && best == nil {
					best = o
				}
			}
			if best != nil && !view.IsLoaderFamily(s.manifest(best)) {
				found = append(found, best)
			}
		}
	}
	return found
}

// core returns the packages whose files are the programs of a package: itself, those that
// are tied to it by exact versions or that its commands lead to, and those whose libraries
// these load.
func (s *familySet) core(r *relative) []*relative {
	list := s.tied(r, s.closure(r))
	for _, f := range s.manifest(r).Files {
		if _, ok := commandDirs[path.Dir(f.Path)]; ok && f.Type == record.TypeSymlink {
			if _, o := s.foreign(r, f.Path); o != nil {
				list = append(list, o)
			}
		}
	}
	core := map[*relative]bool{}
	var all []*relative
	for len(list) > 0 {
		o := list[0]
		list = list[1:]
		if !core[o] {
			core[o] = true
			all = append(all, o)
			list = append(list, s.boundTo(o)...)
		}
	}
	return all
}

// foreign returns the file to which a path leads through links of any package of a
// closure, and its package.
func (s *familySet) foreign(r *relative, where string) (*record.File, *relative) {
	closure := s.closure(r)
	manifests := s.manifests(closure)
	f, m, _ := record.FollowIn(manifests, where)
	if f == nil {
		return nil, nil
	}
	return f, closure[slices.Index(manifests, m)]
}

// catalogs are the catalogs of XML and SGML, as Debian's policies have them: where the files
// stand that one lists, by the packages that register such files in it.
var catalogs = map[string]struct{ path, dir string }{
	"xml-core":  {"etc/xml/catalog", "usr/share/xml"},
	"sgml-base": {"etc/sgml/catalog", "usr/share/sgml"},
}

// looksIn returns the directories below /usr where a package's files may look for modules
// (see modules): those that they name, and those in which it has modules of its own. For one
// that reads a catalog, there is the directory of what it lists.
func (s *familySet) looksIn(r *relative) []string {
	if r.looks == nil {
		found := map[string]bool{}
		for i := range s.manifest(r).Files {
			f := &s.manifest(r).Files[i]
			for _, name := range f.Names {
				if dir := layout.MergeUsr(strings.TrimPrefix(name, "/")); isModuleDir(dir) {
					found[dir] = true
				}
				for _, c := range catalogs {
					if name == "/"+c.path {
						found[c.dir] = true
					}
				}
				if name == "/"+terminfo { // which libtinfo names among others
					found["usr/lib/terminfo"] = true
				}
			}
			if dir := path.Dir(f.Path); f.ELF != nil && f.ELF.HasDynamic && !f.ELF.IsProgram() && isModuleDir(dir) {
				found[dir] = true
			}
		}
		r.looks = append([]string{}, slices.Sorted(maps.Keys(found))...)
	}
	return r.looks
}

// modules returns the packages of r's release that have data in a directory or below it.
// There are none for one that is of no program in particular, such as usr/share/fonts or the
// directories of the loader.
func (s *familySet) modules(r *relative, dir string) []*relative {
	if s.inDir == nil {
		s.inDir = map[string][]*relative{}
		for _, o := range s.all {
			s.noteDirs(o)
		}
	}
	return slices.DeleteFunc(slices.Clone(s.inDir[dir]), func(o *relative) bool { return o == r || !o.tree.Shares(&r.tree.Named) })
}

// noteDirs notes the directories that a package has data in for modules.
func (s *familySet) noteDirs(o *relative) {
	m := s.manifest(o)
	if view.IsLoaderFamily(m) {
		return
	}
	for _, relation := range m.Requires {
		for _, c := range relation.Alternatives {
			if dir := catalogs[c.Name].dir; dir != "" && s.dataAt(o, dir) != nil && !slices.Contains(s.inDir[dir], o) {
				s.inDir[dir] = append(s.inDir[dir], o)
			}
		}
	}
	last := ""
	for i := range m.Files {
		f := &m.Files[i]
		dir := path.Dir(f.Path)
		if dir == last || !view.IsData(f) {
			continue
		}
		last = dir
		for ; isModuleDir(dir); dir = path.Dir(dir) {
			if list := s.inDir[dir]; len(list) == 0 || list[len(list)-1] != o {
				s.inDir[dir] = append(list, o)
			}
		}
	}
}

// terminfo is where descriptions of terminals stand, or in usr/lib/terminfo in older releases of
// Debian. All that reads them does so by libtinfo: terminfo(5).
const terminfo = "usr/share/terminfo"

// isModuleDir reports whether a directory is so deep that its name says whose it is.
func isModuleDir(dir string) bool {
	parts := strings.Split(dir, "/")
	if len(parts) < 3 || parts[0] != "usr" {
		return false
	}
	switch parts[1] {
	case "lib", "lib64", "lib32", "libexec":
		return len(parts) > 3 || !layout.IsTriplet(parts[2])
	case "share":
		return len(parts) > 3 || dir == terminfo
	}
	return false
}

// links reports whether a package has a linker.
func (s *familySet) links(r *relative) bool {
	return slices.ContainsFunc(s.manifest(r).Files, func(f record.File) bool { return f.Linker != "" })
}

// needing returns the packages whose closures have r.
func (s *familySet) needing(r *relative) []*relative {
	if s.users == nil {
		s.users = map[*relative][]*relative{}
		for _, o := range s.all {
			for _, to := range s.leadsTo(o) {
				s.users[to] = append(s.users[to], o)
			}
		}
	}
	found := map[*relative]bool{r: true}
	list := []*relative{r}
	for i := 0; i < len(list); i++ {
		for _, o := range s.users[list[i]] {
			if !found[o] {
				found[o] = true
				list = append(list, o)
			}
		}
	}
	return list[1:]
}

// dirs returns the directories that a package's data stand in: see dataDir.
func (s *familySet) dirs(r *relative) map[string]bool {
	s.index(r)
	return r.opened
}

// dataDir returns the name of the directory that a path leads through below usr/share,
// usr/lib or a multi-arch directory of that, such as vim of usr/share/vim/x: what is called
// like that is of one program. It is "" for none.
func dataDir(p string) string {
	if strings.HasPrefix(p, "usr/include/") {
		return "include" // where a compiler looks for all that there is
	}
	parts := strings.SplitN(p, "/", 5)
	depth := 3
	if len(parts) > 3 && layout.IsTriplet(parts[2]) {
		depth = 4
	}
	if len(parts) <= depth {
		return ""
	}
	return parts[depth-1]
}

// dataAt returns a file of the package's data at a path, or one of those below it; nil for
// none.
func (s *familySet) dataAt(r *relative, p string) *record.File {
	s.index(r)
	return r.data[p]
}

// index finds a package's data.
func (s *familySet) index(r *relative) {
	if r.data != nil {
		return
	}
	r.data, r.opened = map[string]*record.File{}, map[string]bool{}
	m := s.manifest(r)
	if view.IsLoaderFamily(m) {
		return
	}
	for i := range m.Files {
		f := &m.Files[i]
		if !view.IsData(f) {
			continue
		}
		r.data[f.Path] = f
		if dir := dataDir(f.Path); dir != "" {
			r.opened[dir] = true
		}
		for dir := path.Dir(f.Path); r.data[dir] == nil && strings.Count(dir, "/") > 1; dir = path.Dir(dir) {
			r.data[dir] = f
		}
	}
}

// tied returns those of a package's closure that are tied to it by exact versions, one by
// another, itself first.
func (s *familySet) tied(r *relative, closure []*relative) []*relative {
	byName := map[string][]*relative{}
	for _, o := range closure {
		byName[o.tree.Name] = append(byName[o.tree.Name], o)
	}
	ties := map[*relative][]*relative{}
	for _, o := range closure {
		for _, relation := range s.manifest(o).Requires {
			for _, c := range relation.Alternatives {
				for _, to := range byName[c.Name] {
					if to != o && c.Operator == "=" && c.Version == to.tree.Version {
						ties[o], ties[to] = append(ties[o], to), append(ties[to], o)
					}
				}
			}
		}
	}
	found := map[*relative]bool{r: true}
	list := []*relative{r}
	for i := 0; i < len(list); i++ {
		for _, o := range ties[list[i]] {
			if !found[o] {
				found[o] = true
				list = append(list, o)
			}
		}
	}
	return list
}
