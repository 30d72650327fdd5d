package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/choose"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction"
)

// ErrUnresolved is returned (wrapped) where the release, or the directory, lacks what a package needs.
var ErrUnresolved = errors.New("what it needs is not where it comes from")

// Selection is what requests need.
type Selection struct {
	Packages []*Selected `json:"packages"` // what was asked for, each before what it brought
	Skipped  []Skipped   `json:"skipped"`
}

// Selected is a package that is to be installed.
type Selected struct {
	*Available
	Asked  bool
	OnHold bool // it is to keep its version
	// For are the packages that it is there for: who needs it, who needs that, and last
	// one that was asked for; of several chains the first that was found.
	For  []string
	URLs []string // of its file, if not those of its source
	// Unpacked, if not nil, is what there is in place of its file.
	Unpacked *transaction.Unpacked
	// Binding, if not nil, is what its tree is to have: see [transaction.Package].
	Binding *record.Binding
	// Tree is what its tree is to be called; "" for what follows from the version.
	Tree string
	By   record.Picker // see [record.Named]
}

// askedBy returns the package that somebody asked for, and that it is there for.
func (s *Selected) askedBy() []string {
	if len(s.For) == 0 {
		return nil
	}
	return s.For[len(s.For)-1:]
}

// Skipped is what is not installed, though a package names it.
type Skipped struct {
	Relation string `json:"relation"` // as the package wrote it
	By       string `json:"by"`       // the package
	Reason   string `json:"reason"`
}

// Size returns how many bytes are to be fetched, and about how many they take unpacked.
func (s *Selection) Size() (packed, unpacked int64) {
	for _, p := range s.Packages {
		packed += p.Size
		unpacked += p.InstalledSize
	}
	return packed, unpacked
}

// Select decides which packages requests need, of a release, a source or a directory;
// "" is the machine's own release. What is known of it is brought up to date first.
//
// The package manager's own packages answer nothing, but where they are the very ones
// that would be chosen, with all that these need: a process has one C library, and a
// library of the system is of use only to a program that has the system's.
func (r *Repo) Select(ctx context.Context, from string, requests []Request, recommends bool) (selection *Selection, err error) {
	return r.selectKeeping(ctx, from, requests, recommends, nil)
}

// selectKeeping is Select, and chooses of what is recommended also what is kept: see [choose.Options].
func (r *Repo) selectKeeping(ctx context.Context, from string, requests []Request, recommends bool, kept func(pkginfo.Relation) (pkginfo.Relation, bool)) (selection *Selection, err error) {
	if isDirectory(from) {
		err = r.withDirectory(ctx, from, func(p *Pool) error {
			selection, err = r.selectFrom(ctx, p, requests, recommends, kept, true)
			return err
		})
		return selection, err
	}
	err = r.withRelease(ctx, from, func(p *Pool) error {
		selection, err = r.selectFrom(ctx, p, requests, recommends, kept, false)
		return err
	})
	return selection, r.addElsewhere(ctx, from, err)
}

// isDirectory reports whether somebody means a directory of this machine.
func isDirectory(from string) bool {
	return from == "." || strings.Contains(from, string(os.PathSeparator))
}

// withRelease calls f with the packages of a release, which are brought up to date first.
func (r *Repo) withRelease(ctx context.Context, name string, f func(*Pool) error) error {
	sources, err := r.Release(ctx, name)
	if err != nil {
		return err
	}
	if err := r.Ready(ctx, sources); err != nil {
		return err
	}
	return r.With(ctx, sources, f)
}

func (r *Repo) selectFrom(ctx context.Context, p *Pool, requests []Request, recommends bool, kept func(pkginfo.Relation) (pkginfo.Relation, bool), rootAnswers bool) (*Selection, error) {
	format, err := r.formatOfPool(p)
	if err != nil {
		return nil, err
	}
	architectures, err := format.Architectures(r.Root)
	if err != nil {
		return nil, err
	}
	installed, err := system.Packages(ctx, r.Root)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	orders := r.Root.Formats().Orders()
	o := choose.Options{Orders: orders, Architectures: architectures, Obsoletes: format.Obsoletes(), Recommends: recommends, Kept: kept}
	o.All, o.SameArchitecture = format.AllArchitectures()
	o.Unsaid = func(p *pkginfo.Package) []pkginfo.Relation { return format.Unsaid(r.Root, p) }
	if rootAnswers {
		o.Satisfied = func(c pkginfo.Constraint) bool {
			return slices.ContainsFunc(installed, func(i *backends.Installed) bool { return offers(orders, i.Package, c) })
		}
	}
	asked := make([]choose.Request, len(requests))
	for i, q := range requests {
		asked[i] = choose.Request{Name: q.Name, Version: q.Version, Source: p.sourceOf(q.Suite), Architecture: q.Architecture}
	}
	from := &poolForChoice{p, map[*pkginfo.Listed]*Available{}}
	choice, err := choose.Make(from, asked, o)
	if err != nil {
		return nil, p.addSimilar(err)
	}
	if lacking := unresolved(choice); lacking != nil || hasCondition(choice, format) {
		ok, err := r.readFiles(ctx, p, format)
		if err != nil {
			return nil, explainFiles(lacking, err)
		}
		if ok {
			if choice, err = choose.Make(from, asked, o); err != nil {
				return nil, err
			}
			lacking = unresolved(choice)
		}
		if lacking != nil {
			return nil, lacking
		}
	}
	inSystem := map[*choose.Chosen]bool{}
	if !rootAnswers {
		inSystem = theSystems(choice.Packages, installed, orders)
	}
	s := &Selection{Packages: []*Selected{}, Skipped: []Skipped{}}
	for _, c := range choice.Packages {
		if inSystem[c] {
			s.Skipped = append(s.Skipped, Skipped{c.Spec(), c.By.Spec(), string(choose.InRoot)})
			continue
		}
		one := &Selected{Available: from.available[c.Listed], Asked: c.By == nil}
		for _, by := range c.Chain()[1:] {
			one.For = append(one.For, by.Name)
		}
		s.Packages = append(s.Packages, one)
	}
	for _, k := range choice.Skipped {
		s.Skipped = append(s.Skipped, Skipped{k.Relation.Text, k.By.Spec(), string(k.Reason)})
	}
	return s, nil
}

