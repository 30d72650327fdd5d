// Package transaction changes roots, and nothing else does. [Begin] gets a [Writer],
// whose Commit makes what was staged the active generation in one step; its comment
// has the order of what happens on the disk.
//
// [Install] puts packages into trees of their own, [Sync] follows the package manager,
// [AddPins], [RemovePins] and [Restore] concern installed programs, and [Use], [Remove]
// and [Rollback] make or choose a generation of trees that are there. Each that
// fails or is killed leaves the system as it was, or the next sync ends it.
//
// What is decided is decided in layout/plan and programs, by pure functions; here it
// is carried out. Removing what nothing uses is transaction/gc's, and finding
// damage transaction/verify's. The commands that change a root are together, in a file
// each, because they share the writer and the steps between staging and the switch.
package transaction

import (
	"context"
	"errors"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// ErrInterrupted is returned (wrapped) for what was stopped after it had changed
// something; the error says what ends it. What is stopped before that returns the
// context's own error.
var ErrInterrupted = programs.ErrInterrupted

// Writer is the one process that changes a root. What it stages is nowhere to be
// seen until Commit makes it the active generation, in one step.
type Writer struct {
	root    *sysroot.Root
	lock    *sysroot.Lock
	active  *record.Generation
	staging *store.Staging

	generates bool
	cause     record.Cause
	log       func(record.Event) // nil for nobody
}

// Options says how a Writer begins.
type Options struct {
	Lock sysroot.LockOptions
	// Create makes a store where there is none; without it that is an error wrapping
	// [query.ErrNotInstalled].
	Create bool
	// Recovering goes on where no generation is active, because the link to it is
	// lost: Active is an empty one then.
	Recovering bool
	// Aside, if not nil, is for a repair, which goes on where a journal of a killed writer,
	// the format or the active generation cannot be read: Aside moves that writer's directory,
	// or the format, by its name below the prefix, away, and Active is an empty one.
	Aside func(name string) error
	// Generate lets programs of views make indexes for them: see [sandbox.Box].
	Generate bool
}

// Begin takes the root's lock, undoes or ends what a killed writer has left, and
// makes a staging directory. The error wraps [sysroot.ErrLocked] when another
// process has the lock for longer than Options.Lock says. The caller calls End.
func Begin(ctx context.Context, root *sysroot.Root, o Options) (w *Writer, err error) {
	if err := checkThere(root); err != nil {
		isOther := o.Aside != nil && errors.Is(err, store.ErrFormat)
		if isMissing := o.Create && errors.Is(err, query.ErrNotInstalled); !isOther && !isMissing {
			return nil, err
		}
	}
	w = &Writer{root: root, generates: o.Generate, cause: o.Lock.Cause, log: o.Lock.Log}
	o.Lock.Aside = o.Aside
	if w.lock, err = root.Lock(ctx, o.Lock); err != nil {
		return nil, err
	}
	w.active, err = root.Active()
	if o.Recovering && errors.Is(err, sysroot.ErrNoActive) || o.Aside != nil && err != nil {
		w.active, err = &record.Generation{Orders: root.Formats().Orders()}, nil
	}
	if err == nil {
		w.staging, err = root.Store().Begin(root)
	}
	if err != nil {
		return nil, errors.Join(err, w.End())
	}
	_ = w.finishPins() // a line of history is no reason to do nothing; who writes next tries again
	return w, nil
}

// reader returns what says what a Writer would do: it has no lock, and stages nothing.
func reader(root *sysroot.Root) (*Writer, error) {
	if err := checkThere(root); err != nil {
		return nil, err
	}
	active, err := root.Active()
	return &Writer{root: root, active: active}, err
}

// checkThere returns an error wrapping [query.ErrNotInstalled] in a root without a store.
func checkThere(root *sysroot.Root) error {
	ok, err := root.Exists()
	if err == nil && !ok {
		err = advice.Errorf("%w: there is no hashpkg store at %s yet; hashpkg install or hashpkg sync makes one",
			query.ErrNotInstalled, root.Store().Path("."))
	}
	return err
}

// Active returns the generation that is active; it is not to be changed.
func (w *Writer) Active() *record.Generation { return w.active }

// Staging returns where w puts files, until Commit or End.
func (w *Writer) Staging() *store.Staging { return w.staging }

// End removes what was staged and not committed, and gives the lock back.
func (w *Writer) End() error {
	var err error
	if w.staging != nil {
		err = w.staging.Discard()
		w.staging = nil
	}
	return errors.Join(err, w.lock.Unlock())
}

// Commit makes trees of what was staged, gives the generation next the following
// number, and makes it the active one. Killed or failing at any point, it leaves the
// old generation or the new one, whole:
//
//  1. trees, manifests and the generation are written into the staging directory;
//  2. a journal that says what is going to be renamed is written, and all of it is
//     made durable;
//  3. everything is renamed into place, data before records, each durable before the
//     next begins;
//  4. current-system is renamed: the one step that readers see;
//  5. the generation that next replaces is taken away, and the journal is removed.
//     Until then the next writer undoes 3, or if 4 was done ends 5.
//
// It replaces the active generation when both have the same Run, and there is none
// after that: it has its parent then.
//
// When ctx ends before step 4, the old generation stays, and the error is that of ctx.
func (w *Writer) Commit(ctx context.Context, trees []*record.Manifest, next *record.Generation) error {
	replaced, err := w.number(next)
	if err != nil {
		return err
	}
	if err := w.staging.AddTrees(trees); err != nil {
		return err
	}
	w.tell(next, replaced)
	const name = "generation"
	if err := w.root.WriteGeneration(w.staging.Dir(), name, next, w.active); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.staging.Move(name, layout.GenerationPath(next.ID), store.PhaseRecords)
	if replaced != 0 {
		w.staging.Replace(layout.GenerationPath(replaced))
	}
	if err := w.staging.WriteJournal(next.ID); err != nil {
		return err
	}
	err = ctx.Err()
	if err == nil {
		err = w.staging.Place()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = w.root.Switch(next.ID, w.staging.Dir())
	}
	if err != nil {
		return errors.Join(err, w.staging.Undo())
	}
	w.saySwitched(next)
	return w.staging.Forget()
}

// number numbers the generation that is to be the next one: see [number].
func (w *Writer) number(next *record.Generation) (replaced int, err error) {
	ids, err := w.root.Generations()
	if err != nil {
		return 0, err
	}
	return number(next, w.active, ids), nil
}

// number gives a generation the number after the highest of ids, and its new trees the
// generation that brought them. It returns the number of the one that it replaces; 0
// for none.
func number(next, active *record.Generation, ids []int) (replaced int) {
	next.ID, next.Parent = 1, active.ID
	if len(ids) > 0 {
		last := ids[len(ids)-1]
		next.ID = last + 1
		if next.Run != "" && next.Run == active.Run && active.ID == last {
			replaced, next.Parent = last, active.Parent
		}
	}
	for i := range next.Trees {
		if since := next.Trees[i].Since; since == 0 || since == replaced {
			next.Trees[i].Since = next.ID
		}
	}
	return replaced
}

// tell adds to a generation that has its number how it came to be. What is otherwise, is
// otherwise than before the run that the generation is of.
func (w *Writer) tell(next *record.Generation, replaced int) {
	if next.History == nil {
		next.History = &record.History{}
	}
	next.History.Cause = w.cause
	if next.Parent == 0 {
		return
	}
	before := w.active
	if replaced != 0 {
		// One that cannot be read must not keep a package manager's run from being followed.
		if parent, err := w.root.Generation(next.Parent); err == nil {
			before = parent
		}
	}
	next.History.Changes = record.PackageChanges(before, next)
}
