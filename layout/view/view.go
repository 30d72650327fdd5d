// Package view says what a program sees in place of /usr when it needs more than
// libraries: the files of its closure, merged into one tree ([Merge]), and which files
// of a package are such a need ([IsData]). Everything in it is a pure function.
//
// A merged tree leaves out what the root's own programs, which run in a view too, must
// go on finding as the root has it: libraries in the loader's directories (programs of
// trees name theirs by path), the C library's package, and whatever decides about
// rights.
package view

import (
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Dirs are the directories of /usr that a view may cover.
var Dirs = []string{"bin", "games", "include", "lib", "lib32", "lib64", "libexec", "libx32", "sbin", "share"}

// notData begins the paths of files that no program needs to do its work, or that are
// found in other ways.
var notData = []string{
	"usr/share/doc/", "usr/share/doc-base/", "usr/share/man/", "usr/share/info/", "usr/share/locale/",
	"usr/share/lintian/", "usr/share/bug/", "usr/share/bash-completion/", "usr/share/zsh/vendor-completions/",
	"usr/share/fish/", "usr/share/applications/", "usr/share/icons/", "usr/share/pixmaps/", "usr/share/metainfo/",
	"usr/share/appdata/", "usr/share/menu/", "usr/share/licenses/", "usr/share/gdb/", "usr/share/apport/",
	"usr/share/initramfs-tools/", "usr/share/reportbug/", "usr/share/apps/", "usr/share/common-licenses/",
	"usr/share/mime/packages/", "usr/share/mime-info/", "usr/share/application-registry/", "usr/share/base-files/",
	"usr/lib/debug/", "usr/lib/systemd/", "usr/lib/udev/", "usr/lib/tmpfiles.d/", "usr/lib/sysusers.d/", "usr/lib/mime/",
	"usr/lib/modprobe.d/", "usr/lib/modules-load.d/", "usr/lib/.build-id/", "usr/lib/sysctl.d/",
	"usr/lib/locale/",
}

// dataDirs begin the paths of data and modules.
var dataDirs = []string{"usr/share/", "usr/lib/", "usr/lib64/", "usr/lib32/", "usr/libexec/", "usr/include/"}

// IsData reports whether a file of a package is one that a program opens by its path:
// data, a module, a helper program. Libraries in the loader's directories are not, and
// neither are documentation, translations and what belongs to a desktop's menus. Locales
// and conversions of character sets are not, either: the C library looks for them, and so
// every program would need a view.
func IsData(f *record.File) bool {
	if f.Type != record.TypeFile && f.Type != record.TypeSymlink || !hasPrefix(f.Path, dataDirs) || hasPrefix(f.Path, notData) {
		return false
	}
	return !isLibrary(f) && !isConversion(f.Path)
}

// isConversion reports whether a file is in glibc's directory of conversions, gconv.
func isConversion(p string) bool {
	dir, _, ok := strings.Cut(p, "/gconv/")
	return ok && isLoaderDir(dir)
}

func hasPrefix(p string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p, prefix) })
}

// isLibrary reports whether a file, or a link, stands in a directory of the loader's
// as a library does, or in a glibc-hwcaps directory below one.
func isLibrary(f *record.File) bool {
	dir, base := path.Dir(f.Path), path.Base(f.Path)
	if i := strings.Index(dir, "/glibc-hwcaps/"); i >= 0 {
		dir = dir[:i]
	}
	if !isLoaderDir(dir) {
		return false
	}
	if f.Type == record.TypeSymlink {
		return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
	}
	return f.ELF != nil && f.ELF.HasDynamic
}

// isLoaderDir reports whether a loader looks in a directory on its own: see
// [layout.LibraryDirs].
func isLoaderDir(dir string) bool {
	switch dir {
	case "usr/lib", "usr/lib64", "usr/lib32", "usr/libx32":
		return true
	}
	triplet, ok := strings.CutPrefix(dir, "usr/lib/")
	return ok && layout.IsTriplet(triplet)
}

