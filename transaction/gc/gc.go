// Package gc removes from a store what nothing uses: old generations, then trees that
// nothing reaches, then objects that no tree has. [Collect] is all of it; [Measure]
// says how much of the disk each of them takes, and what would go.
package gc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/kept"
	"github.com/hashpkg/hashpkg/transaction"
)

// Options says what is removed from the store.
type Options struct {
	Root *sysroot.Root
	Lock sysroot.LockOptions
	// Keep is how many of the newest generations stay, besides the active one and
	// that which it was made from; at least 1, so that no number is used twice.
	Keep int
	// Policy is for trees that no generation has any more; Now is its clock.
	Policy   Policy
	Now      time.Time
	DryRun   bool
	Generate bool // as in [transaction.InstallOptions]
	Progress func(transaction.Progress)
	// Warn is called, before anything is removed, for each of the result's Last, and WarnLinked for
	// each of its Linked; nil for nobody.
	Warn       func(TreeReplaced)
	WarnLinked func(TreeName)
}

// Result says what was removed, or with DryRun would be.
type Result struct {
	Generations []int       `json:"generations"`
	Trees       []TreeName  `json:"trees"`
	Objects     int         `json:"objects"`
	Bytes       int64       `json:"bytes"`  // of the disk that are free now
	InUse       []TreeInUse `json:"in_use"` // trees that stay for running processes only
	Kept        []TreeKept  `json:"kept"`   // trees that stay for the policy only
	// Last are those of Trees that the last upgrade replaced, and with which the last version to
	// go back to goes.
	Last []TreeReplaced `json:"last"`
	// Linked are those of Trees whose libraries programs can have been linked with, by the stubs of
	// packages with headers, and that none leads to which somebody has kept.
	Linked []TreeName `json:"linked"`
	// Gone are paths that somebody has kept and that are not there: what they led to stays.
	Gone []string `json:"gone"`
}

// Changes reports whether there is anything to be removed.
func (r *Result) Changes() bool { return len(r.Generations)+len(r.Trees)+r.Objects > 0 }

// TreeName names a tree.
type TreeName struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Tree    string `json:"tree"`
}

// TreeKept is a tree that one may want to go back to.
type TreeKept struct {
	TreeName
	Left time.Time `json:"left"` // the active generation, then, or before
}

// TreeReplaced is a tree in the place of which the active generation has another version.
type TreeReplaced struct {
	TreeName
	By string `json:"by"` // that version
}

// TreeInUse is a tree of which a process uses a file.
type TreeInUse struct {
	TreeName
	PID int `json:"pid"` // of one such process
}

// Collect takes out of the active generation what was brought to be run once, and whose
// time has come; then it removes old generations, the trees that nothing uses any more,
// and objects that no tree has. What is used: the trees of the generations that stay,
// those that a library is pinned to or that a program of the system loads from, or one that
// somebody has kept,
// those that the policy keeps, those that a running process has files of; and what
// programs and libraries of these are bound to.
func Collect(ctx context.Context, o Options) (result *Result, err error) {
	if o.Keep < 1 {
		return nil, fmt.Errorf("keep %d generations: expected 1 or more", o.Keep)
	}
	if o.Progress == nil {
		o.Progress = func(transaction.Progress) {}
	}
	if o.Warn == nil {
		o.Warn = func(TreeReplaced) {}
	}
	if o.WarnLinked == nil {
		o.WarnLinked = func(TreeName) {}
	}
	c := newCollector(o)
	if ok, err := o.Root.Exists(); err != nil || !ok {
		return c.result, err
	}
	if o.DryRun {
		active, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		return c.result, c.wouldCollect(ctx, active)
	}
	if err := c.noteRanOnce(); err != nil {
		return nil, err
	}
	if _, err := transaction.DropExpired(ctx, transaction.Change{Root: o.Root, Lock: o.Lock, Now: o.Now, Generate: o.Generate}); err != nil {
		return nil, err
	}
	w, err := transaction.Begin(ctx, o.Root, transaction.Options{Lock: o.Lock})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	return c.result, c.collect(ctx, w.Active(), w.Staging())
}

