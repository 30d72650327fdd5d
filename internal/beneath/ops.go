package beneath

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mkdir makes a directory with exactly this mode, whatever the umask is.
func (d *Dir) Mkdir(name string, mode fs.FileMode) error {
	return d.in("mkdir", name, func(dir int, base string) error {
		if err := unix.Mkdirat(dir, base, uint32(mode.Perm())); err != nil {
			return err
		}
		return chmodAt(dir, base, uint32(mode.Perm()))
	})
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
	if errors.Is(err, fs.ErrExist) {
		return nil
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

// RemoveAll removes a name with all that is below it. A name that nothing has is no
// error. Directories that their owner may not write to are made writable first.
func (d *Dir) RemoveAll(name string) error {
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

// Chmod sets the mode of what has the name; of a link it is an error.
func (d *Dir) Chmod(name string, mode uint32) error {
	return d.in("chmod", name, func(dir int, base string) error { return chmodAt(dir, base, mode) })
}

// chmodAt is fchmodat2(2), or on kernels before 6.6 fchmod(2) of the opened file.
func chmodAt(dir int, base string, mode uint32) error {
	err := unix.Fchmodat(dir, base, mode, unix.AT_SYMLINK_NOFOLLOW)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	if isLinkAt(dir, base) {
		return unix.ELOOP
	}
	fd, err := retryOpen(func() (int, error) {
		return unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	return errors.Join(unix.Fchmod(fd, mode), unix.Close(fd))
}

// Chown sets the owner of what has the name, a link included.
func (d *Dir) Chown(name string, uid, gid int) error {
	return d.in("chown", name, func(dir int, base string) error {
		return unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// SetTimes sets the access and modification times of what has the name, a link
// included, as utimensat(2).
func (d *Dir) SetTimes(name string, times [2]unix.Timespec) error {
	return d.in("set times of", name, func(dir int, base string) error {
		return unix.UtimesNanoAt(dir, base, times[:], unix.AT_SYMLINK_NOFOLLOW)
	})
}

// SetXattr sets an extended attribute of a file or directory.
func (d *Dir) SetXattr(name, attribute string, value []byte) error {
	f, err := d.OpenFile(name, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	err = unix.Fsetxattr(int(f.Fd()), attribute, value, 0)
	return d.fault("set attribute "+attribute+" of", name, errors.Join(err, f.Close()))
}

// Xattr returns an extended attribute of a file or directory, of at most limit
// bytes.
func (d *Dir) Xattr(name, attribute string, limit int) ([]byte, error) {
	f, err := d.OpenFile(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, limit+1)
	n, err := unix.Fgetxattr(int(f.Fd()), attribute, b)
	if err != nil {
		return nil, d.fault("read attribute "+attribute+" of", name, err)
	}
	return b[:n], nil
}

// Mkfifo makes a named pipe.
func (d *Dir) Mkfifo(name string, mode uint32) error {
	return d.in("make pipe", name, func(dir int, base string) error {
		return unix.Mknodat(dir, base, unix.S_IFIFO|mode&0o777, 0)
	})
}

// ReadDir returns what a directory holds, sorted by name. The entries' Type is
// theirs; their Info is not to be used, for it asks by path.
func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, errors.Join(err, f.Close())
}

// Walk calls f with every name at and below a directory, parents first and in
// order. dir is an open handle of the directory that holds base; it is f's until f
// returns. An error of f ends the walk, but for [fs.SkipDir] of a directory.
func (d *Dir) Walk(name string, f func(path string, dir *Dir, base string, kind fs.FileMode) error) error {
	parent, base, err := d.At(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	st, err := parent.Lstat(base)
	if err != nil {
		return err
	}
	kind := fs.FileMode(0)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		kind = fs.ModeDir
	}
	return walk(parent, base, name, kind, f)
}

func walk(dir *Dir, base, path string, kind fs.FileMode, f func(string, *Dir, string, fs.FileMode) error) error {
	err := f(path, dir, base, kind)
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil || !kind.IsDir() {
		return err
	}
	inner, err := dir.OpenDir(base)
	if err != nil {
		return err
	}
	defer inner.Close()
	entries, err := inner.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		below := e.Name()
		if path != "." {
			below = path + "/" + below
		}
		if err := walk(inner, e.Name(), below, e.Type(), f); err != nil {
			return err
		}
	}
	return nil
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

// ErrNotRegular is wrapped by the error for what is no regular file, or larger than
// it may be.
var ErrNotRegular = errors.New("no regular file of a sensible size")

// ReadFile reads a regular file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := d.OpenFile(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := ReadAll(f, limit)
	return b, errors.Join(err, f.Close())
}

// ReadAll reads an open file, which must be a regular one of at most limit bytes.
func ReadAll(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: ErrNotRegular}
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	if n, err := io.Copy(&b, io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: ErrNotRegular}
	}
	return b.Bytes(), nil
}

// tempPrefix starts the names of files that have not taken their place yet.
const tempPrefix = ".hashpkg-new-"

// TempName returns a name that nobody can foresee, for a file that is to be made
// with O_EXCL.
func TempName() string { return fmt.Sprintf("%s%016x", tempPrefix, rand.Uint64()) }

// WriteFile puts a file with these bytes and this mode in place of what has the
// name, whole or not at all, and makes that durable: when it returns, the file is
// there after a power cut.
func (d *Dir) WriteFile(name string, b []byte, mode fs.FileMode) error {
	parent, base, err := d.At(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	temp, err := parent.writeTemp(b, mode)
	if err != nil {
		return err
	}
	if err := parent.Rename(parent, temp, base); err != nil {
		return errors.Join(err, parent.RemoveIfThere(temp))
	}
	return parent.Sync(".")
}

// StageFile writes a file with a name of its own into the directory of name, and
// returns that: a caller with many of them syncs once, and renames each.
func (d *Dir) StageFile(name string, b []byte, mode fs.FileMode) (temp string, err error) {
	parent, _, err := d.At(name)
	if err != nil {
		return "", err
	}
	defer parent.Close()
	if temp, err = parent.create(b, mode, false); err != nil {
		return "", err
	}
	if dir, _ := split(name); dir != "." {
		temp = dir + "/" + temp
	}
	return temp, nil
}

func (d *Dir) writeTemp(b []byte, mode fs.FileMode) (string, error) { return d.create(b, mode, true) }

func (d *Dir) create(b []byte, mode fs.FileMode, durable bool) (string, error) {
	for {
		temp := TempName()
		f, err := d.OpenFile(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.Write(b)
		if err == nil {
			err = f.Chmod(mode)
		}
		if err == nil && durable {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return "", errors.Join(err, d.RemoveIfThere(temp))
		}
		return temp, nil
	}
}

// SweepTemp removes from a directory what killed processes have left of WriteFile
// and StageFile, and have not touched for that time.
func (d *Dir) SweepTemp(name string, age time.Duration) error {
	dir, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		if st, err := dir.Lstat(e.Name()); err != nil || time.Since(time.Unix(st.Ctim.Unix())) < age {
			continue
		}
		if err := dir.RemoveIfThere(e.Name()); err != nil {
			return err
		}
	}
	return nil
}
