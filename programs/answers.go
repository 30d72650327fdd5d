package programs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// Symbols tells of files of the root, by their paths, what they answer and what they do not ask.
type Symbols interface {
	// Exports returns the symbols by which a file answers others.
	Exports(path string) ([]elfedit.Symbol, error)
	// Bound returns the symbols for which a file of a tree asks nobody, since it is bound to its
	// own; none for a file that asks for all.
	Bound(path string) ([]elfedit.Symbol, error)
}

// wouldNotDo begins the reasons that a program does other things with what it is to load.
const wouldNotDo = "would not do the same: "

// answered returns why a program that loads a closure would not do the same as with the libraries as
// they are packaged: one of them is bound to a symbol of its own that another file answers. What is bound in
// private trees was compared with all that private programs load, and not with the system's.
func answered(c *ldso.Closure, symbols Symbols) (Reason, error) {
	if symbols == nil {
		return "", nil
	}
	// Closure objects have no symbols, and may not be there yet.
	objects := slices.DeleteFunc(slices.Clone(c.Objects), func(o *ldso.Object) bool { return strings.HasPrefix(o.ID, closureID) })
	type bound struct {
		by     *ldso.Object
		place  int // in the order in which objects are asked
		symbol elfedit.Symbol
	}
	byName := map[string][]bound{}
	last := 0
	for i, o := range objects[1:] {
		list, err := symbols.Bound(o.Path)
		if err != nil {
			return "", err
		}
		for _, s := range list {
			byName[s.Name] = append(byName[s.Name], bound{o, i + 1, s})
			last = i + 1
		}
	}
	for i, o := range objects[:last] { // behind its own, no other is asked
		list, err := symbols.Exports(o.Path)
		if err != nil {
			return "", err
		}
		for _, s := range list {
			for _, b := range byName[s.Name] {
				if i < b.place && s.MayAnswer(b.symbol) {
					return Reason(fmt.Sprintf("%s%s has a function %s, and %s always calls its own, for it is prelocated; "+
						"hashpkg install --no-prelocate of its package makes a tree in which it does not", wouldNotDo, o.Path, s.Name, b.by.Path)), nil
				}
			}
		}
	}
	return "", nil
}
