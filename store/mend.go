package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// A repair puts single names in place, each by one rename of something that is whole
// and durable. It needs no journal: killed between two of them, it has mended some
// names and not the others, and none is worse than it was.

// Spare stages bytes that may take the place of a damaged object, and keeps them if
// their digest is wanted.
func (t *Staging) Spare(r io.Reader, wanted func(digest.Digest) bool) (d digest.Digest, kept bool, err error) {
	name := t.newName()
	d, err = t.writeSpare(r, name)
	if err == nil && wanted(d) && t.spare[d] == "" {
		if t.spare == nil {
			t.spare = map[digest.Digest]string{}
		}
		t.spare[d] = name
		return d, true, nil
	}
	if rerr := t.files.RemoveIfThere(name); rerr != nil {
		err = errors.Join(err, rerr)
	}
	return d, t.spare[d] != "", err
}

func (t *Staging) writeSpare(r io.Reader, name string) (d digest.Digest, err error) {
	f, err := t.files.OpenFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, stagedMode)
	if err != nil {
		return d, fmt.Errorf("stage file: %w", err)
	}
	h := digest.New()
	_, err = io.Copy(io.MultiWriter(f, h), struct{ io.Reader }{r})
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("stage file: %w", cerr)
	}
	return digest.Sum(h), err
}

// SpareShared is Spare for a file of the distribution, an absolute path in the root, that
// the object may be. It reports whether the file has these bytes and can have another
// name: one that runs as somebody else must not.
func (t *Staging) SpareShared(file string, want digest.Digest) (bool, error) {
	name, err := t.linkSystem(file, want)
	if err != nil || name == "" {
		return false, err
	}
	if t.spare == nil {
		t.spare = map[digest.Digest]string{}
	}
	t.spare[want] = name
	return true, nil
}

// linkSystem gives a file of the distribution another name among the staged objects; ""
// when it has other bytes, is not there, or cannot have one.
func (t *Staging) linkSystem(file string, want digest.Digest) (string, error) {
	dir, base, err := t.find(file)
	if isAbsent(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("share %s: %w", file, err)
	}
	defer dir.Close()
	st, err := dir.Lstat(base)
	if isAbsent(err) || err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&setID != 0) {
		return "", nil
	}
	name := ""
	if err == nil {
		name, err = t.link(dir, base, identityOf(&st))
	}
	if err != nil || name == "" {
		return "", err
	}
	found, err := verifyContent(t.files, name, want, DamageObjectBytes)
	if err == nil && found.what == "" {
		return name, nil
	}
	return "", errors.Join(err, t.files.Remove(name))
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, beneath.ErrLink)
}

// MapSpare calls f with the bytes of a spare, as Map does.
func (t *Staging) MapSpare(d digest.Digest, f func([]byte) error) error {
	name := t.spare[d]
	if name == "" {
		return fmt.Errorf("object %s: %w", d, fs.ErrNotExist)
	}
	return mapFile(t.files, name, f)
}

// NewObject says what an object shall be like.
type NewObject struct {
	Digest digest.Digest
	Mode   fs.FileMode // of one that is not the distribution's own file
	Shared bool        // it was made by SpareShared, and has the metadata that it has
}

// PutObjects puts spares in the place of objects. aside moves away what stands there and
// no rename replaces: a directory.
func (t *Staging) PutObjects(objects []NewObject, aside func(name string) error) error {
	fail := func(err error) error { return fmt.Errorf("replace object: %w", err) }
	for _, o := range objects {
		name := t.spare[o.Digest]
		if name == "" {
			return fail(fmt.Errorf("%s: %w", o.Digest, fs.ErrNotExist))
		}
		if o.Shared {
			continue
		}
		if err := t.files.Chmod(name, uint32(o.Mode)); err != nil {
			return fail(err)
		}
		if err := t.files.SetTimes(name, objectTimes); err != nil {
			return fail(err)
		}
	}
	if err := t.store.Sync(); err != nil {
		return err
	}
	for _, o := range objects {
		to := layout.ObjectPath(o.Digest)
		if err := t.store.dir.MkdirAll(path.Dir(to), 0o755); err != nil {
			return fail(err)
		}
		if err := t.Put("objects/"+t.spare[o.Digest], to, aside); err != nil {
			return fail(err)
		}
		delete(t.spare, o.Digest)
	}
	t.stored.close()
	return t.store.Sync()
}

