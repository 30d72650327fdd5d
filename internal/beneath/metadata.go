package beneath

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Chmod sets the mode of what has the name; for a link it is an error.
func (d *Dir) Chmod(name string, mode uint32) error {
	return d.in("chmod", name, func(dir int, base string) error { return chmodAt(dir, base, mode) })
}

// chmodAt is fchmodat2(2). Before Linux 6.6, and where a filter of system calls
// forbids it, it is fchmod(2) of the opened file.
func chmodAt(dir int, base string, mode uint32) error {
	err := unix.Fchmodat(dir, base, mode, unix.AT_SYMLINK_NOFOLLOW)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return err
	}
	return chmodOpened(dir, base, mode)
}

func chmodOpened(dir int, base string, mode uint32) error {
	if isLinkAt(dir, base) {
		return unix.ELOOP
	}
	const flags = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := retryOpen(func() (int, error) { return unix.Openat(dir, base, unix.O_RDONLY|flags, 0) })
	if err == nil {
		return errors.Join(unix.Fchmod(fd, mode), unix.Close(fd))
	}
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	// Its owner may not read it. The name that /proc has for it leads to it and to
	// nothing else (O_NOFOLLOW: a link would be opened as such).
	fd, err = retryOpen(func() (int, error) { return unix.Openat(dir, base, unix.O_PATH|flags, 0) })
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = unix.ELOOP
	}
	if err == nil {
		err = unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
	}
	return errors.Join(err, unix.Close(fd))
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
