// Package apply installs what closure manifests name: [Install]. What a root has of their files already is
// used where it is, what it lacks comes from sources of objects, and what those lack from the packages of
// the distributors.
package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/closure/see"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/transaction"
)

// Options say what to install, and where its files may come from.
type Options struct {
	repo.InstallOptions
	Repo     *repo.Repo
	Manifest *closure.Manifest
	Name     string // of the manifest, for people
	// Proof says why the manifest is believed; its verdict is pkginfo.Unsigned for one that nobody has signed.
	Proof pkginfo.Signature
	// See are the entries of the manifest that [see.Resolve] has answered, and Picked says why those are believed
	// who did.
	See    []closure.See
	Picked map[record.Picker]pkginfo.Signature
	// Sources are asked in their order for what the root does not have.
	Sources []objects.Source
	// NoInstall brings the files, and does no more.
	NoInstall bool
}

// Result is what came of it.
type Result struct {
	Files   int   // regular files of the closure, those of equal bytes once
	Bytes   int64 // of these
	Fetched int64 // bytes of those that the root did not have, but for those in packages
	// Packages are those, NAME=VERSION, whose files come from the package of the distributor.
	Packages []string
	// Locked is the manifest for this architecture with the identities of all trees; nil with NoInstall.
	Locked *closure.Manifest
	// InstallResult is nil with NoInstall.
	*transaction.InstallResult
}

// Install brings the files of a closure and installs its packages, in one generation: the very trees that
// the manifest has, or it is an error. Earlier versions of its packages go, as in an upgrade.
func Install(ctx context.Context, o Options) (*Result, error) {
	architecture, err := o.Root.Architecture()
	if err != nil {
		return nil, err
	}
	packages, ok := o.Manifest.Architectures[architecture]
	if !ok {
		return nil, fmt.Errorf("install %s: it is for %s, and not for %s", o.Name, strings.Join(o.Manifest.ArchitectureNames(), ", "), architecture)
	}
	if o.Manifest.Prefix != o.Root.Prefix() {
		return nil, fmt.Errorf("install %s: its trees stand in %s, and those of this root in %s", o.Name, o.Manifest.Prefix, o.Root.Prefix())
	}
	dir, err := o.Repo.ObjectsDir(ctx)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	there, err := transaction.InstalledFiles(o.Root)
	if err != nil {
		return nil, err
	}
	a := &applier{Options: o, dir: objects.NewDir(dir), there: there}
	result := &Result{}
	lacking, err := a.bring(ctx, architecture, result)
	if err != nil {
		return nil, err
	}
	lock := &repo.LockFile{Prefix: o.Manifest.Prefix, Packages: make([]repo.Locked, len(packages))}
	parts := map[string]*closure.Package{} // by tree
	var whole []repo.Locked
	for i := range packages {
		p := &packages[i]
		lock.Packages[i] = locked(p)
		parts[layout.TreePath(p.Name, p.Tree)] = p
		if lacking[p] != nil {
			whole = append(whole, lock.Packages[i])
			result.Packages = append(result.Packages, p.Spec())
		}
	}
	if err := a.fetchable(packages, lacking); err != nil {
		return nil, err
	}
	if o.NoInstall {
		return result, o.Repo.FetchLocked(ctx, whole)
	}
	o.CheckPlan = a.checkPicked
	result.InstallResult, err = o.Repo.InstallUnpacked(ctx, o.InstallOptions, o.Name, lock, o.Proof, func(l *repo.Locked) *transaction.Unpacked {
		p := parts[layout.TreePath(l.Name, l.Tree)]
		if lacking[p] != nil {
			return nil
		}
		proof := o.Proof
		if by, is := o.Picked[p.By]; is {
			proof = by
		}
		return &transaction.Unpacked{Draft: p.Draft(), Proof: proof, Open: a.open}
	})
	if err == nil {
		result.Locked = a.locked(architecture, packages, lock)
	}
	switch {
	case errors.Is(err, digest.ErrMismatch): // the disk, or somebody, changed it since it came
		err = errors.Join(advice.Errorf("%w; what had come was removed: run this again", err), a.clear(packages))
	case err == nil && result.InstallResult != nil && !o.DryRun:
		err = a.clear(packages)
	}
	return result, err
}

// locked returns a package as a lock file has it.
func locked(p *closure.Package) repo.Locked {
	return repo.Locked{
		Name: p.Name, Version: p.Version, Architecture: p.Architecture, Kind: p.Kind, Release: p.Release,
		Asked: p.Asked, OnHold: p.OnHold, Default: p.Default, Chosen: p.Chosen,
		URLs: p.From.URLs, Size: p.From.Size, Digest: p.From.Digest, Signer: p.From.Signer, Tree: p.Tree, Identity: p.Identity, Binding: p.Binding, By: p.By, BLAKE3: p.From.BLAKE3,
	}
}

// locked returns the manifest with the identities that a lock file has. They are not in it of parts.
func (a *applier) locked(architecture string, packages []closure.Package, lock *repo.LockFile) *closure.Manifest {
	m := *a.Manifest
	m.See, packages = nil, slices.Clone(packages)
	for i := range packages {
		if p := &packages[i]; p.Part == "" {
			p.Identity = lock.Packages[i].Identity
		}
	}
	m.Architectures = map[string][]closure.Package{architecture: packages}
	return &m
}

// checkPicked refuses what third parties picked where it is not what their manifests say.
func (a *applier) checkPicked(p *plan.Plan) error {
	if len(a.See) == 0 {
		return nil
	}
	var own []*record.Manifest
	picked := map[record.Picker][]*record.Manifest{}
	for i := range p.Trees {
		m := p.Trees[i].Manifest
		if _, is := a.Picked[m.Named.By]; is {
			picked[m.Named.By] = append(picked[m.Named.By], m)
		} else {
			own = append(own, m)
		}
	}
	return see.Check(a.See, own, picked)
}

