package programs

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Mending is what puts a program right that is neither as packaged nor as its record says.
type Mending struct {
	// Record, unless nil, is what is wrong: the program stays, and this is its record.
	Record *record.EditedFile
	// Decision, where Record is nil, gives the program its recorded edit again, or the
	// packaged bytes where that cannot be proved.
	Decision *Decision
	Was      []byte // the bytes that it has
}

// PlanMend decides how to mend a program. known is its record, nil for none that can be
// read, and packaged are its packaged bytes, as the caller has proved.
func PlanMend(root *sysroot.Root, p *Program, known *record.EditedFile, packaged []byte) (m *Mending, err error) {
	err = Read(root, p, nil, math.MaxInt64, func(f *Facts, b Bytes) (err error) {
		if f.Left == notRegular {
			return fmt.Errorf("%s %s", p.Path, f.Left)
		}
		m, err = planMend(f, b.Current, packaged, known)
		return err
	})
	return m, err
}

func planMend(f *Facts, current, packaged []byte, known *record.EditedFile) (*Mending, error) {
	m := &Mending{Was: bytes.Clone(current)}
	source := digest.Of(packaged)
	if known != nil {
		if a := known.With(digest.Of(current)); a != nil {
			if again, _, err := appliedAgain(a, packaged); err != nil {
				return nil, err
			} else if again != nil {
				m.Record = &record.EditedFile{Path: f.Path, Source: source, Applied: []record.AppliedEdit{*again}, Restored: known.Restored}
				return m, nil
			}
		}
	}
	d := &Decision{Facts: *f, Forced: true}
	d.Source, d.Record, d.Left = source, known, ""
	d.Restore = known != nil && known.Restored
	result := packaged
	if known != nil && !known.Restored && f.Sealed == "" && len(known.Applied) > 0 {
		again, edited, err := appliedAgain(&known.Applied[0], packaged)
		if err != nil {
			return nil, err
		}
		if again != nil {
			d.Desired, result = again, edited
		}
	}
	d.Edit = elfedit.Diff(current, result)
	m.Decision = d
	return m, nil
}

// appliedAgain makes a recorded edit on the packaged bytes again, by its patch or by the
// names that it changed; nil when neither gives the recorded result.
func appliedAgain(a *record.AppliedEdit, packaged []byte) (again *record.AppliedEdit, edited []byte, err error) {
	if a.Patch != nil {
		if edit, err := a.Patch.Edit(); err == nil {
			if edited, err := edit.Apply(packaged); err == nil && digest.Of(edited) == a.Object {
				return a, edited, nil
			}
		}
	}
	edit, _, err := rewrite.Make(packaged, a.Edits)
	if err != nil {
		return nil, nil, nil // the record says what cannot be
	}
	if edited, err = edit.Apply(packaged); err != nil || digest.Of(edited) != a.Object {
		return nil, nil, err
	}
	made := *a
	made.Patch, err = record.PackEdit(edit)
	return &made, edited, err
}

// LeadsTo reports whether a program searches directories below a prefix, or loads files from
// there: hashpkg has edited it.
func LeadsTo(prefix string, program []byte) bool {
	info, err := elfedit.Inspect(program)
	if err != nil {
		return false
	}
	for _, p := range append(strings.Split(info.RunPath, ":"), info.Needed...) {
		if strings.HasPrefix(p, prefix+"/") {
			return true
		}
	}
	return false
}
