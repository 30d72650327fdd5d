package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// SystemFiles finds files of the distribution for trees that share them.
type SystemFiles interface {
	// At returns the open directory of an absolute path in the root, links in it
	// followed inside the root, and the path's last element, which is not followed.
	// The caller closes the directory. Several goroutines call At.
	At(path string) (dir *beneath.Dir, base string, err error)
}

// Staging is one writer's directory under .hashpkg/staging. Its methods for
// adding files may be called by several goroutines at once.
type Staging struct {
	store  *Store
	system SystemFiles // may be nil
	name   string      // relative to the prefix
	dir    *beneath.Dir
	files  *beneath.Dir // its directory objects
	owner  bool         // files can be given any owner: the process is root
	stored shards
	there  [256]bool // by the first byte of an object's digest: the store may have it
	behind behind
	room   room

	mu      sync.Mutex
	objects map[digest.Digest]*staged
	seen    map[string]identity // files of the distribution, by path, as Share saw them
	next    int                 // the name of the next object

	spare map[digest.Digest]string // names in the directory objects: see Spare
	trees int                      // how many were assembled

	dirs     []string // directories to make when placing, relative to the prefix
	moves    []move
	gone     []move         // see TakeOut
	taken    map[string]int // where in gone a name is that was taken out
	replaced []string       // names that go when what is published is active
	pending  bool           // there is a journal, and neither Undo nor Forget had its way
	keep     bool           // what was done could not be undone
}

// staged is an object that the store has not got yet.
type staged struct {
	name string // in the directory objects
	size int64
	used bool // a tree has it
	// system: it is a file of the distribution's, whose metadata are its own
	system bool
	// written is closed when the bytes are in the file, or could not be written;
	// nil if they were there before it was known.
	written chan struct{}
}

// ObjectTime is the modification time of every object, in seconds: the same for
// all, so that equal packages make equal stores.
const ObjectTime = 1

var objectTimes = [2]unix.Timespec{{Sec: ObjectTime}, {Sec: ObjectTime}}

// Begin makes a new staging directory. system finds the files that Share and trees
// with shared files speak of; it may be nil when there are none. The caller holds
// the lock, and ends the staging with Discard.
func (s *Store) Begin(system SystemFiles) (*Staging, error) {
	t := &Staging{
		store:   s,
		system:  system,
		owner:   os.Geteuid() == 0,
		objects: map[digest.Digest]*staged{},
		seen:    map[string]identity{},
		taken:   map[string]int{},
	}
	t.stored.store = s
	t.behind.room.L = &t.behind.mu
	if err := t.open(); err != nil {
		return nil, fmt.Errorf("make staging directory: %w", err)
	}
	return t, nil
}

func (t *Staging) open() error {
	shards, err := t.store.dir.ReadDir(layout.ObjectsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range shards {
		if first, err := strconv.ParseUint(e.Name(), 16, 8); err == nil {
			t.there[first] = true
		}
	}
	for {
		t.name = fmt.Sprintf("%s/t%016x", layout.StagingDir, rand.Uint64())
		err := t.store.dir.Mkdir(t.name, 0o700)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	err = t.openDirs()
	if err != nil {
		err = errors.Join(err, t.Discard())
	}
	return err
}

func (t *Staging) openDirs() (err error) {
	if t.dir, err = t.store.dir.OpenDir(t.name); err != nil {
		return err
	}
	for _, sub := range []string{"objects", "trees", "manifests"} {
		if err := t.dir.Mkdir(sub, 0o755); err != nil {
			return err
		}
	}
	t.files, err = t.dir.OpenDir("objects")
	return err
}

// Dir returns the staging directory, which is closed by Discard.
func (t *Staging) Dir() *beneath.Dir { return t.dir }

// Discard removes the staging directory and all that is in it. What was placed or
// taken out, and not forgotten, is undone before. It does nothing the second time.
func (t *Staging) Discard() error {
	if t.name == "" {
		return nil
	}
	_ = t.behind.flush() // nobody wants the files
	var err error
	if t.pending && !t.keep {
		err = t.Undo()
	}
	t.stored.close()
	for _, d := range []*beneath.Dir{t.files, t.dir} {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
	}
	if !t.keep {
		err = errors.Join(err, t.store.removeStaging(t.name))
	}
	t.name = ""
	return err
}
