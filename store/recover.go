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
// directory emptied. Where current-system does not say which one is active, a generation
// that was placed as a whole stays. The caller holds the lock.
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
	if err := s.undoKilled(staging); err != nil {
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

// undoKilled is undo for a writer that was killed. It may have been so long ago that
// current-system was lost since, or is something else: then it cannot say whether the
// writer came to its switch. A writer that did had placed everything before. So what was not
// all placed is undone, and a whole generation stays, beside the one that was active before:
// which of them shall be is for somebody to decide.
func (s *Store) undoKilled(staging *beneath.Dir) error {
	j, err := s.readJournal(staging)
	if err != nil || j == nil {
		return err
	}
	if len(j.Gone) > 0 {
		return s.undo(staging)
	}
	lost, err := s.isActiveLost(j.Generation)
	if err != nil {
		return err
	}
	if !lost {
		return s.undo(staging)
	}
	if placed, err := s.isPlaced(staging, j); err != nil || placed {
		return err
	}
	return s.undoMoves(staging, j)
}

// isActiveLost reports whether nothing says which generation was active when one with the
// number placed was put in place. Where that is the only one, none was.
func (s *Store) isActiveLost(placed int) (bool, error) {
	active, err := s.Active()
	if errors.Is(err, ErrNoLink) {
		return true, nil
	}
	if err != nil || active != 0 {
		return false, err
	}
	entries, err := s.dir.ReadDir(layout.GenerationsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("list generations: %w", err)
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		id, err := layout.ParseGenerationPath(layout.GenerationsDir + "/" + e.Name())
		return err == nil && id != placed
	}), nil
}

// isPlaced reports whether everything that a journal lists is in its place.
func (s *Store) isPlaced(staging *beneath.Dir, j *journal) (bool, error) {
	there := func(dir *beneath.Dir, name string) (bool, error) {
		_, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	for _, m := range j.Moves {
		if waits, err := there(staging, m.From); err != nil || waits {
			return false, err
		}
		if placed, err := there(s.dir, m.To); err != nil || !placed {
			return false, err
		}
	}
	return true, nil
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
	return s.undoMoves(staging, j)
}

// undoMoves takes away what was moved, and the directories that were made for it.
func (s *Store) undoMoves(staging *beneath.Dir, j *journal) error {
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
