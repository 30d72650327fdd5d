package beneath

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadDir returns what a directory holds, sorted by name. The entries' Type is
// theirs; their Info is not to be used, for it asks by path.
func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, errors.Join(err, f.Close())
}

// Walk calls f with every name at and below a directory, parents first and in
// order. dir is an open handle of the directory that holds base; it is f's until f
// returns. An error of f ends the walk, but for [fs.SkipDir] of a directory.
//
// However deep the directories are, a few handles are open at a time.
func (d *Dir) Walk(name string, f func(path string, dir *Dir, base string, kind fs.FileMode) error) error {
	return d.WalkPast(name, f, nil)
}

// WalkPast is Walk that goes past directories which the caller may not read, and calls
// unread with each of them after f; with nil, they are errors.
func (d *Dir) WalkPast(name string, f func(path string, dir *Dir, base string, kind fs.FileMode) error, unread func(path string)) (err error) {
	parent, base, err := d.At(name)
	if err != nil {
		return err
	}
	w := &walker{f: f, unread: unread, open: []*Dir{parent}}
	defer func() {
		for _, dir := range w.open {
			err = errors.Join(err, dir.Close())
		}
	}()
	st, err := parent.Lstat(base)
	if err != nil {
		return err
	}
	return w.walk(base, name, kindOf(&st))
}

// kindOf returns the type bits of a file's mode.
func kindOf(st *unix.Stat_t) fs.FileMode {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFBLK:
		return fs.ModeDevice
	case unix.S_IFCHR:
		return fs.ModeDevice | fs.ModeCharDevice
	}
	return fs.ModeIrregular
}

// walker is a walk. open are the directories that it is in, from the top on: the
// lowest are open, and those far above are closed until it comes back to them.
type walker struct {
	f      func(path string, dir *Dir, base string, kind fs.FileMode) error
	unread func(path string)
	open   []*Dir
}

func (w *walker) walk(base, path string, kind fs.FileMode) error {
	dir := w.open[len(w.open)-1]
	err := w.f(path, dir, base, kind)
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil || !kind.IsDir() {
		return err
	}
	inner, err := dir.OpenDir(base)
	if w.mayPass(err) {
		w.unread(path)
		return nil
	}
	if err != nil {
		return err
	}
	w.open = append(w.open, inner)
	entries, err := inner.ReadDir(".")
	if w.mayPass(err) {
		w.unread(path)
		w.open = w.open[:len(w.open)-1]
		return inner.Close()
	}
	if err != nil {
		return err
	}
	id, err := dir.identity()
	if err != nil {
		return err
	}
	if far := len(w.open) - maxOpen; far > 0 { // the first may be the second: "."
		if err := w.open[far].Close(); err != nil {
			return err
		}
	}
	for _, e := range entries {
		below := e.Name()
		if path != "." {
			below = path + "/" + below
		}
		if err := w.walk(e.Name(), below, e.Type()); err != nil {
			return err
		}
	}
	if err := dir.reopen(inner, id); err != nil {
		return err
	}
	w.open = w.open[:len(w.open)-1]
	return inner.Close()
}

func (w *walker) mayPass(err error) bool { return w.unread != nil && errors.Is(err, fs.ErrPermission) }

// dirID tells whether a directory is the one that was seen.
type dirID struct{ dev, ino uint64 }

func (d *Dir) identity() (dirID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return dirID{}, d.fault("stat", ".", err)
	}
	return dirID{uint64(st.Dev), st.Ino}, nil //nolint:unconvert // Dev has 32 bits elsewhere
}

// reopen opens a directory again that was closed, if it is: as the one above inner, and
// only if that is what it was.
func (d *Dir) reopen(inner *Dir, id dirID) error {
	if d.fd != closed {
		return nil
	}
	fd, err := retryOpen(func() (int, error) {
		return unix.Openat(inner.fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return d.fault("open", ".", err)
	}
	d.fd = fd
	if now, err := d.identity(); err != nil || now != id {
		return errors.Join(err, d.fault("open", ".", errMoved), d.Close())
	}
	return nil
}

var errMoved = errors.New("a directory in it was moved while it was read; try again")
