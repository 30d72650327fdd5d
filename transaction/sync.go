package transaction

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// SyncOptions says how the prefix is made to agree with the package managers.
type SyncOptions struct {
	Root    *sysroot.Root
	Rewrite Rewrite
	DryRun  bool
	Again   bool // look at everything, whatever was remembered, and edit restored programs too
	// Following leaves the following farm active where it is: the package manager
	// has not ended.
	Following bool
	Wait      time.Duration // for the lock
	Now       time.Time
	// Image says that the root is one of an image, which shall be the same from run
	// to run: nothing under the prefix is newer than Now then, and nothing is
	// remembered that is true of this copy of the database only.
	Image    bool
	Progress func(Progress)
}

// SyncResult says what a sync did, or with DryRun would do.
type SyncResult struct {
	// Generation is the active one afterwards; with DryRun, the one that is.
	Generation int  `json:"generation"`
	Changed    bool `json:"changed"` // a generation was made
	// Packages is how many the package managers have, Looked how many of them
	// were looked at.
	Packages int             `json:"packages"`
	Looked   int             `json:"looked_at"`
	Trees    []TreeReport    `json:"trees"` // that came
	Gone     []string        `json:"gone"`  // "NAME=VERSION": no longer in the generation
	Programs []ProgramReport `json:"programs"`
	Left     []LeftReport    `json:"left"`
	Warnings []string        `json:"warnings"`
}

// TreeReport is one tree of a system package that joined the generation.
type TreeReport struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Tree         string `json:"tree"`
	Copied       bool   `json:"copied,omitempty"` // its files could not be shared
}

// ProgramReport is one program that was edited or given back.
type ProgramReport struct {
	Path    string              `json:"path"`
	Package string              `json:"package"`         // "NAME=VERSION"
	Edits   []layout.EditRecord `json:"edits,omitempty"` // none: it has its packaged bytes again
	Pins    []string            `json:"pins,omitempty"`
}

// LeftReport is one program that the policy would have edited.
type LeftReport struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (c *programChange) report() ProgramReport {
	r := ProgramReport{Path: c.path, Package: c.pkg.Name + "=" + c.pkg.Version, Edits: []layout.EditRecord{}}
	if c.want != nil {
		r.Edits, r.Pins = c.want.Edits, c.want.Pins
	}
	return r
}

func (c *programChange) leftReport() LeftReport { return LeftReport{c.path, c.left} }

// Sync makes the prefix agree with what dpkg's and rpm's databases say is
// installed: a tree for each package with libraries, a generation of them, and
// executables that search it. Where nothing has changed since the last one it does
// nothing, and takes no lock.
//
// The error wraps ErrNoDatabase in a root without a package manager's database.
// What goes wrong with one program is in the result, and does not end it.
func Sync(ctx context.Context, o SyncOptions) (*SyncResult, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	states, err := databaseStates(o.Root)
	if err != nil {
		return nil, err
	}
	if result, err := syncNothing(o, states); result != nil || err != nil {
		return result, err
	}
	if o.DryRun {
		active, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		s := &syncer{SyncOptions: o, states: states, active: active, sharer: memorySharer{}}
		return s.run(ctx)
	}
	result, err := syncLocked(ctx, o, states)
	if errors.Is(err, sysroot.ErrLocked) || errors.Is(err, context.Canceled) {
		return nil, err // the other one does what is to be done, or who called knows
	}
	if err != nil {
		return result, errors.Join(err, keepFailure(o.Root, err))
	}
	if err := o.Root.SetFailure(""); err != nil || !o.Image {
		return result, err
	}
	return result, clampTimes(o.Root, o.Now)
}

// clampTimes makes nothing newer than limit of what syncs have written.
func clampTimes(root *sysroot.Root, limit time.Time) error {
	keys, err := root.EditedPackages()
	if err != nil {
		return err
	}
	dirs := map[string]bool{} // programs were renamed into them
	for _, key := range keys {
		edits, err := root.Edits(key)
		if err != nil {
			return err
		}
		for _, f := range edits.Files {
			dirs[path.Dir(f.Path)] = true
		}
	}
	return root.ClampTimes(limit, slices.Sorted(maps.Keys(dirs)))
}

