// Package collect makes closure manifests of what a root has installed.
package collect

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
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
	// See says who else picks what: the packages that have these names, and what only they need, are left out.
	See []closure.See
}

// Collect returns the closure manifest of trees of the active generation.
func Collect(ctx context.Context, o Options) (*closure.Manifest, error) {
	root := o.Repo.Root
	g := o.Relations.Generation()
	trees, leading, err := o.trees(ctx)
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
			if leading[trees[i].Path()] { // what it is going to be bound to is not known
				p.Identity = digest.Digest{}
			}
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
		Format: closure.Format, Names: o.Names, Prefix: root.Prefix(), Mirrors: o.Mirrors, See: o.See,
		Architectures: map[string][]closure.Package{g.Architecture: packages},
	}, nil
}

// trees returns the trees that a manifest is to have, and those that need what it leaves to others.
func (o *Options) trees(ctx context.Context) (trees []*record.Tree, leading map[string]bool, err error) {
	trees, _, err = o.Relations.Closure(ctx, o.Trees, nil)
	if err != nil || len(o.See) == 0 {
		return trees, nil, err
	}
	left := map[string]bool{}
	for i := range o.See {
		s := &o.See[i]
		some := false
		for _, t := range trees {
			has := t.Name == s.Name && !s.IsSoname() || s.IsSoname() && o.hasSoname(t, s.Name)
			if has && slices.Contains(o.Trees, t.Path()) {
				return nil, nil, fmt.Errorf("%s is what was asked for, and cannot be left to others", t.Spec())
			}
			left[t.Path()] = left[t.Path()] || has
			some = some || has
		}
		if !some {
			return nil, nil, fmt.Errorf("nothing that is needed has %s, so that nobody else can pick it", s.Name)
		}
	}
	maps.DeleteFunc(left, func(_ string, is bool) bool { return !is })
	return o.Relations.Closure(ctx, o.Trees, left)
}

func (o *Options) hasSoname(t *record.Tree, soname string) bool {
	return slices.Contains(t.Inner, soname) || slices.ContainsFunc(t.Links, func(l string) bool { return path.Base(l) == soname && strings.HasPrefix(l, "lib") })
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
