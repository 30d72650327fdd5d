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

// removedFrom returns the tree of a path, as linkages have it, which the generation has not any
// more; nil for every other path.
func (p *planner) removedFrom(tree string) *candidate {
	name, _, _ := strings.Cut(tree, "/")
	if p.trees[tree] != nil || layout.CheckName(name) != nil {
		return nil
	}
	return p.removedTree(tree)
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

// withRemoved returns trees of the generation, and behind these the trees that it has not any more to which
// they lead, with their linkages read.
func (p *planner) withRemoved(trees []*record.Tree) ([]*record.Tree, error) {
	seen := map[string]bool{}
	all := slices.Clone(trees)
	for next := trees; len(next) > 0; {
		if err := p.linkTrees(next); err != nil {
			return nil, err
		}
		var removed []*record.Tree
		for _, t := range next {
			for _, tree := range p.linked[t.Path()].Leads {
				if c := p.removedFrom(tree); c != nil && !seen[tree] {
					seen[tree] = true
					removed = append(removed, c.tree)
				}
			}
		}
		all, next = append(all, removed...), removed
	}
	return all, nil
}
