package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/transaction"
)

// lockFormat is the number of the form of lock files.
const lockFormat = 1

// LockFile is what it takes to install the same packages again, on any machine.
type LockFile struct {
	Format   int      `json:"format"`
	Prefix   string   `json:"prefix"` // that of the trees, which is in what they are
	Packages []Locked `json:"packages"`
}

// Locked is one package of a lock file.
type Locked struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Architecture string         `json:"architecture"`
	Kind         pkginfo.Format `json:"kind"`
	Release      string         `json:"release"`
	Asked        bool           `json:"asked,omitempty"`
	OnHold       bool           `json:"on_hold,omitempty"`
	Default      bool           `json:"default,omitempty"`
	Chosen       bool           `json:"chosen,omitempty"`
	URLs         []string       `json:"urls"`
	Size         int64          `json:"size"`
	Digest       string         `json:"digest"` // of the package file: "sha256:HEX"
	Signer       string         `json:"signer,omitempty"`
	Tree         string         `json:"tree"`
	Identity     digest.Digest  `json:"identity"` // of the tree
	Binding      record.Binding `json:"binding,omitzero"`
}

// Lock returns what it takes to install again what was installed by name.
func (r *Repo) Lock(ctx context.Context) (*LockFile, error) {
	g, err := r.Root.Active()
	if err != nil {
		return nil, err
	}
	lock := &LockFile{Format: lockFormat, Prefix: r.Root.Prefix(), Packages: []Locked{}}
	trees, releases := byRelease(g)
	for _, release := range releases {
		err := r.withRelease(ctx, release, func(p *Pool) error {
			for _, t := range trees[release] {
				l, err := r.lockTree(p, t)
				if err != nil {
					return err
				}
				lock.Packages = append(lock.Packages, *l)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return lock, nil
}

func (r *Repo) lockTree(p *Pool, t *record.Tree) (*Locked, error) {
	m, err := r.Root.Store().Manifest(t.Name, t.Dir)
	if err != nil {
		return nil, err
	}
	file := m.Package
	all, err := p.Named(t.Name)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Version == t.Version && a.Architecture == t.Architecture && a.Size == file.Size {
			it := (&Selected{Available: a}).item()
			return &Locked{
				Name: t.Name, Version: t.Version, Architecture: t.Architecture, Kind: t.Format, Release: t.Release,
				Asked: t.Asked, OnHold: t.OnHold, Default: t.Default, Chosen: t.Chosen,
				URLs: plainURLs(it.urls), Size: a.Size, Digest: a.Digest, Signer: file.Signer, Tree: t.Dir, Identity: t.Identity, Binding: m.Binding,
			}, nil
		}
	}
	return nil, advice.Errorf("lock %s: %s has this version no more, so that nothing says where another machine gets it; run hashpkg upgrade first", t.Spec(), t.Release)
}

// plainURLs returns addresses without user and password, which are not for who gets a
// lock file.
func plainURLs(urls []string) []string {
	plain := make([]string, len(urls))
	for i, u := range urls {
		plain[i] = backends.PlainURL(u)
	}
	return plain
}

// ReadLockFile reads what Lock wrote.
func ReadLockFile(name string, text []byte) (*LockFile, error) {
	var lock LockFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&lock); err != nil {
		return nil, fmt.Errorf("read lock file %s: %v", name, err)
	}
	if lock.Format != lockFormat {
		return nil, fmt.Errorf("read lock file %s: it has the form %d, and this program knows %d", name, lock.Format, lockFormat)
	}
	for _, l := range lock.Packages {
		_, err := cacheName(l.Digest)
		if err == nil {
			err = l.Binding.Check()
		}
		if err == nil && len(l.URLs) == 0 {
			err = errors.New("nothing says where it comes from")
		}
		if err != nil {
			return nil, fmt.Errorf("read lock file %s: %s: %v", name, l.Name, err)
		}
	}
	return &lock, nil
}

// InstallLocked installs what a lock file has: the very same trees, or it is an error.
func (r *Repo) InstallLocked(ctx context.Context, o InstallOptions, name string, lock *LockFile) (*transaction.InstallResult, error) {
	if lock.Prefix != r.Root.Prefix() {
		return nil, fmt.Errorf("install %s: its trees stand in %s, and those of this root in %s", name, lock.Prefix, r.Root.Prefix())
	}
	chosen := make([]*Selected, len(lock.Packages))
	for i := range lock.Packages {
		l := &lock.Packages[i]
		chosen[i] = &Selected{
			Available: &Available{
				Listed: &pkginfo.Listed{
					Package: pkginfo.Package{Format: l.Kind, Name: l.Name, Version: l.Version, Architecture: l.Architecture},
					Path:    l.URLs[0], Size: l.Size, Digest: l.Digest,
				},
				Source: &backends.Source{Format: l.Kind, Name: l.Release, Release: l.Release},
				State: &State{Signature: pkginfo.Signature{
					Verdict: pkginfo.Good, Signer: l.Signer, Reason: "by its digest in " + name,
				}},
			},
			Asked: l.Asked, OnHold: l.OnHold, URLs: l.URLs, Binding: &l.Binding, Tree: l.Tree,
		}
	}
	o.CheckPlan = func(p *plan.Plan) error { return lock.check(name, p) }
	return r.install(ctx, o, chosen)
}

// check compares a plan with the trees that a lock file has: they are the same, no more and
// no fewer.
func (lock *LockFile) check(name string, p *plan.Plan) error {
	for _, l := range lock.Packages {
		if slices.ContainsFunc(p.Trees, l.isTree) {
			continue
		}
		other := slices.IndexFunc(lock.Packages, func(o Locked) bool { return o.Digest == l.Digest && o.Identity != l.Identity })
		if other >= 0 && lock.Packages[other].Release == l.Release {
			return fmt.Errorf("install %s: it has %s=%s twice, bound to different trees: one install cannot make both; install what needs it by one command, and lock again",
				name, l.Name, l.Version)
		}
		if other >= 0 {
			return fmt.Errorf("install %s: it has %s=%s twice, of %s and of %s, each bound to its own release: one install cannot make both; remove one of them and lock again",
				name, l.Name, l.Version, l.Release, lock.Packages[other].Release)
		}
		return fmt.Errorf("install %s: the tree of %s=%s would be another one on this machine: what it would be bound to is not the same", name, l.Name, l.Version)
	}
	for _, t := range p.Trees {
		if !slices.ContainsFunc(lock.Packages, func(l Locked) bool { return l.isTree(t) }) {
			return fmt.Errorf("install %s: it does not have the tree of %s=%s", name, t.Name, t.Version)
		}
	}
	return nil
}

// isTree reports whether a planned tree is the one that was locked.
func (l *Locked) isTree(t plan.PlannedTree) bool {
	return l.Name == t.Name && l.Version == t.Version && l.Architecture == t.Architecture && l.Identity == t.Identity
}
