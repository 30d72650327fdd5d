package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
)

// What relocations of a library may be bound to the library itself depends on the other
// files of its processes: see docs/layout.md. What is bound in a new tree is exclusive among all that
// there is: addSelf. Later another package may come that answers such a symbol, and runs
// with the library: findClashes has the command's packages use another tree of the library, in which
// less is bound, and leaves those that were there before as they are.

// prelocates reports whether a package of the command is to be bound to itself.
func (p *planner) prelocates() bool {
	return slices.ContainsFunc(p.command, func(c *candidate) bool { return c.m.Binding.IsPrelocated() })
}

// addSelf has the files of new trees bound to themselves, where their packages are to be.
// What cannot be bound stays as it is.
func (p *planner) addSelf() error {
	if p.in.Symbols == nil || p.in.Edit == nil || !p.prelocates() {
		return nil
	}
	var libraries []ownOf
	var files []*record.File
	var owners []int // places in libraries; -1 of a program
	for _, c := range p.command {
		if !c.m.Binding.IsPrelocated() || manifestAt(p.occupied[c], c.m.Tree) != nil {
			continue
		}
		for i := range c.m.Files {
			f := &c.m.Files[i]
			e, ok := exporterOf(c, f)
			// Musl's loader may take a symbol of any version, and would answer otherwise than expected here.
			if !ok || f.ELF.Musl || p.isForeign(c, f.ELF) || f.ELF.IsProgram() && p.results[f] == nil || p.edited[f].Refused != "" {
				continue
			}
			files = append(files, f)
			if f.ELF.IsProgram() { // which is asked before all others
				owners = append(owners, -1)
				continue
			}
			owners = append(owners, len(libraries))
			libraries = append(libraries, ownOf{exporter: e})
		}
	}
	if len(files) == 0 {
		return nil
	}
	if err := p.readOwn(libraries); err != nil {
		return err
	}
	taken, err := p.takenOf(libraries)
	if err != nil {
		return err
	}
	requests := make([]EditRequest, len(files))
	for i, f := range files {
		requests[i] = EditRequest{File: f, Edits: f.Edits, Taken: []Symbol{}}
		if owners[i] >= 0 {
			requests[i].Taken = slices.AppendSeq(requests[i].Taken, maps.Keys(taken[owners[i]]))
			slices.SortFunc(requests[i].Taken, CompareSymbols)
		}
	}
	results, err := p.makeEdits(requests)
	if err != nil {
		return err
	}
	for i, f := range files {
		if r := results[i]; r.Refused == "" && r.Patch != nil && r.Self != nil {
			self := *r.Self
			if owners[i] >= 0 {
				self.Rivals = rivalsOf(self.From, taken[owners[i]])
			}
			f.Edits, f.Patch, p.edited[f] = append(slices.Clone(f.Edits), self), r.Patch, r
		}
	}
	return nil
}

// process is what may come together in processes: a package of the command, or one that leads
// to such, with all that it leads to.
type process struct {
	root    *relative
	members map[*relative]bool
}

// processes returns those that something of the command may be in.
func (p *planner) processes() []process {
	s, of := p.familySet()
	ours := map[*relative]bool{}
	for _, c := range p.command {
		ours[of[ownerKey(c)]] = true
	}
	var list []process
	for _, r := range s.all {
		closure := s.closure(r)
		if !slices.ContainsFunc(closure, func(o *relative) bool { return ours[o] }) {
			continue
		}
		members := map[*relative]bool{}
		for _, o := range closure {
			members[o] = true
		}
		list = append(list, process{r, members})
	}
	return list
}

