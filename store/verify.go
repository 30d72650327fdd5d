package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
)

// Damage is one file that is not what its manifest says.
type Damage struct {
	Package string `json:"package"` // "NAME=VERSION"; "" for what belongs to no package
	Path    string `json:"path"`    // on the host
	What    string `json:"what"`
}

// Verify reads every file of the trees and compares it with the manifests. It
// returns the number of files looked at and what is damaged, in the manifests'
// order. progress, if not nil, is told the bytes read so far, from any goroutine.
func (s *Store) Verify(manifests []*record.Manifest, progress func(bytes int64)) (int, []Damage, error) {
	objects, err := s.hashObjects(manifests, progress)
	if err != nil {
		return 0, nil, err
	}
	checked := 0
	damaged := []Damage{}
	for _, m := range manifests {
		n, found, err := s.verifyTree(m, objects)
		if err != nil {
			return checked, damaged, err
		}
		checked += n
		damaged = append(damaged, found...)
	}
	return checked, damaged, nil
}

// hashObjects returns, for each object that the manifests use, what is wrong
// with it; "" when nothing is.
func (s *Store) hashObjects(manifests []*record.Manifest, progress func(int64)) (map[digest.Digest]string, error) {
	edited := map[digest.Digest]*record.File{}
	sizes := map[digest.Digest]int64{}
	var list []digest.Digest
	for _, m := range manifests {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Type != record.TypeFile {
				continue
			}
			if _, ok := sizes[f.Object]; !ok {
				sizes[f.Object] = f.Size
				list = append(list, f.Object)
			}
			if f.Patch != nil {
				edited[f.Object] = f
			}
		}
	}
	results := map[digest.Digest]string{}
	var mu sync.Mutex
	var total int64
	var fault error
	work := make(chan digest.Digest)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for d := range work {
				what, err := s.verifyObject(d, sizes[d], edited[d])
				mu.Lock()
				results[d] = what
				fault = errors.Join(fault, err)
				total += sizes[d]
				if progress != nil {
					progress(total)
				}
				mu.Unlock()
			}
		})
	}
	for _, d := range list {
		work <- d
	}
	close(work)
	wg.Wait()
	return results, fault
}

// verifyObject hashes one object and, if it was edited, proves that it is the
// packaged file with the recorded edit.
func (s *Store) verifyObject(d digest.Digest, size int64, edited *record.File) (what string, err error) {
	path := s.Path(layout.ObjectPath(d))
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "its object is missing", nil
	case err != nil:
		return "", fmt.Errorf("verify object: %w", err)
	case !info.Mode().IsRegular():
		return "its object is no regular file", nil
	case info.Size() != size:
		return fmt.Sprintf("has %d bytes, and should have %d", info.Size(), size), nil
	}
	what, err = verifyContent(path, d)
	if err != nil || what != "" || edited == nil {
		return what, err
	}
	err = atomicfile.ReadMapped(path, func(b []byte) error {
		if _, err := rewrite.Undo(b, edited.Patch, edited.Source); err != nil {
			what = "cannot be proved to be the packaged file with the recorded edit: " + err.Error()
		}
		return nil
	})
	return what, err
}

// verifyContent reads a file and says what is wrong with it; "" when it has the
// digest. What cannot be read for a fault of the medium is damaged too.
func verifyContent(path string, want digest.Digest) (what string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("verify file: %w", err)
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, struct{ io.Reader }{digest.VerifyReader(f, want)})
	switch {
	case errors.Is(err, digest.ErrMismatch):
		return "other bytes: " + err.Error(), nil
	case errors.Is(err, unix.EIO):
		return "cannot be read: " + err.Error(), nil
	case err != nil:
		return "", fmt.Errorf("verify file: %w", err)
	}
	return "", nil
}