// rights are the files that decide who may do what, or are run by what does, and
// directories of such, which end in a slash: the root's own stay in force. Modules of PAM
// and NSS stand in the loader's directories: see [decidesRights].
var rights = []string{
	"usr/bin/su", "usr/bin/sudo", "usr/bin/sudoedit", "usr/sbin/visudo", "usr/bin/doas", "usr/bin/pkexec",
	"usr/lib/sudo/", "usr/libexec/sudo/", "usr/share/polkit-1/", "usr/lib/polkit-1/", "usr/libexec/polkit-agent-helper-1",
	"usr/share/dbus-1/system-services/", "usr/share/dbus-1/system.d/", "usr/lib/dbus-1.0/", "usr/libexec/dbus-1/",
	"usr/share/pam/", "usr/share/pam-configs/", "usr/lib/pam.d/",
}

// decidesRights reports whether a file decides who may do what.
func decidesRights(p string) bool {
	dir, base := path.Dir(p), path.Base(p)
	isNSS := isLoaderDir(dir) && strings.HasPrefix(base, "libnss_")
	inPAM := path.Base(dir) == "security" && isLoaderDir(path.Dir(dir))
	return isNSS || inPAM || slices.ContainsFunc(rights, func(r string) bool {
		return p == r || strings.HasSuffix(r, "/") && strings.HasPrefix(p, r)
	})
}

// unneeded begin the paths that a merged tree does without, to be smaller.
var unneeded = []string{"usr/share/doc/", "usr/share/lintian/", "usr/share/bug/", "usr/lib/.build-id/", "usr/share/doc-base/"}

// keeps reports whether a merged tree has a file.
func keeps(f *record.File) bool {
	isKind := f.Type == record.TypeFile || f.Type == record.TypeSymlink
	return isKind && keepsPath(f.Path) && !isLibrary(f)
}

func keepsPath(p string) bool {
	top, rest, _ := strings.Cut(p, "/")
	dir, _, below := strings.Cut(rest, "/")
	if top != "usr" || !below || !slices.Contains(Dirs, dir) {
		return false
	}
	// A link in place of a loader's directory would hide all libraries of the root.
	return !hasPrefix(p, unneeded) && !isLoaderDir(p) && !decidesRights(p) && !decidesRights(p+"/")
}

// IsLoaderFamily reports whether a package is the C library's, of which a view has
// nothing but conversions: see FillConversions.
func IsLoaderFamily(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Files, func(f record.File) bool {
		return f.ELF != nil && (f.ELF.Soname == layout.LibcName(f.ELF) || f.ELF.IsMuslLibC())
	})
}

// Parts are what a view is merged from.
type Parts struct {
	// Name is the one by which the view is found for good: see [layout.ViewAlias].
	Name string
	// Trees are those of which the view has files; where two have a path, the first wins.
	Trees []*record.Manifest
	// Beside are trees with libraries that look for files beside themselves: what the view
	// has in the directories of these is shown in the trees, too.
	Beside []Beside
	// Libraries are all trees of the closure, if it has a linker.
	Libraries []*record.Manifest
	// Links are further ones, relative to the top of the view, of which one replaces a link
	// of a tree.
	Links []record.Link
	// Conf are configuration files that stand in the place of links of trees: see FillConf.
	Conf []record.File
	// Conversions is the C library's tree whose conversions of character sets are seen, nil for
	// none: see FillConversions.
	Conversions *record.Manifest
	// Generated are files that follow from the others; they come before all of them: see
	// [Parts.Generate].
	Generated []Generated
}

// Generated are files of one kind that were made for a view.
type Generated struct {
	record.Generated
	Into  string // the directory that they are in, or below
	Files []record.File
	// Beside says that a library looks for Into beside itself, by ways that do not show.
	Beside bool
}

