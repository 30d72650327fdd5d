package plan

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// exporter is a file that may answer the look-ups of others.
type exporter struct {
	file   *record.LinkedFile
	owner  string      // whose it is: see ownerKey
	spec   string      // "NAME=VERSION" of its package, where that is asked for; "" of the root's own
	of     []*relative // who brings it into their processes; not set where that is not asked
	unread string      // why its symbols cannot be read; "" for one of which they are known
}

// isRival reports whether the file is another one than a library which may stand beside it in
// a process: not the same library in another version of its package, or of another's.
func (e *exporter) isRival(library *exporter) bool {
	if e.owner == library.owner && e.file.Path == library.file.Path {
		return false
	}
	return e.file.Name != library.file.Name || e.owner == library.owner
}

// exportersOf returns the files of a package.
func exportersOf(l *linked, owner string, of ...*relative) (list []exporter) {
	for i := range l.Files {
		f := &l.Files[i]
		list = append(list, exporter{file: f, owner: owner, of: of, unread: l.unread[f.Path]})
	}
	return list
}

// rootExporters returns the libraries of the root that files of the command's packages load,
// with whose these are.
func (p *planner) rootExporters(of map[string]*relative) (list []exporter, err error) {
	users := map[string]map[*relative]bool{}
	objects := map[string]*ldso.Object{}
	for _, c := range p.command {
		for i := range c.m.Files {
			r := p.results[&c.m.Files[i]]
			if r == nil {
				continue
			}
			for _, o := range r.closure.Objects {
				if p.owners[o] != nil {
					continue
				}
				if users[o.Path] == nil {
					users[o.Path], objects[o.Path] = map[*relative]bool{}, o
				}
				users[o.Path][of[ownerKey(c)]] = true
			}
		}
	}
	var requests []SymbolsRequest
	for _, path := range slices.Sorted(maps.Keys(users)) {
		f := &record.LinkedFile{Path: path, Name: objects[path].Info.Soname}
		if f.Name == "" {
			f.Name = path
		}
		requests = append(requests, SymbolsRequest{Path: path})
		list = append(list, exporter{file: f, of: slices.Collect(maps.Keys(users[path]))})
	}
	symbols, err := p.readSymbols(requests)
	if err != nil {
		return nil, err
	}
	for i, s := range symbols {
		list[i].file.Exports, list[i].unread = encodeSymbols(s.Exports), s.Unread
	}
	return list, nil
}

// ownOf is a library with the symbols that its relocations are, or could be, bound to.
type ownOf struct {
	exporter
	at    *relative        // its package
	in    *record.Manifest // of a tree
	bound []Symbol
}

// wanted are libraries by the names of their symbols.
type wanted struct {
	byName map[uint64][]wantedSymbol
	filter []uint64 // a bit for each remainder of a name that is there: most names are not
}

type wantedSymbol struct {
	library *ownOf
	symbol  Symbol
}

func wantedOf(libraries []ownOf) *wanted {
	w := &wanted{byName: map[uint64][]wantedSymbol{}}
	for i := range libraries {
		for _, s := range libraries[i].bound {
			w.byName[s.Name] = append(w.byName[s.Name], wantedSymbol{&libraries[i], s})
		}
	}
	w.filter = make([]uint64, 1<<bits.Len(uint(len(w.byName)/4))) // 16 bits a name or more
	for name := range w.byName {
		word, bit := w.place(name)
		w.filter[word] |= bit
	}
	return w
}

func (w *wanted) place(name uint64) (word, bit uint64) {
	return name >> 6 & uint64(len(w.filter)-1), 1 << (name & 63)
}

// isOfLibC reports whether a file is of the C library, by its soname.
func isOfLibC(soname string) bool {
	stem, _, _ := strings.Cut(soname, ".so.")
	return slices.Contains([]string{"libc", "libm", "libpthread", "libdl", "librt", "libresolv", "libutil"}, stem)
}

// each calls f with each symbol by which a file may answer a symbol of a library that it is a rival of.
// Of a file that cannot be read it is every symbol, and of the C library its names in whatever version: they are
// what preloaded libraries have, without versions, and they mean all files that have the name.
func (w *wanted) each(e *exporter, libraries []ownOf, f func(*ownOf, Symbol)) {
	if e.unread != "" {
		for i := range libraries {
			if l := &libraries[i]; e.isRival(&l.exporter) {
				for _, s := range l.bound {
					f(l, s)
				}
			}
		}
		return
	}
	anyVersion := isOfLibC(e.file.Name)
	for name, version := range e.file.Exports.All() {
		if word, bit := w.place(name); w.filter[word]&bit == 0 {
			continue
		}
		for _, want := range w.byName[name] {
			if (anyVersion || (Symbol{name, version}).MayAnswer(want.symbol)) && e.isRival(&want.library.exporter) {
				f(want.library, want.symbol)
			}
		}
	}
}

// rivalsOf says because of which files symbols were left out of what a library is bound to; those
// that answer the most come first.
func rivalsOf(left []string, taken map[Symbol]*exporter) (rivals []record.Rival) {
	for _, text := range left {
		e := taken[parseSymbol(text)]
		if e == nil {
			continue
		}
		one := record.Rival{Provider: e.spec, Path: e.file.Path}
		i := slices.IndexFunc(rivals, func(r record.Rival) bool { return r.Provider == one.Provider && r.Path == one.Path })
		if i < 0 {
			i, rivals = len(rivals), append(rivals, one)
		}
		rivals[i].Symbols++
	}
	slices.SortStableFunc(rivals, func(a, b record.Rival) int {
		return cmp.Or(b.Symbols-a.Symbols, strings.Compare(a.Provider, b.Provider), strings.Compare(a.Path, b.Path))
	})
	return rivals
}
