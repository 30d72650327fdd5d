package view

import (
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Libs is the directory of a view with what a linker sees over the rest: the libraries, the
// linkers themselves, and what says that it does.
const (
	Libs     = "libs"
	libsSeen = Libs + "/usr/lib/.hashpkg-libs"
	loader   = Libs + "/loader"
)

// inLibraryDir reports whether a file of the C library's package is one that its libraries
// go with: these, and their modules.
func inLibraryDir(p string) bool {
	return hasPrefix(p, []string{"usr/lib/", "usr/lib64/", "usr/lib32/", "usr/libx32/"})
}

// loaders are where programs look for glibc's loader.
var loaders = []string{"usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1"}

// addLibraries adds what linkers see, and puts what runs them in their place in the view.
func (b *builder) addLibraries(p Parts) {
	if len(p.Libraries) == 0 {
		return
	}
	put := func(f record.File) {
		f.Path = Libs + "/" + f.Path
		b.add(f)
	}
	link := func(path, target string) {
		b.add(record.File{Path: path, Type: record.TypeSymlink, Mode: 0o777, Target: target})
	}
	link(libsSeen, ".")
	for _, m := range p.Libraries {
		family := IsLoaderFamily(m)
		for i := range m.Files {
			f := &m.Files[i]
			if f.Type != record.TypeFile && f.Type != record.TypeSymlink || isLoaderDir(f.Path) {
				continue
			}
			if isLibrary(f) && !decidesRights(f.Path) || family && inLibraryDir(f.Path) {
				put(merged(f))
			}
		}
		for _, l := range loaders {
			if f, where := m.Follow(l); family && f != nil {
				link(loader, p.Name+"/"+Libs+"/"+where)
			}
		}
	}
	for _, m := range p.Trees {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Linker == "" || m.Lookup(f.Linker) == nil {
				continue
			}
			linker := merged(m.Lookup(f.Linker))
			if b.files[linker.Path].Object == linker.Object {
				put(linker)
				runs := merged(f)
				runs.Path = linker.Path
				b.files[linker.Path] = runs
			}
		}
	}
}

// HasLibraries reports whether a view has libraries for linkers.
func HasLibraries(v *record.Manifest) bool { return v.Lookup(loader) != nil }

// Unfit returns the path in the root of a library that the view of these trees would put in
// place of the root's, and which lacks symbol versions that the root's has; "" for none.
// Programs of the root's would not start where such libraries are seen. defined returns the
// versions that a file of the root has, nil for no library.
func Unfit(closure []*record.Manifest, defined func(path string) []elfedit.VersionDef) string {
	for _, m := range closure {
		for _, l := range loaders { // which finds the C library that it was built with, and no other
			if f, where := m.Follow(l); f != nil && IsLoaderFamily(m) && len(defined("/"+path.Dir(where)+"/"+layout.LibcName(f.ELF))) == 0 {
				return "/" + l
			}
		}
		for i := range m.Files {
			f := &m.Files[i]
			if f.ELF == nil || !isLibrary(f) || decidesRights(f.Path) {
				continue
			}
			for _, d := range defined("/" + path.Dir(f.Path) + "/" + f.ELF.Soname) {
				if !slices.Contains(f.ELF.VersionDefs, d) && !strings.HasSuffix(d.Name, "_PRIVATE") {
					return "/" + f.Path
				}
			}
		}
	}
	return ""
}
