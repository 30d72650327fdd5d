package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// Recover ends what killed writers left: what was placed for a generation that is
// not the active one is undone, what was being removed is put back, and the staging
// directory emptied. The caller holds the lock.
//
// The error wraps [ErrJournal] when a journal cannot be read. With aside, its
// directory is moved there, whose caller says where that is, and the rest is done.
func (s *Store) Recover(aside func(name string) error) error {
	entries, err := s.dir.ReadDir(layout.StagingDir)
	if err != nil {
		return fmt.Errorf("sweep staging: %w", err)
	}
	for _, e := range entries {
		name := layout.StagingDir + "/" + e.Name()
		if !e.IsDir() { // of a link, what it leads to is not looked at
			if err := s.dir.Remove(name); err != nil {
				return fmt.Errorf("sweep staging: %w", err)
			}
			continue
		}
		err := s.undoIn(name)
		if errors.Is(err, ErrJournal) && aside != nil {
			if err := aside(name); err != nil {
				return fmt.Errorf("sweep staging: %w", err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.Sync(); err != nil { // what a lost journal would want back
			return err
		}
		if err := s.removeStaging(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) undoIn(name string) error {
	staging, err := s.dir.OpenDir(name)
	if err != nil {
		return fmt.Errorf("sweep staging: %w", err)
	}
	defer staging.Close()
	if err := s.undo(staging); err != nil {
		return fmt.Errorf("undo what a writer that was cut short did: %w", err)
	}
	return nil
}

// removeStaging removes a staging directory, its journal last: killed on the
// way, the next writer does the same again.
func (s *Store) removeStaging(name string) error {
	fail := func(err error) error { return fmt.Errorf("sweep staging: %w", err) }
	dir, err := s.dir.OpenDir(name)
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(".")
	if err != nil {
		return fail(err)
	}
	for _, e := range entries {
		if e.Name() == journalName {
			continue
		}
		if err := dir.RemoveAll(e.Name()); err != nil {
			return fail(err)
		}
	}
	if err := dir.RemoveAll(journalName); err != nil {
		return fail(err)
	}
	if err := s.dir.Rmdir(name); err != nil {
		return fail(err)
	}
	return nil
}

// undo takes back what the writer of a staging directory did, in the reverse order,
// unless it placed the generation that is the active one: then it takes away what that
// replaces. What did not happen is not there, and skipped: From still is.
func (s *Store) undo(staging *beneath.Dir) error {
	j, err := s.readJournal(staging)
	if err != nil || j == nil {
		return err
	}
	if len(j.Gone) > 0 {
		for _, m := range slices.Backward(j.Gone) {
			if err := s.putBack(staging, m); err != nil {
				return err
			}
		}
		return nil
	}
	if active, err := s.Active(); err != nil {
		return err
	} else if active == j.Generation {
		return s.takeReplaced(staging, j.Replaced)
	}
	for _, m := range slices.Backward(j.Moves) {
		_, err := staging.Lstat(m.From)
		if err == nil {
			continue // was not moved
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = s.dir.RemoveAll(m.To)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, d := range slices.Backward(j.Dirs) {
		if err := s.removeIfEmpty(d); err != nil {
			return err
		}
	}
	return nil
}

// takeReplaced takes names out of the store, each in one step, into a staging
// directory.
func (s *Store) takeReplaced(staging *beneath.Dir, names []string) error {
	for i, name := range names {
		err := staging.Rename(s.dir, name, "replaced-"+strconv.Itoa(i))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was taken before
		}
		if err == nil {
			err = s.SyncDir(path.Dir(name))
		}
		if err != nil {
			return fmt.Errorf("remove what was replaced: %w", err)
		}
	}
	return nil
}

// removeIfEmpty removes a directory if it is there and nothing is in it.
func (s *Store) removeIfEmpty(name string) error {
	err := s.dir.Rmdir(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// putBack puts a name that was taken out back in its place.
func (s *Store) putBack(staging *beneath.Dir, m move) error {
	_, err := staging.Lstat(m.From)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // was not taken, or is back
	}
	if err == nil {
		err = s.dir.Rename(staging, m.From, m.To)
	}
	if err != nil {
		return fmt.Errorf("put back: %w", err)
	}
	return nil
}
