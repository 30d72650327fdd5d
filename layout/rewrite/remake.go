package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// ErrOtherEdit is wrapped by the errors of Remake and Check about an edited file that is not
// what the records make of the packaged one.
var ErrOtherEdit = errors.New("the records are of another edit")

// Remake returns all records of an edited file, and the edit of the packaged one that made it. It
// is given those records that are in a tree's identity; the others, of its note and of what is bound
// to itself, which nothing else may know any more, the file tells. The error wraps
// ErrOtherEdit where that does not give the very bytes.
func Remake(packaged, edited []byte, records []record.EditRecord) (all []record.EditRecord, edit elfedit.Edit, err error) {
	all = slices.DeleteFunc(slices.Clone(records), record.EditRecord.IsDerived)
	info, err := elfedit.Inspect(edited)
	if err != nil {
		return nil, elfedit.Edit{}, fmt.Errorf("%w: %w", ErrOtherEdit, err)
	}
	own, err := bindable(packaged)
	if err != nil {
		return nil, elfedit.Edit{}, err
	}
	left, err := bindable(edited)
	if err != nil {
		return nil, elfedit.Edit{}, err
	}
	if self := selfRecord(own, left); self != nil {
		all = append(all, *self)
	}
	if len(info.Bound) > 0 {
		note := record.EditRecord{Kind: record.EditNote}
		for _, b := range info.Bound {
			note.To = append(note.To, b.String())
		}
		all = append(all, note)
	}
	if edit, _, err = Make(packaged, all); err != nil {
		return nil, elfedit.Edit{}, fmt.Errorf("%w: %w", ErrOtherEdit, err)
	}
	made, err := edit.Apply(packaged)
	if err != nil {
		return nil, elfedit.Edit{}, err
	}
	if !bytes.Equal(made, edited) {
		return nil, elfedit.Edit{}, ErrOtherEdit
	}
	return all, edit, nil
}

// selfRecord returns the record of a file that can be bound to own, and still can be to left; nil
// where it is bound to nothing.
func selfRecord(own, left []elfedit.Symbol) *record.EditRecord {
	r := &record.EditRecord{Kind: record.EditSelf}
	still := make(map[elfedit.Symbol]bool, len(left))
	for _, s := range left {
		still[s] = true
	}
	for _, s := range own {
		if still[s] {
			r.From = append(r.From, symbolText(s))
		}
	}
	if len(r.From) == len(own) {
		return nil
	}
	r.To = []string{SelfRules, strconv.Itoa(len(own) - len(r.From))}
	return r
}

// bindable is elfedit.SelfBindable, but for a file whose symbols cannot be read, where no loader finds
// them, either: it has none.
func bindable(file []byte) ([]elfedit.Symbol, error) {
	list, err := elfedit.SelfBindable(file)
	var format *elfedit.FormatError
	if errors.As(err, &format) {
		return nil, nil
	}
	return list, err
}

// Check returns an error where records, and what the record has of the packaged file, are not of
// the edited file that it is given with the packaged one. The error wraps ErrOtherEdit. Whether a
// file is bound to its own symbols, which takes longer than all else, is looked at where a record says
// so, or the file is of a tree that is prelocated.
func Check(edited, packaged []byte, of *elfedit.Info, records []record.EditRecord, prelocated bool) error {
	is, err := elfedit.Inspect(edited)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOtherEdit, err)
	}
	was, err := elfedit.Inspect(packaged)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOtherEdit, err)
	}
	if of == nil {
		return fmt.Errorf("%w: nothing is recorded of the packaged file", ErrOtherEdit)
	}
	if err := compare(was, of, "the packaged file", "recorded is"); err != nil {
		return fmt.Errorf("%w: %w", ErrOtherEdit, err)
	}
	if err := Compare(is, was, records); err != nil {
		return fmt.Errorf("%w: %w", ErrOtherEdit, err)
	}
	if prelocated || slices.ContainsFunc(records, isSelf) {
		return checkSelf(edited, packaged, records)
	}
	return nil
}

func isSelf(e record.EditRecord) bool { return e.Kind == record.EditSelf }

// checkSelf compares what a file is bound to with the record of that.
func checkSelf(edited, packaged []byte, records []record.EditRecord) error {
	own, err := bindable(packaged)
	if err != nil {
		return err
	}
	left, err := bindable(edited)
	if err != nil {
		return err
	}
	var says *record.EditRecord
	if i := slices.IndexFunc(records, isSelf); i >= 0 {
		says = &records[i]
	}
	is := selfRecord(own, left)
	switch {
	case is == nil && says == nil:
		return nil
	case is == nil:
		return fmt.Errorf("%w: the edited file is bound to none of its own symbols, planned were %d", ErrOtherEdit, says.SelfBound())
	case says == nil:
		return fmt.Errorf("%w: the edited file is bound to %s of its own symbols, planned was none", ErrOtherEdit, is.To[1])
	case !slices.Equal(is.To, says.To) || !slices.Equal(is.From, says.From):
		return fmt.Errorf("%w: the edited file is bound to %s of its own symbols, and not to %d; planned were %d, and not %d",
			ErrOtherEdit, is.To[1], len(is.From), says.SelfBound(), len(says.From))
	}
	return nil
}
