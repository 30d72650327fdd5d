package beneath

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Remove removes a name that is no directory, or an empty directory.
func (d *Dir) Remove(name string) error {
	return d.in("remove", name, func(dir int, base string) error {
		err := unix.Unlinkat(dir, base, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			if derr := unix.Unlinkat(dir, base, unix.AT_REMOVEDIR); !errors.Is(derr, unix.ENOTDIR) {
				return derr
			}
		}
		return err
	})
}

// RemoveIfThere is Remove, and content with a name that nothing has.
func (d *Dir) RemoveIfThere(name string) error {
	if err := d.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rmdir removes an empty directory, and nothing else.
func (d *Dir) Rmdir(name string) error {
	return d.in("remove", name, func(dir int, base string) error {
		return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	})
}

// RemoveAll removes a name with all that is below it. A name that nothing has is no
// error. Directories that their owner may not write to are made writable first. A
// link goes as a link. The directory itself (".") cannot be removed.
//
// However deep the directories are, a few handles are open at a time: what is far
// below is moved to the top before it is removed.
func (d *Dir) RemoveAll(name string) error {
	if name == "." {
		return d.fault("remove", name, ErrName)
	}
	return d.in("remove", name, func(dir int, base string) error {
		r := &remover{top: -1}
		return r.remove(dir, base, 0)
	})
}

// maxOpen is how many directories a remover or a walker has open, one in the other.
const maxOpen = 32

// remover removes what is below one directory, which it has open.
type remover struct {
	top   int // the directory; -1 before it is opened
	moved bool
}

// remove removes a name of the directory dir, which is so many levels below the top.
func (r *remover) remove(dir int, base string, depth int) error {
	err := unix.Unlinkat(dir, base, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return err
	}
	if depth > maxOpen && r.moveUp(dir, base) {
		return nil
	}
	fd, oerr := openToRemove(dir, base)
	if errors.Is(oerr, unix.EACCES) && chmodAt(dir, base, 0o700) == nil {
		fd, oerr = openToRemove(dir, base)
	}
	if oerr != nil {
		if errors.Is(oerr, unix.ENOTDIR) || errors.Is(oerr, unix.ELOOP) {
			return err
		}
		return oerr
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	if r.top < 0 {
		r.top = fd
	}
	for {
		if fd == r.top {
			r.moved = false
		}
		if err := r.empty(f, depth); err != nil {
			return err
		}
		if fd != r.top || !r.moved {
			break
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// empty removes all that an open directory holds.
func (r *remover) empty(f *os.File, depth int) error {
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	for _, n := range names {
		err := r.remove(fd, n, depth+1)
		if errors.Is(err, unix.EACCES) && unix.Fchmod(fd, 0o700) == nil {
			err = r.remove(fd, n, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveUp makes a directory stand in the top, which looks at its names once more.
func (r *remover) moveUp(dir int, base string) bool {
	if unix.Renameat2(dir, base, r.top, TempName(), unix.RENAME_NOREPLACE) != nil {
		return false
	}
	r.moved = true
	return true
}

func openToRemove(dir int, base string) (int, error) {
	return retryOpen(func() (int, error) {
		return unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}
