package choose

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// slot is what has one version, unless relations demand several.
type slot struct{ name, architecture string }

// pin is a version that a slot is to have.
type pin struct {
	slot
	version string
}

// need is a relation that is to be answered.
type need struct {
	by       *Chosen
	relation pkginfo.Relation
	what     expression
	optional bool // it is recommended
}

// maker makes a choice.
type maker struct {
	pool    Pool
	options Options
	pins    map[slot]string
	out     map[slot]bool // what gives way to others

	named, providing map[string][]Package // what the pool said

	chosen  []*Chosen
	slots   map[slot][]*Chosen
	demands map[slot][]expression // what somebody wants of its package
	byName  map[string][]*Chosen  // chosen packages, by their names and what they provide
	offered map[string][]*Chosen

	todo        []*Chosen // whose relations are to be looked at
	alternative []need    // that several packages could answer
	conditional []need    // that depend on what is chosen
	recommended []need
	seen        map[string]bool // relations, by architecture and text

	whole map[identity]bool // what isWhole has found out

	skipped    []Skipped
	unresolved []Unresolved
	notFound   []error
	err        error // of the pool
}

func newMaker(pool Pool, options Options, pins map[slot]string, out map[slot]bool) *maker {
	return &maker{
		pool: pool, options: options, pins: pins, out: out,
		named: map[string][]Package{}, providing: map[string][]Package{},
		slots: map[slot][]*Chosen{}, demands: map[slot][]expression{},
		byName: map[string][]*Chosen{}, offered: map[string][]*Chosen{},
		seen: map[string]bool{}, whole: map[identity]bool{},
	}
}

// ask returns what the pool says, without what the root cannot run and what gives way.
func (m *maker) ask(known map[string][]Package, question func(string) ([]Package, error), name string) []Package {
	if all, ok := known[name]; ok || m.err != nil {
		return all
	}
	all, err := question(name)
	if err != nil {
		m.err = err
		return nil
	}
	all = slices.DeleteFunc(slices.Clone(all), func(p Package) bool { return m.archRank(p) < 0 || m.out[m.slot(p)] })
	known[name] = all
	return all
}

func (m *maker) askNamed(name string) []Package { return m.ask(m.named, m.pool.Named, name) }

func (m *maker) askProviding(name string) []Package {
	return m.ask(m.providing, m.pool.Providing, name)
}

// archRank returns the place of a package's architecture among those of the root, and
// -1 if the root cannot run it.
func (m *maker) archRank(p Package) int {
	return slices.Index(m.options.Architectures, m.architecture(p))
}

// architecture returns the architecture that a package counts for.
func (m *maker) architecture(p Package) string {
	if p.Architecture == m.options.All && len(m.options.Architectures) > 0 {
		return m.options.Architectures[0]
	}
	return p.Architecture
}

func (m *maker) slot(p Package) slot { return slot{p.Name, m.architecture(p)} }

// request chooses what somebody asks for.
func (m *maker) request(r Request) {
	fits := func(p Package) bool {
		return (r.Source == "" || r.Source == p.Source) &&
			(r.Architecture == "" || r.Architecture == p.Architecture || r.Architecture == m.architecture(p))
	}
	wanted := pkginfo.Constraint{Name: r.Name}
	if r.Version != "" {
		wanted.Operator, wanted.Version = "=", r.Version
	}
	named := m.askNamed(r.Name)
	var found []Package
	for _, p := range named {
		if fits(p) && m.options.Orders.Satisfies(p.Format, p.Version, wanted) {
			found = append(found, p)
		}
	}
	if len(found) == 0 && len(named) == 0 {
		for _, p := range m.askProviding(r.Name) {
			if fits(p) && m.offers(p, wanted) {
				found = append(found, p)
			}
		}
		if found = m.best(found, ""); len(found) > 1 {
			m.notFound = append(m.notFound, &NotFoundError{Request: r, Providers: packageNames(found)})
			return
		}
	}
	if m.options.Obsoletes && len(found) > 0 && len(named) > 0 && r.Version == "" {
		if others := slices.DeleteFunc(m.successors(found), func(p Package) bool { return !fits(p) || !m.isWhole(p) }); len(others) > 0 {
			found = others
		}
	}
	if len(found) == 0 {
		if m.err == nil {
			m.notFound = append(m.notFound, &NotFoundError{Request: r, Near: named})
		}
		return
	}
	best := m.best(found, "")[0]
	if r.Version != "" || r.Source != "" {
		wanted.Operator, wanted.Version = "=", best.Version
	}
	m.demand(best, expression{Constraint: wanted})
	m.choose(best, nil, pkginfo.Relation{})
}