// collector is one garbage collection.
type collector struct {
	Options
	store  *store.Store
	result *Result

	old     []int
	trees   map[string]*treeRecord // by path
	leads   map[string][]string
	roots   []string
	left    map[string]sysroot.Departure // how trees left the active generation, which are not in it
	gone    []departed                   // these trees, without views and what was run once
	ranOnce map[string]bool              // trees that were to be run once, and whose time has come
	// next is the active generation of a dry run that takes such trees out of it, and
	// replaced the one in the place of which it is; nil and 0 for none.
	next     *record.Generation
	replaced int
}

func newCollector(o Options) *collector {
	return &collector{Options: o, store: o.Root.Store(), ranOnce: map[string]bool{}, result: &Result{
		Generations: []int{}, Trees: []TreeName{}, InUse: []TreeInUse{}, Kept: []TreeKept{}, Last: []TreeReplaced{}, Linked: []TreeName{}, Gone: []string{},
	}}
}

// treeRecord is what the collection has of a manifest.
type treeRecord struct {
	TreeName
	architecture string
	origin       record.Origin
	identity     digest.Digest
	objects      []digest.Digest
	leads        []string
	stubs        []string // trees for whose libraries it has stubs
}

// noteRanOnce notes which trees nobody wants to go back to: no generation has them but to
// be run once. One that cannot be read tells nothing.
func (c *collector) noteRanOnce() error {
	ids, err := c.Root.Generations()
	if err != nil {
		return err
	}
	others := map[string]bool{}
	for _, id := range ids {
		g, err := c.Root.Generation(id)
		if err != nil {
			continue
		}
		for i := range g.Trees {
			if t := &g.Trees[i]; t.Expired(c.Now) {
				c.ranOnce[t.Path()] = true
			} else {
				others[t.Path()] = true
			}
		}
	}
	maps.DeleteFunc(c.ranOnce, func(tree string, _ bool) bool { return others[tree] })
	return nil
}

// generations returns the numbers of the generations that there are, or in a dry run would
// be.
func (c *collector) generations() ([]int, error) {
	ids, err := c.Root.Generations()
	if err != nil || c.next == nil {
		return ids, err
	}
	ids = slices.DeleteFunc(ids, func(id int) bool { return id == c.replaced })
	return append(ids, c.next.ID), nil
}

func (c *collector) generation(id int) (*record.Generation, error) {
	if c.next != nil && id == c.next.ID {
		return c.next, nil
	}
	return c.Root.Generation(id)
}

// find decides what is to go: the old generations, and the trees that nothing
// reaches, by their paths.
func (c *collector) find(ctx context.Context, active *record.Generation) (trees []string, err error) {
	c.Progress(transaction.Progress{Step: "looking for what is used"})
	ids, err := c.generations()
	if err != nil {
		return nil, err
	}
	c.old = graph.OldGenerations(ids, active, c.Keep)
	if err := c.readTrees(); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if slices.Contains(c.old, id) {
			continue
		}
		if err := c.addGeneration(id); err != nil {
			return nil, err
		}
	}
	if err := c.addRecords(); err != nil {
		return nil, err
	}
	if err := c.addKept(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.keep(ids, active)
	unused := c.unreached(c.roots)
	running, err := c.running(unused, func(tree string) string { return tree })
	if err != nil {
		return nil, err
	}
	trees = c.unreached(append(running, c.roots...))
	c.noteLast(trees)
	c.noteLinked(trees)
	return trees, nil
}

// readTrees reads every manifest: one that cannot be read may refer to any object.
func (c *collector) readTrees() error {
	names, err := c.store.Names()
	if err != nil {
		return err
	}
	c.trees = map[string]*treeRecord{}
	for _, name := range names {
		trees, err := c.store.Trees(name)
		if err != nil {
			return err
		}
		for _, t := range trees {
			c.trees[layout.TreePath(name, t)] = &treeRecord{TreeName: TreeName{Name: name, Tree: t}}
		}
	}
	var reading errgroup.Group
	reading.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range c.trees {
		reading.Go(func() error { return c.readTree(t) })
	}
	err = reading.Wait()
	c.leads = make(map[string][]string, len(c.trees))
	for path, t := range c.trees {
		c.leads[path] = t.leads
	}
	return err
}

func (c *collector) readTree(t *treeRecord) error {
	m, err := c.store.Manifest(t.Name, t.Tree)
	if err != nil {
		return advice.Errorf("%w; nothing was removed, because it is unknown what this tree uses; run hashpkg verify --repair", err)
	}
	t.Version, t.architecture, t.origin, t.identity = m.Version, m.Architecture, m.Origin, m.Identity
	t.leads = graph.OfManifest(m, c.known)
	var stubs []string
	for i := range m.Files {
		f := &m.Files[i]
		if f.Type == record.TypeFile {
			t.objects = append(t.objects, f.Object)
		}
		if f.Stub != "" {
			stubs = append(stubs, f.Stub)
		}
	}
	t.stubs = graph.OfPaths(stubs, c.known)
	return nil
}

