package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// repairGenerations reads the records of generations. Where the whole store is repaired, it
// mends them, and the link to the active one where there is one only that it can lead to.
func (r *repairer) repairGenerations(context.Context) error {
	active, current := r.store().Active()
	if current != nil && !errors.Is(current, store.ErrNoLink) {
		return current
	}
	r.active = active
	ids, err := r.Root.Generations()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.repairGeneration(id); err != nil {
			return err
		}
	}
	if r.generation(r.active) != nil || len(r.Specs) > 0 {
		return nil
	}
	if current != nil {
		if err := r.take(layout.CurrentSystem, "", layout.CurrentSystem, "", "is not a link to a generation"); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		return nil
	}
	damage := store.Damage{Kind: store.DamageLink, Path: r.store().Path(layout.CurrentSystem), What: "is lost: no generation is active"}
	if r.active != 0 {
		damage.What = fmt.Sprintf("leads to generation %d, which cannot be read", r.active)
	}
	switch len(r.generations) {
	case 0:
		r.remains(damage, "no generation can be read: move the store away, and install the packages again")
	case 1: // there is nothing to choose
		id := r.generations[0].ID
		if !r.DryRun {
			if err := r.Root.Switch(id, r.staging.Dir()); err != nil {
				return err
			}
		}
		r.active = id
		r.mended(damage.Path, damage.What, fmt.Sprintf("leads to generation %d, the only one", id))
	default:
		r.active = 0
		newest := r.generations[len(r.generations)-1].ID
		r.remains(damage, fmt.Sprintf("run hashpkg rollback %d for the newest generation, or another that hashpkg generations lists", newest))
	}
	return nil
}

// generation returns the record of a generation; nil when it cannot be read.
func (r *repairer) generation(id int) *record.Generation {
	for _, g := range r.generations {
		if g.ID == id {
			return g
		}
	}
	return nil
}