// Put gives a name of the staging directory the name to below the prefix, in one step
// where the file system can. What stands there and is a directory, or makes way for
// one, is moved away by aside.
func (t *Staging) Put(from, to string, aside func(name string) error) error {
	staged, err := t.dir.Lstat(from)
	if err != nil {
		return err
	}
	old, err := t.store.dir.Lstat(to)
	isDir := func(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t.store.dir.RenameNew(t.dir, from, to)
	case err != nil:
		return err
	case !isDir(&staged) && !isDir(&old):
		return t.store.dir.Rename(t.dir, from, to)
	}
	err = t.store.dir.Exchange(t.dir, from, to)
	if err == nil {
		return aside(t.name + "/" + from)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !noLink(err) {
		return err
	}
	if err := aside(to); err != nil {
		return err
	}
	return t.store.dir.RenameNew(t.dir, from, to)
}

// PutRecord puts a record in place below the prefix, whole and durable.
func (t *Staging) PutRecord(to string, b []byte, aside func(name string) error) error {
	temp, err := t.dir.StageFile("manifests/record", b, 0o644)
	if err == nil {
		err = t.store.Sync()
	}
	if err == nil {
		err = t.store.dir.MkdirAll(path.Dir(to), 0o755)
	}
	if err == nil {
		err = t.Put(temp, to, aside)
	}
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return t.store.SyncDir(path.Dir(to))
}

// PutLink puts a link in place below the prefix.
func (t *Staging) PutLink(target, to string, aside func(name string) error) error {
	from := "trees/link" + t.newName()
	err := t.dir.Symlink(target, from)
	if err == nil {
		err = t.store.dir.MkdirAll(path.Dir(to), 0o755)
	}
	if err == nil {
		err = t.Put(from, to, aside)
	}
	if err != nil {
		return fmt.Errorf("put back link: %w", err)
	}
	return nil
}

// Mend makes paths of a tree, each with all that is below it, from the objects of the
// store, and puts them in place; "." is the whole tree. Files for whose objects has is
// false are left out. aside moves away what is in the way, which is at a name below the
// prefix and stood at a path of the tree.
func (t *Staging) Mend(m *record.Manifest, paths []string, has func(*record.File) bool, aside func(name, path string) error) error {
	err := t.mend(m, paths, has, aside)
	if err != nil {
		err = fmt.Errorf("mend tree of %s: %w", m.Spec(), err)
	}
	return err
}

func (t *Staging) mend(m *record.Manifest, paths []string, has func(*record.File) bool, aside func(name, path string) error) error {
	wanted := map[string]bool{}
	for _, p := range paths {
		wanted[p] = true
	}
	below := func(p string) bool {
		for ; p != "." && !wanted[p]; p = path.Dir(p) {
		}
		return wanted[p]
	}
	part := *m
	part.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f record.File) bool {
		return !below(f.Path) || f.Type == record.TypeFile && !has(&f)
	})
	part.Links = slices.DeleteFunc(slices.Clone(m.Links), func(l record.Link) bool { return !below(l.Path) })
	made := "trees/mend" + t.newName()
	if err := t.assemble(&part, made, t.placeAgain); err != nil {
		return err
	}
	if err := t.store.Sync(); err != nil {
		return err
	}
	for _, p := range paths {
		from, to := made, layout.TreePath(m.Name, m.Tree)
		if p != "." {
			from, to = from+"/"+p, to+"/"+p
		} else if err := t.store.dir.MkdirAll(path.Dir(to), 0o755); err != nil {
			return err
		}
		if !t.dir.Exists(from) { // all that was to be there was left out
			continue
		}
		if err := t.Put(from, to, func(name string) error { return aside(name, p) }); err != nil {
			return err
		}
	}
	return nil
}

