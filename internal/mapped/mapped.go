// Package mapped reads regular files through mappings, so that only what is looked
// at is in memory, and a file that another process makes shorter is an error and
// no crash. [File] is all that most callers need.
//
// Left to the caller: opening the file, so that it decides which links are
// followed.
package mapped

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is wrapped by the error for a directory, a device, a pipe or a
// socket in the place of a file.
var ErrNotRegular = errors.New("not a regular file")

// File calls read with the bytes of an open file. They are gone when read returns,
// and must not be written to.
//
// Errors of the file are *fs.PathError with its name; those of read are returned as
// they are.
func File(f *os.File, read func(data []byte) error) error {
	err := Descriptor(int(f.Fd()), f.Name(), read)
	runtime.KeepAlive(f)
	return err
}

// Private is File for one who writes to the bytes: what is written is seen by nobody else,
// and only the pages that it is in take memory.
func Private(f *os.File, read func(data []byte) error) error {
	err := descriptor(int(f.Fd()), f.Name(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE, read)
	runtime.KeepAlive(f)
	return err
}

// Descriptor is File for a file descriptor, which stays the caller's. name is for
// messages.
func Descriptor(fd int, name string, read func(data []byte) error) error {
	return descriptor(fd, name, unix.PROT_READ, unix.MAP_SHARED, read)
}

func descriptor(fd int, name string, protection, flags int, read func(data []byte) error) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if err := CheckRegular(&st); err != nil {
		return &fs.PathError{Op: "map", Path: name, Err: err}
	}
	if st.Size == 0 { // which cannot be mapped
		return read(nil)
	}
	data, err := unix.Mmap(fd, 0, int(st.Size), protection, flags)
	if err != nil {
		return &fs.PathError{Op: "map", Path: name, Err: err}
	}
	defer unix.Munmap(data) //nolint:errcheck // a mapping that cannot be taken away is harmless
	// Reading a mapped page that the file has no longer is a fault (SIGBUS).
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			cause := errors.New("it became shorter, or the disk failed, while it was read")
			err = &fs.PathError{Op: "read", Path: name, Err: cause}
		default:
			panic(r)
		}
	}()
	return read(data)
}

// CheckRegular returns an error that wraps ErrNotRegular, and says what is there,
// for what is not a regular file.
func CheckRegular(st *unix.Stat_t) error {
	what := "something else"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		what = "a directory"
	case unix.S_IFLNK:
		what = "a symbolic link"
	case unix.S_IFBLK, unix.S_IFCHR:
		what = "a device"
	case unix.S_IFIFO:
		what = "a pipe"
	case unix.S_IFSOCK:
		what = "a socket"
	}
	return fmt.Errorf("it is %s, %w", what, ErrNotRegular)
}
