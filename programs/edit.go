package programs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// errDamaged is wrapped by the error for a recorded edit that does not lead back to
// the packaged bytes.
var errDamaged = errors.New("undoing its recorded edit does not give the packaged bytes")

// Undo returns the packaged bytes of an edited file, and the edit that its bytes
// have: nil, with data itself, when they have none of the recorded ones.
func Undo(f *record.EditedFile, data []byte) (packaged []byte, current *record.AppliedEdit, err error) {
	current = f.With(digest.Of(data))
	if current == nil {
		return data, nil, nil
	}
	edit, err := current.Patch.Edit()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %v", errDamaged, err)
	}
	packaged, err = edit.Invert().Apply(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %v", errDamaged, err)
	}
	if digest.Of(packaged) != f.Source {
		return nil, nil, errDamaged
	}
	return packaged, current, nil
}

// changes turns records of the kinds that programs of the system get into what the
// editor is asked for.
func changes(records []record.EditRecord) (elfedit.Changes, error) {
	var c elfedit.Changes
	for _, e := range records {
		switch e.Kind {
		case record.EditReplace:
			for i, from := range e.From {
				c.ReplaceNeeded = append(c.ReplaceNeeded, elfedit.Replacement{Old: from, New: e.To[i]})
			}
		case record.EditAdd:
			c.AddNeededLast = append(c.AddNeededLast, e.To...)
		case record.EditRunPath:
			c.Path = &elfedit.SearchPath{Set: &e.To[0], Form: elfedit.FormRunPath}
		default:
			return c, fmt.Errorf("an edit of the kind %q is none for a program of the system", e.Kind)
		}
	}
	return c, nil
}

// compareNames returns an error when an edited program does not have the names that
// its records say.
func compareNames(before, after *elfedit.Info, records []record.EditRecord) error {
	needed, runPath := slices.Clone(before.Needed), before.RunPath
	for _, e := range records {
		switch e.Kind {
		case record.EditReplace:
			for i, from := range e.From {
				for j := range needed {
					if needed[j] == from {
						needed[j] = e.To[i]
					}
				}
			}
		case record.EditAdd:
			needed = append(needed, e.To...)
		case record.EditRunPath:
			runPath = e.To[0]
		}
	}
	switch {
	case after.Interpreter != before.Interpreter:
		return fmt.Errorf("the edited program has the interpreter %q, not %q", after.Interpreter, before.Interpreter)
	case !slices.Equal(after.Needed, needed):
		return fmt.Errorf("the edited program needs %q, not %q", after.Needed, needed)
	case after.RunPath != runPath || after.RPath != before.RPath:
		return fmt.Errorf("the edited program has the search path %q%q, not %q%q", after.RunPath, after.RPath, runPath, before.RPath)
	case after.Soname != before.Soname:
		return fmt.Errorf("the edited program has the soname %q, not %q", after.Soname, before.Soname)
	}
	return nil
}
