package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/store"
)

// applyEdits makes the planned edits of the new trees on staged copies, and reads
// every edited file again to compare it with the plan.
func applyEdits(ctx context.Context, staging *store.Staging, plan *plan.Plan) error {
	var files []*record.File
	for _, t := range plan.Trees {
		if t.Present {
			continue
		}
		for i := range t.Manifest.Files {
			if f := &t.Manifest.Files[i]; len(f.Edits) > 0 {
				files = append(files, f)
			}
		}
	}
	last := lastUses(plan)
	faults := make([]error, len(files))
	warnings := make([]string, len(files))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wg.Go(func() {
			for i := range work {
				var err error
				warnings[i], err = applyEdit(staging, files[i], last[files[i].Source])
				var refused *elfedit.RefusedError
				if errors.As(err, &refused) && !files[i].ELF.IsProgram() {
					// A library that stays as it is works where its program has
					// what it needs; only loading it by itself may not.
					files[i].Edits, err = nil, nil
					warnings[i] = fmt.Sprintf("%s is left as it is: %s", files[i].Path, refused.Reason)
				}
				if err != nil {
					faults[i] = fmt.Errorf("edit %s: %w", files[i].Path, err)
				}
			}
		})
	}
	var stopped error
	for i := range files {
		if stopped = ctx.Err(); stopped != nil {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
	for _, w := range warnings {
		if w != "" {
			plan.Warnings = append(plan.Warnings, w)
		}
	}
	return cmp.Or(firstFault(faults), stopped)
}

// lastUses returns the packaged bytes that one file of the new trees has, and no
// other: when it is edited, nobody wants them as they were.
func lastUses(plan *plan.Plan) map[digest.Digest]bool {
	uses := map[digest.Digest]bool{}
	for _, t := range plan.Trees {
		if t.Present {
			continue
		}
		for i := range t.Manifest.Files {
			d := t.Manifest.Files[i].Source
			_, twice := uses[d]
			uses[d] = !twice
		}
	}
	return uses
}

// applyEdit makes the edits of one file. A file without room for what it needs
// loses some of its protection rather than its libraries, with a warning.
func applyEdit(staging *store.Staging, f *record.File, last bool) (warning string, err error) {
	var edit elfedit.Edit
	leavesRelRO := false
	err = staging.Map(f.Source, func(b []byte) error {
		edit, leavesRelRO, err = rewrite.Make(b, f.Edits)
		return err
	})
	if err != nil {
		return "", err
	}
	if leavesRelRO {
		warning = fmt.Sprintf("%s: its dynamic section stays writable while it runs: there is no room for its libraries where that is protected (RELRO)", f.Path)
	}
	var d digest.Digest
	if d, f.Size, err = staging.Edit(f.Source, edit, last); err != nil {
		return "", err
	}
	f.Object = d
	if f.Patch, err = record.PackEdit(edit); err != nil {
		return "", err
	}
	return warning, staging.Map(d, func(b []byte) error {
		info, err := elfedit.Inspect(b)
		if err != nil {
			return err
		}
		return rewrite.Compare(info, f.ELF, f.Edits)
	})
}
