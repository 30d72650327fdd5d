package beneath

import (
	"errors"
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
func (d *Dir) RemoveAll(name string) error {
	if name == "." {
		return d.fault("remove", name, ErrName)
	}
	return d.in("remove", name, removeAll)
}

func removeAll(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return err
	}
	fd, oerr := retryOpen(func() (int, error) {
		return unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if errors.Is(oerr, unix.EACCES) && chmodAt(dir, base, 0o700) == nil {
		fd, oerr = unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if oerr != nil {
		if errors.Is(oerr, unix.ENOTDIR) || errors.Is(oerr, unix.ELOOP) {
			return err
		}
		return oerr
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		err := removeAll(fd, n)
		if errors.Is(err, unix.EACCES) && unix.Fchmod(fd, 0o700) == nil {
			err = removeAll(fd, n)
		}
		if err != nil {
			return err
		}
	}
	err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
