package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
)

// smallFile is the size in bytes up to which a file is hashed in memory before
// it is written, so that one that is there already is not written at all.
const smallFile = 256 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, smallFile); return &b }}

const (
	stagedMode = 0o600 // of a file that is not complete
	objectMode = 0o444 // of an object that no program is; see claimObjects
)

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
	from, done, err := t.room.take(r, size)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	defer done()
	return t.write(from)
}

// known reports whether an object is staged or in the store.
func (t *Staging) known(d digest.Digest, size int64) (bool, error) {
	t.mu.Lock()
	_, ok := t.objects[d]
	t.mu.Unlock()
	if ok {
		return true, nil
	}
	return t.inStore(d, size)
}

// inStore reports whether the store has an object. One of another size than its
// digest's bytes is damaged, and an error.
func (t *Staging) inStore(d digest.Digest, size int64) (bool, error) {
	if !t.there[d[0]] {
		return false, nil
	}
	dir, base, err := t.stored.at(d)
	var st unix.Stat_t
	if err == nil {
		st, err = dir.Lstat(base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up object: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != size {
		return false, advice.Errorf("object %s is damaged: it should have %d bytes, and has %d; run hashpkg verify --repair", dir.Path(base), size, st.Size)
	}
	return true, nil
}

// write stages r's bytes in a new file.
func (t *Staging) write(r io.Reader) (digest.Digest, int64, error) {
	name := t.newName()
	f, err := t.files.OpenFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, stagedMode)
	if err != nil {
		return digest.Digest{}, 0, fmt.Errorf("stage file: %w", err)
	}
	h := digest.New()
	buf := copyBuffers.Get().(*[]byte)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, struct{ io.Reader }{r}, *buf)
	copyBuffers.Put(buf)
	if err == nil {
		err = t.finishObject(f, name, n)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("stage file: %w", cerr)
	}
	if err != nil {
		return digest.Digest{}, n, errors.Join(err, t.files.Remove(name))
	}
	d := digest.Sum(h)
	return d, n, t.record(d, name, n)
}

// finishObject gives a written object its mode and time, and lets the disk begin
// with a large one, so that less is left to wait for at the end.
func (t *Staging) finishObject(f *os.File, name string, size int64) error {
	if err := f.Chmod(objectMode); err != nil {
		return fmt.Errorf("stage file: %w", err)
	}
	if err := t.files.SetTimes(name, objectTimes); err != nil {
		return fmt.Errorf("stage file: %w", err)
	}
	if size > smallFile {
		// A hint: what fails here, the sync at the end reports.
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
	return nil
}

// newName returns a name for a new object in the directory of files, which nobody
// else writes to.
func (t *Staging) newName() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	return strconv.Itoa(t.next)
}

// record takes a written file as an object, or drops it when the object is there.
func (t *Staging) record(d digest.Digest, name string, size int64) error {
	known, err := t.inStore(d, size)
	if err != nil {
		return err
	}
	t.mu.Lock()
	_, twice := t.objects[d]
	taken := !twice && !known
	if taken {
		t.objects[d] = &staged{name: name, size: size}
	}
	t.mu.Unlock()
	if taken {
		return nil
	}
	if err := t.files.Remove(name); err != nil {
		return fmt.Errorf("stage file: %w", err)
	}
	return nil
}

// object returns where an object can be read now. It waits for one that is being
// written.
func (t *Staging) object(d digest.Digest) (dir *beneath.Dir, base string, err error) {
	t.mu.Lock()
	o := t.objects[d]
	t.mu.Unlock()
	if o != nil {
		return t.files, o.name, t.ready(o)
	}
	if dir, base, err = t.stored.at(d); err != nil {
		return nil, "", fmt.Errorf("find object %s: %w", layout.ObjectPath(d), err)
	}
	return dir, base, nil
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
	dir, base, err := t.object(d)
	if err != nil {
		return err
	}
	return mapFile(dir, base, f)
}

// MapObject calls f with the bytes of an object of the store, which are valid until f
// returns, must not be written to, and were not compared with their digest. The error wraps
// [fs.ErrNotExist] where there is none.
func (s *Store) MapObject(d digest.Digest, f func([]byte) error) error {
	dir, err := s.dir.OpenDir(path.Dir(layout.ObjectPath(d)))
	if err != nil {
		return fmt.Errorf("find object %s: %w", layout.ObjectPath(d), err)
	}
	defer dir.Close()
	return mapFile(dir, path.Base(layout.ObjectPath(d)), f)
}

// MapObjectPrivate is MapObject for one who writes to the bytes, which nobody else sees.
func (s *Store) MapObjectPrivate(d digest.Digest, f func([]byte) error) error {
	dir, err := s.dir.OpenDir(path.Dir(layout.ObjectPath(d)))
	if err != nil {
		return fmt.Errorf("find object %s: %w", layout.ObjectPath(d), err)
	}
	defer dir.Close()
	return mapFileBy(mapped.Private, dir, path.Base(layout.ObjectPath(d)), f)
}

func mapFile(dir *beneath.Dir, base string, read func([]byte) error) error {
	return mapFileBy(mapped.File, dir, base, read)
}

func mapFileBy(by func(*os.File, func([]byte) error) error, dir *beneath.Dir, base string, read func([]byte) error) error {
	f, _, err := dir.OpenRegular(base)
	if err != nil {
		return err
	}
	defer f.Close()
	return by(f, read)
}

// copyFile makes a file with the bytes of another one, which only its owner may
// read for now.
func copyFile(from *beneath.Dir, name string, to *beneath.Dir, newName string) error {
	in, _, err := from.OpenRegular(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(newName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, stagedMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// HasObject reports whether the store has an object.
func (s *Store) HasObject(d digest.Digest) bool { return s.dir.Exists(layout.ObjectPath(d)) }

// OpenObject returns an object of the store, which was not compared with its digest, open for
// reading. The error wraps [fs.ErrNotExist] where there is none.
func (s *Store) OpenObject(d digest.Digest) (*os.File, error) {
	f, _, err := s.dir.OpenRegular(layout.ObjectPath(d))
	return f, err
}
