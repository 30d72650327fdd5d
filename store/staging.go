package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
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

// Share stages a file of the system without copying it, where the file system lets
// its object be the same file. It returns the digest and the size of its bytes;
// shared is false when the object is a copy, or was there before.
//
// The file must not be written to in place from now on: package managers replace
// files as a whole.
func (t *Staging) Share(path string) (d digest.Digest, size int64, shared bool, err error) {
	var before, after unix.Stat_t
	if err := unix.Lstat(path, &before); err != nil {
		return d, 0, false, fmt.Errorf("share %s: %w", path, err)
	}
	err = mapFile(path, func(b []byte) error {
		d, size = digest.Of(b), int64(len(b))
		return nil
	})
	if err != nil {
		return d, size, false, err
	}
	known, err := t.known(d, size)
	if err != nil {
		return d, size, false, err
	}
	if known {
		shared, err := t.canLink(path)
		return d, size, shared, err
	}
	link := t.newPath()
	if err := os.Link(path, link); err != nil {
		if !noLink(err) {
			return d, size, false, fmt.Errorf("share %s: %w", path, err)
		}
		f, err := os.Open(path)
		if err != nil {
			return d, size, false, fmt.Errorf("share %s: %w", path, err)
		}
		defer f.Close()
		d, size, err = t.write(f)
		return d, size, false, err
	}
	if err := unix.Lstat(link, &after); err != nil {
		return d, size, false, fmt.Errorf("share %s: %w", path, err)
	}
	if before.Ino != after.Ino || before.Mtim != after.Mtim || before.Size != after.Size || after.Mode&unix.S_IFMT != unix.S_IFREG {
		return d, size, false, errors.Join(fmt.Errorf("share %s: another process changed it meanwhile; run this again", path), os.Remove(link))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.objects[d] != nil { // by another goroutine
		return d, size, true, os.Remove(link)
	}
	t.objects[d] = &staged{path: link, size: size, system: true}
	return d, size, true, nil
}

// canLink reports whether a file of the system can have a name in the store.
func (t *Staging) canLink(path string) (bool, error) {
	link := t.newPath()
	err := os.Link(path, link)
	if err == nil {
		return true, os.Remove(link)
	}
	if noLink(err) {
		return false, nil
	}
	return false, fmt.Errorf("share %s: %w", path, err)
}

// noLink reports whether a file cannot have another name: it is on another file
// system, which may not have hard links at all, or has as many as it can.
func noLink(err error) bool {
	return errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EOPNOTSUPP)
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
	return mapFile(path, f)
}

func mapFile(path string, f func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("map file: %w", err)
	}
	defer file.Close()
	return MapFile(file, f)
}

// MapFile calls f with the bytes of a regular file, which are valid until f
// returns and must not be written to. One that another process makes shorter
// meanwhile is an error.
func MapFile(file *os.File, f func([]byte) error) (err error) {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("map file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("map %s: no regular file", file.Name())
	}
	if info.Size() == 0 {
		return f(nil)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", file.Name(), err)
	}
	defer func() {
		if uerr := unix.Munmap(data); err == nil && uerr != nil {
			err = fmt.Errorf("unmap %s: %w", file.Name(), uerr)
		}
	}()
	// Reading a mapped page that the file has no longer is a fault (SIGBUS).
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("read %s: it became shorter, or the disk failed, meanwhile", file.Name())
		default:
			panic(r)
		}
	}()
	return f(data)
}

// maxRecord bounds what ReadFile reads.
const maxRecord = 256 << 20

