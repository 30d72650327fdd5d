package transaction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

// Result says what a change of generations came to.
type Result struct {
	// Generation is the active one afterwards.
	Generation int `json:"generation"`
	// Changed is false when there was nothing to do.
	Changed bool `json:"changed"`
	// Warnings say what could not be made for views.
	Warnings []string `json:"warnings,omitempty"`
	// Changes are what is otherwise than in the generation before; Packages says the same,
	// package by package.
	Changes  []record.Change        `json:"changes"`
	Packages []record.PackageChange `json:"packages"`
	// Unneeded are packages, "NAME=VERSION", that nothing needs any more after a removal: see
	// [AutoRemove].
	Unneeded []string `json:"unneeded,omitempty"`
	// Needed says who needs what was removed, or the version that is no default any more.
	Needed []relations.Needing `json:"still_needed,omitempty"`
	// Stays is what a rollback leaves: packages of the system that the older generation
	// had otherwise, as changes from there to now.
	Stays []record.PackageChange `json:"system_stays,omitempty"`
	// Undone is the generation whose changes were taken back.
	Undone int `json:"undone,omitempty"`
	// Undo is the command that undoes the change.
	Undo string `json:"undo,omitempty"`
}

// Change says what to change, and when that is.
type Change struct {
	Root *sysroot.Root
	Lock sysroot.LockOptions
	Now  time.Time
	// Generate is as in [InstallOptions].
	Generate bool
	// DryRun says what would change and changes nothing. Result.Generation is the one that
	// stays active then.
	DryRun bool
}

// UndoLast is the command that undoes what has made the active generation.
const UndoLast = "hashpkg undo"

// Use makes the version of a package its default.
func Use(ctx context.Context, c Change, spec query.Spec) (Result, error) {
	return c.makeDefault(ctx, spec.Name, func(g *record.Generation) (bool, error) {
		t, err := query.One(g, spec)
		if err != nil {
			return false, err
		}
		return g.Use(t.Name, t.Dir), nil
	})
}

// makeDefault is make for another default of a package, and says who is bound to the one before.
func (c Change) makeDefault(ctx context.Context, name string, f func(*record.Generation) (bool, error)) (Result, error) {
	var needed []relations.Needing
	var unknown error
	result, err := c.make(ctx, func(g *record.Generation) (bool, error) {
		defaults := func() map[string]bool {
			set := map[string]bool{}
			for i := range g.Trees {
				if t := &g.Trees[i]; t.Name == name && t.Default && t.Origin == record.OriginPrivate {
					set[t.Path()] = true
				}
			}
			return set
		}
		before := defaults()
		changed, err := f(g)
		if err != nil || !changed {
			return changed, err
		}
		for path := range defaults() {
			delete(before, path)
		}
		needed, unknown = relations.StillNeeded(ctx, c.Root, g, before)
		return true, ctx.Err()
	})
	// What is required is there, as another version.
	result.Needed = slices.DeleteFunc(needed, func(n relations.Needing) bool { return n.How == relations.UseRequires })
	if unknown != nil { // which keeps nobody from choosing
		result.Warnings = append(result.Warnings, fmt.Sprintf("who is bound to the default before is not known: %v", unknown))
	}
	return result, err
}

// UseHighest lets the highest version of a package be its default again.
func UseHighest(ctx context.Context, c Change, name string) (Result, error) {
	return c.makeDefault(ctx, name, func(g *record.Generation) (bool, error) {
		if _, err := query.All(g, query.Spec{Name: name}); err != nil {
			return false, err
		}
		return g.UseHighest(name), nil
	})
}

// Hold has packages that were installed by name keep their versions when others are
// upgraded, or with false not any more.
func Hold(ctx context.Context, c Change, names []string, hold bool) (Result, error) {
	return c.make(ctx, func(g *record.Generation) (changed bool, err error) {
		for _, name := range names {
			found := false
			for i := range g.Trees {
				t := &g.Trees[i]
				if t.Name != name || t.Release == "" {
					continue
				}
				found = true
				changed = changed || t.OnHold != hold
				t.OnHold = hold
			}
			if !found {
				return false, advice.Errorf("%w by name: %s; upgrades leave what was installed from a file anyway", query.ErrNotInstalled, name)
			}
		}
		return changed, nil
	})
}

// RunOnce is the Run of generations that packages are brought in to be run once: one
// replaces the other, so that they do not pile up.
const RunOnce = "hashpkg run"

