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
const SelfRules = "1"

// maxLeftOut is of how many symbols a record of a file that is bound to itself can say that they are
// left out. Of a file with more than so many nothing is bound.
const maxLeftOut = 4096

// SelfRecord returns the record that relocations of a file are bound to all of its own
// symbols to which they can be, but for those that are taken; nil where there is no
// such symbol. To has the number of the rules and how many symbols it is, From those that are taken.
func SelfRecord(packaged []byte, taken func(elfedit.Symbol) bool) (*record.EditRecord, error) {
	own, err := elfedit.SelfBindable(packaged)
	if err != nil {
		return nil, err
	}
	r := &record.EditRecord{Kind: record.EditSelf}
	for _, s := range own {
		if taken(s) {
			r.From = append(r.From, symbolText(s))
		}
	}
	bound := len(own) - len(r.From)
	if bound == 0 || len(r.From) > maxLeftOut {
		return nil, nil
	}
	r.To = []string{SelfRules, strconv.Itoa(bound)}
	return r, nil
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
