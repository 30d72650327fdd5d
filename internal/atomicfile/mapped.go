package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is wrapped by the error for a directory, a device, a pipe or a
// socket in the place of a file.
var ErrNotRegular = errors.New("no regular file")

// ReadMapped calls read with the bytes of a regular file, mapped read-only, so
// that only what is looked at is in memory. They are gone when read returns. A
// file that another process makes shorter meanwhile is an error.
//
// Errors of the file are *fs.PathError; those of read are returned as they are.
func ReadMapped(path string, read func(data []byte) error) error {
	fd, st, err := openRegular(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	return readMapped(fd, st.Size, path, read)
}

// MapFile is ReadMapped for a file that the caller has open.
func MapFile(file *os.File, read func(data []byte) error) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return pathError("stat", file.Name(), err)
	}
	if err := regular(&st); err != nil {
		return pathError("map", file.Name(), err)
	}
	return readMapped(int(file.Fd()), st.Size, file.Name(), read)
}

// readMapped is ReadMapped for an open file of this size.
func readMapped(fd int, size int64, path string, read func(data []byte) error) (err error) {
	if size == 0 {
		return read(nil)
	}
	data, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return pathError("map", path, err)
	}
	defer unix.Munmap(data) //nolint:errcheck // a mapping that cannot be taken away is harmless
	// Reading a mapped page that the file has no longer is a fault (SIGBUS).
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = pathError("read", path, errors.New("it became shorter, or the disk failed, while it was read"))
		default:
			panic(r)
		}
	}()
	return read(data)
}

// openRegular opens a file for reading. The caller closes it.
func openRegular(path string) (fd int, st unix.Stat_t, err error) {
	// Without O_NONBLOCK, opening a pipe would wait for its other end.
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	err = retry(func() error {
		fd, err = unix.Open(path, flags|unix.O_NOATIME, 0)
		if errors.Is(err, unix.EPERM) { // only a file's owner may ask for this
			fd, err = unix.Open(path, flags, 0)
		}
		return err
	})
	if err != nil {
		if unix.Stat(path, &st) == nil {
			if err := regular(&st); err != nil {
				return -1, st, pathError("open", path, err)
			}
		}
		return -1, st, pathError("open", path, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, st, errors.Join(pathError("stat", path, err), unix.Close(fd))
	}
	if err := regular(&st); err != nil {
		return -1, st, errors.Join(pathError("open", path, err), unix.Close(fd))
	}
	return fd, st, nil
}

// regular says what stands in the place of a regular file.
func regular(st *unix.Stat_t) error {
	what := "something else"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		what = "a directory"
	case unix.S_IFBLK, unix.S_IFCHR:
		what = "a device"
	case unix.S_IFIFO:
		what = "a pipe"
	case unix.S_IFSOCK:
		what = "a socket"
	}
	return fmt.Errorf("it is %s, %w", what, ErrNotRegular)
}

func pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
