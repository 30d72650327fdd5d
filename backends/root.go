package backends

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
)

// Root is what a backend sees of a root. Names are absolute in the root, clean and
// slash-separated, and links are followed inside the root, so that none leads out
// of it. Errors for what is not there wrap [fs.ErrNotExist]. Methods may be called
// by several goroutines.
type Root interface {
	// Open opens a file for reading. It does not wait for the other end of a pipe;
	// see [OpenRegular] for files that must be regular ones.
	Open(name string) (*os.File, error)
	// ReadFile returns the content of a regular file of at most limit bytes; a larger
	// one is an error.
	ReadFile(name string, limit int64) ([]byte, error)
	// ReadDir returns what a directory has, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat returns what package os says of the file, so that [os.SameFile] works.
	Stat(name string) (fs.FileInfo, error)
	// Dir returns the root's directory on this machine, for helper programs that
	// take one, and for messages.
	Dir() string
}

// OpenRegular opens a regular file of at most limit bytes.
func OpenRegular(root Root, name string, limit int64) (*os.File, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	if err := CheckRegular(f, limit); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: HostName(root, name), Err: err}, f.Close())
	}
	return f, nil
}

// CheckRegular returns an error for a file that is no regular one, or has more than
// limit bytes.
func CheckRegular(f fs.File, limit int64) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case info.Size() > limit:
		return fmt.Errorf("it has %d bytes, and at most %d are read", info.Size(), limit)
	}
	return nil
}

// ReadAll reads r to its end; more than limit bytes are an error. A file may grow
// after its size was asked for, and what is unpacked has none.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	limit = min(limit, math.MaxInt64-1)
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, err
}

// ReadLines returns the lines of a regular file of at most limit bytes, none of
// which may have more than maxLine.
func ReadLines(root Root, name string, limit int64, maxLine int) ([]string, error) {
	f, err := OpenRegular(root, name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(io.LimitReader(f, limit))
	s.Buffer(make([]byte, 0, min(64<<10, maxLine)), maxLine)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		return nil, &fs.PathError{Op: "read", Path: HostName(root, name), Err: err}
	}
	return lines, nil
}

// HostName returns what messages call a file of a root.
func HostName(root Root, name string) string { return path.Join(root.Dir(), name) }
