package plan

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// stub is a copy of a library that programs are linked with: see [record.File].
type stub struct {
	path    string // in the tree
	library string // absolute in the root
}

// devVersion is a part of the identity of each tree that programs are built with. It is another
// one when dev gets other files.
const devVersion = "1"

// What texts have at most, in bytes: one that a linker reads in place of a library, and any other
// in which paths are moved.
const (
	maxLinkerScript = 4 << 10
	maxMoved        = 1 << 20
	maxPath         = 4096     // limits.h, PATH_MAX
	maxGrowth       = 64 << 10 // by moving paths
)

// errGrows says that a text is too large once its paths are moved.
var errGrows = errors.New("the text grows too much")

// IsDevelopment reports whether a payload has what programs are built with. What belongs to
// the compiler (the C library's headers and the kernel's, the compiler's own directories) does not
// count: the compiler that builds a program has its own.
func IsDevelopment(m *record.Manifest) bool {
	if m.Origin != record.OriginPrivate || m.Lookup(layout.DevDir) != nil || m.HasDir(layout.DevDir) {
		return false
	}
	found := false
	for i := range m.Files {
		f := &m.Files[i]
		dir, base := path.Dir(f.Path), path.Base(f.Path)
		switch {
		case f.Type == record.TypeDirectory:
		case base == "crt1.o", strings.HasPrefix(f.Path, "usr/lib/gcc/"), f.Path == "usr/include/linux/version.h":
			return false
		case strings.HasPrefix(f.Path, "usr/include/"), strings.HasSuffix(base, ".pc") && path.Base(dir) == "pkgconfig":
			found = true
		case isLinkDir(dir) && strings.HasSuffix(base, ".a"), isLinkerName(m, f):
			found = true
		}
	}
	return found
}

// HasDev reports whether a tree has a directory with what programs are built with.
func HasDev(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Links, func(l record.Link) bool { return strings.HasPrefix(l.Path, layout.DevDir+"/") }) ||
		slices.ContainsFunc(m.Files, func(f record.File) bool { return f.IsDev() })
}

// Unlinked returns the names in a payload by which a linker would find libraries that no tree
// has: those of the root's own packages.
func Unlinked(m *record.Manifest) (names []string) {
	there := map[string]bool{}
	for _, l := range m.Links {
		there[l.Path] = true
	}
	for i := range m.Files {
		f := &m.Files[i]
		if !isLinkerName(m, f) {
			continue
		}
		at := layout.DevDir + strings.TrimPrefix(f.Path, "usr")
		if !there[at] && m.Lookup(at) == nil {
			names = append(names, path.Base(f.Path))
		}
	}
	return names
}

// isLinkDir reports whether a linker looks in a directory of a payload on its own.
func isLinkDir(dir string) bool {
	return dir == "usr/lib" || dir == "usr/lib64" || path.Dir(dir) == "usr/lib" && layout.IsTriplet(path.Base(dir))
}

// IsDevLibraries reports whether a linker is to look in a directory of a tree's dev.
func IsDevLibraries(dir string) bool {
	rest, ok := strings.CutPrefix(dir, layout.DevDir+"/")
	return ok && isLinkDir("usr/"+rest)
}

// isLinkerName reports whether a file of a payload is a link by which a linker finds a library
// of another package.
func isLinkerName(m *record.Manifest, f *record.File) bool {
	base := path.Base(f.Path)
	return f.Type == record.TypeSymlink && strings.HasPrefix(base, "lib") && strings.HasSuffix(base, ".so") && isLinkDir(path.Dir(f.Path)) && m.Resolve(f.Path) == nil
}

