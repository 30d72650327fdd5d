// Package see puts together closure manifests that leave the choice of some versions to third parties. [Resolve]
// takes from the manifests of these what they were asked for and nothing else; [Check] says the same of what
// was unpacked, since a manifest only claims what its packages have. It is pure: who fetches the manifests
// verifies their signatures, too.
//
// # What a third party may pick
//
// For each name, the one package that has it, and what this requires there that the asking manifest and the other
// third parties do not have. Refused is what has a name that is somebody else's already: the name of a package,
// a path, a soname, the base name of a library or of a command; what has a C library or a part of one; and
// a third party that leaves choices to others itself.
package see

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// ErrRefused is wrapped by the errors of third parties that do not do what they were asked for.
var ErrRefused = errors.New("the choice is refused")

// refuse returns an error of a choice.
func refuse(by record.Picker, format string, args ...any) error {
	return fmt.Errorf("%w: %s, at %s: %s", ErrRefused, by.Name(), by.URL, fmt.Sprintf(format, args...))
}

// party is a third party with what is taken from it.
type party struct {
	record.Picker
	packages []closure.Package // of its manifest
	mirrors  []string
	taken    []*closure.Package          // the heads first
	why      map[*closure.Package]string // of the others, the relation that they answer
}

// resolver is one run of Resolve.
type resolver struct {
	orders  pkginfo.Orders
	own     []closure.Package
	parties []*party
}

// Resolve returns a manifest for one architecture that has, besides its own packages, those which the third parties
// of its entries pick. manifests are theirs, in the order of m.See. What is picked is not asked for, is no
// default, says who picked it, and has no identity, for what it will be bound to is not known: see
// [closure.Package.Identity].
func Resolve(m *closure.Manifest, architecture string, orders pkginfo.Orders, manifests []*closure.Manifest) (*closure.Manifest, error) {
	r := resolver{orders: orders, own: m.Architectures[architecture]}
	for i := range m.See {
		if err := r.takeHead(&m.See[i], m.Prefix, architecture, manifests[i]); err != nil {
			return nil, err
		}
	}
	for _, p := range r.parties {
		for i := 0; i < len(p.taken); i++ { // which grows on the way
			r.takeRequired(p, p.taken[i])
		}
	}
	var own []content
	for i := range r.own {
		own = append(own, contentOf(&r.own[i]))
	}
	picked := map[record.Picker][]content{}
	packages := slices.Clone(r.own)
	for _, p := range r.parties {
		for _, t := range p.taken {
			c := contentOf(t)
			c.why = p.why[t]
			picked[p.Picker] = append(picked[p.Picker], c)
			packages = append(packages, p.pick(t))
		}
	}
	if err := checkNames(own, pickers(m.See), picked); err != nil {
		return nil, err
	}
	return &closure.Manifest{
		Format: m.Format, Names: m.Names, Prefix: m.Prefix, Mirrors: m.Mirrors,
		Architectures: map[string][]closure.Package{architecture: packages},
	}, nil
}

