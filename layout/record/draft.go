package record

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// ErrTwice is returned for a path that a package has already.
var ErrTwice = errors.New("is in the package twice")

// Draft is the manifest of a tree while its files are found, one after another. It
// has no tree, identity, edits and links yet: these are planned.
type Draft struct {
	m      *Manifest
	byPath map[string]int
}

// NewDraft begins the manifest of a package's tree. The error is a
// *layout.NameError for a name or version that cannot stand in a path.
func NewDraft(p *pkginfo.Package, origin Origin) (*Draft, error) {
	if err := layout.CheckName(p.Name); err != nil {
		return nil, err
	}
	if _, err := layout.EscapeVersion(p.Version); err != nil {
		return nil, err
	}
	if _, err := layout.EscapeVersion(p.Architecture); err != nil {
		return nil, fmt.Errorf("architecture: %w", err)
	}
	m := &Manifest{
		Layout: layout.FormatVersion, Name: p.Name, Version: p.Version, Architecture: p.Architecture,
		Format: p.Format, Origin: origin, Source: p.Source, Summary: p.Summary,
	}
	if origin == OriginPrivate { // who follows a package manager leaves relations and scripts to it
		m.Requires, m.Recommends, m.Provides = p.Requires, p.Recommends, p.Provides
		for _, s := range p.Scripts {
			m.Scripts = append(m.Scripts, s.Name)
		}
		m.Control = controlOf(p)
	}
	return &Draft{m: m, byPath: map[string]int{}}, nil
}

// controlOf returns what would configure a package; nil for nothing.
func controlOf(p *pkginfo.Package) *Control {
	c := &Control{Scripts: map[string][]byte{}, Triggers: p.Triggers, Templates: p.Templates}
	some := false
	for _, s := range p.Scripts {
		switch s.Name {
		case "postinst", "config":
			c.Scripts[s.Name] = []byte(s.Body)
			some = some || s.Name == "postinst"
		case "post", "posttrans":
			if body := rpmScript(&s); body != nil {
				c.Scripts[s.Name] = body
			}
			some = true
			c.Triggers = nil // of which rpm's wait for files
		}
	}
	if !some {
		return nil
	}
	return c
}

// rpmScript returns a scriptlet of rpm as a file that can be executed; nil where it is of no use. One
// that rpm itself interprets keeps that in its first line: "#!<lua>".
func rpmScript(s *pkginfo.Script) []byte {
	switch program := strings.Fields(s.Interpreter); {
	case len(program) == 0:
		return nil
	case path.Base(program[0]) == "ldconfig": // programs in trees do not ask its cache
		return nil
	case strings.TrimSpace(s.Body) == "" && strings.HasPrefix(program[0], "<"):
		return nil
	case strings.TrimSpace(s.Body) == "": // the program itself is the script
		return []byte("#!/bin/sh\nexec " + s.Interpreter + " \"$@\"\n")
	}
	return []byte("#!" + s.Interpreter + "\n" + s.Body)
}

// DraftFrom begins a manifest that says of its package what said says.
func DraftFrom(said *Manifest) *Draft {
	m := *said
	m.Files, m.index = nil, nil
	return &Draft{m: &m, byPath: map[string]int{}}
}

// At returns the file that was put at a path; nil for none. It is valid until the
// next Put.
func (d *Draft) At(path string) *File {
	if i, ok := d.byPath[path]; ok {
		return &d.m.Files[i]
	}
	return nil
}

// Put adds a file. A directory may come twice, since "lib" and "usr/lib" are one;
// another path that is there is ErrTwice.
func (d *Draft) Put(f File) error {
	if have := d.At(f.Path); have != nil {
		if f.Type == TypeDirectory && have.Type == TypeDirectory {
			return nil
		}
		return ErrTwice
	}
	d.byPath[f.Path] = len(d.m.Files)
	d.m.Files = append(d.m.Files, f)
	return nil
}

// Keep takes files out for which keep is false. Links can be followed in m.
func (d *Draft) Keep(keep func(m *Manifest, f *File) bool) {
	d.m.Index()
	var kept []File
	for i := range d.m.Files {
		if f := &d.m.Files[i]; keep(d.m, f) {
			kept = append(kept, *f)
		}
	}
	d.m.Files = kept
}

// Manifest returns the draft with its files sorted, and with links that led out of
// the tree leading inside.
func (d *Draft) Manifest() *Manifest {
	m := d.m
	slices.SortFunc(m.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	m.Index()
	for i := range m.Files {
		f := &m.Files[i]
		if f.Type == TypeSymlink {
			if target := m.linkInside(f); target != f.Target {
				f.PackageTarget, f.Target = f.Target, target
			}
		}
	}
	return m
}

// linkInside returns what a payload's symlink holds in the tree. An absolute link
// to the package's own file becomes a relative one, and ".." stops at the tree's
// top as it does at a root's.
func (m *Manifest) linkInside(f *File) string {
	dir := path.Dir(f.Path)
	if path.IsAbs(f.Target) {
		to := m.Resolve(f.Target)
		if to == nil {
			return f.Target // another package's, or nobody's
		}
		return relative(dir, layout.MergeUsr(strings.TrimPrefix(path.Clean(f.Target), "/")))
	}
	if joined := path.Join(dir, f.Target); joined == ".." || strings.HasPrefix(joined, "../") {
		inside := layout.MergeUsr(strings.TrimPrefix(path.Join("/", dir, f.Target), "/"))
		return relative(dir, cmp.Or(inside, "."))
	}
	return f.Target
}

// relative returns the way from a directory to a path, both relative to the same
// top.
func relative(dir, to string) string {
	if dir == "." {
		return to
	}
	from, dest := strings.Split(dir, "/"), strings.Split(to, "/")
	for len(from) > 0 && len(dest) > 1 && from[0] == dest[0] {
		from, dest = from[1:], dest[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(dest, "/")
}