func packageNames(packages []Package) []string {
	var all []string
	for _, p := range packages {
		all = append(all, p.Name)
	}
	return all
}

// choose adds a package, unless it is there.
func (m *maker) choose(p Package, by *Chosen, relation pkginfo.Relation) {
	at := m.slot(p)
	for _, other := range m.slots[at] {
		if other.Version == p.Version {
			return
		}
	}
	c := &Chosen{Package: p, By: by, Relation: relation}
	m.slots[at] = append(m.slots[at], c)
	m.add(c)
	m.todo = append(m.todo, c)
}

// add has a package be among those that are chosen.
func (m *maker) add(c *Chosen) {
	m.chosen = append(m.chosen, c)
	m.byName[c.Name] = append(m.byName[c.Name], c)
	for _, offer := range c.Provides {
		m.offered[offer.Name] = append(m.offered[offer.Name], c)
	}
	for _, path := range c.Files {
		m.offered[path] = append(m.offered[path], c)
	}
}

func (m *maker) demand(p Package, what expression) {
	at := m.slot(p)
	m.demands[at] = append(m.demands[at], what)
}

// settle follows relations until there is nothing left to choose: first those that have
// one answer, then one that has several, and what that brings. What depends on the
// choice waits until the rest is known, and what is recommended for that.
func (m *maker) settle() {
	for m.err == nil {
		switch {
		case len(m.todo) > 0:
			c := m.todo[0]
			m.todo = m.todo[1:]
			m.follow(c)
		case len(m.alternative) > 0:
			n := m.alternative[0]
			m.alternative = m.alternative[1:]
			m.answer(n, true)
		case m.answerConditional():
		case len(m.recommended) > 0:
			n := m.recommended[0]
			m.recommended = m.recommended[1:]
			m.answer(n, true)
		default:
			return
		}
	}
}

// answerConditional answers the first of those needs whose condition holds by now. It
// reports whether there was one.
func (m *maker) answerConditional() bool {
	for i, n := range m.conditional {
		if m.isAnswered(n.what, n.by) {
			continue
		}
		before := len(m.chosen)
		m.answer(n, true)
		if len(m.chosen) == before { // what has come may be what the condition is about
			m.conditional = slices.Delete(m.conditional, i, i+1)
		}
		return true
	}
	return false
}

// follow looks at the relations of a package.
func (m *maker) follow(c *Chosen) {
	for _, r := range c.ScriptRequires {
		if m.isNew("script", c, r) {
			m.skipped = append(m.skipped, Skipped{c, r, ForScripts})
		}
	}
	for _, r := range c.Requires {
		if m.isNew("", c, r) {
			m.require(c, r)
		}
	}
	if m.options.Unsaid != nil {
		for _, r := range m.options.Unsaid(&c.Listed.Package) {
			if what, ok := r.Expression(); ok && len(m.answers(what, c)) > 0 && m.isNew("", c, r) {
				m.require(c, r)
			}
		}
	}
	for _, r := range c.Recommends {
		if !m.options.Recommends {
			if m.options.Kept == nil {
				break
			}
			kept, some := m.options.Kept(r)
			if !some {
				continue
			}
			r = kept
		}
		if what, ok := r.Expression(); ok && m.isNew("recommended", c, r) {
			m.recommended = append(m.recommended, need{c, r, what, true})
		}
	}
}

// isNew reports whether a relation is seen for the first time, of a package of this
// architecture.
func (m *maker) isNew(sort string, c *Chosen, r pkginfo.Relation) bool {
	key := sort + "\x00" + m.architecture(c.Package) + "\x00" + r.Text
	for _, a := range r.Alternatives {
		key += "\x00" + a.String()
	}
	if m.seen[key] {
		return false
	}
	m.seen[key] = true
	return true
}

