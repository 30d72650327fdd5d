package plan

import (
	"fmt"
	"maps"
	"slices"

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
func (p *planner) addSelf(plan *Plan) error {
	if p.in.Symbols == nil || p.in.Edit == nil || !p.prelocates() {
		return nil
	}
	if err := p.linkCommand(); err != nil {
		return err
	}
	var libraries []ownOf
	var files []*record.File
	var owners []int // places in libraries; -1 of a program
	for _, c := range p.command {
		if !c.m.Binding.IsPrelocated() || manifestAt(p.occupied[c], c.m.Tree) != nil {
			continue
		}
		for i, f := range linkedFiles(c.m) {
			// Musl's loader may take a symbol of any version, and would answer otherwise than expected here.
			if f.ELF.Musl || p.isForeign(c, f.ELF) || f.ELF.IsProgram() && p.results[f] == nil || p.edited[f].Refused != "" {
				continue
			}
			files = append(files, f)
			if f.ELF.IsProgram() { // which is asked before all others
				owners = append(owners, -1)
				continue
			}
			owners = append(owners, len(libraries))
			file := &p.ours[c].Files[i]
			libraries = append(libraries, ownOf{exporter: exporter{file: file, owner: ownerKey(c)}, bound: decodeSymbols(file.Own)})
		}
	}
	if len(files) == 0 {
		return nil
	}
	taken, err := p.takenOf(libraries)
	if err != nil {
		return err
	}
	p.warnUnread(plan)
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

// takenOf returns, of each library of the command, its symbols that some other file answers:
// of the command, of any private tree, or of the root's libraries that the command's load; with the
// first such file.
func (p *planner) takenOf(libraries []ownOf) ([]map[Symbol]*exporter, error) {
	taken := make([]map[Symbol]*exporter, len(libraries))
	if len(libraries) == 0 {
		return taken, nil
	}
	_, of := p.familySet()
	trees, err := p.withRemoved(p.stays())
	if err != nil {
		return nil, err
	}
	exporters, err := p.rootExporters(of)
	if err != nil {
		return nil, err
	}
	add := func(l *linked, owner, spec string) {
		for _, e := range exportersOf(l, owner) {
			e.spec = spec
			exporters = append(exporters, e)
		}
	}
	for _, c := range p.command {
		add(p.ours[c], ownerKey(c), c.m.Spec())
	}
	for _, t := range trees {
		add(p.linked[t.Path()], t.Path(), t.Spec())
	}
	w := wantedOf(libraries)
	found := map[*ownOf]map[Symbol]*exporter{}
	for i := range exporters {
		e := &exporters[i]
		p.noteUnread(e)
		w.each(e, libraries, func(l *ownOf, s Symbol) {
			if found[l] == nil {
				found[l] = map[Symbol]*exporter{}
			}
			if found[l][s] == nil {
				found[l][s] = e
			}
		})
	}
	for i := range libraries {
		taken[i] = found[&libraries[i]]
	}
	return taken, nil
}

// stays returns the private trees that the next generation has beside the command's. A tree of which the
// manifest is lost stays at a rebind, though nothing is bound to it: it may be a plugin.
func (p *planner) stays() []*record.Tree {
	trees := slices.Concat(p.defaults, p.others)
	for i := range p.in.Generation.Trees {
		t := &p.in.Generation.Trees[i]
		if len(p.in.Rebind) > 0 && p.in.Gone != nil && p.in.Gone(t) && t.Origin != record.OriginSystem {
			trees = append(trees, t)
		}
	}
	return trees
}

// noteUnread notes that a file that may answer symbols cannot be read.
func (p *planner) noteUnread(e *exporter) {
	if e.unread != "" && !slices.Contains(p.unread, e.unread) {
		p.unread = append(p.unread, e.unread)
	}
}

// warnUnread warns that libraries are bound to nothing.
func (p *planner) warnUnread(plan *Plan) {
	if len(p.unread) == 0 {
		return
	}
	more := ""
	if n := len(p.unread) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	plan.Warnings = append(plan.Warnings, fmt.Sprintf(
		"libraries are installed without being prelocated, for it is not known which symbols others have: %s%s; "+
			"hashpkg verify --repair mends what it can, and --no-prelocate asks for none", p.unread[0], more))
}
