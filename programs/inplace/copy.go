package inplace

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// copyBytes copies the first size bytes of a file: by sharing them where the
// file system can, else inside the kernel, else through memory.
func copyBytes(to, from int, size int64) error {
	if size == 0 || unix.IoctlFileClone(to, from) == nil {
		return nil
	}
	var in, out int64
	for out < size {
		n, err := unix.CopyFileRange(from, &in, to, &out, int(min(size-out, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil && out == 0 && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EIO):
			return copyBuffered(to, from, size)
		case err != nil:
			return err
		case n == 0 && out == 0: // some file systems say so instead of an error
			return copyBuffered(to, from, size)
		case n == 0:
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

func copyBuffered(to, from int, size int64) error {
	b := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; {
		n, err := unix.Pread(from, b[:min(int64(len(b)), size-at)], at)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		if err := writeAt(to, b[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

func writeAt(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}
