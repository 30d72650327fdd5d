package transaction

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/store"
)

// packagedFiles has the packaged bytes of installed files: the store's own where it has
// them, else those of an edited copy with the edit undone. Nothing is written for that. It
// implements [packagedBytes].
type packagedFiles struct {
	store  *store.Store
	edited map[digest.Digest][]*record.File // by their packaged bytes, those that these can be had from

	mu    sync.Mutex
	whole map[digest.Digest]bool // objects that were compared with their digest
}

// newPackagedFiles returns those of trees with these manifests; one that could not be read
// is nil.
func newPackagedFiles(s *store.Store, manifests map[string]*record.Manifest) *packagedFiles {
	p := &packagedFiles{store: s, edited: map[digest.Digest][]*record.File{}, whole: map[digest.Digest]bool{}}
	for _, m := range manifests {
		if m == nil {
			continue
		}
		for i := range m.Files {
			f := &m.Files[i]
			if f.Patch != nil && !slices.ContainsFunc(p.edited[f.Source], func(o *record.File) bool { return o.Object == f.Object }) {
				p.edited[f.Source] = append(p.edited[f.Source], f)
			}
		}
	}
	return p
}

// Map calls f with the packaged bytes of a file, which were compared with their digest:
// damage does not go from one tree into another. Where one copy is damaged, another one
// serves.
func (p *packagedFiles) Map(d digest.Digest, f func([]byte) error) error {
	found := false
	var errs []error
	try := func(object digest.Digest, err error) (done bool) {
		if !found && err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("object %s is damaged: %w; run hashpkg verify --repair", object, err))
		}
		return found
	}
	err := p.store.MapObject(d, func(b []byte) error {
		if !p.isWhole(d, b) {
			return digest.ErrMismatch
		}
		found = true
		return f(b)
	})
	if try(d, err) {
		return err
	}
	for _, edited := range p.edited[d] {
		err := p.store.MapObjectPrivate(edited.Object, func(b []byte) error {
			packaged, err := rewrite.UndoIn(b, edited.Patch, d)
			if err != nil {
				return err
			}
			found = true
			return f(packaged)
		})
		if try(edited.Object, err) {
			return err
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("find the packaged bytes %s: %w; run hashpkg verify --repair", d, fs.ErrNotExist)
	}
	return errs[0]
}

// isWhole reports whether bytes have their digest, and computes it once.
func (p *packagedFiles) isWhole(d digest.Digest, b []byte) bool {
	p.mu.Lock()
	known := p.whole[d]
	p.mu.Unlock()
	if known {
		return true
	}
	if digest.Of(b) != d {
		return false
	}
	p.mu.Lock()
	p.whole[d] = true
	p.mu.Unlock()
	return true
}

// stage puts the packaged bytes of the files of trees that are edited into a sink.
func (p *packagedFiles) stage(trees []*record.Manifest, to sink) error {
	staged := map[digest.Digest]bool{}
	for _, m := range trees {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Patch == nil || staged[f.Source] {
				continue
			}
			staged[f.Source] = true
			err := p.Map(f.Source, func(b []byte) error {
				_, _, err := to.Add(bytes.NewReader(b), int64(len(b)))
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
