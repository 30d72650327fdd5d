package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
)

// AddTrees assembles trees in the staging directory from staged and stored
// objects, and their manifests beside them. It sets Own in the manifests' files.
func (t *Staging) AddTrees(manifests []*record.Manifest) error {
	if err := t.behind.flush(); err != nil {
		return err
	}
	for _, m := range manifests {
		if err := t.claimObjects(m); err != nil {
			return fmt.Errorf("assemble tree of %s: %w", m.Spec(), err)
		}
	}
	faults := make([]error, len(manifests))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(manifests)) {
		wg.Go(func() {
			for i := range work {
				faults[i] = t.addTree(manifests[i], fmt.Sprint(i))
			}
		})
	}
	for i := range manifests {
		work <- i
	}
	close(work)
	wg.Wait()
	for i, m := range manifests {
		if faults[i] != nil {
			return fmt.Errorf("assemble tree of %s: %w", m.Spec(), faults[i])
		}
		t.dirs = append(t.dirs, m.Name, layout.ManifestsDir+"/"+m.Name)
		t.Move(fmt.Sprintf("trees/%d", i), layout.TreePath(m.Name, m.Tree), PhaseData)
		t.Move(fmt.Sprintf("manifests/%d", i), layout.ManifestPath(m.Name, m.Tree), PhaseRecords)
	}
	return t.addDefaultLinks(manifests)
}

