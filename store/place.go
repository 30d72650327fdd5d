package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/record"
)

// place makes one file of a tree that is no directory.
func (t *Staging) place(f *record.File, dir *beneath.Dir, base string) error {
	switch f.Type {
	case record.TypeSymlink:
		return dir.Symlink(f.Target, base)
	case record.TypeFIFO:
		if err := dir.Mkfifo(base, stagedMode); err != nil {
			return err
		}
		return t.setMetadata(dir, base, f)
	case record.TypeFile:
		if f.Shared == record.SharedLink {
			return t.placeShared(f, dir, base)
		}
		return t.placeFile(f, dir, base)
	}
	return fmt.Errorf("file %s has the unknown type %q", f.Path, f.Type)
}

// placeFile links a file to its object, or copies it where it needs an inode of
// its own: metadata is never shared by accident.
func (t *Staging) placeFile(f *record.File, dir *beneath.Dir, base string) error {
	objects, object, err := t.object(f.Object)
	if err != nil {
		return err
	}
	st, err := objects.Lstat(object)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	f.Own = needsOwn(f, st.Mode, int(st.Uid), t.owner)
	if !f.Own {
		err := dir.Link(objects, object, base)
		if err == nil || !errors.Is(err, unix.EMLINK) {
			return err
		}
		f.Own = true
	}
	if err := copyFile(objects, object, dir, base); err != nil {
		return err
	}
	return t.setMetadata(dir, base, f)
}

// placeShared links a file of a system tree to the distribution's own: where a
// process loads it by both names, the loader sees that it is one library. It must be
// the file that Share has hashed.
func (t *Staging) placeShared(f *record.File, dir *beneath.Dir, base string) error {
	t.mu.Lock()
	seen, ok := t.seen[f.System]
	t.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s was not shared: %q is not a file that a tree can have", f.Path, f.System)
	}
	from, name, err := t.find(f.System)
	if err == nil {
		err = errors.Join(linkSeen(from, name, seen, dir, base), from.Close())
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", f.System, err)
	}
	objects, object, err := t.object(f.Object)
	if err != nil {
		return err
	}
	st, err := objects.Lstat(object)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	of := identityOf(&st)
	f.Own = of.dev != seen.dev || of.ino != seen.ino
	return nil
}

// setMetadata gives a file of its own its owner, mode, attributes and time, in
// the order in which none undoes another: chown drops the setuid bit. A user
// without root cannot give files away, and then a setuid bit would make the
// program run as that user, which the package does not mean: it is left out.
func (t *Staging) setMetadata(dir *beneath.Dir, base string, f *record.File) error {
	mode := uint32(f.Mode)
	if t.owner {
		if err := dir.Chown(base, f.UID, f.GID); err != nil {
			return err
		}
	} else {
		mode &^= setID
	}
	for name, value := range f.Xattrs {
		if err := dir.SetXattr(base, name, value); err != nil && t.owner {
			return err
		}
	}
	if f.Type == record.TypeDirectory && !t.owner {
		mode |= 0o700 // else the user could not remove what is in it
	}
	if err := dir.Chmod(base, mode); err != nil {
		return err
	}
	if f.Type == record.TypeFile {
		return dir.SetTimes(base, objectTimes)
	}
	return nil
}
