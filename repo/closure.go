package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/fetch"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// Trees returns trees of the active generation as a lock file has them. Of those that came from a file,
// or of which their release has the version no more or the root no source, there is no address.
func (r *Repo) Trees(ctx context.Context, trees []*record.Tree) ([]Locked, error) {
	g, err := r.Root.Active()
	if err != nil {
		return nil, err
	}
	packages := newPackagesOf(r.Root, g)
	byRelease := map[string][]int{}
	for i, t := range trees {
		byRelease[t.Release] = append(byRelease[t.Release], i)
	}
	all := make([]Locked, len(trees))
	add := func(release string, p *Pool) error {
		for _, i := range byRelease[release] {
			m, err := r.Root.Store().Manifest(trees[i].Name, trees[i].Dir)
			if err != nil {
				return err
			}
			l, err := locked(p, trees[i], m, packages)
			if err != nil {
				return err
			}
			all[i] = *l
		}
		return nil
	}
	for _, release := range slices.Sorted(maps.Keys(byRelease)) {
		if release == "" {
			err = add(release, nil)
		} else {
			err = r.withRelease(ctx, release, func(p *Pool) error { return add(release, p) })
			if errors.Is(err, ErrNoSource) || errors.Is(err, ErrOffline) { // what came from another machine does not bring its sources
				err = add(release, nil)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return all, packages.fault
}

// InstallUnpacked is InstallLocked for packages of which the files of some have come each by itself:
// unpacked returns these, and nil for those that are fetched whole. Earlier versions of the packages, from their
// releases or of a picker, are not in the generation any more, nor are trees of the same packages that come to be
// bound otherwise, unless something that stays needs them, or they are on hold. The lock file gets the identities that it
// does not have. proof says why the lock file is believed: what it says of the signers of packages is worth no more.
func (r *Repo) InstallUnpacked(ctx context.Context, o InstallOptions, name string, lock *LockFile, proof pkginfo.Signature, unpacked func(*Locked) *transaction.Unpacked) (*transaction.InstallResult, error) {
	chosen := make([]*Selected, len(lock.Packages))
	named := map[[2]string]bool{}
	builds := map[[4]string]digest.Digest{}
	for i := range lock.Packages {
		l := &lock.Packages[i]
		chosen[i] = l.selected(name)
		if proof.Verdict != pkginfo.Good {
			chosen[i].State.Signature = proof
		}
		chosen[i].Unpacked = unpacked(l)
		named[[2]string{l.Name, l.Architecture}] = true
		builds[[4]string{l.Release, l.Name, l.Version, l.Architecture}] = l.BLAKE3
	}
	g, err := r.Root.Active()
	if err != nil {
		return nil, err
	}
	remain := map[string]bool{}
	for i := range g.Trees {
		t := &g.Trees[i]
		build, isAgain := builds[[4]string{t.Release, t.Name, t.Version, t.Architecture}]
		switch {
		case t.Origin != record.OriginPrivate, !named[[2]string{t.Name, t.Architecture}], t.Release == "" && t.By.IsZero() && !isAgain:
			remain[t.Path()] = true
		case isAgain && t.By.IsZero():
			m, err := r.Root.Store().Manifest(t.Name, t.Dir)
			if err != nil {
				return nil, err
			}
			remain[t.Path()] = m.Package.Digest != build
		}
	}
	gone, err := r.gone(g, chosen, remain, true)
	if err != nil {
		return nil, err
	}
	o.Gone = func(t *record.Tree) bool { return gone[t.Path()] }
	return r.installTheVery(ctx, o, name, lock, chosen)
}

// Get returns a small file from an address.
func (r *Repo) Get(ctx context.Context, address string, limit int64) ([]byte, error) {
	if r.Offline {
		return nil, fmt.Errorf("fetch %s: %w", backends.PlainURL(address), ErrOffline)
	}
	return r.client.Get(ctx, fetch.Request{URLs: []string{address}, Name: backends.PlainURL(address), Size: -1, Limit: limit})
}

// objectsDir is the directory of the cache for files of packages.
const objectsDir = layout.CacheDir + "/objects"

// ObjectsDir opens the directory of the cache for files of packages that come each by itself, and makes
// it if it is not there. The caller closes it.
func (r *Repo) ObjectsDir(ctx context.Context) (*beneath.Dir, error) {
	if err := r.makeDirs(ctx); err != nil {
		return nil, err
	}
	dir := r.Root.Store().Dir()
	if err := dir.MkdirAll(objectsDir, 0o755); err != nil {
		return nil, sysroot.Hint(fmt.Errorf("open the cache: %w", err))
	}
	if err := dir.SweepTemp(objectsDir, beneath.AbandonedAfter); err != nil { // of killed runs
		return nil, err
	}
	return dir.OpenDir(objectsDir)
}

// Cached reports of packages of a lock file which of them are in the cache, or are now, since apt had them.
func (r *Repo) Cached(ctx context.Context, locked []Locked) ([]bool, error) {
	dir, err := r.cacheDir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	there := make([]bool, len(locked))
	for i := range locked {
		it := locked[i].selected("").item()
		name, err := cacheName(it.digest)
		if err != nil {
			continue // nothing that can be fetched
		}
		if there[i], err = r.inCache(ctx, dir, name, &it); err != nil {
			return nil, err
		}
	}
	return there, nil
}

// FetchLocked brings package files of a lock file into the cache.
func (r *Repo) FetchLocked(ctx context.Context, locked []Locked) error {
	if len(locked) == 0 {
		return nil
	}
	if err := r.makeDirs(ctx); err != nil {
		return err
	}
	items := make([]item, len(locked))
	for i := range locked {
		items[i] = locked[i].selected("").item()
	}
	return r.fetchAll(ctx, items, func(int, string) {})
}
