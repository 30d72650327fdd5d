// Package beneath holds directories by handle and reaches everything below them
// without following a symbolic link, so that no name leads out of a directory,
// whoever changes what stands in it meanwhile.
//
// [Open] opens the top, by a path that the caller trusts. Every other name is
// relative, clean and slash-separated ("a/b"); "." is the directory itself. A name
// that passes a link, or whose last element is one where a file or directory is
// wanted, is an error that wraps [ErrLink].
//
// The kernel's openat2(2) resolves names where it is there (Linux 5.6); elsewhere
// each element is opened by itself with O_NOFOLLOW.
package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrLink is wrapped by the error for a name that passes a symbolic link, or is one
// where it must not be.
var ErrLink = errors.New("a symbolic link is in the way")

// ErrName is wrapped by the error for a name that is absolute, not clean, or has
// a ".." element.
var ErrName = errors.New("the name does not stand below the directory")

// Dir is an open directory. Its methods may be called by several goroutines.
type Dir struct {
	fd   int    // O_PATH; or missing, or closed
	name string // for messages
}

// Open opens the directory at a path, following links. The caller closes it.
func Open(path string) (*Dir, error) {
	fd, err := retryOpen(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{fd, path}, nil
}

// Missing returns what stands for a directory that is not there: each method's
// error wraps [fs.ErrNotExist].
func Missing(name string) *Dir { return &Dir{missing, name} }

// What fd is where nothing is open.
const (
	missing = -1
	closed  = -2
)

// Close closes the handle, unless it is closed. Nobody may use it meanwhile; later,
// each method's error wraps [fs.ErrClosed].
func (d *Dir) Close() error {
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = closed
	return err
}

// Name returns the path that the directory was opened by. It is for messages: what
// stands there by now may be something else.
func (d *Dir) Name() string { return d.name }

// Path returns the path of a name below d, for messages.
func (d *Dir) Path(name string) string {
	if name == "." || name == "" {
		return d.name
	}
	return strings.TrimSuffix(d.name, "/") + "/" + name
}

// Fd returns the handle, which was opened with O_PATH, for system calls that have
// no method here. It stays d's.
func (d *Dir) Fd() int { return d.fd }

// OpenDir opens a directory below d. The caller closes it.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	fd, err := d.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{fd, d.Path(name)}, nil
}

// At opens the directory of a name and returns it with the name's last element.
// Work on many names of one directory opens it once. The caller closes it.
func (d *Dir) At(name string) (parent *Dir, base string, err error) {
	if err := d.check(name); err != nil {
		return nil, "", d.fault("open", name, err)
	}
	dir, base := split(name)
	parent, err = d.OpenDir(dir)
	return parent, base, err
}

// OpenFile opens or makes a file below d with flags as of open(2). A link in its
// place is an error, and a pipe is not waited for. A device is an error that wraps
// ErrNotRegular, and so is a socket: to open one can do something by itself, rewind a
// tape or start a watchdog, and that is not below d.
func (d *Dir) OpenFile(name string, flags int, mode fs.FileMode) (*os.File, error) {
	if flags&unix.O_PATH == 0 { // with which openat2 takes few others
		flags |= unix.O_NONBLOCK
	}
	if flags&(unix.O_PATH|unix.O_DIRECTORY|unix.O_EXCL) == 0 {
		if st, err := d.Lstat(name); err == nil && isDevice(&st) {
			return nil, d.fault("open", name, ErrNotRegular)
		}
	}
	fd, err := d.open(name, flags, uint32(mode.Perm()))
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), d.Path(name)), nil
}

// isDevice reports whether a file is a device or a socket.
func isDevice(st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFSOCK:
		return true
	}
	return false
}

// withoutOpenat2 is set when the kernel, or a filter of system calls, has no
// openat2.
var withoutOpenat2 atomic.Bool

const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// open opens name with O_NOFOLLOW.
func (d *Dir) open(name string, flags int, mode uint32) (int, error) {
	if err := d.check(name); err != nil {
		return -1, d.fault("open", name, err)
	}
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	if flags&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0 {
		mode = 0
	}
	var fd int
	var err error
	if !strings.Contains(name, "/") { // one element needs no resolving
		fd, err = retryOpen(func() (int, error) { return unix.Openat(d.fd, name, flags, mode) })
	} else {
		fd, err = d.openLong(name, flags, mode)
	}
	if err != nil {
		return -1, d.fault("open", name, err)
	}
	return fd, nil
}

func (d *Dir) openLong(name string, flags int, mode uint32) (int, error) {
	if !withoutOpenat2.Load() {
		how := unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode), Resolve: resolve}
		fd, err := retryOpen(func() (int, error) { return unix.Openat2(d.fd, name, &how) })
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return fd, err
		}
		if errors.Is(err, unix.ENOSYS) {
			withoutOpenat2.Store(true)
		}
	}
	return openByElement(d.fd, name, flags, mode)
}

// openByElement resolves a name without openat2.
func openByElement(at int, name string, flags int, mode uint32) (int, error) {
	dir := at
	closeDir := func() error {
		if dir == at {
			return nil
		}
		return unix.Close(dir)
	}
	for {
		element, rest, more := strings.Cut(name, "/")
		if !more {
			fd, err := retryOpen(func() (int, error) { return unix.Openat(dir, element, flags, mode) })
			return fd, errors.Join(err, closeDir())
		}
		next, err := retryOpen(func() (int, error) {
			return unix.Openat(dir, element, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		})
		if errors.Is(err, unix.ENOTDIR) && isLinkAt(dir, element) {
			err = unix.ELOOP
		}
		if err != nil {
			return -1, errors.Join(err, closeDir())
		}
		if err := closeDir(); err != nil {
			return -1, errors.Join(err, unix.Close(next))
		}
		dir, name = next, rest
	}
}

// retryOpen repeats what a signal interrupted, and what openat2 gave up because a
// name on the way was being renamed.
func retryOpen(open func() (int, error)) (int, error) {
	for tries := 0; ; tries++ {
		fd, err := open()
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && tries < 128:
		default:
			return fd, err
		}
	}
}

// fault returns an error with the path. What a link has caused wraps ErrLink.
func (d *Dir) fault(op, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV) && op == "open":
		err = fmt.Errorf("%w (%w)", ErrLink, err)
	case errors.Is(err, unix.ENOTDIR) && d.isLink(name):
		err = fmt.Errorf("%w (%w)", ErrLink, err)
	}
	return &fs.PathError{Op: op, Path: d.Path(name), Err: err}
}

// isLink reports whether the last element of a name is a link.
func (d *Dir) isLink(name string) bool {
	if d.check(name) != nil || name == "." {
		return false
	}
	dir, base := split(name)
	at := d.fd
	if dir != "." {
		fd, err := d.openLong(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd) //nolint:errcheck // it was only looked through
		at = fd
	}
	return isLinkAt(at, base)
}

func isLinkAt(dir int, base string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// check returns an error for a name that is not one of those that the package takes.
func (d *Dir) check(name string) error {
	switch d.fd {
	case missing:
		return fs.ErrNotExist
	case closed:
		return fs.ErrClosed
	}
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return ErrName
	}
	return nil
}

// split returns the directory of a name, "." for none, and its last element.
func split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

// in calls f with a handle of a name's directory and the name's last element.
func (d *Dir) in(op, name string, f func(dir int, base string) error) error {
	if err := d.check(name); err != nil {
		return d.fault(op, name, err)
	}
	dir, base := split(name)
	if dir == "." {
		return d.fault(op, name, f(d.fd, base))
	}
	fd, err := d.open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = f(fd, base)
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return d.fault(op, name, err)
}
