package repo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// lockFormat is the number of the form of lock files.
const lockFormat = 2

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
	Identity     digest.Digest  `json:"identity"` // of the tree, see [plan.Portable]; zero where it is not compared: of a part of a package, and of what is bound to what others pick
	Binding      record.Binding `json:"binding,omitzero"`
	By           record.Picker  `json:"by,omitzero"` // see [record.Named]
	BLAKE3       digest.Digest  `json:"-"`           // of the package file; zero where nobody knows it
}

// Lock returns what it takes to install again what was installed by name.
func (r *Repo) Lock(ctx context.Context) (*LockFile, error) {
	g, err := r.Root.Active()
	if err != nil {
		return nil, err
	}
	lock := &LockFile{Format: lockFormat, Prefix: r.Root.Prefix(), Packages: []Locked{}}
	packages := newPackagesOf(r.Root, g)
	trees, releases := byRelease(g)
	for _, release := range releases {
		err := r.withRelease(ctx, release, func(p *Pool) error {
			for _, t := range trees[release] {
				l, err := r.lockTree(p, t, packages)
				if err != nil {
					return err
				}
				lock.add(l)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return lock, packages.fault
}

// add adds a tree, but for one that one install makes with another: of trees that differ only in what
// their libraries are bound to of their own, or in being bound to such, it makes one that serves for both.
func (lock *LockFile) add(l *Locked) {
	i := slices.IndexFunc(lock.Packages, func(o Locked) bool {
		return o.Digest == l.Digest && o.Release == l.Release && o.Identity == l.Identity && o.Name == l.Name
	})
	if i < 0 {
		lock.Packages = append(lock.Packages, *l)
		return
	}
	o := &lock.Packages[i]
	o.Asked, o.OnHold, o.Default, o.Chosen = o.Asked || l.Asked, o.OnHold || l.OnHold, o.Default || l.Default, o.Chosen || l.Chosen
	if len(l.Tree) < len(o.Tree) {
		o.Tree = l.Tree // the plain one, which there is nothing beside on another machine
	}
}

// packagesOf finds the packages of trees, for [plan.Portable].
type packagesOf struct {
	root  *sysroot.Root
	known map[string]digest.Digest // by tree; zero where its manifest is not read yet
	fault error                    // the first
}

func newPackagesOf(root *sysroot.Root, g *record.Generation) *packagesOf {
	p := &packagesOf{root, map[string]digest.Digest{}, nil}
	for i := range g.Trees {
		p.known[g.Trees[i].Path()] = digest.Digest{}
	}
	return p
}

// find returns the digest of the package of a tree.
func (p *packagesOf) find(tree string) (digest.Digest, bool) {
	d, isTree := p.known[tree]
	if !isTree || d != (digest.Digest{}) {
		return d, isTree
	}
	name, dir, _ := strings.Cut(tree, "/")
	m, err := p.root.Store().Manifest(name, dir)
	if err != nil {
		p.fault = cmp.Or(p.fault, err)
		return d, true
	}
	p.known[tree] = m.Package.Digest
	return m.Package.Digest, true
}

func (r *Repo) lockTree(p *Pool, t *record.Tree, packages *packagesOf) (*Locked, error) {
	m, err := r.Root.Store().Manifest(t.Name, t.Dir)
	if err != nil {
		return nil, err
	}
	l, err := locked(p, t, m, packages)
	if err == nil && l.URLs == nil {
		err = advice.Errorf("lock %s: %s has this version no more, so that nothing says where another machine gets it; run hashpkg upgrade first", t.Spec(), t.Release)
	}
	return l, err
}

// locked returns a tree as a lock file has it; without an address and the distributor's digest where a
// release has this version no more, or p is nil.
func locked(p *Pool, t *record.Tree, m *record.Manifest, packages *packagesOf) (*Locked, error) {
	l := &Locked{
		Name: t.Name, Version: t.Version, Architecture: t.Architecture, Kind: t.Format, Release: t.Release,
		Asked: t.Asked, OnHold: t.OnHold, Default: t.Default, Chosen: t.Chosen,
		Size: m.Package.Size, Signer: m.Package.Signer, Tree: t.Dir, Identity: plan.Portable(m, packages.find), Binding: m.Binding, By: t.By,
	}
	if p == nil {
		return l, nil
	}
	all, err := p.Named(t.Name)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Version == t.Version && a.Architecture == t.Architecture && a.Size == l.Size {
			l.URLs, l.Digest = plainURLs((&Selected{Available: a}).item().urls), a.Digest
			break
		}
	}
	return l, nil
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
		return nil, advice.Errorf("read lock file %s: it has the form %d, and this program knows %d; write it again with hashpkg lock", name, lock.Format, lockFormat)
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

// InstallLocked installs what a lock file has: the same trees, or it is an error.
func (r *Repo) InstallLocked(ctx context.Context, o InstallOptions, name string, lock *LockFile) (*transaction.InstallResult, error) {
	chosen := make([]*Selected, len(lock.Packages))
	for i := range lock.Packages {
		chosen[i] = lock.Packages[i].selected(name)
	}
	return r.installTheVery(ctx, o, name, lock, chosen)
}

// selected returns a package of the lock file name as one that was selected.
func (l *Locked) selected(name string) *Selected {
	s := &Selected{
		Available: &Available{
			Listed: &pkginfo.Listed{
				Package: pkginfo.Package{Format: l.Kind, Name: l.Name, Version: l.Version, Architecture: l.Architecture},
				Size:    l.Size, Digest: l.Digest,
			},
			Source: &backends.Source{Format: l.Kind, Name: l.Release, Release: l.Release},
			State: &State{Signature: pkginfo.Signature{
				Verdict: pkginfo.Good, Signer: l.Signer, Reason: "by its digest in " + name,
			}},
		},
		Asked: l.Asked, OnHold: l.OnHold, URLs: l.URLs, Binding: &l.Binding, Tree: l.Tree, By: l.By,
	}
	if len(l.URLs) > 0 {
		s.Path = l.URLs[0]
	}
	return s
}

// installTheVery installs what was chosen by a lock file, if it becomes the trees that this has. It adds to the
// lock file the identities that it does not have.
func (r *Repo) installTheVery(ctx context.Context, o InstallOptions, name string, lock *LockFile, chosen []*Selected) (*transaction.InstallResult, error) {
	if lock.Prefix != r.Root.Prefix() {
		return nil, fmt.Errorf("install %s: its trees stand in %s, and those of this root in %s", name, lock.Prefix, r.Root.Prefix())
	}
	also := o.CheckPlan
	o.CheckPlan = func(p *plan.Plan) error {
		g, err := r.Root.Active()
		if err != nil {
			return err
		}
		packages := newPackagesOf(r.Root, g)
		for _, t := range p.Trees {
			packages.known[layout.TreePath(t.Name, t.Tree)] = t.Manifest.Package.Digest
		}
		identities := make([]digest.Digest, len(p.Trees))
		for i, t := range p.Trees {
			identities[i] = plan.Portable(t.Manifest, packages.find)
		}
		if err := cmp.Or(packages.fault, lock.check(name, p.Trees, identities)); err != nil {
			return err
		}
		lock.complete(p.Trees, identities)
		if also != nil {
			return also(p)
		}
		return nil
	}
	return r.install(ctx, o, chosen)
}

// check compares planned trees with those that a lock file has: they are the same, no more and
// no fewer. identities are those of the trees, see [plan.Portable].
func (lock *LockFile) check(name string, trees []plan.PlannedTree, identities []digest.Digest) error {
	is := func(l Locked, i int) bool {
		return l.isOf(&trees[i]) && (l.Identity == identities[i] || l.Identity.IsZero())
	}
	for _, l := range lock.Packages {
		planned := false
		for i := range trees {
			planned = planned || is(l, i)
		}
		if planned {
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
	for i, t := range trees {
		if !slices.ContainsFunc(lock.Packages, func(l Locked) bool { return is(l, i) }) {
			return fmt.Errorf("install %s: it does not have the tree of %s=%s", name, t.Name, t.Version)
		}
	}
	return nil
}

// isOf reports whether a planned tree is of the package.
func (l *Locked) isOf(t *plan.PlannedTree) bool {
	return l.Name == t.Name && l.Version == t.Version && l.Architecture == t.Architecture
}

// complete adds the identities of planned trees where there are none.
func (lock *LockFile) complete(trees []plan.PlannedTree, identities []digest.Digest) {
	for i := range lock.Packages {
		l := &lock.Packages[i]
		for j := range trees {
			if l.Identity.IsZero() && l.isOf(&trees[j]) {
				l.Identity = identities[j]
			}
		}
	}
}
