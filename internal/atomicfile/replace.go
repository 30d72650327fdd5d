// Package atomicfile is programs/inplace and internal/mapped for callers that have
// paths and no directories. It goes with the last of them.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/programs/inplace"
)

// ErrChanged is inplace.ErrChanged.
var ErrChanged = inplace.ErrChanged

// ReplaceOptions is inplace.Options.
type ReplaceOptions = inplace.Options

// ReadMapped is [mapped.Open].
func ReadMapped(path string, read func(data []byte) error) error { return mapped.Open(path, read) }

// MapFile is [mapped.File].
func MapFile(file *os.File, read func(data []byte) error) error { return mapped.File(file, read) }

// Replacement is an inplace.Replacement that holds its directory.
type Replacement struct {
	staged *inplace.Replacement
	dir    *beneath.Dir
}

// StageEdited is inplace.Stage for the file at a path, or that a link there leads to.
func StageEdited(path string, e elfedit.Edit, o ReplaceOptions) (*Replacement, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	dir, err := beneath.Open(filepath.Dir(real))
	if err != nil {
		return nil, err
	}
	staged, err := inplace.Stage(dir, filepath.Base(real), e, o)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &Replacement{staged, dir}, nil
}

// Named is that of inplace, and returns a path.
func (r *Replacement) Named() (string, error) {
	name, err := r.staged.Named()
	return r.dir.Path(name), err
}

// Commit is that of inplace.
func (r *Replacement) Commit() error { return errors.Join(r.staged.Commit(), r.dir.Close()) }

// Discard is that of inplace.
func (r *Replacement) Discard() error { return errors.Join(r.staged.Discard(), r.dir.Close()) }

// ReplaceByLink makes path another name of the file target, whatever it is.
func ReplaceByLink(target, path string) error {
	return in(path, func(to *beneath.Dir, name string) error {
		was, err := inplace.Identify(to, name)
		if err != nil {
			return err
		}
		return in(target, func(dir *beneath.Dir, base string) error {
			return inplace.ReplaceByLink(dir, base, to, name, was)
		})
	})
}

// Sweep is inplace.Sweep.
func Sweep(dir string, age time.Duration) error {
	return in(filepath.Join(dir, "x"), func(d *beneath.Dir, _ string) error { return inplace.Sweep(d, age) })
}

// SyncFiles is inplace.SyncAll for the directories of files.
func SyncFiles(paths []string) (err error) {
	var dirs []*beneath.Dir
	defer func() {
		for _, d := range dirs {
			err = errors.Join(err, d.Close())
		}
	}()
	seen := map[string]bool{}
	for _, path := range paths {
		if parent := filepath.Dir(path); !seen[parent] {
			seen[parent] = true
			d, err := beneath.Open(parent)
			if err != nil {
				return err
			}
			dirs = append(dirs, d)
		}
	}
	return inplace.SyncAll(dirs)
}

func in(path string, f func(dir *beneath.Dir, base string) error) error {
	dir, err := beneath.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(f(dir, filepath.Base(path)), dir.Close())
}
