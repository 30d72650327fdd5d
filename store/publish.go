package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
)

// Phase orders what is published: each phase is durable before the next begins,
// so that a record never speaks of data that a power cut could take back.
type Phase int

// The phases.
const (
	PhaseData    Phase = iota // objects, trees, links beside them
	PhaseRecords              // manifests, the generation
)

// move is one rename out of the staging directory.
type move struct {
	From  string `json:"from"` // relative to the staging directory
	To    string `json:"to"`   // relative to the prefix; nothing stands there before
	Phase Phase  `json:"-"`
}

// journal is written before the first rename of a publication. Whoever finds it
// later knows what to take away again, unless its generation became active.
type journal struct {
	Generation int      `json:"generation"`
	Dirs       []string `json:"dirs"` // directories that the publication makes
	Moves      []move   `json:"moves"`
	// Gone are names that are taken out of the store, From below the staging
	// directory and To below the prefix: they are put back as long as there is a
	// journal.
	Gone []move `json:"gone,omitempty"`
}

const journalName = "journal"

// Move adds a rename from a name in the staging directory to one below the
// prefix.
func (t *Staging) Move(from, to string, phase Phase) {
	t.moves = append(t.moves, move{from, to, phase})
}

// Dir returns the staging directory on the host.
func (t *Staging) Dir() string { return t.dir }

// Publish puts what was staged in its place and makes it durable. When it fails,
// or when switchOver does, everything is as it was before. switchOver makes the
// generation active: the one step that readers see.
func (t *Staging) Publish(generation int, switchOver func() error) error {
	if err := t.addObjects(); err != nil {
		return err
	}
	if err := t.planDirs(); err != nil {
		return err
	}
	if err := t.writeJournal(generation); err != nil {
		return err
	}
	if err := t.store.Sync(); err != nil {
		return err
	}
	if err := t.publish(switchOver); err != nil {
		uerr := t.store.undo(t.name)
		t.keep = uerr != nil // for the next writer to undo
		return errors.Join(err, uerr)
	}
	// It is done: nobody may undo it any more, whatever becomes of the link.
	if err := os.Remove(filepath.Join(t.dir, journalName)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (t *Staging) publish(switchOver func() error) error {
	for _, d := range t.dirs {
		if err := os.Mkdir(t.store.Path(d), 0o755); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if err := os.Chmod(t.store.Path(d), 0o755); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	for _, phase := range []Phase{PhaseData, PhaseRecords} {
		for _, m := range t.moves {
			if m.Phase != phase {
				continue
			}
			if err := os.Rename(filepath.Join(t.dir, m.From), t.store.Path(m.To)); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		if err := t.store.Sync(); err != nil {
			return err
		}
	}
	return switchOver()
}

// addObjects plans the renames of the objects that trees use, and drops the
// others, so that they are never written to the disk.
func (t *Staging) addObjects() error {
	var unused []string
	for d, o := range t.objects {
		if o.used {
			t.dirs = append(t.dirs, filepath.Dir(layout.ObjectPath(d)))
			t.Move("objects/"+filepath.Base(o.path), layout.ObjectPath(d), PhaseData)
		} else {
			unused = append(unused, o.path)
		}
	}
	t.objects = map[digest.Digest]*staged{}
	for _, path := range unused {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("publish: %w", err)
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
		info, err := os.Lstat(t.store.Path(d))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, d)
		case err != nil:
			return fmt.Errorf("publish: %w", err)
		case !info.IsDir():
			return fmt.Errorf("%s is no directory of its own: look at what it is, and move it away", t.store.Path(d))
		}
	}
	t.dirs = missing
	return nil
}

func (t *Staging) writeJournal(generation int) error {
	b, err := json.Marshal(journal{generation, t.dirs, t.moves, t.gone})
	if err != nil {
		return fmt.Errorf("write journal: %v", err)
	}
	if err := WriteDurably(filepath.Join(t.dir, journalName), b); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// WriteDurably writes a file that is there whole or not at all, whenever the
// power goes.
func WriteDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(path+".new"))
	}
	return nil
}

// Recover ends what killed writers left: a publication whose generation is not
// the active one is undone, what was being removed is put back, and the staging
// directory emptied. The caller holds
// the lock.
func (s *Store) Recover() error {
	entries, err := os.ReadDir(s.Path(layout.StagingDir))
	if err != nil {
		return fmt.Errorf("sweep staging: %w", err)
	}
	for _, e := range entries {
		name := layout.StagingDir + "/" + e.Name()
		if err := s.undo(name); err != nil {
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

// Active returns the number of the generation that current-system leads to; 0
// when there is none yet.
func (s *Store) Active() (int, error) {
	id, _, err := s.ActiveFarm()
	return id, err
}

// ActiveFarm is Active, and says whether the generation's following farm is the
// one that is active.
func (s *Store) ActiveFarm() (id int, following bool, err error) {
	link := s.Path(layout.CurrentSystem)
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the active generation: %w", err)
	}
	id, following, err = layout.ParseFarmPath(target)
	if err != nil {
		return 0, false, fmt.Errorf("read the active generation: %s: %w", link, err)
	}
	return id, following, nil
}

// removeStaging removes a staging directory, its journal last: killed on the
// way, the next writer does the same again.
func (s *Store) removeStaging(name string) error {
	dir := s.Path(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if e, lerr := os.Lstat(dir); lerr == nil && !e.IsDir() {
			return os.Remove(dir)
		}
		return fmt.Errorf("sweep staging: %w", err)
	}
	for _, e := range entries {
		if e.Name() == journalName {
			continue
		}
		if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("sweep staging: %w", err)
		}
	}
	if err := removeIfThere(filepath.Join(dir, journalName)); err != nil {
		return fmt.Errorf("sweep staging: %w", err)
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("sweep staging: %w", err)
	}
	return nil
}

// removeAll is os.RemoveAll for a user who is not root, too: a tree's directory
// may forbid its owner to write.
func removeAll(path string) error {
	if os.Geteuid() != 0 {
		err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				return os.Chmod(p, 0o700)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(path)
}

func (s *Store) readJournal(staging string) (*journal, error) {
	b, err := ReadFile(filepath.Join(s.Path(staging), journalName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var j journal
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("read journal %s: %v: a writer was cut short and what it did is not known; run hashpkg verify, then remove that directory",
			filepath.Join(s.Path(staging), journalName), err)
	}
	names := slices.Clone(j.Dirs)
	for _, m := range slices.Concat(j.Moves, j.Gone) {
		names = append(names, m.From, m.To)
	}
	for _, name := range names {
		if layout.CheckPayloadPath(name) != nil || name == layout.Private || name == layout.CurrentSystem {
			return nil, fmt.Errorf("read journal %s: %q is no name that hashpkg publishes", s.Path(staging), name)
		}
	}
	return &j, nil
}

// undo takes back what a publication or a removal did, in the reverse order,
// unless it is a publication whose generation is the active one. What did not happen is not there, and skipped:
// From still is.
func (s *Store) undo(staging string) error {
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
	if active, err := s.Active(); err != nil || active == j.Generation {
		return err
	}
	for _, m := range slices.Backward(j.Moves) {
		if _, err := os.Lstat(filepath.Join(s.Path(staging), m.From)); err == nil {
			continue // was not moved
		}
		if err := removeAll(s.Path(m.To)); err != nil {
			return fmt.Errorf("undo: %w", err)
		}
	}
	for _, d := range slices.Backward(j.Dirs) {
		err := unix.Rmdir(s.Path(d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("undo: %w", err)
		}
	}
	return nil
}
