package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
)

// Phase orders what is placed: each phase is durable before the next begins, so
// that a record never speaks of data that a power cut could take back.
type Phase int

// The phases.
const (
	PhaseData    Phase = iota // objects, trees, links beside them
	PhaseRecords              // manifests, the generation
)

// Move plans a rename from a name in the staging directory to one below the prefix,
// which nothing has.
func (t *Staging) Move(from, to string, phase Phase) {
	t.moves = append(t.moves, move{from, to, phase})
}

// Replace plans that a name goes when the generation that is published is active.
func (t *Staging) Replace(name string) { t.replaced = append(t.replaced, name) }

// WriteJournal plans where objects go and which directories are made, and writes a
// journal of that and of all moves, by which Undo, and whoever writes next, can take
// back what Place does until the generation is active. When it returns, all that was
// staged is durable.
func (t *Staging) WriteJournal(generation int) error {
	if err := t.behind.flush(); err != nil {
		return err
	}
	for _, m := range t.moves { // Undo takes a name that is not there for one that was moved
		if _, err := t.dir.Lstat(m.From); err != nil {
			return fmt.Errorf("plan moves: %w", err)
		}
	}
	if err := t.planObjects(); err != nil {
		return err
	}
	if err := t.planDirs(); err != nil {
		return err
	}
	return t.writeJournal(generation)
}

// planObjects plans the renames of the objects that trees use, and drops the
// others, so that they are never written to the disk.
func (t *Staging) planObjects() error {
	var unused []string
	for d, o := range t.objects {
		if o.used {
			to := layout.ObjectPath(d)
			t.dirs = append(t.dirs, path.Dir(to))
			t.Move("objects/"+o.name, to, PhaseData)
		} else {
			unused = append(unused, o.name)
		}
	}
	t.objects = map[digest.Digest]*staged{}
	for _, name := range unused {
		if err := t.files.Remove(name); err != nil {
			return fmt.Errorf("drop unused object: %w", err)
		}
	}
	return nil
}

// planDirs keeps the directories that are not there yet, each after its parent.
// What is there must be a directory: a link would lead the renames elsewhere.
func (t *Staging) planDirs() error {
	slices.Sort(t.dirs)
	missing := t.dirs[:0]
	for _, d := range slices.Compact(t.dirs) {
		st, err := t.store.dir.Lstat(d)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, d)
		case err != nil:
			return fmt.Errorf("plan directories: %w", err)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return notOwnDirectory(t.store.Path(d))
		}
	}
	t.dirs = missing
	return nil
}

// Place renames everything to where it was planned to go, and makes it durable.
// After an error the caller calls Undo, or Discard, which does.
func (t *Staging) Place() error {
	for _, d := range t.dirs {
		if err := t.store.dir.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	moves := slices.Clone(t.moves)
	slices.SortStableFunc(moves, func(a, b move) int { return strings.Compare(a.To, b.To) })
	for _, phase := range []Phase{PhaseData, PhaseRecords} {
		if err := t.rename(moves, phase); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if err := t.store.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Staging) rename(moves []move, phase Phase) error {
	from, to := cursor{top: t.dir}, cursor{top: t.store.dir}
	defer from.close()
	defer to.close()
	for _, m := range moves {
		if m.Phase != phase {
			continue
		}
		fromDir, old, err := from.at(m.From)
		if err != nil {
			return err
		}
		toDir, name, err := to.at(m.To)
		if err != nil {
			return err
		}
		if err := toDir.RenameNew(fromDir, old, name); err != nil {
			return err
		}
	}
	return nil
}

// Undo takes back what Place, or TakeOut, did, unless the generation that was
// placed is the active one. When it fails, the staging directory stays with its
// journal, for the next writer to undo.
func (t *Staging) Undo() error {
	if !t.pending {
		return nil
	}
	err := t.store.undo(t.dir)
	if err == nil { // or the journal would have a later writer's work undone
		err = t.store.Sync()
	}
	if err == nil {
		err = t.dir.RemoveIfThere(journalName)
	}
	if err != nil {
		t.keep = true
		return fmt.Errorf("undo: %w", err)
	}
	t.pending = false
	clear(t.taken)
	return nil
}

// Forget removes what the generation replaces, and the journal: nobody undoes any more
// what Place or TakeOut did, whatever becomes of the link to the active generation.
//
// That is not durable yet when it returns: whoever makes another generation the
// active one without placing it calls [Store.Sync] before, or a power cut could
// bring the journal back, and have its generation undone.
func (t *Staging) Forget() error {
	if len(t.gone) > 0 { // what the journal would put back must not be needed
		if err := t.store.Sync(); err != nil {
			return err
		}
	}
	if err := t.store.takeReplaced(t.dir, t.replaced); err != nil {
		t.keep = true // the next writer takes it away
		return err
	}
	if err := t.dir.RemoveIfThere(journalName); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	t.pending = false
	return nil
}
