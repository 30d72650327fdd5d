package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// ErrNoManifest is returned (wrapped) for a tree that has no manifest.
var ErrNoManifest = errors.New("no such tree")

// Manifest reads the manifest of a tree.
func (s *Store) Manifest(name, tree string) (*record.Manifest, error) {
	file := layout.ManifestPath(name, tree)
	b, err := s.dir.ReadFile(file, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read manifest of %s/%s: %w", name, tree, ErrNoManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := record.DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Path(file), err)
	}
	if m.Name != name || m.Tree != tree {
		return nil, fmt.Errorf("read %s: it is the manifest of %s/%s", s.Path(file), m.Name, m.Tree)
	}
	return m, nil
}

// Generated returns what was made for a view, and decodes no more of its manifest than that.
func (s *Store) Generated(view string) ([]record.Generated, error) {
	file := layout.ManifestPath(layout.ViewName, view)
	b, err := s.dir.ReadFile(file, maxRecord)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	made, err := record.ReadGenerated(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Path(file), err)
	}
	return made, nil
}

// PackageFile returns what the manifest of a tree says of its package file, and
// reads only the beginning of it.
func (s *Store) PackageFile(name, tree string) (record.PackageFile, error) {
	file := layout.ManifestPath(name, tree)
	f, _, err := s.dir.OpenRegular(file)
	if errors.Is(err, fs.ErrNotExist) {
		return record.PackageFile{}, fmt.Errorf("read manifest of %s/%s: %w", name, tree, ErrNoManifest)
	}
	if err != nil {
		return record.PackageFile{}, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	p, err := record.ReadPackageFile(io.LimitReader(f, maxRecord))
	if err != nil {
		return p, fmt.Errorf("read %s: %w", s.Path(file), err)
	}
	return p, nil
}

// Manifests returns the manifests of all trees of a package, by tree name; none
// when it has no trees.
func (s *Store) Manifests(name string) ([]*record.Manifest, error) {
	trees, err := s.Trees(name)
	if err != nil {
		return nil, err
	}
	var out []*record.Manifest
	for _, t := range trees {
		m, err := s.Manifest(name, t)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// Trees returns the names of a package's trees that have a manifest, sorted.
func (s *Store) Trees(name string) ([]string, error) {
	if err := layout.CheckName(name); err != nil && name != layout.ViewName {
		return nil, err
	}
	entries, err := s.dir.ReadDir(layout.ManifestsDir + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var trees []string
	for _, e := range entries {
		if t, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			trees = append(trees, t)
		}
	}
	// ReadDir sorts by file name, in which ".json" takes part.
	slices.Sort(trees)
	return trees, nil
}

// Stamps returns, by the name of a package or [layout.ViewName], what changes when a
// manifest of it is put into its place, replaced or removed: each of these is a rename in
// the directory of the package's manifests. Such a change just now may not show yet, where
// the file system's clock has not gone on: the stamp is "" then.
func (s *Store) Stamps() (stamps map[string]string, err error) {
	dir, err := s.dir.OpenDir(layout.ManifestsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	entries, err := dir.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	stamps = make(map[string]string, len(entries))
	now := time.Now()
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		st, err := dir.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list manifests: %w", err)
		}
		stamps[e.Name()] = ""
		if since := now.Sub(time.Unix(st.Mtim.Unix())); since < 0 || since > settled {
			stamps[e.Name()] = fmt.Sprintf("%d %d", st.Ino, st.Mtim.Nano())
		}
	}
	return stamps, nil
}

// settled is longer than the tick of any clock that file systems use.
const settled = time.Second

// Names returns the names of the packages that have trees, and [layout.ViewName] if there
// are views, sorted.
func (s *Store) Names() ([]string, error) {
	entries, err := s.dir.ReadDir(layout.ManifestsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
