package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// DefaultLibraries says what the root's loader finds for a library's name when no
// search path is in the way.
type DefaultLibraries struct {
	root    *Root
	cache   map[string][]ldso.CacheEntry // by soname, in the loader's order
	finders map[string]ldso.Finder       // by triplet
	scripts *bool                        // whether there are any of gdb's; nil when that is not known
}

// DefaultLibraries reads the loader's cache. A root without one has none, as when
// ldconfig has still to run: its default directories are searched then.
func (r *Root) DefaultLibraries() (*DefaultLibraries, error) {
	d := &DefaultLibraries{root: r, cache: map[string][]ldso.CacheEntry{}, finders: map[string]ldso.Finder{}}
	b, err := r.ReadFile("/etc/ld.so.cache", maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the loader's cache: %w", err)
	}
	entries, err := ldso.ParseCache(b)
	if err != nil {
		return d, nil //nolint:nilerr // one that is damaged is as good as none, to the loader too
	}
	for _, e := range entries {
		d.cache[e.Name] = append(d.cache[e.Name], e)
	}
	return d, nil
}

// Has reports whether a program whose needs include the name of place, a library's
// path in the root, would load it by that very path: nothing else that the loader
// may take is before it, such as a build of the administrator's in /usr/local/lib.
// variants are the paths of builds for certain processors that belong to it.
func (d *DefaultLibraries) Has(place string, variants []string) bool {
	want := d.place(path.Clean(place))
	list := d.cache[path.Base(place)]
	plain := func(e ldso.CacheEntry) bool { return e.Subdir == "" && e.HWCap == 0 }
	i := slices.IndexFunc(list, func(e ldso.CacheEntry) bool { return plain(e) && d.place(e.Path) == want })
	if i >= 0 {
		for j, e := range list {
			if e.Flags == list[i].Flags && (plain(e) && j < i || !plain(e) && !d.among(variants, e.Path)) {
				return false
			}
		}
		return true
	}
	// Not in the cache: ldconfig has not run since it came, or does not know its
	// directory.
	o, err := files{d.root}.Inspect(place)
	if err != nil {
		return false
	}
	abi := &elfedit.Info{Class: o.Info.Class, Data: o.Info.Data, Machine: o.Info.Machine, OSABI: o.Info.OSABI, Flags: o.Info.Flags, Type: o.Info.Type, Musl: o.Info.Musl}
	triplet := ldso.Triplet(abi)
	finder := d.finders[triplet]
	if finder == nil {
		if finder, err = d.root.System(abi); err != nil {
			return false
		}
		d.finders[triplet] = finder
	}
	found, err := finder.Find(path.Base(place), []*ldso.Object{{Path: "/", ID: "program", Info: abi}})
	// By another path it is what an alternative (update-alternatives(1)) or an
	// administrator's link leads to today.
	return err == nil && (d.place(found.Path) == want || d.among(variants, found.Path))
}

// debuggerScripts has the scripts that gdb runs for a library, by the library's path.
const debuggerScripts = "/usr/share/gdb/auto-load"

// HasScript reports whether gdb runs a script of its own for a library when a program
// loads it. These look for their modules from the path by which it was found, as
// libstdc++'s does, and fail where that is not the library's own.
func (d *DefaultLibraries) HasScript(place string) bool {
	if d.scripts == nil {
		_, err := d.root.Stat(debuggerScripts)
		has := err == nil
		d.scripts = &has
	}
	if !*d.scripts {
		return false
	}
	file, err := d.root.resolve(place)
	if err != nil {
		return false
	}
	_, err = d.root.Stat(debuggerScripts + "/" + file + "-gdb.py")
	return err == nil
}

// among reports whether one of the paths is that of a file.
func (d *DefaultLibraries) among(paths []string, file string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return d.place(p) == d.place(file) })
}

// place returns the path of a file in the root with links in its directory
// followed, but not the file's own: names are compared, not files.
func (d *DefaultLibraries) place(name string) string {
	if real, err := d.root.Real(name); err == nil {
		return real
	}
	return name
}
