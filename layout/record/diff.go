package record

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/layout"
)

// Change is one difference between two generations.
type Change struct {
	Name   string `json:"name"`
	Change string `json:"change"` // "added", "removed", "default", "hold", "unhold"; "choice" for an alternative's name
	Tree   string `json:"tree"`   // the tree added, removed, now the default, or held; what is now chosen
	Before string `json:"before,omitempty"`
}

// String returns the change as a line for people.
func (c Change) String() string {
	c.Tree, c.Before = layout.VersionText(c.Tree), layout.VersionText(c.Before)
	switch c.Change {
	case "added":
		return fmt.Sprintf("+ %s %s", c.Name, c.Tree)
	case "removed":
		return fmt.Sprintf("- %s %s", c.Name, c.Tree)
	case "hold":
		return fmt.Sprintf("  %s %s: on hold", c.Name, c.Tree)
	case "unhold":
		return fmt.Sprintf("  %s %s: no longer on hold", c.Name, c.Tree)
	case "choice":
		return fmt.Sprintf("  %s: choice %s -> %s", c.Name, orNone(c.Before), orNone(c.Tree))
	}
	return fmt.Sprintf("  %s: default %s -> %s", c.Name, orNone(c.Before), orNone(c.Tree))
}

func orNone(s string) string { return cmp.Or(s, "none") }

// Diff returns what changed from one generation to another, by name. Views are not in it:
// they follow from the packages.
func Diff(before, after *Generation) []Change {
	changes := []Change{}
	same := func(g *Generation, t *Tree) *Tree {
		i := slices.IndexFunc(g.Trees, func(o Tree) bool { return o.Path() == t.Path() && o.Identity == t.Identity })
		if i < 0 {
			return nil
		}
		return &g.Trees[i]
	}
	names := map[string]bool{}
	for i := range before.Trees {
		t := &before.Trees[i]
		if t.Origin == OriginView {
			continue
		}
		names[t.Name] = true
		if same(after, t) == nil {
			changes = append(changes, Change{Name: t.Name, Change: "removed", Tree: t.Dir})
		}
	}
	for i := range after.Trees {
		t := &after.Trees[i]
		if t.Origin == OriginView {
			continue
		}
		names[t.Name] = true
		was := same(before, t)
		if was == nil {
			changes = append(changes, Change{Name: t.Name, Change: "added", Tree: t.Dir})
		}
		if wasOnHold := was != nil && was.OnHold; wasOnHold != t.OnHold {
			change := "hold"
			if wasOnHold {
				change = "unhold"
			}
			changes = append(changes, Change{Name: t.Name, Change: change, Tree: t.Dir})
		}
	}
	for name := range names {
		was, is := directory(before.DefaultOf(name)), directory(after.DefaultOf(name))
		if was != is {
			changes = append(changes, Change{Name: name, Change: "default", Tree: is, Before: was})
		}
	}
	chosen := maps.Clone(before.Alternatives)
	if chosen == nil {
		chosen = map[string]string{}
	}
	maps.Copy(chosen, after.Alternatives)
	for name := range chosen {
		if was, is := before.Alternatives[name], after.Alternatives[name]; was != is {
			changes = append(changes, Change{Name: name, Change: "choice", Tree: is, Before: was})
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