// findClashes looks for libraries of trees that are bound to themselves by symbols which another
// file answers in a process that something of the command is in. It notes their trees, so that
// nothing is bound to them. again is the input with which is planned anew, where packages of the command
// would use such trees: with their packages, which get trees in which less is bound.
func (p *planner) findClashes() (again *Input, err error) {
	isPrelocated := func(t record.Tree) bool { return t.Prelocated }
	if p.in.Symbols == nil || !p.prelocates() && !slices.ContainsFunc(p.in.Generation.Trees, isPrelocated) {
		return nil, nil
	}
	s, of := p.familySet()
	together := p.processes()
	users := map[*relative]bool{} // of what the command leads to
	for _, c := range p.command {
		for _, o := range s.closure(of[ownerKey(c)]) {
			users[o] = true
		}
	}
	byRelative := map[*relative]*candidate{}
	var libraries []ownOf
	for _, c := range p.command {
		byRelative[of[ownerKey(c)]] = c
		if !c.m.Binding.IsPrelocated() {
			continue
		}
		if err := p.readOccupied(c); err != nil {
			return nil, err
		}
		for _, m := range p.occupied[c] {
			if m.Package.Digest == c.m.Package.Digest {
				libraries = append(libraries, boundLibraries(c, of[ownerKey(c)], m)...)
			}
		}
	}
	for _, trees := range [][]*record.Tree{p.defaults, p.others} {
		for _, t := range trees {
			if r := of[t.Path()]; t.Prelocated && users[r] {
				c, err := p.load(t)
				if err != nil {
					return nil, err
				}
				libraries = append(libraries, boundLibraries(c, r, c.m)...)
			}
		}
	}
	if s.fault != nil || len(libraries) == 0 {
		return nil, s.fault
	}
	if err := p.readOwn(libraries); err != nil {
		return nil, err
	}
	var exporters []exporter
	for _, r := range s.all {
		if !slices.ContainsFunc(together, func(in process) bool { return in.members[r] }) {
			continue
		}
		c := byRelative[r]
		if c == nil {
			if c, err = p.load(r.tree); err != nil {
				return nil, err
			}
		}
		for _, e := range exportersOf(c) {
			e.of = []*relative{r}
			exporters = append(exporters, e)
		}
	}
	exporters = append(exporters, p.rootExporters(of)...)
	meets := func(l *ownOf, e *exporter) bool {
		return slices.ContainsFunc(together, func(in process) bool {
			return in.members[l.at] && slices.ContainsFunc(e.of, func(r *relative) bool { return in.members[r] })
		})
	}
	p.clashing = map[*record.Manifest]bool{}
	w := wantedOf(libraries)
	err = p.eachExport(exporters, func(e *exporter, symbol Symbol) {
		for _, want := range w[symbol.Name] {
			l := want.library
			if !p.clashing[l.in] && symbol.MayAnswer(want.symbol) && l.isMetBy(e) && meets(l, e) {
				p.clashing[l.in] = true
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return p.withoutClashes()
}

// isMetBy reports whether a file is a rival of the library: not the library itself, as its
// package has it, or as its tree has.
func (l *ownOf) isMetBy(e *exporter) bool {
	if e.tree == l.tree && e.request.File.Path == l.request.File.Path {
		return false
	}
	return e.isRival(&l.exporter)
}

// withoutClashes returns the input with the packages of clashing trees that the command's packages
// would use, and of what finds these by itself; nil where there are none.
func (p *planner) withoutClashes() (*Input, error) {
	s, of := p.familySet()
	anew := map[string]bool{}
	for _, c := range p.command {
		searched := map[string]bool{} // clashing trees that are not loaded from where a program says
		for _, r := range s.closure(of[ownerKey(c)]) {
			o := p.installed[r.tree]
			if o == nil || !p.clashing[o.m] {
				continue
			}
			switch p.useOf(c, o) {
			case isSearched:
				searched[r.tree.Path()] = true
				fallthrough
			case isListed:
				anew[r.tree.Path()] = true
			}
		}
		for _, r := range s.closure(of[ownerKey(c)]) {
			if r.ofCommand || len(searched) == 0 {
				continue
			}
			o, err := p.load(r.tree)
			if err != nil {
				return nil, err
			}
			if p.leadsTo(o.m, searched) {
				anew[r.tree.Path()] = true
			}
		}
	}
	if len(anew) == 0 {
		return nil, nil
	}
	in := p.in
	in.anew = map[string]bool{}
	for tree := range p.in.anew {
		in.anew[tree] = true
	}
	in.Command, in.Rebind = slices.Clone(in.Command), slices.Clone(in.Rebind)
	for i := range in.Generation.Trees {
		t := &in.Generation.Trees[i]
		if !anew[t.Path()] {
			continue
		}
		if in.anew[t.Path()] {
			return nil, fmt.Errorf("plan %s anew: internal error: it is used all the same", t.Spec())
		}
		in.anew[t.Path()] = true
		if len(in.Rebind) > 0 {
			if !slices.Contains(in.Rebind, t) {
				in.Rebind = append(in.Rebind, t)
			}
			continue
		}
		c, err := p.load(t)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(in.Command, func(m *record.Manifest) bool { return m.Package.Digest == c.m.Package.Digest }) {
			continue // by another tree of it, or its file was given
		}
		m := DraftOf(c.m)
		m.Named = t.Named
		m.Named.Asked = false
		m.Anew = true
		in.Command = append(in.Command, m)
	}
	return &in, nil
}

// use says how processes of a package come by the libraries of a tree, from that which needs the
// least to be done to that which needs the most.
type use int

const (
	isUnused   use = iota // they have others by these names
	isListed              // programs say where they are
	isSearched            // they may be found by what a library, or a program, searches
)

// useOf returns how processes with something of c, a package of the command, come by the libraries
// of o's tree that are bound to themselves.
func (p *planner) useOf(c, o *candidate) (all use) {
	if hasPrograms(c.m) {
		return p.useBy(c, o)
	}
	_, of := p.familySet()
	found := false
	for _, in := range p.processes() {
		if !in.members[of[ownerKey(c)]] || !hasPrograms(p.families.manifest(in.root)) {
			continue
		}
		i := slices.IndexFunc(p.command, func(o *candidate) bool { return of[ownerKey(o)] == in.root })
		if i < 0 {
			return isSearched
		}
		found, all = true, max(all, p.useBy(p.command[i], o))
	}
	if !found {
		return isSearched
	}
	return all
}

// useBy is useOf for the programs of a package.
func (p *planner) useBy(c, o *candidate) (all use) {
	for i := range c.m.Files {
		f := &c.m.Files[i]
		r := p.results[f]
		if r == nil || !f.ELF.IsProgram() {
			continue
		}
		if c.m.Binding.Bind == record.BindRunPath {
			return isSearched
		}
		names := map[string]bool{}
		for _, l := range r.closure.Objects {
			names[l.Info.Soname] = true
			if p.owners[l] == o {
				all = max(all, isListed)
			}
		}
		for _, l := range boundLibraries(o, nil, o.m) {
			if soname := l.request.File.ELF.Soname; soname == "" || !names[soname] {
				return isSearched
			}
		}
	}
	return all
}

func hasPrograms(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Files, func(f record.File) bool { return f.ELF != nil && f.ELF.IsProgram() && f.ELF.HasDynamic })
}

// leadsTo reports whether files of a tree lead to some trees, themselves or by others.
func (p *planner) leadsTo(m *record.Manifest, trees map[string]bool) bool {
	known := func(tree string) bool { return p.trees[tree] != nil }
	below := graph.Below(graph.OfManifest(m, known), func(tree string) []string {
		c, err := p.load(p.trees[tree])
		if err != nil {
			p.fault = errors.Join(p.fault, err)
			return nil
		}
		return graph.OfManifest(c.m, known)
	})
	return slices.ContainsFunc(below, func(tree string) bool { return trees[tree] })
}
