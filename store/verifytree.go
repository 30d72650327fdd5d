package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Copy is a file that has its object's bytes, and a place of its own on the disk, as in
// a store that was copied without its hard links.
type Copy struct {
	File *record.File
	Size int64 // in bytes
}

// Tree compares one tree's names, links and metadata with its manifest. Its objects
// were read by [Store.Check]. It returns what is damaged, by path, and which files
// are copies that could be links.
func (v *Check) Tree(m *record.Manifest) ([]Damage, []Copy, error) {
	damaged, copies, err := v.verifyTree(m)
	if err != nil {
		err = fmt.Errorf("verify tree of %s: %w", m.Spec(), err)
	}
	return damaged, copies, err
}

func (v *Check) verifyTree(m *record.Manifest) (damaged []Damage, copies []Copy, err error) {
	name := layout.TreePath(m.Name, m.Tree)
	top, err := v.store.dir.OpenDir(name)
	if v.mayPass(err) {
		v.unread = append(v.unread, v.store.Path(name))
		return nil, nil, nil
	}
	if err != nil {
		what := "the tree is missing"
		switch {
		case errors.Is(err, beneath.ErrLink):
			what = "the tree is missing: a link is in its place, or on the way to it"
		case errors.Is(err, unix.ENOTDIR):
			what = "the tree is missing: what is in its place is not a directory"
		case !errors.Is(err, fs.ErrNotExist):
			return nil, nil, err
		}
		return []Damage{{Kind: DamageTreeMissing, Package: m.Spec(), Tree: name, Path: v.store.Path(name), What: what}}, nil, nil
	}
	defer top.Close()
	report := func(file *record.File, p string, found fault) {
		d := Damage{Kind: found.kind, Package: m.Spec(), Tree: name, File: p, Path: top.Path(p), What: found.what}
		if file != nil {
			d.Object = file.Object
		}
		damaged = append(damaged, d)
	}
	known := map[string]bool{".": true}
	know := func(p string) {
		for ; !known[p]; p = path.Dir(p) {
			known[p] = true
		}
	}
	within := cursor{top: top}
	defer within.close()
	closed := map[string]bool{} // what may not be read
	defer func() {
		for _, p := range slices.Sorted(maps.Keys(closed)) {
			v.unread = append(v.unread, top.Path(p))
		}
	}()
	for i := range m.Files {
		f := &m.Files[i]
		know(f.Path)
		found, copied, err := v.verifyFile(f, &within)
		if v.mayPass(err) || f.Type == record.TypeFile && v.closed[f.Object] {
			closed[closedAt(top, f.Path)] = true
			continue
		}
		if err != nil {
			return damaged, copies, err
		}
		if copied {
			copies = append(copies, Copy{f, f.Size})
		}
		if found.what != "" {
			report(f, f.Path, found)
		}
	}
	for _, l := range m.Links {
		know(l.Path)
		found, err := verifyLink(l.Path, l.Target, &within)
		if v.mayPass(err) {
			closed[closedAt(top, l.Path)] = true
			continue
		}
		if err != nil {
			return damaged, copies, err
		}
		if found.what != "" {
			report(nil, l.Path, found)
		}
	}
	var unread func(string)
	if v.passes {
		unread = func(p string) { closed[p] = true }
	}
	err = top.WalkPast(".", func(p string, _ *beneath.Dir, _ string, _ fs.FileMode) error {
		if !known[p] {
			report(nil, p, fault{DamageFileUnknown, "is not in the manifest"})
		}
		return nil
	}, unread)
	slices.SortFunc(damaged, func(a, b Damage) int { return strings.Compare(a.Path, b.Path) })
	return damaged, copies, err
}

// closedAt returns the directory on the way to a name of a tree that may not be searched, or
// the name itself.
func closedAt(top *beneath.Dir, name string) string {
	for i, c := range name + "/" {
		if c == '/' {
			if _, err := top.Lstat(name[:i]); errors.Is(err, fs.ErrPermission) {
				return path.Dir(name[:i])
			}
		}
	}
	return name
}

// absent says what an error of looking up a name in a tree means; the error comes
// back when it is another one. missing is the kind for a name that is not there.
func absent(err error, missing DamageKind) (fault, error) {
	switch {
	case errors.Is(err, beneath.ErrLink):
		return fault{DamageFileType, "is missing: a link is on the way to it"}, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fault{missing, "is missing"}, nil
	}
	return fault{}, err
}

func verifyLink(name, target string, within *cursor) (fault, error) {
	dir, base, err := within.at(name)
	have := ""
	if err == nil {
		have, err = dir.Readlink(base)
	}
	switch {
	case errors.Is(err, unix.EINVAL):
		return fault{DamageLink, "is not a link"}, nil
	case err != nil:
		return absent(err, DamageLink)
	case have != target:
		return fault{DamageLink, fmt.Sprintf("leads to %s, and should lead to %s", have, target)}, nil
	}
	return fault{}, nil
}