type applier struct {
	Options
	dir   *objects.Dir
	there *transaction.Packaged
}

// bring brings what the root does not have, and returns the packages of which files come from nowhere but the
// package's own file, with why.
func (a *applier) bring(ctx context.Context, architecture string, result *Result) (map[*closure.Package]error, error) {
	var missing []objects.Want
	for _, w := range objects.Wants(a.Manifest, architecture) {
		result.Files++
		result.Bytes += w.Size
		if !a.there.Has(w.BLAKE3) {
			missing = append(missing, w)
		}
	}
	missing, err := a.take(ctx, missing)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	packages := a.Manifest.Architectures[architecture]
	lacking := map[*closure.Package]error{}
	if missing, err = a.leaveCached(ctx, packages, missing, lacking); err != nil {
		return nil, err
	}
	err = a.fetch(ctx, missing, result)
	var nowhere *objects.MissingError
	if !errors.As(err, &nowhere) {
		return lacking, err
	}
	for _, fault := range nowhere.Faults {
		a.Repo.Warn(fault.Error())
	}
	for p := range having(packages, nowhere.Files) {
		lacking[p] = err
	}
	return lacking, nil
}

// errCached is why a package's own file is used that is in the cache.
var errCached = errors.New("its package is in the cache")

// leaveCached takes out of missing what packages in the cache have, and adds these to lacking.
func (a *applier) leaveCached(ctx context.Context, packages []closure.Package, missing []objects.Want, lacking map[*closure.Package]error) ([]objects.Want, error) {
	var of []*closure.Package
	var lock []repo.Locked
	for p := range having(packages, missing) {
		if p.Part == "" {
			of, lock = append(of, p), append(lock, locked(p))
		}
	}
	cached, err := a.Repo.Cached(ctx, lock)
	if err != nil {
		return nil, err
	}
	in := map[digest.Digest]bool{}
	for i, p := range of {
		if !cached[i] {
			continue
		}
		lacking[p] = errCached
		for j := range p.Files {
			in[p.Files[j].BLAKE3] = true
		}
	}
	// What another package has as well comes for that one.
	other := map[digest.Digest]bool{}
	for p := range having(packages, missing) {
		if lacking[p] != nil {
			continue
		}
		for j := range p.Files {
			other[p.Files[j].BLAKE3] = true
		}
	}
	return slices.DeleteFunc(missing, func(w objects.Want) bool { return in[w.BLAKE3] && !other[w.BLAKE3] }), nil
}

// having yields the packages that have some of these files.
func having(packages []closure.Package, files []objects.Want) iter.Seq[*closure.Package] {
	is := map[digest.Digest]bool{}
	for _, w := range files {
		is[w.BLAKE3] = true
	}
	return func(yield func(*closure.Package) bool) {
		for i := range packages {
			p := &packages[i]
			if slices.ContainsFunc(p.Files, func(f closure.File) bool { return is[f.BLAKE3] }) && !yield(p) {
				return
			}
		}
	}
}

// take takes those files that the root's own package manager has brought, and returns the others.
func (a *applier) take(ctx context.Context, wants []objects.Want) ([]objects.Want, error) {
	err := objects.Fetch(ctx, a.dir, wants, []objects.Source{rootFiles{a.Root}}, nil)
	var nowhere *objects.MissingError
	if errors.As(err, &nowhere) {
		return nowhere.Files, nil
	}
	return nil, err
}

// fetch fetches files, and shows how far that has come.
func (a *applier) fetch(ctx context.Context, wants []objects.Want, result *Result) error {
	if len(a.Sources) == 0 {
		return objects.Fetch(ctx, a.dir, wants, nil, nil)
	}
	var size int64
	for _, w := range wants {
		size += w.Size
	}
	watcher := a.Repo.Watch([]int64{size})
	defer watcher.End()
	show := watcher.Progress(0)
	var came atomic.Int64
	err := objects.Fetch(ctx, a.dir, wants, a.Sources, func(n int64) {
		if n := came.Add(n); show != nil {
			show(n)
		}
	})
	result.Fetched = came.Load()
	return err
}

// fetchable returns an error for packages that lack files and that no distributor has whole.
func (a *applier) fetchable(packages []closure.Package, lacking map[*closure.Package]error) error {
	for i := range packages {
		p := &packages[i]
		err := lacking[p]
		switch {
		case err == nil, errors.Is(err, errCached):
		case p.Part != "":
			return fmt.Errorf("install %s: a part of %s comes file by file only: %w", a.Name, p.Spec(), err)
		case len(p.From.URLs) == 0 || p.From.Digest == "":
			return advice.Errorf("install %s: %w; name a mirror that has it with --mirror", a.Name, err)
		}
	}
	return nil
}

// open returns the bytes of a file: what came, or what the root has.
func (a *applier) open(f *record.File) (io.ReadCloser, error) {
	if a.there.Has(f.Source) {
		return a.there.Open(f.Source)
	}
	return a.dir.Open(f.Source)
}

// clear removes what has come and is in the store now.
func (a *applier) clear(packages []closure.Package) error {
	came := map[digest.Digest]bool{}
	for i := range packages {
		for j := range packages[i].Files {
			if f := &packages[i].Files[j]; f.Type == record.TypeFile {
				came[f.BLAKE3] = true
			}
		}
	}
	var errs []error
	for d := range came {
		errs = append(errs, a.dir.Remove(d))
	}
	return errors.Join(errs...)
}
