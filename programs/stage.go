package programs

import (
	"path"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/sysroot"
)

// isSame reports whether a name is still the file that was looked at.
func isSame(place *sysroot.Place, id FileID) (bool, error) {
	st, err := place.Dir.Lstat(place.Base)
	if err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && fileID(&st) == id, nil
}

// directories are those that programs stand in, each opened once.
type directories struct {
	root *sysroot.Root
	open map[string]*sysroot.Place
}

// place returns where a program stands. It is closed with the directories.
func (d *directories) place(program string) (*sysroot.Place, error) {
	dir := path.Dir(program)
	opened, ok := d.open[dir]
	if !ok {
		var err error
		if opened, err = d.root.Find(program); err != nil {
			return nil, err
		}
		d.open[dir] = opened
	}
	return &sysroot.Place{Dir: opened.Dir, Base: path.Base(program), Path: path.Join(path.Dir(opened.Path), path.Base(program))}, nil
}

func (d *directories) close() {
	for _, p := range d.open {
		_ = p.Close() // it was only looked from
	}
}