// stubs returns the stubs of a package that programs are built with: of its own libraries,
// of those of the packages to whose very version a relation ties it, and of those that its links
// for the linker lead to.
func (p *planner) stubs(c *candidate) []stub {
	if !c.getsDev() {
		return nil
	}
	wanted := map[string]bool{} // names of files in other packages
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if isLinkerName(c.m, f) {
			wanted[path.Base(f.Target)] = true
		}
	}
	var list []stub
	taken := map[string]bool{}
	add := func(o *candidate, tied bool) {
		if o.m.Origin != record.OriginPrivate || isLoaderFamily(o.m) {
			return
		}
		for i := range o.m.Files {
			f := &o.m.Files[i]
			sub, ok := publicLibrary(f)
			if !ok || sub != "" || !isStubName(f.ELF.Soname) || f.ELF.Musl || strings.Contains(f.Path, "$") { // which the loader would expand
				continue
			}
			if !tied && !wanted[path.Base(f.Path)] && !wanted[f.ELF.Soname] {
				continue
			}
			s := stub{layout.DevDir + strings.TrimPrefix(path.Dir(f.Path), "usr") + "/" + f.ELF.Soname, p.treePath(o) + "/" + f.Path}
			if !taken[s.path] {
				taken[s.path] = true
				list = append(list, s)
			}
		}
	}
	add(c, true)
	none := &resolution{members: []*candidate{c}}
	for _, r := range c.m.Requires {
		for _, want := range r.Alternatives {
			if o := p.satisfying(want, none); o != nil {
				if o != c {
					add(o, want.Operator == "=")
				}
				break
			}
		}
	}
	return list
}

// isStubName reports whether a soname is the name of a file that a stub can have.
func isStubName(soname string) bool {
	return strings.Contains(soname, ".so") && !strings.Contains(soname, "/") && layout.CheckPayloadPath(soname) == nil
}

// stubsAnew reports whether the stubs of a package would be others than they are.
func (p *planner) stubsAnew(c *candidate) bool {
	if !IsDevelopment(c.m) {
		return false
	}
	var was, now []string
	for i := range c.was.Files {
		if s := c.was.Files[i].Stub; s != "" {
			was = append(was, c.was.Files[i].Path+" "+p.inPackage(s))
		}
	}
	for _, s := range p.stubs(c) {
		now = append(now, s.path+" "+p.inPackage(s.library))
	}
	slices.Sort(was)
	slices.Sort(now)
	return !HasDev(c.was) || !slices.Equal(was, now)
}

// getsDev reports whether a package gets what programs are built with.
func (c *candidate) getsDev() bool { return !c.bare && IsDevelopment(c.m) }

// addDev adds to a tree what programs are built with: below its dev the payload's usr by
// links, with stubs in place of libraries and texts that name paths moved there.
func (c *candidate) addDev() {
	if !c.getsDev() {
		return
	}
	d := devTree{m: c.m, files: map[string]record.File{}, links: map[string]string{}, merged: mergedIncludes(c.m)}
	for _, s := range c.stubs {
		d.files[s.path] = record.File{Path: s.path, Type: record.TypeFile, Mode: 0o644, Stub: s.library}
		if name := path.Join(path.Dir(s.path), path.Base(s.library)); name != s.path {
			d.links[name] = s.path
		}
	}
	for i := range c.m.Files { // before those for all machines: gcc looks there first
		d.addSpecial(&c.m.Files[i])
	}
	for _, kind := range []record.FileType{record.TypeFile, record.TypeSymlink} { // links lead to what is there
		for i := range c.m.Files {
			if f := &c.m.Files[i]; f.Type == kind {
				d.add(f)
			}
		}
	}
	d.finish()
	var files []record.File
	for _, f := range d.files {
		files = append(files, f)
	}
	for at, to := range d.links {
		if _, taken := d.files[at]; !taken {
			c.m.Links = append(c.m.Links, record.Link{Path: at, Target: linkTarget(at, to)})
		}
	}
	slices.SortFunc(c.m.Links, func(a, b record.Link) int { return strings.Compare(a.Path, b.Path) })
	c.addFiles(files)
}

// linkTarget returns what a link at a path of a tree holds to lead to another one.
func linkTarget(at, to string) string {
	dir, file := strings.Split(path.Dir(at), "/"), strings.Split(to, "/")
	for len(dir) > 0 && len(file) > 1 && dir[0] == file[0] {
		dir, file = dir[1:], file[1:]
	}
	return strings.Repeat("../", len(dir)) + strings.Join(file, "/")
}

// devTree is the directory dev of a tree while it is put together. Paths are those of the tree.
type devTree struct {
	m      *record.Manifest
	files  map[string]record.File
	links  map[string]string // to where
	merged map[string]bool   // directories below usr/include that stand in its triplet's as well, without that
}