// keepFailure remembers what went wrong, for hashpkg check. Before there is a
// store, there is nothing to be repaired.
func keepFailure(root *sysroot.Root, failure error) error {
	if ok, err := root.Exists(); err != nil || !ok {
		return err
	}
	return root.SetFailure(time.Now().UTC().Format(time.RFC3339) + " " + failure.Error())
}

// syncNothing ends a sync before it begins, if nothing has changed since the last
// one.
func syncNothing(o SyncOptions, states map[string]string) (*SyncResult, error) {
	if o.Again || o.Image {
		return nil, nil
	}
	ok, err := o.Root.Exists()
	if err != nil || !ok {
		return nil, err
	}
	following, err := o.Root.Following()
	if err != nil || following && !o.Following {
		return nil, err
	}
	if failure, err := o.Root.Failure(); err != nil || failure != "" {
		return nil, err
	}
	pins, err := o.Root.Pins()
	if err != nil {
		return nil, err
	}
	state := o.Root.SystemState()
	if !equalMaps(state.Databases, states) || state.Settings != settingsDigest(o.Root.Store(), o.Rewrite, pins) {
		return nil, nil
	}
	id, err := o.Root.Store().Active()
	if err != nil || id != state.Generation {
		return nil, err
	}
	return newSyncResult(id, len(state.Packages)), nil
}

func newSyncResult(generation, packages int) *SyncResult {
	return &SyncResult{
		Generation: generation, Packages: packages,
		Trees: []TreeReport{}, Gone: []string{}, Programs: []ProgramReport{}, Left: []LeftReport{}, Warnings: []string{},
	}
}

func equalMaps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// settingsDigest is over what edits of programs follow from, beside the packages.
// A pin whose tree was removed by hand is none: no program could start with it.
func settingsDigest(s *store.Store, r Rewrite, pins []layout.Pin) digest.Digest {
	pins = slices.DeleteFunc(slices.Clone(pins), func(p layout.Pin) bool { return findTree(s, p) != nil })
	b, err := json.Marshal(struct {
		Rewrite Rewrite
		Pins    []layout.Pin
	}{r, pins})
	if err != nil {
		panic(err) // strings only
	}
	return digest.Of(b)
}

func syncLocked(ctx context.Context, o SyncOptions, states map[string]string) (result *SyncResult, err error) {
	lock, err := o.Root.LockWait(ctx, o.Wait)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	active, err := o.Root.Active()
	if err != nil {
		return nil, err
	}
	staging, err := o.Root.Store().Begin()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, staging.Discard()) }()
	s := &syncer{SyncOptions: o, states: states, active: active, staging: staging, sharer: staging}
	if result, err = s.run(ctx); err != nil {
		return result, err
	}
	if !o.Following {
		_, err = o.Root.Follow(false)
	}
	if len(s.faults) > 0 {
		err = errors.Join(err, fmt.Errorf("%d programs could not be edited, and the next sync tries again: %w", len(s.faults), s.faults[0]))
	}
	return result, err
}

// syncer is one sync.
type syncer struct {
	SyncOptions
	states  map[string]string
	active  *layout.Generation
	staging *store.Staging // nil for a dry run
	sharer  sharer

	state    *layout.SystemState // of the last sync
	pins     []layout.Pin
	settings digest.Digest
	result   *SyncResult
	packages []*installed
	changed  []*installed // since then
	scans    map[string]*scanned
	trees    map[string]string // path of its tree by package key, as it shall be
	faulty   map[string]bool   // keys of packages with a program that could not be edited
	faults   []error
}

func (s *syncer) run(ctx context.Context) (*SyncResult, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	s.result = newSyncResult(s.active.ID, len(s.packages))
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	generation, err := s.makeGeneration(ctx)
	if err != nil {
		return nil, err
	}
	programs, err := s.editPrograms(ctx, generation)
	if err != nil || s.DryRun {
		return s.result, err
	}
	return s.result, s.remember(programs)
}

// read reads the databases and decides which packages have changed.
func (s *syncer) read(ctx context.Context) (err error) {
	s.state = s.Root.SystemState()
	if s.Again || s.state.Databases[diversions] != s.states[diversions] {
		s.state.Packages = map[string]layout.SystemPackage{}
	}
	if s.pins, err = s.Root.Pins(); err != nil {
		return err
	}
	s.settings = settingsDigest(s.Root.Store(), s.Rewrite, s.pins)
	if s.packages, err = systemPackages(ctx, s.Root); err != nil {
		return err
	}
	trees := map[string]bool{"": true} // a generation that was rolled back to may have others
	for i := range s.active.Trees {
		trees[s.active.Trees[i].Path()] = true
	}
	for _, p := range s.packages {
		known, ok := s.state.Packages[p.key]
		if !ok || known.Stamp != p.stamp || !trees[known.Tree] {
			s.changed = append(s.changed, p)
		}
	}
	return nil
}

