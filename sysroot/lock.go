package sysroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// Lock is the right to write, which one process has at a time.
type Lock struct {
	root     *Root
	file     *os.File
	signed   bool     // the file says who has it
	made     []string // names below the root that taking the lock made, parents first
	madeRoot bool     // the root itself, too
}

// LockOptions says who takes a lock, and how long it waits for another process to
// end.
type LockOptions struct {
	Command string // what others read of the holder, such as "hashpkg sync"
	// Cause is what the generations keep that are made while it is held.
	Cause record.Cause
	// Log is told what is done meanwhile, after each step; nil for nobody.
	Log     func(record.Event)
	Wait    time.Duration
	Waiting func(*LockedError) // is called once when it has to wait; nil for nobody
	// Aside, if not nil, moves the directory of a killed writer away whose journal cannot
	// be read, and a format that is no number of a layout, by their names below the prefix;
	// without it these are errors.
	Aside func(name string) error
}

// Lock takes the prefix's lock, making the prefix if it is not there, and ends
// what a killed writer left. When another process has it for longer than it waits,
// the error is a [*LockedError]. The caller unlocks.
func (r *Root) Lock(ctx context.Context, o LockOptions) (*Lock, error) {
	deadline := time.Now().Add(o.Wait)
	for {
		l, err := r.tryLock(o)
		if !errors.Is(err, ErrLocked) || !time.Now().Before(deadline) {
			return l, err
		}
		var locked *LockedError
		if o.Waiting != nil && errors.As(err, &locked) {
			o.Waiting(locked)
			o.Waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *Root) tryLock(o LockOptions) (*Lock, error) {
	l := &Lock{root: r}
	if err := l.take(o); err != nil {
		return nil, errors.Join(Hint(err), l.Unlock())
	}
	return l, nil
}

// take makes the prefix and takes the lock, again as long as its owner removes one
// or the other meanwhile.
func (l *Lock) take(o LockOptions) error {
	mended := func(err error) bool { return o.Aside != nil && errors.Is(err, store.ErrFormat) }
	if err := l.root.store.CheckFormat(); err != nil && !errors.Is(err, fs.ErrNotExist) && !mended(err) {
		return err
	}
	if err := l.root.store.CheckOwner(); err != nil { // before anything is made in a prefix of somebody else's
		return err
	}
	for l.file == nil {
		if err := l.makePrefix(); err != nil {
			return err
		}
		if err := l.takeFile(); err != nil {
			return err
		}
	}
	l.sign(o.Command)
	if err := l.makeStore(o.Aside); err != nil {
		return err
	}
	return l.root.store.Recover(o.Aside)
}

// makePrefix makes the root and the directories down to hashpkg's own, as far as
// they are missing, and opens the prefix again.
func (l *Lock) makePrefix() (err error) {
	r := l.root
	made, err := r.makeRoot()
	if err != nil {
		return err
	}
	l.madeRoot = l.madeRoot || made
	place, err := r.prefixPlace()
	if err != nil {
		return err
	}
	dir := ""
	for element := range strings.SplitSeq(place+"/"+layout.Private, "/") {
		dir = path.Join(dir, element)
		if err := l.makeDir(dir); err != nil {
			return err
		}
	}
	if !r.isOpenAt(place) {
		if err := r.store.Dir().Close(); err != nil {
			return err
		}
		if err := r.openStore(); err != nil {
			return err
		}
	}
	return r.store.CheckOwner()
}

// isOpenAt reports whether the store that is open is the directory that stands at a
// place now. It is not when it was missing, or was made anew.
func (r *Root) isOpenAt(place string) bool {
	have, err := r.store.Dir().Lstat(".")
	if err != nil {
		return false
	}
	st, err := r.dir.Lstat(place)
	return err == nil && st.Dev == have.Dev && st.Ino == have.Ino
}

// makeDir makes a directory below the root, readable by everybody whatever the
// umask is: programs of every user load libraries from there.
func (l *Lock) makeDir(name string) error {
	err := l.root.dir.Mkdir(name, 0o755)
	switch {
	case err == nil:
		l.made = append(l.made, name)
		return nil
	case errors.Is(err, fs.ErrNotExist) && !l.root.hasDir(path.Dir(name)):
		return nil // take looks again
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	st, err := l.root.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // take looks again
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is not a directory of its own: look at what it is, and move it away", l.root.host(name))
	}
	return err
}

// takeFile locks the lock file; l.file stays nil when its owner removed it while it
// was opened.
func (l *Lock) takeFile() error {
	dir := l.root.store.Dir()
	_, missing := dir.Lstat(layout.LockFile)
	if missing != nil && !errors.Is(missing, fs.ErrNotExist) {
		return fmt.Errorf("take the lock: %w", missing)
	}
	f, err := dir.OpenFile(layout.LockFile, unix.O_RDWR|unix.O_CREAT, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	if err = checkLockFile(f); err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &LockedError{dir.Name(), l.root.holder(f)}
	} else if err != nil {
		err = fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if current, err := l.isCurrent(f); err != nil || !current {
		return errors.Join(err, f.Close())
	}
	l.file = f
	if missing != nil {
		l.made = append(l.made, l.name(layout.LockFile))
	}
	return nil
}

// name returns the name below the root of one below the prefix.
func (l *Lock) name(inPrefix string) string {
	return path.Join(strings.TrimPrefix(strings.TrimPrefix(l.root.store.Dir().Name(), l.root.path), "/"), inPrefix)
}

// isCurrent reports whether an open file is the one that has the lock's name now.
func (l *Lock) isCurrent(f *os.File) (bool, error) {
	var have unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &have); err != nil {
		return false, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	st, err := l.root.dir.Lstat(l.name(layout.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take the lock: %w", err)
	}
	return st.Dev == have.Dev && st.Ino == have.Ino, nil
}

// makeStore makes what a store has, as far as it is missing.
func (l *Lock) makeStore(aside func(name string) error) error {
	s := l.root.store
	for _, d := range []string{layout.ObjectsDir, layout.ManifestsDir, layout.GenerationsDir, layout.StagingDir} {
		if err := l.makeDir(l.name(d)); err != nil {
			return err
		}
	}
	if err := s.CheckOwner(); err != nil {
		return err
	}
	err := s.CheckFormat()
	if errors.Is(err, store.ErrFormat) && aside != nil {
		if err = aside(layout.FormatFile); err == nil {
			err = fs.ErrNotExist
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.made = append(l.made, l.name(layout.FormatFile))
	if err := s.Dir().WriteFile(layout.FormatFile, fmt.Appendf(nil, "%d\n", layout.FormatVersion), 0o644); err != nil {
		return fmt.Errorf("write the layout's version: %w", err)
	}
	return nil
}

// Unlock gives the lock back. What taking it made is removed again if nothing
// was put in it, so that a command that failed leaves no trace.
func (l *Lock) Unlock() error {
	var err error
	if active, aerr := l.root.store.Active(); aerr == nil && active == 0 && !l.root.hasGenerations() && (l.file != nil || len(l.made) > 0) {
		err = l.removeMade()
	}
	if l.file != nil {
		l.unsign()
		if cerr := l.file.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("unlock: %w", cerr))
		}
		l.file = nil
	}
	return err
}

// hasGenerations reports whether there is a generation, active or not, or it is not known.
func (r *Root) hasGenerations() bool {
	ids, err := r.Generations()
	return err != nil || len(ids) > 0
}

func (l *Lock) removeMade() error {
	for _, name := range slices.Backward(l.made) {
		err := l.root.dir.RemoveIfThere(name)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	if l.madeRoot {
		_ = os.Remove(l.root.path) // not if something else came there meanwhile
	}
	return nil
}

// Hint says first what to do about a permission error, unless that says it itself.
func Hint(err error) error {
	if _, hint := advice.Of(err); hint == "" && errors.Is(err, fs.ErrPermission) {
		return advice.First("run hashpkg as root, or "+store.HowToOwn, err)
	}
	return err
}
