// Package plan decides which library each program loads, of the packages that are
// to be installed ([Make]), and which trees and links agree with what a package
// manager has installed ([MakeSystem]). A plan is a value; nothing is changed by
// making one.
//
// Both ask the same thing of the same rules, what the loader finds where, and what a
// tree's identity is computed from, so they stay together although it makes the
// package long.
package plan

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Input is everything that a plan follows from.
type Input struct {
	Prefix     string             // absolute in the root
	RealPrefix string             // the same without links on the way; "" for the same
	Generation *record.Generation // the active one; an empty one for a new root
	// Orders order the versions of packages, and say which fit a relation.
	Orders pkginfo.Orders
	// Command holds the packages of this command as drafts: manifests whose
	// files are known, with ELF facts as packaged, but without tree, identity,
	// edits and links; one that has a tree's name is to have that, if nothing else has it.
	// They were indexed. Make works on copies of them.
	Command []*record.Manifest
	// Rebind are trees of Generation whose packages are planned anew, in place of Command:
	// the facts of each are those of the tree's manifest, and the packaged bytes of its
	// files are asked of Edit. Only those that come to be bound otherwise are in the plan.
	Rebind []*record.Tree
	// Installed returns the manifest of a tree of Generation.
	Installed func(*record.Tree) (*record.Manifest, error)
	// Occupied returns the trees of a package that stand on disk, whether or not
	// the generation has them.
	Occupied func(name string) ([]*record.Manifest, error)
	// System returns what finds the root's own libraries for programs of this
	// ABI, as the root's loader would.
	System func(*elfedit.Info) (ldso.Finder, error)
	// SystemPackages returns the packages that the root's package manager has
	// installed, for relations; nil when there is none.
	SystemPackages func() []*pkginfo.Package
	// HasFile reports whether the root has a file, for relations that name one;
	// nil when it has none.
	HasFile func(name string) bool
	// FileSize returns the size of a file of the root, links in it followed; false for
	// none. It decides what programs need a view for; when it is nil, none does.
	FileSize func(name string) (size int64, ok bool)
	// Edit makes the edits; nil for none that could: then every edit counts as made,
	// and files have no patches.
	Edit    Editor
	Choice  record.DefaultChoice
	Rebuild bool // another package file may take an occupied version
	// Program is the command that is wanted of the packages that somebody asked for;
	// "" for the one that is called like its package, if it has one.
	Program string
	// AllowMissing makes warnings of what would not start.
	AllowMissing bool
	// NoDev: no package gets what programs are built with, as by a hashpkg that did not know of it.
	NoDev bool
	// Gone reports whether a tree of Generation is not in the next one; nil for none.
	// Nothing of the command is bound to it. Where Rebind is given, it is one whose manifest
	// cannot be read: it stays, and so does all that it may be bound to.
	Gone func(*record.Tree) bool
	// Symbols returns by which symbols files answer look-ups, and which of them relocations
	// of their own can be bound to, in the order of the requests. When it is nil, nothing is
	// bound so. That an installed file, or one of the root, cannot be read is a result; an error
	// is for files of the command, and ends Make.
	Symbols func([]SymbolsRequest) ([]Symbols, error)
	// Linkages has what was found out before of trees of Generation by Symbols; nil for nothing.
	// Make adds what it finds out.
	Linkages Linkages

	// anew are trees of Generation, by their paths, that are planned anew because of what is
	// bound to itself in them, and the trees of the packages that would use them: see
	// [planner.findClashes].
	anew map[string][]string
}

// Plan is what an install would do. Its value is what --dry-run prints.
type Plan struct {
	Trees     []PlannedTree   `json:"trees"`
	Conflicts []farm.Conflict `json:"conflicts"` // farm links that several defaults offer, of this command's packages
	Warnings  []string        `json:"warnings"`
	Problems  []Problem       `json:"problems"` // what cannot be resolved; nothing is committed while there is one

	// Rebound says what changes for the packages of Input.Rebind, and Left which of them
	// were left out, for they do not work as they are, and would not after it.
	Rebound []Rebound `json:"-"`
	Left    []Left    `json:"-"`

	// Views are those that the generation's launchers show.
	Views []PlannedView `json:"-"`

	// Generation is the state after the plan, still without number and time.
	// It is nil when nothing would change.
	Generation *record.Generation `json:"-"`
}

