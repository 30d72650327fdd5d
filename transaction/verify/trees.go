// Package verify compares what stands on the disk with what records say of it:
// [Trees] the trees, links and manifests of a store, [System] the files of the
// packages that a package manager has installed. What it finds is damage as typed
// values. It changes nothing.
package verify

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/kept"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Report is what a verification has found.
type Report struct {
	Checked int            `json:"checked"` // files and links
	Damaged []store.Damage `json:"damaged"`
	// Copies are whole files that could be links to their objects, as in a store that was
	// copied without its hard links, and CopiedBytes what these take.
	Copies      int   `json:"copies"`
	CopiedBytes int64 `json:"copied_bytes"`
	// Unread are files and directories, on the host, that the caller may not read.
	Unread []string `json:"unread"`
}

// Options says what of a root's store is read.
type Options struct {
	// Specs name trees of the active generation or, with a version, of the store.
	Specs []query.Spec
	// All has every tree and object of the store read, whether anything uses it or not.
	All bool
	// Progress, if not nil, is called with the number of bytes read so far, from any goroutine.
	Progress func(bytes int64)
}

// Trees reads every file of trees and compares it with the manifests: of those that
// Specs name, or of those that are used, which are the active generation's with its
// links, those of pins and edited programs, and what these lead to; or of All.
func Trees(ctx context.Context, root *sysroot.Root, o Options) (*Report, error) {
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	r := &reader{Report: Report{Damaged: []store.Damage{}, Unread: []string{}}, root: root, store: root.Store(), manifests: map[string]*record.Manifest{}, others: map[string]otherManifest{}}
	switch {
	case len(o.Specs) > 0:
		err = r.addNamed(g, o.Specs)
	default:
		err = r.addUsed(ctx, g, o.All)
	}
	if err != nil {
		return nil, err
	}
	if err := r.verify(ctx, o.Progress); err != nil {
		return nil, err
	}
	if o.All {
		err = r.addOtherObjects(ctx, o.Progress)
	}
	return &r.Report, err
}

// verify reads the trees of the list.
func (r *reader) verify(ctx context.Context, progress func(int64)) error {
	check, err := r.store.CheckReadable(ctx, r.list, progress)
	if err != nil {
		return err
	}
	defer check.Close()
	places := NewPlaces(r.root)
	for _, m := range r.list {
		if err := ctx.Err(); err != nil {
			return err
		}
		damaged, copies, err := check.Tree(m)
		if err != nil {
			return err
		}
		r.Checked += len(m.Files) + len(m.Links)
		if moved := places.Moved(m); moved != nil {
			r.Damaged = append(r.Damaged, *moved)
		}
		r.Damaged = append(r.Damaged, damaged...)
		r.Damaged = append(r.Damaged, Bindings(r.store, r.root.Prefix(), m, r.manifest)...)
		r.Copies += len(copies)
		for _, c := range copies {
			r.CopiedBytes += c.Size
		}
	}
	r.Unread = append(r.Unread, check.Unread()...)
	return nil
}

// reader gathers what is to be read.
type reader struct {
	Report
	root      *sysroot.Root
	store     *store.Store
	manifests map[string]*record.Manifest // by the paths of their trees; nil for one that cannot be read
	list      []*record.Manifest          // in order
	others    map[string]otherManifest    // that are not to be read, or could not be
}

// otherManifest is what came of reading a manifest.
type otherManifest struct {
	manifest *record.Manifest
	err      error
}

// addNamed adds the trees that specs name.
func (r *reader) addNamed(g *record.Generation, specs []query.Spec) error {
	for _, spec := range specs {
		t, err := query.Best(g, spec)
		if err == nil {
			r.addTree(t)
			continue
		}
		if spec.Version == "" || !errors.Is(err, query.ErrNotInstalled) {
			return err
		}
		m, errStored := query.Stored(r.store, spec)
		if errors.Is(errStored, query.ErrNotStored) {
			return err // which says what there is
		}
		if errStored != nil {
			return errStored
		}
		r.add(layout.TreePath(m.Name, m.Tree), m)
	}
	return nil
}

// addUsed adds the trees that are used, or with all every one in the store and in
// the record of a generation.
func (r *reader) addUsed(ctx context.Context, g *record.Generation, all bool) error {
	if g.ID != 0 {
		if err := r.addFarm(r.root, g); err != nil {
			return err
		}
	}
	for i := range g.Trees {
		r.addTree(&g.Trees[i])
	}
	stored, err := r.stored()
	if err != nil {
		return err
	}
	if err := r.addRecords(ctx, stored); err != nil {
		return err
	}
	if all {
		if err := r.addGenerations(); err != nil {
			return err
		}
		for _, t := range slices.Sorted(maps.Keys(stored)) {
			r.addByPath(t)
		}
		return nil
	}
	known := func(tree string) bool { return stored[tree] }
	for i := 0; i < len(r.list); i++ { // which grows on the way
		for _, t := range graph.OfManifest(r.list[i], known) {
			r.addByPath(t)
		}
	}
	return nil
}

// stored returns the paths of the trees that the store has manifests of.
func (r *reader) stored() (map[string]bool, error) {
	names, err := r.store.Names()
	if err != nil {
		return nil, err
	}
	stored := map[string]bool{}
	for _, name := range names {
		trees, err := r.store.Trees(name)
		if err != nil {
			return nil, err
		}
		for _, t := range trees {
			stored[layout.TreePath(name, t)] = true
		}
	}
	return stored, nil
}