// look reads the files of the packages that have changed.
func (s *syncer) look(ctx context.Context) error {
	s.result.Looked = len(s.changed)
	s.scans = make(map[string]*scanned, len(s.changed))
	found, err := s.scanAll(ctx, s.changed, s.sharer)
	if err != nil {
		return err
	}
	for _, f := range found {
		s.scans[f.key] = f
	}
	return nil
}

// scanAll looks at packages on as many processors as there are.
func (s *syncer) scanAll(ctx context.Context, packages []*installed, to sharer) ([]*scanned, error) {
	return scanPackages(ctx, s.Root, packages, to, func(done int) {
		s.Progress(Progress{Step: "reading", Done: int64(done), Total: int64(len(packages)), Packages: true})
	})
}

// makeGeneration makes trees for the packages that have changed, and switches to a
// generation with them. It returns the generation that is active then, or with
// DryRun would be.
func (s *syncer) makeGeneration(ctx context.Context) (*layout.Generation, error) {
	plan, err := s.plan()
	if err != nil {
		return nil, err
	}
	for _, t := range plan.Trees {
		key := layout.TreePath(t.Name, t.Tree)
		r := TreeReport{Name: t.Name, Version: t.Version, Architecture: t.Architecture, Tree: t.Tree}
		if plan.Generation != nil && !slices.ContainsFunc(s.active.Trees, func(o layout.Tree) bool { return o.Path() == key && o.Identity == t.Identity }) {
			r.Copied = t.Manifest.Copied()
			s.result.Trees = append(s.result.Trees, r)
		}
	}
	s.result.Gone = append(s.result.Gone, plan.Gone...)
	switch {
	case plan.Generation == nil:
		return s.active, nil
	case s.DryRun:
		s.result.Changed = true
		return plan.Generation, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.Progress(Progress{Step: "committing"})
	var manifests []*layout.Manifest
	for _, t := range plan.Trees {
		if !t.Present {
			manifests = append(manifests, t.Manifest)
		}
	}
	if err := s.staging.AddTrees(manifests); err != nil {
		return nil, err
	}
	next := plan.Generation.Next(0, s.Now)
	next.Parent = s.active.ID
	id, err := publish(s.Root, s.staging, next, s.active)
	if err != nil {
		return nil, err
	}
	s.result.Generation, s.result.Changed = id, true
	return next, nil
}

func (s *syncer) plan() (*layout.SystemPlan, error) {
	defaults, err := s.Root.DefaultLibraries()
	if err != nil {
		return nil, err
	}
	in := layout.SystemInput{
		Generation: s.active,
		Occupied:   s.Root.Store().Manifests,
		Shares:     s.sharesFiles,
		Loads: func(t *layout.Tree, link string) bool {
			return defaults.Has(t.Places[link], variants(t, link)) && s.isInstalled(t, link)
		},
	}
	if in.ToRoot, err = s.Root.ToRoot(); err != nil {
		return nil, err
	}
	stay := map[string]bool{}
	s.trees = make(map[string]string, len(s.packages))
	for _, p := range s.packages {
		scan := s.scans[p.key]
		switch {
		case scan == nil:
			if tree := s.state.Packages[p.key].Tree; tree != "" {
				s.trees[p.key] = tree
				stay[tree] = true
			}
		case scan.libraries != nil:
			in.Packages = append(in.Packages, scan.libraries)
		}
	}
	in.Stays = func(t *layout.Tree) bool { return stay[t.Path()] }
	plan, err := layout.PlanSystem(in)
	if err != nil {
		return nil, err
	}
	for _, p := range s.changed {
		if m := s.scans[p.key].libraries; m != nil {
			s.trees[p.key] = layout.TreePath(m.Name, m.Tree)
		}
	}
	return plan, nil
}

// variants returns where a tree's builds of a library for certain processors are in
// the root.
func variants(t *layout.Tree, link string) []string {
	var places []string
	for l, place := range t.Places {
		if strings.HasPrefix(l, path.Dir(link)+"/glibc-hwcaps/") && path.Base(l) == path.Base(link) {
			places = append(places, place)
		}
	}
	return places
}

// isInstalled reports whether the library that a tree has is still the file that
// its place in the root leads to. Somebody may have put another there, or a newer
// one beside it to which ldconfig has turned the link.
func (s *syncer) isInstalled(t *layout.Tree, link string) bool {
	if t.Copied {
		return true // the farm leads to the place itself
	}
	file := s.Root.Store().Path(t.Path() + "/" + link)
	for _, p := range s.changed {
		m := s.scans[p.key].libraries
		if m == nil || m.Name != t.Name || m.Tree != t.Tree {
			continue
		}
		for _, l := range m.Links {
			if f := m.Lookup(layout.InterfaceFile(l)); l.Path == link && f != nil {
				file = f.System
			}
		}
	}
	has, err := os.Stat(file)
	if err != nil {
		return false
	}
	host, err := s.Root.HostPath(t.Places[link])
	if err != nil {
		return false
	}
	is, err := os.Stat(host)
	return err == nil && os.SameFile(has, is)
}

// sharesFiles reports whether the files of a tree that is there are the very files
// that the distribution has now.
func (s *syncer) sharesFiles(m *layout.Manifest) bool {
	for _, f := range m.Files {
		if f.Type != layout.TypeFile {
			continue
		}
		a, errA := os.Lstat(s.Root.Store().Path(layout.TreePath(m.Name, m.Tree) + "/" + f.Path))
		b, errB := os.Lstat(f.System)
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			return false
		}
	}
	return true
}