// require answers a relation, or puts it off.
func (m *maker) require(c *Chosen, r pkginfo.Relation) {
	what, ok := r.Expression()
	if !ok {
		m.unresolved = append(m.unresolved, Unresolved{By: c, Relation: r})
		return
	}
	for _, part := range parts(what) {
		n := need{c, r, part, false}
		if isConditional(part) {
			m.conditional = append(m.conditional, n)
		} else {
			m.answer(n, false)
		}
	}
}

// answer chooses what answers a need, if nothing does. If several packages could, it
// decides, or puts the need off.
func (m *maker) answer(n need, decide bool) {
	if m.isInRoot(n.what) {
		m.skipped = append(m.skipped, Skipped{n.by, n.relation, InRoot})
		return
	}
	if m.isAnswered(n.what, n.by) && decide {
		return
	}
	answers := m.answers(n.what, n.by)
	if slices.ContainsFunc(answers, m.isWholeAnswer) {
		answers = slices.DeleteFunc(answers, func(a answer) bool { return !m.isWholeAnswer(a) })
	}
	switch {
	case m.err != nil:
	case m.isAnswered(n.what, n.by):
		m.note(n, answers)
	case len(answers) == 0 && n.optional:
		m.skipped = append(m.skipped, Skipped{n.by, n.relation, NotThere})
	case len(answers) == 0:
		m.unresolved = append(m.unresolved, Unresolved{n.by, n.relation, m.near(n.what)})
	case len(answers) == 1 || decide:
		m.note(n, answers[:1])
		for _, a := range answers[0] {
			m.choose(a.Package, n.by, n.relation)
		}
	default:
		m.alternative = append(m.alternative, n)
	}
}

// note remembers what a need that has one answer demands of it.
func (m *maker) note(n need, answers []answer) {
	if len(answers) != 1 {
		return
	}
	for _, a := range answers[0] {
		m.demand(a.Package, a.what)
	}
}

// near returns packages of the names that e is about.
func (m *maker) near(e expression) []Package {
	var all []Package
	each(e, func(c pkginfo.Constraint) {
		all = append(all, m.askNamed(c.Name)...)
		all = append(all, m.askProviding(c.Name)...)
	})
	return all
}

// betterPin returns a version for a slot that has several, and one of which all demands
// could be answered.
func (m *maker) betterPin(tried map[pin]bool) (pin, bool) {
	for _, c := range m.chosen {
		at := m.slot(c.Package)
		if len(m.slots[at]) < 2 {
			continue
		}
		if version, ok := m.single(at); ok {
			if p := (pin{at, version}); !tried[p] {
				return p, true
			}
		}
	}
	return pin{}, false
}

// single returns the highest version that answers all demands of a slot.
func (m *maker) single(at slot) (version string, ok bool) {
	for _, p := range m.askNamed(at.name) {
		if m.slot(p) != at {
			continue
		}
		fits := !slices.ContainsFunc(m.demands[at], func(e expression) bool { return !m.is(p, e) })
		if fits && (!ok || m.options.Orders.Compare(p.Format, p.Version, version) > 0) {
			version, ok = p.Version, true
		}
	}
	return version, ok
}

// choice returns what was chosen.
func (m *maker) choice() (*Choice, error) {
	var errs []error
	for _, c := range m.chosen {
		at := m.slot(c.Package)
		if all := m.slots[at]; len(all) > 1 && all[0] == c {
			if version, ok := m.single(at); ok {
				errs = append(errs, fmt.Errorf("choose %s: %s and %s were chosen, though %s would do; name the version that is wanted", at.name, all[0].Version, all[1].Version, version))
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	choice := &Choice{Packages: m.chosen, Unresolved: m.unresolved}
	for _, s := range m.skipped {
		if what, ok := s.Relation.Expression(); s.Reason == ForScripts && ok && m.isChosenFor(what, s.By) {
			continue // somebody else needs it
		}
		choice.Skipped = append(choice.Skipped, s)
	}
	return choice, nil
}
