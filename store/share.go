package store

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// setID are the bits by which a program runs as somebody else.
const setID = unix.S_ISUID | unix.S_ISGID

// identity tells whether a file is the one that was seen, with the bytes that it
// had. The time of its last change (ctime) is left out: giving it a name changes it.
type identity struct {
	dev, ino uint64
	mode     uint32
	size     int64
	mtime    unix.Timespec
}

func identityOf(st *unix.Stat_t) identity {
	return identity{uint64(st.Dev), st.Ino, st.Mode, st.Size, st.Mtim} //nolint:unconvert // Dev has 32 bits elsewhere
}

var errChanged = errors.New("another process changed it meanwhile; run this again")

// Share stages a file of the system, an absolute path in the root, without copying
// it, where the file system lets its object be the same file. It returns the digest
// and the size of its bytes; shared says whether a tree may have the file itself.
//
// The file must not be written to in place from now on: package managers replace
// files as a whole. A program that runs as somebody else is copied, so that it does
// not outlive its package.
func (t *Staging) Share(path string) (d digest.Digest, size int64, shared bool, err error) {
	d, size, shared, err = t.share(path)
	if err != nil {
		err = fmt.Errorf("share %s: %w", path, err)
	}
	return d, size, shared, err
}

func (t *Staging) share(path string) (d digest.Digest, size int64, shared bool, err error) {
	dir, base, err := t.find(path)
	if err != nil {
		return d, 0, false, err
	}
	defer dir.Close()
	f, st, err := dir.OpenRegular(base)
	if err != nil {
		return d, 0, false, err
	}
	defer f.Close()
	err = mapped.File(f, func(b []byte) error {
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
	name := ""
	if st.Mode&setID == 0 {
		if name, err = t.link(dir, base, identityOf(&st)); err != nil {
			return d, size, false, err
		}
	}
	if name == "" { // it cannot have a name in the store, or must not
		if known {
			return d, size, false, nil
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return d, size, false, err
		}
		d, size, err = t.write(f)
		return d, size, false, err
	}
	t.mu.Lock()
	t.seen[path] = identityOf(&st)
	known = known || t.objects[d] != nil // by another goroutine
	if !known {
		t.objects[d] = &staged{name: name, size: size, system: true}
	}
	t.mu.Unlock()
	if known {
		err = t.files.Remove(name)
	}
	return d, size, true, err
}

// find looks up a file of the distribution.
func (t *Staging) find(path string) (*beneath.Dir, string, error) {
	if t.system == nil {
		return nil, "", errors.New("nobody has said where the system's files are")
	}
	return t.system.At(path)
}

// link gives a file of the distribution another name among the staged objects, and
// returns it; "" when the file cannot have one. What gets the name must be the file
// that was seen.
func (t *Staging) link(dir *beneath.Dir, base string, seen identity) (string, error) {
	name := t.newName()
	err := linkSeen(dir, base, seen, t.files, name)
	if noLink(err) {
		return "", nil
	}
	return name, err
}

// linkSeen makes a link to a file if it is the one that was seen.
func linkSeen(from *beneath.Dir, base string, seen identity, to *beneath.Dir, name string) error {
	if err := to.Link(from, base, name); err != nil {
		return err
	}
	st, err := to.Lstat(name)
	if err == nil && identityOf(&st) != seen {
		err = errChanged
	}
	if err != nil {
		return errors.Join(err, to.Remove(name))
	}
	return nil
}

// noLink reports whether a file cannot have another name: it is on another file
// system, which may not have hard links at all, or has as many as it can.
func noLink(err error) bool {
	return errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EOPNOTSUPP)
}
