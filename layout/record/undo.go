package record

import (
	"maps"
	"slices"
)

// SameOwn reports whether two generations have the same packages that hashpkg has
// installed, with the same choices. What follows from them or from a package manager's
// database is not compared.
func SameOwn(a, b *Generation) bool {
	own := func(g *Generation) []Tree {
		return slices.DeleteFunc(slices.Clone(g.Trees), func(t Tree) bool { return t.Origin != OriginPrivate })
	}
	return maps.Equal(a.Alternatives, b.Alternatives) && slices.EqualFunc(own(a), own(b), func(a, b Tree) bool {
		return a.isSame(&b) && a.Default == b.Default && a.sameChoices(&b)
	})
}

// sameChoices reports whether somebody has said the same of two trees.
func (t *Tree) sameChoices(o *Tree) bool {
	return t.Chosen == o.Chosen && t.Held == o.Held && t.Named == o.Named
}

// Undo takes back in g what changed from one generation to another of what hashpkg has
// installed and of what was chosen. What has been changed again since is left, and
// returned by its specs and names. It reports whether that changed anything.
func (g *Generation) Undo(before, after *Generation) (changed bool, left []string) {
	trees := slices.Clone(g.Trees)
	was := *g
	was.Trees = slices.Clone(g.Trees)
	find := func(list []Tree, t *Tree) *Tree {
		if i := slices.IndexFunc(list, t.isSamePlace); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for i := range after.Trees {
		t := &after.Trees[i]
		if t.Origin != OriginPrivate {
			continue
		}
		former, now := find(before.Trees, t), find(trees, t)
		switch {
		case former == nil:
			trees = slices.DeleteFunc(trees, t.isSamePlace)
		case former.sameChoices(t):
		case now == nil || !now.sameChoices(t) && !now.sameChoices(former):
			left = append(left, t.Spec())
		default:
			now.Chosen, now.Held, now.Named = former.Chosen, former.Held, former.Named
		}
	}
	for i := range before.Trees {
		t := before.Trees[i]
		if t.Origin != OriginPrivate || find(after.Trees, &t) != nil || find(trees, &t) != nil {
			continue
		}
		t.Since = 0
		// A choice that was made since counts for more than one that came back.
		t.Chosen = t.Chosen && !slices.ContainsFunc(trees, func(o Tree) bool { return o.Chosen && o.slot(g.Architecture) == t.slot(g.Architecture) })
		trees = append(trees, t)
	}
	names := maps.Clone(before.Alternatives)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, after.Alternatives)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch former, latter := before.Alternatives[name], after.Alternatives[name]; {
		case former == latter:
		case g.Alternatives[name] == latter:
			g.Choose(name, former)
		case g.Alternatives[name] != former:
			left = append(left, name)
		}
	}
	g.SetTrees(trees)
	return !SameOwn(&was, g), left
}

// isSamePlace reports whether two trees are the same directory.
func (t *Tree) isSamePlace(o Tree) bool { return t.Path() == o.Path() }