// unresolved returns an error that says what packages of a choice lack.
func unresolved(choice *choose.Choice) error {
	if len(choice.Unresolved) == 0 {
		return nil
	}
	const most = 5
	var lines []string
	for i, u := range choice.Unresolved {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(choice.Unresolved)-most))
			break
		}
		lines = append(lines, u.String())
	}
	return fmt.Errorf("%w: %s", ErrUnresolved, strings.Join(lines, "; "))
}

// explainFiles says of a list of all files that cannot be read what it was wanted for.
func explainFiles(lacking, err error) error {
	if lacking == nil {
		return fmt.Errorf("find what a package needs if another one has a file: %w", err)
	}
	return fmt.Errorf("%w; only the list of all files could say whether another package will do: %w", lacking, err)
}

// formatOfPool returns the format of the packages.
func (r *Repo) formatOfPool(p *Pool) (backends.Repositories, error) {
	for _, part := range p.parts {
		return r.formatOf(part.source)
	}
	for _, list := range p.local {
		return r.formatOf(&backends.Source{Format: list[0].Format})
	}
	return nil, fmt.Errorf("%w: it has no packages", ErrNoSource)
}

// sourceOf returns the name of the source that somebody means: by its name, its suite
// or its codename.
func (p *Pool) sourceOf(suite string) string {
	for _, part := range p.parts {
		if suite != "" && (suite == part.source.Suite || suite == part.state.Suite || suite == part.state.Codename) {
			return part.source.Name
		}
	}
	return suite
}

// poolForChoice is a pool as package choose asks for it.
type poolForChoice struct {
	*Pool
	available map[*pkginfo.Listed]*Available
}

func (p *poolForChoice) Named(name string) ([]choose.Package, error) {
	return p.packages(p.Pool.Named(name))
}

func (p *poolForChoice) Providing(name string) ([]choose.Package, error) {
	return p.packages(p.Pool.Providing(name))
}

func (p *poolForChoice) packages(all []*Available, err error) ([]choose.Package, error) {
	packages := make([]choose.Package, len(all))
	for i, a := range all {
		packages[i] = choose.Package{Listed: a.Listed, Source: a.Source.Name}
		p.available[a.Listed] = a
	}
	return packages, err
}

// theSystems returns those chosen packages that the package manager has installed in this
// very version, and of which that is true of all that they need. What was asked for is
// not among them.
func theSystems(chosen []*choose.Chosen, installed []*backends.Installed, orders pkginfo.Orders) map[*choose.Chosen]bool {
	type key struct{ name, version, architecture string }
	there := map[key]bool{}
	for _, i := range installed {
		there[key{i.Name, i.Version, i.Architecture}] = true
	}
	same := map[*choose.Chosen]bool{}
	for _, c := range chosen {
		same[c] = c.By != nil && there[key{c.Name, c.Version, c.Architecture}]
	}
	answering := newAnswers(chosen, orders)
	for changed := true; changed; {
		changed = false
		for _, c := range chosen {
			if !same[c] {
				continue
			}
			for _, r := range c.Requires {
				for _, a := range r.Alternatives {
					for _, o := range answering.to(a) {
						if o != c && !same[o] {
							same[c], changed = false, true
						}
					}
				}
			}
		}
	}
	return same
}

// answers finds the chosen packages that a constraint is about.
type answers struct {
	orders pkginfo.Orders
	byName map[string][]*choose.Chosen
}

func newAnswers(chosen []*choose.Chosen, orders pkginfo.Orders) *answers {
	a := &answers{orders, map[string][]*choose.Chosen{}}
	for _, c := range chosen {
		a.byName[c.Name] = append(a.byName[c.Name], c)
		for _, p := range c.Provides {
			if p.Name != c.Name {
				a.byName[p.Name] = append(a.byName[p.Name], c)
			}
		}
	}
	return a
}

func (a *answers) to(c pkginfo.Constraint) []*choose.Chosen {
	return slices.DeleteFunc(slices.Clone(a.byName[c.Name]), func(o *choose.Chosen) bool { return !offers(a.orders, &o.Listed.Package, c) })
}

// offers reports whether a package is what a constraint is about, or provides it.
func offers(orders pkginfo.Orders, p *pkginfo.Package, c pkginfo.Constraint) bool {
	if p.Name == c.Name && orders.Satisfies(p.Format, p.Version, c) {
		return true
	}
	return slices.ContainsFunc(p.Provides, func(o pkginfo.Capability) bool {
		return o.Name == c.Name && orders.Satisfies(p.Format, o.Version, c)
	})
}
