package plan

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Rebound is a package of which another tree takes the place, bound to other libraries.
type Rebound struct {
	Name         string   `json:"name"`
	Version      string   `json:"version"`
	Architecture string   `json:"architecture"`
	Before       string   `json:"tree_before"` // NAME/TREE
	After        string   `json:"tree"`
	Changes      []Change `json:"changes"`
}

// Change is what answers libraries in place of what did.
type Change struct {
	// Sonames are what programs and libraries of the package ask for; empty for what is
	// only searched, by dlopen.
	Sonames []string `json:"sonames"`
	// Before and After are "NAME=VERSION", or "" for the root's own library. They are the
	// same where another tree of that version takes the place, itself bound anew.
	Before string `json:"before"`
	After  string `json:"after"`
}

// Left is a package that stays as it is although it was to be bound anew.
type Left struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Tree         string `json:"tree"` // NAME/TREE
	Why          string `json:"why"`  // whole, with what to do
}

// LeaveTree returns what says that a tree stays as it is.
func LeaveTree(t *record.Tree, why string) Left {
	return Left{Name: t.Name, Version: t.Version, Architecture: t.Architecture, Tree: t.Path(), Why: why}
}

// DraftOf returns the draft that a tree was planned from, as the package's file would give
// it: the manifest without tree, identity, links and edits, and without what hashpkg made.
// The packaged bytes of its files are what their edits, undone, give.
func DraftOf(m *record.Manifest) *record.Manifest {
	d := *m
	d.Tree, d.Identity, d.Links, d.Files = "", digest.Digest{}, nil, make([]record.File, 0, len(m.Files))
	for _, f := range m.Files {
		if f.Launches != "" || f.IsMade() || f.IsDev() {
			continue
		}
		if f.Patch != nil {
			f.Size = f.Patch.OldSize
		}
		f.Object, f.Own, f.Edits, f.Patch, f.Needs = f.Source, false, nil, nil, nil
		d.Files = append(d.Files, f)
	}
	d.Index()
	return &d
}

// draftRebound makes candidates of the installed packages that are to be bound anew. Until
// it is known which of them get other trees, they stand where they do.
func (p *planner) draftRebound() error {
	for _, t := range p.in.Rebind {
		m, err := p.in.Installed(t)
		if err != nil {
			return err
		}
		c := newCandidate(DraftOf(m), nil)
		c.from, c.was = p.trees[t.Path()], m
		c.m.Named, c.m.Tree, c.m.Links = t.Named, t.Dir, m.Links
		p.command = append(p.command, c)
		p.rebound[t.Path()] = c
	}
	return nil
}

// kinOf returns the packages that a package which is bound anew asks first for what it
// needs: those that it is bound to now, in all their versions, and those of its release.
// The first are of its release, or of none; of one package, the version that somebody
// chose, or else the highest, is before the others.
func (p *planner) kinOf(c *candidate) []*candidate {
	if kin, known := p.kin[c]; known {
		return kin
	}
	bound := map[string]bool{}
	for _, f := range c.was.Files {
		for _, n := range f.Needs {
			name, _, _ := strings.Cut(n.Provider, "=")
			bound[name] = true
		}
	}
	for _, tree := range graph.OfManifest(c.was, func(tree string) bool { return p.trees[tree] != nil }) {
		bound[p.trees[tree].Name] = true
	}
	release := c.from.Release
	var trees []*record.Tree
	for i := range p.in.Generation.Trees {
		t := &p.in.Generation.Trees[i]
		if t.Origin != record.OriginSystem && t != c.from && (bound[t.Name] || release != "" && t.Shares(&c.from.Named)) {
			trees = append(trees, t)
		}
	}
	isNear := func(t *record.Tree) bool { return t.Release == "" || t.Shares(&c.from.Named) }
	slices.SortStableFunc(trees, func(a, b *record.Tree) int {
		return cmp.Or(
			firstTrue(isNear(a), isNear(b)), strings.Compare(a.Name, b.Name), firstTrue(a.Chosen, b.Chosen), firstTrue(!a.Held, !b.Held),
			-p.in.Orders.Compare(a.Format, a.Version, b.Version), -cmp.Compare(a.Since, b.Since))
	})
	kin := []*candidate{c}
	for _, t := range trees {
		o := p.rebound[t.Path()]
		if o == nil {
			var err error
			if o, err = p.load(t); err != nil {
				p.fault = cmp.Or(p.fault, err)
				continue
			}
		}
		kin = append(kin, o)
	}
	p.kin[c] = kin
	return kin
}

