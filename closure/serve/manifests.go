package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

// noteSuffix is that of the file which signs a manifest, beside it.
const noteSuffix = ".note"

// maxNote is how many bytes a note may have.
const maxNote = 1 << 20

// Manifests are the closure manifests of a directory, by file name and by digest. The directory may change,
// come and go.
type Manifests struct {
	dir string

	mu    sync.Mutex
	files map[string]manifestFile
}

// manifestFile is what a file was when it was read.
type manifestFile struct {
	state      string // is another when the file changes
	digest     digest.Digest
	isManifest bool
}

// NewManifests returns those of a directory of this machine.
func NewManifests(dir string) *Manifests {
	return &Manifests{dir: dir, files: map[string]manifestFile{}}
}

func (m *Manifests) open() (*beneath.Dir, error) {
	if _, err := os.Stat(m.dir); err != nil {
		return nil, err
	}
	return beneath.Open(m.dir)
}

// Read returns a manifest or note by its name, and whether there will never be another of this name. The error wraps
// fs.ErrNotExist where there is none, and of what is neither.
func (m *Manifests) Read(name string) (b []byte, immutable bool, err error) {
	dir, err := m.open()
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	base, isNote := strings.CutSuffix(name, noteSuffix)
	if d, err := digest.Parse(base); err == nil {
		if base, err = m.find(dir, d); err != nil {
			return nil, false, err
		}
		immutable = !isNote // who signs it may be joined by others
	}
	if base != filepath.Base(base) || strings.HasPrefix(base, ".") {
		return nil, false, fmt.Errorf("%q is no name of a manifest: %w", name, fs.ErrNotExist)
	}
	if !isNote {
		if b, err = dir.ReadFile(base, closure.MaxSize); err != nil {
			return nil, false, err
		}
	}
	f, err := m.look(dir, base, b)
	switch {
	case err != nil:
		return nil, false, err
	case !f.isManifest:
		return nil, false, fmt.Errorf("%s is no closure manifest: %w", base, fs.ErrNotExist)
	case isNote:
		b, err = dir.ReadFile(base+noteSuffix, maxNote)
	}
	return b, immutable, err
}

// look returns what a file is, whose bytes b are read where they are nil and it has changed.
func (m *Manifests) look(dir *beneath.Dir, name string, b []byte) (manifestFile, error) {
	st, err := dir.Lstat(name)
	if err != nil {
		return manifestFile{}, err
	}
	state := fmt.Sprint(st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	m.mu.Lock()
	f, known := m.files[name]
	m.mu.Unlock()
	if known && f.state == state {
		return f, nil
	}
	if b == nil {
		if b, err = dir.ReadFile(name, closure.MaxSize); err != nil {
			return manifestFile{}, err
		}
	}
	_, err = closure.Decode(b)
	f = manifestFile{state: state, digest: digest.Of(b), isManifest: err == nil}
	m.mu.Lock()
	m.files[name] = f
	m.mu.Unlock()
	return f, nil
}

// find returns the name of the manifest with a digest.
func (m *Manifests) find(dir *beneath.Dir, d digest.Digest) (string, error) {
	entries, err := dir.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), noteSuffix) {
			continue
		}
		if f, err := m.look(dir, e.Name(), nil); err == nil && f.isManifest && f.digest == d {
			return e.Name(), nil
		}
	}
	return "", fmt.Errorf("no manifest has the digest %s: %w", d, fs.ErrNotExist)
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request) {
	if s.Manifests == nil {
		fail(w, http.StatusNotFound)
		return
	}
	b, immutable, err := s.Manifests.Read(r.PathValue("name"))
	if err != nil {
		failed(w, err)
		return
	}
	if err := sendBytes(w, r, b, digest.Of(b), immutable); err != nil {
		panic(http.ErrAbortHandler) // the client must not take it for the whole
	}
}
