package plan

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/alternatives"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
)

// PlannedView is a view that a generation needs.
type PlannedView struct {
	Identity digest.Digest
	view.Parts
}

// Views decides which views a generation has and sets those of its trees: of each that
// needs reports. manifest returns the manifest of a tree of it, and fileSize the size of a
// file of the root, as in [Input]. It returns each view once.
//
// Where a manifest cannot be read, trees that have a view keep it, and others get one of
// what can be read; unread is the first such error.
func Views(g *record.Generation, needs func(*record.Tree) bool, manifest func(*record.Tree) (*record.Manifest, error), fileSize func(string) (int64, bool)) (views []PlannedView, unread error) {
	if !slices.ContainsFunc(g.Trees, func(t record.Tree) bool { return needs(&t) }) {
		for i := range g.Trees {
			g.Trees[i].View = ""
		}
		return nil, nil
	}
	s := newFamilySet(g.Orders)
	s.addAll(g, manifest)
	for _, r := range s.all { // all are asked whom they need
		s.manifest(r)
	}
	has := rootHas(fileSize)
	rivals := view.RivalsAmong(s.manifests(s.all))
	seen := map[digest.Digest]bool{}
	for _, r := range s.all {
		switch {
		case !needs(r.tree):
			r.tree.View = ""
			continue
		case s.fault != nil && r.tree.View != "":
			continue
		}
		v := viewOf(r.tree, s.manifests(s.family(r)), rivals, g, has)
		r.tree.View = view.Dir(v.Identity)
		if !seen[v.Identity] {
			seen[v.Identity] = true
			views = append(views, v)
		}
	}
	return views, s.fault
}

// rootHas returns what reports whether the root has a file, which remembers it.
func rootHas(fileSize func(string) (int64, bool)) func(string) bool {
	lacking := map[string]bool{}
	return func(name string) bool {
		lacks, known := lacking[name]
		if !known {
			_, ok := fileSize(name)
			lacks = !ok
			lacking[name] = lacks
		}
		return !lacks
	}
}

// viewOf returns the view that programs of a package have, or would have if they needed one.
func viewOf(t *record.Tree, closure []*record.Manifest, rivals *view.Rivals, g *record.Generation, has func(string) bool) PlannedView {
	manifests := rivals.Order(closure)
	name := layout.ViewAlias(t.Name, t.Release)
	v := PlannedView{Parts: view.PartsOf(name, manifests, alternatives.Links(manifests, g.Alternatives))}
	v.FillConf(closure, has) // of which the first counts
	v.FillConversions(manifests, has)
	v.Identity = v.Parts.Identity()
	return v
}

// ViewOf returns a view that programs of some private trees of a generation would share, and the
// manifests of the trees that are seen in it, those of the first one first. Of a package that
// several have in different versions, it is the first one's.
func ViewOf(g *record.Generation, trees []*record.Tree, manifest func(*record.Tree) (*record.Manifest, error), fileSize func(string) (int64, bool)) (v PlannedView, family []*record.Manifest, err error) {
	s := newFamilySet(g.Orders)
	s.addAll(g, manifest)
	names := map[string]bool{}
	for _, t := range trees {
		r := s.byPath[t.Path()]
		if r == nil {
			return PlannedView{}, nil, fmt.Errorf("%s is not a tree of its own in generation %d", t.Spec(), g.ID)
		}
		for _, o := range s.family(r) {
			if !names[o.tree.Name] {
				names[o.tree.Name] = true
				family = append(family, s.manifest(o))
			}
		}
	}
	return viewOf(trees[0], family, view.RivalsAmong(family), g, rootHas(fileSize)), family, s.fault
}

// decideViews decides which programs of the command's packages need a view, and why.
func (p *planner) decideViews() {
	if p.in.FileSize == nil || !canLaunch(p.place(), "usr/bin/x") {
		return
	}
	s, of := p.familySet()
	w := &viewNeeds{p: p, s: s, of: of, lacks: map[string]bool{}, shipped: map[*relative]string{}}
	for _, c := range p.command {
		c.launchers = w.ofPackage(of[ownerKey(c)])
		c.linkers = p.linkers(c.m)
	}
	p.fault = cmp.Or(p.fault, s.fault)
}

// familySet returns the packages that there are for the command's, with these, and by what
// ownerKey says of their candidates.
func (p *planner) familySet() (s *familySet, of map[string]*relative) {
	if p.families != nil {
		return p.families, p.relatives
	}
	s, of = newFamilySet(p.in.Orders), map[string]*relative{}
	for _, c := range p.command {
		t := &record.Tree{Name: c.m.Name, Version: c.m.Version, Format: c.m.Format, Provides: c.m.Provides, Links: commandPaths(c.m), Named: c.m.Named}
		r := &relative{tree: t, ofCommand: true, m: c.m}
		of[ownerKey(c)] = r
		s.add(r)
	}
	for _, list := range [][]*record.Tree{p.defaults, p.others} {
		for _, t := range list {
			r := &relative{tree: t, read: func() (*record.Manifest, error) {
				c, err := p.load(t)
				if err != nil {
					return nil, err
				}
				return c.m, nil
			}}
			of[t.Path()] = r
			s.add(r)
		}
	}
	for _, c := range p.command {
		r := of[ownerKey(c)]
		r.bound = []*relative{}
		for i := range c.m.Files {
			if found := p.results[&c.m.Files[i]]; found != nil {
				for _, m := range found.members {
					if o := of[ownerKey(m)]; o != nil && o != r && !slices.Contains(r.bound, o) {
						r.bound = append(r.bound, o)
					}
				}
			}
		}
	}
	p.families, p.relatives = s, of
	return s, of
}

