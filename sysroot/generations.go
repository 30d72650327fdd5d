package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// ErrNoActive is returned (wrapped) when there are generations and none of them is
// active, because the link is lost or leads nowhere, or something else is in its place.
var ErrNoActive = errors.New("no generation is active")

// ErrNoGeneration is returned (wrapped) for a generation that is not there.
var ErrNoGeneration = errors.New("no such generation")

// maxRecord bounds a record; that of a large system has a few megabytes.
const maxRecord = 256 << 20

// Active returns the generation that current-system leads to. In a root without
// one it is an empty generation with ID 0, whose architecture is the root's.
func (r *Root) Active() (*record.Generation, error) {
	if ok, err := r.Exists(); err != nil {
		return nil, err
	} else if ok {
		id, err := r.store.Active()
		if errors.Is(err, store.ErrNoLink) {
			return nil, fmt.Errorf("%w: %w", ErrNoActive, err)
		}
		if err != nil {
			return nil, err
		}
		if id != 0 {
			g, err := r.Generation(id)
			if errors.Is(err, ErrNoGeneration) {
				return nil, advice.Errorf("%w: %s leads to generation %d, which is not there; run hashpkg rollback N, with an N that hashpkg generations lists",
					ErrNoActive, r.store.Path(layout.CurrentSystem), id)
			}
			return g, err
		}
		if ids, err := r.Generations(); err != nil {
			return nil, err
		} else if len(ids) > 0 {
			return nil, advice.Errorf("%w: %s is lost; run hashpkg rollback %d for the newest", ErrNoActive, r.store.Path(layout.CurrentSystem), ids[len(ids)-1])
		}
	}
	arch, err := r.Architecture()
	if err != nil {
		return nil, err
	}
	return &record.Generation{Layout: layout.FormatVersion, Architecture: arch, Orders: r.formats.Orders()}, nil
}

// Generation reads one generation.
func (r *Root) Generation(id int) (*record.Generation, error) {
	dir, err := r.store.Dir().OpenDir(layout.GenerationPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noGeneration(id)
	}
	if err != nil {
		return nil, fmt.Errorf("read generation: %w", err)
	}
	defer dir.Close()
	text, err := dir.ReadFile(layout.GenerationFile, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noGeneration(id)
	}
	if err != nil {
		return nil, fmt.Errorf("read generation: %w", err)
	}
	g, err := decode(dir, text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir.Path(layout.GenerationFile), err)
	}
	if g.ID != id {
		return nil, fmt.Errorf("read %s: it is the record of generation %d", dir.Path(layout.GenerationFile), g.ID)
	}
	g.Orders = r.formats.Orders()
	return g, nil
}

// GenerationRecord is a generation's record as a repair finds it.
type GenerationRecord struct {
	Generation *record.Generation // nil when nothing can be made of it
	Fault      string             // what is wrong with the record; "" for nothing
	// Text is the record as it was written; when Fault is not "", it was made from the index.
	Text []byte
	// StaleIndex: the index is missing, damaged or made from another record.
	StaleIndex bool
	// Other is another record of the same generation, that the index was made from: hashpkg
	// changes neither, and so one of them is damaged. OtherText is as it was written.
	Other     *record.Generation
	OtherText []byte
}

// InspectGeneration reads a generation's record, and one that is lost or damaged by its
// index. The error is a fault of the disk.
func (r *Root) InspectGeneration(id int) (*GenerationRecord, error) {
	dir, err := r.store.Dir().OpenDir(layout.GenerationPath(id))
	if err != nil {
		return &GenerationRecord{Fault: "cannot be read: " + err.Error()}, nil
	}
	defer dir.Close()
	found := &GenerationRecord{}
	index, indexErr := dir.ReadFile(layout.IndexFile, maxRecord)
	text, err := dir.ReadFile(layout.GenerationFile, maxRecord)
	var g *record.Generation
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found.Fault = "is missing"
	case err == nil:
		if g, err = record.DecodeGeneration(text); err == nil && g.ID != id {
			err = fmt.Errorf("it is the record of generation %d", g.ID)
		}
		fallthrough
	default:
		if err != nil {
			found.Fault = "cannot be read: " + err.Error()
		}
	}
	if found.Fault == "" {
		_, err := record.DecodeIndex(index, text)
		found.StaleIndex = indexErr != nil || err != nil
		found.Text = text
		if o, text, err := record.Reconstruct(index); found.StaleIndex && indexErr == nil && err == nil && o.ID == id {
			o.Orders = r.formats.Orders()
			found.Other, found.OtherText = o, text
		}
	} else if g, text, err = record.Reconstruct(index); indexErr == nil && err == nil && g.ID == id {
		found.Text = text
	} else {
		return found, nil
	}
	g.Orders = r.formats.Orders()
	found.Generation = g
	return found, nil
}

func noGeneration(id int) error {
	return advice.Errorf("%w: %d; hashpkg generations lists those that are there", ErrNoGeneration, id)
}

// decode reads a generation's record, by its index where there is one. The record
// is the truth: the index may be missing or made from another one.
func decode(dir *beneath.Dir, text []byte) (*record.Generation, error) {
	if index, err := dir.ReadFile(layout.IndexFile, maxRecord); err == nil {
		if g, err := record.DecodeIndex(index, text); err == nil {
			return g, nil
		}
	}
	return record.DecodeGeneration(text)
}

// Generations returns the numbers of all generations, oldest first.
func (r *Root) Generations() ([]int, error) {
	entries, err := r.store.Dir().ReadDir(layout.GenerationsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var ids []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil && id > 0 && layout.GenerationPath(id) == layout.GenerationsDir+"/"+e.Name() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Switch makes a generation the active one, by one rename, and makes that
// durable. scratch is a directory on the same file system for the new link. The
// caller has the lock. What is no link in the link's place is not replaced: the error wraps
// [store.ErrNoLink].
func (r *Root) Switch(id int, scratch *beneath.Dir) error {
	fail := func(err error) error { return fmt.Errorf("switch to generation %d: %w", id, err) }
	if st, err := r.store.Dir().Lstat(layout.CurrentSystem); err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return fail(fmt.Errorf("%s is not a link: %w", r.store.Path(layout.CurrentSystem), store.ErrNoLink))
	}
	if err := scratch.RemoveIfThere(layout.CurrentSystem); err != nil {
		return fail(err)
	}
	if err := scratch.Symlink(layout.GenerationPath(id), layout.CurrentSystem); err != nil {
		return fail(err)
	}
	if err := r.store.Dir().Rename(scratch, layout.CurrentSystem, layout.CurrentSystem); err != nil {
		return fail(err)
	}
	if err := r.store.SyncDir("."); err != nil {
		return fmt.Errorf("switched to generation %d, but a power cut might undo it: %w", id, err)
	}
	return nil
}
