package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// DiskUse returns how many bytes of the disk are free when the files at and below
// these names are deleted: those of which no name is left.
func (s *Store) DiskUse(names []string) (int64, error) {
	u := diskUse{left: map[inode]uint64{}}
	within := cursor{top: s.dir}
	defer within.close()
	for _, name := range slices.Sorted(slices.Values(names)) {
		dir, base, err := within.at(name)
		if err == nil {
			err = u.add(dir, base)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("measure: %w", err)
		}
	}
	return u.bytes, nil
}

type inode struct{ dev, ino uint64 }

// diskUse adds up files that are deleted.
type diskUse struct {
	left  map[inode]uint64 // names that were seen of files that have more
	bytes int64
}

func (u *diskUse) add(dir *beneath.Dir, base string) error {
	st, err := dir.Lstat(base)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		u.addFile(&st)
	case unix.S_IFDIR:
		return dir.Walk(base, func(_ string, dir *beneath.Dir, base string, kind fs.FileMode) error {
			if !kind.IsRegular() {
				return nil
			}
			st, err := dir.Lstat(base)
			if err == nil {
				u.addFile(&st)
			}
			return err
		})
	}
	return nil
}

func (u *diskUse) addFile(st *unix.Stat_t) {
	of := identityOf(st)
	id := inode{of.dev, of.ino}
	if u.left[id]++; u.left[id] == uint64(st.Nlink) { //nolint:unconvert // Nlink has 32 bits elsewhere
		u.bytes += st.Blocks * 512
		delete(u.left, id)
	}
}

// Measure calls f for everything that stands below the prefix, and the prefix itself,
// which is ".". What goes meanwhile is passed over.
func (s *Store) Measure(f func(name string, st *unix.Stat_t)) error {
	err := s.dir.Walk(".", func(name string, dir *beneath.Dir, base string, _ fs.FileMode) error {
		st, err := dir.Lstat(base)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			f(name, &st)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}