// firstTrue orders what is true before what is not.
func firstTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// settle leaves in the command only those packages that get another tree: whose files
// are answered otherwise than they are, and those that lead to such a package. The others
// are installed ones from then on.
func (p *planner) settle() {
	changed := map[*candidate]bool{}
	for _, c := range p.command {
		changed[c] = p.in.anew[c.from.Path()] != nil || p.bindsAnew(c)
	}
	for again := true; again; {
		again = false
		for _, c := range p.command {
			leads := graph.OfManifest(c.was, func(tree string) bool { return p.rebound[tree] != nil })
			if !changed[c] && slices.ContainsFunc(leads, func(tree string) bool { return changed[p.rebound[tree]] }) {
				changed[c], again = true, true
			}
		}
	}
	for _, c := range p.command {
		if !changed[c] {
			c.m, c.tree = c.was, c.from
			p.installed[c.from] = c
			delete(p.rebound, c.from.Path())
		}
	}
	p.command = slices.DeleteFunc(p.command, func(c *candidate) bool { return !changed[c] })
	p.listTrees()
}

// bindsAnew reports whether files of a package are answered otherwise than they are.
func (p *planner) bindsAnew(c *candidate) bool {
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if p.results[f] == nil {
			continue
		}
		was := c.was.Lookup(f.Path)
		edits, needs := p.wantedEdits(c, f)
		if !slices.Equal(p.answered(was.Needs), p.answered(needs)) || len(was.Edits) > 0 && !slices.EqualFunc(p.searched(was.Edits), p.searched(edits), p.isSamePlace) {
			return true
		}
	}
	for _, l := range interfaceLinks(c.m, p.own(), func(path string) string { return p.related(c, path) }) {
		i := slices.IndexFunc(c.was.Links, func(o record.Link) bool { return o.Path == l.Path && strings.HasPrefix(o.File(), "../") })
		if i >= 0 && strings.HasPrefix(l.File(), "../") && c.was.Links[i].Target != l.Target {
			return true
		}
	}
	return p.stubsAnew(c)
}

// inTree returns a path from the tree on that it leads into, "NAME/TREE/FILE", whatever
// prefix it has; the path itself if that is none of the generation's.
func (p *planner) inTree(name string) string {
	parts := strings.Split(path.Clean(name), "/")
	for i := 1; i < len(parts); i++ {
		if p.trees[layout.TreePath(parts[i-1], parts[i])] != nil {
			return strings.Join(parts[i-1:], "/")
		}
	}
	return name
}

// inPackage returns a path as inTree does, with the digest of the package file in place of
// the tree: that another tree of the very same package is there is no reason to bind anew.
// Where such trees lead to each other, there would always be another one.
func (p *planner) inPackage(name string) string {
	in := p.inTree(name)
	parts := strings.SplitN(in, "/", 3)
	if len(parts) < 2 {
		return in
	}
	tree := layout.TreePath(parts[0], parts[1])
	c := p.rebound[tree]
	if t := p.trees[tree]; c == nil && t != nil {
		var err error
		if c, err = p.load(t); err != nil {
			p.fault = errors.Join(p.fault, err)
			return in
		}
	}
	if c == nil {
		return in
	}
	parts[1] = c.m.Package.Digest.String()
	return strings.Join(parts, "/")
}

// isSamePlace reports whether two paths are one of the very same package.
func (p *planner) isSamePlace(a, b string) bool { return p.inPackage(a) == p.inPackage(b) }

