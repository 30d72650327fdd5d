package beneath

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Mkdir makes a directory with exactly this mode, whatever the umask is.
func (d *Dir) Mkdir(name string, mode fs.FileMode) error {
	return d.in("mkdir", name, func(dir int, base string) error {
		if err := unix.Mkdirat(dir, base, uint32(mode.Perm())); err != nil {
			return err
		}
		return chmodNew(dir, base, uint32(mode.Perm()))
	})
}

// chmodNew sets the mode of a directory that was made just now. It does so by a
// handle: whoever may write to dir may have put another name of a file there, which
// a directory cannot be.
func chmodNew(dir int, base string, mode uint32) error {
	fd, err := retryOpen(func() (int, error) {
		return unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if errors.Is(err, unix.EACCES) { // the umask, or the mode, keeps its owner out
		return chmodAt(dir, base, mode)
	}
	if err != nil {
		return err
	}
	return errors.Join(unix.Fchmod(fd, mode), unix.Close(fd))
}

// MkdirAll makes a directory and those on the way to it that are not there.
func (d *Dir) MkdirAll(name string, mode fs.FileMode) error {
	if name == "." {
		return nil
	}
	if st, err := d.Lstat(name); err == nil {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
		return d.fault("mkdir", name, unix.ENOTDIR)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, _ := split(name)
	if err := d.MkdirAll(dir, mode); err != nil {
		return err
	}
	err := d.Mkdir(name, mode)
	if errors.Is(err, fs.ErrExist) { // since it was looked for
		st, lerr := d.Lstat(name)
		if lerr != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return lerr
		}
		return d.fault("mkdir", name, unix.ENOTDIR)
	}
	return err
}

// Lstat looks at a name, and not through a link.
func (d *Dir) Lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := d.in("lstat", name, func(dir int, base string) error {
		return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

// Exists reports whether something has the name, be it a link that leads nowhere.
func (d *Dir) Exists(name string) bool {
	_, err := d.Lstat(name)
	return err == nil
}

// Readlink returns what a link holds. What is no link is an error wrapping EINVAL.
func (d *Dir) Readlink(name string) (string, error) {
	var target string
	err := d.in("readlink", name, func(dir int, base string) error {
		for size := 256; ; size *= 4 {
			b := make([]byte, size)
			n, err := unix.Readlinkat(dir, base, b)
			if err != nil {
				return err
			}
			if n < size {
				target = string(b[:n])
				return nil
			}
		}
	})
	return target, err
}

// Symlink makes a link that holds target, whatever that is.
func (d *Dir) Symlink(target, name string) error {
	return d.in("symlink", name, func(dir int, base string) error {
		return unix.Symlinkat(target, dir, base)
	})
}

// Link gives the file old below from another name below d.
func (d *Dir) Link(from *Dir, old, name string) error {
	return from.in("link", old, func(dir int, base string) error {
		return d.in("link", name, func(toDir int, toBase string) error {
			return unix.Linkat(dir, base, toDir, toBase, 0)
		})
	})
}

// Rename gives the file old below from the name below d, in place of what has it.
func (d *Dir) Rename(from *Dir, old, name string) error { return d.rename(from, old, name, 0) }

// RenameNew is Rename for a name that nothing may have: the error wraps
// [fs.ErrExist] otherwise. Where the file system cannot promise that
// (renameat2(2)), it looks before.
func (d *Dir) RenameNew(from *Dir, old, name string) error {
	err := d.rename(from, old, name, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	if d.Exists(name) {
		return d.fault("rename", name, unix.EEXIST)
	}
	return d.rename(from, old, name, 0)
}

// Exchange swaps two names in one step (renameat2(2)).
func (d *Dir) Exchange(from *Dir, old, name string) error {
	return d.rename(from, old, name, unix.RENAME_EXCHANGE)
}

func (d *Dir) rename(from *Dir, old, name string, flags uint) error {
	return from.in("rename", old, func(dir int, base string) error {
		return d.in("rename", name, func(toDir int, toBase string) error {
			if flags == 0 {
				return unix.Renameat(dir, base, toDir, toBase)
			}
			return unix.Renameat2(dir, base, toDir, toBase, flags)
		})
	})
}

// Mkfifo makes a named pipe.
func (d *Dir) Mkfifo(name string, mode uint32) error {
	return d.in("make pipe", name, func(dir int, base string) error {
		return unix.Mknodat(dir, base, unix.S_IFIFO|mode&0o777, 0)
	})
}

// Sync makes the entries of a directory durable.
func (d *Dir) Sync(name string) error {
	return d.reopened("sync", name, unix.Fsync)
}

// SyncFS makes everything durable that was written to the file system of d.
func (d *Dir) SyncFS() error { return d.reopened("sync", ".", unix.Syncfs) }

func (d *Dir) reopened(op, name string, f func(fd int) error) error {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = f(fd)
	return d.fault(op, name, errors.Join(err, unix.Close(fd)))
}
