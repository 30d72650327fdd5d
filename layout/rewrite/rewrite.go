// Package rewrite makes and undoes the edits that records describe: [Make] turns a
// file's edit records into an edit of its packaged bytes, [Compare] checks what came
// of it, and [Undo] gives the packaged bytes back and proves that they are these.
//
// Which edits a file gets is decided by its callers, and so is what becomes of the
// bytes; nothing here reads or writes a disk.
package rewrite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// ErrNotPackaged is wrapped by the error of Undo when undoing the recorded edit does
// not give the bytes that the package has.
var ErrNotPackaged = errors.New("undoing the recorded edit does not give the packaged bytes")

// Changes returns what elfedit is asked for to make the edits of records. The error
// names a record of an unknown kind, or one whose lists of names do not fit its kind.
func Changes(records []record.EditRecord) (elfedit.Changes, error) {
	var c elfedit.Changes
	for _, e := range records {
		if err := check(e); err != nil {
			return c, err
		}
		switch e.Kind {
		case record.EditInterpreter:
			c.Interpreter = &e.To[0]
		case record.EditNeeded:
			c.SetNeeded = append([]string{}, e.To...)
			c.VersionFiles = map[string]string{}
			for i, from := range e.From {
				if from != "" {
					c.VersionFiles[from] = e.To[i]
				}
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
		case record.EditNote:
			c.Bound = bound(e)
		case record.EditSelf: // which depends on the file
		}
	}
	return c, nil
}

// check returns an error for a record that says nothing that could be done. Records
// are read from files, and a damaged one must not stop the program.
func check(e record.EditRecord) error {
	fits := true
	switch e.Kind {
	case record.EditInterpreter, record.EditRunPath, record.EditRPath:
		fits = len(e.To) == 1
	case record.EditNeeded, record.EditReplace:
		fits = len(e.From) == len(e.To)
	case record.EditAdd:
	case record.EditSelf:
		if len(e.To) != 2 {
			return errors.New("read edit record: what is bound to the file itself has no rules and number")
		}
	case record.EditNote:
		if len(bound(e)) != len(e.To) {
			return errors.New("read edit record: a note has lines that are no digest and path")
		}
	default:
		return fmt.Errorf("read edit record: unknown kind %q", e.Kind)
	}
	if !fits {
		return fmt.Errorf("read edit record: the kind %q does not go with %d old names and %d new ones", e.Kind, len(e.From), len(e.To))
	}
	return nil
}

// bound returns the libraries of a note's record, those that can be read.
func bound(e record.EditRecord) (list []elfedit.Bound) {
	for _, line := range e.To {
		if b, ok := elfedit.ParseBound(line); ok {
			list = append(list, b)
		}
	}
	return list
}

// Make computes the edit of a file's packaged bytes that records describe. Where its
// dynamic section has no room for more entries in what RELRO protects, the section
// moves out of it, and leavesRelRO is true: a program that does not start is worse
// than one that is protected less.
//
// The error is a *elfedit.RefusedError when the file is sound and cannot be edited so.
func Make(packaged []byte, records []record.EditRecord) (edit elfedit.Edit, leavesRelRO bool, err error) {
	var self []elfedit.Symbol
	for _, r := range records {
		if r.Kind != record.EditSelf {
			continue
		}
		if err := check(r); err != nil {
			return elfedit.Edit{}, false, err
		}
		if self, err = selfSymbols(packaged, r); err != nil {
			return elfedit.Edit{}, false, err
		}
	}
	return makeEdit(packaged, records, self)
}

func makeEdit(packaged []byte, records []record.EditRecord, self []elfedit.Symbol) (edit elfedit.Edit, leavesRelRO bool, err error) {
	changes, err := Changes(records)
	if err != nil {
		return elfedit.Edit{}, false, err
	}
	changes.SelfBind = self
	edit, err = elfedit.Make(packaged, changes)
	if errors.Is(err, elfedit.ErrLeavesRelRO) {
		leavesRelRO, changes.MayLeaveRelRO = true, true
		edit, err = elfedit.Make(packaged, changes)
	}
	if err != nil {
		return elfedit.Edit{}, false, err
	}
	return edit, leavesRelRO, nil
}

// Compare returns an error when an edited file is not what records make of the
// packaged one. It says what differs.
func Compare(edited, packaged *elfedit.Info, records []record.EditRecord) error {
	expected := *packaged
	expected.Needed = slices.Clone(packaged.Needed)
	for _, e := range records {
		if err := check(e); err != nil {
			return err
		}
		switch e.Kind {
		case record.EditInterpreter:
			expected.Interpreter = e.To[0]
		case record.EditNeeded:
			expected.Needed = e.To
		case record.EditReplace:
			for i, from := range e.From {
				for j := range expected.Needed {
					if expected.Needed[j] == from {
						expected.Needed[j] = e.To[i]
					}
				}
			}
		case record.EditAdd:
			expected.Needed = append(expected.Needed, e.To...)
		case record.EditRunPath:
			expected.RunPath, expected.RPath = e.To[0], ""
		case record.EditRPath:
			expected.RPath, expected.RunPath = e.To[0], ""
		case record.EditNote:
			expected.Bound = bound(e)
		}
	}
	return compare(edited, &expected, "the edited file", "planned was")
}

// compare returns an error that says what of two files is not the same.
func compare(is, expected *elfedit.Info, file, was string) error {
	switch {
	case !slices.Equal(is.Bound, expected.Bound):
		return fmt.Errorf("%s has a note of %d libraries, %s one of %d", file, len(is.Bound), was, len(expected.Bound))
	case is.Interpreter != expected.Interpreter:
		return fmt.Errorf("%s has the interpreter %q, %s %q", file, is.Interpreter, was, expected.Interpreter)
	case !slices.Equal(is.Needed, expected.Needed):
		return fmt.Errorf("%s needs %q, %s %q", file, is.Needed, was, expected.Needed)
	case is.RunPath != expected.RunPath:
		return fmt.Errorf("%s has the RUNPATH %q, %s %q", file, is.RunPath, was, expected.RunPath)
	case is.RPath != expected.RPath:
		return fmt.Errorf("%s has the RPATH %q, %s %q", file, is.RPath, was, expected.RPath)
	case is.Soname != expected.Soname:
		return fmt.Errorf("%s has the soname %q, %s %q", file, is.Soname, was, expected.Soname)
	}
	return nil
}

// Undo returns the packaged bytes of an edited file, which have the digest source.
// The error wraps ErrNotPackaged when the patch was not made of this file, or gives
// other bytes; it does not for a patch that cannot be read.
func Undo(edited []byte, patch *record.Patch, source digest.Digest) (packaged []byte, err error) {
	return undo(edited, patch, source, elfedit.Edit.Apply)
}

// UndoIn is Undo without a copy of the file: edited, which nobody else may use, becomes the
// packaged bytes. After an error it is neither.
func UndoIn(edited []byte, patch *record.Patch, source digest.Digest) (packaged []byte, err error) {
	return undo(edited, patch, source, elfedit.Edit.ApplyTo)
}

func undo(edited []byte, patch *record.Patch, source digest.Digest, apply func(elfedit.Edit, []byte) ([]byte, error)) (packaged []byte, err error) {
	if patch == nil {
		return nil, errors.New("undo edit: the record has no patch")
	}
	edit, err := patch.Edit()
	if err != nil {
		return nil, fmt.Errorf("undo edit: %w", err)
	}
	packaged, err = apply(edit.Invert(), edited)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotPackaged, err)
	}
	if have := digest.Of(packaged); have != source {
		return nil, fmt.Errorf("%w: it gives %s, and the package has %s", ErrNotPackaged, have, source)
	}
	return packaged, nil
}
