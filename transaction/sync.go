package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// SyncOptions says how the prefix is made to agree with the package managers.
type SyncOptions struct {
	Root    *sysroot.Root
	Rewrite programs.Rewrite
	DryRun  bool
	Again   bool // look at everything, whatever was remembered, and edit restored programs too
	Lock    sysroot.LockOptions
	Now     time.Time
	// Image says that the root is one of an image, which shall be the same from run
	// to run: nothing under the prefix is newer than Now then, and nothing is
	// remembered that is true of this copy of the database only.
	Image bool
	// Run is the run of a package manager whose hook this is, as in
	// [record.Generation]; "" for none.
	Run string
	// AtWork is the process of a package manager that is at work, which may bring again what
	// is missing now; "" for none.
	AtWork string
	// Generate is as in [InstallOptions].
	Generate bool
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
	Trees    []TreeReport    `json:"trees"` // added
	Gone     []string        `json:"gone"`  // "NAME=VERSION": no longer in the generation
	Programs []ProgramReport `json:"programs"`
	Left     []LeftReport    `json:"left"`
	// Outside are libraries of the generation that are not in its farm; none when
	// nothing was to be done.
	Outside  []OutsideReport `json:"outside"`
	Links    []string        `json:"links"` // of the farm that were lost, below the prefix
	Warnings []string        `json:"warnings"`
	// Frozen are warnings of frozen programs: other versions of their libraries have come, or
	// their freeze has ended or is not in force.
	Frozen []string `json:"frozen"`
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
	// Late says that its package has not changed since a sync looked at it, and that the
	// program was left then, because somebody ran it or for what else passes.
	Late bool `json:"-"`
}

// LeftReport is one program that the policy would have edited, or a library that would
// have a tree.
type LeftReport struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Sentence is the reason with its subject.
func (l LeftReport) Sentence() string { return programs.Reason(l.Reason).Sentence() }

// OutsideReport is one library that has a tree and is not in the farm.
type OutsideReport struct {
	Path    string `json:"path"`    // in the root, by the name that programs ask for
	Package string `json:"package"` // "NAME=VERSION"
	Reason  string `json:"reason"`
}

