package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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

// keepMetadata gives the new file what the old one has besides its bytes. The
// order matters: a change of owner clears setuid and capabilities. The times come
// last, with keepTimes.
func (r *Replacement) keepMetadata(to int) error {
	if r.old == nil {
		return nil
	}
	var now unix.Stat_t
	if err := unix.Fstat(to, &now); err != nil {
		return err
	}
	if now.Uid != r.old.Uid || now.Gid != r.old.Gid {
		if err := unix.Fchown(to, int(r.old.Uid), int(r.old.Gid)); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
	}
	if err := unix.Fchmod(to, r.old.Mode&0o7777); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	return r.keepAttributes(to)
}

// keepTimes gives the new file, which has its name, the old one's times.
func (r *Replacement) keepTimes() error {
	if r.old == nil {
		return nil
	}
	times := []unix.Timespec{r.old.Atim, r.old.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, r.temp, times, unix.AT_SYMLINK_NOFOLLOW)
}

// keepAttributes makes the extended attributes equal: access control lists and
// capabilities are among them. A new file may have some of its own, from the
// default list of its directory.
func (r *Replacement) keepAttributes(to int) error {
	names, err := attributes(func(b []byte) (int, error) { return unix.Llistxattr(r.real, b) })
	if err != nil {
		return err
	}
	present, err := attributes(func(b []byte) (int, error) { return unix.Flistxattr(to, b) })
	if err != nil {
		return err
	}
	for _, name := range present {
		if !slices.Contains(names, name) && name != "security.selinux" {
			if err := unix.Fremovexattr(to, name); err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
		}
	}
	for _, name := range names {
		value, err := attribute(func(b []byte) (int, error) { return unix.Lgetxattr(r.real, name, b) })
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if slices.Contains(present, name) {
			have, err := attribute(func(b []byte) (int, error) { return unix.Fgetxattr(to, name, b) })
			if err == nil && bytes.Equal(have, value) {
				continue
			}
		}
		if err := unix.Fsetxattr(to, name, value, 0); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

// attributes lists names, without those that the kernel computes from the
// file's bytes and keeps itself.
func attributes(list func([]byte) (int, error)) ([]string, error) {
	b, err := attribute(list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	names := strings.FieldsFunc(string(b), func(c rune) bool { return c == 0 })
	return slices.DeleteFunc(names, func(name string) bool {
		return name == "security.ima" || name == "security.evm"
	}), nil
}

// attribute reads a value of unknown size. The kernel's limit is 64 KiB.
func attribute(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	n, err := read(small[:])
	if err == nil {
		return append([]byte(nil), small[:n]...), nil
	}
	if !errors.Is(err, unix.ERANGE) {
		return nil, err
	}
	b := make([]byte, 1<<16)
	n, err = read(b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}
