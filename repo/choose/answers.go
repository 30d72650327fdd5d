package choose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// isInRoot reports whether the root answers what is wanted.
func (m *maker) isInRoot(e expression) bool {
	return !isConditional(e) && m.holds(e, m.hasRoot, m.isRoot)
}

// hasRoot reports whether the root answers a constraint.
func (m *maker) hasRoot(c pkginfo.Constraint) bool {
	return m.options.Satisfied != nil && m.options.Satisfied(c)
}

// isRoot reports whether the root answers all that one package is to be.
func (m *maker) isRoot(e expression) bool {
	is := func(i int) bool { return m.holds(e.Operands[i], m.hasRoot, m.isRoot) }
	return is(0) && is(1) == (e.Operation == pkginfo.With)
}

// isAnswered reports whether what is chosen answers e, together with the root.
func (m *maker) isAnswered(e expression, by *Chosen) bool {
	return m.holds(e,
		func(c pkginfo.Constraint) bool { return m.hasRoot(c) || m.hasChosen(c, by) },
		func(e expression) bool { return m.isRoot(e) || m.isChosen(e) })
}

// isChosenFor reports whether what is chosen answers e without the root.
func (m *maker) isChosenFor(e expression, by *Chosen) bool {
	return m.holds(e, func(c pkginfo.Constraint) bool { return m.hasChosen(c, by) }, m.isChosen)
}

// holds reports whether e does. has says so of a constraint, one of what one package
// is to be: "with" and "without".
func (m *maker) holds(e expression, has func(pkginfo.Constraint) bool, one func(expression) bool) bool {
	is := func(i int) bool { return m.holds(e.Operands[i], has, one) }
	switch e.Operation {
	case pkginfo.Leaf:
		return has(e.Constraint)
	case pkginfo.Or:
		return slices.ContainsFunc(e.Operands, func(o expression) bool { return m.holds(o, has, one) })
	case pkginfo.And:
		return !slices.ContainsFunc(e.Operands, func(o expression) bool { return !m.holds(o, has, one) })
	case pkginfo.With, pkginfo.Without:
		return one(e)
	}
	if i := branch(e, is(1)); i >= 0 {
		return is(i)
	}
	return true
}

// isChosen reports whether a package that is chosen is all that e says.
func (m *maker) isChosen(e expression) bool {
	return slices.ContainsFunc(m.chosen, func(c *Chosen) bool { return m.is(c.Package, e) })
}

// is reports whether one package is what e says.
func (m *maker) is(p Package, e expression) bool {
	has := func(c pkginfo.Constraint) bool {
		return c.Name == p.Name && m.options.Orders.Satisfies(p.Format, p.Version, c) || m.offers(p, c)
	}
	return m.holds(e, has, func(e expression) bool {
		return m.is(p, e.Operands[0]) && m.is(p, e.Operands[1]) == (e.Operation == pkginfo.With)
	})
}

func (m *maker) hasChosen(c pkginfo.Constraint, by *Chosen) bool {
	for _, other := range m.byName[c.Name] {
		if m.archFits(other.Package, c, by) && m.options.Orders.Satisfies(other.Format, other.Version, c) {
			return true
		}
	}
	for _, other := range m.offered[c.Name] {
		if m.archFits(other.Package, c, by) && m.offers(other.Package, c) {
			return true
		}
	}
	return false
}

// offers reports whether a package provides something, or has it as a file.
func (m *maker) offers(p Package, c pkginfo.Constraint) bool {
	for _, offer := range p.Provides {
		if offer.Name == c.Name && m.options.Orders.Satisfies(p.Format, offer.Version, c) {
			return true
		}
	}
	return c.Operator == "" && slices.Contains(p.Files, c.Name)
}

// archFits reports whether p is of an architecture that c is about, when by has it
// (deb-control(5), Multi-Arch; dpkg's deparchsatisfied).
func (m *maker) archFits(p Package, c pkginfo.Constraint, by *Chosen) bool {
	if !m.options.SameArchitecture {
		return true
	}
	switch c.Architecture {
	case "":
		return p.MultiArch == "foreign" || m.architecture(p) == m.architecture(by.Package)
	case "any":
		return p.MultiArch == "allowed" || p.MultiArch == "foreign" || m.architecture(p) == m.architecture(by.Package)
	}
	return m.architecture(p) == c.Architecture
}

// candidate is a package that could be chosen, and what for.
type candidate struct {
	Package
	what expression
}

// answer is what answers an expression: one package, or several together.
type answer []candidate

// answers returns what would answer e, the best first. What different packages of one
// name would is one answer.
func (m *maker) answers(e expression, by *Chosen) []answer {
	var all []answer
	switch e.Operation {
	case pkginfo.Leaf:
		return singles(e, m.candidates(e.Constraint, by))
	case pkginfo.With, pkginfo.Without:
		found := slices.DeleteFunc(m.fitting(e.Operands[0], by), func(p Package) bool { return !m.is(p, e) })
		return singles(e, m.best(found, m.architecture(by.Package)))
	case pkginfo.Or:
		for _, o := range e.Operands {
			for _, a := range m.answers(o, by) {
				if !slices.ContainsFunc(all, a.isLike) {
					all = append(all, a)
				}
			}
		}
		return all
	case pkginfo.And:
		var together answer
		for _, o := range e.Operands {
			if m.isAnswered(o, by) {
				continue
			}
			each := m.answers(o, by)
			if len(each) == 0 {
				return nil
			}
			together = append(together, each[0]...)
		}
		return []answer{together}
	}
	if i := branch(e, m.isAnswered(e.Operands[1], by)); i >= 0 {
		return m.answers(e.Operands[i], by)
	}
	return []answer{nil}
}

