package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
)

// Names returns the names of the packages that have trees, sorted.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.Path(layout.ManifestsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Unreferenced returns the names, below the prefix, of the objects that are not
// used. Without the lock, those of a publication that is under way are among them.
func (s *Store) Unreferenced(used map[digest.Digest]bool) ([]string, error) {
	shards, err := os.ReadDir(s.Path(layout.ObjectsDir))
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	var names []string
	for _, shard := range shards {
		entries, err := os.ReadDir(s.Path(layout.ObjectsDir + "/" + shard.Name()))
		if errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		for _, e := range entries {
			name := layout.ObjectsDir + "/" + shard.Name() + "/" + e.Name()
			d, err := digest.Parse(e.Name())
			if err == nil && !used[d] && name == layout.ObjectPath(d) { // what is no object is not ours to remove
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Remove takes names below the prefix out of the store. When they are out of the
// way, last is called, which may look again at what is in use: at tells where a
// name is meanwhile, and what last returns is put back. When Remove fails, or last
// does, or the process is killed in it, everything is as it was.
//
// The bytes are still there when it returns: until [Staging.Sweep], or Discard.
func (t *Staging) Remove(names []string, last func(at func(name string) string) (back []string, err error)) error {
	if err := os.Mkdir(filepath.Join(t.dir, goneDir), 0o700); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	places := make(map[string]string, len(names))
	for i, name := range names {
		from := fmt.Sprintf("%s/%d", goneDir, i)
		places[name] = from
		t.gone = append(t.gone, move{From: from, To: name})
	}
	if err := t.writeJournal(0); err != nil {
		return err
	}
	if err := t.store.Sync(); err != nil {
		return err
	}
	err := t.takeOut(func() ([]string, error) {
		return last(func(name string) string { return filepath.Join(t.dir, places[name]) })
	})
	if err != nil {
		uerr := t.store.undo(t.name)
		t.keep = uerr != nil // for the next writer to undo
		return errors.Join(err, uerr)
	}
	return nil
}

// goneDir is in a staging directory, and has what is on its way out of the store.
const goneDir = "gone"

func (t *Staging) takeOut(last func() ([]string, error)) error {
	for _, m := range t.gone {
		err := os.Rename(t.store.Path(m.To), filepath.Join(t.dir, m.From))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove: %w", err)
		}
	}
	back, err := last()
	if err != nil {
		return err
	}
	t.gone = slices.DeleteFunc(t.gone, func(m move) bool {
		if !slices.Contains(back, m.To) {
			return false
		}
		if perr := t.store.putBack(t.name, m); perr != nil {
			err = errors.Join(err, perr)
		}
		return true
	})
	if err != nil {
		return err
	}
	if err := t.store.Sync(); err != nil {
		return err
	}
	// From here on nothing comes back; Sweep makes that durable before it deletes.
	if err := os.Remove(filepath.Join(t.dir, journalName)); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// putBack puts a name that was taken out back in its place.
func (s *Store) putBack(staging string, m move) error {
	from := filepath.Join(s.Path(staging), m.From)
	_, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // was not taken, or is back
	}
	if err == nil {
		err = os.Rename(from, s.Path(m.To))
	}
	if err != nil {
		return fmt.Errorf("put back: %w", err)
	}
	return nil
}

// Gone returns where the names that Remove took out are, on the host.
func (t *Staging) Gone() []string {
	var paths []string
	for _, m := range t.gone {
		paths = append(paths, filepath.Join(t.dir, m.From))
	}
	return paths
}

// Sweep deletes what Remove took out, and objects, by their names below the prefix,
// that no manifest refers to any more. progress is told how many of the names are
// gone.
func (t *Staging) Sweep(objects []string, progress func(done int)) error {
	if len(t.gone)+len(objects) > 0 {
		// No manifest that a power cut could bring back has these files and objects.
		if err := t.store.Sync(); err != nil {
			return err
		}
	}
	for i, path := range t.Gone() {
		if err := removeAll(path); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
		progress(i + 1)
	}
	for i, name := range objects {
		if err := removeIfThere(t.store.Path(name)); err != nil {
			return fmt.Errorf("remove object: %w", err)
		}
		progress(len(t.gone) + i + 1)
	}
	return t.removeEmpty()
}

// removeEmpty removes the directories of packages that have no tree any more.
func (t *Staging) removeEmpty() error {
	names, err := t.store.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		entries, err := os.ReadDir(t.store.Path(layout.ManifestsDir + "/" + name))
		if err != nil {
			return fmt.Errorf("remove directory: %w", err)
		}
		if len(entries) > 0 {
			continue
		}
		for _, dir := range []string{name, layout.ManifestsDir + "/" + name} { // the one that tells of the other last
			err := unix.Rmdir(t.store.Path(dir))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
				return fmt.Errorf("remove directory %s: %w", t.store.Path(dir), err)
			}
		}
	}
	return nil
}

// DiskUse returns how many bytes of the disk are free when the files at and below
// these paths on the host are deleted: those of which no name is left.
func DiskUse(paths []string) (int64, error) {
	type file struct {
		dev, ino uint64
	}
	names := map[file]uint64{}
	var total int64
	for _, path := range paths {
		err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			st, ok := info.Sys().(*syscall.Stat_t)
			if !ok {
				return fmt.Errorf("%s has no inode number", p)
			}
			id := file{st.Dev, st.Ino}
			if names[id]++; names[id] == uint64(st.Nlink) { //nolint:unconvert // Nlink has 32 bits elsewhere
				total += st.Blocks * 512
				delete(names, id)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("measure: %w", err)
		}
	}
	return total, nil
}
