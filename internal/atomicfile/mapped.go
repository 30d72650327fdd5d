package atomicfile

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/mapped"
)

// ErrNotRegular is wrapped by the error for a directory, a device, a pipe or a
// socket in the place of a file.
var ErrNotRegular = mapped.ErrNotRegular

// ReadMapped is [mapped.File] for the file at a path, whose links are followed.
func ReadMapped(path string, read func(data []byte) error) error {
	fd, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	return mapped.Descriptor(fd, path, read)
}

// MapFile is [mapped.File].
func MapFile(file *os.File, read func(data []byte) error) error { return mapped.File(file, read) }

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
			if err := mapped.CheckRegular(&st); err != nil {
				return -1, st, pathError("open", path, err)
			}
		}
		return -1, st, pathError("open", path, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, st, errors.Join(pathError("stat", path, err), unix.Close(fd))
	}
	if err := mapped.CheckRegular(&st); err != nil {
		return -1, st, errors.Join(pathError("open", path, err), unix.Close(fd))
	}
	return fd, st, nil
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
