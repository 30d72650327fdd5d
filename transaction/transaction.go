// Package transaction is the pipeline, the only one: it reads packages, stages
// their files, plans, edits, commits, and switches to the new generation.
//
// [Install] is the whole of it; [Use], [Remove] and [Rollback] make or choose a
// generation of trees that are there. A transaction that fails or is killed
// leaves the system as it was.
package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrNotInstalled is returned (wrapped) for a package or version that the active
// generation does not have.
var ErrNotInstalled = errors.New("not installed")

// ErrAmbiguous is returned (wrapped) for a version of which the generation has
// several trees.
var ErrAmbiguous = errors.New("more than one tree fits")

// Result says what a change of generations came to.
type Result struct {
	// Generation is the active one afterwards.
	Generation int `json:"generation"`
	// Changed is false when there was nothing to do.
	Changed bool `json:"changed"`
}

// Use makes the version of a package its default.
func Use(root *sysroot.Root, name, version string, now time.Time) (Result, error) {
	return change(root, now, func(g *record.Generation) (bool, error) {
		t, err := one(g, name, version)
		if err != nil {
			return false, err
		}
		return g.Use(t.Name, t.Tree), nil
	})
}

// UseHighest lets the highest version of a package be its default again.
func UseHighest(root *sysroot.Root, name string, now time.Time) (Result, error) {
	return change(root, now, func(g *record.Generation) (bool, error) {
		if len(g.Find(name, "")) == 0 {
			return false, notInstalled(g, name, "")
		}
		return g.UseHighest(name), nil
	})
}

// Remove takes a package's version, or with version "" all of them, out of the
// system. Its trees stay in the store, for the generations before.
func Remove(root *sysroot.Root, name, version string, now time.Time) (Result, error) {
	return change(root, now, func(g *record.Generation) (bool, error) {
		found := slices.DeleteFunc(g.Find(name, version), func(t *record.Tree) bool { return t.Origin == record.OriginSystem })
		if len(found) == 0 && len(g.Find(name, version)) > 0 {
			return false, fmt.Errorf("remove %s: it is the system's own; remove it with the system's package manager", name)
		}
		if len(found) == 0 {
			return false, notInstalled(g, name, version)
		}
		gone := map[string]bool{}
		for _, t := range found {
			gone[t.Path()] = true
		}
		return g.Remove(func(t *record.Tree) bool { return gone[t.Path()] }), nil
	})
}

// Rollback makes an older generation active, 0 meaning the one that the active
// one was made from. What the package manager has installed since stays: where the
// older one has other system trees, a generation is made of its private trees and
// the system trees of now.
func Rollback(root *sysroot.Root, id int, now time.Time) (Result, error) {
	return write(root, id != 0, func(active *record.Generation, staging *store.Staging) (Result, error) {
		if id == 0 {
			id = active.Parent
		}
		if id == 0 {
			return Result{}, fmt.Errorf("roll back: generation %d is the first, there is none before it", active.ID)
		}
		target, err := root.Generation(id)
		if err != nil {
			return Result{}, fmt.Errorf("roll back: %w", err)
		}
		if id == active.ID {
			return Result{Generation: id}, nil
		}
		if next := withSystemOf(target, active); next != nil {
			if record.SameTrees(next, active) {
				return Result{Generation: active.ID}, nil
			}
			next.Time = now
			id, err := publish(root, staging, next, active)
			return Result{Generation: id, Changed: err == nil}, err
		}
		if err := root.RestoreFarm(target, active, staging.Dir()); err != nil {
			return Result{}, err
		}
		if err := root.Switch(id, staging.Dir()); err != nil {
			return Result{}, err
		}
		return Result{Generation: id, Changed: true}, nil
	})
}

// withSystemOf returns target with the system trees of active; nil when it has the
// same ones.
func withSystemOf(target, active *record.Generation) *record.Generation {
	system := func(t record.Tree) bool { return t.Origin == record.OriginSystem }
	private := func(t record.Tree) bool { return t.Origin != record.OriginSystem }
	if active.ID == 0 { // the link is lost, and with it what was active
		return nil
	}
	now := slices.DeleteFunc(slices.Clone(active.Trees), private)
	then := slices.DeleteFunc(slices.Clone(target.Trees), private)
	if slices.EqualFunc(now, then, func(a, b record.Tree) bool {
		return a.Path() == b.Path() && a.Identity == b.Identity && slices.Equal(a.Links, b.Links)
	}) {
		return nil
	}
	next := active.Next(0, active.Time)
	next.SetTrees(append(slices.DeleteFunc(slices.Clone(target.Trees), system), now...))
	return next
}

