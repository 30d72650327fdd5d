package images

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// documentation and translations begin the paths of files that an image has on request only.
var (
	documentation = []string{
		"usr/share/doc", "usr/share/doc-base", "usr/share/man", "usr/share/info", "usr/share/lintian", "usr/share/bug", "usr/share/gtk-doc",
		"usr/share/help", "usr/share/menu", "usr/share/reportbug", "usr/share/apport", "usr/lib/.build-id",
	}
	translations = []string{"usr/share/locale"}
)

// Keep says what is in images of that which programs do without.
type Keep struct {
	Documentation bool // manual pages and the like; licenses are in every image
	Translations  bool // of messages
}

// keeps reports whether an image has a path of a package.
func (k Keep) keeps(p string) bool {
	isBelow := func(dir string) bool { return below(p, dir) }
	if !k.Documentation && slices.ContainsFunc(documentation, isBelow) {
		return path.Base(p) == "copyright" && below(p, "usr/share/doc")
	}
	return k.Translations || !slices.ContainsFunc(translations, isBelow)
}

// tree is a tree of an image.
type tree struct {
	*record.Manifest
	isDefault, asked bool
	// alone: its files stand below the prefix, since others have their places.
	alone bool
}

// placed are the trees of an image where they stand.
type placed struct {
	prefix string // without the slash in front
	keep   Keep
	trees  []*tree
	files  map[string]*entry // by path: what stands outside the prefix
	dirs   map[string]bool   // directories on the way to these
	owned  map[string]entry  // directories that packages have, as the first of them has each
}

// place says where trees stand: those that are defaults at the paths of their packages, what was asked
// for first, unless another has a place of theirs.
func place(prefix string, keep Keep, trees []*tree) *placed {
	p := &placed{strings.TrimPrefix(prefix, "/"), keep, trees, map[string]*entry{}, map[string]bool{}, map[string]entry{}}
	order := slices.Clone(trees)
	slices.SortStableFunc(order, func(a, b *tree) int {
		rank := func(t *tree) int {
			if t.asked {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Tree, b.Tree))
	})
	for _, t := range order {
		files := p.payload(t, "")
		t.alone = !t.isDefault || slices.ContainsFunc(files, func(e entry) bool { return p.isTaken(&e) })
		if t.alone {
			continue
		}
		for i := range files {
			p.add(&files[i])
		}
	}
	for _, t := range trees {
		if t.alone {
			continue
		}
		for _, e := range p.payload(t, "") {
			if _, has := p.owned[e.path]; e.kind == record.TypeDirectory && !has {
				p.owned[e.path] = e
			}
		}
	}
	return p
}

// standing returns the trees whose files stand at the paths of their packages.
func (p *placed) standing() []*record.Manifest {
	var all []*record.Manifest
	for _, t := range p.trees {
		if !t.alone {
			all = append(all, t.Manifest)
		}
	}
	return all
}

// dirOf returns a directory with the owner and mode that it has in all layers: as dpkg has it, the first package
// decides.
func (p *placed) dirOf(name string) entry {
	if e, ok := p.owned[name]; ok {
		return e
	}
	return dir(name)
}

// isTaken reports whether something else stands at an entry's path, or on the way to it.
func (p *placed) isTaken(e *entry) bool {
	if e.kind == record.TypeDirectory {
		return p.files[e.path] != nil
	}
	have := p.files[e.path]
	return have != nil && !have.same(e) || p.dirs[e.path] || p.isInside(e.path)
}

// isInside reports whether something that is no directory stands on the way to a path.
func (p *placed) isInside(name string) bool {
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		if p.files[d] != nil {
			return true
		}
	}
	return false
}

// add adds an entry, which is not taken.
func (p *placed) add(e *entry) {
	d := e.path
	if e.kind != record.TypeDirectory {
		p.files[e.path] = e
		d = path.Dir(e.path)
	}
	for ; d != "." && !p.dirs[d]; d = path.Dir(d) {
		p.dirs[d] = true
	}
}

// isPayload reports whether a file of a manifest is the package's, and not hashpkg's own.
func isPayload(f *record.File) bool {
	return !f.IsMade() && !below(f.Path, "closures")
}

// payload returns the files of a package, below top; "" for the paths that the package gave them.
func (p *placed) payload(t *tree, top string) []entry {
	var entries []entry
	for i := range t.Files {
		f := &t.Files[i]
		if !isPayload(f) || !p.keep.keeps(f.Path) {
			continue
		}
		e := entryOf(f)
		if top == "" && f.PackageTarget != "" {
			e.target = f.PackageTarget
		}
		e.path = path.Join(top, f.Path)
		entries = append(entries, e)
	}
	return entries
}

// entryOf returns a file of a tree.
func entryOf(f *record.File) entry {
	e := entry{path: f.Path, kind: f.Type, mode: f.Mode, uid: f.UID, gid: f.GID}
	switch f.Type {
	case record.TypeFile:
		e.object, e.size, e.xattrs = f.Object, f.Size, f.Xattrs
	case record.TypeSymlink:
		e.mode, e.target = 0o777, f.Target
	}
	return e
}

// layer returns the files of a tree's layer, complete.
func (p *placed) layer(t *tree) []entry {
	top := path.Join(p.prefix, layout.TreePath(t.Name, t.Tree))
	entries := []entry{dir(top)}
	if t.alone {
		entries = append(entries, p.payload(t, top)...)
	} else {
		for _, e := range p.payload(t, "") {
			if e.kind == record.TypeDirectory {
				e = p.dirOf(e.path)
			}
			entries = append(entries, e)
		}
		up := strings.Repeat("../", strings.Count(top, "/")+1)
		leads := map[string]bool{}
		for i := range t.Files {
			if name, _, _ := strings.Cut(t.Files[i].Path, "/"); isPayload(&t.Files[i]) && !leads[name] {
				leads[name] = true
				entries = append(entries, link(top+"/"+name, up+name))
			}
		}
	}
	for i := range t.Files {
		f := &t.Files[i]
		if isPayload(f) || f.Linker != "" { // what is shown in place of linkers is for views
			continue
		}
		e := entryOf(f)
		e.path = top + "/" + f.Path
		entries = append(entries, e)
	}
	for _, l := range t.Links {
		if p.keep.keeps(l.File()) && t.Lookup(l.Path) == nil {
			entries = append(entries, link(top+"/"+l.Path, l.Target))
		}
	}
	if b := status(t.Manifest); b != nil {
		name := t.Name
		if t.alone {
			name += "_" + t.Tree
		}
		entries = append(entries, text("var/lib/dpkg/status.d/"+name, b))
	}
	return complete(entries, p.dirOf)
}

// status returns what scanners of images read of a package of dpkg: one paragraph of
// deb-control(5), where nothing of dpkg's own reads it. It is nil for other packages.
func status(m *record.Manifest) []byte {
	if m.Format != "deb" {
		return nil
	}
	var b strings.Builder
	b.WriteString("Package: " + m.Name + "\nStatus: install ok installed\nArchitecture: " + m.Architecture + "\n")
	if m.Source != "" {
		b.WriteString("Source: " + m.Source + "\n")
	}
	b.WriteString("Version: " + m.Version + "\n")
	if m.Summary != "" {
		b.WriteString("Description: " + m.Summary + "\n")
	}
	return []byte(b.String())
}
