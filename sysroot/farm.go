package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
)

// WriteGeneration writes a generation, its index and its farm into the new
// directory dir on the host, which is on the prefix's file system.
//
// A farm has thousands of links and a generation changes a few, so it is made
// from an older generation's where one can be spared: the farm follows from the
// record, and an inactive generation gets it back when it is rolled back to. The
// active generation and the one before it keep theirs.
func (r *Root) WriteGeneration(dir string, g, active *record.Generation) error {
	fail := func(err error) error { return fmt.Errorf("write generation: %w", err) }
	records := make(chan map[string][]byte, 1)
	var fault error // of making them; read after them
	go func() {     // most of the work among many packages, beside the rest of it
		record, err := g.Encode()
		fault = err
		records <- map[string][]byte{layout.GenerationFile: record, layout.IndexFile: g.EncodeIndex(record)}
	}()
	donor, err := r.borrowFarm(dir, active)
	if err != nil {
		return fail(err)
	}
	if donor == nil {
		donor = &record.Generation{}
		if err := makeDir(dir); err != nil {
			return fail(err)
		}
	}
	gone, made := farm.Changes(g, donor)
	for _, l := range gone {
		if err := os.Remove(filepath.Join(dir, l.Path)); err != nil {
			return fail(err)
		}
	}
	dirs := map[string]bool{".": true}
	for _, l := range made {
		if !fs.ValidPath(l.Path) {
			return fail(fmt.Errorf("the link %q does not stand below it", l.Path))
		}
		if err := mkdirs(dir, filepath.Dir(l.Path), dirs); err != nil {
			return fail(err)
		}
		if err := os.Symlink(l.Target, filepath.Join(dir, l.Path)); err != nil {
			return fail(err)
		}
	}
	files := <-records
	if fault != nil {
		return fault
	}
	for name, b := range files {
		if err := replaceFile(filepath.Join(dir, name), b); err != nil {
			return fail(err)
		}
	}
	return nil
}

// borrowFarm moves the newest farm that can be spared to dir, in one step, and
// leaves the records in its generation. It returns that generation; nil when
// there is none, or the file system cannot exchange two names.
func (r *Root) borrowFarm(dir string, active *record.Generation) (*record.Generation, error) {
	ids, err := r.Generations()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		if id == active.ID || id == active.Parent || !r.hasFarm(id) {
			continue
		}
		g, err := r.Generation(id)
		if err != nil || !r.farmIsWhole(g) {
			continue // it is not wanted now, and verify is the one to tell of it
		}
		if err := makeDir(dir); err != nil {
			return nil, err
		}
		from := r.store.Path(layout.GenerationPath(id))
		for _, name := range []string{layout.GenerationFile, layout.IndexFile} {
			err := os.Link(filepath.Join(from, name), filepath.Join(dir, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if err := exchange(dir, from); err != nil {
			return nil, os.RemoveAll(dir)
		}
		return g, nil
	}
	return nil, nil
}

// farmIsWhole reports whether a generation's farm has the names that its record
// gives it, and no others: what is wrong there must not come back with a later
// generation.
func (r *Root) farmIsWhole(g *record.Generation) bool {
	names := farm.Paths(g)
	top := r.store.Path(layout.GenerationPath(g.ID))
	found := 0
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(top, p)
		switch {
		case err != nil:
			return err
		case rel == layout.GenerationFile, rel == layout.IndexFile:
			return nil
		case !names[rel] || d.Type()&fs.ModeSymlink == 0:
			return fs.ErrInvalid
		}
		found++
		return nil
	})
	return err == nil && found == len(names)
}

// hasFarm reports whether an inactive generation still has its farm.
func (r *Root) hasFarm(id int) bool {
	_, err := os.Lstat(r.store.Path(layout.GenerationPath(id) + "/" + layout.DefaultLink))
	return err == nil
}

// RestoreFarm gives an inactive generation its farm, if it lent it. scratch is a
// directory on the same file system.
func (r *Root) RestoreFarm(g, active *record.Generation, scratch string) error {
	if r.hasFarm(g.ID) || len(g.Trees) == 0 {
		return nil
	}
	dir := filepath.Join(scratch, "farm")
	if err := r.WriteGeneration(dir, g, active); err != nil {
		return err
	}
	if err := r.store.Sync(); err != nil {
		return err
	}
	to := r.store.Path(layout.GenerationPath(g.ID))
	if err := exchange(dir, to); err != nil {
		return fmt.Errorf("give generation %d its links back: %w", g.ID, err)
	}
	return r.store.SyncDir(layout.GenerationsDir)
}

// exchange swaps two names in one step (renameat2(2)).
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

func mkdirs(top, name string, made map[string]bool) error {
	if made[name] {
		return nil
	}
	if err := mkdirs(top, filepath.Dir(name), made); err != nil {
		return err
	}
	made[name] = true
	err := makeDir(filepath.Join(top, name))
	if errors.Is(err, fs.ErrExist) { // the farm was lent
		if info, lerr := os.Lstat(filepath.Join(top, name)); lerr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

func makeDir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// replaceFile writes a new file in the place of one that may be there, and may
// have other names.
func replaceFile(path string, b []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}