// Place puts other manifests of the same trees in place of those that the view was planned
// with: as they are when their files were edited.
func (p *Parts) Place(placed func(*record.Manifest) (*record.Manifest, error)) error {
	p.Trees, p.Libraries, p.Beside = slices.Clone(p.Trees), slices.Clone(p.Libraries), slices.Clone(p.Beside)
	var err error
	for _, list := range [][]*record.Manifest{p.Trees, p.Libraries} {
		for i := range list {
			if list[i], err = placed(list[i]); err != nil {
				return err
			}
		}
	}
	for i := range p.Beside {
		if p.Beside[i].Tree, err = placed(p.Beside[i].Tree); err != nil {
			return err
		}
	}
	if p.Conversions != nil {
		p.Conversions, err = placed(p.Conversions)
	}
	return err
}

// FillConversions has a view show the conversions of character sets of its closure's C library,
// where the root has none in their directory, as one of another kind of distribution has not. Else
// the root's serve: its own programs, which run in the view as well, load them too. has reports
// whether the root has a file or directory.
func (p *Parts) FillConversions(closure []*record.Manifest, has func(name string) bool) {
	for _, m := range closure {
		if !IsLoaderFamily(m) {
			continue
		}
		i := slices.IndexFunc(m.Files, func(f record.File) bool { return f.Type == record.TypeFile && isConversion(f.Path) && keeps(&f) })
		if i < 0 {
			continue
		}
		dir, _, _ := strings.Cut(m.Files[i].Path, "/gconv/")
		if !has("/" + dir + "/gconv") {
			p.Conversions = m
		}
		return
	}
}

// Generate adds files that follow from the others. What they are may not be known yet.
func (p *Parts) Generate(g Generated) {
	p.Generated = append(slices.Clone(p.Generated), g)
	if !g.Beside {
		return
	}
	p.Beside = slices.Clone(p.Beside)
	for _, m := range p.Trees {
		isLooking := func(f record.File) bool { return isLibrary(&f) && path.Dir(f.Path) == path.Dir(g.Into) }
		if !m.HasDir(g.Into) || !slices.ContainsFunc(m.Files, isLooking) {
			continue
		}
		i := slices.IndexFunc(p.Beside, func(b Beside) bool { return b.Tree == m })
		if i < 0 {
			p.Beside = append(p.Beside, Beside{Tree: m})
			i = len(p.Beside) - 1
		}
		p.Beside[i].Dirs = append(slices.Clone(p.Beside[i].Dirs), g.Into+"/")
	}
}

// PartsOf returns the parts of the view of a closure, the most important package first.
func PartsOf(name string, closure []*record.Manifest, links []record.Link) Parts {
	p := Parts{Name: name, Links: links}
	for _, m := range closure {
		if IsLoaderFamily(m) {
			continue
		}
		if slices.ContainsFunc(m.Files, func(f record.File) bool { return keeps(&f) }) {
			p.Trees = append(p.Trees, m)
		}
	}
	needing := map[string][]*record.Manifest{} // by soname
	for _, m := range closure {
		for i := range m.Files {
			if f := &m.Files[i]; f.ELF != nil {
				for _, soname := range f.ELF.Needed {
					if list := needing[soname]; len(list) == 0 || list[len(list)-1] != m {
						needing[soname] = append(list, m)
					}
				}
			}
		}
	}
	for _, m := range closure {
		if IsLoaderFamily(m) {
			continue
		}
		if dirs := p.dirsBeside(m, needing); len(dirs) > 0 {
			p.Beside = append(p.Beside, Beside{m, dirs})
		}
	}
	if slices.ContainsFunc(p.Trees, func(m *record.Manifest) bool {
		return slices.ContainsFunc(m.Files, func(f record.File) bool { return f.Linker != "" })
	}) {
		p.Libraries = closure
	}
	return p
}

// mergeVersion is a part of each view's identity. It is another one when views of the
// same trees get other files.
const mergeVersion = "6"

