package view

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
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

// RivalsAmong finds the rivals among trees. It takes time in proportion to their files.
func RivalsAmong(trees []*record.Manifest) *Rivals {
	first := map[string]int{} // by path: the tree that has it, of several the first
	contests := map[string]*contest{}
	for n, m := range trees {
		for i := range m.Files {
			f := &m.Files[i]
			if !mayKeep(f) {
				continue
			}
			o, taken := first[f.Path]
			if !taken {
				first[f.Path] = n
				continue
			}
			c := contests[f.Path]
			if c == nil {
				c = &contest{things: map[thing]int{}}
				contests[f.Path] = c
				c.add(o, thingOf(trees[o], trees[o].Lookup(f.Path)))
			}
			c.add(n, thingOf(m, f))
		}
	}
	for n, m := range trees {
		for dir := range parents(m) {
			o, taken := first[dir]
			if !taken {
				continue
			}
			c := contests[dir]
			if c == nil {
				c = &contest{things: map[thing]int{}}
				contests[dir] = c
				c.add(o, thingOf(trees[o], trees[o].Lookup(dir)))
			}
			c.add(n, thing{kind: record.TypeDirectory})
		}
	}
	r := &Rivals{of: map[*record.Manifest][]claim{}}
	known := map[digest.Digest]bool{} // the same trees are often rivals at many paths
	for _, c := range contests {
		if len(c.things) < 2 {
			continue
		}
		if key := c.key(); !known[key] {
			for _, t := range c.claims {
				m := trees[t[0]]
				r.of[m] = append(r.of[m], claim{len(known), t[1]})
			}
			known[key] = true
		}
	}
	return r
}

// contest is what trees have at one path.
type contest struct {
	claims [][2]int // the number of a tree, and that of the thing which it has
	things map[thing]int
}

func (c *contest) add(tree int, t thing) {
	if t.own != 0 {
		t.own = len(c.claims) + 1
	}
	n, known := c.things[t]
	if !known {
		n = len(c.things)
		c.things[t] = n
	}
	c.claims = append(c.claims, [2]int{tree, n})
}

func (c *contest) key() digest.Digest {
	h := digest.New()
	var b []byte
	for _, t := range c.claims {
		b = binary.AppendUvarint(binary.AppendUvarint(b[:0], uint64(t[0])), uint64(t[1]))
		h.Write(b)
	}
	return digest.Sum(h)
}

// thing is what a view would have of a tree at a path.
type thing struct {
	kind     record.FileType
	mode     record.Mode
	uid, gid int
	target   string
	source   digest.Digest
	own      int // not 0 for what is no other tree's: see thingOf
}

// thingOf returns what a view would have of a file. Programs and libraries, and links to
// libraries, are each their tree's own: a view has links into the trees in place of some.
func thingOf(m *record.Manifest, f *record.File) thing {
	v := mergedOf(m, f)
	if f.ELF != nil || v.Type != f.Type {
		return thing{own: 1}
	}
	t := thing{kind: v.Type, mode: v.Mode, uid: v.UID, gid: v.GID, target: v.Target}
	if v.Type == record.TypeFile {
		t.source = f.Source
	}
	return t
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
