package mapped

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Open is File for the file at a path, whose links are followed.
func Open(path string, read func(data []byte) error) error {
	// Without O_NONBLOCK, opening a pipe would wait for its other end.
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := open(path, flags|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) { // only a file's owner may ask for this
		fd, err = open(path, flags)
	}
	if err != nil {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			if what := CheckRegular(&st); what != nil { // a socket cannot be opened
				err = what
			}
		}
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	return Descriptor(fd, path, read)
}

func open(path string, flags int) (int, error) {
	for {
		if fd, err := unix.Open(path, flags, 0); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
