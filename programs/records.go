package programs

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// RecordStore keeps the records of edited programs.
type RecordStore interface {
	// Edits returns the record of a package's edited programs; an empty one when
	// none was edited.
	Edits(key pkginfo.Key) (*record.PackageEdits, error)
	// SetEdits replaces records, and has made that durable when it returns.
	SetEdits(edits []*record.PackageEdits) error
}

// Records are those of some packages, as they were read, and what has changed of
// them since.
type Records struct {
	store   RecordStore
	edits   map[pkginfo.Key]*record.PackageEdits
	changed map[pkginfo.Key]bool
}

// ReadRecords reads the records of packages, by their keys.
func ReadRecords(store RecordStore, keys []pkginfo.Key) (*Records, error) {
	r := &Records{store: store, edits: make(map[pkginfo.Key]*record.PackageEdits, len(keys)), changed: map[pkginfo.Key]bool{}}
	for _, key := range keys {
		edits, err := store.Edits(key)
		if err != nil {
			return nil, err
		}
		r.edits[key] = edits
	}
	return r, nil
}

// Of returns a copy of the record of a package's program; nil for none.
func (r *Records) Of(key pkginfo.Key, path string) *record.EditedFile {
	if edits := r.edits[key]; edits != nil {
		if i, found := search(edits.Files, path); found {
			f := edits.Files[i]
			return &f
		}
	}
	return nil
}

func search(files []record.EditedFile, path string) (int, bool) {
	return slices.BinarySearchFunc(files, path, func(f record.EditedFile, p string) int { return cmp.Compare(f.Path, p) })
}

// set puts a program's record in place of what there is; nil takes that away.
func (r *Records) set(p *Program, f *record.EditedFile) {
	key := p.Package.Key
	edits := r.edits[key]
	if edits == nil {
		edits = &record.PackageEdits{Layout: layout.FormatVersion, Key: key}
		r.edits[key] = edits
	}
	edits.Package = p.Package.Name
	r.changed[key] = true
	i, found := search(edits.Files, p.Path)
	switch {
	case f == nil && found:
		edits.Files = slices.Delete(edits.Files, i, i+1)
	case f == nil:
	case found:
		edits.Files[i] = *f
	default:
		edits.Files = slices.Insert(edits.Files, i, *f)
	}
}

// write makes durable what has changed.
func (r *Records) write() error {
	var list []*record.PackageEdits
	for _, key := range sortedKeys(r.changed) {
		list = append(list, r.edits[key])
	}
	if len(list) == 0 {
		return nil
	}
	if err := r.store.SetEdits(list); err != nil {
		return err
	}
	clear(r.changed)
	return nil
}

// begun is the record of a program while the desired edit takes the place of the one
// that it has: it may have either.
func begun(d *Decision) *record.EditedFile {
	f := &record.EditedFile{Path: d.Path, Source: d.Source, Restored: d.Restore}
	for _, a := range []*record.AppliedEdit{d.Desired, d.Current} {
		if a != nil {
			f.Applied = append(f.Applied, *a)
		}
	}
	return f
}

// ended is the record of a program for its outcome; nil when there is nothing to be
// kept. A program that failed may have either of its edits.
func ended(o *Outcome) *record.EditedFile {
	f := begun(o.Decision)
	switch o.State {
	case Failed:
		return f
	case Edited, Restored:
		f.Applied = applied(o.Desired)
	default:
		f.Applied = applied(o.Current)
		f.Restored = o.Record != nil && o.Record.Restored
	}
	if len(f.Applied) == 0 && !f.Restored {
		return nil
	}
	return f
}

func applied(a *record.AppliedEdit) []record.AppliedEdit {
	if a == nil {
		return nil
	}
	return []record.AppliedEdit{*a}
}

// FollowMoved gives records the paths that their programs have now: dpkg-divert
// renames files of packages. Prune writes them.
func (r *Records) FollowMoved(root *sysroot.Root, list []*Program) {
	type name struct {
		key  pkginfo.Key
		path string
	}
	here := map[name]bool{}
	for _, p := range list {
		here[name{p.Package.Key, p.Path}] = true
	}
	for _, p := range list {
		edits := r.edits[p.Package.Key]
		if edits == nil || r.Of(p.Package.Key, p.Path) != nil {
			continue
		}
		for _, f := range edits.Files {
			moved := f
			moved.Path = p.Path
			if here[name{p.Package.Key, f.Path}] || !HasEdit(root, &moved) {
				continue
			}
			r.set(&Program{Package: p.Package, Path: f.Path}, nil)
			r.set(p, &moved)
			break
		}
	}
}

// Prune takes away what is recorded of files that have none of the recorded edits any
// more, but for those that outcomes need: their package brought them again, or dropped
// them. That the package manager's list does not name one says nothing: the list may
// be lost, and the edit could never be proved and undone again.
func (r *Records) Prune(root *sysroot.Root, outcomes []Outcome) error {
	type name struct {
		key  pkginfo.Key
		path string
	}
	needed := map[name]bool{}
	for _, o := range outcomes {
		if o.State == Left || o.State == Failed || o.Current != nil || o.Desired != nil || o.Record != nil && o.Record.Restored {
			needed[name{o.Package.Key, o.Path}] = true
		}
	}
	for key, edits := range r.edits {
		before := len(edits.Files)
		edits.Files = slices.DeleteFunc(edits.Files, func(f record.EditedFile) bool {
			return !needed[name{key, f.Path}] && !HasEdit(root, &f)
		})
		if len(edits.Files) != before {
			r.changed[key] = true
		}
	}
	return r.write()
}

// HasEdit reports whether a file has one of its recorded edits.
func HasEdit(root *sysroot.Root, f *record.EditedFile) bool {
	place, err := root.Find(f.Path)
	if err != nil {
		return false
	}
	defer place.Close()
	file, err := place.Dir.OpenFile(place.Base, 0, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	edited := false
	err = mapped.File(file, func(data []byte) error {
		edited = f.With(digest.Of(data)) != nil
		return nil
	})
	return err == nil && edited
}

// sortedKeys returns the keys of a map of packages, in the order of their texts.
func sortedKeys[V any](m map[pkginfo.Key]V) []pkginfo.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b pkginfo.Key) int { return strings.Compare(a.String(), b.String()) })
}
