package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// LooksLikeFile reports whether an argument is written as a path, and not as a package's
// name.
func LooksLikeFile(arg string) bool {
	switch filepath.Ext(arg) {
	case ".deb", ".rpm", ".udeb", ".ddeb":
		return true
	}
	return len(arg) > 0 && (arg[0] == '.' || filepath.IsAbs(arg))
}

// directory returns the packages that stand in a directory on this machine. What is no
// package is passed over, with a warning for one that cannot be read.
func (r *Repo) directory(ctx context.Context, dir string) ([]*Available, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for packages: %w", err)
	}
	source := &backends.Source{Name: dir}
	var all []*Available
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		file := filepath.Join(dir, e.Name())
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		p, err := r.readPackage(file)
		if errors.Is(err, backends.ErrUnknownFormat) {
			continue
		}
		if err != nil {
			r.Warn(fmt.Sprintf("%s is passed over: %v", file, err))
			continue
		}
		all = append(all, &Available{
			Listed: &pkginfo.Listed{Package: *p, Path: e.Name(), Size: info.Size()},
			Source: source, State: &State{}, File: file,
		})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: there is no package in %s", ErrNoSource, dir)
	}
	return all, nil
}

// readPackage returns what a package file says of itself.
func (r *Repo) readPackage(file string) (p *pkginfo.Package, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	format, in, err := r.Root.Formats().Identify(f)
	if err != nil {
		return nil, err
	}
	reader, err := format.Open(in, nil)
	if err != nil {
		return nil, err
	}
	return reader.Package(), reader.Close()
}

// withDirectory calls f with the packages of a directory.
func (r *Repo) withDirectory(ctx context.Context, dir string, f func(*Pool) error) error {
	all, err := r.directory(ctx, dir)
	if err != nil {
		return err
	}
	pool := &Pool{local: map[string][]*Available{}, provided: map[string][]*Available{}}
	for _, a := range all {
		pool.local[a.Name] = append(pool.local[a.Name], a)
		for _, c := range a.Provides {
			if c.Name != a.Name {
				pool.provided[c.Name] = append(pool.provided[c.Name], a)
			}
		}
	}
	return f(pool)
}