// answered returns which file answers each name, sorted.
func (p *planner) answered(needs []record.Need) []string {
	var list []string
	for _, n := range needs {
		list = append(list, n.Soname+" "+p.inPackage(n.Path))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// searched returns the directories of a file's search path that edits made.
func (p *planner) searched(edits []record.EditRecord) []string {
	var list []string
	for _, e := range edits {
		if (e.Kind == record.EditRunPath || e.Kind == record.EditRPath) && len(e.To) > 0 {
			for _, dir := range strings.Split(e.To[0], ":") {
				if in := p.inTree(dir); !isShelfDir(in) { // what it has, the answers say
					list = append(list, in)
				}
			}
		}
	}
	return list
}

// judgeRebound makes problems of what is loaded now and would not be any more. A package of
// which a file is not loaded now, either, is left out.
func (p *planner) judgeRebound(c *candidate, plan *Plan) error {
	for i := range c.m.Files {
		f := &c.m.Files[i]
		r := p.results[f]
		if r == nil {
			continue
		}
		p.warnBinding(c, f, r, plan)
		was := c.was.Lookup(f.Path)
		answers := func(name string) bool {
			return slices.ContainsFunc(was.Needs, func(n record.Need) bool { return n.Soname == name })
		}
		_, needs := p.wantedEdits(c, f)
		same := slices.Equal(p.answered(was.Needs), p.answered(needs))
		for _, problem := range p.problems(c, f, r) {
			switch {
			case f.ELF.IsProgram() && len(was.Needs) > 0, problem.Version == "" && answers(problem.Soname):
				loads, err := p.loadsNow(was)
				if err != nil {
					return err
				}
				if !loads {
					plan.Left = append(plan.Left, LeaveTree(c.from, "it does not start as it is, either: "+problem.Message))
					return nil
				}
				plan.Problems = append(plan.Problems, problem)
			case !same: // it may not have been loaded before, either
				plan.Warnings = append(plan.Warnings, problem.Message)
			}
		}
	}
	return nil
}

// judgeReboundEdits makes problems of programs that cannot be edited as they were.
func (p *planner) judgeReboundEdits(plan *Plan) {
	for _, c := range p.command {
		for _, g := range p.parts[c].programs {
			if was := c.was.Lookup(g.file.Path); g.unedited != nil && len(was.Edits) > 0 {
				plan.Problems = append(plan.Problems, *g.unedited)
			}
		}
	}
}

// dropUnmoved takes packages out of a plan whose tree turns out to be the one that they
// have, and those that came to the same tree as one before them.
func (p *planner) dropUnmoved(plan *Plan) {
	var command []*candidate
	var trees []PlannedTree
	for i, c := range p.command {
		if p.earlier(c) == nil && layout.TreePath(c.m.Name, c.m.Tree) != c.from.Path() {
			trees = append(trees, plan.Trees[i])
		}
		if layout.TreePath(c.m.Name, c.m.Tree) != c.from.Path() {
			command = append(command, c)
		}
	}
	p.command, plan.Trees = command, trees
}

// planRebound puts the new trees in the place of the old ones: with what somebody said of
// these. An old one stays beside its successor where something is bound to it that stays
// as it is.
func (p *planner) planRebound(plan *Plan) error {
	if len(p.command) == 0 {
		return nil
	}
	gone := map[string]*candidate{}
	for _, c := range p.command {
		gone[c.from.Path()] = c
	}
	next := p.in.Generation.Next(p.in.Generation.ID, p.in.Generation.Time)
	kept := map[string]bool{}
	for i := range p.in.Generation.Trees {
		t := &p.in.Generation.Trees[i]
		if t.Origin == record.OriginSystem || gone[t.Path()] != nil {
			continue
		}
		if p.in.Gone != nil && p.in.Gone(t) { // nobody knows what it is bound to
			for tree := range gone {
				kept[tree] = true
			}
			continue
		}
		o, err := p.load(t)
		if err != nil {
			return err
		}
		for _, tree := range graph.OfManifest(o.m, func(tree string) bool { return gone[tree] != nil }) {
			kept[tree] = true
		}
	}
	// What is kept is bound to what it is bound to.
	for again := true; again; {
		again = false
		for tree := range kept {
			for _, below := range graph.OfManifest(gone[tree].was, func(tree string) bool { return gone[tree] != nil }) {
				again = again || !kept[below]
				kept[below] = true
			}
		}
	}
	trees := slices.DeleteFunc(next.Trees, func(t record.Tree) bool { return gone[t.Path()] != nil && !kept[t.Path()] })
	for _, c := range p.command {
		added := generationTree(c.m)
		added.Named, added.Chosen, added.Held = c.from.Named, c.from.Chosen, c.from.Held
		for i := range trees {
			if trees[i].Path() == c.from.Path() {
				trees[i].Chosen, trees[i].Asked = false, false
			}
		}
		i := slices.IndexFunc(trees, func(t record.Tree) bool { return t.Path() == added.Path() })
		if i < 0 {
			trees = append(trees, added)
			continue
		}
		trees[i].Named.Merge(added.Named)
		trees[i].Chosen, trees[i].Held = trees[i].Chosen || added.Chosen, trees[i].Held && added.Held
	}
	next.SetTrees(trees)
	for i := range plan.Trees {
		for _, t := range next.Find(plan.Trees[i].Name, plan.Trees[i].Tree) {
			plan.Trees[i].Default = t.Default
		}
	}
	plan.Generation = next
	return nil
}

// reportRebound says what changes for whom.
func (p *planner) reportRebound(plan *Plan) {
	for _, c := range p.command {
		r := Rebound{
			Name: c.m.Name, Version: c.m.Version, Architecture: c.m.Architecture,
			Before: c.from.Path(), After: layout.TreePath(c.m.Name, c.m.Tree), Changes: []Change{},
		}
		for i := range c.m.Files {
			f := &c.m.Files[i]
			if was := c.was.Lookup(f.Path); was != nil {
				p.compareNeeds(&r, was.Needs, f.Needs)
			}
		}
		for i := range c.m.Files {
			f := &c.m.Files[i]
			if was := c.was.Lookup(f.Path); was != nil {
				p.compareSearched(c, &r, p.searched(was.Edits), p.searched(f.Edits))
			}
		}
		for i := range r.Changes {
			slices.Sort(r.Changes[i].Sonames)
		}
		slices.SortFunc(r.Changes, func(a, b Change) int {
			return cmp.Or(firstTrue(a.Before != a.After, b.Before != b.After), strings.Compare(a.Before, b.Before), strings.Compare(a.After, b.After))
		})
		plan.Rebound = append(plan.Rebound, r)
	}
}

// note adds that a name, or with "" a directory, is answered by another package.
func (r *Rebound) note(soname, before, after string) {
	i := slices.IndexFunc(r.Changes, func(b Change) bool { return b.Before == before && b.After == after })
	if i < 0 {
		i = len(r.Changes)
		r.Changes = append(r.Changes, Change{Sonames: []string{}, Before: before, After: after})
	}
	if b := &r.Changes[i]; soname != "" && !slices.Contains(b.Sonames, soname) {
		b.Sonames = append(b.Sonames, soname)
	}
}

// compareNeeds compares what answers the needs of a file, but for the package's own libraries.
func (p *planner) compareNeeds(r *Rebound, was, is []record.Need) {
	for _, n := range is {
		i := slices.IndexFunc(was, func(o record.Need) bool { return o.Soname == n.Soname })
		after := strings.TrimPrefix(n.Path, p.in.Prefix+"/")
		if i < 0 || strings.HasPrefix(after, r.After+"/") {
			continue
		}
		if before := p.inTree(was[i].Path); before != p.inTree(after) {
			r.note(n.Soname, was[i].Provider, n.Provider)
		}
	}
}

// compareSearched compares the directories of a search path, by the packages whose they are.
func (p *planner) compareSearched(c *candidate, r *Rebound, was, is []string) {
	treeOf := func(dir string) (name, tree string) {
		parts := strings.Split(strings.TrimPrefix(dir, p.in.Prefix+"/"), "/")
		if len(parts) < 2 || path.IsAbs(strings.TrimPrefix(dir, p.in.Prefix+"/")) {
			return "", ""
		}
		return parts[0], parts[1]
	}
	before := map[string]string{}
	for _, dir := range was {
		if name, tree := treeOf(dir); name != "" {
			before[name] = tree
		}
	}
	for _, dir := range is {
		if name, tree := treeOf(dir); name != c.m.Name && before[name] != "" && before[name] != tree {
			r.note("", p.specOf(name, before[name]), p.specOf(name, tree))
		}
	}
}

// specOf returns "NAME=VERSION" of a tree.
func (p *planner) specOf(name, tree string) string {
	for _, c := range p.command {
		if c.m.Name == name && c.m.Tree == tree {
			return c.m.Spec()
		}
	}
	if t := p.trees[layout.TreePath(name, tree)]; t != nil {
		return t.Spec()
	}
	return fmt.Sprintf("%s=%s", name, tree)
}
