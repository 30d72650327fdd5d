// Package sysroot is one root directory with hashpkg's prefix in it: its files by
// handle, the lock, the generations, and the switch from one to the next.
//
// [Open] opens the root; [Root.Lock] lets one process write; [Root.Active] is
// what readers start from. Files of the root are reached by [Root.Find] and
// [Root.Open], which follow links inside the root only: a root may be an image that
// means harm. What stands below the prefix is reached without following any link.
//
// What is in a generation is decided in layout/plan, and the trees are kept by package
// store. The lock, the switch and the records are here together, as none of them may
// be used without the handles of the others; that makes the package long.
package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

// Root is a directory that is treated as "/", and the prefix in it.
type Root struct {
	path    string       // on the host, absolute
	dir     *beneath.Dir // it
	prefix  string       // in the root, absolute
	store   *store.Store
	formats backends.Formats

	mu   sync.Mutex
	real map[string]string // directories without links, relative to the root, by path in the root
}

// Open opens the root at dir ("" and "/" are the host's own) with the prefix,
// an absolute path in it. It creates nothing. dir may be missing; a dir that is
// no directory is an error. formats are those of the packages that it may have. The
// caller closes the root.
func Open(dir, prefix string, formats backends.Formats) (*Root, error) {
	if err := layout.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if dir == "" {
		dir = "/"
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	r := &Root{path: abs, prefix: prefix, formats: formats, real: map[string]string{}}
	if r.dir, err = beneath.Open(abs); errors.Is(err, fs.ErrNotExist) {
		r.dir = beneath.Missing(abs)
	} else if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	if err := r.openStore(); err != nil {
		return nil, errors.Join(err, r.dir.Close())
	}
	return r, nil
}

// openStore opens the prefix, where it is.
func (r *Root) openStore() error {
	place, err := r.prefixPlace()
	if err != nil {
		return err
	}
	dir, err := r.dir.OpenDir(place)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err = beneath.Missing(r.host(place)), nil
	}
	if err != nil {
		return fmt.Errorf("open prefix: %w", err)
	}
	r.store = store.New(dir)
	return nil
}

// prefixPlace returns where the prefix really is, relative to the root.
func (r *Root) prefixPlace() (string, error) {
	place, err := r.resolve(r.prefix)
	if err != nil {
		return "", err
	}
	if place == "." {
		return "", fmt.Errorf("open prefix: %s leads to the root itself", r.prefix)
	}
	return place, nil
}

// Close closes the root and its store.
func (r *Root) Close() error {
	return errors.Join(r.store.Dir().Close(), r.dir.Close())
}

// Dir returns the root on the host, for messages and for programs that are told of
// a root.
func (r *Root) Dir() string { return r.path }

// host returns the host's path of one relative to the root, for messages.
func (r *Root) host(place string) string { return filepath.Join(r.path, place) }

// IsHost reports whether the root is the host's own: its programs and loader can be
// run.
func (r *Root) IsHost() bool { return r.path == "/" }

// Prefix returns the prefix as programs in the root see it.
func (r *Root) Prefix() string { return r.prefix }

// Store returns the store under the prefix.
func (r *Root) Store() *store.Store { return r.store }

// Formats returns the formats of packages that the root may have.
func (r *Root) Formats() backends.Formats { return r.formats }

// Exists reports whether the root has a hashpkg store of a layout that this
// program knows; the error says that it is another layout.
func (r *Root) Exists() (bool, error) {
	err := r.store.CheckFormat()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// ToRoot returns the way from the prefix, where it really is, up to the root:
// "../.." for /var/sys.
func (r *Root) ToRoot() (string, error) {
	place, err := r.prefixPlace()
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.Repeat("../", strings.Count(place, "/")+1), "/"), nil
}

// RealPrefix returns the prefix without links, absolute in the root.
func (r *Root) RealPrefix() (string, error) {
	place, err := r.prefixPlace()
	return "/" + place, err
}

// makeRoot makes the root's own directory where it is missing, or was removed since
// it was opened. Where it is removed again meanwhile, it stays missing.
func (r *Root) makeRoot() (made bool, err error) {
	if r.hasDir(".") {
		return false, nil
	}
	if err := os.MkdirAll(r.path, 0o755); err != nil {
		return false, fmt.Errorf("make root: %w", err)
	}
	dir, err := beneath.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return true, fmt.Errorf("open root: %w", err)
	}
	err = r.dir.Close()
	r.dir = dir
	return true, err
}

// hasDir reports whether a directory of the root is there: it may be open, and
// removed all the same.
func (r *Root) hasDir(name string) bool {
	st, err := r.dir.Lstat(name)
	return err == nil && st.Nlink > 0
}
