// Package hooks is what package managers and image builders call, and the files
// that are installed so that they do.
//
// [Run] does what is to be done while a package manager works ([During]), when its
// transaction has ended ([After]) and when hashpkg's own package is removed
// ([Retire]). It never fails; what goes wrong is kept, and [Check] finds it.
// [Install], [Remove] and [Status] are about the files.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/live"
	"github.com/hashpkg/hashpkg/transaction"
)

// Event is why a hook is called.
type Event string

// The events.
const (
	// Before is called by files that older versions have installed. It does nothing:
	// what a package manager puts in place is in force at once.
	Before Event = "before"
	During Event = "trigger"
	After  Event = "after"  // the transaction has ended, whether it succeeded or not
	Retire Event = "remove" // hashpkg's own package is removed
)

// wait is how long a hook waits for another hashpkg.
const wait = time.Minute

// lock says how a hook takes the lock.
func (h *Hook) lock() sysroot.LockOptions {
	return sysroot.LockOptions{Command: "hashpkg hook " + string(h.Event), Log: h.Log, Wait: wait}
}

// Hook is one call of a hook.
type Hook struct {
	Event Event
	Root  *sysroot.Root
	// Foreign says that Root is not the caller's own "/": a store is then not made
	// where there is none, for nobody has asked for one.
	Foreign bool
	Rewrite programs.Rewrite
	Now     time.Time
	// Image and Generate are as in [transaction.SyncOptions].
	Image, Generate bool
	// User is who has the package manager at work: see [caller.User].
	User string
	// Log is as in [sysroot.LockOptions].
	Log func(record.Event)
}

// Run does what the event asks for. What goes wrong is kept for [Check], a line of it
// is written to w, and Run returns normally: a package manager's transaction never
// fails because of hashpkg. Only for [Retire] it returns an error: hashpkg's package
// must not be removed while programs still have its edits.
//
// open is given the way to settings that may be wrong themselves; as far as it can
// it returns a hook with a root together with its error.
func Run(ctx context.Context, w io.Writer, open func() (Hook, error)) error {
	var h Hook
	err := guard(func() (err error) {
		if h, err = open(); err == nil {
			err = h.run(ctx, w)
		}
		return err
	})
	if h.Root != nil && (h.Event == During || h.Event == After) && !h.Foreign && !h.Image {
		err = errors.Join(err, guard(func() error { return refreshViews(ctx, w, h.Root) }))
	}
	if err == nil {
		return nil
	}
	said := strings.ReplaceAll(err.Error(), "\n", "; ")
	if h.Event == Retire {
		fmt.Fprintf(w, "hashpkg: %s\nhashpkg: its package stays until hashpkg restore --all succeeds\n", said)
		return err
	}
	fmt.Fprintf(w, "hashpkg: %s\nhashpkg: the packages are not affected; run hashpkg check to see what to do\n", said)
	if err := guard(func() error { return h.keep(said) }); err != nil {
		fmt.Fprintf(w, "hashpkg: %v\n", err)
	}
	return nil
}

// refreshViews shows running programs the files that have come.
func refreshViews(ctx context.Context, w io.Writer, root *sysroot.Root) error {
	stale, err := live.Refresh(ctx, root)
	for _, s := range stale {
		fmt.Fprintf(w, "hashpkg: %s\n", s)
	}
	return err
}

// guard turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v at %s", p, strings.Join(strings.Fields(string(debug.Stack())), " "))
		}
	}()
	return f()
}

func (h *Hook) run(ctx context.Context, w io.Writer) error {
	ok, err := h.Root.Exists()
	if err != nil {
		return err
	}
	if !ok && h.Event == Retire {
		err := transaction.CheckStore(ctx, h.Root)
		if errors.Is(err, backends.ErrNoDatabase) {
			return nil
		}
		return err
	}
	if !ok && (h.Foreign || h.Event == Before) {
		return nil
	}
	switch h.Event {
	case Before:
		return nil
	case During, After:
		return h.sync(ctx, w)
	case Retire:
		return h.retire(ctx, w)
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

// sync makes the prefix agree with the databases. Programs that were given back
// because hashpkg's package went are edited again when it has come again. What it has
// changed, and what there is to say of frozen programs, is written to w.
func (h *Hook) sync(ctx context.Context, w io.Writer) error {
	retired, err := h.Root.Retired()
	if err != nil {
		return err
	}
	run, atWork, lock := "", "", h.lock()
	if !h.Image { // in which nothing of the machine that makes it shall be
		run, atWork = currentRun(h.Root), ProcessAtWork(h.Root)
		lock.Cause = record.Cause{Command: currentCommand(h.Root), User: h.User}
	}
	result, err := transaction.Sync(ctx, transaction.SyncOptions{
		Root: h.Root, Rewrite: h.Rewrite, Now: h.Now, Image: h.Image, Generate: h.Generate, Run: run, AtWork: atWork, Lock: lock, Again: retired,
	})
	if errors.Is(err, backends.ErrNoDatabase) {
		return nil // dpkg --admindir
	}
	if result != nil { // who has installed a fix reads here that it is not in force everywhere
		if line := changed(result); line != "" {
			fmt.Fprintf(w, "hashpkg: %s\n", line)
		}
		for _, f := range result.Frozen {
			fmt.Fprintf(w, "hashpkg: warning: %s\n", f)
		}
	}
	if err == nil && retired {
		err = h.Root.SetRetired(false)
	}
	return err
}

// retire gives every program its packaged bytes back, so that the system works
// without hashpkg, and says so to w. It fails when one could not be given back.
func (h *Hook) retire(ctx context.Context, w io.Writer) error {
	result, err := transaction.Restore(ctx, transaction.RestoreOptions{Root: h.Root, All: true, Alone: true, Lock: h.lock()})
	if err != nil {
		return err
	}
	if n := len(result.Edited); n > 0 {
		return fmt.Errorf("%s could not be given the packaged bytes back, among them %s", count(n, "program", "programs"), result.Edited[0])
	}
	pins, _ := h.Root.Pins() // which are only named: a damaged record of them keeps nobody from removing
	if line := retired(len(result.Restored), pins); line != "" {
		fmt.Fprintf(w, "hashpkg: %s\n", line)
	}
	return h.Root.SetRetired(true)
}
