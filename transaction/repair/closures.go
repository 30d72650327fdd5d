package repair

import (
	"context"
	"slices"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
)

// maxClosure bounds a closure object, which has a list of paths.
const maxClosure = 16 << 20

// repairClosures makes the manifests again of closure objects that frozen programs need: they
// follow from the objects, whose digests are the names of their trees. Where the object is lost
// as well, a sync makes both.
func (r *repairer) repairClosures(context.Context) error {
	if len(r.Specs) > 0 {
		return nil
	}
	keys, err := r.Root.EditedPackages()
	if err != nil {
		return err
	}
	var trees []string // by their directories
	for _, key := range keys {
		edits, err := r.Root.Edits(key)
		if err != nil {
			r.note("%v", err)
			continue
		}
		for i := range edits.Files {
			for _, a := range edits.Files[i].Applied {
				for _, p := range a.Pins {
					if p.Library == layout.ClosuresName && !slices.Contains(trees, p.Tree) && r.manifests[p.Path()] == nil {
						trees = append(trees, p.Tree)
					}
				}
			}
		}
	}
	for _, tree := range trees {
		p := layout.TreePath(layout.ClosuresName, tree)
		what := r.unreadable[p]
		if what == "" {
			what = "is missing"
		}
		if m := r.closureOf(p); m != nil && m.Tree == tree {
			if err := r.putManifest(m, what, "made again from the closure object"); err != nil {
				return err
			}
			delete(r.unreadable, p)
			continue
		}
		r.remains(store.Damage{Kind: store.DamageManifest, Tree: p, Path: r.store().Path(layout.ManifestPath(layout.ClosuresName, tree)), What: what},
			transaction.ClosureHint)
	}
	return nil
}

// closureOf returns the manifest of a closure object's tree, by the object that is in it; nil
// where there is none that can be read.
func (r *repairer) closureOf(tree string) *record.Manifest {
	b, err := r.store().Dir().ReadFile(tree+"/"+layout.ClosureFile, maxClosure)
	if err != nil {
		return nil // a sync makes it again
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		return nil
	}
	m, _, err := record.ClosureTree(&elfedit.Closure{Class: info.Class, Data: info.Data, Machine: info.Machine, Flags: info.Flags, Needed: info.Needed})
	if err != nil {
		return nil
	}
	return m
}