func (c *collector) known(tree string) bool { return c.trees[tree] != nil }

// addGeneration adds the trees of a generation that stays to the roots.
func (c *collector) addGeneration(id int) error {
	g, err := c.generation(id)
	if err != nil {
		return err
	}
	for i := range g.Trees {
		t := &g.Trees[i]
		if !c.known(t.Path()) {
			return advice.Errorf("generation %d has %s, whose manifest %s is lost; nothing was removed, because it is unknown what this tree uses: run hashpkg verify --repair --from the package",
				id, t.Spec(), c.store.Path(layout.ManifestPath(t.Name, t.Dir)))
		}
		c.roots = append(c.roots, t.Path())
		if t.View != "" {
			c.roots = append(c.roots, layout.TreePath(layout.ViewName, t.View))
		}
	}
	return nil
}

// addRecords adds the trees that programs of the system load libraries from, and those of
// services, to the roots.
func (c *collector) addRecords() error {
	pins, err := c.Root.Pins()
	if err != nil {
		return err
	}
	for _, p := range pins {
		c.roots = append(c.roots, layout.TreePath(p.Library, p.Tree))
	}
	services, err := c.Root.Services()
	if err != nil {
		return err
	}
	for _, s := range services.List {
		c.roots = append(c.roots, s.Trees...)
	}
	keys, err := c.Root.EditedPackages()
	if err != nil {
		return err
	}
	for _, key := range keys {
		edits, err := c.Root.Edits(key)
		if err != nil {
			return err
		}
		c.roots = append(c.roots, graph.OfEdits(edits, c.known)...)
	}
	return nil
}

// addKept adds the trees to the roots that somebody keeps for programs outside of packages.
func (c *collector) addKept(ctx context.Context) error {
	list, err := kept.All(ctx, c.Root, c.known)
	if err != nil {
		return err
	}
	for _, p := range list {
		c.roots = append(c.roots, p.Trees...)
		if p.Gone {
			c.result.Gone = append(c.result.Gone, p.Path)
		}
	}
	if c.DryRun {
		return nil
	}
	return c.noteSeen(list)
}

// noteSeen records which trees kept files lead to now, for the time when they cannot be looked at.
func (c *collector) noteSeen(list []kept.Path) error {
	k, err := c.Root.Kept()
	if err != nil {
		return err
	}
	changed := false
	for i, p := range list {
		leads := p.Leads()
		isSame := func(a, b record.KeptLead) bool { return a.Path == b.Path && slices.Equal(a.Trees, b.Trees) }
		if r := &k.List[i]; !slices.EqualFunc(r.Files, leads, isSame) {
			r.Files, changed = leads, true
		}
	}
	if !changed {
		return nil
	}
	return c.Root.SetKept(k)
}

// keep adds what the policy keeps to the roots, and notes in the result what would go
// without it. A generation that cannot be read tells nothing.
func (c *collector) keep(ids []int, active *record.Generation) {
	var generations []*record.Generation
	for _, id := range ids {
		if g, err := c.generation(id); err == nil {
			generations = append(generations, g)
		}
	}
	gone := departures(slices.Collect(maps.Keys(c.trees)), generations, active, c.Root.Left(), c.Now)
	c.left = make(map[string]sysroot.Departure, len(gone))
	versions := map[slot][]string{} // that are in use
	for i := range active.Trees {
		t := &active.Trees[i]
		of := slotOf(t)
		if !slices.Contains(versions[of], t.Version) { // bound otherwise, it is the same version
			versions[of] = append(versions[of], t.Version)
		}
	}
	for path, d := range gone {
		t := c.trees[path]
		// Views, and closure objects of programs, follow from what is in use: nobody goes back to one.
		if c.ranOnce[path] || t.Name == layout.ViewName || t.Name == layout.ClosuresName {
			continue
		}
		d.name, d.version, d.architecture, d.origin = t.Name, t.Version, t.architecture, t.origin
		if in := versions[d.slot()]; len(in) == 1 && in[0] != d.version { // of two, one is there to go back to
			d.by = in[0]
		}
		c.gone = append(c.gone, d)
		c.left[path] = sysroot.Departure{Time: d.left, Upgrade: d.upgraded}
	}
	keeps := c.Policy.keeps(c.gone, c.Now)
	unused := c.unreached(c.roots)
	if c.Policy.keepsLastUpgrade() {
		goes := slices.DeleteFunc(slices.Clone(unused), func(path string) bool { return keeps[path] })
		for _, d := range c.lastOf(goes) {
			keeps[d.path] = true
		}
	}
	for _, path := range unused {
		if keeps[path] {
			c.roots = append(c.roots, path)
			c.result.Kept = append(c.result.Kept, TreeKept{c.trees[path].TreeName, c.left[path].Time})
		}
	}
}

