package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// pinChange is a change of the record of pins, and of what follows from it for programs.
type pinChange struct {
	root    *sysroot.Root
	names   []string // paths of programs, names of packages, or record.EveryProgram
	rewrite programs.Rewrite
	// change returns the pins that there shall be, and of them those that somebody asks for now.
	change func(*pinChange) (after, asked []record.Pin, err error)
	// settle returns the pins that there are to be when programs become what outcomes say, and
	// an error when what was asked for cannot be; nil for after, whatever they become.
	settle  func(*pinChange, []programs.Outcome) ([]record.Pin, error)
	refused error // ErrPin or ErrFreeze
	mayMiss bool  // names may stand for no program: change looks at missing
	dryRun  bool
	now     time.Time
	// packaged says that programs without pins get their packaged bytes, and keep them as
	// after [Restore]; alone is as there.
	packaged, alone bool

	w            *Writer
	list         []*programs.Program // that the names stand for
	missing      []string            // names that stand for none
	records      *programs.Records
	before       []record.Pin
	after, asked []record.Pin
}

// changePins changes the record of pins and edits the programs concerned.
//
// The order is that of a power cut, or a kill, between any two steps:
//
//  1. pin-change.json is durable, so that the next writer adds to the history of pins what is not
//     in it then; pins.json is durable. From here on the pins are not those that state.json has
//     the digest of, so that the next sync looks at every program, and pins it or,
//     where it cannot, says that it goes on without.
//  2. The records of edits are durable, then the programs are replaced, and that is
//     durable before programs.Apply returns.
//  3. Only then state.json says that the pins have been followed.
//
// A pin that turns out not to be followed by any program is taken from pins.json again
// after 2. What Apply did not change has the record that it had.
func changePins(ctx context.Context, c *pinChange, lock sysroot.LockOptions) (result *PinResult, err error) {
	if c.dryRun {
		c.w, err = reader(c.root)
	} else if c.w, err = Begin(ctx, c.root, Options{Lock: lock}); err == nil {
		defer func() { err = errors.Join(err, c.w.End()) }()
	}
	if err != nil {
		return nil, err
	}
	if c.before, err = c.root.Pins(); err != nil {
		return nil, err
	}
	c.before = placedPins(c.root, c.before)
	var recorded []record.Pin
	if c.mayMiss {
		recorded = c.before
	}
	c.names = followLinks(c.root, recorded, c.names)
	if c.list, c.records, c.missing, err = programsNamed(ctx, c.root, c.names, c.rewrite); err != nil {
		return nil, err
	}
	c.records.FollowMoved(c.root, c.list)
	if len(c.missing) > 0 && !c.mayMiss {
		if question := c.didYouMean(ctx); question != "" {
			return nil, advice.Errorf("%w: no package has a dynamic program %s; %s", c.refused, c.missing[0], question)
		}
		return nil, advice.Errorf("%w: no package has a dynamic program %s; give a program's path or a package's name", c.refused, c.missing[0])
	}
	if c.after, c.asked, err = c.change(c); err != nil {
		return nil, err
	}
	pins, _ := loadPins(c.root, c.after) // of older ones that are lost, check tells
	policy := activePolicy(c.w, c.rewrite, pins)
	policy.Restored, policy.Strict = true, len(c.asked) > 0
	unsafe := CheckPrefix(c.root)
	if unsafe != nil { // the way out is open: see RemovePins
		policy.Pins = nil
	}
	if unsafe != nil || c.packaged {
		policy.Rewrite.Executables = programs.RewriteNone
	}
	decisions, err := programs.Plan(ctx, c.root, c.records, c.list, policy)
	if err != nil {
		return nil, err
	}
	if unsafe != nil {
		decisions = slices.DeleteFunc(decisions, func(d *programs.Decision) bool { return !followedOne(d, c.before, c.after) })
	}
	for _, d := range decisions {
		d.Restore = c.packaged && d.Desired == nil
	}
	settled, err := c.settled(programs.Expected(decisions))
	if err != nil {
		return nil, err
	}
	if c.dryRun {
		return c.result(settled, pins, programs.Expected(decisions))
	}
	change := c.w.beginPins(c.before, settled, packagesOf(c.list), c.now)
	defer func() { err = errors.Join(err, c.root.SetPinChange(nil)) }() // where the pins are what they were
	if err := c.root.SetPins(settled); err != nil {
		return nil, errors.Join(err, c.root.SetPins(c.before))
	}
	if err := placeClosures(c.root, decisions); err != nil {
		return nil, errors.Join(err, c.root.SetPins(c.before))
	}
	outcomes, err := programs.Apply(ctx, c.root, c.records, decisions, c.alone)
	c.w.sayPrograms(c.w.active.ID, outcomes)
	keep := func(after []record.Pin) error { return c.w.keepPins(change, after) }
	switch {
	case errors.Is(err, ErrInterrupted):
		return nil, errors.Join(advice.Errorf("%w; run hashpkg sync to finish", err), keep(settled))
	case errors.Is(err, context.Canceled): // before any program
		return nil, errors.Join(err, c.root.SetPins(c.before))
	case err != nil:
		return nil, errors.Join(err, keep(settled))
	}
	expected := settled
	settled, err = c.settled(outcomes)
	if err != nil || !slices.Equal(settled, expected) {
		err = errors.Join(err, c.root.SetPins(settled))
	}
	if err != nil {
		return nil, err
	}
	unkept := keep(settled)
	if result, err = c.result(settled, pins, outcomes); err != nil {
		return result, fmt.Errorf("not all programs could be edited; hashpkg sync tries again: %w", err)
	}
	if unkept != nil {
		result.Warnings = append(result.Warnings, unkept.Error())
	}
	if unsafe != nil { // what has its packaged bytes is for the next sync that may edit it
		result.Warnings = append(result.Warnings, unsafe.Error())
		return result, nil
	}
	return result, rememberPins(c.root, c.rewrite, settled, outcomes)
}

