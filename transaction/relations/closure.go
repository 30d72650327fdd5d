package relations

import (
	"context"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Closure returns the private trees of the active generation that some of them, by their paths, need,
// and these themselves, in the order of the generation. Needed is what they load, require, recommend, see
// or lead to. The trees without, by their paths, are left out, and so is what only they need; leading are those of the
// active generation that need them.
func (r *Relations) Closure(ctx context.Context, trees []string, without map[string]bool) (closure []*record.Tree, leading map[string]bool, err error) {
	u, err := r.uses(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	r.addViews(u)
	r.addLinks(u)
	used := u.used()
	for tree := range without {
		delete(used, tree)
	}
	reached := graph.Reachable(trees, used)
	for i := range r.generation.Trees {
		if t := &r.generation.Trees[i]; t.Origin == record.OriginPrivate && reached[t.Path()] && !without[t.Path()] {
			closure = append(closure, t)
		}
	}
	return closure, graph.Reachable(slices.Collect(maps.Keys(without)), u.users), nil
}
