// Package collect makes closure manifests of what a root has installed.
package collect

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

// Options say what a manifest is to have.
type Options struct {
	Repo      *repo.Repo
	Relations *relations.Relations
	Names     []string // what was asked for, as people named it
	Trees     []string // of these, the paths of their trees
	Mirrors   []string // templates of addresses, see [closure.Manifest]
	NoData    bool     // leaves the packages' data out
}

// Collect returns the closure manifest of trees of the active generation.
func Collect(ctx context.Context, o Options) (*closure.Manifest, error) {
	root := o.Repo.Root
	g := o.Relations.Generation()
	trees, err := o.Relations.Closure(ctx, o.Trees)
	if err != nil {
		return nil, err
	}
	locked, err := o.Repo.Trees(ctx, trees)
	if err != nil {
		return nil, err
	}
	packaged := transaction.NewPackaged(root.Store())
	manifests := make([]*record.Manifest, len(trees))
	for i, t := range trees {
		if manifests[i], err = root.Store().Manifest(t.Name, t.Dir); err != nil {
			return nil, err
		}
		packaged.Learn(manifests[i])
	}
	packages := make([]closure.Package, len(trees))
	tasks, running := errgroup.WithContext(ctx)
	tasks.SetLimit(runtime.GOMAXPROCS(0))
	for i := range trees {
		tasks.Go(func() error {
			if err := running.Err(); err != nil {
				return err
			}
			p, err := closure.NewPackage(manifests[i], sums(packaged))
			if err != nil {
				return fmt.Errorf("read %s: %w", trees[i].Spec(), err)
			}
			l := &locked[i]
			p.Release, p.Asked, p.OnHold, p.Default, p.Chosen, p.Identity = l.Release, l.Asked, l.OnHold, l.Default, l.Chosen, l.Identity
			p.From.Digest, p.From.URLs = l.Digest, l.URLs
			packages[i] = *p
			return nil
		})
	}
	if err := tasks.Wait(); err != nil {
		return nil, err
	}
	closure.MarkPlugins(packages, named(manifests))
	if o.NoData {
		for i := range packages {
			packages[i].LeaveOutData()
		}
	}
	return &closure.Manifest{
		Format: closure.Format, Names: o.Names, Prefix: root.Prefix(), Mirrors: o.Mirrors,
		Architectures: map[string][]closure.Package{g.Architecture: packages},
	}, nil
}

// sums returns what computes the SHA-256 of packaged bytes.
func sums(packaged *transaction.Packaged) func(*record.File) (closure.SHA256, error) {
	return func(f *record.File) (sum closure.SHA256, err error) {
		err = packaged.Map(f.Source, func(b []byte) error {
			sum = sha256.Sum256(b)
			return nil
		})
		return sum, err
	}
}

// named returns the names that files of trees ask for.
func named(manifests []*record.Manifest) map[string]bool {
	names := map[string]bool{}
	for _, m := range manifests {
		for i := range m.Files {
			f := &m.Files[i]
			if f.ELF == nil {
				continue
			}
			for _, n := range f.ELF.Needed {
				names[n] = true
			}
			if f.ELF.Interpreter != "" {
				names[path.Base(f.ELF.Interpreter)] = true
			}
		}
	}
	return names
}
