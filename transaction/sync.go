package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// SyncOptions says how the prefix is made to agree with the package managers.
type SyncOptions struct {
	Root    *sysroot.Root
	Rewrite programs.Rewrite
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
	Edits   []record.EditRecord `json:"edits,omitempty"` // none: it has its packaged bytes again
	Pins    []record.PinnedTree `json:"pins,omitempty"`
}

// LeftReport is one program that the policy would have edited.
type LeftReport struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// programReport says what became of a program that was edited or given back.
func programReport(o programs.Outcome) ProgramReport {
	r := ProgramReport{Path: o.Path, Package: o.Package.Spec(), Edits: []record.EditRecord{}}
	if o.Desired != nil {
		r.Edits, r.Pins = o.Desired.Edits, o.Desired.Pins
	}
	return r
}

func leftReport(o programs.Outcome) LeftReport { return LeftReport{o.Path, string(o.Reason)} }

// Sync makes the prefix agree with what dpkg's and rpm's databases say is
// installed: a tree for each package with libraries, a generation of them, and
// executables that search it. Where nothing has changed since the last one it does
// nothing, and takes no lock.
//
// The error wraps ErrNoDatabase in a root without a package manager's database, and
// programs.ErrInterrupted when ctx ends after something has changed.
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
	if errors.Is(err, context.Canceled) && result != nil && result.Changed {
		err = programs.ErrInterrupted
	}
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
func settingsDigest(s *store.Store, r programs.Rewrite, pins []record.Pin) digest.Digest {
	pins = slices.DeleteFunc(slices.Clone(pins), func(p record.Pin) bool { return findTree(s, p) != nil })
	b, err := json.Marshal(struct {
		Rewrite programs.Rewrite
		Pins    []record.Pin
	}{r, pins})
	if err != nil {
		panic(err) // strings only
	}
	return digest.Of(b)
}

func syncLocked(ctx context.Context, o SyncOptions, states map[string]string) (result *SyncResult, err error) {
	err = locked(ctx, o.Root, o.Wait, false, func(active *record.Generation, staging *store.Staging) error {
		s := &syncer{SyncOptions: o, states: states, active: active, staging: staging, sharer: staging}
		if result, err = s.run(ctx); err != nil {
			return err
		}
		if !o.Following {
			_, err = o.Root.Follow(false)
		}
		if len(s.faults) > 0 {
			err = errors.Join(err, fmt.Errorf("%d programs could not be edited, and the next sync tries again: %w", len(s.faults), s.faults[0]))
		}
		return err
	})
	return result, err
}

// syncer is one sync.
type syncer struct {
	SyncOptions
	states  map[string]string
	active  *record.Generation
	staging *store.Staging // nil for a dry run
	sharer  sharer

	state    *record.SystemState // of the last sync
	pins     []record.Pin
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
		s.state.Packages = map[string]record.SystemPackage{}
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
	found, err := scanPackages(ctx, s.Root, s.changed, s.sharer, func(done int) {
		s.Progress(Progress{Step: "reading", Done: int64(done), Total: int64(len(s.changed)), Packages: true})
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		s.scans[f.key] = f
	}
	return nil
}

// remember writes the state for the next sync, and takes away records of packages
// that are gone, as their programs are.
func (s *syncer) remember(programs map[string]record.SystemPackage) error {
	state := &record.SystemState{
		Layout: layout.FormatVersion, Databases: s.states, Settings: s.settings, Generation: s.result.Generation,
		Packages: make(map[string]record.SystemPackage, len(s.packages)),
	}
	for _, p := range s.packages {
		if s.faulty[p.key] {
			continue // to be looked at again
		}
		known := programs[p.key]
		known.Stamp, known.Tree = p.stamp, s.trees[p.key]
		slices.Sort(known.Unresolved)
		known.Unresolved = slices.Compact(known.Unresolved)
		if s.Image {
			known.Stamp = ""
		}
		state.Packages[p.key] = known
	}
	if s.Image {
		state.Databases = map[string]string{}
	}
	if err := s.forgetGone(state); err != nil {
		return err
	}
	return s.Root.SetSystemState(state)
}

// forgetGone takes away records of packages that are gone. Programs of one that is
// half-installed may be there still.
func (s *syncer) forgetGone(state *record.SystemState) error {
	keys, err := s.Root.EditedPackages()
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool {
		_, known := state.Packages[key]
		return known || s.faulty[key]
	})
	records, err := programs.ReadRecords(s.Root, keys)
	if err != nil {
		return err
	}
	return records.Prune(s.Root, nil)
}

// scanPackages looks at the files of packages on as many processors as there are,
// and stages their libraries in to; without it only programs are looked for.
func scanPackages(ctx context.Context, root *sysroot.Root, packages []*installed, to sharer, progress func(done int)) ([]*scanned, error) {
	sc := &scanner{root: root, to: to, dirs: map[string]string{}}
	found := make([]*scanned, len(packages))
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range packages {
		group.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			found[i], err = sc.scan(p)
			progress(int(done.Add(1)))
			return err
		})
	}
	return found, group.Wait()
}