// lastOf returns which of the trees that go the last upgrade replaced, where no other version
// stays, sorted by path.
func (c *collector) lastOf(goes []string) []departed {
	going := make(map[string]bool, len(goes))
	for _, path := range goes {
		going[path] = true
	}
	stays := map[slot]bool{}
	for i := range c.gone {
		if d := &c.gone[i]; d.by != "" && !going[d.path] {
			stays[d.slot()] = true
		}
	}
	var last []departed
	for of, replaced := range lastUpgrade(c.gone) {
		if !stays[of] {
			last = append(last, replaced...)
		}
	}
	slices.SortFunc(last, func(a, b departed) int { return strings.Compare(a.path, b.path) })
	return last
}

// noteLast notes in the result with which of the trees that go the last version goes that one
// could go back to, and warns of them.
func (c *collector) noteLast(goes []string) {
	for _, d := range c.lastOf(goes) {
		last := TreeReplaced{c.trees[d.path].TreeName, d.by}
		c.result.Last = append(c.result.Last, last)
		c.Warn(last)
	}
}

// noteLinked notes in the result which of the trees that go have libraries that programs can have
// been linked with, and warns of them: nobody knows of these programs.
func (c *collector) noteLinked(goes []string) {
	linked := map[string]bool{}
	for _, t := range c.trees {
		for _, of := range t.stubs {
			linked[of] = linked[of] || of != layout.TreePath(t.Name, t.Tree)
		}
	}
	for _, path := range goes {
		if linked[path] {
			c.result.Linked = append(c.result.Linked, c.trees[path].TreeName)
			c.WarnLinked(c.trees[path].TreeName)
		}
	}
}

// noteLeft records how the trees that stay have left the active generation, before
// the generations go that tell it.
func (c *collector) noteLeft(gone []string) error {
	left := maps.Clone(c.left)
	for _, path := range gone {
		delete(left, path)
	}
	same := func(a, b sysroot.Departure) bool { return a.Time.Equal(b.Time) && a.Upgrade == b.Upgrade }
	if maps.EqualFunc(left, c.Root.Left(), same) {
		return nil
	}
	return c.Root.SetLeft(left)
}

// unreached returns the trees that cannot be reached from roots, sorted.
func (c *collector) unreached(roots []string) []string {
	reached := graph.Reachable(roots, c.leads)
	var trees []string
	for path := range c.trees {
		if !reached[path] {
			trees = append(trees, path)
		}
	}
	slices.Sort(trees)
	return trees
}

// running returns those of the trees that processes use, and notes them in the
// result. at tells where below the prefix a tree is meanwhile.
func (c *collector) running(trees []string, at func(tree string) string) ([]string, error) {
	pids, err := c.Root.InUse(trees, at)
	if err != nil {
		return nil, err
	}
	var running []string
	for _, t := range trees {
		if pid := pids[t]; pid != 0 {
			running = append(running, t)
			c.result.InUse = append(c.result.InUse, TreeInUse{c.trees[t].TreeName, pid})
		}
	}
	return running, nil
}

// wouldCollect finds what collect would remove.
func (c *collector) wouldCollect(ctx context.Context, active *record.Generation) error {
	if err := c.noteRanOnce(); err != nil {
		return err
	}
	ids, err := c.Root.Generations()
	if err != nil {
		return err
	}
	if c.next, c.replaced = transaction.WithoutExpired(active, ids, c.Now); c.next != nil {
		active = c.next
	}
	trees, err := c.find(ctx, active)
	if err != nil {
		return err
	}
	_, err = c.measure(trees, c.names(trees))
	return err
}

