package repair

import (
	"context"
	"errors"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
)

func isGenerated(m *record.Manifest, file string) bool {
	f := m.Lookup(file)
	return f != nil && f.Generated != nil
}

// lacksGenerated reports whether a file is lost that was made for a view.
func (r *repairer) lacksGenerated(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Files, func(f record.File) bool { return f.Generated != nil && r.lost[f.Object] })
}

// generateAgain makes what is lost and was made for a view again, as it was made then: of
// the same files, by the same programs. What comes out must have the recorded digest. All
// other trees have been repaired.
func (r *repairer) generateAgain(ctx context.Context, m *record.Manifest) error {
	g, planned, err := r.plannedView(m)
	if err != nil {
		return err
	}
	if planned == nil {
		r.unmade[m] = "the files of the root that it is made of have changed since, or it is of no generation any more"
		return nil
	}
	made := map[digest.Digest]bool{}
	if r.DryRun {
		for i := range m.Files {
			if f := &m.Files[i]; f.Generated != nil && r.lost[f.Object] {
				made[f.Object] = true
			}
		}
	} else {
		r.Progress(transaction.Progress{Step: "making the indexes of a view"})
		var fault error
		made, fault, err = r.writer.Regenerate(ctx, g, planned, m, func(d digest.Digest) bool { return r.lost[d] })
		if err != nil {
			return err
		}
		if fault != nil {
			r.unmade[m] = fault.Error()
		}
	}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Generated == nil || !made[f.Object] {
			continue
		}
		delete(made, f.Object)
		if !r.DryRun {
			object := store.NewObject{Digest: f.Object, Mode: f.Mode.ObjectMode()}
			if err := r.staging.PutObjects([]store.NewObject{object}, r.aside("", "objects", f.Object.String())); err != nil {
				return err
			}
			r.check.Replaced(f.Object)
		}
		delete(r.lost, f.Object)
		by := ""
		for _, g := range m.Generated {
			if g.Input == *f.Generated {
				by = g.By
			}
		}
		r.mended(r.store().Path(layout.ObjectPath(f.Object)), "is lost", "made again, as the index of "+by)
	}
	return nil
}

// plannedView returns a generation that has a view, and the view as it is planned for that; nil if
// no generation has one that would be the same today.
func (r *repairer) plannedView(m *record.Manifest) (*record.Generation, *plan.PlannedView, error) {
	for _, g := range slices.Backward(r.generations) {
		if !slices.ContainsFunc(g.Trees, func(t record.Tree) bool { return t.View == m.Tree }) {
			continue
		}
		planned, err := r.views(g)
		if errors.Is(err, store.ErrNoManifest) {
			continue // which is told of
		}
		if err != nil {
			return nil, nil, err
		}
		for i := range planned {
			is, err := transaction.IsView(r.Root, &planned[i], m)
			if err != nil {
				return nil, nil, err
			}
			if is {
				return g, &planned[i], nil
			}
		}
	}
	return nil, nil, nil
}
