package plan

import (
	"errors"
	"slices"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
)

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
		if p.isUnknown(in.root) {
			return isSearched
		}
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
		for _, f := range boundFiles(o.m) {
			if soname := f.ELF.Soname; soname == "" || !names[soname] {
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
