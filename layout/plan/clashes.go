package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// process is what may come together in processes: a package of the command, or one that leads
// to such, with all that it leads to.
type process struct {
	root    *relative
	members map[*relative]bool
}

// processes returns those that something of the command may be in.
func (p *planner) processes() []process {
	if p.together != nil {
		return p.together
	}
	s, of := p.familySet()
	ours, leading := map[*relative]bool{}, map[*relative]bool{}
	for _, c := range p.command {
		r := of[ownerKey(c)]
		ours[r], leading[r] = true, true
		for _, o := range s.needing(r) {
			leading[o] = true
		}
	}
	p.together = []process{}
	for _, r := range s.all {
		unknown := p.isUnknown(r)
		if !leading[r] && !unknown {
			continue
		}
		closure := s.closure(r)
		if unknown {
			closure = s.all
		} else if !slices.ContainsFunc(closure, func(o *relative) bool { return ours[o] }) {
			continue
		}
		members := map[*relative]bool{}
		for _, o := range closure {
			members[o] = true
		}
		p.together = append(p.together, process{r, members})
	}
	return p.together
}

// isUnknown reports whether a package is a tree of which nothing is known.
func (p *planner) isUnknown(r *relative) bool {
	l := p.linked[r.tree.Path()]
	return !r.ofCommand && l != nil && l.isUnknown()
}

// link has the family set say by linkages what installed trees lead to. It returns what ends that: others
// want an error where a manifest cannot be read.
func (p *planner) link() (unlink func(), err error) {
	if err := p.linkTrees(slices.Concat(p.defaults, p.others)); err != nil {
		return nil, err
	}
	s, _ := p.familySet()
	lost := false
	for _, r := range s.all {
		if !r.ofCommand {
			r.linkage = p.linked[r.tree.Path()].Linkage
			lost = lost || p.isUnknown(r)
		}
	}
	return func() {
		if lost {
			p.families, p.relatives, p.together = nil, nil, nil
		}
	}, nil
}

// findClashes looks for libraries of trees that are bound to themselves by symbols which another
// file answers in a process that something of the command is in. It notes their trees, so that
// nothing is bound to them. again is the input with which is planned anew, where packages of the command
// would use such trees: with their packages, which get trees in which less is bound.
func (p *planner) findClashes() (again *Input, err error) {
	isPrelocated := func(t record.Tree) bool { return t.Prelocated }
	if p.in.Symbols == nil || !p.prelocates() && !slices.ContainsFunc(p.in.Generation.Trees, isPrelocated) {
		return nil, nil // the rest costs a look at all files
	}
	unlink, err := p.link()
	if err != nil {
		return nil, err
	}
	defer unlink()
	s, of := p.familySet()
	libraries, err := p.boundLibraries()
	if s.fault != nil || err != nil || len(libraries) == 0 {
		return nil, errors.Join(s.fault, err)
	}
	if err := p.linkCommand(); err != nil {
		return nil, err
	}
	together := p.processes()
	exporters, err := p.rootExporters(of)
	if err != nil {
		return nil, err
	}
	for _, c := range p.command {
		exporters = append(exporters, exportersOf(p.ours[c], ownerKey(c), of[ownerKey(c)])...)
	}
	for _, t := range slices.Concat(p.defaults, p.others) {
		r := of[t.Path()]
		if !slices.ContainsFunc(together, func(in process) bool { return in.members[r] }) {
			continue
		}
		loaded, err := p.withRemoved([]*record.Tree{t})
		if err != nil {
			return nil, err
		}
		for _, o := range loaded {
			exporters = append(exporters, exportersOf(p.linked[o.Path()], o.Path(), r)...)
		}
	}
	meets := func(l *ownOf, e *exporter) bool {
		return slices.ContainsFunc(together, func(in process) bool {
			return in.members[l.at] && slices.ContainsFunc(e.of, func(r *relative) bool { return in.members[r] })
		})
	}
	p.clashing = map[*record.Manifest]bool{}
	w := wantedOf(libraries)
	for i := range exporters {
		e := &exporters[i]
		asked := map[*ownOf]bool{} // once, not for each symbol
		w.each(e, libraries, func(l *ownOf, _ Symbol) {
			if asked[l] || p.clashing[l.in] {
				return
			}
			asked[l] = true
			if meets(l, e) {
				p.clashing[l.in] = true
			}
		})
	}
	return p.withoutClashes()
}