// pickers returns who picks, each once.
func pickers(list []closure.See) (all []record.Picker) {
	for i := range list {
		if p := list[i].Picker(); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// takeHead takes the package that has the name of an entry.
func (r *resolver) takeHead(s *closure.See, prefix, architecture string, m *closure.Manifest) error {
	by := s.Picker()
	packages, is := m.Architectures[architecture]
	switch {
	case len(m.See) > 0:
		return refuse(by, "it leaves the choice of %s to others itself", m.See[0].Name)
	case m.Prefix != prefix:
		return refuse(by, "its trees stand in %s, and those of who asks in %s", m.Prefix, prefix)
	case !is:
		return refuse(by, "it has nothing for %s", architecture)
	}
	i := slices.IndexFunc(r.parties, func(p *party) bool { return p.Picker == by })
	if i < 0 {
		i = len(r.parties)
		r.parties = append(r.parties, &party{Picker: by, packages: packages, mirrors: m.Mirrors, why: map[*closure.Package]string{}})
	}
	p := r.parties[i]
	var found []*closure.Package
	for i := range p.packages {
		if c := contentOf(&p.packages[i]); c.has(s) {
			found = append(found, &p.packages[i])
		}
	}
	if len(found) != 1 {
		return refuse(by, "%d of its packages have %s, and one is to have it", len(found), s.Name)
	}
	p.take(found[0], "")
	return nil
}

func (p *party) take(c *closure.Package, why string) {
	if !slices.Contains(p.taken, c) {
		p.taken = append(p.taken, c)
		p.why[c] = why
	}
}

// takeRequired takes what a package requires and nobody has yet. What the third party does not have either is
// left to the plan, as it is there.
func (r *resolver) takeRequired(p *party, c *closure.Package) {
	for _, relation := range c.Requires {
		e, ok := relation.Expression()
		if !ok {
			continue
		}
		if alternatives := e.Alternatives(); alternatives != nil {
			if slices.ContainsFunc(alternatives, r.isThere) {
				continue
			}
			for _, a := range alternatives {
				if o := r.offering(p, a); o != nil {
					p.take(o, c.Spec()+" requires "+relation.String())
					break
				}
			}
			continue
		}
		for a := range e.Wanted() {
			if o := r.offering(p, a); o != nil && !r.isThere(a) {
				p.take(o, c.Spec()+" requires "+relation.String())
			}
		}
	}
}

// isThere reports whether who asks, or anybody who picks for it, has what answers a constraint.
func (r *resolver) isThere(c pkginfo.Constraint) bool {
	for i := range r.own {
		if r.offers(&r.own[i], c) {
			return true
		}
	}
	return slices.ContainsFunc(r.parties, func(p *party) bool {
		return slices.ContainsFunc(p.taken, func(o *closure.Package) bool { return r.offers(o, c) })
	})
}

// offering returns the highest version that a third party has of what answers a constraint; nil for none.
func (r *resolver) offering(p *party, c pkginfo.Constraint) (best *closure.Package) {
	for i := range p.packages {
		if o := &p.packages[i]; r.offers(o, c) && (best == nil || o.Name == best.Name && r.orders.Compare(o.Kind, o.Version, best.Version) > 0) {
			best = o
		}
	}
	return best
}

// offers reports whether a package is what a constraint is about, provides it, or has the file of that name.
func (r *resolver) offers(p *closure.Package, c pkginfo.Constraint) bool {
	if file, is := strings.CutPrefix(c.Name, "/"); is {
		at := layout.MergeUsr(path.Clean(file))
		return slices.ContainsFunc(p.Files, func(f closure.File) bool { return f.Path == at })
	}
	if p.Name == c.Name && r.orders.Satisfies(p.Kind, p.Version, c) {
		return true
	}
	return slices.ContainsFunc(p.Provides, func(o pkginfo.Capability) bool {
		return o.Name == c.Name && r.orders.Satisfies(p.Kind, o.Version, c)
	})
}

// pick returns a package as it is in the manifest of who asks.
func (p *party) pick(t *closure.Package) closure.Package {
	c := *t
	c.Asked, c.OnHold, c.Default, c.Chosen, c.Identity, c.By = false, false, false, false, digest.Digest{}, p.Picker
	c.Files = slices.Clone(c.Files)
	for i := range c.Files {
		if f := &c.Files[i]; f.Type == record.TypeFile {
			f.From = slices.Concat(f.From, p.mirrors)
			if f.Kind == closure.Plugin && f.Soname != "" { // which nothing names there, and somebody may here
				f.Kind, f.OnDemand = closure.Library, false
			}
		}
	}
	return c
}

// Check says of unpacked packages what [Resolve] says of what manifests claim: own are those of the asking
// manifest, and picked those that others pick for it. Each entry's package has its name, and something of the others
// loads, requires or recommends it.
func Check(list []closure.See, own []*record.Manifest, picked map[record.Picker][]*record.Manifest) error {
	var all []content
	for _, m := range own {
		all = append(all, contentOfTree(m))
	}
	contents := map[record.Picker][]content{}
	for by, manifests := range picked {
		for _, m := range manifests {
			contents[by] = append(contents[by], contentOfTree(m))
		}
	}
	if err := checkNames(all, pickers(list), contents); err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		by := s.Picker()
		at := slices.IndexFunc(contents[by], func(c content) bool { return c.has(s) })
		if at < 0 {
			return refuse(by, "what it picks does not have %s", s.Name)
		}
		others := slices.Clone(own)
		for o, manifests := range picked {
			if o != by {
				others = append(others, manifests...)
			}
		}
		if !slices.ContainsFunc(others, func(m *record.Manifest) bool { return contents[by][at].isNeeded(m) }) {
			return refuse(by, "nothing needs %s", s.Name)
		}
	}
	return nil
}