// PlannedTree is one package of the command.
type PlannedTree struct {
	Name         string        `json:"name"`
	Version      string        `json:"version"`
	Architecture string        `json:"architecture"`
	Tree         string        `json:"tree"`
	Identity     digest.Digest `json:"identity"`
	Present      bool          `json:"present"` // the store has the very same tree already
	Active       bool          `json:"active"`  // and so has the generation
	Anew         bool          `json:"anew"`    // of a package that was not asked for: a tree of it is there, in which too much is bound to itself for others of the command
	Default      bool          `json:"default"`
	Links        []record.Link `json:"links"`
	Edits        []PlannedEdit `json:"edits"`
	Launchers    []Launcher    `json:"launchers"`
	Scripts      []string      `json:"scripts_skipped"`
	// What these scripts would register and make, and what of them was not understood.
	Alternatives []pkginfo.Alternative `json:"alternatives"`
	WouldMake    pkginfo.Made          `json:"scripts_would_make"`
	Unread       []string              `json:"scripts_unread"`

	// Manifest is the draft, completed. Edited files have their edits and patches; their
	// objects and sizes are those of the packaged bytes still.
	Manifest *record.Manifest `json:"-"`
}

// Launcher is a command that is shown a view.
type Launcher struct {
	Path    string `json:"path"`    // "bin/vim", in the tree
	Program string `json:"program"` // "/usr/bin/vim", in the view
	Why     string `json:"why"`
}

// PlannedEdit is what is to be changed in one file.
type PlannedEdit struct {
	File  string              `json:"file"`
	Edits []record.EditRecord `json:"edits"`
}

// Make decides trees, edits and links for the packages of a command. The
// error is a fault of the input's readers or its editor; what cannot be resolved is in the
// plan's Problems.
func Make(in Input) (*Plan, error) {
	if len(in.Rebind) > 0 {
		return makeRebound(in)
	}
	p, err := newPlanner(in)
	if err != nil {
		return nil, err
	}
	plan := newPlan()
	for _, c := range p.command {
		if err := p.resolvePackage(c, plan); err != nil {
			return nil, err
		}
	}
	for _, c := range p.command {
		if !c.m.Anew { // what was to be said of that was said at its install
			p.judge(c, plan)
		}
	}
	p.refuseRivals(plan)
	p.warnRelations(plan)
	if again, err := p.findClashes(); again != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return Make(*again)
	}
	p.decideViews()
	if err := errors.Join(p.nameTrees(plan), p.fault); err != nil {
		return nil, err
	}
	if len(plan.Problems) > 0 {
		return plan, nil
	}
	p.planGeneration(plan)
	p.planViews(plan)
	return plan, nil
}

func newPlan() *Plan {
	return &Plan{Trees: []PlannedTree{}, Conflicts: []farm.Conflict{}, Warnings: []string{}, Problems: []Problem{}}
}

// makeRebound is Make for installed packages. One that is broken is left as it is, and the
// others are planned without it: what they are bound to may be another file then. So are those
// that need it bound anew although nobody asked for that: see [planner.findClashes].
func makeRebound(in Input) (*Plan, error) {
	asked := in
	var left []Left
	isLeft := func(tree string) bool { return slices.ContainsFunc(left, func(l Left) bool { return l.Tree == tree }) }
	for {
		plan := newPlan()
		if len(in.Rebind) == 0 {
			plan.Left = left
			return plan, nil
		}
		p, err := newPlanner(in)
		if err != nil {
			return nil, err
		}
		again, err := p.makeRebound(plan)
		if err != nil {
			return nil, err
		}
		if again != nil {
			in = *again
			continue
		}
		if len(plan.Left) == 0 {
			plan.Left = left
			return plan, nil
		}
		more := len(left)
		for i := 0; i < len(plan.Left); i++ { // which grows on the way
			l := plan.Left[i]
			for _, user := range in.anew[l.Tree] {
				if t := p.trees[user]; !slices.ContainsFunc(plan.Left, func(o Left) bool { return o.Tree == user }) {
					plan.Left = append(plan.Left, LeaveTree(t, fmt.Sprintf("it cannot be bound anew without %s, of which less is to be bound to itself: %s", l.Tree, l.Why)))
				}
			}
			if !isLeft(l.Tree) && slices.ContainsFunc(asked.Rebind, func(t *record.Tree) bool { return t.Path() == l.Tree }) {
				left = append(left, l)
			}
		}
		if len(left) == more {
			return nil, fmt.Errorf("bind %s anew: internal error: nobody asks for it, and %s", plan.Left[0].Tree, plan.Left[0].Why)
		}
		in = asked
		in.Rebind = slices.DeleteFunc(slices.Clone(in.Rebind), func(t *record.Tree) bool { return isLeft(t.Path()) })
	}
}