// MendDirectory gives a directory of a tree its owner, mode and attributes.
func (t *Staging) MendDirectory(m *record.Manifest, f *record.File) error {
	top, err := t.store.dir.OpenDir(layout.TreePath(m.Name, m.Tree))
	if err == nil {
		err = errors.Join(t.setMetadata(top, f.Path, f), top.Close())
	}
	if err != nil {
		return fmt.Errorf("mend tree of %s: %w", m.Spec(), err)
	}
	return nil
}

// placeAgain makes a file as its manifest says that it was made before: whether it has an
// inode of its own is not decided again.
func (t *Staging) placeAgain(f *record.File, dir *beneath.Dir, base string) error {
	if f.Type != record.TypeFile {
		return t.place(f, dir, base)
	}
	if f.Shared == record.SharedLink {
		place := "/" + f.Path
		if f.Place != "" {
			place = f.Place
		}
		name, err := t.linkSystem(place, f.Object)
		if err != nil {
			return err
		}
		if name != "" {
			return dir.Rename(t.files, name, base)
		}
	}
	objects, object, err := t.stored.at(f.Object)
	if err != nil {
		return err
	}
	if !f.Own || f.Shared == record.SharedLink {
		if err := dir.Link(objects, object, base); err == nil || !errors.Is(err, unix.EMLINK) {
			return err
		}
	}
	if err := copyFile(objects, object, dir, base); err != nil {
		return err
	}
	if f.Own && f.Shared != record.SharedLink {
		return t.setMetadata(dir, base, f)
	}
	if err := dir.Chmod(base, uint32(f.Mode.ObjectMode())); err != nil {
		return err
	}
	return dir.SetTimes(base, objectTimes)
}

// OwnInode reports whether a file of a new tree has an inode of its own, and is no link
// to the store's object: see [record.File].
func (s *Store) OwnInode(f *record.File, asRoot bool) bool {
	st, err := s.dir.Lstat(layout.ObjectPath(f.Object))
	mode, uid := unix.S_IFREG|uint32(f.Mode.ObjectMode()), 0
	if err == nil {
		mode, uid = st.Mode, int(st.Uid)
	}
	return needsOwn(f, mode, uid, asRoot)
}

func needsOwn(f *record.File, objectMode uint32, objectUID int, asRoot bool) bool {
	// The object may be a file of the distribution's, with an owner of its own.
	return !f.Mode.Shareable() || objectMode != unix.S_IFREG|uint32(f.Mode.ObjectMode()) || len(f.Xattrs) > 0 ||
		asRoot && (f.UID != 0 || f.GID != 0 || objectUID != f.UID)
}

// StrayTrees returns the paths of directories that stand where trees do, of packages that
// have or had trees, and have no manifest. They are sorted.
func (s *Store) StrayTrees() ([]string, error) {
	entries, err := s.dir.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list trees: %w", err)
	}
	var stray []string
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || layout.CheckName(name) != nil {
			continue
		}
		target, err := s.dir.Readlink(name + "/" + layout.DefaultLink)
		isOurs := err == nil && target == layout.DefaultLinkTarget(name)
		if !isOurs && !s.dir.Exists(layout.ManifestsDir+"/"+name) {
			continue // somebody else's
		}
		trees, err := s.dir.ReadDir(name)
		if err != nil {
			return nil, fmt.Errorf("list trees: %w", err)
		}
		for _, t := range trees {
			if t.IsDir() && !s.dir.Exists(layout.ManifestPath(name, t.Name())) {
				stray = append(stray, layout.TreePath(name, t.Name()))
			}
		}
	}
	return stray, nil
}
