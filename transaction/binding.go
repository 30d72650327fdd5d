package transaction

import (
	"errors"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// setBinding sets how the files of a draft find libraries: as its package says, else
// as wanted, and where that says nothing, as those of the tree of the same name do that
// is in use.
func setBinding(draft *record.Manifest, its *record.Binding, wanted record.Binding, active *record.Generation, installed func(*record.Tree) (*record.Manifest, error)) error {
	if its != nil {
		draft.Binding = its.Recorded()
		return nil
	}
	dynamic, program := false, false
	for i := range draft.Files {
		if e := draft.Files[i].ELF; e != nil && e.HasDynamic {
			dynamic, program = true, program || e.IsProgram()
		}
	}
	for i := range active.Trees {
		t := &active.Trees[i]
		if t.Name != draft.Name || t.Architecture != draft.Architecture || t.Origin != record.OriginPrivate || !t.Default {
			continue
		}
		m, err := installed(t)
		if errors.Is(err, store.ErrNoManifest) {
			continue // what is said of that comes with the plan
		}
		if err != nil {
			return err
		}
		wanted = wanted.Or(m.Binding)
	}
	draft.Binding = wanted.Recorded()
	if !program {
		draft.Binding.Bind = "" // so that packages of libraries are the same however programs are bound
	}
	if !dynamic {
		draft.Binding.RunPath, draft.Binding.Prelocate = "", ""
	}
	return nil
}
