package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
)

// Verify reads every file of the trees and compares it with the manifests. It
// returns the number of files looked at and what is damaged, in the manifests'
// order. progress, if not nil, is called with the number of bytes read so far, from any goroutine. An
// error is one of ctx, or of the medium where nothing is said of a single file.
func (s *Store) Verify(ctx context.Context, manifests []*record.Manifest, progress func(bytes int64)) (int, []Damage, error) {
	c, err := s.Check(ctx, manifests, progress)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	checked := 0
	damaged := []Damage{}
	for _, m := range manifests {
		if err := ctx.Err(); err != nil {
			return checked, damaged, err
		}
		found, _, err := c.Tree(m)
		if err != nil {
			return checked, damaged, err
		}
		checked += len(m.Files) + len(m.Links)
		damaged = append(damaged, found...)
	}
	return checked, damaged, nil
}

// Check is a verification of which the objects were read. Who puts something right
// goes on with it.
type Check struct {
	store   *Store
	objects shards
	owned   bool // root keeps the store, and looks
	mu      sync.Mutex
	faults  map[digest.Digest]fault // of objects
	edits   map[recordedEdit]fault  // of whole objects

	passes bool                   // what may not be read is passed by
	closed map[digest.Digest]bool // objects that may not be read
	unread []string               // paths on the host of files and directories that may not be
}

// recordedEdit is what a manifest says of an edited file: two trees may have one object,
// and one of them another patch.
type recordedEdit struct {
	object, source, packed, records digest.Digest
	oldSize, newSize                int64
}

func editOf(f *record.File) recordedEdit {
	p := f.Patch
	records := digest.New()
	of := func(list []string) {
		fmt.Fprintln(records, len(list))
		for _, s := range list {
			fmt.Fprintln(records, len(s), s)
		}
	}
	for _, e := range f.Edits {
		of([]string{e.Kind})
		of(e.From)
		of(e.To)
	}
	if is := f.ELF; is != nil { // what of it rewrite.Check compares
		of([]string{is.Interpreter, is.Soname, is.RunPath, is.RPath})
		of(is.Needed)
		of([]string{fmt.Sprint(is.Bound)})
	}
	return recordedEdit{f.Object, f.Source, digest.Of(p.Packed), digest.Sum(records), p.OldSize, p.NewSize}
}

// Check reads the objects of the trees. The caller asks Tree for each tree, and closes
// the check.
func (s *Store) Check(ctx context.Context, manifests []*record.Manifest, progress func(bytes int64)) (*Check, error) {
	return s.check(ctx, manifests, progress, false)
}