// result says what became of pins and programs. The error is of programs that the next sync
// tries again.
func (c *pinChange) result(settled []record.Pin, pins []programs.Pin, outcomes []programs.Outcome) (*PinResult, error) {
	fresh := slices.DeleteFunc(slices.Clone(settled), func(p record.Pin) bool { return slices.Contains(c.before, p) })
	result, faults := pinResult(fresh, outcomes)
	result.Left = append(result.Left, passedOver(c.asked, outcomes)...)
	result.Warnings = append(result.Warnings, misplaced(c.root.Prefix(), pins, fresh, outcomes)...)
	return result, faults
}

// didYouMean asks for packages that may have been meant by the first name that stands for no
// program.
func (c *pinChange) didYouMean(ctx context.Context) string {
	names, err := SystemNames(ctx, c.root)
	if err != nil {
		return "" // the name is wrong all the same
	}
	return similar.DidYouMean(c.missing[0], names)
}

// SystemNames returns the names of what the root's package managers have installed, sorted,
// each once.
func SystemNames(ctx context.Context, root *sysroot.Root) ([]string, error) {
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(packages))
	for i, p := range packages {
		names[i] = p.Name
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// placedPins returns pins in which paths of programs have no links in their directories: a
// directory may have become a link since, as /bin does when /usr is merged. What is of the
// same program twice then is what was recorded of the path that it has now.
func placedPins(root *sysroot.Root, pins []record.Pin) []record.Pin {
	placed := make([]record.Pin, 0, len(pins))
	for _, p := range pins {
		place, err := root.Real(p.Program)
		if !strings.HasPrefix(p.Program, "/") || err != nil || place == p.Program || !root.HasFile(place) {
			placed = append(placed, p)
			continue
		}
		isThere := func(o record.Pin) bool {
			return o.Program == place && o.Frozen() == p.Frozen() && (p.Frozen() || o.Library == p.Library)
		}
		if !slices.ContainsFunc(pins, isThere) {
			p.Program = place
			placed = append(placed, p)
		}
	}
	return placed
}

// followLinks returns names in which paths are those of the files that links lead to. One that
// leads nowhere stays, and so does one of which pins are recorded by this very path: a link may
// have taken the program's place since.
func followLinks(root *sysroot.Root, pins []record.Pin, names []string) []string {
	names = slices.Clone(names)
	for i, name := range names {
		if !strings.HasPrefix(name, "/") {
			continue
		}
		if place, err := root.Real(name); err == nil && slices.ContainsFunc(pins, func(p record.Pin) bool { return p.Program == place }) {
			names[i] = place
			continue
		}
		if final, err := root.Final(name); err == nil && root.HasFile(final) {
			names[i] = final
		}
	}
	return names
}

// settled returns the pins that there are to be when programs become what outcomes say.
func (c *pinChange) settled(outcomes []programs.Outcome) ([]record.Pin, error) {
	if c.settle == nil {
		return c.after, nil
	}
	return c.settle(c, outcomes)
}

// activePolicy returns what is wanted of programs in the active generation.
func activePolicy(w *Writer, rewrite programs.Rewrite, pins []programs.Pin) *programs.Policy {
	trees := map[pkginfo.Key]string{}
	for key, p := range w.root.SystemState().Packages {
		trees[key] = p.Tree
	}
	return &programs.Policy{
		Running: programs.FindRunning(),
		Rewrite: rewrite, Prefix: w.root.Prefix(), Architecture: w.active.Architecture,
		Farm: w.active.SystemLibraries(), Trees: trees, Pins: pins, Confinement: confinement(w.root, pins),
		Integrity: confine.ReadIntegrity(w.root), Symbols: &rootSymbols{w.root},
	}
}

// programsNamed returns the programs that names stand for, paths, packages or
// record.EveryProgram, sorted by path, and the records of their packages. missing are names
// that stand for none.
func programsNamed(ctx context.Context, root *sysroot.Root, names []string, rewrite programs.Rewrite) (list []*programs.Program, records *programs.Records, missing []string, err error) {
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return nil, nil, nil, err
	}
	byPath, every := false, false
	for _, name := range names {
		byPath = byPath || strings.HasPrefix(name, "/")
		every = every || name == record.EveryProgram
	}
	if !every && !byPath {
		packages = slices.DeleteFunc(packages, func(p *backends.Installed) bool { return !slices.Contains(names, p.Name) })
	}
	found, err := system.Scan(ctx, root, packages, nil, rewrite.SizeLimit(), func(int) {})
	if err != nil {
		return nil, nil, nil, err
	}
	there := map[string]bool{} // names
	var keys []pkginfo.Key
	for _, f := range found {
		for _, p := range programsOf(f) {
			named := false
			for _, name := range names {
				if name == record.EveryProgram || name == p.Path || name == f.Name {
					named = true
					there[name] = true
				}
			}
			if named {
				list = append(list, p)
				keys = append(keys, f.Key)
			}
		}
	}
	for _, name := range names {
		if !there[name] {
			missing = append(missing, name)
		}
	}
	slices.SortFunc(list, func(a, b *programs.Program) int { return cmp.Compare(a.Path, b.Path) })
	records, err = programs.ReadRecords(root, slices.Compact(keys))
	return oncePerPath(list), records, missing, err
}

// rememberPins lets the next sync know that the pins have been followed.
func rememberPins(root *sysroot.Root, rewrite programs.Rewrite, pins []record.Pin, outcomes []programs.Outcome) error {
	state := root.SystemState()
	state.Settings = settingsDigest(root, rewrite, pins)
	for _, c := range outcomes {
		if p, ok := state.Packages[c.Package.Key]; ok && c.Desired != nil && len(c.Desired.Pins) > 0 {
			p.Pinned = true
			if c.Closure != nil && !slices.Contains(p.Closures, c.Closure.Tree) {
				p.Closures = append(p.Closures, c.Closure.Tree)
			}
			state.Packages[c.Package.Key] = p
		}
	}
	return root.SetSystemState(state)
}
