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
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
)

// Staging is one writer's directory under .hashpkg/staging. Its methods for
// adding files may be called by several goroutines at once.
type Staging struct {
	store *Store
	name  string // relative to the prefix
	dir   string // on the host
	owner bool   // files can be given any owner: the process is root

	mu      sync.Mutex
	objects map[digest.Digest]*staged
	next    int
	dirs    []string // directories to make when publishing, relative to the prefix
	moves   []move
}

// staged is an object that the store has not got yet.
type staged struct {
	path string // on the host
	size int64
	used bool // a tree has it
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
		objects: map[digest.Digest]*staged{},
	}
	for _, sub := range []string{"objects", "trees", "manifests"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make staging directory: %w", err), t.Discard())
		}
	}
	return t, nil
}

// Discard removes the staging directory and all that is in it.
func (t *Staging) Discard() error { return t.store.removeStaging(t.name) }

// smallFile is the size in bytes up to which a file is hashed in memory before
// it is written, so that one that is there already is not written at all.
const smallFile = 256 << 10

// Add stages a file's bytes and returns their digest and number. Bytes that the
// store has already are not written again.
func (t *Staging) Add(r io.Reader, size int64) (digest.Digest, int64, error) {
	if size <= smallFile {
		b := make([]byte, size)
		if _, err := io.ReadFull(r, b); err != nil {
			return digest.Digest{}, 0, err
		}
		d := digest.Of(b)
		known, err := t.known(d, size)
		if err != nil || known {
			return d, size, err
		}
		return t.write(bytes.NewReader(b), d)
	}
	return t.write(r, digest.Digest{})
}

// known reports whether an object is staged or in the store.
func (t *Staging) known(d digest.Digest, size int64) (bool, error) {
	t.mu.Lock()
	_, ok := t.objects[d]
	t.mu.Unlock()
	if ok {
		return true, nil
	}
	_, info, err := t.store.object(d, size)
	return info != nil, err
}

// write stages r's bytes in a new file; d is their digest if it is known.
func (t *Staging) write(r io.Reader, d digest.Digest) (digest.Digest, int64, error) {
	path := t.newPath()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return d, 0, fmt.Errorf("stage file: %w", err)
	}
	var n int64
	if d.IsZero() {
		h := digest.New()
		buf := copyBuffers.Get().(*[]byte)
		n, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, struct{ io.Reader }{r}, *buf)
		copyBuffers.Put(buf)
		d = digest.Sum(h)
	} else {
		n, err = io.Copy(f, r)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("stage file: %w", cerr)
	}
	if err != nil {
		return d, n, errors.Join(err, os.Remove(path))
	}
	return d, n, t.record(d, path, n)
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

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

// path returns where an object can be read now.
func (t *Staging) path(d digest.Digest) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := t.objects[d]; o != nil {
		return o.path
	}
	return t.store.Path(layout.ObjectPath(d))
}

// Map calls f with the bytes of an object, which are valid until f returns and
// must not be written to.
func (t *Staging) Map(d digest.Digest, f func([]byte) error) error {
	return mapFile(t.path(d), f)
}

func mapFile(path string, f func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("map file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("map file: %w", err)
	}
	if info.Size() == 0 {
		return f(nil)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	err = f(data)
	if uerr := unix.Munmap(data); err == nil && uerr != nil {
		err = fmt.Errorf("unmap %s: %w", path, uerr)
	}
	return err
}

// Edit stages the edited form of an object and returns its digest and size.
func (t *Staging) Edit(d digest.Digest, e elfedit.Edit) (digest.Digest, int64, error) {
	path := t.newPath()
	if err := editedCopy(t.path(d), path, e); err != nil {
		return digest.Digest{}, 0, errors.Join(err, removeIfThere(path))
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

// editedCopy writes the edited bytes of from to the new file to, one hunk at a
// time.
func editedCopy(from, to string, e elfedit.Edit) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("edit object: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("edit object: %w", err)
	}
	err = func() error {
		if n, err := io.Copy(out, in); err != nil {
			return err
		} else if n != e.OldSize {
			return fmt.Errorf("%w: have %d bytes, want %d", elfedit.ErrEditMismatch, n, e.OldSize)
		}
		for _, h := range e.Hunks {
			old := make([]byte, len(h.Old))
			if _, err := out.ReadAt(old, h.Offset); err != nil {
				return err
			}
			if !bytes.Equal(old, h.Old) {
				return fmt.Errorf("%w: other bytes at offset %d", elfedit.ErrEditMismatch, h.Offset)
			}
			if _, err := out.WriteAt(h.New, h.Offset); err != nil {
				return err
			}
		}
		return out.Truncate(e.NewSize)
	}()
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("edit object: %w", err)
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// AddTree assembles a tree in the staging directory from staged and stored
// objects, and its manifest beside it. It sets Own in the manifest's files.
func (t *Staging) AddTree(m *layout.Manifest) error {
	if place := t.store.Path(layout.TreePath(m.Name, m.Tree)); exists(place) {
		return fmt.Errorf("%s is there and has no manifest: look at what it is, and move it away", place)
	}
	n := fmt.Sprint(len(t.moves))
	dir := filepath.Join(t.dir, "trees", n)
	if err := t.assemble(m, dir); err != nil {
		return fmt.Errorf("assemble tree of %s: %w", m.Spec(), err)
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	manifest := filepath.Join(t.dir, "manifests", n)
	if err := os.WriteFile(manifest, b, 0o644); err != nil {
		return fmt.Errorf("stage manifest: %w", err)
	}
	if err := os.Chmod(manifest, 0o644); err != nil {
		return fmt.Errorf("stage manifest: %w", err)
	}
	t.dirs = append(t.dirs, m.Name, layout.ManifestsDir+"/"+m.Name)
	t.Move("trees/"+n, layout.TreePath(m.Name, m.Tree), PhaseData)
	t.Move("manifests/"+n, layout.ManifestPath(m.Name, m.Tree), PhaseRecords)
	return t.addDefaultLink(m.Name)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// addDefaultLink stages the link NAME/default, which is the same in every
// generation.
func (t *Staging) addDefaultLink(name string) error {
	to := name + "/" + layout.DefaultLink
	if exists(t.store.Path(to)) {
		return nil
	}
	for _, m := range t.moves {
		if m.To == to {
			return nil
		}
	}
	from := fmt.Sprintf("trees/%d-default", len(t.moves))
	if err := os.Symlink(layout.DefaultLinkTarget(name), filepath.Join(t.dir, from)); err != nil {
		return fmt.Errorf("stage default link: %w", err)
	}
	t.Move(from, to, PhaseData)
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
	t.mu.Lock()
	o := t.objects[f.Object]
	t.mu.Unlock()
	object := t.store.Path(layout.ObjectPath(f.Object))
	if o != nil {
		object = o.path
		if !o.used {
			o.used = true
			if err := finishObject(object, f.Mode.ObjectMode()); err != nil {
				return err
			}
		}
	}
	info, err := os.Lstat(object)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	f.Own = !f.Mode.Shareable() || info.Mode().Perm() != f.Mode.ObjectMode() || len(f.Xattrs) > 0 || t.owner && (f.UID != 0 || f.GID != 0)
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

// finishObject gives a staged object the mode and time that it keeps.
func finishObject(path string, mode fs.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return setTime(path)
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
