package choose

import (
	"slices"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// replaced returns the slot of a package that gives way to another one that is chosen:
// that one provides its name and conflicts with it, as a build of the same library with
// more in it does, and answers with the others all that it does.
func (m *maker) replaced() (slot, bool) {
	for _, c := range m.chosen {
		if c.By == nil {
			continue // it was asked for
		}
		for _, o := range m.offered[c.Name] {
			isOther := o.Name != c.Name && m.architecture(o.Package) == m.architecture(c.Package)
			if isOther && (m.excludes(o, c) || m.excludes(c, o)) && m.isSpare(c) {
				return m.slot(c.Package), true
			}
		}
	}
	return slot{}, false
}

// excludes reports whether a package says that it conflicts with another one.
func (m *maker) excludes(c, other *Chosen) bool {
	return slices.ContainsFunc(c.Conflicts, func(r pkginfo.Relation) bool {
		return slices.ContainsFunc(r.Alternatives, func(a pkginfo.Constraint) bool {
			isMeant := a.Architecture == "" || a.Architecture == "any" || a.Architecture == other.Architecture
			return isMeant && m.is(other.Package, expression{Constraint: a})
		})
	})
}

// isSpare reports whether all that the others require is answered without c, as far as
// it is with it.
func (m *maker) isSpare(c *Chosen) bool {
	rest := newMaker(m.pool, m.options, m.pins, m.out)
	for _, o := range m.chosen {
		if o != c {
			rest.add(o)
		}
	}
	return !slices.ContainsFunc(rest.chosen, func(o *Chosen) bool {
		return slices.ContainsFunc(o.Requires, func(r pkginfo.Relation) bool {
			what, ok := r.Expression()
			return ok && m.isAnswered(what, o) && !rest.isAnswered(what, o)
		})
	})
}
