package record

import (
	"cmp"
	"fmt"
	"slices"
)

// Change is one difference between two generations.
type Change struct {
	Name   string `json:"name"`
	Change string `json:"change"` // "added", "removed", "default"
	Tree   string `json:"tree"`   // the tree added, removed, or now the default
	Before string `json:"before,omitempty"`
}

// String returns the change as a line for people.
func (c Change) String() string {
	switch c.Change {
	case "added":
		return fmt.Sprintf("+ %s %s", c.Name, c.Tree)
	case "removed":
		return fmt.Sprintf("- %s %s", c.Name, c.Tree)
	}
	return fmt.Sprintf("  %s: default %s -> %s", c.Name, orNone(c.Before), orNone(c.Tree))
}

func orNone(s string) string { return cmp.Or(s, "none") }

// Diff returns what changed from one generation to another, by package.
func Diff(before, after *Generation) []Change {
	changes := []Change{}
	have := func(g *Generation, t *Tree) bool {
		return slices.ContainsFunc(g.Trees, func(o Tree) bool { return o.Path() == t.Path() && o.Identity == t.Identity })
	}
	names := map[string]bool{}
	for i := range before.Trees {
		t := &before.Trees[i]
		names[t.Name] = true
		if !have(after, t) {
			changes = append(changes, Change{Name: t.Name, Change: "removed", Tree: t.Dir})
		}
	}
	for i := range after.Trees {
		t := &after.Trees[i]
		names[t.Name] = true
		if !have(before, t) {
			changes = append(changes, Change{Name: t.Name, Change: "added", Tree: t.Dir})
		}
	}
	for name := range names {
		was, is := directory(before.DefaultOf(name)), directory(after.DefaultOf(name))
		if was != is {
			changes = append(changes, Change{Name: name, Change: "default", Tree: is, Before: was})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Change, a.Change), cmp.Compare(a.Tree, b.Tree))
	})
	return changes
}

func directory(t *Tree) string {
	if t == nil {
		return ""
	}
	return t.Dir
}
