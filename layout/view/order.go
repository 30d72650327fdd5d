package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Rivals are trees that have different things at one path. In a view only the first of
// them is seen, so that their order counts; that of other trees does not.
type Rivals struct {
	of map[*record.Manifest][]claim
}

// claim is what a tree has at a path that others claim as well: claims of one contest with
// different things are rivals.
type claim struct{ contest, thing int }

// RivalsAmong finds the rivals among trees.
func RivalsAmong(trees []*record.Manifest) *Rivals {
	contests := map[string]*contest{} // by path
	for _, m := range trees {
		for i := range m.Files {
			f := &m.Files[i]
			if !mayKeep(f) {
				continue
			}
			c := contests[f.Path]
			if c == nil {
				c = &contest{}
				contests[f.Path] = c
			}
			c.add(m, f)
		}
	}
	for _, m := range trees {
		for dir := range parents(m) {
			if c := contests[dir]; c != nil {
				c.add(m, nil)
			}
		}
	}
	r := &Rivals{of: map[*record.Manifest][]claim{}}
	known := map[string]bool{} // the same trees are often rivals at many paths
	for _, c := range contests {
		if len(c.things) < 2 {
			continue
		}
		if key := c.key(); !known[key] {
			for i, m := range c.trees {
				r.of[m] = append(r.of[m], claim{len(known), c.has[i]})
			}
			known[key] = true
		}
	}
	return r
}

// contest are the trees that have something at one path.
type contest struct {
	trees  []*record.Manifest
	has    []int          // which of things each tree has
	things []*record.File // nil for a directory
}

func (c *contest) add(m *record.Manifest, f *record.File) {
	i := slices.IndexFunc(c.things, func(o *record.File) bool { return isSame(o, f) })
	if i < 0 {
		i = len(c.things)
		c.things = append(c.things, f)
	}
	c.trees, c.has = append(c.trees, m), append(c.has, i)
}

func (c *contest) key() string {
	var key strings.Builder
	for i, m := range c.trees {
		fmt.Fprintf(&key, "%d %s\n", c.has[i], layout.TreePath(m.Name, m.Tree))
	}
	return key.String()
}

// mayKeep reports whether a view has a file, for programs or for linkers.
func mayKeep(f *record.File) bool { return keeps(f) || isLibrary(f) }

// parents calls yield with each directory in which a tree has files that a view may have.
func parents(m *record.Manifest) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{"": true}
		for i := range m.Files {
			f := &m.Files[i]
			if !mayKeep(f) {
				continue
			}
			for dir := f.Path; ; {
				dir = dir[:max(0, strings.LastIndexByte(dir, '/'))]
				if seen[dir] {
					break
				}
				seen[dir] = true
				if !yield(dir) {
					return
				}
			}
		}
	}
}

// isSame reports whether a view has the same of two files of one path, nil for a directory.
// Programs and libraries are never the same: it may have them as links into their trees.
func isSame(a, b *record.File) bool {
	switch {
	case a == nil || b == nil:
		return a == b
	case a.Type != b.Type, a.Mode != b.Mode, a.UID != b.UID, a.GID != b.GID, a.ELF != nil, b.ELF != nil:
		return false
	case a.Type == record.TypeSymlink:
		return merged(a).Target == merged(b).Target
	}
	return a.Source == b.Source
}

// Order returns the trees of a closure in the order in which they are merged: first, as
// they stand in the closure, those that have rivals in it, then the others by their paths.
// So closures of the same trees have one view, whichever package they are of.
func (r *Rivals) Order(closure []*record.Manifest) []*record.Manifest {
	things := map[int]map[int]bool{} // by contest
	for _, m := range closure {
		for _, c := range r.of[m] {
			if things[c.contest] == nil {
				things[c.contest] = map[int]bool{}
			}
			things[c.contest][c.thing] = true
		}
	}
	var first, others []*record.Manifest
	for _, m := range closure {
		if slices.ContainsFunc(r.of[m], func(c claim) bool { return len(things[c.contest]) > 1 }) {
			first = append(first, m)
		} else {
			others = append(others, m)
		}
	}
	slices.SortFunc(others, func(a, b *record.Manifest) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Tree, b.Tree))
	})
	return append(first, others...)
}
