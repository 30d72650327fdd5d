package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
)

// Staging is one writer's directory under .hashpkg/staging. Its methods for
// adding files may be called by several goroutines at once.
type Staging struct {
	store  *Store
	name   string    // relative to the prefix
	dir    string    // on the host
	owner  bool      // files can be given any owner: the process is root
	adjust bool      // the umask takes away what an object's mode has
	shards [256]bool // by the first byte of an object's digest: the store may have it
	files  int       // a descriptor of the directory objects, or -1
	behind behind

	mu      sync.Mutex
	objects map[digest.Digest]*staged
	next    int
	dirs    []string // directories to make when publishing, relative to the prefix
	moves   []move
	gone    []move // see Remove
	keep    bool   // a publication failed and could not be undone
}

// staged is an object that the store has not got yet.
type staged struct {
	path string // on the host
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

// Begin makes a new staging directory. The caller holds the lock, and ends the
// staging with Publish or Discard.
func (s *Store) Begin() (*Staging, error) {
	dir, err := os.MkdirTemp(s.Path(layout.StagingDir), "t")
	if err != nil {
		return nil, fmt.Errorf("make staging directory: %w", err)
	}
	t := &Staging{
		store:   s,
		name:    layout.StagingDir + "/" + filepath.Base(dir),
		dir:     dir,
		owner:   os.Geteuid() == 0,
		files:   -1,
		objects: map[digest.Digest]*staged{},
	}
	t.behind.room.L = &t.behind.mu
	for i := range t.shards {
		t.shards[i] = exists(s.Path(filepath.Dir(layout.ObjectPath(digest.Digest{byte(i)}))))
	}
	for _, sub := range []string{"objects", "trees", "manifests"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make staging directory: %w", err), t.Discard())
		}
	}
	var info unix.Stat_t
	t.files, err = unix.Open(filepath.Join(dir, "objects"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Fstat(t.files, &info)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make staging directory: %w", err), t.Discard())
	}
	t.adjust = info.Mode&objectMode != objectMode // it was made with 0755
	return t, nil
}

// Discard removes the staging directory and all that is in it.
func (t *Staging) Discard() error {
	_ = t.behind.flush() // nobody wants the files
	if t.files >= 0 {
		_ = unix.Close(t.files) // it was not written to
		t.files = -1
	}
	if t.keep {
		return nil
	}
	return t.store.removeStaging(t.name)
}

// smallFile is the size in bytes up to which a file is hashed in memory before
// it is written, so that one that is there already is not written at all.
const smallFile = 256 << 10

// Add stages a file's bytes and returns their digest and number. Bytes that the
// store has already are not written again.
func (t *Staging) Add(r io.Reader, size int64) (digest.Digest, int64, error) {
	if size <= smallFile {
		buf := copyBuffers.Get().(*[]byte)
		if _, err := io.ReadFull(r, (*buf)[:size]); err != nil {
			copyBuffers.Put(buf)
			return digest.Digest{}, 0, err
		}
		return t.addSmall(buf, size)
	}
	return t.write(r)
}

// known reports whether an object is staged or in the store.
func (t *Staging) known(d digest.Digest, size int64) (bool, error) {
	t.mu.Lock()
	_, ok := t.objects[d]
	t.mu.Unlock()
	if ok {
		return true, nil
	}
	if !t.shards[d[0]] {
		return false, nil
	}
	_, info, err := t.store.object(d, size)
	return info != nil, err
}

// write stages r's bytes in a new file.
func (t *Staging) write(r io.Reader) (digest.Digest, int64, error) {
	path := t.newPath()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, objectMode)
	if err != nil {
		return digest.Digest{}, 0, fmt.Errorf("stage file: %w", err)
	}
	h := digest.New()
	buf := copyBuffers.Get().(*[]byte)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, struct{ io.Reader }{r}, *buf)
	copyBuffers.Put(buf)
	if err == nil {
		err = finishObject(f, n)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("stage file: %w", cerr)
	}
	if err != nil {
		return digest.Digest{}, n, errors.Join(err, os.Remove(path))
	}
	d := digest.Sum(h)
	return d, n, t.record(d, path, n)
}

// objectMode is the mode of an object that no program is; see claimObjects.
const objectMode = 0o444

