package objects

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// partialDir has what came of large files whose rest has not: by their BLAKE3, and not verified.
const partialDir = "partial"

// A file that has this many bytes is continued where it was broken off.
const resumable = 2 << 20

// keepPartial is for how long a part stays of a file that nobody goes on with.
const keepPartial = 7 * 24 * time.Hour

// partial is a part of a file, which nobody else writes to until it is closed.
type partial struct {
	*os.File
	dir  *Dir
	name string
	own  bool // nobody goes on with it
}

// openPartial returns the part that there is of a file, or none of it so far. While somebody else fetches it,
// that is another part, which nobody goes on with.
func (d *Dir) openPartial(w Want) (*partial, error) {
	if err := d.dir.MkdirAll(partialDir, 0o755); err != nil {
		return nil, &LocalError{err}
	}
	name := partialDir + "/" + w.BLAKE3.String()
	f, err := d.dir.OpenFile(name, unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		return nil, &LocalError{err}
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &partial{f, d, name, false}, nil
	}
	if err := errors.Join(noWouldBlock(err), f.Close()); err != nil {
		return nil, &LocalError{err}
	}
	name = partialDir + "/" + beneath.TempName()
	if f, err = d.dir.OpenFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644); err != nil {
		return nil, &LocalError{err}
	}
	return &partial{f, d, name, true}, nil
}

func noWouldBlock(err error) error {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	return err
}

// end closes the part after an attempt with that error, and removes it where nobody can go on with it.
func (p *partial) end(err error) error {
	if err == nil || errors.Is(err, ErrWrong) || p.own {
		err = errors.Join(err, p.dir.dir.RemoveIfThere(p.name))
	}
	return errors.Join(err, p.Close())
}

// hasPartial reports whether a part of a file is there.
func (d *Dir) hasPartial(w Want) bool {
	if w.Size < resumable {
		return false
	}
	st, err := d.dir.Lstat(partialDir + "/" + w.BLAKE3.String())
	return err == nil && st.Size > 0
}

// tee returns a reader of r that writes what it reads to the part, from its start.
func (p *partial) tee(r io.Reader) (io.Reader, error) {
	if err := p.Truncate(0); err != nil {
		return nil, &LocalError{err}
	}
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return nil, &LocalError{err}
	}
	return io.TeeReader(r, localWriter{p}), nil
}

// localWriter says of its errors that they are this machine's.
type localWriter struct{ w io.Writer }

func (l localWriter) Write(b []byte) (int, error) {
	n, err := l.w.Write(b)
	if err != nil {
		err = &LocalError{err}
	}
	return n, err
}

// sweepPartial removes parts that nobody goes on with.
func (d *Dir) sweepPartial(now time.Time) error {
	entries, err := d.dir.ReadDir(partialDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &LocalError{err}
	}
	for _, e := range entries {
		name := partialDir + "/" + e.Name()
		st, err := d.dir.Lstat(name)
		if err == nil && now.Sub(time.Unix(st.Mtim.Unix())) > keepPartial {
			err = d.dir.RemoveIfThere(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &LocalError{err}
		}
	}
	return nil
}
