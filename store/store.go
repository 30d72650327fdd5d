// Package store keeps objects, trees and manifests on disk, under one prefix.
//
// A writer gets a [Staging] from [Store.Begin], adds files to it, assembles
// trees, and publishes everything in one go; nothing outside the staging
// directory changes before that, and what a publication that was cut short left
// behind is undone by [Store.Recover]. Readers use [Store.Manifest] and need no
// lock.
//
// Left to the caller: holding the prefix's lock while writing, and the switch
// that makes a published generation the active one (package sysroot).
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
)

// Store is the objects, trees and manifests under one prefix.
type Store struct {
	dir string // the prefix on the host
}

// ErrNoManifest is returned (wrapped) for a tree that has no manifest.
var ErrNoManifest = errors.New("no such tree")

// New returns the store under the prefix dir, a path on the host. It touches
// nothing.
func New(dir string) *Store { return &Store{dir: dir} }

// Path returns the host's path of a name below the prefix.
func (s *Store) Path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// CheckFormat returns an error when the prefix has a layout that this program
// does not know, and one wrapping [fs.ErrNotExist] when it has none.
func (s *Store) CheckFormat() error {
	b, err := ReadFile(s.Path(layout.FormatFile))
	if err != nil {
		return err
	}
	if have := strings.TrimSpace(string(b)); have != fmt.Sprint(layout.FormatVersion) {
		return fmt.Errorf("%s says layout %q, and this hashpkg knows layout %d only: use the hashpkg that wrote it, or a newer one",
			s.Path(layout.FormatFile), have, layout.FormatVersion)
	}
	return nil
}

// Manifest reads the manifest of a tree.
func (s *Store) Manifest(name, tree string) (*record.Manifest, error) {
	path := s.Path(layout.ManifestPath(name, tree))
	b, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read manifest of %s/%s: %w", name, tree, ErrNoManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := record.DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if m.Name != name || m.Tree != tree {
		return nil, fmt.Errorf("read %s: it is the manifest of %s/%s", path, m.Name, m.Tree)
	}
	return m, nil
}

// PackageFile returns what the manifest of a tree says of its package file, and
// reads only the beginning of it.
func (s *Store) PackageFile(name, tree string) (record.PackageFile, error) {
	path := s.Path(layout.ManifestPath(name, tree))
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record.PackageFile{}, fmt.Errorf("read manifest of %s/%s: %w", name, tree, ErrNoManifest)
	}
	if err != nil {
		return record.PackageFile{}, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	p, err := record.ReadPackageFile(f)
	if err != nil {
		return p, fmt.Errorf("read %s: %w", path, err)
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
	if err := layout.CheckName(name); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.Path(layout.ManifestsDir + "/" + name))
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
	sort.Strings(trees)
	return trees, nil
}

// object returns the host's path of an object, and its information if it is
// there. An object of another size than its digest's bytes is damaged, and an
// error.
func (s *Store) object(d digest.Digest, size int64) (path string, info fs.FileInfo, err error) {
	path = s.Path(layout.ObjectPath(d))
	info, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil, nil
	}
	if err != nil {
		return path, nil, fmt.Errorf("look up object: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() != size {
		return path, nil, fmt.Errorf("object %s is damaged: want %d bytes, have %d; run hashpkg verify", path, size, info.Size())
	}
	return path, info, nil
}

// Sync makes everything that was written to the prefix's file system durable.
func (s *Store) Sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", s.dir, err)
	}
	return nil
}

// SyncDir makes the entries of one directory below the prefix durable.
func (s *Store) SyncDir(name string) error {
	d, err := os.Open(s.Path(name))
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", s.Path(name), err)
	}
	return nil
}
