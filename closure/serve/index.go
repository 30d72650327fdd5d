package serve

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"sync"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
)

// index knows which files a store may give to anybody: those of private packages that everybody may read
// where they are installed. It follows the store.
type index struct {
	store *store.Store

	mu         sync.Mutex
	generation int               // that the rest is of
	packages   map[string]listed // by name
	files      *files            // of all packages

	hashing sync.Mutex
	bySHA   map[closure.SHA256]digest.Digest
	hashed  map[digest.Digest]bool
}

// listed is what one package has, and the stamp of its manifests.
type listed struct {
	stamp string
	sizes map[digest.Digest]int64 // in bytes
	// edited are the records of edited files, without what is not needed to undo the edit.
	edited []record.File
}

// files are what a store may give, as packaged.
type files struct {
	sizes    map[digest.Digest]int64
	packaged *transaction.Packaged
}

func newIndex(s *store.Store) *index {
	return &index{store: s, generation: -1, packages: map[string]listed{}, bySHA: map[closure.SHA256]digest.Digest{}, hashed: map[digest.Digest]bool{}}
}

// current returns what the store may give now.
func (x *index) current() (*files, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	id, err := x.store.Active()
	if err != nil {
		return nil, err
	}
	if x.files != nil && id == x.generation {
		return x.files, nil
	}
	// The generation is read before the manifests: those of the next one may be among them already.
	stamps, err := x.store.Stamps()
	if err != nil {
		return nil, err
	}
	f := &files{sizes: map[digest.Digest]int64{}, packaged: transaction.NewPackaged(x.store)}
	packages := make(map[string]listed, len(stamps))
	for name, stamp := range stamps {
		if name == layout.ViewName {
			continue
		}
		p := x.packages[name]
		if stamp == "" || p.stamp != stamp {
			if p, err = x.read(name); err != nil {
				return nil, err
			}
			p.stamp = stamp
		}
		packages[name] = p
		for d, size := range p.sizes {
			f.sizes[d] = size
		}
		f.packaged.Learn(&record.Manifest{Files: p.edited})
	}
	x.packages, x.files, x.generation = packages, f, id
	return f, nil
}

// read reads the manifests of a package.
func (x *index) read(name string) (listed, error) {
	manifests, err := x.store.Manifests(name)
	if err != nil {
		return listed{}, err
	}
	l := listed{sizes: map[digest.Digest]int64{}}
	for _, m := range manifests {
		if m.Origin != record.OriginPrivate {
			continue
		}
		readable := plan.DraftOf(m).Files
		for _, f := range Public(readable) {
			l.sizes[f.Source] = f.Size
		}
		for i := range m.Files {
			f := &m.Files[i]
			if _, public := l.sizes[f.Source]; public && f.Patch != nil {
				l.edited = append(l.edited, record.File{Path: f.Path, Type: f.Type, Object: f.Object, Source: f.Source, Size: f.Size, Patch: f.Patch})
			}
		}
	}
	return l, nil
}

// Public returns those regular files of a package that everybody may read where it is installed: they and all
// directories above them, as the package has them, are open to others, and no script has made them.
func Public(all []record.File) []*record.File {
	closed := map[string]bool{}
	for i := range all {
		if f := &all[i]; f.Type == record.TypeDirectory && f.Mode&0o001 == 0 {
			closed[f.Path] = true
		}
	}
	var out []*record.File
	for i := range all {
		f := &all[i]
		if f.Type != record.TypeFile || f.Generated != nil || f.Mode&0o004 == 0 {
			continue
		}
		public := true
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			public = public && !closed[dir]
		}
		if public {
			out = append(out, f)
		}
	}
	return out
}

// withSHA256 returns the file that has a SHA-256. The first time that one is asked for, all files are read.
func (x *index) withSHA256(ctx context.Context, f *files, want closure.SHA256) (d digest.Digest, found bool, err error) {
	x.hashing.Lock()
	defer x.hashing.Unlock()
	if d, found = x.bySHA[want]; found {
		return d, true, nil
	}
	for d := range f.sizes {
		if x.hashed[d] {
			continue
		}
		if ctx.Err() != nil {
			return d, false, fmt.Errorf("compute SHA-256: %w", ctx.Err())
		}
		err := f.packaged.Map(d, func(b []byte) error {
			x.bySHA[sha256.Sum256(b)] = d
			return nil
		})
		if err == nil { // else it is gone, or damaged, and so not to be had
			x.hashed[d] = true
		}
	}
	d, found = x.bySHA[want]
	return d, found, nil
}
