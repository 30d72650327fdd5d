package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
)

// InstallOptions say what to install.
type InstallOptions struct {
	// InstallOptions has Packages of files that somebody named; those of Requests come
	// to them.
	transaction.InstallOptions
	From       string // a release, source or directory; "" for the machine's own release
	Requests   []Request
	Recommends bool      // what most who install the packages have, too
	Until      time.Time // when the packages may go; zero for never
}

// InstallResult is what was chosen, and what became of it.
type InstallResult struct {
	Selection *Selection
	// InstallResult is nil after a dry run of requests, for which nothing is fetched.
	*transaction.InstallResult
}

// Install chooses what requests need, fetches it, and installs all in one generation.
// Packages are read while others are being fetched.
func (r *Repo) Install(ctx context.Context, o InstallOptions) (*InstallResult, error) {
	if len(o.Requests) == 0 {
		installed, err := transaction.Install(ctx, o.InstallOptions)
		return &InstallResult{InstallResult: installed}, err
	}
	chosen, err := r.Select(ctx, o.From, o.Requests, o.Recommends)
	if err != nil {
		return nil, err
	}
	if len(o.Packages) == 0 { // what files have, they say when they are read
		active, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		isChosen := func(name string) bool {
			return slices.ContainsFunc(chosen.Packages, func(s *Selected) bool { return s.Name == name })
		}
		if err := transaction.CheckPrelocate(o.Prelocate, isChosen, active); err != nil {
			return nil, err
		}
	}
	result := &InstallResult{Selection: chosen}
	if o.DryRun {
		return result, nil
	}
	result.InstallResult, err = r.install(ctx, o, chosen.Packages)
	return result, err
}

// install fetches packages and installs them, with those of o.
func (r *Repo) install(ctx context.Context, o InstallOptions, chosen []*Selected) (*transaction.InstallResult, error) {
	items := make([]item, 0, len(chosen))
	packages := slices.Clone(o.Packages)
	fetched, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var there []chan string // of items
	for _, s := range chosen {
		p := transaction.Package{Expected: s.Listed, Named: record.Named{Release: s.release(), Asked: s.Asked, OnHold: s.OnHold, Until: o.Until, By: s.By}, Binding: s.Binding, Tree: s.Tree}
		if s.File != "" {
			p.Path, p.Expected = s.File, nil
			packages = append(packages, p)
			continue
		}
		if s.Unpacked != nil {
			p.Proof = s.Unpacked.Proof
			p.Get = func(context.Context) (transaction.Arrived, error) {
				return transaction.Arrived{Unpacked: s.Unpacked}, nil
			}
			packages = append(packages, p)
			continue
		}
		format, err := r.formatOf(s.Source)
		if err != nil {
			return nil, err
		}
		p.Proof = s.State.Signature
		if s.Source.PackagesSigned {
			root, end, err := r.keyRoot(s.Source)
			if err != nil {
				return nil, err
			}
			p.Keys, err = format.SourceKeys(ctx, root, backends.ListRequest{Source: s.Source, Get: r.getter(s.Source, s.Source.URLs)})
			end()
			if err != nil {
				return nil, err
			}
		}
		came := make(chan string, 1)
		p.Get = func(ctx context.Context) (transaction.Arrived, error) {
			select {
			case path := <-came:
				return transaction.Arrived{Path: path}, nil
			case <-ctx.Done():
				return transaction.Arrived{}, ctx.Err()
			case <-fetched.Done():
				return transaction.Arrived{}, context.Cause(fetched)
			}
		}
		there, items, packages = append(there, came), append(items, s.item()), append(packages, p)
	}
	if len(items) > 0 {
		if err := r.makeDirs(ctx); err != nil {
			return nil, err
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.fetchAll(fetched, items, func(i int, path string) { there[i] <- path }); err != nil {
			stop(err)
		}
	}()
	o.Packages = packages
	result, err := transaction.Install(ctx, o.InstallOptions)
	stop(context.Canceled)
	<-ended
	var other *transaction.OtherFileError
	if errors.As(err, &other) { // the disk, or somebody, changed it since it was fetched
		err = r.forget(err, other.Expected.Digest)
	}
	return result, err
}

// forget removes a file from the cache that has not the digest of its name, for which
// err is, so that it is fetched again.
func (r *Repo) forget(err error, digest string) error {
	name, nerr := cacheName(digest)
	dir, derr := r.cacheDir()
	if nerr != nil || derr != nil {
		return errors.Join(err, nerr, derr)
	}
	defer dir.Close()
	if rerr := dir.RemoveIfThere(name); rerr != nil {
		return errors.Join(err, rerr)
	}
	return advice.Errorf("%w; it was removed from the cache: run this again", err)
}

// release returns where later versions of a package come from; "" for one that stands in
// a directory.
func (s *Selected) release() string {
	if s.File != "" {
		return ""
	}
	return releaseOf(s.Source)
}

// item returns the package's file.
func (s *Selected) item() item {
	urls := s.Source.URLs
	if len(s.State.URLs) > 0 {
		urls = s.State.URLs
	}
	it := item{name: s.Spec(), urls: addresses(urls, s.Path), size: s.Size, digest: s.Digest}
	if len(s.URLs) > 0 {
		it.urls = s.URLs
	}
	if s.Format == "deb" {
		it.apt = path.Base(s.Path)
	}
	return it
}

// Download fetches what requests name, and with dependencies all that it needs, into a directory of this machine, under the names
// that the repository has for them, and returns their paths.
func (r *Repo) Download(ctx context.Context, from string, requests []Request, dependencies bool, dir string) ([]string, error) {
	chosen, err := r.Select(ctx, from, requests, false)
	if err != nil {
		return nil, err
	}
	if !dependencies {
		chosen.Packages = slices.DeleteFunc(chosen.Packages, func(s *Selected) bool { return !s.Asked })
	}
	var items []item
	var paths []string
	for _, s := range chosen.Packages {
		if s.File == "" {
			items = append(items, s.item())
			paths = append(paths, dir+"/"+path.Base(s.Path))
		}
	}
	var errs []error
	err = r.fetchAll(ctx, items, func(i int, from string) {
		err := copyFile(from, paths[i], items[i].digest)
		if errors.Is(err, errOtherFile) {
			err = r.forget(err, items[i].digest)
		}
		errs = append(errs, err)
	})
	return paths, errors.Join(err, errors.Join(errs...))
}

// errOtherFile is returned (wrapped) for a file that has another digest than it should.
var errOtherFile = errors.New("its digest is not that which the index lists")

// copyFile copies a file that has a digest. What has the other name is replaced.
func copyFile(from, to, digest string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), ".hashpkg-*")
	if err != nil {
		return err
	}
	algorithm, sum, _ := strings.Cut(digest, ":")
	h := newHash(algorithm)
	_, err = io.Copy(io.MultiWriter(out, h), in)
	if err == nil && hex.EncodeToString(h.Sum(nil)) != sum {
		err = fmt.Errorf("copy %s: %w", from, errOtherFile)
	}
	if err = errors.Join(err, out.Chmod(0o644), out.Close()); err == nil {
		err = os.Rename(out.Name(), to)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(out.Name()))
	}
	return err
}
