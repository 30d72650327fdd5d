// Package hooks is what package managers and image builders call, and the files
// that are installed so that they do.
//
// A package manager's transaction has three moments: [Before], while it works
// ([During]) and [After]. [Run] does what is to be done then, and never fails; what
// goes wrong is kept, and [Check] finds it. [Install], [Remove] and [Status] are
// about the files.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// Event is why a hook is called.
type Event string

// The events.
const (
	Before Event = "before" // the package manager is about to change files
	During Event = "trigger"
	After  Event = "after"  // it has ended, whether it succeeded or not
	Retire Event = "remove" // hashpkg's own package goes
)

// How long a hook waits for another hashpkg. Before a transaction that is short:
// the package manager may well go on without.
const (
	waitBefore = 5 * time.Second
	waitAfter  = time.Minute
)

// Hook is one call of a hook.
type Hook struct {
	Event Event
	Root  *sysroot.Root
	// Foreign says that Root is not the caller's own "/": a store is then not made
	// where there is none, for nobody has asked for one.
	Foreign bool
	Rewrite programs.Rewrite
	Now     time.Time
	Image   bool // as in transaction.SyncOptions
}

// Run does what the event asks for, and returns normally whatever happens: a
// package manager's transaction never fails because of hashpkg. What went wrong is
// kept for [Check], and a line of it is written to w. open is given the way to
// settings that may be wrong themselves; as far as it can it returns a hook with a
// root together with its error.
func Run(ctx context.Context, w io.Writer, open func() (Hook, error)) {
	var h Hook
	err := guard(func() (err error) {
		if h, err = open(); err == nil {
			err = h.run(ctx)
		}
		return err
	})
	if err == nil {
		return
	}
	// What the package manager has in place is right, and a farm of trees that no
	// sync has brought up to date is not.
	if ferr := guard(func() error { return h.followAfterFailure(ctx, err) }); ferr != nil && !strings.Contains(err.Error(), ferr.Error()) {
		err = errors.Join(err, ferr)
	}
	said := strings.ReplaceAll(err.Error(), "\n", "; ")
	fmt.Fprintf(w, "hashpkg: %s\nhashpkg: the packages are not affected; run hashpkg check to see what is to be done\n", said)
	if err := guard(func() error { return h.keep(said) }); err != nil {
		fmt.Fprintf(w, "hashpkg: %v\n", err)
	}
}

// guard turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a fault of hashpkg's own: %v at %s", p, strings.Join(strings.Fields(string(debug.Stack())), " "))
		}
	}()
	return f()
}

func (h *Hook) run(ctx context.Context) error {
	ok, err := h.Root.Exists()
	if err != nil {
		return err
	}
	if !ok && (h.Foreign || h.Event == Before || h.Event == Retire) {
		return nil
	}
	switch h.Event {
	case Before:
		return h.follow(ctx)
	case During:
		return h.sync(ctx, true)
	case After:
		// Another dpkg that is at work calls this hook itself when it ends.
		busy, err := DpkgAtWork(h.Root)
		if err != nil {
			return err
		}
		return h.sync(ctx, busy)
	case Retire:
		return h.retire(ctx)
	}
	return fmt.Errorf("no hook is called %q", h.Event)
}

// keep remembers what went wrong, where there is a store to repair.
func (h *Hook) keep(said string) error {
	if h.Root == nil {
		return nil
	}
	if ok, err := h.Root.Exists(); err != nil || !ok {
		return err
	}
	return h.Root.SetFailure(h.Now.UTC().Format(time.RFC3339) + " hook " + string(h.Event) + ": " + said)
}

// follow makes the system's programs load what the package manager puts in place,
// from now on.
func (h *Hook) follow(ctx context.Context) (err error) {
	following, err := h.Root.Following()
	if err != nil || following {
		return err
	}
	lock, err := h.Root.LockWait(ctx, waitBefore)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	_, err = h.Root.Follow(true)
	return err
}

func (h *Hook) followAfterFailure(ctx context.Context, failure error) error {
	if h.Root == nil || h.Event == Retire || errors.Is(failure, sysroot.ErrLocked) || ctx.Err() != nil {
		return nil
	}
	if ok, err := h.Root.Exists(); err != nil || !ok {
		return err
	}
	return h.follow(ctx)
}

// sync makes the prefix agree with the databases. Programs that were given back
// because hashpkg's package went are edited again when it has come again.
func (h *Hook) sync(ctx context.Context, following bool) error {
	retired, err := h.Root.Retired()
	if err != nil {
		return err
	}
	_, err = transaction.Sync(ctx, transaction.SyncOptions{
		Root: h.Root, Rewrite: h.Rewrite, Now: h.Now, Image: h.Image, Wait: waitAfter,
		Following: following && !retired, Again: retired,
	})
	if errors.Is(err, transaction.ErrNoDatabase) {
		return nil // dpkg --admindir
	}
	if err == nil && retired {
		err = h.Root.SetRetired(false)
	}
	return err
}

// retire leaves a system that works without hashpkg: programs have their packaged
// bytes, and what still searches in current-system finds what the package manager
// has put in place, and will.
func (h *Hook) retire(ctx context.Context) error {
	result, err := transaction.Restore(ctx, transaction.RestoreOptions{Root: h.Root, All: true, Wait: waitAfter})
	err = errors.Join(err, h.follow(ctx))
	if err != nil {
		return err
	}
	if len(result.Left) > 0 {
		l := result.Left[0]
		return fmt.Errorf("%d programs could not be given back: %s %s", len(result.Left), l.Path, l.Reason)
	}
	return h.Root.SetRetired(true)
}
