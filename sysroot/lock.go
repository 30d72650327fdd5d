package sysroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

// ErrLocked is returned (wrapped) while another process writes.
var ErrLocked = errors.New("the lock is held")

// Lock is the right to write, which one process has at a time.
type Lock struct {
	root *Root
	file *os.File
	made []string // files and directories that taking the lock made, parents first
}

// Lock takes the prefix's lock, making the prefix if it is not there, and ends
// what a killed writer left. It does not wait: the error wraps [ErrLocked] while
// another process has it. The caller unlocks.
func (r *Root) Lock() (*Lock, error) {
	l := &Lock{root: r}
	if err := l.take(); err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return l, nil
}

// LockWait is Lock, and waits up to limit for another process to end.
func (r *Root) LockWait(ctx context.Context, limit time.Duration) (*Lock, error) {
	deadline := time.Now().Add(limit)
	for {
		l, err := r.Lock()
		if !errors.Is(err, ErrLocked) || !time.Now().Before(deadline) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *Lock) take() error {
	s := l.root.store
	if err := s.CheckFormat(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.mkdirAll(s.Path(layout.Private)); err != nil {
		return err
	}
	if err := l.root.ownDirs(layout.Private); err != nil {
		return err
	}
	path := s.Path(layout.LockFile)
	for l.file == nil {
		_, missing := os.Lstat(path)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
		if err != nil {
			return hint(fmt.Errorf("take the lock: %w", err))
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: another hashpkg is at work on %s; wait until it has ended", ErrLocked, l.root.dir)
		} else if err != nil {
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if !sameFile(f, path) { // its owner removed it while we opened it
			if err := f.Close(); err != nil {
				return fmt.Errorf("take the lock: %w", err)
			}
			continue
		}
		l.file = f
		if missing != nil {
			l.made = append(l.made, path)
		}
	}
	for _, d := range []string{layout.ObjectsDir, layout.ManifestsDir, layout.GenerationsDir, layout.StagingDir} {
		if err := l.mkdirAll(s.Path(d)); err != nil {
			return err
		}
		if err := l.root.ownDirs(d); err != nil {
			return err
		}
	}
	edits := layout.SystemDir + "/edits"
	if err := l.root.ownDirs(layout.SystemDir, edits, edits+"/deb", edits+"/rpm"); err != nil {
		return err
	}
	if err := s.CheckFormat(); errors.Is(err, fs.ErrNotExist) {
		format := s.Path(layout.FormatFile)
		l.made = append(l.made, format)
		if err := store.WriteDurably(format, fmt.Appendf(nil, "%d\n", layout.FormatVersion)); err != nil {
			return fmt.Errorf("write %s: %w", format, err)
		}
	} else if err != nil {
		return err
	}
	return s.Recover()
}

// ownDirs returns an error for one of the directories that is something else, such
// as a link out of the root that an image may have.
func (r *Root) ownDirs(names ...string) error {
	for _, name := range names {
		path := r.store.Path(name)
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at %s: %w", path, err)
		}
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is no directory of its own: look at what it is, and move it away", path)
		}
	}
	return nil
}

// Unlock gives the lock back. What taking it made is removed again if nothing
// was put in it, so that a command that failed leaves no trace.
func (l *Lock) Unlock() error {
	var err error
	if active, aerr := l.root.store.Active(); aerr == nil && active == 0 && l.file != nil {
		for _, path := range slices.Backward(l.made) {
			if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				if errors.Is(rerr, unix.ENOTEMPTY) || errors.Is(rerr, unix.EEXIST) {
					break
				}
				err = errors.Join(err, fmt.Errorf("clean up: %w", rerr))
			}
		}
	}
	if l.file != nil {
		if cerr := l.file.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("unlock: %w", cerr))
		}
		l.file = nil
	}
	return err
}

// mkdirAll makes a directory and its parents, readable by everybody whatever the
// umask: programs of every user load libraries from there.
func (l *Lock) mkdirAll(path string) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("make %s: it is there, and no directory", path)
		}
		return nil
	}
	if err := l.mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return hint(fmt.Errorf("make directory: %w", err))
	}
	l.made = append(l.made, path)
	return os.Chmod(path, 0o755)
}

// hint adds what to do to a permission error.
func hint(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run hashpkg as root, or give --prefix with a directory of your own", err)
	}
	return err
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
