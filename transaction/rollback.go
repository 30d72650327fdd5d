package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Rollback makes an older generation active, 0 meaning the last before the active one
// that had other packages of hashpkg's own, or other choices. What the package manager has
// installed since stays: where the older one has other system trees, a generation is made
// of its private trees and the system trees of now.
func Rollback(ctx context.Context, c Change, id int) (result Result, err error) {
	if c.DryRun {
		return c.tryRollback(id)
	}
	w, err := Begin(ctx, c.Root, Options{Lock: c.Lock, Recovering: id != 0})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	target, err := rollbackTarget(c.Root, w.active, id)
	if err != nil || target.ID == w.active.ID {
		return Result{Generation: w.active.ID}, err
	}
	if next := withSystemOf(target, w.active); next != nil {
		if record.SameTrees(next, w.active) && record.SameOwn(next, w.active) {
			return Result{Generation: w.active.ID, Stays: stays(target, w.active)}, nil
		}
		next.Time = c.Now
		result, err := w.committed(ctx, next)
		result.Stays = stays(target, w.active)
		return result, err
	}
	// What the last switch made durable must not come back with an old journal.
	if err := c.Root.Store().Sync(); err != nil {
		return Result{}, err
	}
	if err := c.Root.RestoreFarm(target, w.active, w.staging.Dir()); err != nil {
		return Result{}, err
	}
	if err := c.Root.Switch(target.ID, w.staging.Dir()); err != nil {
		return Result{}, err
	}
	result = changes(w.active, target, target.ID)
	if w.active.ID != 0 {
		result.Undo = fmt.Sprintf("hashpkg rollback %d", w.active.ID)
	}
	w.saySwitched(target)
	return result, nil
}

// tryRollback says what Rollback would do, and takes no lock.
func (c Change) tryRollback(id int) (Result, error) {
	if err := checkThere(c.Root); err != nil {
		return Result{}, err
	}
	active, err := c.Root.Active()
	if id != 0 && errors.Is(err, sysroot.ErrNoActive) {
		active, err = &record.Generation{Orders: c.Root.Formats().Orders()}, nil
	}
	if err != nil {
		return Result{}, err
	}
	target, err := rollbackTarget(c.Root, active, id)
	if err != nil || target.ID == active.ID {
		return Result{Generation: active.ID}, err
	}
	result := Result{Generation: active.ID, Stays: stays(target, active)}
	next := withSystemOf(target, active)
	switch {
	case next == nil:
		result = changes(active, target, active.ID)
	case !record.SameTrees(next, active) || !record.SameOwn(next, active):
		result = changes(active, next, active.ID)
		result.Stays = stays(target, active)
	}
	return result, nil
}

// stays returns what a rollback to target leaves of the system's packages.
func stays(target, active *record.Generation) []record.PackageChange {
	return slices.DeleteFunc(record.PackageChanges(target, active), func(c record.PackageChange) bool { return c.IsOwn() })
}

// rollbackTarget returns the generation to roll back to. Without a number, generations
// that differ only in what their rollback would leave are passed over, and one that a rollback
// has made counts as the one that it is a copy of: each goes further back.
func rollbackTarget(root *sysroot.Root, active *record.Generation, id int) (*record.Generation, error) {
	if id != 0 {
		target, err := root.Generation(id)
		if err != nil {
			return nil, fmt.Errorf("roll back: %w", err)
		}
		return target, nil
	}
	for g := active; ; {
		for g.History != nil && g.History.Restored > 0 && g.History.Restored < g.ID {
			of, err := root.Generation(g.History.Restored)
			if errors.Is(err, sysroot.ErrNoGeneration) {
				break // gc has taken it
			}
			if err != nil {
				return nil, fmt.Errorf("roll back: %w", err)
			}
			g = of
		}
		switch {
		case g.Parent <= 0 && g.ID == active.ID:
			return nil, fmt.Errorf("roll back: generation %d is the first, there is none before it", active.ID)
		case g.Parent <= 0 || g.Parent >= g.ID:
			return nil, fmt.Errorf("roll back: no generation before %d has other packages of hashpkg's own; those of the system stay as their package manager has them", active.ID)
		}
		target, err := root.Generation(g.Parent)
		if err != nil {
			return nil, fmt.Errorf("roll back: %w", err)
		}
		if !record.SameOwn(target, active) {
			return target, nil
		}
		g = target
	}
}