// Identity is what the view of these parts is known by.
func (p *Parts) Identity() digest.Digest {
	h := digest.New()
	add := func(list ...string) {
		for _, s := range list {
			h.Write([]byte(s))
			h.Write([]byte{0})
		}
	}
	add("hashpkg view " + mergeVersion)
	for _, m := range p.Trees {
		add("tree", layout.TreePath(m.Name, m.Tree), m.Identity.String())
	}
	for _, b := range p.Beside {
		add("beside", layout.TreePath(b.Tree.Name, b.Tree.Tree), b.Tree.Identity.String())
		add(b.Dirs...)
	}
	if len(p.Libraries) > 0 {
		add("name", p.Name)
	}
	for _, m := range p.Libraries {
		add("libraries", layout.TreePath(m.Name, m.Tree), m.Identity.String())
	}
	for _, l := range p.Links {
		add("link", l.Path, l.Target)
	}
	for _, g := range p.Generated {
		add("generated", g.By, g.Input.String())
	}
	if m := p.Conversions; m != nil {
		add("conversions", layout.TreePath(m.Name, m.Tree), m.Identity.String())
	}
	for i := range p.Conf {
		add("conf", p.Conf[i].Path, p.Conf[i].Object.String())
	}
	return digest.Sum(h)
}

// Dir is the directory's name of the view with an identity.
func Dir(identity digest.Digest) string { return identity.String()[:32] }

// Over is the directory of a view with what stands in place of the usr of trees.
const Over = "over"