// names returns the names below the prefix that go with trees: the records of the
// old generations and of the trees, the trees, and the links to the default of
// packages that have no other tree.
func (c *collector) names(trees []string) []string {
	var names []string
	for _, id := range c.old {
		names = append(names, layout.GenerationPath(id))
	}
	left := map[string]int{}
	for _, t := range c.trees {
		left[t.Name]++
	}
	for _, path := range trees {
		t := c.trees[path]
		names = append(names, layout.ManifestPath(t.Name, t.Tree), path)
		if left[t.Name]--; left[t.Name] == 0 && t.Name != layout.ViewName {
			names = append(names, t.Name+"/"+layout.DefaultLink)
		}
	}
	return names
}

// measure fills in the result: trees go, and names below the prefix are all that goes
// beside objects. It returns the names of these.
func (c *collector) measure(trees, names []string) (objects []string, err error) {
	gone := map[string]bool{}
	for _, path := range trees {
		gone[path] = true
		c.result.Trees = append(c.result.Trees, c.trees[path].TreeName)
	}
	c.result.Generations = append(c.result.Generations, c.old...)
	used := map[digest.Digest]bool{}
	for path, t := range c.trees {
		if gone[path] {
			continue
		}
		for _, d := range t.objects {
			used[d] = true
		}
	}
	if objects, err = c.store.Unreferenced(used); err != nil {
		return nil, err
	}
	c.result.Objects = len(objects)
	c.result.Bytes, err = c.store.DiskUse(append(slices.Clone(names), objects...))
	return objects, err
}

// collect removes what is not used. A process may have begun to use a tree since it
// was found unused: when the trees are out of everybody's reach, it looks again, and
// puts those back.
func (c *collector) collect(ctx context.Context, active *record.Generation, staging *store.Staging) error {
	trees, err := c.find(ctx, active)
	if err != nil {
		return err
	}
	if err := c.noteLeft(trees); err != nil {
		return err
	}
	var taken []string
	if names := c.names(trees); len(names) > 0 {
		if err := staging.TakeOut(names); err != nil {
			return errors.Join(err, staging.Undo())
		}
		back, err := c.usedSince(ctx, trees, staging)
		if err == nil {
			err = staging.PutBack(c.namesOf(back))
		}
		if err == nil {
			err = c.store.Sync()
		}
		if err != nil {
			return errors.Join(err, staging.Undo())
		}
		// From here on nothing comes back; Sweep makes that durable before it deletes.
		if err := staging.Forget(); err != nil {
			return err
		}
		trees = slices.DeleteFunc(trees, func(t string) bool { return slices.Contains(back, t) })
		for _, name := range names {
			if at := staging.Taken(name); at != "" {
				taken = append(taken, at)
			}
		}
	}
	stays := map[digest.Digest]bool{}
	for path, t := range c.trees {
		if !slices.Contains(trees, path) {
			stays[t.identity] = true
		}
	}
	transaction.DropLinkages(c.store, stays)
	objects, err := c.measure(trees, taken)
	if err != nil {
		return err
	}
	total := len(taken) + len(objects)
	err = staging.Sweep(ctx, objects, func(done int) {
		c.Progress(transaction.Progress{Step: "removing", Done: int64(done), Total: int64(total), Unit: transaction.UnitObjects})
	})
	if errors.Is(err, context.Canceled) {
		return advice.Errorf("%w; run hashpkg gc again to finish", transaction.ErrInterrupted)
	}
	return err
}

// usedSince returns those of the trees that a process has begun to use since find
// looked, and those that these lead to.
func (c *collector) usedSince(ctx context.Context, trees []string, staging *store.Staging) ([]string, error) {
	running, err := c.running(trees, func(tree string) string {
		if at := staging.Taken(tree); at != "" {
			return at
		}
		return tree
	})
	if err != nil {
		return nil, err
	}
	needed := graph.Reachable(running, c.leads)
	var back []string
	for _, path := range trees {
		if needed[path] {
			back = append(back, path)
		}
	}
	return back, ctx.Err()
}

// namesOf returns the names that go with trees, the default links of their packages
// included.
func (c *collector) namesOf(trees []string) []string {
	var names []string
	for _, path := range trees {
		t := c.trees[path]
		names = append(names, path, layout.ManifestPath(t.Name, t.Tree), t.Name+"/"+layout.DefaultLink)
	}
	return names
}