// verifyFile checks one file of a tree. It reports whether it is a copy that could be a
// link.
func (v *Check) verifyFile(f *record.File, within *cursor) (found fault, copied bool, err error) {
	if f.Type == record.TypeSymlink {
		found, err = verifyLink(f.Path, f.Target, within)
		return found, false, err
	}
	dir, base, err := within.at(f.Path)
	var st unix.Stat_t
	if err == nil {
		st, err = dir.Lstat(base)
	}
	if err != nil {
		found, err = absent(err, DamageFileMissing)
		return found, false, err
	}
	kind, what := uint32(unix.S_IFREG), "is not a regular file"
	switch f.Type {
	case record.TypeDirectory:
		kind, what = unix.S_IFDIR, "is not a directory"
	case record.TypeFIFO:
		kind, what = unix.S_IFIFO, "is not a named pipe"
	}
	switch {
	case st.Mode&unix.S_IFMT != kind:
		return fault{DamageFileType, what}, false, nil
	case f.Type == record.TypeDirectory:
		return fault{DamageFileMetadata, v.wrongDirectory(f, dir, base, &st)}, false, nil
	case f.Type != record.TypeFile:
		return fault{}, false, nil
	}
	v.mu.Lock()
	found = v.faults[f.Object]
	v.mu.Unlock()
	if found.what != "" {
		return found, false, nil
	}
	found, copied, err = v.verifyRegular(f, dir, base, &st)
	if err == nil && found.what == "" {
		if what := v.Edit(f); what != "" {
			found = fault{DamageEdit, what}
		}
	}
	return found, copied, err
}

// wrongDirectory says what is wrong with the owner and mode of a directory. That of a
// user is open to the user, and has no setuid bit.
func (v *Check) wrongDirectory(f *record.File, dir *beneath.Dir, base string, st *unix.Stat_t) string {
	if v.owned {
		return wrongMetadata(f, dir, base, st)
	}
	if have, want := record.Mode(st.Mode&0o777), f.Mode&0o777|0o700; have != want {
		return wrongMode(have, want)
	}
	return ""
}

func wrongMode(have, want record.Mode) string {
	return fmt.Sprintf("has mode %v, and should have %v", have, want)
}

// verifyRegular checks a regular file of a tree whose object is whole.
func (v *Check) verifyRegular(f *record.File, dir *beneath.Dir, base string, st *unix.Stat_t) (found fault, copied bool, err error) {
	shared := f.Shared == record.SharedLink // its metadata are the distribution's
	if f.Own && !shared {
		found, err = v.verifyOwn(f, dir, base, st)
		return found, false, err
	}
	switch have, want := record.Mode(st.Mode&0o7777), record.Mode(f.Mode.ObjectMode()); {
	case shared && st.Mode&setID != 0:
		return fault{DamageFileMetadata, "would run as somebody else: it has a setuid or setgid bit"}, false, nil
	case shared:
	case have != want:
		return fault{DamageFileMetadata, wrongMode(have, want)}, false, nil
	case v.owned && st.Uid != 0:
		// Its owner could change it. Its group may do no more than others.
		return fault{DamageFileMetadata, wrongOwner(st.Uid)}, false, nil
	}
	objects, object, err := v.objects.at(f.Object)
	var of unix.Stat_t
	if err == nil {
		of, err = objects.Lstat(object)
	}
	if err == nil && st.Dev == of.Dev && st.Ino == of.Ino {
		return fault{}, false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that would be replaced is not there in a dry run
		return fault{}, false, err
	}
	found, err = verifyContent(dir, base, f.Object, DamageFileBytes) // a copy, as a restored backup has it
	return found, found.what == "" && st.Nlink == 1 && !f.Own, err
}

// verifyOwn checks a file that has an inode of its own, whose metadata only root
// can have given it.
func (v *Check) verifyOwn(f *record.File, dir *beneath.Dir, base string, st *unix.Stat_t) (fault, error) {
	if st.Size != f.Size {
		return fault{DamageFileBytes, wrongSize(st.Size, f.Size)}, nil
	}
	if v.owned {
		if what := wrongMetadata(f, dir, base, st); what != "" {
			return fault{DamageFileMetadata, what}, nil
		}
	}
	return verifyContent(dir, base, f.Object, DamageFileBytes)
}

func wrongMetadata(f *record.File, dir *beneath.Dir, base string, st *unix.Stat_t) string {
	if have := record.Mode(st.Mode & 0o7777); have != f.Mode {
		return wrongMode(have, f.Mode)
	}
	if int(st.Uid) != f.UID || int(st.Gid) != f.GID {
		return fmt.Sprintf("belongs to user %d and group %d, and should belong to user %d and group %d", st.Uid, st.Gid, f.UID, f.GID)
	}
	for name, want := range f.Xattrs {
		have, err := dir.Xattr(base, name, len(want))
		if err != nil || string(have) != string(want) {
			return "lacks the attribute " + name + ", or has it with another value"
		}
	}
	return ""
}

// ownedByRoot reports whether root keeps the store, and runs hashpkg. In a user's
// own, files have the user as owner, and no setuid bit.
func (s *Store) ownedByRoot() (bool, error) {
	st, err := s.dir.Lstat(layout.ObjectsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Uid == 0 && os.Geteuid() == 0, err
}
