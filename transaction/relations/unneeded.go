package relations

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Unneeded returns the trees of a generation, the active one or one that is made from it, which
// came by name only because others needed them, and which nothing needs any more. Needed is
// what something else of the generation loads, requires, recommends, sees or leads to, what a
// pin, a freeze, a service or a program of the system uses, and what a process has in use.
//
// The error says of which tree it is not known what it needs: then none is known to be unneeded.
func Unneeded(ctx context.Context, root *sysroot.Root, g *record.Generation) ([]*record.Tree, error) {
	candidates := map[string]*record.Tree{}
	for i := range g.Trees {
		if t := &g.Trees[i]; isOnlyNeeded(g, t) {
			candidates[t.Path()] = t
		}
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	active, err := Open(ctx, root, false)
	if err != nil {
		return nil, err
	}
	r, err := active.in(ctx, g)
	if err != nil {
		return nil, err
	}
	leads, roots, err := r.leads(ctx, candidates)
	if err != nil {
		return nil, err
	}
	unreached := func() (paths []string) {
		reached := graph.Reachable(roots, leads)
		for i := range g.Trees {
			if p := g.Trees[i].Path(); candidates[p] != nil && !reached[p] {
				paths = append(paths, p)
			}
		}
		return paths
	}
	running, err := root.InUse(unreached(), func(tree string) string { return tree })
	if err != nil {
		return nil, err
	}
	for p, pid := range running {
		if pid != 0 {
			roots = append(roots, p)
		}
	}
	var unneeded []*record.Tree
	for _, p := range unreached() {
		unneeded = append(unneeded, candidates[p])
	}
	return unneeded, nil
}

// isOnlyNeeded reports whether a package came because others needed it, and nobody has said
// anything about it since.
func isOnlyNeeded(g *record.Generation, t *record.Tree) bool {
	return t.Origin == record.OriginPrivate && (t.Release != "" || !t.By.IsZero()) && !t.Asked && !t.OnHold && !t.Chosen && t.Until.IsZero() &&
		!slices.ContainsFunc(t.Offers, func(o record.Offer) bool { return g.IsChosen(t, &o) })
}

// in returns the relations as they would be with a generation that is made from the active
// one. What programs of the system load is what they load now.
func (r *Relations) in(ctx context.Context, g *record.Generation) (*Relations, error) {
	if _, err := r.SystemPrograms(ctx); err != nil {
		return nil, err
	}
	in := *r
	in.generation, in.active, in.placed, in.located = g, map[string]*record.Tree{}, nil, map[string]File{}
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Origin != record.OriginView && in.byPath[t.Path()] == nil {
			return nil, fmt.Errorf("the manifest of %s is lost, and with it what it needs; hashpkg verify --repair mends what it can", t.Spec())
		}
		in.active[t.Path()] = t
	}
	return &in, nil
}

// leads returns who leads to whom, by nodes, and the nodes that are there of themselves: all
// but the candidates.
func (r *Relations) leads(ctx context.Context, candidates map[string]*record.Tree) (leads map[string][]string, roots []string, err error) {
	u, err := r.uses(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	r.addViews(u)
	r.addLinks(u)
	leads = u.used()
	for user := range leads {
		if r.byPath[user] == nil { // no tree
			roots = append(roots, user)
		}
	}
	for p, t := range r.active {
		if candidates[p] == nil && t.Origin != record.OriginView {
			roots = append(roots, p)
		}
	}
	return leads, roots, nil
}