// withSystemOf returns target with the system trees of active; nil when it has the
// same ones.
func withSystemOf(target, active *record.Generation) *record.Generation {
	if active.ID == 0 { // the link is lost, and with it what was active
		return nil
	}
	isSystem := func(t record.Tree) bool { return t.Origin == record.OriginSystem }
	isPrivate := func(t record.Tree) bool { return t.Origin != record.OriginSystem }
	current := slices.DeleteFunc(slices.Clone(active.Trees), isPrivate)
	former := slices.DeleteFunc(slices.Clone(target.Trees), isPrivate)
	if slices.EqualFunc(current, former, func(a, b record.Tree) bool {
		return a.Path() == b.Path() && a.Identity == b.Identity && slices.Equal(a.Links, b.Links)
	}) {
		return nil
	}
	next := active.Next(0, active.Time)
	next.Alternatives = target.Alternatives
	next.History = &record.History{Restored: target.ID}
	next.SetTrees(append(slices.DeleteFunc(slices.Clone(target.Trees), isSystem), current...))
	return next
}

// ErrSystemOnly is returned (wrapped) for a generation in which only packages of the
// system changed: what their package manager has done is not undone here.
var ErrSystemOnly = errors.New("only packages of the system changed, which their package manager takes back")

// Undo makes a generation in which what another one changed is as it was before: packages
// that came are gone, packages that went are there, and choices are what they were. Later
// changes stay, and where one was of the same package, that is left, and a warning. 0 means
// the active generation; when only views changed in it, the one before. The error wraps
// [ErrSystemOnly] when that has nothing to take back.
func Undo(ctx context.Context, c Change, id int) (Result, error) {
	undone := 0
	var left []string
	result, err := c.make(ctx, func(g *record.Generation) (changed bool, err error) {
		before, after, err := undoable(c.Root, g, id)
		if err != nil {
			return false, fmt.Errorf("undo: %w", err)
		}
		undone = after.ID
		g.History = &record.History{Undone: after.ID}
		changed, left = g.Undo(before, after)
		return changed, nil
	})
	if err != nil {
		return result, err
	}
	result.Undone = undone
	for _, name := range left {
		result.Warnings = append(result.Warnings, fmt.Sprintf("%s was changed again since generation %d, and is left as it is", name, undone))
	}
	return result, nil
}

// undoable returns the generation to undo, and what was before it. next is to follow the
// active one.
func undoable(root *sysroot.Root, next *record.Generation, id int) (before, after *record.Generation, err error) {
	isLast := id == 0
	if isLast {
		id = next.Parent
	}
	for {
		if after, err = root.Generation(id); err != nil {
			return nil, nil, err
		}
		before = &record.Generation{Layout: after.Layout, Architecture: after.Architecture, Orders: after.Orders}
		if after.Parent != 0 {
			before, err = root.Generation(after.Parent)
			if errors.Is(err, sysroot.ErrNoGeneration) {
				return nil, nil, fmt.Errorf("generation %d, from which %d was made, is not there any more, and so nobody knows what was before", after.Parent, id)
			}
			if err != nil {
				return nil, nil, err
			}
		}
		if !record.SameOwn(before, after) {
			return before, after, nil
		}
		isSystem := slices.ContainsFunc(record.PackageChanges(before, after), func(c record.PackageChange) bool { return !c.IsOwn() })
		switch {
		case isSystem && !isLast:
			return nil, nil, fmt.Errorf("in generation %d %w", id, ErrSystemOnly)
		case isSystem:
			return nil, nil, fmt.Errorf("in the last generation, %d, %w%s", id, ErrSystemOnly, lastOwn(root, before))
		case !isLast || after.Parent <= 0 || after.Parent >= id:
			return nil, nil, fmt.Errorf("generation %d has changed no package", id)
		}
		id = after.Parent
	}
}

// lastOwn says which is the last generation, from g on, that can be undone.
func lastOwn(root *sysroot.Root, g *record.Generation) string {
	for g.Parent > 0 && g.Parent < g.ID {
		before, err := root.Generation(g.Parent)
		if err != nil {
			return ""
		}
		if !record.SameOwn(before, g) {
			return fmt.Sprintf("; hashpkg undo %d undoes the last change of hashpkg's own", g.ID)
		}
		g = before
	}
	return ""
}
