package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// exporter is a file that may answer the look-ups of others.
type exporter struct {
	request SymbolsRequest
	name    string // its soname; of a file without one, where it stands in its package
	tree    *candidate
	of      []*relative // who brings it into their processes; nil for everybody
}

// exporterOf returns a file of a package as an exporter; false for a file that answers nobody.
func exporterOf(c *candidate, f *record.File) (exporter, bool) {
	if f.ELF == nil || !f.ELF.HasDynamic {
		return exporter{}, false
	}
	e := exporter{request: SymbolsRequest{File: f, Installed: c.tree != nil}, name: f.ELF.Soname, tree: c}
	if e.name == "" {
		e.name = c.m.Name + " " + c.m.Architecture + " " + f.Path
	}
	return e, true
}

// isRival reports whether the file is another one than a library which may stand beside it in
// a process: not the same library in another version of its package, or of another's.
func (e *exporter) isRival(library *exporter) bool {
	if e.request.File == library.request.File {
		return false
	}
	return e.name != library.name || e.tree == library.tree
}

// exportersOf returns the files of packages.
func exportersOf(packages ...*candidate) (list []exporter) {
	for _, c := range packages {
		for i := range c.m.Files {
			if e, ok := exporterOf(c, &c.m.Files[i]); ok {
				list = append(list, e)
			}
		}
	}
	return list
}

// rootExporters returns the libraries of the root that files of the command's packages load,
// with whose these are.
func (p *planner) rootExporters(of map[string]*relative) (list []exporter) {
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
	for _, path := range slices.Sorted(maps.Keys(users)) {
		e := exporter{request: SymbolsRequest{Path: path}, name: objects[path].Info.Soname, of: slices.Collect(maps.Keys(users[path]))}
		if e.name == "" {
			e.name = path
		}
		list = append(list, e)
	}
	return list
}

// batch is of how many files the symbols are read at once.
const batch = 256

// eachExport calls f with the exports of files, which are in memory a part at a time.
func (p *planner) eachExport(files []exporter, f func(e *exporter, s Symbol)) error {
	for part := range slices.Chunk(files, batch) {
		requests := make([]SymbolsRequest, len(part))
		for i := range part {
			requests[i] = part[i].request
		}
		symbols, err := p.in.Symbols(requests)
		if err != nil {
			return err
		}
		for i := range part {
			for _, s := range symbols[i].Exports {
				f(&part[i], s)
			}
		}
	}
	return nil
}

// ownOf is a library with the symbols that its relocations are, or could be, bound to.
type ownOf struct {
	exporter
	at    *relative        // its package
	in    *record.Manifest // of a tree
	bound []Symbol
}

// wanted are libraries by the names of their symbols.
type wanted map[uint64][]wantedSymbol

type wantedSymbol struct {
	library *ownOf
	symbol  Symbol
}

func wantedOf(libraries []ownOf) wanted {
	w := wanted{}
	for i := range libraries {
		for _, s := range libraries[i].bound {
			w[s.Name] = append(w[s.Name], wantedSymbol{&libraries[i], s})
		}
	}
	return w
}

// readOwn sets what libraries are bound to, or could be: of trees without what their records leave out.
func (p *planner) readOwn(libraries []ownOf) error {
	requests := make([]SymbolsRequest, len(libraries))
	for i := range libraries {
		requests[i] = libraries[i].request
		requests[i].Own = true
	}
	symbols, err := p.in.Symbols(requests)
	if err != nil {
		return err
	}
	for i := range libraries {
		l := &libraries[i]
		l.bound = symbols[i].Own
		if l.in == nil {
			continue
		}
		left := map[Symbol]bool{}
		for _, text := range self(l.request.File).From {
			left[parseSymbol(text)] = true
		}
		l.bound = slices.DeleteFunc(slices.Clone(l.bound), func(s Symbol) bool { return left[s] })
	}
	return nil
}

// boundLibraries returns the libraries of a tree that are bound to themselves.
func boundLibraries(c *candidate, at *relative, m *record.Manifest) (list []ownOf) {
	for i := range m.Files {
		f := &m.Files[i]
		if f.ELF == nil || f.ELF.IsProgram() || self(f) == nil {
			continue
		}
		e, ok := exporterOf(c, f)
		if !ok {
			continue
		}
		e.request.Installed = true
		list = append(list, ownOf{exporter: e, at: at, in: m})
	}
	return list
}

// takenOf returns, of each library of the command, its symbols that some other file answers:
// of the command, of any private tree, or of the root's libraries that the command's load; with the
// first such file.
func (p *planner) takenOf(libraries []ownOf) ([]map[Symbol]*exporter, error) {
	_, of := p.familySet()
	packages := slices.Clone(p.command)
	for _, trees := range [][]*record.Tree{p.defaults, p.others} {
		for _, t := range trees {
			c, err := p.load(t)
			if err != nil {
				return nil, err
			}
			packages = append(packages, c)
		}
	}
	w := wantedOf(libraries)
	found := map[*ownOf]map[Symbol]*exporter{}
	err := p.eachExport(slices.Concat(exportersOf(packages...), p.rootExporters(of)), func(e *exporter, s Symbol) {
		for _, want := range w[s.Name] {
			if !s.MayAnswer(want.symbol) || !e.isRival(&want.library.exporter) {
				continue
			}
			if found[want.library] == nil {
				found[want.library] = map[Symbol]*exporter{}
			}
			if found[want.library][want.symbol] == nil {
				found[want.library][want.symbol] = e
			}
		}
	})
	taken := make([]map[Symbol]*exporter, len(libraries))
	for i := range libraries {
		taken[i] = found[&libraries[i]]
	}
	return taken, err
}

// rivalsOf says because of which files symbols were left out of what a library is bound to; those
// that answer the most come first.
func rivalsOf(left []string, taken map[Symbol]*exporter) (rivals []record.Rival) {
	for _, text := range left {
		e := taken[parseSymbol(text)]
		if e == nil {
			continue
		}
		one := record.Rival{Path: e.request.Path}
		if e.tree != nil {
			one = record.Rival{Provider: e.tree.m.Spec(), Path: e.request.File.Path}
		}
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