// finishObject gives a written object its mode and time, and lets the disk begin
// with a large one, so that less is left to wait for at the end.
func finishObject(f *os.File, size int64) error {
	info, err := f.Stat()
	if err == nil && info.Mode().Perm() != objectMode { // a umask, or an edit
		err = f.Chmod(objectMode)
	}
	if err != nil {
		return fmt.Errorf("stage file: %w", err)
	}
	if err := setTime(f.Name()); err != nil {
		return fmt.Errorf("stage file: %w", err)
	}
	if size > smallFile {
		// A hint: what fails here is told by the sync at the end.
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
	return nil
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, smallFile); return &b }}

func (t *Staging) newPath() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	return filepath.Join(t.dir, "objects", fmt.Sprint(t.next))
}

// record takes a written file as an object, or drops it when the object is there.
func (t *Staging) record(d digest.Digest, path string, size int64) error {
	_, info, err := t.store.object(d, size)
	if err != nil {
		return err
	}
	t.mu.Lock()
	_, twice := t.objects[d]
	if !twice && info == nil {
		t.objects[d] = &staged{path: path, size: size}
		path = ""
	}
	t.mu.Unlock()
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("stage file: %w", err)
	}
	return nil
}

// path returns where an object can be read now. It waits for one that is being
// written.
func (t *Staging) path(d digest.Digest) (string, error) {
	t.mu.Lock()
	o := t.objects[d]
	t.mu.Unlock()
	if o == nil {
		return t.store.Path(layout.ObjectPath(d)), nil
	}
	return o.path, t.ready(o)
}

// ready returns when an object is in its file.
func (t *Staging) ready(o *staged) error {
	if o.written == nil {
		return nil
	}
	<-o.written
	return t.behind.err()
}

// Map calls f with the bytes of an object, which are valid until f returns and
// must not be written to.
func (t *Staging) Map(d digest.Digest, f func([]byte) error) error {
	path, err := t.path(d)
	if err != nil {
		return err
	}
	return atomicfile.ReadMapped(path, f)
}

// Edit stages the edited form of an object and returns its digest and size. With
// last, nobody wants the object as it was any more, and a staged one is edited
// where it is.
func (t *Staging) Edit(d digest.Digest, e elfedit.Edit, last bool) (digest.Digest, int64, error) {
	if err := e.Validate(); err != nil {
		return digest.Digest{}, 0, fmt.Errorf("edit object: %w", err)
	}
	t.mu.Lock()
	o := t.objects[d]
	if last && o != nil {
		delete(t.objects, d)
	}
	t.mu.Unlock()
	path := ""
	if last && o != nil {
		if path = o.path; t.ready(o) != nil {
			return digest.Digest{}, 0, t.ready(o)
		}
	} else {
		from, err := t.path(d)
		if err != nil {
			return digest.Digest{}, 0, err
		}
		path = t.newPath()
		if err := copyFile(from, path); err != nil {
			return digest.Digest{}, 0, errors.Join(fmt.Errorf("edit object: %w", err), removeIfThere(path))
		}
	}
	if err := editInPlace(path, e); err != nil {
		return digest.Digest{}, 0, errors.Join(fmt.Errorf("edit object: %w", err), removeIfThere(path))
	}
	var edited digest.Digest
	err := atomicfile.ReadMapped(path, func(b []byte) error {
		edited = digest.Of(b)
		return nil
	})
	if err != nil {
		return edited, 0, err
	}
	return edited, e.NewSize, t.record(edited, path, e.NewSize)
}

// editInPlace applies an edit to a staged file, one hunk at a time.
func editInPlace(path string, e elfedit.Edit) error {
	if err := os.Chmod(path, 0o600); err != nil { // objects are read-only, to their owner too
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = applyHunks(f, e)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func applyHunks(f *os.File, e elfedit.Edit) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != e.OldSize {
		return fmt.Errorf("%w: have %d bytes, want %d", elfedit.ErrEditMismatch, info.Size(), e.OldSize)
	}
	for _, h := range e.Hunks {
		old := make([]byte, len(h.Old))
		if _, err := f.ReadAt(old, h.Offset); err != nil {
			return err
		}
		if !bytes.Equal(old, h.Old) {
			return fmt.Errorf("%w: other bytes at offset %d", elfedit.ErrEditMismatch, h.Offset)
		}
		if _, err := f.WriteAt(h.New, h.Offset); err != nil {
			return err
		}
	}
	if err := f.Truncate(e.NewSize); err != nil {
		return err
	}
	return finishObject(f, e.NewSize)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
