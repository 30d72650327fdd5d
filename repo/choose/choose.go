package choose

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Package is a package of a source.
type Package struct {
	*pkginfo.Listed
	Source string // the name of its source
}

// Pool is what a release has: all its sources together, each answer in their order.
// What it returns is not changed.
type Pool interface {
	// Named returns the packages of a name, of all versions and architectures.
	Named(name string) ([]Package, error)
	// Providing returns the packages that provide a name beside their own, or have a
	// file of that path.
	Providing(name string) ([]Package, error)
}

// Request is what somebody asks for. All but Name may be "".
type Request struct {
	Name         string // of a package, or what one provides
	Version      string
	Source       string // the name of the source that it is to come from
	Architecture string
}

// String returns the request as people write it: "NAME:ARCH=VERSION/SOURCE".
func (r Request) String() string {
	s := r.Name
	if r.Architecture != "" {
		s += ":" + r.Architecture
	}
	if r.Version != "" {
		s += "=" + r.Version
	}
	if r.Source != "" {
		s += "/" + r.Source
	}
	return s
}

// Options are the circumstances of a choice.
type Options struct {
	Orders pkginfo.Orders
	// Architectures are the format's words for what the root can run, its own first,
	// and All is the one for packages of every architecture. Others are not looked at.
	Architectures []string
	All           string
	// SameArchitecture says that a relation is about packages of the architecture of the
	// one that has it, unless that or MultiArch says otherwise (deb). Without it every
	// one will do (rpm, whose relations say in their names what they are about).
	SameArchitecture bool
	// Obsoletes says that a package which another one Replaces, and provides the name of, is
	// obsolete (rpm): the other one is chosen in its place, where that will do.
	Obsoletes bool
	// Recommends says that what is recommended is wanted, too, where it is there.
	Recommends bool
	// Kept returns what is wanted of a recommendation without Recommends, and false for nothing; it may be nil.
	Kept func(pkginfo.Relation) (pkginfo.Relation, bool)
	// Satisfied reports whether the root answers something already; nil if it answers
	// nothing.
	Satisfied func(pkginfo.Constraint) bool
	// Unsaid returns what a package requires beside its relations, where the pool has it; nil
	// if none does.
	Unsaid func(*pkginfo.Package) []pkginfo.Relation
}

// Choice is what was chosen, and what was not.
type Choice struct {
	// Packages are what to install: what was asked for, each before what it brought.
	Packages []*Chosen
	// Skipped are relations of theirs that were followed no further, each once.
	Skipped []Skipped
	// Unresolved are relations that nothing answers. Whoever installs Packages all the same
	// has programs that lack something.
	Unresolved []Unresolved
}

// Chosen is a package that was chosen, and what for.
type Chosen struct {
	Package
	// By is who needs it, for its Relation; nil if it was asked for.
	By       *Chosen
	Relation pkginfo.Relation
}

// Chain returns who asked for it: the package, who needs that, and so on, down to one
// that was asked for.
func (c *Chosen) Chain() []*Chosen {
	var chain []*Chosen
	for ; c != nil; c = c.By {
		chain = append(chain, c)
	}
	return chain
}

// Reason is why a relation was followed no further.
type Reason string

// The reasons.
const (
	ForScripts Reason = "only maintainer scripts need it, which install does not run"
	InRoot     Reason = "the system has it"
	NotThere   Reason = "it is recommended, and not there"
)

// Skipped is a relation that was followed no further.
type Skipped struct {
	By       *Chosen // the first that has it
	Relation pkginfo.Relation
	Reason   Reason
}

// Unresolved is a relation that nothing answers.
type Unresolved struct {
	By       *Chosen // the first that has it
	Relation pkginfo.Relation
	// Near are packages of the names that it is about, of versions or architectures
	// that do not fit.
	Near []Package
}

// String returns "A=1 requires b (>= 2), and there is b=1".
func (u Unresolved) String() string {
	s := fmt.Sprintf("%s requires %s, and ", u.By.Spec(), u.Relation)
	if len(u.Near) == 0 {
		return s + "nothing is or provides it"
	}
	return s + "there is " + specs(u.Near)
}

// NotFoundError is a request that no package answers, or several do.
type NotFoundError struct {
	Request Request
	// Near are packages of the name that do not fit the rest of the request.
	Near []Package
	// Providers are the names of packages that provide it, if there are several.
	Providers []string
	// Foreign are packages of the name for architectures that the root cannot run. They are
	// added as Similar is.
	Foreign []Package
	// Similar are names that may have been meant. Make knows of none: who knows all names
	// may add them.
	Similar []string
	// Elsewhere are releases that have the name, though not the one that was looked in. They
	// are added as Similar is.
	Elsewhere []string
}

func (e *NotFoundError) Error() string {
	switch {
	case len(e.Near) > 0:
		return fmt.Sprintf("find %s: there is %s", e.Request, specs(e.Near))
	case len(e.Foreign) > 0:
		return fmt.Sprintf("find %s: it is there for other architectures only, which this root does not run: %s", e.Request, specs(e.Foreign))
	case len(e.Providers) > 0:
		return fmt.Sprintf("find %s: several packages provide it; name one of %s", e.Request, strings.Join(e.Providers, ", "))
	}
	text := fmt.Sprintf("find %s: no package has this name, or provides it", e.Request)
	if hint := e.Advice(); hint != "" {
		text += "; " + hint
	}
	return text
}

// Advice returns what to do, which the text ends with; "" where nobody knows.
func (e *NotFoundError) Advice() string {
	switch {
	case len(e.Near)+len(e.Providers)+len(e.Foreign) > 0:
		return ""
	case len(e.Elsewhere) > 0:
		return "it is in " + strings.Join(e.Elsewhere, " and in ") + ": give --from " + e.Elsewhere[0]
	}
	return similar.Question(e.Similar)
}

// specs names packages for a message.
func specs(packages []Package) string {
	var all []string
	for _, p := range packages {
		s := fmt.Sprintf("%s=%s (%s)", p.Name, p.Version, p.Architecture)
		if p.Source != "" {
			s = fmt.Sprintf("%s=%s (%s, in %s)", p.Name, p.Version, p.Architecture, p.Source)
		}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, ", ")
}

// Make returns what requests need. The error is that of the pool, or joins a
// [NotFoundError] for each request that was not found. A relation that nothing answers
// is no error: see [Choice.Unresolved].
func Make(pool Pool, requests []Request, options Options) (*Choice, error) {
	pins := map[slot]string{}
	tried := map[pin]bool{}
	out := map[slot]bool{}
	for {
		m := newMaker(pool, options, pins, out)
		for _, request := range requests {
			m.request(request)
		}
		m.settle()
		if m.err != nil {
			return nil, m.err
		}
		if len(m.notFound) > 0 {
			return nil, errors.Join(m.notFound...)
		}
		// What was chosen before a relation was known that it does not fit, gives way to
		// a version that fits all, and all that it brought with it.
		if wanted, ok := m.betterPin(tried); ok {
			tried[wanted] = true
			pins[wanted.slot] = wanted.version
			continue
		}
		if replaced, ok := m.replaced(); ok {
			out[replaced] = true
			continue
		}
		return m.choice()
	}
}