func (r *repairer) isDirectory(name string) (bool, error) {
	st, err := r.store().Dir().Lstat(name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

func (r *repairer) repairGeneration(id int) error {
	name := layout.GenerationPath(id)
	found, err := r.Root.InspectGeneration(id)
	if err != nil {
		return err
	}
	if o := found.Other; o != nil && r.fits(o) > r.fits(found.Generation) {
		found.Generation, found.Text, found.Fault = o, found.OtherText, "does not agree with the manifests, and its index does"
	}
	g, label := found.Generation, fmt.Sprintf("generation-%d", id)
	record := name + "/" + layout.GenerationFile
	switch {
	case g != nil:
		r.generations = append(r.generations, g)
		if len(r.Specs) > 0 {
			return nil
		}
	case len(r.Specs) > 0:
		return nil
	case id == r.active:
		r.remains(store.Damage{Kind: store.DamageGeneration, Path: r.store().Path(record), What: found.Fault},
			"nothing else holds this record, and the generation's links are in use: run hashpkg rollback N, with an N that hashpkg generations lists, then hashpkg verify --repair")
		return nil
	default:
		return r.take(name, "", label, "", "its record "+found.Fault)
	}
	put := func(file string, b []byte, what, how string) error {
		if !r.DryRun {
			if err := r.staging.PutRecord(file, b, r.aside(file, label, strings.ReplaceAll(file, "/", "-"))); err != nil {
				return err
			}
		}
		r.mended(r.store().Path(file), what, how)
		return nil
	}
	if found.Fault != "" {
		return put(record, found.Text, found.Fault, "made again from the index")
	}
	if found.StaleIndex {
		return put(name+"/"+layout.IndexFile, g.EncodeIndex(found.Text), "is missing or damaged", "made again from the record")
	}
	return nil
}

// fits returns how many trees of a generation have the manifests that it says.
func (r *repairer) fits(g *record.Generation) (n int) {
	for i := range g.Trees {
		if m := r.manifests[g.Trees[i].Path()]; m != nil && m.Identity == g.Trees[i].Identity {
			n++
		}
	}
	return n
}

// lostManifest is a tree of a generation without a manifest that is its own, or with one
// that contradicts the tree.
type lostManifest struct {
	tree *record.Tree
	what string
	edit bool // a recorded edit in it is wrong: it serves until there is another one
}

// repairManifests makes manifests again that are lost.
func (r *repairer) repairManifests(ctx context.Context) error {
	r.findTrees()
	if err := r.findUsers(ctx); err != nil {
		return err
	}
	for _, spec := range r.Specs {
		trees, err := r.treesOf(spec)
		if err != nil {
			return err
		}
		r.named = append(r.named, trees...)
	}
	lost := r.lostManifests()
	for r.setScope() { // which what is made again may widen
		if err := r.verifyObjects(ctx); err != nil {
			return err
		}
		if err := r.repairEdits(lost); err != nil {
			return err
		}
		if err := r.replanTwins(lost); err != nil {
			return err
		}
		if err := r.replan(ctx, lost); err != nil {
			return err
		}
		if err := r.mergeAgain(lost); err != nil {
			return err
		}
	}
	if err := r.verifyObjects(ctx); err != nil {
		return err
	}
	unreadable := r.unreadable
	for _, p := range sortedKeys(lost) {
		if !r.inScope(p) || lost[p].edit { // of which repairTrees tells
			continue
		}
		t := lost[p].tree
		r.remains(store.Damage{
			Kind: store.DamageManifest, Package: t.Spec(), Tree: p, Path: r.store().Path(layout.ManifestPath(t.Name, t.Dir)), What: lost[p].what,
		}, r.lostHint(t))
	}
	for _, p := range sortedKeys(unreadable) {
		name, tree := layout.SplitTreePath(p)
		file := layout.ManifestPath(name, tree)
		if _, ok := lost[p]; ok || r.manifests[p] != nil || !r.inScope(p) {
			continue
		}
		if users := r.affected(p); len(users) > 0 {
			r.remains(store.Damage{Kind: store.DamageManifest, Tree: p, Path: r.store().Path(file), What: unreadable[p]},
				"install the package again, and pin to that")
			continue
		}
		if err := r.take(file, "", p, "manifest.json", unreadable[p]); err != nil { // and the tree: see repairStray
			return err
		}
	}
	for _, p := range sortedKeys(r.manifests) {
		if r.inScope(p) {
			r.order = append(r.order, p)
		}
	}
	return nil
}

// findTrees finds the trees of which there is a record, and which lead to which.
func (r *repairer) findTrees() {
	for p := range r.unreadable {
		r.known[p] = true
	}
	for _, g := range r.generations {
		for i := range g.Trees {
			r.known[g.Trees[i].Path()] = true
			if v := g.Trees[i].View; v != "" {
				r.known[layout.TreePath(layout.ViewName, v)] = true
			}
		}
	}
	for p := range r.manifests {
		r.known[p] = true
	}
	for p, m := range r.manifests {
		r.lead(p, graph.OfManifest(m, r.isTree))
	}
}

// treesOf returns the trees that a spec names: that of the active generation which verify
// takes, or if that has none of the version, all those of the store.
func (r *repairer) treesOf(spec query.Spec) (found []string, err error) {
	g := r.generation(r.active)
	if g == nil && len(r.generations) > 0 {
		g = r.generations[len(r.generations)-1]
	}
	if g != nil {
		t, err := query.Best(g, spec)
		if err == nil {
			return []string{t.Path()}, nil
		}
		if spec.Version == "" || !errors.Is(err, query.ErrNotInstalled) {
			return nil, err
		}
	}
	dir, err := layout.EscapeVersion(spec.Version)
	if err != nil {
		dir = spec.Version
	}
	for _, p := range sortedKeys(r.known) {
		name, tree := layout.SplitTreePath(p)
		if name == spec.Name && (spec.Version == "" || tree == spec.Version || tree == dir || strings.HasPrefix(tree, dir+"@")) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, advice.Errorf("%w: %s; hashpkg list shows what is", query.ErrNotInstalled, spec)
	}
	return found, nil
}

// setScope finds out which trees are to be repaired. It reports whether there are more than
// before.
func (r *repairer) setScope() bool {
	before := r.scope
	if len(r.Specs) > 0 {
		r.scope = graph.Reachable(append(r.viewsOfNamed(), r.named...), r.to)
		return len(r.scope) > len(before)
	}
	all := map[string]bool{}
	for p := range r.known {
		all[p] = true
	}
	r.scope = all
	return len(all) > len(before)
}

// viewsOfNamed returns the views that programs of the named trees see.
func (r *repairer) viewsOfNamed() (views []string) {
	g := r.generation(r.active)
	if g == nil {
		return nil
	}
	for i := range g.Trees {
		if t := &g.Trees[i]; t.View != "" && slices.Contains(r.named, t.Path()) {
			views = append(views, layout.TreePath(layout.ViewName, t.View))
		}
	}
	return views
}

// inScope reports whether a tree is to be repaired.
func (r *repairer) inScope(tree string) bool { return r.scope[tree] }

// lostManifests returns the trees of generations that have no manifest of their own, by
// path.
func (r *repairer) lostManifests() map[string]lostManifest {
	lost := map[string]lostManifest{}
	for _, g := range r.generations {
		for i := range g.Trees {
			t := &g.Trees[i]
			what := r.unreadable[t.Path()]
			m := r.manifests[t.Path()]
			switch {
			case m == nil && what == "":
				what = "is missing"
			case m != nil && m.Identity != t.Identity:
				what = "is the manifest of another identity"
			}
			if what != "" {
				lost[t.Path()] = lostManifest{tree: t, what: what}
			}
			if t.View == "" {
				continue
			}
			seen := layout.TreePath(layout.ViewName, t.View)
			if r.manifests[seen] == nil {
				of := &record.Tree{Name: layout.ViewName, Version: t.View, Dir: t.View, Origin: record.OriginView}
				lost[seen] = lostManifest{tree: of, what: cmp.Or(r.unreadable[seen], "is missing")}
			}
		}
	}
	return lost
}

func (r *repairer) lostHint(t *record.Tree) string {
	if t.Origin == record.OriginView {
		return "the programs that see this view run without it; mend the trees that it was merged from, and run this again, or install their packages again"
	}
	if t.Origin == record.OriginSystem {
		return "its tree stays as it is; run hashpkg sync --again when package " + t.Name + " is another one by now, else install that version again, and run this again"
	}
	return fmt.Sprintf("its tree stays as it is; give the package that it was made of, version %s, with hashpkg verify --repair --from FILE, and those that were installed with it", t.Version)
}

// readManifests reads every manifest of the store.
func (r *repairer) readManifests(context.Context) error {
	names, err := r.store().Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if layout.CheckName(name) != nil && name != layout.ViewName {
			continue
		}
		trees, err := r.store().Trees(name)
		if err != nil {
			return err
		}
		for _, t := range trees {
			m, err := r.store().Manifest(name, t)
			if err != nil {
				r.unreadable[layout.TreePath(name, t)] = err.Error()
				continue
			}
			r.manifests[layout.TreePath(name, t)] = m
		}
	}
	return nil
}

// isTree reports whether something is known of a tree with this path.
func (r *repairer) isTree(p string) bool { return r.known[p] }

// replan makes lost manifests again, puts them in place, and takes them out of lost. For
// those that it cannot make of the packages that there are, it fetches others.
func (r *repairer) replan(ctx context.Context, lost map[string]lostManifest) error {
	if err := r.replanFromPackages(ctx, lost); err != nil {
		return err
	}
	some := false
	for _, p := range sortedKeys(lost) {
		t := lost[p].tree
		if !r.inScope(p) || t.Origin != record.OriginPrivate {
			continue
		}
		w := WantedPackage{Name: t.Name, Version: t.Version, Architecture: t.Architecture, Format: t.Format, Release: t.Release}
		if lost[p].edit {
			w.Digest, w.Size = r.manifests[p].Package.Digest, r.manifests[p].Package.Size
		}
		_, isNew, err := r.fetch(ctx, w)
		if err != nil {
			return err
		}
		some = some || isNew
	}
	if !some {
		return nil
	}
	return r.replanFromPackages(ctx, lost)
}

// replanFromPackages does it with the packages that there are.
func (r *repairer) replanFromPackages(ctx context.Context, lost map[string]lostManifest) error {
	// accept puts those manifests in place that are lost, and returns how many are as they were.
	accept := func(manifests []*record.Manifest, how string) (same int, err error) {
		for _, m := range manifests {
			p := layout.TreePath(m.Name, m.Tree)
			l, ok := lost[p]
			if known := r.manifests[p]; !ok && known != nil && known.Identity == m.Identity {
				same++
			}
			if !ok || l.tree.Identity != m.Identity || !r.inScope(p) {
				continue
			}
			same++
			if l.edit && r.manifests[p].Package.Digest == m.Package.Digest {
				m.Package = r.manifests[p].Package // with what its signatures came to at the time
			}
			if err := r.putManifest(m, l.what, how); err != nil {
				return same, err
			}
			delete(lost, p)
		}
		return same, nil
	}
	since := map[int]bool{}
	var names []string
	for p, l := range lost {
		if !r.inScope(p) {
			continue
		}
		if l.tree.Origin == record.OriginView {
			continue
		}
		if l.tree.Origin == record.OriginSystem {
			names = append(names, l.tree.Name)
		} else {
			since[l.tree.Since] = true
		}
	}
	isLost := func(tree string) bool {
		_, ok := lost[tree]
		return ok
	}
	known := func() map[string]*record.Manifest {
		trusted := maps.Clone(r.manifests)
		maps.DeleteFunc(trusted, func(tree string, _ *record.Manifest) bool { return isLost(tree) })
		return trusted
	}
	whole := func(g *record.Generation, until int) *record.Generation {
		base := g.Next(g.ID, g.Time)
		base.SetTrees(slices.DeleteFunc(slices.Clone(g.Trees), func(t record.Tree) bool {
			return isLost(t.Path()) || r.manifests[t.Path()] == nil || until > 0 && t.Since >= until
		}))
		return base
	}
	for _, g := range slices.Backward(r.generations) {
		if len(names) > 0 {
			made, err := transaction.ReplanSystem(ctx, r.Root, names, whole(g, 0), known())
			if err != nil {
				if !errors.Is(err, backends.ErrNoDatabase) {
					r.note("the system's packages cannot be asked: %v", err)
				}
			} else if _, err := accept(made, "made again from the system's packages"); err != nil {
				return err
			}
			names = nil
		}
		for _, id := range sortedKeys(since) {
			for _, until := range []int{id, 0} { // the packages that came with it, and it by itself
				files := r.filesFor(g, lost, id, until > 0)
				if len(files) == 0 {
					continue
				}
				if err := r.replanFiles(ctx, files, whole(g, until), known, r.standing(lost), accept); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// replanFiles plans an install of packages with each binding that the trees may
// have had, which their manifests alone say, and without what programs are built with, which
// earlier versions did not make, until accept has taken all of them.
func (r *repairer) replanFiles(ctx context.Context, packages []transaction.Package, base *record.Generation, known func() map[string]*record.Manifest, standing transaction.Standing, accept func([]*record.Manifest, string) (int, error)) error {
	for _, binding := range record.Bindings() {
		for i := range packages {
			packages[i].Binding = &binding
		}
		for _, bare := range []bool{false, true} {
			made, err := transaction.Replan(ctx, transaction.InstallOptions{Root: r.Root, Packages: packages, Now: r.Now, NoDev: bare}, base, known(), standing)
			if err != nil {
				var files []string
				for _, p := range packages {
					files = append(files, p.Path)
				}
				r.note("the manifests of %s cannot be made again: %v", strings.Join(files, ", "), err)
				return nil
			}
			n, err := accept(made, "made again from its package")
			if err != nil || n == len(made) {
				return err
			}
			if !slices.ContainsFunc(made, plan.HasDev) {
				break // it would be the same
			}
		}
	}
	return nil
}

// mergeAgain makes the manifests of views again that are lost, of which each generation
// tells what they were merged from, and takes them out of lost.
func (r *repairer) mergeAgain(lost map[string]lostManifest) error {
	for _, g := range r.generations {
		planned, err := r.views(g)
		if errors.Is(err, store.ErrNoManifest) {
			continue // which is told of
		}
		if err != nil {
			return err
		}
		for _, v := range planned {
			if err := transaction.FindGenerated(r.Root, &v); err != nil {
				return err
			}
			p := layout.TreePath(layout.ViewName, view.Dir(v.Identity))
			l, ok := lost[p]
			if !ok || !r.inScope(p) {
				continue
			}
			if err := r.putManifest(view.Merge(v.Parts), l.what, "made again from the trees that it is merged from"); err != nil {
				return err
			}
			delete(lost, p)
		}
	}
	return nil
}

// views returns the views of a generation as they are planned, without what is generated. The error wraps
// [store.ErrNoManifest] where the manifest of one of its trees is lost.
func (r *repairer) views(g *record.Generation) ([]plan.PlannedView, error) {
	if planned, known := r.planned[g.ID]; known {
		return planned, nil
	}
	next := g.Next(g.ID, g.Time)
	next.Orders = r.Root.Formats().Orders()
	planned, err := plan.Views(next, func(t *record.Tree) bool { return t.View != "" }, func(t *record.Tree) (*record.Manifest, error) {
		if m := r.manifests[t.Path()]; m != nil {
			return m, nil
		}
		return nil, fmt.Errorf("read manifest of %s: %w", t.Spec(), store.ErrNoManifest)
	}, r.Root.FileSize)
	if err == nil {
		r.planned[g.ID] = planned
	}
	return planned, err
}

// filesFor returns the packages of trees of a generation that came with the generation id:
// of those whose manifests are lost, or of all. Their trees are to be called as they are.
func (r *repairer) filesFor(g *record.Generation, lost map[string]lostManifest, id int, all bool) (files []transaction.Package) {
	some := false
	for i := range g.Trees {
		t := &g.Trees[i]
		_, gone := lost[t.Path()]
		if t.Since != id || t.Origin != record.OriginPrivate || !gone && !all {
			continue
		}
		some = some || gone
		for _, p := range r.packages {
			if p.name == t.Name && p.version == t.Version && p.architecture == t.Architecture && p.format.Name() == t.Format {
				files = append(files, transaction.Package{Path: p.path, Tree: t.Dir, Named: record.Named{Asked: true}})
			}
		}
	}
	if !some {
		return nil
	}
	return files
}

// putManifest puts a manifest in place. what was wrong with the one that it replaces.
func (r *repairer) putManifest(m *record.Manifest, what, how string) error {
	asRoot := r.runsAsRoot()
	for i := range m.Files {
		if f := &m.Files[i]; f.Type == record.TypeFile && f.Shared != record.SharedLink {
			f.Own = r.store().OwnInode(f, asRoot)
		}
	}
	file := layout.ManifestPath(m.Name, m.Tree)
	if !r.DryRun {
		b, err := m.Encode()
		if err != nil {
			return err
		}
		if err := r.staging.PutRecord(file, b, r.aside(file, layout.TreePath(m.Name, m.Tree), "manifest.json")); err != nil {
			return err
		}
	}
	p := layout.TreePath(m.Name, m.Tree)
	r.manifests[p] = m
	r.lead(p, graph.OfManifest(m, r.isTree))
	r.mended(r.store().Path(file), what, how)
	return nil
}

// repairStray moves trees away that have no manifest and that nothing leads to.
func (r *repairer) repairStray(context.Context) error {
	stray, err := r.store().StrayTrees()
	if err != nil {
		return err
	}
	for _, p := range stray {
		if r.isTree(p) && r.unreadable[p] == "" || r.isReported(p) {
			continue
		}
		what := "is a tree without a manifest, of no generation"
		if len(r.affected(p)) > 0 {
			r.remains(store.Damage{Kind: store.DamageManifest, Tree: p, Path: r.store().Path(p), What: what}, "install the package again, and pin to that")
			continue
		}
		if err := r.take(p, "", p, "tree", what); err != nil {
			return err
		}
	}
	return nil
}

// isReported reports whether damage in a tree was reported already.
func (r *repairer) isReported(tree string) bool {
	return slices.ContainsFunc(r.result.Remaining, func(d Damage) bool { return d.Tree == tree })
}
