// Package sysroot is one root directory with hashpkg's prefix in it: where
// things are on the host, the lock, the generations, and the switch from one to
// the next.
//
// [Open] names the root; [Root.Lock] lets one process write; [Root.Active] is
// what readers start from. What is in a generation is decided in package layout,
// and the trees are kept by package store.
package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

// Root is a directory that is treated as "/", and the prefix in it.
type Root struct {
	dir    string // on the host, absolute
	prefix string // in the root, absolute
	store  *store.Store

	formats backends.Formats
}

// Open returns the root at dir ("" and "/" are the host's own) with the prefix,
// an absolute path in it, and the package formats that may be in it. It creates
// nothing. dir may be missing; a dir that is
// no directory is an error.
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
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("open root: %s is no directory", abs)
	}
	r := &Root{dir: abs, prefix: prefix, formats: formats}
	host, err := r.HostPath(prefix)
	if err != nil {
		return nil, err
	}
	r.store = store.New(host)
	return r, nil
}

// HostPath returns the host's path of an absolute path in the root, with links
// followed inside the root, so that none leads out of it.
func (r *Root) HostPath(inside string) (string, error) {
	p, err := securejoin.SecureJoin(r.dir, inside)
	if err != nil {
		return "", fmt.Errorf("find %s in root %s: %w", inside, r.dir, err)
	}
	return p, nil
}

// Dir returns the root on the host.
func (r *Root) Dir() string { return r.dir }

// Prefix returns the prefix as programs in the root see it.
func (r *Root) Prefix() string { return r.prefix }

// Store returns the store under the prefix.
func (r *Root) Store() *store.Store { return r.store }

// Exists reports whether the root has a hashpkg store of a layout that this
// program knows; the error tells of another layout.
func (r *Root) Exists() (bool, error) {
	err := r.store.CheckFormat()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
