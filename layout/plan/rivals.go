package plan

import (
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// rivals are two packages of one release that bring the same libraries: in one directory
// of the loader, with one soname, for one ABI. A package manager lets one of them be
// there, since the files have one name.
type rivals struct {
	first, second *candidate
	sonames       []string
}

// findRivals returns the rivals of a command. Two versions of one package are none: it is
// their relations that say which of them a program gets.
func findRivals(command []*candidate) []*rivals {
	type place struct {
		release, dir, soname, triplet string
		class                         elf.Class
		machine                       elf.Machine
	}
	owners := map[place][]*candidate{}
	pairs := map[[2]*candidate]*rivals{}
	var all []*rivals
	for _, c := range command {
		for i := range c.m.Files {
			f := &c.m.Files[i]
			if sub, ok := publicLibrary(f); !ok || sub != "" || f.ELF.Soname == "" {
				continue
			}
			at := place{c.m.Named.Release, path.Dir(f.Path), f.ELF.Soname, ldso.Triplet(f.ELF), f.ELF.Class, f.ELF.Machine}
			if slices.Contains(owners[at], c) {
				continue
			}
			for _, o := range owners[at] {
				if o.m.Name == c.m.Name {
					continue
				}
				pair := pairs[[2]*candidate{o, c}]
				if pair == nil {
					pair = &rivals{first: o, second: c}
					pairs[[2]*candidate{o, c}] = pair
					all = append(all, pair)
				}
				pair.sonames = append(pair.sonames, f.ELF.Soname)
			}
			owners[at] = append(owners[at], c)
		}
	}
	return all
}

// refuseRivals makes a problem of rivals that one package needs both of, directly or by
// way of others: which of them its programs would load, nobody could say. Packages that
// were named by their files are not looked at: whoever names them has chosen.
func (p *planner) refuseRivals(plan *Plan) {
	for _, r := range p.rivals {
		if r.first.m.Named.Release == "" {
			continue
		}
		of := p.whoNeedsBoth(r)
		if of == nil {
			continue
		}
		slices.Sort(r.sonames)
		libraries := r.sonames[0]
		if n := len(r.sonames) - 1; n > 0 {
			libraries = fmt.Sprintf("%s and %d more of the same libraries", libraries, n)
		}
		plan.Problems = append(plan.Problems, Problem{
			Package: of.m.Spec(), Soname: r.sonames[0],
			Message: fmt.Sprintf("%s and %s both have %s, and %s needs both of them: its programs could load only one. "+
				"To have it with one of them, fetch its packages with hashpkg download --deps, and install these files without the other",
				r.first.m.Spec(), r.second.m.Spec(), libraries, of.m.Spec()),
		})
	}
}

// whoNeedsBoth returns the package whose closure has both rivals, rather one that somebody
// asked for; nil if there is none.
func (p *planner) whoNeedsBoth(r *rivals) *candidate {
	var found *candidate
	for _, c := range p.command {
		if needs := p.closure(c); needs[r.first] && needs[r.second] && (found == nil || c.m.Named.Asked && !found.m.Named.Asked) {
			found = c
		}
	}
	return found
}

// nearTo returns the packages of the command in the order in which c asks them for what
// it needs: those of its release first, and of several that have the same library those
// that it needs.
func (p *planner) nearTo(c *candidate) []*candidate {
	near := p.nearby(c)
	if len(p.rivals) == 0 {
		return near
	}
	if p.nearest[c] == nil {
		needs := p.closure(c)
		p.nearest[c] = firstThose(near, func(o *candidate) bool { return needs[o] })
	}
	return p.nearest[c]
}

// nearby returns the packages that c asks first for what it needs, rivals among them: the
// command's, those of its release first, or its kin.
func (p *planner) nearby(c *candidate) []*candidate {
	if c.from != nil {
		return p.kinOf(c)
	}
	return p.near[c.m.Named.Release]
}

// firstThose returns a list with those first of which is is true, and otherwise as it was.
func firstThose(list []*candidate, is func(*candidate) bool) []*candidate {
	isNot := func(c *candidate) bool { return !is(c) }
	return slices.Concat(slices.DeleteFunc(slices.Clone(list), isNot), slices.DeleteFunc(slices.Clone(list), is))
}

// closure returns the packages of the command that c needs of its own release, and c. It
// follows relations as package repo/choose does: where several packages could answer one,
// it is one that is needed anyway, or else the first.
func (p *planner) closure(c *candidate) map[*candidate]bool {
	if p.closures[c] != nil {
		return p.closures[c]
	}
	needs := map[*candidate]bool{c: true}
	p.closures[c] = needs
	todo := []*candidate{c}
	var open [][]*candidate // the answers of relations that have several
	add := func(o *candidate) {
		if !needs[o] {
			needs[o] = true
			todo = append(todo, o)
		}
	}
	for len(todo)+len(open) > 0 {
		if len(todo) > 0 {
			for _, answers := range p.answersOf(todo[0]) {
				if len(answers) == 1 {
					add(answers[0])
				} else {
					open = append(open, answers)
				}
			}
			todo = todo[1:]
			continue
		}
		if !slices.ContainsFunc(open[0], func(o *candidate) bool { return needs[o] }) {
			add(open[0][0])
		}
		open = open[1:]
	}
	return needs
}

// answersOf returns, for each relation of c that packages of its release in the command
// satisfy, those packages: in the order of its alternatives, and for each those of c's
// architecture first.
func (p *planner) answersOf(c *candidate) [][]*candidate {
	if all, known := p.answers[c]; known {
		return all
	}
	var all [][]*candidate
	for _, r := range c.m.Requires {
		var answers []*candidate
		for _, want := range r.Alternatives {
			var fitting []*candidate
			for _, o := range p.command {
				if o.m.Named.Release == c.m.Named.Release && !slices.Contains(answers, o) && p.isAnswer(o, want) {
					fitting = append(fitting, o)
				}
			}
			answers = append(answers, firstThose(fitting, func(o *candidate) bool { return o.m.Architecture == c.m.Architecture })...)
		}
		if len(answers) > 0 {
			all = append(all, answers)
		}
	}
	p.answers[c] = all
	return all
}

// isAnswer reports whether a package satisfies a constraint.
func (p *planner) isAnswer(c *candidate, want pkginfo.Constraint) bool {
	return p.offers(c.m.Format, c.m.Name, c.m.Version, c.m.Provides, want) || strings.HasPrefix(want.Name, "/") && c.m.Resolve(want.Name) != nil
}