// boundLibraries returns the libraries of trees that are bound to themselves, and that packages of the command
// lead to or are to become.
func (p *planner) boundLibraries() (libraries []ownOf, err error) {
	s, of := p.familySet()
	users := map[*relative]bool{} // of what the command leads to
	for _, c := range p.command {
		for _, o := range s.closure(of[ownerKey(c)]) {
			users[o] = true
		}
	}
	for _, c := range p.command {
		if !c.m.Binding.IsPrelocated() {
			continue
		}
		if err := p.readOccupied(c); err != nil {
			return nil, err
		}
		for _, m := range p.occupied[c] {
			if m.Package.Digest == c.m.Package.Digest {
				if libraries, err = p.addBound(libraries, m, ownerKey(c), of[ownerKey(c)]); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, t := range slices.Concat(p.defaults, p.others) {
		r := of[t.Path()]
		if !users[r] || p.isUnknown(r) || !t.Prelocated && !p.mayLeadToRemoved(r) {
			continue
		}
		c, err := p.load(t)
		if err != nil && !t.Prelocated {
			continue // its manifest is lost, and no library of it is bound to itself
		}
		if err != nil {
			return nil, err
		}
		if libraries, err = p.addBound(libraries, c.m, t.Path(), r); err != nil {
			return nil, err
		}
		for _, gone := range p.removedBelow(c.m) {
			if libraries, err = p.addBound(libraries, gone.m, layout.TreePath(gone.m.Name, gone.m.Tree), r); err != nil {
				return nil, err
			}
		}
	}
	return libraries, nil
}

// mayLeadToRemoved reports whether files of a package may lead to a tree that the generation
// has not any more.
func (p *planner) mayLeadToRemoved(r *relative) bool {
	return slices.ContainsFunc(r.linkage.Leads, func(tree string) bool { return p.removedFrom(tree) != nil })
}

// addBound adds the libraries of a tree that are bound to themselves. One of which nobody can tell to what
// is damaged itself, and left out.
func (p *planner) addBound(libraries []ownOf, m *record.Manifest, owner string, at *relative) ([]ownOf, error) {
	bound := boundFiles(m)
	if len(bound) == 0 {
		return libraries, nil
	}
	tree := layout.TreePath(m.Name, m.Tree)
	l := p.linked[tree]
	if l == nil && p.in.Linkages != nil {
		if known := p.in.Linkages.Find(m.Identity); known != nil {
			l = &linked{Linkage: known}
			p.linked[tree] = l
		}
	}
	of := func(f *record.File) *record.LinkedFile {
		if l == nil {
			return nil
		}
		i := slices.IndexFunc(l.Files, func(o record.LinkedFile) bool { return o.Path == f.Path })
		if i < 0 || !l.Files[i].HasOwn {
			return nil
		}
		return &l.Files[i]
	}
	if slices.ContainsFunc(bound, func(f *record.File) bool { return of(f) == nil }) {
		if err := p.readLinkages([]*record.Manifest{m}, true); err != nil {
			return nil, err
		}
		l = p.linked[tree]
	}
	for _, f := range bound {
		file := of(f)
		if file == nil || l.unread[f.Path] != "" {
			continue
		}
		left := map[Symbol]bool{}
		for _, text := range self(f).From {
			left[parseSymbol(text)] = true
		}
		o := ownOf{exporter: exporter{file: file, owner: owner}, at: at, in: m, bound: decodeSymbols(file.Own)}
		o.bound = slices.DeleteFunc(o.bound, func(s Symbol) bool { return left[s] })
		libraries = append(libraries, o)
	}
	return libraries, nil
}

// boundFiles returns the libraries of a tree that are bound to themselves.
func boundFiles(m *record.Manifest) (files []*record.File) {
	for _, f := range linkedFiles(m) {
		if !f.ELF.IsProgram() && self(f) != nil {
			files = append(files, f)
		}
	}
	return files
}

// withoutClashes returns the input with the packages of clashing trees that the command's packages
// would use, and of what finds these by itself; nil where there are none.
func (p *planner) withoutClashes() (*Input, error) {
	s, of := p.familySet()
	anew := map[string][]string{}
	for _, c := range p.command {
		user := ""
		if c.from != nil {
			user = c.from.Path()
		}
		searched := map[string]bool{} // clashing trees that are not loaded from where a program says
		for _, r := range s.closure(of[ownerKey(c)]) {
			o := p.installed[r.tree]
			if o == nil {
				continue
			}
			for _, gone := range p.removedBelow(o.m) {
				if p.clashing[gone.m] && p.useOf(c, gone) == isSearched {
					searched[r.tree.Path()] = true
					anew[r.tree.Path()] = append(anew[r.tree.Path()], user)
				}
			}
			if !p.clashing[o.m] {
				continue
			}
			switch p.useOf(c, o) {
			case isSearched:
				searched[r.tree.Path()] = true
				fallthrough
			case isListed:
				anew[r.tree.Path()] = append(anew[r.tree.Path()], user)
			}
		}
		for _, r := range s.closure(of[ownerKey(c)]) {
			if r.ofCommand || len(searched) == 0 || p.isUnknown(r) {
				continue
			}
			o, err := p.load(r.tree)
			if err != nil {
				return nil, err
			}
			if p.leadsTo(o.m, searched) {
				anew[r.tree.Path()] = append(anew[r.tree.Path()], user)
			}
		}
	}
	if len(anew) == 0 {
		return nil, nil
	}
	in := p.in
	in.anew = map[string][]string{}
	maps.Copy(in.anew, p.in.anew)
	in.Command, in.Rebind = slices.Clone(in.Command), slices.Clone(in.Rebind)
	for i := range in.Generation.Trees {
		t := &in.Generation.Trees[i]
		if anew[t.Path()] == nil {
			continue
		}
		if in.anew[t.Path()] != nil {
			return nil, fmt.Errorf("plan %s anew: internal error: it is used all the same", t.Spec())
		}
		in.anew[t.Path()] = anew[t.Path()]
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