// makeRebound is a try of the function of that name. It returns the input of the next one where
// what is bound to itself asks for more trees.
func (p *planner) makeRebound(plan *Plan) (again *Input, err error) {
	for _, c := range p.command {
		if err := p.resolvePackage(c, &Plan{}); err != nil { // what was to be said of it was said at its install
			return nil, err
		}
	}
	p.settle()
	clear(p.warned)
	for _, c := range p.command {
		if err := p.judgeRebound(c, plan); err != nil {
			return nil, err
		}
	}
	if len(plan.Left) > 0 {
		return nil, p.fault
	}
	if again, err := p.findClashes(); again != nil || err != nil {
		return again, err
	}
	p.decideViews()
	if err := errors.Join(p.nameTrees(plan), p.fault); err != nil {
		return nil, err
	}
	if len(plan.Problems) > 0 {
		return nil, nil
	}
	p.dropUnmoved(plan)
	p.reportRebound(plan)
	if err := p.planRebound(plan); err != nil {
		return nil, err
	}
	p.planViews(plan)
	return nil, nil
}

// replaced returns the tree of the generation that goes and that a package of the command, which is bound
// otherwise, takes the place of; nil for none. named are the trees of the command.
func (p *planner) replaced(c *candidate, named map[string]record.Named) *record.Tree {
	if p.in.Gone == nil {
		return nil
	}
	var found *record.Tree
	for i := range p.in.Generation.Trees {
		t := &p.in.Generation.Trees[i]
		_, isOurs := named[t.Path()]
		if !isOurs && t.Origin == record.OriginPrivate && t.Name == c.m.Name && t.Version == c.m.Version && t.Architecture == c.m.Architecture && p.in.Gone(t) && (found == nil || t.Default) {
			found = t
		}
	}
	return found
}

// planGeneration adds the trees to the generation and says what its farm makes
// of them.
func (p *planner) planGeneration(plan *Plan) {
	next := p.in.Generation.Next(p.in.Generation.ID, p.in.Generation.Time)
	names := make(map[string]bool, len(p.command))
	for _, c := range p.command {
		names[c.m.Name] = true
	}
	have := map[string]digest.Digest{}
	for i := range next.Trees {
		if t := &next.Trees[i]; names[t.Name] {
			have[t.Path()] = t.Identity
		}
	}
	var added, beside []record.Tree
	named := map[string]record.Named{}
	for _, c := range p.command {
		named[layout.TreePath(c.m.Name, c.m.Tree)] = c.m.Named
	}
	for i, c := range p.command {
		tree := layout.TreePath(c.m.Name, c.m.Tree)
		former := p.replaced(c, named)
		switch {
		case have[tree] == c.m.Identity:
			plan.Trees[i].Active = true
		case former != nil: // what was said of it holds for the new one
			t := generationTree(c.m)
			n := former.Named
			n.Merge(c.m.Named)
			t.Chosen, named[tree] = former.Chosen, n
			if former.Held {
				beside = append(beside, t)
			} else {
				added = append(added, t)
			}
		case c.m.Anew, !c.m.Named.By.IsZero(): // what is installed again is bound to what it was bound to, and who picks for others gives no defaults
			beside = append(beside, generationTree(c.m))
		default:
			added = append(added, generationTree(c.m))
		}
	}
	// A tree that the generation has and the disk has not is put back.
	changed := slices.ContainsFunc(plan.Trees, func(t PlannedTree) bool { return !t.Present })
	if p.in.Gone != nil && next.Remove(func(t *record.Tree) bool {
		_, isOurs := named[t.Path()]
		return !isOurs && p.in.Gone(t)
	}) {
		changed = true
	}
	if len(added)+len(beside) > 0 {
		next.Add(p.in.Choice, added...)
		next.Add(record.DefaultKeep, beside...)
		changed = true
	}
	ours := make(map[string]bool, len(p.command))
	for _, c := range p.command {
		if !c.m.Anew {
			ours[layout.TreePath(c.m.Name, c.m.Tree)] = true
		}
	}
	if p.in.Choice == record.DefaultThis {
		changed = next.UseAll(ours) || changed
	}
	for i := range next.Trees {
		t := &next.Trees[i]
		n, isOurs := named[t.Path()]
		if _, wasThere := have[t.Path()]; isOurs && wasThere {
			changed = t.Named.Merge(n) || changed
		} else if isOurs {
			t.Named = n
		}
	}
	plan.Conflicts = append(plan.Conflicts, farm.Conflicts(next, ours)...)
	defaults := map[string]bool{}
	for i := range next.Trees {
		if t := &next.Trees[i]; names[t.Name] {
			defaults[t.Path()] = t.Default
		}
	}
	for i := range plan.Trees {
		plan.Trees[i].Default = defaults[layout.TreePath(plan.Trees[i].Name, plan.Trees[i].Tree)]
	}
	if changed {
		plan.Generation = next
	}
}

// warnRelations warns of relations of the command's packages that no package
// satisfies. Those that name a library become problems where the library is missing.
func (p *planner) warnRelations(plan *Plan) {
	for _, c := range p.command {
		if c.m.Anew {
			continue
		}
		var unresolved []string
		for _, r := range c.m.Requires {
			if !p.isSatisfied(c, r) && !isSonameRelation(r) {
				unresolved = append(unresolved, r.String())
			}
		}
		if len(unresolved) > 0 {
			plan.Warnings = append(plan.Warnings, fmt.Sprintf(
				"%s: no package satisfies its relations: %s", c.m.Spec(), strings.Join(unresolved, ", ")))
		}
	}
}

