package choose

import (
	"slices"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// identity is what tells packages apart.
type identity struct {
	slot
	version string
}

// isWhole reports whether there is something for all that p requires, for all that this
// requires, and so on. What depends on a condition is not looked at.
func (m *maker) isWhole(p Package) bool {
	for {
		w := wholeness{m, map[identity]bool{}, false}
		ok := w.visit(p)
		// Those in a circle were taken to be whole: they are when no other one was not.
		if !w.foundBroken {
			for id := range w.visited {
				m.whole[id] = true
			}
			return ok
		}
	}
}

func (m *maker) isWholeAnswer(a answer) bool {
	return !slices.ContainsFunc(a, func(c candidate) bool { return !m.isWhole(c.Package) })
}

// wholeness is one walk from a package to all that it may take.
type wholeness struct {
	*maker
	visited     map[identity]bool
	foundBroken bool // a package that was not known to be
}

func (w *wholeness) visit(p Package) bool {
	id := identity{w.slot(p), p.Version}
	if known, ok := w.whole[id]; ok {
		return known
	}
	if w.visited[id] {
		return true
	}
	w.visited[id] = true
	by := &Chosen{Package: p}
	for _, r := range p.Requires {
		if what, ok := r.Expression(); !ok || !w.has(what, by) {
			w.whole[id] = false
			w.foundBroken = true
			return false
		}
	}
	return true
}

// has reports whether there is something whole for what is wanted.
func (w *wholeness) has(e expression, by *Chosen) bool {
	if isConditional(e) && e.Operation != pkginfo.And {
		return true
	}
	return w.holds(e,
		func(c pkginfo.Constraint) bool {
			if w.hasRoot(c) {
				return true
			}
			fits := func(p Package) bool {
				return w.archFits(p, c, by) && w.is(p, expression{Constraint: c}) && w.visit(p)
			}
			return slices.ContainsFunc(w.askNamed(c.Name), fits) || slices.ContainsFunc(w.askProviding(c.Name), fits)
		},
		func(e expression) bool {
			return w.isRoot(e) || slices.ContainsFunc(w.fitting(e.Operands[0], by), func(p Package) bool { return w.is(p, e) && w.visit(p) })
		})
}
