package relations

import (
	"context"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Closure returns the private trees of the active generation that some of them, by their paths, need,
// and these themselves, in the order of the generation. Needed is what they load, require, recommend, see
// or lead to.
func (r *Relations) Closure(ctx context.Context, trees []string) ([]*record.Tree, error) {
	u, err := r.uses(ctx, nil)
	if err != nil {
		return nil, err
	}
	r.addViews(u)
	r.addLinks(u)
	reached := graph.Reachable(trees, u.used())
	var out []*record.Tree
	for i := range r.generation.Trees {
		if t := &r.generation.Trees[i]; t.Origin == record.OriginPrivate && reached[t.Path()] {
			out = append(out, t)
		}
	}
	return out, nil
}
