// Package verify compares what stands on the disk with what records say of it:
// [Trees] the trees, links and manifests of a generation, [System] the files of the
// packages that a package manager has installed. What it finds is damage as typed
// values. It changes nothing.
package verify

import (
	"cmp"
	"errors"
	"slices"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Report is what a verification has found.
type Report struct {
	Checked int            `json:"checked"` // files and links
	Damaged []store.Damage `json:"damaged"`
}

// Trees reads every file of the trees that specs name in the active generation, or
// without specs of all of them and of its links, and compares it with the manifests.
// progress, if not nil, is told the bytes read so far, from any goroutine.
func Trees(root *sysroot.Root, specs []query.Spec, progress func(bytes int64)) (*Report, error) {
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	report := &Report{Damaged: []store.Damage{}}
	trees, err := named(g, specs)
	if err != nil {
		return nil, err
	}
	if len(specs) == 0 && g.ID != 0 {
		if err := report.addFarm(root, g); err != nil {
			return nil, err
		}
	}
	var manifests []*record.Manifest
	for _, t := range trees {
		if m := report.manifest(root.Store(), t); m != nil {
			manifests = append(manifests, m)
		}
	}
	checked, damaged, err := root.Store().Verify(manifests, progress)
	if err != nil {
		return nil, err
	}
	report.Checked += checked
	report.Damaged = append(report.Damaged, damaged...)
	return report, nil
}

// named returns the trees of a generation that specs name; without any, all.
func named(g *record.Generation, specs []query.Spec) ([]*record.Tree, error) {
	var trees []*record.Tree
	for _, spec := range specs {
		t, err := query.Best(g, spec)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	if len(specs) == 0 {
		for i := range g.Trees {
			trees = append(trees, &g.Trees[i])
		}
	}
	return trees, nil
}

// addFarm verifies the links of a generation.
func (r *Report) addFarm(root *sysroot.Root, g *record.Generation) error {
	checked, faults, err := root.VerifyFarm(g)
	if err != nil {
		return err
	}
	r.Checked += checked
	for _, f := range faults {
		r.Damaged = append(r.Damaged, store.Damage{Kind: store.DamageLink, Path: root.Store().Path(f.Name), What: f.What})
	}
	slices.SortFunc(r.Damaged, func(a, b store.Damage) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// manifest returns the manifest of a tree; nil when it cannot be read, which is
// damage.
func (r *Report) manifest(s *store.Store, t *record.Tree) *record.Manifest {
	m, err := s.Manifest(t.Name, t.Tree)
	what := ""
	switch {
	case errors.Is(err, store.ErrNoManifest):
		what = "is missing"
	case err != nil:
		what = err.Error()
	case m.Identity != t.Identity:
		what = "is the manifest of another identity"
	}
	if what != "" {
		r.Damaged = append(r.Damaged, store.Damage{
			Kind: store.DamageManifest, Package: t.Spec(), Tree: t.Path(), Path: s.Path(layout.ManifestPath(t.Name, t.Tree)), What: what,
		})
	}
	return m
}
