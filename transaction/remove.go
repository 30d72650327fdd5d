package transaction

import (
	"context"
	"fmt"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

// Remove takes versions of packages, or without a version all of a package, out of the
// system: all that specs name, or none. Their trees stay in the store, for the generations
// before. The result has what nothing needs any more without them.
func Remove(ctx context.Context, c Change, specs ...query.Spec) (Result, error) {
	var unneeded, warnings []string
	var needed []relations.Needing
	result, err := c.make(ctx, func(g *record.Generation) (bool, error) {
		gone := map[string]bool{}
		for _, spec := range specs {
			if err := addRemoved(gone, g, spec); err != nil {
				return false, err
			}
		}
		changed := g.Remove(func(t *record.Tree) bool { return gone[t.Path()] })
		list, err := relations.Unneeded(ctx, c.Root, g)
		if err != nil { // which keeps nobody from removing
			warnings = append(warnings, fmt.Sprintf("what nothing needs any more is not known: %v", err))
		}
		for _, t := range list {
			unneeded = append(unneeded, t.Spec())
		}
		if needed, err = relations.StillNeeded(ctx, c.Root, g, gone); err != nil {
			warnings = append(warnings, fmt.Sprintf("who still needs what goes is not known: %v", err))
		}
		return changed, ctx.Err()
	})
	result.Needed, result.Unneeded, result.Warnings = needed, unneeded, append(result.Warnings, warnings...)
	return result, err
}

// addRemoved adds the trees that a spec names.
func addRemoved(gone map[string]bool, g *record.Generation, spec query.Spec) error {
	found, err := query.All(g, spec)
	if err != nil {
		return err
	}
	system := true
	for _, t := range found {
		if t.Origin != record.OriginSystem {
			gone[t.Path()], system = true, false
		}
	}
	if system {
		return fmt.Errorf("remove %s: it belongs to the system's package manager; remove it with that", spec)
	}
	return nil
}

// AutoRemove takes the packages out of the system that came by name only because others
// needed them, and that nothing needs any more: see [relations.Unneeded].
func AutoRemove(ctx context.Context, c Change) (Result, error) {
	return c.make(ctx, func(g *record.Generation) (bool, error) {
		unneeded, err := relations.Unneeded(ctx, c.Root, g)
		if err != nil {
			return false, err
		}
		gone := map[string]bool{}
		for _, t := range unneeded {
			gone[t.Path()] = true
		}
		return g.Remove(func(t *record.Tree) bool { return gone[t.Path()] }), nil
	})
}