// isSatisfied reports whether some package of the command, the generation or the
// root's package manager satisfies the relation.
func (p *planner) isSatisfied(c *candidate, r pkginfo.Relation) bool {
	if len(r.Alternatives) == 0 { // a condition on other packages, which nothing here depends on
		return true
	}
	return slices.ContainsFunc(r.Alternatives, func(want pkginfo.Constraint) bool {
		if strings.HasPrefix(want.Name, "/") && p.hasFile(want.Name) {
			return true
		}
		for _, o := range p.command {
			if p.offers(o.m.Format, o.m.Name, o.m.Version, o.m.Provides, want) {
				return true
			}
		}
		for i := range p.in.Generation.Trees {
			t := &p.in.Generation.Trees[i]
			if p.offers(t.Format, t.Name, t.Version, t.Provides, want) {
				return true
			}
		}
		return p.in.SystemPackages != nil && slices.ContainsFunc(p.in.SystemPackages(), func(s *pkginfo.Package) bool {
			return p.offers(s.Format, s.Name, s.Version, s.Provides, want)
		})
	})
}

// hasFile reports whether a package of the command, or the root, has a file.
func (p *planner) hasFile(name string) bool {
	return p.in.HasFile != nil && p.in.HasFile(name) ||
		slices.ContainsFunc(p.command, func(c *candidate) bool { return c.m.Resolve(name) != nil })
}

// offers reports whether a package satisfies a constraint, by its own name or by
// one that it provides.
func (p *planner) offers(f pkginfo.Format, name, version string, provides []pkginfo.Capability, want pkginfo.Constraint) bool {
	return offers(p.in.Orders, f, name, version, provides, want)
}

func offers(orders pkginfo.Orders, f pkginfo.Format, name, version string, provides []pkginfo.Capability, want pkginfo.Constraint) bool {
	if name == want.Name && orders.Satisfies(f, version, want) {
		return true
	}
	return slices.ContainsFunc(provides, func(c pkginfo.Capability) bool {
		return c.Name == want.Name && orders.Satisfies(f, c.Version, want)
	})
}

// isLoaderFamily reports whether a package's interface has a C library.
func isLoaderFamily(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Links, func(l record.Link) bool {
		if strings.HasPrefix(path.Base(l.Path), "libc.so.6") {
			return true
		}
		f := m.Lookup(l.File())
		return f != nil && f.ELF != nil && f.ELF.IsMuslLibC()
	})
}

// generationTree returns the manifest's line in a generation.
func generationTree(m *record.Manifest) record.Tree {
	t := record.Tree{
		Name: m.Name, Version: m.Version, Architecture: m.Architecture, Format: m.Format,
		Origin: m.Origin, Dir: m.Tree, Identity: m.Identity, Provides: m.Provides,
	}
	if m.Origin == record.OriginSystem {
		t.Places = places(m)
		t.AskWhere = askWhere(m, t.Places)
		return t
	}
	// The loader family works with itself only. A farm that mixed two, or that a
	// program of another one searched, would keep programs from starting.
	family := isLoaderFamily(m)
	public := map[*record.File]bool{}
	for _, l := range m.Links {
		if family && strings.HasPrefix(l.Path, "lib") || isInner(l.Path) {
			continue
		}
		t.Links = append(t.Links, l.Path)
		public[m.Resolve(l.File())] = true
	}
	for i := range m.Files {
		if f := &m.Files[i]; f.Launches != "" {
			t.Links = append(t.Links, f.Path)
		}
	}
	slices.Sort(t.Links)
	t.Offers = slices.DeleteFunc(commandOffers(m), func(o record.Offer) bool { return !slices.Contains(t.Links, o.Link) })
	for i := range t.Offers {
		o := &t.Offers[i]
		for j := range m.Files {
			if f := &m.Files[j]; f.Launches == "/"+o.Target {
				o.Target = f.Path
			}
		}
	}
	t.Prelocated, t.Dev = isPrelocated(m), HasDev(m)
	t.Links = append(t.Links, shareLinks(m)...)
	for i := range m.Files {
		f := &m.Files[i]
		switch {
		case f.ELF == nil || public[f]:
		case f.ELF.Soname != "":
			t.Inner = append(t.Inner, f.ELF.Soname)
		case f.ELF.IsMuslLibC():
			t.Inner = append(t.Inner, layout.LibcName(f.ELF))
		}
	}
	slices.Sort(t.Inner)
	t.Inner = slices.Compact(t.Inner)
	return t
}
