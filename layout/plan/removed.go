package plan

import (
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// A tree that was removed from the generation is loaded all the same by what is bound to it.
// Nothing new is, so that it is no answer of a plan; but what is bound to itself in it is in processes.

// removedBelow returns the trees that a tree's files are bound to or search, themselves or by one
// another, which the generation has not any more.
func (p *planner) removedBelow(m *record.Manifest) (found []*candidate) {
	seen := map[string]bool{}
	for next := []*record.Manifest{m}; len(next) > 0; next = next[1:] {
		for _, tree := range p.loadedFrom(next[0]) {
			if p.trees[tree] != nil || seen[tree] {
				continue
			}
			seen[tree] = true
			if c := p.removedTree(tree); c != nil {
				found, next = append(found, c), append(next, c.m)
			}
		}
	}
	return found
}

// removedTree returns a tree that the generation has not; nil where there is none, or a
// manifest of its name is damaged: that is in no generation, and stops nobody.
func (p *planner) removedTree(tree string) *candidate {
	if c, known := p.removed[tree]; known {
		return c
	}
	var c *candidate
	name, dir := layout.SplitTreePath(tree)
	if trees, err := p.in.Occupied(name); err == nil {
		if m := manifestAt(trees, dir); m != nil {
			t := generationTree(m)
			c = newCandidate(m, &t)
		}
	}
	p.removed[tree] = c
	return c
}

// loadedFrom returns the trees that edits of a tree's files name.
func (p *planner) loadedFrom(m *record.Manifest) (trees []string) {
	for i := range m.Files {
		for _, e := range m.Files[i].Edits {
			if e.IsDerived() {
				continue
			}
			for _, to := range e.To {
				for _, name := range strings.Split(to, ":") {
					rest, isOurs := strings.CutPrefix(name, p.in.Prefix+"/")
					parts := strings.SplitN(rest, "/", 3)
					if !isOurs || len(parts) < 3 || layout.CheckName(parts[0]) != nil {
						continue
					}
					if tree := layout.TreePath(parts[0], parts[1]); !slices.Contains(trees, tree) {
						trees = append(trees, tree)
					}
				}
			}
		}
	}
	return trees
}
