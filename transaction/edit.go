package transaction

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/store"
)

// editor makes the edits of a plan on the bytes that a sink has. It implements
// [plan.Editor].
type editor struct {
	ctx  context.Context // of the transaction that plans
	from packagedBytes
}

// Edit makes the edits on as many processors as there are.
func (e *editor) Edit(requests []plan.EditRequest) ([]plan.EditResult, error) {
	results := make([]plan.EditResult, len(requests))
	err := eachInParallel(e.ctx, len(requests), func(_ context.Context, i int) (err error) {
		results[i], err = e.edit(requests[i])
		return err
	})
	return results, err
}

func (e *editor) edit(r plan.EditRequest) (result plan.EditResult, err error) {
	err = e.from.Map(r.File.Source, func(packaged []byte) error {
		var edit elfedit.Edit
		if r.Taken != nil {
			result.Self, edit, result.LeavesRelRO, err = rewrite.MakeSelf(packaged, r.Edits, func(s elfedit.Symbol) bool {
				_, taken := slices.BinarySearchFunc(r.Taken, plan.SymbolOf(s), plan.CompareSymbols)
				return taken
			})
			if result.Self == nil {
				return err
			}
		} else {
			edit, result.LeavesRelRO, err = rewrite.Make(packaged, r.Edits)
		}
		if err != nil {
			return err
		}
		if !r.File.ELF.IsProgram() {
			h := digest.New()
			if err := edit.WriteTo(h, packaged); err != nil {
				return err
			}
			result.Object = digest.Sum(h)
		}
		result.Patch, err = record.PackEdit(edit)
		return err
	})
	var refused *elfedit.RefusedError
	if errors.As(err, &refused) {
		return plan.EditResult{Refused: refused.Reason}, nil
	}
	if err != nil {
		return result, fmt.Errorf("edit %s: %w", r.File.Path, err)
	}
	return result, nil
}

// applyEdits stages the edited files of a plan's new trees, reads every one again to
// compare it with the plan, and returns the manifests of these trees. The plan stays
// as it is.
func applyEdits(ctx context.Context, staging *store.Staging, p *plan.Plan) ([]*record.Manifest, error) {
	var manifests []*record.Manifest
	var files []*record.File
	for _, m := range newManifests(p.Trees) {
		m = m.Clone()
		manifests = append(manifests, m)
		for i := range m.Files {
			if f := &m.Files[i]; f.Patch != nil {
				files = append(files, f)
			}
		}
	}
	last := lastUses(manifests)
	err := eachInParallel(ctx, len(files), func(_ context.Context, i int) error {
		if err := applyEdit(staging, files[i], last[files[i].Source]); err != nil {
			return fmt.Errorf("edit %s: %w", files[i].Path, err)
		}
		return nil
	})
	return manifests, err
}

// newManifests returns the manifests of the trees that are not there yet.
func newManifests(trees []plan.PlannedTree) []*record.Manifest {
	var manifests []*record.Manifest
	for _, t := range trees {
		if !t.Present {
			manifests = append(manifests, t.Manifest)
		}
	}
	return manifests
}

// lastUses returns the packaged bytes that one file of the trees has, and no other:
// when it is edited, nobody wants them as they were.
func lastUses(manifests []*record.Manifest) map[digest.Digest]bool {
	uses := map[digest.Digest]bool{}
	for _, m := range manifests {
		for i := range m.Files {
			d := m.Files[i].Source
			_, twice := uses[d]
			uses[d] = !twice
		}
	}
	return uses
}

// applyEdit stages the edited form of a file and records its object.
func applyEdit(staging *store.Staging, f *record.File, last bool) error {
	edit, err := f.Patch.Edit()
	if err != nil {
		return err
	}
	if f.Object, f.Size, err = staging.Edit(f.Source, edit, last); err != nil {
		return err
	}
	return staging.Map(f.Object, func(edited []byte) error {
		info, err := elfedit.Inspect(edited)
		if err != nil {
			return err
		}
		return rewrite.Compare(info, f.ELF, f.Edits)
	})
}

// eachInParallel calls f with 0 to n-1, on as many processors as there are, until it
// fails or the context ends. It returns the first error.
func eachInParallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		if running.Err() != nil {
			break
		}
		g.Go(func() error { return f(running, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
