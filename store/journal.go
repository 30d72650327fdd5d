package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// move is one rename out of the staging directory.
type move struct {
	From  string `json:"from"` // relative to the staging directory
	To    string `json:"to"`   // relative to the prefix; nothing stands there before
	Phase Phase  `json:"-"`
}

// journal is written before the first rename. Whoever finds it later knows what to
// take away again, unless its generation became active.
type journal struct {
	Generation int      `json:"generation"`
	Dirs       []string `json:"dirs"` // directories that Place makes
	Moves      []move   `json:"moves"`
	// Gone are names that are taken out of the store, From below the staging
	// directory and To below the prefix: they are put back as long as there is a
	// journal.
	Gone []move `json:"gone,omitempty"`
	// Replaced are names that go when the generation is active.
	Replaced []string `json:"replaced,omitempty"`
}

const journalName = "journal"

// ErrJournal is wrapped by the error for a journal that cannot be read.
var ErrJournal = errors.New("a writer was cut short and what it did is not known")

// check returns an error for a name that hashpkg does not publish: undoing deletes
// what has the name, and what a link on the way leads to is not hashpkg's. staging is
// the journal's directory.
func (j *journal) check(prefix, staging *beneath.Dir) error {
	looked := map[string]bool{}
	reached := func(dir *beneath.Dir, name string) error {
		parent := path.Dir(name)
		place := dir.Path(parent)
		if looked[place] {
			return nil
		}
		looked[place] = true
		_, err := dir.Lstat(name)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("cannot reach %q: %w", name, err)
	}
	for _, name := range slices.Concat(j.Dirs, j.Replaced) {
		err := checkPlace(name)
		if err == nil {
			err = reached(prefix, name)
		}
		if err != nil {
			return err
		}
	}
	for _, m := range slices.Concat(j.Moves, j.Gone) {
		if layout.CheckPayloadPath(m.From) != nil || m.From == journalName {
			return fmt.Errorf("%q is not a name that hashpkg publishes", m.From)
		}
		err := checkPlace(m.To)
		if err == nil {
			err = reached(prefix, m.To)
		}
		if err == nil {
			err = reached(staging, m.From)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPlace returns an error for a name below the prefix that no journal can have:
// the link to the active generation, and hashpkg's own directories and what is in
// none of them.
func checkPlace(name string) error {
	fail := fmt.Errorf("%q is not a name that hashpkg publishes", name)
	if layout.CheckPayloadPath(name) != nil {
		return fail
	}
	elements := strings.Split(name, "/")
	if elements[0] != layout.Private {
		if layout.CheckName(elements[0]) != nil {
			return fail
		}
		return nil
	}
	if len(elements) < 3 || strings.HasPrefix(name, layout.StagingDir+"/") {
		return fail
	}
	return nil
}

// writeJournal makes the journal durable.
func (t *Staging) writeJournal(generation int) error {
	j := journal{generation, t.dirs, t.moves, t.gone, t.replaced}
	if err := j.check(t.store.dir, t.dir); err != nil {
		return fmt.Errorf("write journal: %w: look at what it is, and move it away", err)
	}
	b, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("write journal: %v", err)
	}
	if err := t.dir.WriteFile(journalName, b, 0o644); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	t.pending = true
	return t.store.Sync()
}

// UnreadableJournals returns the staging directories, by their names below the prefix,
// whose journal cannot be read.
func (s *Store) UnreadableJournals() ([]string, error) {
	entries, err := s.dir.ReadDir(layout.StagingDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list staging: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		name := layout.StagingDir + "/" + e.Name()
		dir, err := s.dir.OpenDir(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its writer has ended
		}
		if err != nil {
			return nil, fmt.Errorf("look at journal: %w", err)
		}
		_, err = s.readJournal(dir)
		if cerr := dir.Close(); cerr != nil {
			return nil, fmt.Errorf("look at journal: %w", cerr)
		}
		if errors.Is(err, ErrJournal) && s.dir.Exists(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// readJournal returns the journal of a staging directory; nil when it has none.
func (s *Store) readJournal(staging *beneath.Dir) (*journal, error) {
	b, err := staging.ReadFile(journalName, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	fail := func(err error) error {
		return advice.Errorf("read journal %s: %w: %w; run hashpkg verify --repair, which moves %s away",
			staging.Path(journalName), err, ErrJournal, staging.Name())
	}
	if err != nil {
		return nil, fail(err)
	}
	var j journal
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fail(err)
	}
	if err := j.check(s.dir, staging); err != nil {
		return nil, fail(err)
	}
	return &j, nil
}
