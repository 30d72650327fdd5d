package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// goneDir is in a staging directory, and has what is on its way out of the store.
const goneDir = "gone"

// TakeOut takes names below the prefix out of the store, into the staging directory,
// under a journal: until Forget, Undo puts them back, and so does the next writer if
// this process is killed. A staging that takes out does not place anything.
//
// The caller may look again, when they are out of the way, at what is in use, and
// PutBack some of them; then it calls Forget and Sweep.
func (t *Staging) TakeOut(names []string) error {
	if err := t.dir.Mkdir(goneDir, 0o700); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	for i, name := range names {
		t.gone = append(t.gone, move{From: goneDir + "/" + strconv.Itoa(i), To: name})
	}
	if err := t.writeJournal(0); err != nil {
		return err
	}
	gone, err := t.dir.OpenDir(goneDir)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	defer gone.Close()
	within := cursor{top: t.store.dir}
	defer within.close()
	for i, m := range t.gone {
		dir, base, err := within.at(m.To)
		if err == nil {
			err = gone.Rename(dir, base, strconv.Itoa(i))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("remove: %w", err)
		}
		t.taken[m.To] = i
	}
	return nil
}

// Taken returns where, relative to the prefix, a name is that was taken out; "" for
// one that was not there, or was put back.
func (t *Staging) Taken(name string) string {
	i, ok := t.taken[name]
	if !ok {
		return ""
	}
	return t.name + "/" + t.gone[i].From
}

// PutBack puts some of the names that were taken out back. Others are passed over.
func (t *Staging) PutBack(names []string) error {
	for _, name := range names {
		i, ok := t.taken[name]
		if !ok {
			continue
		}
		if err := t.store.putBack(t.dir, t.gone[i]); err != nil {
			return err
		}
		delete(t.taken, name)
	}
	return nil
}

// Sweep deletes what was taken out and forgotten, and objects, by their names below
// the prefix, that no manifest refers to any more. progress, if not nil, is called with
// how many of the names are gone.
func (t *Staging) Sweep(ctx context.Context, objects []string, progress func(done int)) error {
	if t.pending {
		return errors.New("sweep: what was taken out can still be put back")
	}
	if len(t.taken)+len(objects) > 0 {
		// No manifest that a power cut could bring back has these files and objects.
		if err := t.store.Sync(); err != nil {
			return err
		}
	}
	done := 0
	step := func() {
		done++
		if progress != nil {
			progress(done)
		}
	}
	for i, m := range t.gone {
		if at, ok := t.taken[m.To]; !ok || at != i {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.dir.RemoveAll(m.From); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
		step()
	}
	within := cursor{top: t.store.dir}
	defer within.close()
	for _, name := range objects {
		if err := ctx.Err(); err != nil {
			return err
		}
		if d, err := digest.Parse(name[max(0, len(name)-64):]); err != nil || name != layout.ObjectPath(d) {
			return fmt.Errorf("remove object: %q is not a name of one", name)
		}
		dir, base, err := within.at(name)
		if err == nil {
			err = dir.RemoveIfThere(base)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove object: %w", err)
		}
		step()
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
		entries, err := t.store.dir.ReadDir(layout.ManifestsDir + "/" + name)
		if err != nil {
			return fmt.Errorf("remove directory: %w", err)
		}
		if len(entries) > 0 {
			continue
		}
		for _, dir := range []string{name, layout.ManifestsDir + "/" + name} { // the manifests, which say that there are trees, last
			err := t.store.removeIfEmpty(dir)
			if err != nil && !errors.Is(err, beneath.ErrLink) { // a link is not ours to remove
				return fmt.Errorf("remove directory: %w", err)
			}
		}
	}
	return nil
}

// Unreferenced returns the names, below the prefix, of the objects that are not
// used. Without the lock, those of a writer that is at work are among them.
func (s *Store) Unreferenced(used map[digest.Digest]bool) ([]string, error) {
	shards, err := s.dir.ReadDir(layout.ObjectsDir)
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	var names []string
	for _, shard := range shards {
		if !shard.IsDir() {
			continue
		}
		entries, err := s.dir.ReadDir(layout.ObjectsDir + "/" + shard.Name())
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