// verifyTree compares one tree's names, links and metadata with its manifest.
func (s *Store) verifyTree(m *record.Manifest, objects map[digest.Digest]string) (checked int, damaged []Damage, err error) {
	tree := s.Path(layout.TreePath(m.Name, m.Tree))
	report := func(path, what string) {
		damaged = append(damaged, Damage{Package: m.Spec(), Path: path, What: what})
	}
	known := map[string]bool{".": true}
	know := func(p string) {
		for ; !known[p]; p = filepath.Dir(p) {
			known[p] = true
		}
	}
	for i := range m.Files {
		f := &m.Files[i]
		know(f.Path)
		path := filepath.Join(tree, f.Path)
		what, err := s.verifyFile(f, path, objects)
		if err != nil {
			return checked, damaged, err
		}
		if what != "" {
			report(path, what)
		}
		checked++
	}
	for _, l := range m.Links {
		know(l.Path)
		path := filepath.Join(tree, l.Path)
		if what := verifyLink(path, l.Target); what != "" {
			report(path, what)
		}
		checked++
	}
	err = filepath.WalkDir(tree, func(p string, _ fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(tree, p)
		if errors.Is(err, fs.ErrNotExist) {
			if rel == "." {
				report(p, "the tree is missing")
			}
			return nil
		}
		if err == nil && rerr == nil && !known[rel] {
			report(p, "is not in the manifest")
		}
		return errors.Join(err, rerr)
	})
	slices.SortFunc(damaged, func(a, b Damage) int { return strings.Compare(a.Path, b.Path) })
	return checked, damaged, err
}

func verifyLink(path, target string) string {
	have, err := os.Readlink(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing"
	case err != nil:
		return "is no link"
	case have != target:
		return fmt.Sprintf("leads to %s, and should lead to %s", have, target)
	}
	return ""
}

func (s *Store) verifyFile(f *record.File, path string, objects map[digest.Digest]string) (what string, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "is missing", nil
	}
	if err != nil {
		return "", fmt.Errorf("verify file: %w", err)
	}
	switch f.Type {
	case record.TypeSymlink:
		return verifyLink(path, f.Target), nil
	case record.TypeDirectory:
		if !info.IsDir() {
			return "is no directory", nil
		}
		return "", nil
	case record.TypeFIFO:
		if info.Mode()&fs.ModeNamedPipe == 0 {
			return "is no named pipe", nil
		}
		return "", nil
	}
	if !info.Mode().IsRegular() {
		return "is no regular file", nil
	}
	if what := objects[f.Object]; what != "" {
		return what, nil
	}
	shared := f.Shared == record.SharedLink // its metadata are the distribution's
	if f.Own && !shared {
		return s.verifyOwn(f, path, info)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && !shared {
		if have, want := record.Mode(st.Mode&0o7777), record.Mode(f.Mode.ObjectMode()); have != want {
			return fmt.Sprintf("has mode %v, and should have %v", have, want), nil
		}
		// Its owner could change it. Its group may do no more than others.
		if os.Geteuid() == 0 && st.Uid != 0 && s.ownedByRoot() {
			return fmt.Sprintf("belongs to %d, and should to 0", st.Uid), nil
		}
	}
	object, err := os.Lstat(s.Path(layout.ObjectPath(f.Object)))
	if err != nil {
		return "", fmt.Errorf("verify file: %w", err)
	}
	if os.SameFile(info, object) {
		return "", nil
	}
	return verifyContent(path, f.Object) // a copy, as a restored backup has it
}

// verifyOwn checks a file that has an inode of its own, whose metadata only root
// can have given it.
func (s *Store) verifyOwn(f *record.File, path string, info fs.FileInfo) (string, error) {
	if info.Size() != f.Size {
		return fmt.Sprintf("has %d bytes, and should have %d", info.Size(), f.Size), nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && os.Geteuid() == 0 && s.ownedByRoot() {
		if have := record.Mode(st.Mode & 0o7777); have != f.Mode {
			return fmt.Sprintf("has mode %04o, and should have %04o", have, f.Mode), nil
		}
		if int(st.Uid) != f.UID || int(st.Gid) != f.GID {
			return fmt.Sprintf("belongs to %d:%d, and should to %d:%d", st.Uid, st.Gid, f.UID, f.GID), nil
		}
		for name, want := range f.Xattrs {
			have := make([]byte, len(want)+1)
			n, err := unix.Lgetxattr(path, name, have)
			if err != nil || string(have[:n]) != string(want) {
				return "has another attribute " + name, nil
			}
		}
	}
	return verifyContent(path, f.Object)
}

// ownedByRoot reports whether root keeps the store. In a user's own, files have
// the user as owner, and no setuid bit.
func (s *Store) ownedByRoot() bool {
	info, err := os.Lstat(s.Path(layout.ObjectsDir))
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}