// DropExpired takes the packages out of the system that were brought to be run once, and
// whose time has come.
func DropExpired(ctx context.Context, c Change) (Result, error) {
	return c.make(ctx, func(g *record.Generation) (bool, error) { return dropExpired(g, c.Now), nil })
}

func dropExpired(g *record.Generation, now time.Time) (changed bool) {
	g.Run = RunOnce
	return g.Remove(func(t *record.Tree) bool { return t.Expired(now) })
}

// WithoutExpired returns the generation that DropExpired would make, where ids are the
// numbers of those that there are, and the number of the one that it would replace; nil
// where there is nothing to be done.
func WithoutExpired(active *record.Generation, ids []int, now time.Time) (next *record.Generation, replaced int) {
	next = active.Next(0, now)
	if !dropExpired(next, now) {
		return nil, 0
	}
	return next, number(next, active, ids)
}

// make makes a generation from the active one, if f changes anything.
func (c Change) make(ctx context.Context, f func(*record.Generation) (bool, error)) (result Result, err error) {
	if c.DryRun {
		return c.try(f)
	}
	w, err := Begin(ctx, c.Root, Options{Lock: c.Lock, Generate: c.Generate})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	next := w.Active().Next(0, c.Now)
	changed, err := f(next)
	if err != nil || !changed {
		return Result{Generation: w.Active().ID}, err
	}
	views, warnings, err := w.nextViews(ctx, next)
	if err != nil {
		return Result{}, err
	}
	result, err = w.committed(ctx, next, views...)
	result.Warnings = warnings
	return result, err
}

// try says what make would do, and takes no lock.
func (c Change) try(f func(*record.Generation) (bool, error)) (Result, error) {
	w, err := reader(c.Root)
	if err != nil {
		return Result{}, err
	}
	next := w.active.Next(0, c.Now)
	changed, err := f(next)
	if err != nil || !changed {
		return Result{Generation: w.active.ID}, err
	}
	return changes(w.active, next, w.active.ID), nil
}

// changes says what is otherwise in one generation than in another.
func changes(before, after *record.Generation, active int) Result {
	return Result{Generation: active, Changed: true, Changes: record.Diff(before, after), Packages: record.PackageChanges(before, after)}
}

// committed commits a generation without new trees.
func (w *Writer) committed(ctx context.Context, next *record.Generation, views ...*record.Manifest) (Result, error) {
	before := w.active
	if err := w.Commit(ctx, views, next); err != nil {
		return Result{}, err
	}
	result := changes(before, next, next.ID)
	if !record.SameOwn(before, next) {
		result.Undo = UndoLast
	}
	return result, nil
}

// nextViews sets the views of a generation with other trees, defaults or choices than the
// active one, and returns those that the store has not got yet, and what could not be made
// for them.
func (w *Writer) nextViews(ctx context.Context, next *record.Generation) ([]*record.Manifest, []string, error) {
	if maps.Equal(next.Alternatives, w.active.Alternatives) && slices.EqualFunc(next.Trees, w.active.Trees, func(a, b record.Tree) bool {
		return a.Path() == b.Path() && a.Identity == b.Identity && a.Default == b.Default
	}) {
		return nil, nil, nil
	}
	return w.viewsOf(ctx, next)
}

// viewsOf is nextViews for a generation of whatever trees.
func (w *Writer) viewsOf(ctx context.Context, next *record.Generation) ([]*record.Manifest, []string, error) {
	// That a manifest cannot be read keeps nobody from removing or choosing: trees keep
	// their views then, and verify reports the manifest.
	planned, _ := plan.Views(next, func(t *record.Tree) bool { return t.View != "" }, func(t *record.Tree) (*record.Manifest, error) {
		return w.root.Store().Manifest(t.Name, t.Dir)
	}, w.root.FileSize)
	_, warnings, err := w.generate(ctx, next, planned, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	views, err := w.mergeViews(planned, nil)
	return views, warnings, err
}

// FollowConf makes a generation with other views, if there are configuration files in /etc
// by now that these have of their own, or not any more: see [view.Parts.FillConf].
func FollowConf(ctx context.Context, c Change) (result Result, err error) {
	w, err := Begin(ctx, c.Root, Options{Lock: c.Lock, Generate: c.Generate})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	next := w.Active().Next(0, c.Now)
	views, warnings, err := w.viewsOf(ctx, next)
	if err != nil || slices.EqualFunc(next.Trees, w.active.Trees, func(a, b record.Tree) bool { return a.View == b.View }) {
		return Result{Generation: w.active.ID}, err
	}
	result, err = w.committed(ctx, next, views...)
	result.Warnings = warnings
	return result, err
}
