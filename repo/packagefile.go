package repo

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// ErrNoPackageFile is returned (wrapped) where a release does not have a package file, or
// not any more.
var ErrNoPackageFile = errors.New("does not have it")

// Wanted is a package file that a tree was made of.
type Wanted struct {
	Name, Version, Architecture string
	Format                      pkginfo.Format
	Release                     string        // where it came from; "" where nobody knows
	Digest                      digest.Digest // zero where nobody knows
	Size                        int64         // in bytes; 0 where nobody knows
}

// PackageFile brings a package file into the cache, if it is not there, and returns its
// path on the host: from its release or, where that is not known, from any source that
// files name. Where its digest is known, a file with another one is not it.
//
// The error wraps [ErrNoSource] where nothing says where packages come from, [ErrOffline]
// for what would have to be fetched, and ErrNoPackageFile.
func (r *Repo) PackageFile(ctx context.Context, w Wanted) (string, error) {
	if !w.Digest.IsZero() {
		if found, err := r.cached(w); found != "" || err != nil {
			return found, err
		}
	}
	sources, err := r.Sources(ctx)
	if w.Release != "" {
		sources, err = r.Release(ctx, w.Release)
	} else if err == nil && len(sources) == 0 {
		err = ErrNoSource
	}
	if err != nil {
		return "", err
	}
	var faults []error
	for i := range sources {
		found, err := r.fromSource(ctx, &sources[i], w)
		if found != "" || ctx.Err() != nil {
			return found, ctx.Err()
		}
		faults = append(faults, err)
	}
	// What kept a source from being looked into says more than that another has it not.
	for _, err := range faults {
		if !errors.Is(err, ErrNoPackageFile) {
			return "", err
		}
	}
	return "", faults[0]
}

// fromSource brings a package file into the cache from a source.
func (r *Repo) fromSource(ctx context.Context, s *backends.Source, w Wanted) (found string, err error) {
	if err := r.Ready(ctx, []backends.Source{*s}); err != nil {
		return "", err
	}
	none := fmt.Errorf("fetch %s=%s for %s: %s %w", w.Name, w.Version, w.Architecture, cmp.Or(w.Release, s.Name), ErrNoPackageFile)
	fault := none
	err = r.With(ctx, []backends.Source{*s}, func(p *Pool) error {
		all, err := p.Named(w.Name)
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.Format != w.Format || a.Version != w.Version || a.Architecture != w.Architecture || w.Size != 0 && a.Size != w.Size {
				continue
			}
			file, err := r.fetchOne(ctx, (&Selected{Available: a}).item())
			if err != nil {
				return err
			}
			if w.Digest.IsZero() {
				found = file
				return nil
			}
			h := digest.New()
			if err := hashFile(file, h); err != nil {
				return err
			}
			if have := digest.Sum(h); have != w.Digest {
				fault = fmt.Errorf("%w: the BLAKE3 of its own is %s, and not %s", none, have, w.Digest)
				continue
			}
			found = file
			return nil
		}
		return nil
	})
	if found != "" || err != nil {
		return found, err
	}
	return "", fault
}

// fetchOne brings one file into the cache. One that was there and has been damaged since is
// fetched again.
func (r *Repo) fetchOne(ctx context.Context, it item) (found string, err error) {
	if err := r.makeDirs(ctx); err != nil {
		return "", err
	}
	for range 2 {
		err = r.fetchAll(ctx, []item{it}, func(_ int, path string) { found = path })
		if err != nil {
			return "", err
		}
		if err = checkSum(found, it.digest); !errors.Is(err, errOtherFile) {
			return found, err
		}
		err = r.forget(err, it.digest)
	}
	return "", err
}

// checkSum returns errOtherFile for a file that has not the digest of an index.
func checkSum(file, digest string) error {
	algorithm, sum, _ := strings.Cut(digest, ":")
	h := newHash(algorithm)
	if err := hashFile(file, h); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != sum {
		return fmt.Errorf("read %s: %w", file, errOtherFile)
	}
	return nil
}

func hashFile(file string, h hash.Hash) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(h, f)
	return err
}

// cached returns the path of a package file that is in the cache, by its size and digest;
// "" if it is not.
func (r *Repo) cached(w Wanted) (string, error) {
	dir, err := r.Root.Store().Dir().OpenDir(layout.CacheDir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		st, err := dir.Lstat(e.Name())
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != w.Size || strings.HasSuffix(e.Name(), partEnd) {
			continue
		}
		// One that cannot be read is as good as none: it is fetched.
		h := digest.New()
		if err := hashFile(dir.Path(e.Name()), h); err == nil && digest.Sum(h) == w.Digest {
			return dir.Path(e.Name()), nil
		}
	}
	return "", nil
}