// Merge returns the manifest of the view of these parts, whose files have their objects
// already.
func Merge(p Parts) *record.Manifest {
	identity := p.Identity()
	v := &record.Manifest{
		Layout: layout.FormatVersion, Name: layout.ViewName, Version: Dir(identity), Tree: Dir(identity),
		Architecture: "all", Origin: record.OriginView, Identity: identity,
	}
	b := &builder{files: map[string]record.File{}, dirs: map[string]bool{}}
	for _, g := range p.Generated {
		v.Generated = append(v.Generated, g.Generated)
		for _, f := range g.Files {
			if keeps(&f) {
				b.add(f)
			}
		}
	}
	for _, l := range p.Links {
		if f := (record.File{Path: l.Path, Type: record.TypeSymlink, Mode: 0o777, Target: l.Target}); keeps(&f) {
			b.add(f)
		}
	}
	for i := range p.Conf {
		b.add(merged(&p.Conf[i]))
	}
	loaded := loadedByPath(p.Trees)
	for _, m := range p.Trees {
		for i := range m.Files {
			f := &m.Files[i]
			if !keeps(f) {
				continue
			}
			if in := loaded[inTree{layout.TreePath(m.Name, m.Tree), f.Path}]; in != "" && f.Type == record.TypeFile {
				b.add(record.File{Path: f.Path, Type: record.TypeSymlink, Mode: 0o777, Target: in})
				continue
			}
			b.add(mergedOf(m, f))
		}
	}
	last := p.Libraries
	if m := p.Conversions; m != nil {
		last = append(slices.Clone(last), m)
		for i := range m.Files {
			if f := &m.Files[i]; isConversion(f.Path) && keeps(f) {
				b.add(mergedOf(m, f))
			}
		}
	}
	v.Merged = b.addBeside(p, v.Tree)
	b.addLibraries(p)
	b.addEmpty(p)
	for _, m := range slices.Concat(p.Trees, last) {
		if t := layout.TreePath(m.Name, m.Tree); !slices.Contains(v.Merged, t) {
			v.Merged = append(v.Merged, t)
		}
	}
	for _, f := range b.files {
		v.Files = append(v.Files, f)
	}
	v.Files = append(v.Files, releaseFile(v.Tree))
	slices.SortFunc(v.Files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	v.Index()
	return v
}

// Release is the content of the file in each view by which systemd takes it for an extension of
// any system: systemd-sysext(8).
const Release = "ID=_any\n"

func releaseFile(dir string) record.File {
	d := digest.Of([]byte(Release))
	return record.File{
		Path: "usr/lib/extension-release.d/extension-release." + dir, Type: record.TypeFile, Mode: 0o644, Object: d, Size: int64(len(Release)), Source: d,
	}
}

// addEmpty adds the directories in which nothing is.
func (b *builder) addEmpty(p Parts) {
	var dirs []string
	for _, m := range p.Trees {
		for i := range m.Files {
			if f := &m.Files[i]; f.Type == record.TypeDirectory && strings.Count(f.Path, "/") > 1 && keepsPath(f.Path) && !hasPrefix(f.Path+"/", unneeded) {
				dirs = append(dirs, f.Path)
			}
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Backward(dirs) { // those within others first
		b.add(record.File{Path: dir, Type: record.TypeDirectory, Mode: 0o755})
	}
}

// builder gathers the files of a view.
type builder struct {
	files map[string]record.File
	dirs  map[string]bool
}

// add adds a file, unless something has its path, or stands on the way to it as no
// directory.
func (b *builder) add(f record.File) {
	if _, taken := b.files[f.Path]; taken || b.dirs[f.Path] {
		return
	}
	for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
		if _, isFile := b.files[dir]; isFile {
			return
		}
	}
	b.files[f.Path] = f
	for dir := path.Dir(f.Path); dir != "." && !b.dirs[dir]; dir = path.Dir(dir) {
		b.dirs[dir] = true
	}
}

// inTree is a file by its tree and its path in that.
type inTree struct{ tree, path string }

// loadedByPath returns the absolute paths of the libraries of trees that programs of trees are bound
// to. A view has links to these in the place of such a library: by its own inode there, the
// loader would take it for another one, load it again, and what it knows would be there twice.
func loadedByPath(trees []*record.Manifest) map[inTree]string {
	bound := map[string]bool{}
	for _, m := range trees {
		for i := range m.Files {
			if f := &m.Files[i]; f.ELF != nil && f.ELF.IsProgram() {
				for _, n := range f.Needs {
					bound[n.Path] = true
				}
			}
		}
	}
	byName := map[string][]string{}
	for p := range bound {
		byName[path.Base(p)] = append(byName[path.Base(p)], p)
	}
	loaded := map[inTree]string{}
	for _, m := range trees {
		tree := layout.TreePath(m.Name, m.Tree)
		for i := range m.Files {
			f := &m.Files[i]
			for _, p := range byName[path.Base(f.Path)] {
				if f.ELF != nil && f.ELF.HasDynamic && !f.ELF.IsProgram() && strings.HasSuffix(p, "/"+tree+"/"+f.Path) {
					loaded[inTree{tree, f.Path}] = p
				}
			}
		}
	}
	return loaded
}

// mergedOf returns a file of a tree as a view has it: in the place of a link to a library
// that is left out, as those are by which Lua finds its modules, that library.
func mergedOf(m *record.Manifest, f *record.File) record.File {
	if f.Type == record.TypeSymlink {
		if to := m.Resolve(f.Path); to != nil && to.Type == record.TypeFile && isLibrary(to) {
			library := merged(to)
			library.Path = f.Path
			return library
		}
	}
	return merged(f)
}

// merged returns a file as a view has it: without attributes, and without the bits that
// give rights.
func merged(f *record.File) record.File {
	m := record.File{Path: f.Path, Type: f.Type, Mode: f.Mode, UID: f.UID, GID: f.GID}
	if f.Type == record.TypeSymlink {
		m.Target = f.Target
		if f.PackageTarget != "" {
			m.Target = f.PackageTarget
		}
		return m
	}
	m.Mode &^= 0o7000
	m.Object, m.Size, m.Source = f.Object, f.Size, f.Object
	return m
}
