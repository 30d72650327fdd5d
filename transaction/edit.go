package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"

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
	changes, err := changesOf(f.Edits)
	if err != nil {
		return "", err
	}
	var edit elfedit.Edit
	err = staging.Map(f.Source, func(b []byte) error {
		edit, err = elfedit.Make(b, changes)
		if errors.Is(err, elfedit.ErrLeavesRelRO) {
			warning = fmt.Sprintf("%s: its dynamic section stays writable while it runs: there is no room for its libraries where that is protected (RELRO)", f.Path)
			changes.MayLeaveRelRO = true
			edit, err = elfedit.Make(b, changes)
		}
		return err
	})
	if err != nil {
		return "", err
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
		return compareEdited(info, f)
	})
}

// compareEdited returns an error when an edited file is not what was planned.
func compareEdited(info *elfedit.Info, f *record.File) error {
	want := *f.ELF
	want.Needed = slices.Clone(f.ELF.Needed)
	for _, e := range f.Edits {
		switch e.Kind {
		case record.EditInterpreter:
			want.Interpreter = e.To[0]
		case record.EditNeeded:
			want.Needed = e.To
		case record.EditReplace:
			for i, from := range e.From {
				for j := range want.Needed {
					if want.Needed[j] == from {
						want.Needed[j] = e.To[i]
					}
				}
			}
		case record.EditAdd:
			want.Needed = append(want.Needed, e.To...)
		case record.EditRunPath:
			want.RunPath, want.HasRunPath = e.To[0], e.To[0] != ""
		case record.EditRPath:
			want.RPath, want.HasRPath = e.To[0], e.To[0] != ""
		}
	}
	switch {
	case info.Interpreter != want.Interpreter:
		return fmt.Errorf("the edited file has the interpreter %q, planned was %q", info.Interpreter, want.Interpreter)
	case !slices.Equal(info.Needed, want.Needed):
		return fmt.Errorf("the edited file needs %q, planned was %q", info.Needed, want.Needed)
	case info.RunPath != want.RunPath || info.RPath != want.RPath:
		return fmt.Errorf("the edited file has the search path %q%q, planned was %q%q", info.RunPath, info.RPath, want.RunPath, want.RPath)
	case info.Soname != want.Soname:
		return fmt.Errorf("the edited file has the soname %q, it was %q", info.Soname, want.Soname)
	}
	return nil
}

// changesOf turns a file's edit records into what the editor is asked for.
func changesOf(records []record.EditRecord) (elfedit.Changes, error) {
	var c elfedit.Changes
	for _, e := range records {
		switch e.Kind {
		case record.EditInterpreter:
			c.Interpreter = &e.To[0]
		case record.EditNeeded:
			c.SetNeeded = append([]string{}, e.To...)
			c.VersionFiles = map[string]string{}
			for i, from := range e.From {
				c.VersionFiles[from] = e.To[i]
			}
		case record.EditReplace:
			for i, from := range e.From {
				c.ReplaceNeeded = append(c.ReplaceNeeded, elfedit.Replacement{Old: from, New: e.To[i]})
			}
		case record.EditAdd:
			c.AddNeededLast = append(c.AddNeededLast, e.To...)
		case record.EditRunPath, record.EditRPath:
			c.Path = &elfedit.SearchPath{Set: &e.To[0], Form: elfedit.FormRunPath}
			if e.Kind == record.EditRPath {
				c.Path.Form = elfedit.FormRPath
			}
			if e.To[0] == "" {
				c.Path = &elfedit.SearchPath{Remove: true}
			}
		default:
			return c, fmt.Errorf("an edit of the unknown kind %q", e.Kind)
		}
	}
	return c, nil
}
