package closure

import (
	"debug/elf"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
)

// NewPackage returns a tree as a closure has it, with its edits undone. sha256 returns the digest of
// packaged bytes. Who made it, where its package comes from and how it is installed remain to be set.
func NewPackage(m *record.Manifest, sha256 func(*record.File) (SHA256, error)) (*Package, error) {
	d := plan.DraftOf(m)
	p := &Package{
		Name: d.Name, Version: d.Version, Architecture: d.Architecture, Kind: d.Format,
		Binding: d.Binding, Tree: m.Tree, Part: d.Part,
		From:   Distributed{File: d.Package.File, Size: d.Package.Size, BLAKE3: d.Package.Digest, Signer: d.Package.Signer},
		Source: d.Source, Summary: d.Summary, Requires: d.Requires, Recommends: d.Recommends, Provides: d.Provides,
		Scripts: d.Scripts, Alternatives: d.Alternatives, WouldMake: d.WouldMake, Unread: d.Unread, Control: d.Control,
		Files: make([]File, 0, len(d.Files)),
	}
	commands := map[string]bool{}
	for _, l := range m.Links {
		if dir := path.Dir(l.Path); dir == "bin" || dir == "sbin" {
			commands[l.File()] = true
		}
	}
	for i := range d.Files {
		f := &d.Files[i]
		o := File{
			Path: f.Path, Type: f.Type, Mode: f.Mode, UID: f.UID, GID: f.GID, Conffile: f.Conffile, Xattrs: f.Xattrs,
		}
		switch f.Type {
		case record.TypeSymlink:
			o.Target = f.Target
			if f.PackageTarget != "" {
				o.Target = f.PackageTarget
			}
		case record.TypeFile:
			sum, err := sha256(f)
			if err != nil {
				return nil, err
			}
			o.BLAKE3, o.SHA256, o.Size, o.Kind = f.Source, sum, f.Size, kindOf(f, commands[f.Path])
			if f.ELF != nil {
				o.Soname = f.ELF.Soname
			}
			for _, e := range m.Lookup(f.Path).Edits {
				o.Edits = append(o.Edits, e.Kind)
			}
		}
		p.Files = append(p.Files, o)
	}
	return p, nil
}

// kindOf returns what a file is for, as far as it says itself: see [Manifest.MarkPlugins].
func kindOf(f *record.File, isCommand bool) Kind {
	switch {
	case f.ELF == nil && isCommand && f.Script != "", f.ELF != nil && (f.ELF.Interpreter != "" || f.ELF.Type == elf.ET_EXEC):
		return Program
	case f.ELF != nil && f.ELF.HasDynamic:
		return Library
	}
	return Data
}

// MarkPlugins makes plugins of those shared objects of a closure that no file of it names.
func MarkPlugins(packages []Package, named map[string]bool) {
	for i := range packages {
		for j := range packages[i].Files {
			f := &packages[i].Files[j]
			if f.Kind == Library && !named[f.Soname] && !named[path.Base(f.Path)] {
				f.Kind, f.OnDemand = Plugin, true
			}
		}
	}
}

// LeaveOutData leaves the data of a package out: what remains are its programs and libraries, the links
// to them, and the directories that these stand in.
func (p *Package) LeaveOutData() {
	p.Part, p.Identity = record.PartCode, digest.Digest{}
	keep := map[string]bool{}
	for i := range p.Files {
		f := &p.Files[i]
		isCode := f.Type == record.TypeFile && f.Kind != Data || f.Type == record.TypeSymlink && strings.Contains(path.Base(f.Path), ".so")
		for dir := f.Path; isCode && dir != "."; dir = path.Dir(dir) {
			keep[dir] = true
		}
	}
	p.Files = slices.DeleteFunc(p.Files, func(f File) bool { return !keep[f.Path] })
}

// Draft returns what a reader of the package's file would have made of it, but for what is found in the
// bytes of its files, which whoever brings them looks at himself.
func (p *Package) Draft() *record.Manifest {
	m := &record.Manifest{
		Layout: layout.FormatVersion, Name: p.Name, Version: p.Version, Architecture: p.Architecture, Format: p.Kind,
		Origin: record.OriginPrivate, Part: p.Part,
		Package: record.PackageFile{File: p.From.File, Size: p.From.Size, Digest: p.From.BLAKE3},
		Source:  p.Source, Summary: p.Summary, Requires: p.Requires, Recommends: p.Recommends, Provides: p.Provides,
		Scripts: p.Scripts, Alternatives: p.Alternatives, WouldMake: p.WouldMake, Unread: p.Unread, Control: p.Control,
		Files: make([]record.File, len(p.Files)),
	}
	for i := range p.Files {
		f := &p.Files[i]
		m.Files[i] = record.File{
			Path: f.Path, Type: f.Type, Mode: f.Mode, UID: f.UID, GID: f.GID, Conffile: f.Conffile, Xattrs: f.Xattrs,
			Target: f.Target, Object: f.BLAKE3, Source: f.BLAKE3, Size: f.Size,
		}
	}
	m.Index()
	return m
}
