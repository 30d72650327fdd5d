package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
)

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
	err = atomicfile.ReadMapped(path, func(b []byte) error {
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