// editPrograms edits the programs of packages that have changed, and of those whose
// programs the new generation concerns. It returns what is to be remembered of the
// packages' programs, by package key.
func (s *syncer) editPrograms(ctx context.Context, generation *layout.Generation) (map[string]layout.SystemPackage, error) {
	pins, lost := loadPins(s.Root.Store(), s.pins)
	s.result.Warnings = append(s.result.Warnings, lost...)
	editor := &programEditor{
		root: s.Root, rewrite: s.Rewrite, own: generation.Architecture, farm: generation.SystemLibraries(), trees: s.trees, pins: pins,
		restored: s.Again, planOnly: s.DryRun && s.result.Changed,
	}
	concerned := s.concerned(editor.farm)
	more, err := scanPackages(ctx, s.Root, concerned, nil, func(int) {})
	if err != nil {
		return nil, err
	}
	var programs []*program
	var keys []string
	for _, p := range s.changed {
		programs = append(programs, s.scans[p.key].programs...)
		keys = append(keys, p.key)
	}
	for _, f := range more {
		programs = append(programs, f.programs...)
		keys = append(keys, f.key)
	}
	programs = oncePerPath(programs)
	if err := editor.readRecords(keys); err != nil {
		return nil, err
	}
	editor.followMoved(programs)
	s.Progress(Progress{Step: "editing"})
	changes, err := editor.prepareAll(programs)
	if err != nil {
		return nil, err
	}
	if !s.DryRun {
		if err := editor.edit(ctx, changes); err != nil {
			return nil, err
		}
		if err := editor.dropRecords(changes, keys); err != nil {
			return nil, err
		}
	}
	return s.report(changes, more), nil
}

// report puts what became of programs into the result, and returns what is to be
// remembered of them, by package key.
func (s *syncer) report(changes []*programChange, concerned []*scanned) map[string]layout.SystemPackage {
	known := make(map[string]layout.SystemPackage, len(s.packages))
	for _, p := range s.packages {
		if s.scans[p.key] == nil {
			known[p.key] = s.state.Packages[p.key]
		}
	}
	for _, f := range concerned {
		delete(known, f.key)
	}
	s.faulty = map[string]bool{}
	for _, c := range changes {
		k := known[c.pkg.key]
		k.Unanswered = append(k.Unanswered, c.unanswered...)
		k.Pinned = k.Pinned || c.want != nil && len(c.want.Pins) > 0
		k.Unsettled = k.Unsettled || c.unsettled
		known[c.pkg.key] = k
		if c.unpinned != "" {
			s.result.Warnings = append(s.result.Warnings, fmt.Sprintf("%s goes on without its pin: %s", c.path, c.unpinned))
		}
		switch {
		case c.fault != nil:
			s.faulty[c.pkg.key] = true
			s.faults = append(s.faults, c.fault)
		case c.left != "":
			s.result.Left = append(s.result.Left, c.leftReport())
		case c.changes():
			s.result.Programs = append(s.result.Programs, c.report())
		}
	}
	return known
}

