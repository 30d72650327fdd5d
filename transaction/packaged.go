package transaction

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/store"
)

// packagedFiles has the packaged bytes of files: those that are in the sink, and those of
// installed packages. It implements [sink].
type packagedFiles struct {
	sink
	store *store.Store

	mu     sync.Mutex
	edited map[digest.Digest]*record.File // by their packaged bytes, one that can be had from its edited form
	taken  map[digest.Digest]func() error // put bytes into the sink, once
	added  map[digest.Digest]bool         // by who reads packages
}

func newPackagedFiles(s *store.Store, to sink) *packagedFiles {
	return &packagedFiles{sink: to, store: s, edited: map[digest.Digest]*record.File{}, taken: map[digest.Digest]func() error{}, added: map[digest.Digest]bool{}}
}

// know returns what reads manifests as read does, whose files are known from then on.
func (p *packagedFiles) know(read func(*record.Tree) (*record.Manifest, error)) func(*record.Tree) (*record.Manifest, error) {
	return func(t *record.Tree) (*record.Manifest, error) {
		m, err := read(t)
		if err != nil {
			return m, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range m.Files {
			if f := &m.Files[i]; f.Patch != nil {
				p.edited[f.Source] = f
			}
		}
		return m, nil
	}
}

// Add adds a file of a package.
func (p *packagedFiles) Add(r io.Reader, size int64) (digest.Digest, int64, error) {
	d, n, err := p.sink.Add(r, size)
	if err == nil {
		p.mu.Lock()
		p.added[d] = true
		p.mu.Unlock()
	}
	return d, n, err
}

// Map calls f with the packaged bytes of a file. Those of an installed one are compared with
// their digest: damage does not go from one tree into another.
func (p *packagedFiles) Map(d digest.Digest, f func([]byte) error) error {
	p.mu.Lock()
	added := p.added[d]
	p.mu.Unlock()
	if !added {
		if err := p.take(d); err != nil {
			return err
		}
	}
	return p.sink.Map(d, f)
}

// take puts bytes into the sink, if they are not there yet.
func (p *packagedFiles) take(d digest.Digest) error {
	p.mu.Lock()
	take := p.taken[d]
	if take == nil {
		take = sync.OnceValue(func() error { return p.find(d) })
		p.taken[d] = take
	}
	p.mu.Unlock()
	return take()
}

func (p *packagedFiles) find(d digest.Digest) error {
	add := func(b []byte) error {
		_, _, err := p.sink.Add(bytes.NewReader(b), int64(len(b)))
		return err
	}
	damaged := func(object digest.Digest, err error) error {
		return fmt.Errorf("object %s is damaged: %w; run hashpkg verify --repair", object, err)
	}
	err := p.store.MapObject(d, func(b []byte) error {
		if have := digest.Of(b); have != d {
			return damaged(d, digest.ErrMismatch)
		}
		return add(b)
	})
	p.mu.Lock()
	f := p.edited[d]
	p.mu.Unlock()
	if f == nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		return nil
	}
	return p.store.MapObject(f.Object, func(b []byte) error {
		packaged, err := rewrite.Undo(b, f.Patch, d)
		if err != nil {
			return damaged(f.Object, err)
		}
		return add(packaged)
	})
}

// stage puts the packaged bytes of the edited files of those new trees into the sink for
// which which is true.
func (p *packagedFiles) stage(trees []plan.PlannedTree, which func(*plan.PlannedTree) bool) error {
	for i := range trees {
		t := &trees[i]
		if t.Present || !which(t) {
			continue
		}
		for j := range t.Manifest.Files {
			if f := &t.Manifest.Files[j]; f.Patch != nil {
				if err := p.take(f.Source); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