// addRecords adds the trees that pins lead to, and those that edited programs load
// from, or programs that somebody has kept.
func (r *reader) addRecords(ctx context.Context, stored map[string]bool) error {
	pins, err := r.root.Pins()
	if err != nil { // what programs have of them is in the records of their edits
		r.Damaged = append(r.Damaged, store.Damage{Kind: store.DamageRecord, Path: r.store.Path(sysroot.PinsFile), What: err.Error()})
	}
	for _, p := range pins {
		r.addByPath(layout.TreePath(p.Library, p.Tree))
	}
	keys, err := r.root.EditedPackages()
	if err != nil {
		return err
	}
	for _, key := range keys {
		edits, err := r.root.Edits(key)
		if err != nil {
			return err
		}
		for _, t := range graph.OfEdits(edits, func(tree string) bool { return stored[tree] }) {
			r.addByPath(t)
		}
	}
	list, err := kept.All(ctx, r.root, func(tree string) bool { return stored[tree] })
	if err != nil {
		r.Damaged = append(r.Damaged, store.Damage{Kind: store.DamageRecord, Path: r.store.Path(record.KeptPath), What: err.Error()})
	}
	for _, p := range list {
		for _, t := range p.Trees {
			r.addByPath(t)
		}
	}
	return nil
}

// addGenerations adds the trees of all generations. Their links are not looked at:
// an older generation may have lent them.
func (r *reader) addGenerations() error {
	ids, err := r.root.Generations()
	if err != nil {
		return err
	}
	for _, id := range ids {
		g, err := r.root.Generation(id)
		r.Checked++
		if err != nil {
			r.Damaged = append(r.Damaged, store.Damage{
				Kind: store.DamageGeneration, Path: r.store.Path(layout.GenerationPath(id) + "/" + layout.GenerationFile), What: err.Error(),
			})
			continue
		}
		for i := range g.Trees {
			r.addTree(&g.Trees[i])
		}
	}
	return nil
}

// addOtherObjects reads the objects that no manifest has.
func (r *reader) addOtherObjects(ctx context.Context, progress func(int64)) error {
	used := map[digest.Digest]bool{}
	var read int64
	for _, m := range r.list {
		for i := range m.Files {
			if f := &m.Files[i]; f.Type == record.TypeFile && !used[f.Object] {
				used[f.Object] = true
				read += f.Size
			}
		}
	}
	names, err := r.store.Unreferenced(used)
	if err != nil {
		return err
	}
	checked, damaged, unread, err := r.store.VerifyObjects(ctx, names, func(n int64) {
		if progress != nil {
			progress(read + n)
		}
	})
	r.Checked += checked
	r.Damaged = append(r.Damaged, damaged...)
	r.Unread = append(r.Unread, unread...)
	return err
}

// addTree adds a tree of a generation, once. A manifest that cannot be read, or is
// another one, is damage.
func (r *reader) addTree(t *record.Tree) {
	if t.View != "" {
		r.addByPath(layout.TreePath(layout.ViewName, t.View))
	}
	m, known := r.manifests[t.Path()]
	var err error
	if !known {
		m, err = r.store.Manifest(t.Name, t.Dir)
	}
	switch {
	case err != nil:
		r.lost(t.Path(), t.Spec(), err)
	case m == nil: // reported already
	case m.Identity != t.Identity:
		r.damaged(t.Path(), t.Spec(), "is the manifest of another identity")
		r.add(t.Path(), m)
	default:
		r.add(t.Path(), m)
	}
}

// addByPath adds the tree with a path below the prefix, once.
func (r *reader) addByPath(tree string) {
	if _, known := r.manifests[tree]; known {
		return
	}
	name, dir := layout.SplitTreePath(tree)
	m, err := r.store.Manifest(name, dir)
	if err != nil {
		r.lost(tree, "", err)
		return
	}
	r.add(tree, m)
}

// manifest returns the manifest of a tree, whether or not it is to be read. The error wraps
// [store.ErrNoManifest] where there is none.
func (r *reader) manifest(tree string) (*record.Manifest, error) {
	if m := r.manifests[tree]; m != nil {
		return m, nil
	}
	other, known := r.others[tree]
	if !known {
		name, dir := layout.SplitTreePath(tree)
		other.manifest, other.err = r.store.Manifest(name, dir)
		r.others[tree] = other
	}
	return other.manifest, other.err
}

func (r *reader) add(tree string, m *record.Manifest) {
	if _, known := r.manifests[tree]; !known {
		r.manifests[tree] = m
		r.list = append(r.list, m)
	}
}

// lost reports a manifest that cannot be read.
func (r *reader) lost(tree, spec string, err error) {
	r.manifests[tree] = nil
	what := err.Error()
	if errors.Is(err, store.ErrNoManifest) {
		what = "is missing"
	}
	r.damaged(tree, spec, what)
}

func (r *reader) damaged(tree, spec, what string) {
	name, dir := layout.SplitTreePath(tree)
	r.Damaged = append(r.Damaged, store.Damage{
		Kind: store.DamageManifest, Package: spec, Tree: tree, Path: r.store.Path(layout.ManifestPath(name, dir)), What: what,
	})
}

// addFarm verifies the links of a generation.
func (r *Report) addFarm(root *sysroot.Root, g *record.Generation) error {
	checked, faults, err := root.VerifyFarm(g)
	if err != nil {
		return err
	}
	r.Checked += checked
	for _, f := range faults {
		r.Damaged = append(r.Damaged, store.Damage{Kind: store.DamageLink, Path: root.Store().Path(f.Name), What: f.What})
	}
	slices.SortFunc(r.Damaged, func(a, b store.Damage) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}
