package programs

import (
	"regexp"
	"slices"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// sanitizers are the libraries that must come before all others of a process.
var sanitizers = regexp.MustCompile(`^lib(a|l|t|hwa|ub)san\.so\.`)

// hasRoom reports whether a list of needed libraries fits where RELRO protects it.
func hasRoom(info *elfedit.Info, list []ldso.Listed) bool {
	return !info.DynamicRelRO || len(list) <= len(info.Needed)+info.DynamicRoom
}

// shortList returns what a program lists that has no room for all that it is to load, and the
// manifest of the tree with the closure object that lists the rest; without one, the whole list,
// where the machine has no such objects or there is not even room for one.
//
// The object comes first, so that what it needs is loaded before what libraries ask for by
// name; then what the program needs itself, which libraries of LD_PRELOAD are not to load from
// elsewhere; then the next of the list while there is room. What is looked for in the program's
// own search path cannot be in the object, which has none: it is left to who needs it.
func shortList(info *elfedit.Info, c *ldso.Closure, whole []ldso.Listed, prefix string) ([]ldso.Listed, *record.Manifest) {
	var needed []string
	complete := len(whole) // how many of the list have their place in the object
	for i, e := range whole {
		if e.IsSearched() && !layout.IsGlibcLibrary(e.Name) {
			complete = min(complete, i)
			continue
		}
		needed = append(needed, e.Name)
	}
	m, _, err := record.ClosureTree(&elfedit.Closure{Class: info.Class, Data: info.Data, Machine: info.Machine, Flags: info.Flags, Needed: needed})
	if err != nil {
		return whole, nil
	}
	var list []ldso.Listed
	before := 0 // entries that come before the object
	for _, own := range info.Needed {
		entry := ldso.Listed{Old: own, Name: own}
		for _, n := range c.Needs {
			if n.From != c.Objects[0] || n.Name != own || n.Provider == nil {
				continue
			}
			if i := slices.IndexFunc(whole, func(e ldso.Listed) bool { return e.Object == n.Provider }); i >= 0 {
				entry.Name, entry.Object = whole[i].Name, n.Provider
			}
		}
		list = append(list, entry)
		if sanitizers.MatchString(own) {
			before = len(list)
		}
	}
	list = slices.Insert(list, before, ldso.Listed{Name: closurePath(prefix, m)})
	if !hasRoom(info, list) {
		return whole, nil
	}
	for _, e := range whole[:complete] {
		if slices.ContainsFunc(list, func(o ldso.Listed) bool { return o.Name == e.Name }) {
			continue
		}
		if next := append(list, e); hasRoom(info, next) {
			list = next
		}
	}
	return list, m
}

// closurePath returns where the root has the closure object of a tree.
func closurePath(prefix string, m *record.Manifest) string {
	return prefix + "/" + layout.TreePath(m.Name, m.Tree) + "/" + layout.ClosureFile
}

// closureFinder finds a closure object, be it there or not, and everything else as ever.
type closureFinder struct {
	ldso.Finder
	path   string
	object *ldso.Object
}

// withClosure returns a finder that finds the closure object of a tree, if there is one.
func withClosure(finder ldso.Finder, prefix string, m *record.Manifest) (ldso.Finder, error) {
	if m == nil {
		return finder, nil
	}
	b, err := m.Files[0].Closure.Bytes()
	if err != nil {
		return nil, err
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		return nil, err
	}
	at := closurePath(prefix, m)
	return &closureFinder{finder, at, &ldso.Object{Path: at, ID: closureID + m.Tree, Info: info}}, nil
}

// closureID begins the identity of a closure object, which no file has.
const closureID = "closure:"

// Find implements [ldso.Finder].
func (f *closureFinder) Find(name string, chain []*ldso.Object) (*ldso.Object, error) {
	if name == f.path {
		return f.object, nil
	}
	return f.Finder.Find(name, chain)
}