// claimObjects gives the staged objects of a tree the mode that they keep: that
// of the first file that has them, whatever order the trees are assembled in.
func (t *Staging) claimObjects(m *record.Manifest) error {
	if place := t.store.Path(layout.TreePath(m.Name, m.Tree)); exists(place) {
		return fmt.Errorf("%s is there and has no manifest: look at what it is, and move it away", place)
	}
	for i := range m.Files {
		f := &m.Files[i]
		o := t.objects[f.Object]
		if f.Type != record.TypeFile || o == nil || o.used {
			continue
		}
		o.used = true
		if o.system {
			continue
		}
		if mode := f.Mode.ObjectMode(); mode != objectMode {
			if err := os.Chmod(o.path, mode); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Staging) addTree(m *record.Manifest, name string) error {
	if err := t.assemble(m, filepath.Join(t.dir, "trees", name)); err != nil {
		return err
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	manifest := filepath.Join(t.dir, "manifests", name)
	if err := os.WriteFile(manifest, b, 0o644); err != nil {
		return err
	}
	return os.Chmod(manifest, 0o644)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// addDefaultLinks stages the links NAME/default, which are the same in every
// generation.
func (t *Staging) addDefaultLinks(manifests []*record.Manifest) error {
	made := map[string]bool{}
	for i, m := range manifests {
		to := m.Name + "/" + layout.DefaultLink
		if made[m.Name] || exists(t.store.Path(to)) {
			continue
		}
		made[m.Name] = true
		from := fmt.Sprintf("trees/%d-default", i)
		if err := os.Symlink(layout.DefaultLinkTarget(m.Name), filepath.Join(t.dir, from)); err != nil {
			return fmt.Errorf("stage default link: %w", err)
		}
		t.Move(from, to, PhaseData)
	}
	return nil
}

// assemble makes the directories, files and links of a tree at dir.
func (t *Staging) assemble(m *record.Manifest, dir string) error {
	made := map[string]bool{}
	var mkdir func(name string) error
	mkdir = func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		if name != "." {
			if err := mkdir(filepath.Dir(name)); err != nil {
				return err
			}
		}
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	}
	if err := mkdir("."); err != nil {
		return err
	}
	var special []*record.File // directories with an owner or mode of their own
	for i := range m.Files {
		f := &m.Files[i]
		path := filepath.Join(dir, f.Path)
		if f.Type == record.TypeDirectory {
			if err := mkdir(f.Path); err != nil {
				return err
			}
			if f.Mode != 0o755 || f.UID != 0 || f.GID != 0 || len(f.Xattrs) > 0 {
				special = append(special, f)
			}
			continue
		}
		if err := mkdir(filepath.Dir(f.Path)); err != nil {
			return err
		}
		if err := t.place(f, path); err != nil {
			return err
		}
	}
	for _, l := range m.Links {
		if err := mkdir(filepath.Dir(l.Path)); err != nil {
			return err
		}
		if err := os.Symlink(l.Target, filepath.Join(dir, l.Path)); err != nil {
			return err
		}
	}
	for i := len(special) - 1; i >= 0; i-- { // the deepest first: a parent may lose its write bit
		if err := t.setMetadata(filepath.Join(dir, special[i].Path), special[i]); err != nil {
			return err
		}
	}
	return nil
}

// place makes one file of a tree that is no directory.
func (t *Staging) place(f *record.File, path string) error {
	switch f.Type {
	case record.TypeSymlink:
		return os.Symlink(f.Target, path)
	case record.TypeFIFO:
		if err := unix.Mkfifo(path, uint32(f.Mode)); err != nil {
			return fmt.Errorf("make fifo %s: %w", path, err)
		}
		return t.setMetadata(path, f)
	case record.TypeFile:
		return t.placeFile(f, path)
	}
	return fmt.Errorf("file %s has the unknown type %q", f.Path, f.Type)
}

// placeFile links a file to its object, or copies it where it needs an inode of
// its own: metadata is never shared by accident.
func (t *Staging) placeFile(f *record.File, path string) error {
	if f.Shared == record.SharedLink {
		return t.placeShared(f, path)
	}
	object, err := t.path(f.Object)
	if err != nil {
		return err
	}
	info, err := os.Lstat(object)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	// The object may be a file of the distribution's, with an owner or a setuid bit.
	f.Own = !f.Mode.Shareable() || info.Mode() != f.Mode.ObjectMode() || len(f.Xattrs) > 0 || t.owner && (f.UID != 0 || f.GID != 0 || !belongsTo(info, f.UID))
	if !f.Own {
		err := os.Link(object, path)
		if err == nil || !errors.Is(err, unix.EMLINK) {
			return err
		}
		f.Own = true
	}
	if err := copyFile(object, path); err != nil {
		return err
	}
	return t.setMetadata(path, f)
}

// placeShared links a file of a system tree to the distribution's own: where a
// process loads it by both names, the loader sees that it is one library.
func (t *Staging) placeShared(f *record.File, path string) error {
	if err := os.Link(f.System, path); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	path, err = t.path(f.Object)
	if err != nil {
		return err
	}
	object, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("use object: %w", err)
	}
	f.Own = !os.SameFile(info, object)
	return nil
}

func belongsTo(info fs.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

func setTime(path string) error {
	when := time.Unix(ObjectTime, 0)
	return os.Chtimes(path, when, when)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// setMetadata gives a file of its own its owner, mode, attributes and time, in
// the order in which none undoes another: chown drops the setuid bit. A user
// without root cannot give files away, and then a setuid bit would make the
// program run as that user, which the package does not mean: it is left out.
func (t *Staging) setMetadata(path string, f *record.File) error {
	mode := uint32(f.Mode)
	if t.owner {
		if err := os.Lchown(path, f.UID, f.GID); err != nil {
			return err
		}
	} else {
		mode &^= 0o6000
	}
	for name, value := range f.Xattrs {
		if err := unix.Lsetxattr(path, name, value, 0); err != nil && t.owner {
			return fmt.Errorf("set attribute %s of %s: %w", name, path, err)
		}
	}
	if f.Type == record.TypeDirectory && !t.owner {
		mode |= 0o700 // else the user could not remove what is in it
	}
	if err := unix.Chmod(path, mode); err != nil {
		return fmt.Errorf("set mode of %s: %w", path, err)
	}
	if f.Type == record.TypeFile {
		return setTime(path)
	}
	return nil
}