// concerned returns the packages that have not changed and whose programs are to
// be looked at again all the same: after a change of settings all of them, after
// one of the libraries those that are pinned, those that need a library which has
// come, and always those that the loader had other ideas about.
func (s *syncer) concerned(farm map[string]bool) []*installed {
	offered := map[string]bool{}
	for link := range farm {
		offered[link[strings.LastIndexByte(link, '/')+1:]] = true
	}
	all := s.state.Settings != s.settings ||
		s.result.Changed && slices.ContainsFunc(s.pins, func(p layout.Pin) bool { return p.Program == layout.EveryProgram })
	var out []*installed
	for _, p := range s.packages {
		known := s.state.Packages[p.key]
		if s.scans[p.key] == nil && (all || known.Unsettled || s.result.Changed && known.Pinned ||
			slices.ContainsFunc(known.Unanswered, func(name string) bool { return offered[name] })) {
			out = append(out, p)
		}
	}
	return out
}

// isEdited reports whether a file has one of its recorded edits.
func isEdited(root *sysroot.Root, f *layout.EditedFile) bool {
	host, err := root.HostPath(f.Path)
	if err != nil {
		return false
	}
	edited := false
	err = atomicfile.ReadMapped(host, func(data []byte) error {
		edited = f.With(digest.Of(data)) != nil
		return nil
	})
	return err == nil && edited
}

// remember writes the state for the next sync, and takes away records of packages
// that are gone, as their programs are.
func (s *syncer) remember(programs map[string]layout.SystemPackage) error {
	state := &layout.SystemState{
		Layout: layout.FormatVersion, Databases: s.states, Settings: s.settings, Generation: s.result.Generation,
		Packages: make(map[string]layout.SystemPackage, len(s.packages)),
	}
	for _, p := range s.packages {
		if s.faulty[p.key] {
			continue // to be looked at again
		}
		known := programs[p.key]
		known.Stamp, known.Tree = p.stamp, s.trees[p.key]
		slices.Sort(known.Unanswered)
		known.Unanswered = slices.Compact(known.Unanswered)
		if s.Image {
			known.Stamp = ""
		}
		state.Packages[p.key] = known
	}
	if s.Image {
		state.Databases = map[string]string{}
	}
	var gone []*layout.PackageEdits
	keys, err := s.Root.EditedPackages()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, ok := state.Packages[key]; ok || s.faulty[key] {
			continue
		}
		edits, err := s.Root.Edits(key)
		if err != nil {
			return err
		}
		// Those of a package that is half-installed may be there still.
		before := len(edits.Files)
		edits.Files = slices.DeleteFunc(edits.Files, func(f layout.EditedFile) bool { return !isEdited(s.Root, &f) })
		if len(edits.Files) != before {
			gone = append(gone, edits)
		}
	}
	if err := s.Root.SetEdits(gone); err != nil {
		return err
	}
	return s.Root.SetSystemState(state)
}

// scanPackages looks at the files of packages on as many processors as there are,
// and stages their libraries in to; without it only programs are looked for.
func scanPackages(ctx context.Context, root *sysroot.Root, packages []*installed, to sharer, progress func(done int)) ([]*scanned, error) {
	type job struct {
		p *installed
		i int
	}
	sc := &scanner{root: root, to: to, dirs: map[string]string{}}
	jobs := make([]job, len(packages))
	found := make([]*scanned, len(packages))
	faults := make([]error, len(packages))
	for i, p := range packages {
		jobs[i] = job{p, i}
	}
	forEach(jobs, func(j job) {
		if faults[j.i] = ctx.Err(); faults[j.i] == nil {
			found[j.i], faults[j.i] = sc.scan(j.p)
			progress(j.i)
		}
	})
	return found, firstFault(faults)
}

// newProgramEditor returns an editor for the active generation.
func newProgramEditor(root *sysroot.Root, rewrite Rewrite, pins []*pinnedLibrary) (*programEditor, error) {
	active, err := root.Active()
	if err != nil {
		return nil, err
	}
	trees := map[string]string{}
	for key, p := range root.SystemState().Packages {
		trees[key] = p.Tree
	}
	return &programEditor{
		root: root, rewrite: rewrite, own: active.Architecture, farm: active.SystemLibraries(), trees: trees, pins: pins,
	}, nil
}