// change makes a new generation from the active one, if f changes anything.
func change(root *sysroot.Root, now time.Time, f func(*record.Generation) (bool, error)) (Result, error) {
	return write(root, false, func(active *record.Generation, staging *store.Staging) (Result, error) {
		next := active.Next(0, now)
		changed, err := f(next)
		if err != nil || !changed {
			return Result{Generation: active.ID}, err
		}
		id, err := publish(root, staging, next, active)
		return Result{Generation: id, Changed: err == nil}, err
	})
}

// write runs f, which changes generations, as the one writer of a store that is
// there; lost is as of locked.
func write(root *sysroot.Root, lost bool, f func(*record.Generation, *store.Staging) (Result, error)) (result Result, err error) {
	if ok, err := root.Exists(); err != nil {
		return Result{}, err
	} else if !ok {
		return Result{}, fmt.Errorf("%w: there is no hashpkg store at %s yet", ErrNotInstalled, root.Store().Path(""))
	}
	err = locked(context.Background(), root, 0, lost, func(active *record.Generation, staging *store.Staging) error {
		result, err = f(active, staging)
		return err
	})
	return result, err
}

// locked runs f as the one writer of a store, waiting up to limit for another to
// end. With lost, it may be that no generation is active; f then gets an empty one.
func locked(ctx context.Context, root *sysroot.Root, limit time.Duration, lost bool, f func(*record.Generation, *store.Staging) error) (err error) {
	lock, err := root.LockWait(ctx, limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	active, err := root.Active()
	if lost && errors.Is(err, sysroot.ErrNoActive) {
		active, err = &record.Generation{}, nil
	}
	if err != nil {
		return err
	}
	staging, err := root.Store().Begin()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staging.Discard()) }()
	return f(active, staging)
}

// publish writes the generation next, gives it a number, and commits what was
// staged with it.
func publish(root *sysroot.Root, staging *store.Staging, next, active *record.Generation) (int, error) {
	ids, err := root.Generations()
	if err != nil {
		return 0, err
	}
	next.ID = 1
	if len(ids) > 0 {
		next.ID = ids[len(ids)-1] + 1
	}
	for i := range next.Trees {
		if next.Trees[i].Since == 0 {
			next.Trees[i].Since = next.ID
		}
	}
	const name = "generation"
	if err := root.WriteGeneration(staging.Dir()+"/"+name, next, active); err != nil {
		return 0, err
	}
	staging.Move(name, layout.GenerationPath(next.ID), store.PhaseRecords)
	err = staging.Publish(next.ID, func() error { return root.Switch(next.ID, staging.Dir()) })
	return next.ID, err
}

// one returns the only tree that fits a name and version, or the one whose
// directory has the version's name.
func one(g *record.Generation, name, version string) (*record.Tree, error) {
	found := g.Find(name, version)
	switch len(found) {
	case 0:
		return nil, notInstalled(g, name, version)
	case 1:
		return found[0], nil
	}
	for _, t := range found {
		if t.Tree == version {
			return t, nil
		}
	}
	trees := make([]string, len(found))
	for i, t := range found {
		trees[i] = t.Name + "=" + t.Tree
	}
	return nil, fmt.Errorf("%w %s=%s: name one of them: %q", ErrAmbiguous, name, version, trees)
}

func notInstalled(g *record.Generation, name, version string) error {
	have := g.Find(name, "")
	if version == "" || len(have) == 0 {
		return fmt.Errorf("%w: %s; hashpkg list shows what is", ErrNotInstalled, name)
	}
	versions := make([]string, len(have))
	for i, t := range have {
		versions[i] = t.Version
	}
	return fmt.Errorf("%w: %s=%s; installed are the versions %q", ErrNotInstalled, name, version, versions)
}
