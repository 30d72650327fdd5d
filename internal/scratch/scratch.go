// Package scratch makes directories and files that one run fills, and that take another name when
// they are whole. What a killed run has left is removed by the next: each is locked as long as its run
// lives.
package scratch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// grace is how old something has to be to count as left: a run makes it first and locks it then.
const grace = time.Minute

// Scratch is a directory or file that is locked.
type Scratch struct {
	Path string
	// File is the open file, or directory.
	File *os.File
}

// Dir makes a directory in parent whose name begins with prefix, and removes what killed runs have
// left of such. The caller closes it.
func Dir(parent, prefix string) (*Scratch, error) {
	if err := sweep(parent, prefix); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err == nil {
		err = lock(f)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &Scratch{dir, f}, nil
}

// File is Dir for a file, which is open for reading and writing.
func File(parent, prefix string) (*Scratch, error) {
	if err := sweep(parent, prefix); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &Scratch{f.Name(), f}, nil
}

// Close removes what has the name still, and ends the lock.
func (s *Scratch) Close() error { return errors.Join(remove(s.Path), s.File.Close()) }

// noLocks are what file systems answer that have no locks, or none for a file that is open for reading, as some
// network file systems.
var noLocks = []error{unix.ENOLCK, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.EBADF}

// lock locks a file as long as it is open. Where the file system has no locks nothing is locked, and
// nothing swept.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for _, none := range noLocks {
		if errors.Is(err, none) {
			return nil
		}
	}
	return err
}

// sweep removes what killed runs have left, as far as the caller may.
func sweep(parent, prefix string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if !strings.HasPrefix(e.Name(), prefix) || err != nil || time.Since(info.ModTime()) < grace || !e.IsDir() && !info.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(parent, e.Name()))
		if err != nil {
			continue // another's
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = remove(f.Name())
		}
		if err = errors.Join(err, f.Close()); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// remove removes a file, or a directory and all in it, where it is there.
func remove(name string) error {
	d, err := beneath.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.RemoveAll(filepath.Base(name)), d.Close())
}