// ownerKey names a candidate: by its tree or the one that it had, or by its package file.
func ownerKey(c *candidate) string {
	switch {
	case c.tree != nil:
		return c.tree.Path()
	case c.from != nil:
		return "successor of " + c.from.Path()
	}
	return "package " + c.m.Package.Digest.String()
}

// commandPaths are the names that a package has in the farm's directories of commands.
func commandPaths(m *record.Manifest) []string {
	var names []string
	for i := range m.Files {
		f := &m.Files[i]
		if to, ok := commandDirs[path.Dir(f.Path)]; ok && f.Type != record.TypeDirectory {
			names = append(names, to+"/"+path.Base(f.Path))
		}
	}
	return names
}

// linkerNames are the names of linkers that make programs for the machine that they run on,
// if no other one stands in front.
var linkerNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(.+-)?(ld|ld\.bfd|ld\.gold|lld|mold)$`) })

// linkers returns the paths of a package's linkers for the root's own architecture.
func (p *planner) linkers(m *record.Manifest) (paths []string) {
	for i := range m.Files {
		f := &m.Files[i]
		name := linkerNames().FindStringSubmatch(path.Base(f.Path))
		if name == nil || name[1] != "" && strings.TrimSuffix(name[1], "-") != p.own() || path.Base(path.Dir(f.Path)) != "bin" {
			continue
		}
		if f.ELF != nil && f.ELF.IsProgram() && strings.HasPrefix(f.Path, "usr/") && canLaunch(p.place(), f.Path) {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// viewNeeds says which programs need a view.
type viewNeeds struct {
	p     *planner
	s     *familySet
	of    map[string]*relative // by what ownerKey says
	lacks map[string]bool      // by path: the root has not that file

	shipped map[*relative]string // what ships has found
}

// ofPackage returns the programs of a package that need a view, by name.
func (w *viewNeeds) ofPackage(r *relative) []launch {
	if view.IsLoaderFamily(r.m) {
		return nil
	}
	needing := map[string]launch{}
	add := func(name, file string) {
		if _, taken := needing[name]; taken && path.Dir(file) != "usr/bin" {
			return // as in [interfaceLinks]
		}
		if why := w.ofProgram(r, file); why != "" && canLaunch(w.p.place(), file) {
			needing[name] = launch{name, file, why}
		}
	}
	for i := range r.m.Files {
		f := &r.m.Files[i]
		if to, ok := commandDirs[path.Dir(f.Path)]; ok && f.Type != record.TypeDirectory {
			add(to+"/"+path.Base(f.Path), f.Path)
		}
	}
	for _, o := range commandOffers(r.m) {
		if _, taken := needing[o.Link]; taken {
			continue // by a better one
		}
		if _, ok := commandDirs[path.Dir(o.Target)]; !ok && r.m.Lookup(o.Target) != nil { // else it has a name already
			add(o.Link, o.Target)
		}
	}
	for _, a := range r.m.Alternatives { // for files of other packages, outside of the directories of commands
		link, file := layout.MergeUsr(strings.TrimPrefix(a.Link, "/")), layout.MergeUsr(strings.TrimPrefix(a.Path, "/"))
		dir, ok := commandDirs[path.Dir(link)]
		name := dir + "/" + path.Base(link)
		if _, taken := needing[name]; ok && !taken && commandDirs[path.Dir(file)] == "" && !isCommand(r.m, name) && r.m.Lookup(file) == nil {
			add(name, file)
		}
	}
	return slices.SortedFunc(maps.Values(needing), func(a, b launch) int { return strings.Compare(a.name, b.name) })
}

// ofProgram says why a program of a package needs a view; "" when it does not.
func (w *viewNeeds) ofProgram(r *relative, file string) string {
	if isSourced(path.Base(file)) {
		return ""
	}
	owner := r
	program, _ := r.m.Follow(file)
	if program == nil {
		program, owner = w.s.foreign(r, file)
	}
	if program == nil || program.ELF == nil && program.Script == "" || program.ELF != nil && !program.ELF.IsProgram() {
		return ""
	}
	if program.Mode&0o6000 != 0 || len(program.Xattrs) > 0 {
		return "" // its rights are its file's, and a view has none of them
	}
	return cmp.Or(w.ships(r), w.ships(owner), w.names(owner, program))
}

// sourced are names, in the form of [path.Match], of scripts among the commands that shells read
// by ".": a launcher in such a place would be no script.
var sourced = []string{"gettext.sh", "env_parallel.*", "virtualenvwrapper*.sh"}

func isSourced(name string) bool {
	return slices.ContainsFunc(sourced, func(pattern string) bool {
		matches, _ := path.Match(pattern, name) // they are well-formed
		return matches
	})
}

// ships says which data a package, or one that is tied to it by its exact version, has and
// the root has not; "" for none.
func (w *viewNeeds) ships(r *relative) string {
	why, known := w.shipped[r]
	if !known {
		why = w.findShipped(r)
		w.shipped[r] = why
	}
	return why
}

func (w *viewNeeds) findShipped(r *relative) string {
	closure := w.s.closure(r)
	for _, o := range w.s.tied(r, closure) {
		m := w.s.manifest(o)
		for i := range m.Files {
			f := &m.Files[i]
			if w.s.dataAt(o, f.Path) == f && !forEditors(f.Path) && w.rootLacks(f) {
				return fmt.Sprintf("%s has /%s", o.tree.Name, f.Path)
			}
		}
	}
	return ""
}

// forEditors reports whether a file is for an editor that somebody may have, which package
// ever brings it.
func forEditors(p string) bool {
	return slices.ContainsFunc([]string{"usr/share/emacs/site-lisp/", "usr/share/vim/addons/", "usr/share/vim/registry/", "usr/share/vim/vimfiles/"},
		func(dir string) bool { return strings.HasPrefix(p, dir) })
}

// names says which data of the closure a program, its libraries or its interpreter name
// that the root has not; "" for none.
func (w *viewNeeds) names(r *relative, program *record.File) string {
	closure := w.s.closure(r)
	files := []*record.File{program}
	if program.Script != "" {
		where := layout.MergeUsr(strings.TrimPrefix(program.Script, "/"))
		for _, o := range closure {
			if m := w.s.manifest(o); m.Lookup(where) != nil || m.Resolve(where) != nil {
				return fmt.Sprintf("its interpreter %s is that of %s", program.Script, o.tree.Name)
			}
		}
	}
	if res := w.p.results[program]; res != nil {
		for _, o := range res.closure.Objects {
			if f := w.p.files[o]; f != nil && f != program {
				files = append(files, f)
			}
		}
	}
	for _, f := range files {
		for _, name := range f.Names {
			at := layout.MergeUsr(strings.TrimPrefix(name, "/"))
			for _, o := range closure {
				if data := w.s.dataAt(o, at); data != nil && w.rootLacksData(o, data, at) {
					who := "it"
					if f != program {
						who = path.Base(f.Path)
					}
					return fmt.Sprintf("%s names %s, which %s has", who, name, o.tree.Name)
				}
			}
		}
	}
	return w.looks(r, program)
}

// looks says in which directory a program of a package, or a library that it loads, looks for
// modules where another package of its release has some that the root has not; "" for none.
func (w *viewNeeds) looks(r *relative, program *record.File) string {
	looking := []*relative{r}
	if found := w.p.results[program]; found != nil {
		for _, m := range found.members {
			if o := w.of[ownerKey(m)]; o != nil && !slices.Contains(looking, o) {
				looking = append(looking, o)
			}
		}
	}
	for _, by := range looking {
		for _, dir := range w.s.looksIn(by) {
			for _, o := range w.s.modules(r, dir) {
				if data := w.s.dataAt(o, dir); data != nil && w.rootLacksData(o, data, dir) {
					return fmt.Sprintf("it looks in /%s, where %s has files", dir, o.tree.Name)
				}
			}
		}
	}
	return ""
}

// rootLacksData reports whether the root has not a file that a package has at a path, or
// one of the first that it has below it.
func (w *viewNeeds) rootLacksData(r *relative, data *record.File, at string) bool {
	if data.Path == at {
		return w.rootLacks(data)
	}
	i, _ := slices.BinarySearchFunc(r.m.Files, at+"/", func(f record.File, p string) int { return strings.Compare(f.Path, p) })
	files := r.m.Files[i:]
	for i := range min(len(files), 100) {
		f := &files[i]
		if !strings.HasPrefix(f.Path, at+"/") {
			break
		}
		if r.data[f.Path] == f && w.rootLacks(f) {
			return true
		}
	}
	return false
}

// rootLacks reports whether the root has not a file of a package, or another one at its
// path.
func (w *viewNeeds) rootLacks(f *record.File) bool {
	lacks, known := w.lacks[f.Path]
	if !known {
		size, ok := w.p.in.FileSize("/" + f.Path)
		packaged := f.Size
		if f.Patch != nil {
			packaged = f.Patch.OldSize
		}
		lacks = !ok || f.Type == record.TypeFile && size != packaged
		w.lacks[f.Path] = lacks
	}
	return lacks
}