// ReadFile reads a regular file as os.ReadFile does, but neither waits for the
// writer of a pipe in its place nor fills the memory.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return nil, fmt.Errorf("read %s: no regular file of a sensible size", path)
	}
	return io.ReadAll(io.LimitReader(f, maxRecord))
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
	err := mapFile(path, func(b []byte) error {
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

// AddTrees assembles trees in the staging directory from staged and stored
// objects, and their manifests beside them. It sets Own in the manifests' files.
func (t *Staging) AddTrees(manifests []*layout.Manifest) error {
	if err := t.behind.flush(); err != nil {
		return err
	}
	for _, m := range manifests {
		if err := t.claimObjects(m); err != nil {
			return fmt.Errorf("assemble tree of %s: %w", m.Spec(), err)
		}
	}
	faults := make([]error, len(manifests))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(manifests)) {
		wg.Go(func() {
			for i := range work {
				faults[i] = t.addTree(manifests[i], fmt.Sprint(i))
			}
		})
	}
	for i := range manifests {
		work <- i
	}
	close(work)
	wg.Wait()
	for i, m := range manifests {
		if faults[i] != nil {
			return fmt.Errorf("assemble tree of %s: %w", m.Spec(), faults[i])
		}
		t.dirs = append(t.dirs, m.Name, layout.ManifestsDir+"/"+m.Name)
		t.Move(fmt.Sprintf("trees/%d", i), layout.TreePath(m.Name, m.Tree), PhaseData)
		t.Move(fmt.Sprintf("manifests/%d", i), layout.ManifestPath(m.Name, m.Tree), PhaseRecords)
	}
	return t.addDefaultLinks(manifests)
}

// claimObjects gives the staged objects of a tree the mode that they keep: that
// of the first file that has them, whatever order the trees are assembled in.
func (t *Staging) claimObjects(m *layout.Manifest) error {
	if place := t.store.Path(layout.TreePath(m.Name, m.Tree)); exists(place) {
		return fmt.Errorf("%s is there and has no manifest: look at what it is, and move it away", place)
	}
	for i := range m.Files {
		f := &m.Files[i]
		o := t.objects[f.Object]
		if f.Type != layout.TypeFile || o == nil || o.used {
			continue
		}
		o.used = true
		if o.system {
			continue
		}
		if mode := f.Mode.ObjectMode(); mode != objectMode {
			if err := os.Chmod(o.path, mode); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Staging) addTree(m *layout.Manifest, name string) error {
	if err := t.assemble(m, filepath.Join(t.dir, "trees", name)); err != nil {
		return err
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	manifest := filepath.Join(t.dir, "manifests", name)
	if err := os.WriteFile(manifest, b, 0o644); err != nil {
		return err
	}
	return os.Chmod(manifest, 0o644)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// addDefaultLinks stages the links NAME/default, which are the same in every
// generation.
func (t *Staging) addDefaultLinks(manifests []*layout.Manifest) error {
	made := map[string]bool{}
	for i, m := range manifests {
		to := m.Name + "/" + layout.DefaultLink
		if made[m.Name] || exists(t.store.Path(to)) {
			continue
		}
		made[m.Name] = true
		from := fmt.Sprintf("trees/%d-default", i)
		if err := os.Symlink(layout.DefaultLinkTarget(m.Name), filepath.Join(t.dir, from)); err != nil {
			return fmt.Errorf("stage default link: %w", err)
		}
		t.Move(from, to, PhaseData)
	}
	return nil
}

// assemble makes the directories, files and links of a tree at dir.
func (t *Staging) assemble(m *layout.Manifest, dir string) error {
	made := map[string]bool{}
	var mkdir func(name string) error
	mkdir = func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		if name != "." {
			if err := mkdir(filepath.Dir(name)); err != nil {
				return err
			}
		}
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	}
	if err := mkdir("."); err != nil {
		return err
	}
	var special []*layout.File // directories with an owner or mode of their own
	for i := range m.Files {
		f := &m.Files[i]
		path := filepath.Join(dir, f.Path)
		if f.Type == layout.TypeDirectory {
			if err := mkdir(f.Path); err != nil {
				return err
			}
			if f.Mode != 0o755 || f.UID != 0 || f.GID != 0 || len(f.Xattrs) > 0 {
				special = append(special, f)
			}
			continue
		}
		if err := mkdir(filepath.Dir(f.Path)); err != nil {
			return err
		}
		if err := t.place(f, path); err != nil {
			return err
		}
	}
	for _, l := range m.Links {
		if err := mkdir(filepath.Dir(l.Path)); err != nil {
			return err
		}
		if err := os.Symlink(l.Target, filepath.Join(dir, l.Path)); err != nil {
			return err
		}
	}
	for i := len(special) - 1; i >= 0; i-- { // the deepest first: a parent may lose its write bit
		if err := t.setMetadata(filepath.Join(dir, special[i].Path), special[i]); err != nil {
			return err
		}
	}
	return nil
}

// place makes one file of a tree that is no directory.
func (t *Staging) place(f *layout.File, path string) error {
	switch f.Type {
	case layout.TypeSymlink:
		return os.Symlink(f.Target, path)
	case layout.TypeFIFO:
		if err := unix.Mkfifo(path, uint32(f.Mode)); err != nil {
			return fmt.Errorf("make fifo %s: %w", path, err)
		}
		return t.setMetadata(path, f)
	case layout.TypeFile:
		return t.placeFile(f, path)
	}
	return fmt.Errorf("file %s has the unknown type %q", f.Path, f.Type)
}

// placeFile links a file to its object, or copies it where it needs an inode of
// its own: metadata is never shared by accident.
func (t *Staging) placeFile(f *layout.File, path string) error {
	if f.Shared == layout.SharedLink {
		return t.placeShared(f, path)
	}
	object, err := t.path(f.Object)
	if err != nil {
		return err
	}
	info, err := os.Lstat(object)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	// The object may be a file of the distribution's, with an owner or a setuid bit.
	f.Own = !f.Mode.Shareable() || info.Mode() != f.Mode.ObjectMode() || len(f.Xattrs) > 0 || t.owner && (f.UID != 0 || f.GID != 0 || !belongsTo(info, f.UID))
	if !f.Own {
		err := os.Link(object, path)
		if err == nil || !errors.Is(err, unix.EMLINK) {
			return err
		}
		f.Own = true
	}
	if err := copyFile(object, path); err != nil {
		return err
	}
	return t.setMetadata(path, f)
}

// placeShared links a file of a system tree to the distribution's own: where a
// process loads it by both names, the loader sees that it is one library.
func (t *Staging) placeShared(f *layout.File, path string) error {
	if err := os.Link(f.System, path); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	path, err = t.path(f.Object)
	if err != nil {
		return err
	}
	object, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	f.Own = !os.SameFile(info, object)
	return nil
}

func belongsTo(info fs.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

func setTime(path string) error {
	when := time.Unix(ObjectTime, 0)
	return os.Chtimes(path, when, when)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// setMetadata gives a file of its own its owner, mode, attributes and time, in
// the order in which none undoes another: chown drops the setuid bit. A user
// without root cannot give files away, and then a setuid bit would make the
// program run as that user, which the package does not mean: it is left out.
func (t *Staging) setMetadata(path string, f *layout.File) error {
	mode := uint32(f.Mode)
	if t.owner {
		if err := os.Lchown(path, f.UID, f.GID); err != nil {
			return err
		}
	} else {
		mode &^= 0o6000
	}
	for name, value := range f.Xattrs {
		if err := unix.Lsetxattr(path, name, value, 0); err != nil && t.owner {
			return fmt.Errorf("set attribute %s of %s: %w", name, path, err)
		}
	}
	if f.Type == layout.TypeDirectory && !t.owner {
		mode |= 0o700 // else the user could not remove what is in it
	}
	if err := unix.Chmod(path, mode); err != nil {
		return fmt.Errorf("set mode of %s: %w", path, err)
	}
	if f.Type == layout.TypeFile {
		return setTime(path)
	}
	return nil
}
