package programs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// Pin is a pin and the tree that it is to.
type Pin struct {
	record.Pin
	Manifest *record.Manifest
}

// SortPins orders pins as programs follow them: one that names a program goes
// before one that names its package, and that before one that is for all.
func SortPins(pins []Pin) {
	order := func(p Pin) int {
		switch {
		case p.Program == record.EveryProgram:
			return 2
		case strings.HasPrefix(p.Program, "/"):
			return 0
		}
		return 1
	}
	slices.SortStableFunc(pins, func(a, b Pin) int { return cmp.Compare(order(a), order(b)) })
}

// file returns the path, below the prefix, of the library that takes an object's
// place; "" if the tree has none. One for some processors only is taken where there is no
// other: a program that names it would not run on the rest.
func (p *Pin) file(o *ldso.Object) string {
	if o.Info.Soname == "" {
		return ""
	}
	found := ""
	for i := range p.Manifest.Files {
		f := &p.Manifest.Files[i]
		if f.ELF == nil || f.ELF.Soname != o.Info.Soname || ldso.Triplet(f.ELF) != ldso.Triplet(o.Info) || f.ELF.Class != o.Info.Class {
			continue
		}
		if isForAll := !strings.Contains(f.Path, "/glibc-hwcaps/"); found == "" || isForAll {
			found = layout.TreePath(p.Library, p.Tree) + "/" + f.Path
			if isForAll {
				break
			}
		}
	}
	return found
}

// pinsFor returns the pins for a program: those of its freeze, if it is frozen.
func (p *Policy) pinsFor(f *Facts) (pins []Pin, frozen bool) {
	for _, pin := range p.Pins {
		if !pin.Of(f.Path, f.Package.Name) {
			continue
		}
		if pin.Frozen() && !frozen {
			pins, frozen = nil, true
		}
		if pin.Frozen() == frozen {
			pins = append(pins, pin)
		}
	}
	return pins, frozen
}

// followed are the pins that a program follows, and the edits that make it.
type followed struct {
	records []record.EditRecord
	trees   []record.PinnedTree
	forced  bool             // one is wanted though it does not fit
	loads   []string         // of a frozen program, what it shall load, by device and inode
	closure *record.Manifest // of the tree with a closure object that a frozen program needs; nil for none
	unfit   Reason           // why a frozen program would not start with what it is frozen to
}

func (f *followed) noteTree(tree record.PinnedTree) {
	if !slices.Contains(f.trees, tree) {
		f.trees = append(f.trees, tree)
	}
}

// follow returns the edits that make a program load what it is pinned or frozen to.
func (d *Decision) follow(b Bytes, p *Policy, pins []Pin, finder ldso.Finder) (followed, error) {
	if d.Frozen {
		return d.freeze(b, p.Prefix, pins, finder)
	}
	c, err := d.load(d.Info, finder)
	if err != nil {
		return followed{}, err
	}
	return follow(pins, c, p.Prefix), nil
}

// follow returns the edits that make a program load pinned libraries in the place of
// those that it loads now: what it needs by name it then needs by path, and what
// only its libraries need it needs too, so that it is loaded when they ask for it.
func follow(pins []Pin, c *ldso.Closure, prefix string) followed {
	replace, add := record.EditRecord{Kind: record.EditReplace}, record.EditRecord{Kind: record.EditAdd}
	var out followed
	for _, o := range c.Objects[1:] {
		i := slices.IndexFunc(pins, func(p Pin) bool { return p.file(o) != "" })
		if i < 0 {
			continue
		}
		file := prefix + "/" + pins[i].file(o)
		direct := false
		for _, n := range c.Needs {
			if n.From == c.Objects[0] && n.Provider == o {
				replace.From, replace.To = append(replace.From, n.Name), append(replace.To, file)
				direct = true
			}
		}
		if !direct {
			add.To = append(add.To, file)
		}
		out.noteTree(pins[i].Pinned())
		out.forced = out.forced || pins[i].Force
	}
	for _, r := range []record.EditRecord{replace, add} {
		if len(r.To) > 0 {
			out.records = append(out.records, r)
		}
	}
	return out
}