// mergedIncludes returns the directories of headers, "" among them, that a package has both for
// all machines and for one ("usr/include/TRIPLET"): compilers look for these in one place.
func mergedIncludes(m *record.Manifest) map[string]bool {
	plain, special := map[string]bool{}, map[string]bool{}
	for i := range m.Files {
		rest, ok := strings.CutPrefix(m.Files[i].Path, "usr/include/")
		if !ok || m.Files[i].Type == record.TypeDirectory {
			continue
		}
		into := plain
		if top, below, _ := strings.Cut(rest, "/"); layout.IsTriplet(top) {
			into, rest = special, below
		}
		for dir := path.Dir(rest); dir != "."; dir = path.Dir(dir) {
			into[dir] = true
		}
	}
	merged := map[string]bool{"": true}
	for dir := range special {
		merged[dir] = merged[dir] || plain[dir]
	}
	return merged
}

// isUnbuilt reports whether nothing is built with a path below usr.
func isUnbuilt(rel string) bool {
	return hasAnyPrefix(rel, "share/doc/", "share/man/", "share/info/", "share/locale/", "share/lintian/", "share/bug/", "share/doc-base/", "games/") ||
		strings.HasSuffix(rel, ".la") // libtool's, which name absolute paths of other packages
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// isOpened reports whether a directory below usr is one of dev as well, in place of a link
// to the payload's.
func (d *devTree) isOpened(rel string) bool {
	switch dir, in, isInclude := path.Dir(rel), path.Base(rel), strings.HasPrefix(rel, "include/"); {
	case rel == "lib", rel == "lib64", rel == "include", rel == "share", isLinkDir("usr/" + rel):
		return true
	case isInclude:
		return d.merged[strings.TrimPrefix(rel, "include/")]
	case dir == "share" || isLinkDir("usr/"+dir):
		return in == "pkgconfig" || in == "cmake"
	}
	return isCMakeDir(rel)
}

// isCMakeDir reports whether a directory below usr is one in which, or below which, CMake finds
// descriptions of packages (cmake-packages(7)).
func isCMakeDir(rel string) bool {
	before, _, found := strings.Cut(rel+"/", "/cmake/")
	return found && (before == "share" || isLinkDir("usr/"+before))
}

// add adds a file of the payload.
func (d *devTree) add(f *record.File) {
	rel, ok := strings.CutPrefix(f.Path, "usr/")
	if !ok || isUnbuilt(rel) {
		return
	}
	d.put(rel, f)
}

// addSpecial adds a header for one architecture in the place of those for all.
func (d *devTree) addSpecial(f *record.File) {
	rest, ok := strings.CutPrefix(f.Path, "usr/include/")
	if top, below, _ := strings.Cut(rest, "/"); ok && f.Type != record.TypeDirectory && below != "" && layout.IsTriplet(top) {
		d.put("include/"+below, f)
	}
}

// put adds a file of the payload at a path below dev: itself, or the directory of it that is not
// opened, by a link.
func (d *devTree) put(rel string, f *record.File) {
	for i, c := range rel {
		if c != '/' || d.isOpened(rel[:i]) {
			continue
		}
		at := layout.DevDir + "/" + rel[:i]
		switch top := rel[:i]; {
		case top == "bin" || top == "sbin":
			d.links[at] = top // the interface's, with launchers
		case d.links[at] == "":
			d.links[at] = strings.TrimSuffix(f.Path, rel[i:])
		}
		return
	}
	d.putFile(layout.DevDir+"/"+rel, f)
}

// putFile adds a file of a directory that is opened.
func (d *devTree) putFile(at string, f *record.File) {
	if _, taken := d.links[at]; taken {
		return
	}
	dir, base := path.Dir(at), path.Base(at)
	_, isPublic := publicLibrary(f)
	switch inLink := isLinkDir(path.Dir(f.Path)); {
	case inLink && isPublic && isStubName(f.ELF.Soname) && !f.ELF.Musl: // its stub is there
	case f.Type == record.TypeSymlink:
		d.putLink(at, f, inLink)
	case f.Size <= maxMoved && path.Base(dir) == "pkgconfig" && strings.HasSuffix(base, ".pc"),
		f.Size <= maxMoved && isCMakeDir(strings.TrimPrefix(dir, layout.DevDir+"/")) && strings.HasSuffix(base, ".cmake"),
		inLink && f.ELF == nil && strings.HasSuffix(base, ".so") && f.Size <= maxLinkerScript:
		d.files[at] = record.File{Path: at, Type: record.TypeFile, Mode: 0o644, Moved: f.Path}
	default:
		d.links[at] = f.Path
	}
}

// putLink adds a link of the payload: to what is in the same directory of dev, or else to the
// payload's, if that leads anywhere.
func (d *devTree) putLink(at string, f *record.File, inLink bool) {
	beside := path.Join(path.Dir(at), path.Base(f.Target))
	_, isFile := d.files[beside]
	_, isLink := d.links[beside]
	to := d.m.Resolve(f.Path)
	switch {
	case inLink && (isFile || isLink), to != nil && !strings.Contains(f.Target, "/") && !inLink:
		d.links[at] = beside
	case to != nil:
		d.links[at] = f.Path
	}
}

// finish adds lib64, under which name libraries are found whatever the package calls it, and takes
// out links that lead to nothing, or stand where a directory has to be.
func (d *devTree) finish() {
	dirs := map[string]bool{}
	note := func(p string) {
		for dir := path.Dir(p); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	for p := range d.files {
		note(p)
	}
	for p := range d.links {
		note(p)
	}
	if at := layout.DevDir + "/" + layout.DevLibraries; !dirs[at] {
		if in := d.libraryDirs(); len(in) > 0 {
			d.links[at] = in[0]
		}
	}
	for p, to := range d.links {
		_, isFile := d.files[to]
		_, isLink := d.links[to]
		if dirs[p] || strings.HasPrefix(to, layout.DevDir+"/") && !isFile && !isLink && !dirs[to] {
			delete(d.links, p)
		}
	}
}

// libraryDirs returns the directories of dev in which libraries may be, the most special first.
func (d *devTree) libraryDirs() []string {
	var dirs []string
	note := func(p string) {
		if dir := path.Dir(p); isLinkDir("usr"+strings.TrimPrefix(dir, layout.DevDir)) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for p := range d.files {
		note(p)
		note(path.Dir(p)) // of pkgconfig
	}
	for p := range d.links {
		note(p)
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(b, a) })
	return dirs
}

// TreeFile calls use with the bytes of a file of a tree, "NAME/TREE", which are valid until it
// returns.
type TreeFile func(tree, file string, use func([]byte) error) error

// devBytes returns the bytes of a file of dev.
func devBytes(p Place, m *record.Manifest, f *record.File, read TreeFile) (made []byte, err error) {
	tree, file := layout.TreePath(m.Name, m.Tree), f.Moved
	if f.Stub != "" {
		parts := strings.SplitN(strings.TrimPrefix(f.Stub, p.Prefix+"/"), "/", 3)
		if len(parts) == 3 {
			tree, file = layout.TreePath(parts[0], parts[1]), parts[2]
		}
	}
	err = read(tree, file, func(b []byte) (err error) {
		if f.Stub == "" {
			made, err = moveText(b, p.Prefix+"/"+layout.DevPath(m.Name, m.Tree), newDevPaths(m).has)
			return err
		}
		edit, err := elfedit.Make(b, elfedit.Changes{Soname: &f.Stub})
		if err == nil {
			made, err = edit.Apply(b)
		}
		return err
	})
	return made, err
}

// LinkInstead reports whether err, of [MadeBytes], says that a file of dev cannot be made, and has
// a link to what it would be made from stand in its place then.
func LinkInstead(p Place, m *record.Manifest, f *record.File, err error) bool {
	var refused *elfedit.RefusedError
	switch {
	case f.Stub != "" && errors.As(err, &refused):
	case f.Moved != "" && errors.Is(err, errGrows):
		*f = record.File{Path: f.Path, Type: record.TypeSymlink, Mode: 0o777, Target: linkTarget(f.Path, f.Moved), Moved: f.Moved}
		return true
	default:
		return false
	}
	up := strings.Repeat("../", strings.Count(layout.TreePath(m.Name, m.Tree)+"/"+f.Path, "/"))
	*f = record.File{Path: f.Path, Type: record.TypeSymlink, Mode: 0o777, Target: up + strings.TrimPrefix(f.Stub, p.Prefix+"/"), Stub: f.Stub}
	return true
}

// devPaths knows what there is below the dev of a tree.
type devPaths struct {
	m     *record.Manifest
	links map[string]string // of the tree, to where
	dirs  map[string]bool   // of the tree; nil before it is asked for
}

func newDevPaths(m *record.Manifest) *devPaths { return &devPaths{m: m} }

// has reports whether there is something at a path below dev, links followed.
func (d *devPaths) has(rel string) bool {
	if d.dirs == nil {
		d.index()
	}
	at, rest, followed := layout.DevDir, path.Clean("/" + rel)[1:], 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		at += "/" + name
		for {
			to, isLink := d.links[at]
			if !isLink {
				break
			}
			if followed++; followed > 40 { // ELOOP
				return false
			}
			at = to
		}
		if f, end := d.m.Follow(at); f == nil && !d.dirs[at] && !d.dirs[end] {
			return false
		}
	}
	return true
}

func (d *devPaths) index() {
	d.links, d.dirs = map[string]string{}, map[string]bool{}
	note := func(p string) {
		for dir := path.Dir(p); dir != "." && !d.dirs[dir]; dir = path.Dir(dir) {
			d.dirs[dir] = true
		}
	}
	for i := range d.m.Files {
		note(d.m.Files[i].Path)
	}
	for i := range d.m.Links {
		note(d.m.Links[i].Path)
		d.links[d.m.Links[i].Path] = d.m.Links[i].File()
	}
}

// moveText returns a text in which absolute paths below /usr, and those of the loader's
// directories in /, lead below dev, if it has them. The error is errGrows.
func moveText(text []byte, dev string, has func(rel string) bool) ([]byte, error) {
	var out []byte
	for i := 0; i < len(text); i++ {
		if n, isMoved := movedPath(text, i); isMoved && has(pathAt(text[i+n:])) {
			out = append(out, dev...)
			i += n
		}
		if i < len(text) {
			out = append(out, text[i])
		}
		if len(out) > i+maxGrowth {
			return nil, errGrows
		}
	}
	return out, nil
}

// pathAt returns the path with which a text begins, as far as it is written out.
func pathAt(text []byte) string {
	text = text[:min(len(text), maxPath)]
	if i := bytes.IndexAny(text, pathEnds+"$<([{"); i >= 0 {
		text = text[:i]
	}
	return string(text)
}

// What may stand before a path in a text, and after a directory that is all of one.
const (
	pathBegins = " \t\r\n\"'=:;(,<>[{"
	pathEnds   = " \t\r\n\"':;),<>]}"
)

// movedPath reports whether a path begins at i that is to be moved, and how many bytes of it
// stand for the directory usr: none where it begins with "/lib".
func movedPath(text []byte, i int) (n int, ok bool) {
	if text[i] != '/' {
		return 0, false
	}
	if before := string(text[max(0, i-2):i]); before != "" && !strings.Contains(pathBegins, before[len(before)-1:]) && before != "-I" && before != "-L" {
		return 0, false
	}
	rest := string(text[i:min(len(text), i+64)]) // longer than any directory of libraries
	if after, ok := strings.CutPrefix(rest, "/usr"); ok {
		return len("/usr"), after == "" || after[0] == '/' && !isLocal(after) || strings.Contains(pathEnds, after[:1])
	}
	if after, ok := strings.CutPrefix(rest, "/lib/"); ok {
		triplet, _, below := strings.Cut(after, "/")
		return 0, below && layout.IsTriplet(triplet)
	}
	return 0, strings.HasPrefix(rest, "/lib64/")
}

// isLocal reports whether a path below usr is one that packages do not have.
func isLocal(below string) bool {
	rest, ok := strings.CutPrefix(below, "/local")
	return ok && (rest == "" || rest[0] == '/' || strings.Contains(pathEnds, rest[:1]))
}
