package objects

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

// Dir is a directory of files by their BLAKE3, each of which was verified before it got its name:
// "ab/ab01...". Several processes may fill one at a time.
type Dir struct{ dir *beneath.Dir }

// NewDir returns the directory at dir, which the caller closes.
func NewDir(dir *beneath.Dir) *Dir { return &Dir{dir} }

// LocalError is an error of this machine's, such as a full disk.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *LocalError) Unwrap() error { return e.Err }

func name(d digest.Digest) string {
	s := d.String()
	return s[:2] + "/" + s
}

// Open returns the bytes of a file that is there. The error wraps fs.ErrNotExist for one that is not.
func (d *Dir) Open(of digest.Digest) (*os.File, error) {
	f, _, err := d.dir.OpenRegular(name(of))
	return f, err
}

// Remove removes a file, as one whose bytes have changed since.
func (d *Dir) Remove(of digest.Digest) error { return d.dir.RemoveIfThere(name(of)) }

// missing returns which of wants are not there.
func (d *Dir) missing(wants []Want) ([]Want, error) {
	var out []Want
	for _, w := range wants {
		st, err := d.dir.Lstat(name(w.BLAKE3))
		switch {
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == w.Size:
			continue
		case err == nil: // nothing of ours has another size
			err = d.dir.RemoveAll(name(w.BLAKE3))
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err != nil {
			return nil, &LocalError{err}
		}
		out = append(out, w)
	}
	return out, nil
}

// put keeps a file's bytes if they are the right ones: it reads one byte more than there should be at
// the most.
func (d *Dir) put(w Want, r io.Reader, progress Progress) (err error) {
	final := name(w.BLAKE3)
	if err := d.dir.MkdirAll(final[:2], 0o755); err != nil {
		return &LocalError{err}
	}
	temp := beneath.TempName()
	f, err := d.dir.OpenFile(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		return &LocalError{err}
	}
	var n int64
	defer func() {
		if e := f.Close(); e != nil {
			err = errors.Join(err, &LocalError{e})
		}
		if err == nil {
			e := d.dir.RenameNew(d.dir, temp, final)
			if e == nil {
				return
			}
			if !errors.Is(e, fs.ErrExist) { // else another source was first
				err = &LocalError{e}
			}
		}
		progress(-n)
		err = errors.Join(err, d.dir.RemoveIfThere(temp))
	}()
	h := digest.New()
	to := &local{w: f}
	n, err = io.Copy(io.MultiWriter(to, h), io.LimitReader(&counted{r, progress}, w.Size+1))
	switch {
	case to.err != nil:
		return &LocalError{to.err}
	case err != nil:
		return err
	case n != w.Size || digest.Sum(h) != w.BLAKE3:
		return fmt.Errorf("%s of %s: %w", w.Path, w.Package.Spec(), ErrWrong)
	}
	return nil
}

// local remembers that it could not write, which is not the fault of what is read.
type local struct {
	w   io.Writer
	err error
}

func (l *local) Write(b []byte) (int, error) {
	n, err := l.w.Write(b)
	l.err = err
	return n, err
}

type counted struct {
	r        io.Reader
	progress Progress
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.progress(int64(n))
	return n, err
}
