package transaction

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/store"
)

// packagedFiles has the packaged bytes of files: of packages that are being read, which are in
// its sink, and of installed ones: the store's own where it has them, else those of an
// edited copy with the edit undone. Nothing is written for the latter. It implements [sink].
type packagedFiles struct {
	sink     // nil where no packages are read
	store    *store.Store
	linkages *linkages

	mu     sync.Mutex
	added  map[digest.Digest]bool           // to the sink
	edited map[digest.Digest][]*record.File // by their packaged bytes, those that these can be had from
	whole  map[digest.Digest]bool           // objects that were compared with their digest
}

func newPackagedFiles(s *store.Store, to sink) *packagedFiles {
	return &packagedFiles{
		sink: to, store: s, linkages: &linkages{store: s},
		added: map[digest.Digest]bool{}, edited: map[digest.Digest][]*record.File{}, whole: map[digest.Digest]bool{},
	}
}

// Packaged has the bytes that files of installed trees have in their packages.
type Packaged struct{ *packagedFiles }

// NewPackaged returns those of the trees of a store whose manifests [Packaged.Learn] is told of.
func NewPackaged(s *store.Store) *Packaged { return &Packaged{newPackagedFiles(s, nil)} }

// Learn is told of a manifest whose files are going to be asked for.
func (p *Packaged) Learn(m *record.Manifest) { p.learn(m) }

// Has reports whether the store has an object, as packaged or in an edited copy. Whether that is whole is
// found when it is read.
func (p *Packaged) Has(d digest.Digest) bool {
	return p.store.HasObject(d) || slices.ContainsFunc(p.edited[d], func(f *record.File) bool { return p.store.HasObject(f.Object) })
}

// Open returns bytes that the store has. Those of an object that is there as packaged are not compared
// with their digest.
func (p *Packaged) Open(d digest.Digest) (io.ReadCloser, error) {
	if p.store.HasObject(d) {
		return p.store.OpenObject(d)
	}
	var b []byte
	err := p.Map(d, func(packaged []byte) error {
		b = bytes.Clone(packaged)
		return nil
	})
	return io.NopCloser(bytes.NewReader(b)), err
}

// know returns what reads manifests as read does, whose files are known from then on.
func (p *packagedFiles) know(read func(*record.Tree) (*record.Manifest, error)) func(*record.Tree) (*record.Manifest, error) {
	return func(t *record.Tree) (*record.Manifest, error) {
		m, err := read(t)
		if err == nil {
			p.learn(m)
		}
		return m, err
	}
}

func (p *packagedFiles) learn(m *record.Manifest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range m.Files {
		f := &m.Files[i]
		if f.Patch != nil && !slices.ContainsFunc(p.edited[f.Source], func(o *record.File) bool { return o.Object == f.Object }) {
			p.edited[f.Source] = append(p.edited[f.Source], f)
		}
	}
}

// Add adds a file of a package that is being read.
func (p *packagedFiles) Add(r io.Reader, size int64) (digest.Digest, int64, error) {
	d, n, err := p.sink.Add(r, size)
	if err == nil {
		p.mu.Lock()
		p.added[d] = true
		p.mu.Unlock()
	}
	return d, n, err
}

// Map calls f with the packaged bytes of a file. Those of an installed one were compared with
// their digest: damage does not go from one tree into another. Where one copy is
// damaged, another one serves.
func (p *packagedFiles) Map(d digest.Digest, f func([]byte) error) error {
	p.mu.Lock()
	added, copies := p.added[d], p.edited[d]
	p.mu.Unlock()
	if added {
		return p.sink.Map(d, f)
	}
	found := false
	var errs []error
	try := func(object digest.Digest, err error) (done bool) {
		if !found && err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, advice.Errorf("object %s is damaged: %w; run hashpkg verify --repair", object, err))
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
	for _, edited := range copies {
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
		return advice.Errorf("find the packaged bytes %s: %w; run hashpkg verify --repair", d, fs.ErrNotExist)
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

// stage puts the packaged bytes of files of those new trees into a sink for which which is
// true, where the store may not have them, and packages that were read have not brought them.
func (p *packagedFiles) stage(trees []plan.PlannedTree, which func(*plan.PlannedTree) bool, to sink) error {
	staged := map[digest.Digest]bool{}
	for i := range trees {
		t := &trees[i]
		if t.Present || !which(t) {
			continue
		}
		for j := range t.Manifest.Files {
			f := &t.Manifest.Files[j]
			isEdited := f.Patch != nil || len(p.edited[f.Source]) > 0 // now, or in another tree
			if !isEdited || staged[f.Source] || p.added[f.Source] {
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
