package programs

import (
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/sysroot"
)

// replacement is an edited file beside the one whose place it will take. Either
// commit or discard ends it.
type replacement struct {
	staged *atomicfile.Replacement
	name   string // in the directory
}

// stageFile writes an edited file. check is called with its bytes as they are on the
// disk.
func stageFile(dir *beneath.Dir, base string, e elfedit.Edit, check func([]byte) error) (*replacement, error) {
	staged, err := atomicfile.StageEdited(dir.Path(base), e, atomicfile.ReplaceOptions{Check: check})
	if err != nil {
		return nil, err
	}
	name, err := staged.Named()
	if err != nil {
		return nil, err
	}
	return &replacement{staged, path.Base(name)}, nil
}

func (r *replacement) commit() error  { return r.staged.Commit() }
func (r *replacement) discard() error { return r.staged.Discard() }

// linkFile makes a name another one of the file that has the name target.
func linkFile(target, place *sysroot.Place) error {
	return atomicfile.ReplaceByLink(target.Dir.Path(target.Base), place.Dir.Path(place.Base))
}

// syncAll makes what stands in directories durable. It asks each file system once.
func syncAll(dirs []*beneath.Dir) error {
	seen := map[uint64]bool{}
	for _, d := range dirs {
		st, err := d.Lstat(".")
		if err != nil {
			return err
		}
		if seen[uint64(st.Dev)] { //nolint:unconvert // not on every architecture
			continue
		}
		seen[uint64(st.Dev)] = true //nolint:unconvert // not on every architecture
		if err := d.SyncFS(); err != nil {
			return err
		}
	}
	return nil
}

// leftAge is how old a file must be to have been left by a process that was killed.
const leftAge = 2 * time.Second

// sweep removes what a killed run has left beside programs: the next run looks at the
// same ones again. A setuid program's copy would outlive its package there.
func sweep(dir *beneath.Dir) {
	_ = atomicfile.Sweep(dir.Name(), leftAge) // what cannot be removed harms no program
}

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