// outside returns the libraries of a generation's system trees that ask where they
// are.
func outside(g *record.Generation) []OutsideReport {
	reports := []OutsideReport{}
	for i := range g.Trees {
		t := &g.Trees[i]
		for _, link := range t.AskWhere {
			reports = append(reports, OutsideReport{t.Places[link], t.Spec(), "asks where it was found"})
		}
	}
	return reports
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

// ErrStoreLost is returned (wrapped) by [Sync] and [CheckStore] where programs have edits
// of which the prefix has no records.
var ErrStoreLost = errors.New("there are no records of a sync")

// Sync makes the prefix agree with what dpkg's and rpm's databases say is
// installed: a tree for each package with libraries, a generation of them, and
// executables that search it. Where nothing has changed since the last one it does
// nothing, and takes no lock.
//
// The error wraps [backends.ErrNoDatabase] in a root without a package manager's
// database, [ErrStoreLost] where it would begin anew, and [ErrInterrupted] when ctx ends
// after something has changed.
// What goes wrong with one program is in the result, and does not end it.
func Sync(ctx context.Context, o SyncOptions) (*SyncResult, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	states, err := system.States(o.Root)
	if err != nil {
		return nil, err
	}
	if result, err := syncNothing(o, states); result != nil || err != nil {
		return result, err
	}
	if err := checkPrefix(o); err != nil {
		return nil, errors.Join(err, keepUnsafe(o, err))
	}
	if !o.Again {
		if err := CheckStore(ctx, o.Root); err != nil {
			return nil, err
		}
	}
	if o.DryRun {
		active, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		s := &syncer{SyncOptions: o, states: states, active: active, sharer: system.Digests{Root: o.Root}}
		return s.run(ctx)
	}
	result, err := syncLocked(ctx, o, states)
	if errors.Is(err, context.Canceled) && result != nil && result.Changed {
		err = ErrInterrupted
	}
	if errors.Is(err, ErrInterrupted) {
		err = advice.Errorf("%w; run hashpkg sync to finish", err)
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

// checkPrefix refuses a prefix that others than root could change, where programs are
// to search it: whoever can put a library there is everybody who runs one of them.
// Nothing is made then, no trees either: they would be as good as bait, and what was
// edited before goes on as it is until somebody has seen to it.
func checkPrefix(o SyncOptions) error {
	pins, _, err := readPins(o.Root)
	if err != nil {
		return err
	}
	if o.Rewrite.Executables == programs.RewriteNone && len(pins) == 0 {
		return nil
	}
	return CheckPrefix(o.Root)
}

// CheckPrefix returns an error unless what edited programs load from below the prefix
// can be changed by nobody but root, or for an image by who builds it. It wraps a
// [*sysroot.UnsafeError].
func CheckPrefix(root *sysroot.Root) error {
	below := []string{layout.SystemDir, layout.CurrentSystem}
	for _, dir := range libraryDirs(root) {
		below = append(below, layout.CurrentSystem+"/"+dir)
	}
	if err := root.CheckPrefix(below...); err != nil {
		return unsafe(err)
	}
	return nil
}

// unsafe adds what to do.
func unsafe(err error) error {
	var unsafe *sysroot.UnsafeError
	if errors.As(err, &unsafe) {
		return advice.Errorf("no program is edited to search %w; %s", err, unsafe.Repair())
	}
	return err
}

// CheckStore returns an error that wraps [ErrStoreLost] when programs were edited, and
// nothing below the prefix is of a sync. Its file system may not be mounted: what were
// recorded of further edits would be out of sight when it is.
func CheckStore(ctx context.Context, root *sysroot.Root) error {
	edited, err := root.EditedPackages()
	if err != nil || len(edited) > 0 || len(root.SystemState().Packages) > 0 {
		return err
	}
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return err
	}
	found, err := system.Scan(ctx, root, packages, nil, programs.DefaultMaxSize, func(int) {})
	if err != nil {
		return err
	}
	farm := path.Join(root.Prefix(), layout.CurrentSystem) + "/"
	for _, f := range found {
		for i, p := range programsOf(f) {
			if !slices.ContainsFunc(strings.Split(f.Programs[i].RunPath, ":"), func(dir string) bool { return strings.HasPrefix(dir, farm) }) {
				continue
			}
			packaged, err := programs.IsPackaged(root, p)
			if err != nil {
				return err
			}
			if !packaged {
				return fmt.Errorf("%s was edited to search in %s, where %w: mount its file system; if it is lost, run hashpkg sync --again, which leaves such programs as they are",
					p.Path, root.Prefix(), ErrStoreLost)
			}
		}
	}
	return nil
}

// libraryDirs returns the names of a farm's directories of libraries.
func libraryDirs(root *sysroot.Root) []string {
	var dirs []string
	id, err := root.Store().Active()
	if err != nil || id == 0 {
		return nil // there is none yet
	}
	entries, err := root.Store().Dir().ReadDir(layout.GenerationPath(id))
	if err != nil {
		return nil // the sync says so
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "lib") {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs
}

// keepUnsafe keeps the refusal of a sync, for hashpkg check, in a store that is the
// process's own.
func keepUnsafe(o SyncOptions, refusal error) error {
	if o.DryRun || o.Root.Store().CheckOwner() != nil {
		return nil
	}
	return keepFailure(o.Root, refusal)
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
	if failure, err := o.Root.Failure(); err != nil || failure != "" {
		return nil, err
	}
	pins, unreadable, err := readPins(o.Root)
	if err != nil || unreadable != nil { // which is to be said
		return nil, err
	}
	state := o.Root.SystemState()
	if state.Facts != system.Facts || !maps.Equal(state.Databases, states) || state.Settings != settingsDigest(o.Root, o.Rewrite, pins) {
		return nil, nil
	}
	for _, run := range state.Absent {
		if run != o.AtWork { // which has ended, and the freeze with it
			return nil, nil
		}
	}
	for _, p := range state.Packages {
		if lostClosures(o.Root, &p) {
			return nil, nil
		}
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
		Trees: []TreeReport{}, Gone: []string{}, Programs: []ProgramReport{}, Left: []LeftReport{}, Outside: []OutsideReport{}, Links: []string{}, Warnings: []string{}, Frozen: []string{},
	}
}

// settingsDigest is over what edits of programs follow from, beside the packages.
// A pin whose tree was removed by hand is none: no program could start with it.
func settingsDigest(root *sysroot.Root, r programs.Rewrite, pins []record.Pin) digest.Digest {
	lost := map[record.PinnedTree]bool{}
	for _, p := range pins {
		if _, known := lost[p.Pinned()]; !known {
			_, _, err := pinnedTrees(root, p)
			lost[p.Pinned()] = err != nil
		}
	}
	pins = slices.DeleteFunc(slices.Clone(pins), func(p record.Pin) bool { return lost[p.Pinned()] })
	if len(pins) == 0 {
		pins = nil // no list is as good as an empty one
	}
	b, err := json.Marshal(struct {
		Rewrite   programs.Rewrite
		Pins      []record.Pin
		Integrity confine.Integrity `json:",omitempty"`
	}{r, pins, confine.ReadIntegrity(root)})
	if err != nil {
		panic(err) // strings only
	}
	return digest.Of(b)
}

func syncLocked(ctx context.Context, o SyncOptions, states map[string]string) (result *SyncResult, err error) {
	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock, Create: true, Generate: o.Generate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	s := &syncer{SyncOptions: o, states: states, active: w.Active(), writer: w, sharer: w.Staging()}
	if result, err = s.run(ctx); err != nil {
		return result, err
	}
	if len(s.faults) > 0 {
		programs := "1 program"
		if n := len(s.faults); n > 1 {
			programs = fmt.Sprintf("%d programs", n)
		}
		err = fmt.Errorf("%s could not be edited, and the next sync tries again: %w", programs, s.faults[0])
	}
	return result, err
}

// syncer is one sync.
type syncer struct {
	SyncOptions
	states map[string]string
	active *record.Generation
	writer *Writer // nil for a dry run
	sharer system.Sharer

	state    *record.SystemState // of the last sync
	pins     []record.Pin
	ended    []string          // warnings of freezes that have ended
	absent   map[string]string // see record.SystemState.Absent
	noPins   error             // why their record cannot be read; nil when it can
	unkept   error             // why the history of pins could not be written
	settings digest.Digest
	result   *SyncResult
	packages []*backends.Installed
	changed  []*backends.Installed // since then
	scans    map[pkginfo.Key]*system.Found
	trees    map[pkginfo.Key]string // path of its tree by package, as it shall be
	inputs   string                 // see record.SystemState.Views
	faulty   map[pkginfo.Key]bool   // packages with a program that could not be edited
	faults   []error
}

func (s *syncer) run(ctx context.Context) (*SyncResult, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	s.result = newSyncResult(s.active.ID, len(s.packages))
	if s.noPins != nil {
		s.result.Warnings = append(s.result.Warnings, s.noPins.Error())
	}
	if s.unkept != nil {
		s.result.Warnings = append(s.result.Warnings, s.unkept.Error())
	}
	s.result.Frozen = append(s.result.Frozen, s.ended...)
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	generation, err := s.makeGeneration(ctx)
	if err != nil {
		return nil, err
	}
	s.result.Outside = outside(generation)
	if !s.DryRun { // programs are tried with the farm
		if err := s.mendFarm(generation); err != nil {
			return nil, err
		}
	}
	s.warnFrozen(generation)
	programs, err := s.editPrograms(ctx, generation)
	if err != nil || s.DryRun {
		return s.result, err
	}
	return s.result, s.remember(programs)
}

// mendFarm puts links back that the active generation has lost.
func (s *syncer) mendFarm(g *record.Generation) error {
	mended, err := s.Root.MendFarm(g, s.writer.Staging())
	for _, f := range mended {
		s.result.Links = append(s.result.Links, f.Name)
	}
	return err
}

// read reads the databases and decides which packages have changed.
func (s *syncer) read(ctx context.Context) (err error) {
	s.state = s.Root.SystemState()
	if s.Again || s.state.Facts != system.Facts || s.state.Databases[system.Diversions] != s.states[system.Diversions] {
		s.state.Packages = map[pkginfo.Key]record.SystemPackage{}
	}
	if s.pins, s.noPins, err = readPins(s.Root); err != nil {
		return err
	}
	if s.packages, err = system.Packages(ctx, s.Root); err != nil {
		return err
	}
	if err := s.settleFreezes(); err != nil {
		return err
	}
	s.settings = settingsDigest(s.Root, s.Rewrite, s.pins)
	trees := map[string]bool{"": true} // a generation that was rolled back to may have others
	for i := range s.active.Trees {
		trees[s.active.Trees[i].Path()] = true
	}
	for _, p := range s.packages {
		known, ok := s.state.Packages[p.Key]
		if !ok || known.Stamp != p.Stamp || !trees[known.Tree] || known.Large && s.state.Settings != s.settings {
			s.changed = append(s.changed, p)
		}
	}
	return nil
}

// look reads the files of the packages that have changed.
func (s *syncer) look(ctx context.Context) error {
	s.result.Looked = len(s.changed)
	s.scans = make(map[pkginfo.Key]*system.Found, len(s.changed))
	found, err := system.Scan(ctx, s.Root, s.changed, s.sharer, s.Rewrite.SizeLimit(), func(done int) {
		s.Progress(Progress{Step: "reading", Done: int64(done), Total: int64(len(s.changed)), Unit: UnitPackages})
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		s.scans[f.Key] = f
		for _, l := range f.Large {
			if !l.Program {
				s.result.Left = append(s.result.Left, LeftReport{l.Path, string(programs.TooLarge(l.Size, s.Rewrite.SizeLimit()))})
			}
		}
	}
	return nil
}

// remember writes the state for the next sync, and takes away records of packages
// that are gone, as their programs are.
func (s *syncer) remember(programs map[pkginfo.Key]record.SystemPackage) error {
	state := &record.SystemState{
		Layout: layout.FormatVersion, Facts: system.Facts, Databases: s.states, Settings: s.settings, Generation: s.result.Generation,
		Packages: make(map[pkginfo.Key]record.SystemPackage, len(s.packages)),
	}
	for _, p := range s.packages {
		if s.faulty[p.Key] {
			continue // to be looked at again
		}
		known := programs[p.Key]
		known.Stamp, known.Tree = p.Stamp, s.trees[p.Key]
		slices.Sort(known.Unresolved)
		known.Unresolved = slices.Compact(known.Unresolved)
		if s.Image {
			known.Stamp = ""
		}
		state.Packages[p.Key] = known
	}
	state.Views, state.Absent = s.inputs, s.absent
	if s.Image {
		state.Databases, state.Views = map[string]string{}, ""
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
	keys = slices.DeleteFunc(keys, func(key pkginfo.Key) bool {
		_, known := state.Packages[key]
		return known || s.faulty[key]
	})
	records, err := programs.ReadRecords(s.Root, keys)
	if err != nil {
		return err
	}
	return records.Prune(s.Root, nil)
}