func singles(e expression, packages []Package) []answer {
	var all []answer
	for _, p := range packages {
		all = append(all, answer{{p, e}})
	}
	return all
}

// isLike reports whether both are the same one name.
func (a answer) isLike(b answer) bool {
	return len(a) == 1 && len(b) == 1 && a[0].Name == b[0].Name
}

// fitting returns all packages that could be what e says, of what may be in "with".
func (m *maker) fitting(e expression, by *Chosen) []Package {
	var all []Package
	each(e, func(c pkginfo.Constraint) {
		for _, p := range slices.Concat(m.askNamed(c.Name), m.askProviding(c.Name)) {
			if m.archFits(p, c, by) && m.is(p, e) {
				all = append(all, p)
			}
		}
	})
	return all
}

// candidates returns the packages that answer a constraint, one of each name, the best
// first: those of its name, and where none of them is whole, or all are obsolete, those
// that provide it.
func (m *maker) candidates(c pkginfo.Constraint, by *Chosen) []Package {
	var found []Package
	for _, p := range m.askNamed(c.Name) {
		if m.archFits(p, c, by) && m.options.Orders.Satisfies(p.Format, p.Version, c) {
			found = append(found, p)
		}
	}
	isGood := func(p Package) bool { return m.isWhole(p) && !m.isObsolete(p) }
	if !slices.ContainsFunc(found, isGood) {
		var providers []Package
		for _, p := range m.askProviding(c.Name) {
			if m.archFits(p, c, by) && m.offers(p, c) {
				providers = append(providers, p)
			}
		}
		if len(found) == 0 || slices.ContainsFunc(providers, isGood) || !slices.ContainsFunc(found, m.isWhole) && slices.ContainsFunc(providers, m.isWhole) {
			found = providers
		}
	}
	return m.best(found, m.architecture(by.Package))
}

// best returns of each name the package to prefer, and of these the best first: those
// of more important priorities, then by their names. A package that is not whole counts
// only without others, and so does one that is obsolete, or of which there is a newer
// version: what that has given up, nobody should get.
func (m *maker) best(found []Package, architecture string) []Package {
	rank := func(p Package) int {
		if architecture != "" && m.options.SameArchitecture && m.architecture(p) == architecture && p.MultiArch != "foreign" {
			return -1
		}
		return m.archRank(p)
	}
	found = slices.Clone(found)
	isInUse := func(p Package) bool { return !m.isObsolete(p) }
	for _, is := range []func(Package) bool{m.isWhole, isInUse, m.isCurrent} {
		if len(found) > 1 && slices.ContainsFunc(found, is) {
			found = slices.DeleteFunc(found, func(p Package) bool { return !is(p) })
		}
	}
	slices.SortStableFunc(found, func(a, b Package) int {
		if n := cmp.Or(cmp.Compare(priority(a), priority(b)), strings.Compare(a.Name, b.Name), cmp.Compare(rank(a), rank(b))); n != 0 {
			return n
		}
		if n := cmp.Compare(m.isPinned(b), m.isPinned(a)); n != 0 {
			return n
		}
		return m.options.Orders.Compare(a.Format, b.Version, a.Version)
	})
	seen := map[string]bool{}
	return slices.DeleteFunc(found, func(p Package) bool {
		defer func() { seen[p.Name] = true }()
		return seen[p.Name]
	})
}

// isObsolete reports whether another package has come in place of one.
func (m *maker) isObsolete(p Package) bool {
	return m.options.Obsoletes && len(m.successors([]Package{p})) > 0
}

// successors returns the packages that have come in place of all of these, which have one
// name: they provide it. Of two that have come in place of each other none has.
func (m *maker) successors(all []Package) []Package {
	var found []Package
	for _, other := range m.askProviding(all[0].Name) {
		isOne := func(p Package) bool { return other.Name != p.Name && m.replaces(other, p) && !m.replaces(p, other) }
		if !slices.ContainsFunc(all, func(p Package) bool { return !isOne(p) }) {
			found = append(found, other)
		}
	}
	return found
}

// replaces reports whether a package says that it comes in place of another one. That goes
// by the other one's own name and version (rpm: "obsoletes match package names only").
func (m *maker) replaces(p, other Package) bool {
	return slices.ContainsFunc(p.Replaces, func(r pkginfo.Relation) bool {
		return slices.ContainsFunc(r.Alternatives, func(c pkginfo.Constraint) bool {
			return c.Name == other.Name && m.options.Orders.Satisfies(other.Format, other.Version, c)
		})
	})
}

// isCurrent reports whether a package has the version that its slot is to have, or the
// highest one.
func (m *maker) isCurrent(p Package) bool {
	at := m.slot(p)
	return m.isPinned(p) == 1 || !slices.ContainsFunc(m.askNamed(p.Name), func(other Package) bool {
		return m.slot(other) == at && m.options.Orders.Compare(p.Format, other.Version, p.Version) > 0
	})
}

// isPinned returns 1 if the package has the version that its slot is to have.
func (m *maker) isPinned(p Package) int {
	if version, ok := m.pins[m.slot(p)]; ok && version == p.Version {
		return 1
	}
	return 0
}

// priority returns the place of a package's priority; the first is the most important.
func priority(p Package) int {
	all := []string{"required", "important", "standard", "optional", "extra"}
	if i := slices.Index(all, p.Priority); i >= 0 {
		return i
	}
	return slices.Index(all, "optional")
}
