package rewrite

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// SelfRules is the number of the rules by which elfedit chooses what can be bound to a file
// itself. A record of other rules cannot be made again: what it left out is left out of another whole.
const SelfRules = "2"

// maxLeftOut is of how many symbols a record of a file that is bound to itself can say that they are
// left out. Of a file with more than so many nothing is bound.
const maxLeftOut = 4096

// MakeSelf is Make with one more edit, that relocations of the file are bound to all of its own
// symbols to which they can be, but for those that are taken. It returns the record of that: To has the
// number of the rules and how many symbols it is, From those that are taken. It is nil where there is
// no symbol, and then there is no edit either.
func MakeSelf(packaged []byte, records []record.EditRecord, taken func(elfedit.Symbol) bool) (r *record.EditRecord, edit elfedit.Edit, leavesRelRO bool, err error) {
	own, err := bindable(packaged)
	if err != nil {
		return nil, elfedit.Edit{}, false, err
	}
	r = &record.EditRecord{Kind: record.EditSelf}
	var bound []elfedit.Symbol
	for _, s := range own {
		if taken(s) {
			r.From = append(r.From, symbolText(s))
		} else {
			bound = append(bound, s)
		}
	}
	if len(bound) == 0 || len(r.From) > maxLeftOut {
		return nil, elfedit.Edit{}, false, nil
	}
	r.To = []string{SelfRules, strconv.Itoa(len(bound))}
	edit, leavesRelRO, err = makeEdit(packaged, records, bound)
	return r, edit, leavesRelRO, err
}

// selfSymbols returns the symbols that a record speaks of.
func selfSymbols(packaged []byte, r record.EditRecord) ([]elfedit.Symbol, error) {
	if r.To[0] != SelfRules {
		return nil, fmt.Errorf("edit file: it was bound to itself by the rules %q, and this program knows %q", r.To[0], SelfRules)
	}
	own, err := elfedit.SelfBindable(packaged)
	if err != nil {
		return nil, err
	}
	left := make(map[string]bool, len(r.From))
	for _, text := range r.From {
		left[text] = true
	}
	own = slices.DeleteFunc(own, func(s elfedit.Symbol) bool { return left[symbolText(s)] })
	if strconv.Itoa(len(own)) != r.To[1] {
		return nil, fmt.Errorf("edit file: %d of its symbols can be bound, and the record says %s", len(own), r.To[1])
	}
	return own, nil
}

// symbolText is NAME or NAME@VERSION.
func symbolText(s elfedit.Symbol) string {
	if s.Version == "" {
		return s.Name
	}
	return s.Name + "@" + s.Version
}