func (s *Store) check(ctx context.Context, manifests []*record.Manifest, progress func(bytes int64), passes bool) (*Check, error) {
	c := &Check{
		store: s, objects: shards{store: s}, faults: map[digest.Digest]fault{}, edits: map[recordedEdit]fault{},
		passes: passes, closed: map[digest.Digest]bool{},
	}
	err := c.Read(ctx, manifests, progress)
	if err == nil {
		c.owned, err = s.ownedByRoot()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// CheckReadable is Check by one who may not read everything: such files count as whole, and
// Unread has them.
func (s *Store) CheckReadable(ctx context.Context, manifests []*record.Manifest, progress func(bytes int64)) (*Check, error) {
	return s.check(ctx, manifests, progress, true)
}

// Unread returns the files and directories of the trees looked at so far that may not be
// read, by their paths on the host; nil unless CheckReadable made the check.
func (c *Check) Unread() []string { return c.unread }

// Close gives up what the check has open.
func (c *Check) Close() { c.objects.close() }

// Object returns what is wrong with an object of the trees; the kind is "" when
// nothing is.
func (c *Check) Object(d digest.Digest) (kind DamageKind, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.faults[d]
	return found.kind, found.what
}

// Edit says what is wrong with the recorded edit of a file of the trees whose object is
// whole; "" when nothing is, or it has none.
func (c *Check) Edit(f *record.File) string {
	switch {
	case f.Patch != nil:
	case len(f.Edits) > 0:
		return "its record has edits, and no patch that makes them"
	default:
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.edits[editOf(f)].what
}

// ObjectMetadata says what is wrong with the mode or owner of an object that files of this
// mode are links to; "" when nothing is, or it is not there.
func (c *Check) ObjectMetadata(d digest.Digest, mode record.Mode) (string, error) {
	dir, base, err := c.objects.at(d)
	var st unix.Stat_t
	if err == nil {
		st, err = dir.Lstat(base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at object: %w", err)
	}
	switch have, want := record.Mode(st.Mode&0o7777), record.Mode(mode.ObjectMode()); {
	case have != want:
		return wrongMode(have, want), nil
	case c.owned && st.Uid != 0:
		return wrongOwner(st.Uid), nil
	}
	return "", nil
}

func wrongOwner(have uint32) string {
	return fmt.Sprintf("belongs to user %d, and should belong to user 0", have)
}

// Replaced says that an object's bytes are whole now, in a file that is new.
func (c *Check) Replaced(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.faults, d)
	c.objects.close()
}

// Read reads the objects of trees that are new, or have other manifests than before.
func (v *Check) Read(ctx context.Context, manifests []*record.Manifest, progress func(bytes int64)) error {
	used := map[digest.Digest][]*record.File{} // one for each recorded edit, or one
	known := map[recordedEdit]bool{}           // and whether it is of a tree that is prelocated
	var list []digest.Digest
	for _, m := range manifests {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Type != record.TypeFile {
				continue
			}
			files, ok := used[f.Object]
			if !ok {
				list = append(list, f.Object)
			}
			if f.Patch != nil {
				edit := editOf(f)
				prelocated, isKnown := known[edit]
				known[edit] = prelocated || m.Binding.IsPrelocated()
				ok = ok && isKnown
			}
			if !ok {
				used[f.Object] = append(files, f)
			}
		}
	}
	var total int64
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range list {
		if ctx.Err() != nil {
			break
		}
		work.Go(func() error {
			files := used[d]
			found, edits, err := v.verifyObject(files, known)
			closed := v.mayPass(err)
			if err != nil && !closed {
				return fmt.Errorf("verify object: %w", err)
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			v.faults[d], v.closed[d] = found, closed
			maps.Copy(v.edits, edits)
			total += files[0].Size
			if progress != nil {
				progress(total)
			}
			return nil
		})
	}
	return cmp.Or(work.Wait(), ctx.Err())
}

// mayPass reports whether an error is of what may not be read, and is passed by.
func (v *Check) mayPass(err error) bool { return v.passes && errors.Is(err, fs.ErrPermission) }

// verifyObject hashes an object of files and, where they were edited, proves that it is
// the packaged file with the recorded edit. prelocated are the edits of prelocated trees.
func (v *Check) verifyObject(files []*record.File, prelocated map[recordedEdit]bool) (found fault, edits map[recordedEdit]fault, err error) {
	f := files[0]
	dir, base, err := v.objects.at(f.Object)
	var st unix.Stat_t
	if err == nil {
		st, err = dir.Lstat(base)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault{DamageObjectMissing, "its object is missing"}, nil, nil
	case err != nil:
		return fault{}, nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fault{DamageObjectBytes, "its object is not a regular file"}, nil, nil
	case st.Size != f.Size:
		return fault{DamageObjectBytes, wrongSize(st.Size, f.Size)}, nil, nil
	}
	if found, err = verifyContent(dir, base, f.Object, DamageObjectBytes); err != nil || found.what != "" {
		return found, nil, err
	}
	edits = map[recordedEdit]fault{}
	for _, f := range files {
		if f.Patch == nil {
			continue
		}
		edit := editOf(f)
		if edits[edit], err = verifyEdit(dir, base, f, prelocated[edit]); err != nil {
			return fault{}, nil, err
		}
	}
	if st.Mode&setID != 0 {
		found = fault{DamageObjectMetadata, "its object would run as somebody else: it has a setuid or setgid bit"}
	}
	return found, edits, nil
}

func wrongSize(have, want int64) string {
	return fmt.Sprintf("has %d bytes, and should have %d", have, want)
}

// verifyEdit undoes the recorded edit of a file, and compares the result with what
// the package had, and what was edited with what the record says of it.
func verifyEdit(dir *beneath.Dir, base string, f *record.File, prelocated bool) (found fault, err error) {
	found.kind = DamageEdit
	edit, err := f.Patch.Edit()
	if err != nil {
		found.what = "its recorded edit cannot be read: " + err.Error()
		return found, nil
	}
	err = mapFile(dir, base, func(b []byte) error {
		original, err := edit.Invert().Apply(b)
		if err != nil {
			found.what = "its recorded edit cannot be undone: " + err.Error()
		} else if digest.Of(original) != f.Source {
			found.what = "undoing its recorded edit does not give the packaged bytes"
		} else if err := rewrite.Check(b, original, f.ELF, f.Edits, prelocated); err != nil {
			found.what = "its record is not of what it is: " + err.Error()
		}
		return nil
	})
	return found, err
}

// verifyContent reads a file and says, as damage of this kind, that it has not the
// digest. What cannot be read for a fault of the medium is damaged too.
func verifyContent(dir *beneath.Dir, base string, want digest.Digest, kind DamageKind) (fault, error) {
	f, _, err := dir.OpenRegular(base)
	if err != nil {
		return fault{}, err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, struct{ io.Reader }{digest.VerifyReader(f, want)})
	switch {
	case errors.Is(err, digest.ErrMismatch):
		return fault{kind, "other bytes: " + err.Error()}, nil
	case errors.Is(err, unix.EIO):
		return fault{kind, "cannot be read: " + err.Error()}, nil
	case err != nil:
		return fault{}, err
	}
	return fault{}, nil
}

// VerifyObjects reads objects, by their names below the prefix, and compares them with
// these. It returns how many there were and which are damaged. progress, if not nil,
// is called with the number of bytes read so far. Those that may not be read are in unread, by
// their paths on the host.
func (s *Store) VerifyObjects(ctx context.Context, names []string, progress func(bytes int64)) (checked int, damaged []Damage, unread []string, err error) {
	within := cursor{top: s.dir}
	defer within.close()
	var read int64
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return checked, damaged, unread, err
		}
		d, err := digest.Parse(path.Base(name))
		if err != nil {
			return checked, damaged, unread, fmt.Errorf("verify object: %w", err)
		}
		dir, base, err := within.at(name)
		var st unix.Stat_t
		if err == nil {
			st, err = dir.Lstat(base)
		}
		found := fault{}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // a writer is at work
		case err != nil:
			return checked, damaged, unread, fmt.Errorf("verify object: %w", err)
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			found = fault{DamageObjectBytes, "is not a regular file"}
		default:
			found, err = verifyContent(dir, base, d, DamageObjectBytes)
			if errors.Is(err, fs.ErrPermission) {
				unread = append(unread, s.Path(name))
				continue
			}
			if err != nil {
				return checked, damaged, unread, fmt.Errorf("verify object: %w", err)
			}
			read += st.Size
		}
		checked++
		if found.what != "" {
			damaged = append(damaged, Damage{Kind: found.kind, Object: d, Path: s.Path(name), What: found.what})
		}
		if progress != nil {
			progress(read)
		}
	}
	return checked, damaged, unread, nil
}
