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
func (d *Dir) Walk(name string, f func(path string, dir *Dir, base string, kind fs.FileMode) error) error {
	parent, base, err := d.At(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	st, err := parent.Lstat(base)
	if err != nil {
		return err
	}
	return walk(parent, base, name, kindOf(&st), f)
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

func walk(dir *Dir, base, path string, kind fs.FileMode, f func(string, *Dir, string, fs.FileMode) error) error {
	err := f(path, dir, base, kind)
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil || !kind.IsDir() {
		return err
	}
	inner, err := dir.OpenDir(base)
	if err != nil {
		return err
	}
	defer inner.Close()
	entries, err := inner.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		below := e.Name()
		if path != "." {
			below = path + "/" + below
		}
		if err := walk(inner, e.Name(), below, e.Type(), f); err != nil {
			return err
		}
	}
	return nil
}