// oncePerPath leaves out programs that another package before theirs has at the
// same path.
func oncePerPath(programs []*program) []*program {
	seen := map[string]bool{}
	return slices.DeleteFunc(programs, func(p *program) bool {
		twice := seen[p.path]
		seen[p.path] = true
		return twice
	})
}

// readRecords reads the records of packages' edited programs.
func (e *programEditor) readRecords(keys []string) error {
	e.edits = make(map[string]*layout.PackageEdits, len(keys))
	for _, key := range keys {
		edits, err := e.root.Edits(key)
		if err != nil {
			return err
		}
		e.edits[key] = edits
	}
	return nil
}

// followMoved gives records of edited programs the paths that these have now:
// dpkg-divert renames files of packages.
func (e *programEditor) followMoved(programs []*program) {
	e.moved = map[string]bool{}
	here := map[string]bool{}
	for _, p := range programs {
		here[p.pkg.key+" "+p.path] = true
	}
	for _, p := range programs {
		edits := e.edits[p.pkg.key]
		named := func(f layout.EditedFile) bool { return f.Path == p.path }
		if edits == nil || slices.ContainsFunc(edits.Files, named) {
			continue
		}
		for i := range edits.Files {
			f := &edits.Files[i]
			if here[p.pkg.key+" "+f.Path] {
				continue
			}
			at := *f
			if at.Path = p.path; isEdited(e.root, &at) {
				*f = at
				e.moved[p.pkg.key] = true
				break
			}
		}
		slices.SortFunc(edits.Files, func(a, b layout.EditedFile) int { return cmp.Compare(a.Path, b.Path) })
	}
}

// dropRecords takes away what is recorded of files that are not what an edit has
// left any more: their package came again, or dropped them. That the package
// manager's list does not name one says nothing: the list may be lost, and the edit
// could never be proved and undone again.
func (e *programEditor) dropRecords(changes []*programChange, keys []string) error {
	holds := map[string]bool{}
	for _, c := range changes {
		if c.left != "" || c.fault != nil || c.keep != nil || c.want != nil {
			holds[c.pkg.key+" "+c.path] = true
		}
	}
	var stale []*layout.PackageEdits
	for _, key := range keys {
		edits := e.edits[key]
		before := len(edits.Files)
		edits.Files = slices.DeleteFunc(edits.Files, func(f layout.EditedFile) bool {
			return !holds[key+" "+f.Path] && !isEdited(e.root, &f)
		})
		if len(edits.Files) != before || e.moved[key] {
			stale = append(stale, edits)
		}
	}
	return e.root.SetEdits(stale)
}

// programsOf returns the programs that a pin's Program names, and reads the
// records of their packages.
func (e *programEditor) programsOf(packages []*installed, name string) ([]*program, error) {
	wanted := packages
	if name != layout.EveryProgram && !strings.HasPrefix(name, "/") {
		wanted = slices.DeleteFunc(slices.Clone(packages), func(p *installed) bool { return p.Name != name })
	}
	found, err := scanPackages(context.Background(), e.root, wanted, nil, func(int) {})
	if err != nil {
		return nil, err
	}
	var programs []*program
	var keys []string
	for _, f := range found {
		for _, p := range f.programs {
			if !strings.HasPrefix(name, "/") || p.path == name {
				programs = append(programs, p)
				keys = append(keys, f.key)
			}
		}
	}
	slices.SortFunc(programs, func(a, b *program) int { return cmp.Compare(a.path, b.path) })
	return oncePerPath(programs), e.readRecords(keys)
}

// rememberPins tells the next sync that the pins have been followed.
func (e *programEditor) rememberPins(pins []layout.Pin, changes []*programChange) error {
	state := e.root.SystemState()
	state.Settings = settingsDigest(e.root.Store(), e.rewrite, pins)
	for _, c := range changes {
		if p, ok := state.Packages[c.pkg.key]; ok && c.want != nil && len(c.want.Pins) > 0 {
			p.Pinned = true
			state.Packages[c.pkg.key] = p
		}
	}
	return e.root.SetSystemState(state)
}
