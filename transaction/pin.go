package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// ErrPin is returned (wrapped) for a pin that cannot be.
var ErrPin = errors.New("cannot pin")

// PinOptions says which programs are to load which libraries.
type PinOptions struct {
	Root    *sysroot.Root
	Program string   // a path in the root, a package's name, or record.EveryProgram
	Specs   []string // "NAME=VERSION"
	Force   bool     // though symbol versions do not fit
	Rewrite programs.Rewrite
	Lock    sysroot.LockOptions
}

// PinResult says what pins came to.
type PinResult struct {
	Pins     []record.Pin    `json:"pins"`     // the new ones
	Programs []ProgramReport `json:"programs"` // that load the library now
	Left     []LeftReport    `json:"left"`     // that do not, and why
	Warnings []string        `json:"warnings"` // of what may go wrong with those that do
}

// AddPins makes programs load certain versions of libraries, while all others go on
// with the current ones. The error wraps ErrPin when none of the programs can, or the
// library is damaged; nothing is recorded then.
func AddPins(ctx context.Context, o PinOptions) (result *PinResult, err error) {
	change := func(root *sysroot.Root, pins []record.Pin) (after, asked []record.Pin, err error) {
		if err := CheckPrefix(root); err != nil {
			return nil, nil, err
		}
		for _, spec := range o.Specs {
			pin, err := findPinned(root.Store(), spec)
			if err != nil {
				return nil, nil, err
			}
			pin.Program, pin.Force = o.Program, o.Force
			pins = slices.DeleteFunc(pins, func(p record.Pin) bool { return p.Program == pin.Program && p.Library == pin.Library })
			pins, asked = append(pins, pin), append(asked, pin)
		}
		return pins, asked, checkPinned(ctx, root, asked)
	}
	return changePins(ctx, o, change)
}

// RemovePins takes back what AddPins did, for the libraries "NAME" or
// "NAME=VERSION", or without any for all that the program is pinned to. Where others than
// root could change the prefix, no program is edited to search it: those that followed the
// pins get their packaged bytes, and a warning says so.
func RemovePins(ctx context.Context, o PinOptions) (*PinResult, error) {
	return changePins(ctx, o, func(_ *sysroot.Root, pins []record.Pin) (after, asked []record.Pin, err error) {
		before := len(pins)
		pins = slices.DeleteFunc(pins, func(p record.Pin) bool {
			return p.Program == o.Program && (len(o.Specs) == 0 || slices.Contains(o.Specs, p.Library) || slices.Contains(o.Specs, p.Spec()))
		})
		if len(pins) == before {
			return nil, nil, fmt.Errorf("%s has no such pin; hashpkg pins lists those that there are", o.Program)
		}
		return pins, nil, nil
	})
}

// findPinned returns a pin to the tree of a library's version, of those in the store.
func findPinned(s *store.Store, text string) (record.Pin, error) {
	fail := func(err error) (record.Pin, error) { return record.Pin{}, fmt.Errorf("%w: %w", ErrPin, err) }
	spec, err := query.ParseSpec(text)
	if err == nil && spec.Version == "" {
		err = fmt.Errorf("%q: %w: give the version, as NAME=VERSION", text, query.ErrSpec)
	}
	if err != nil {
		return fail(err)
	}
	m, err := query.Stored(s, spec)
	if err != nil {
		return fail(err)
	}
	if slices.ContainsFunc(m.Files, func(f record.File) bool { return f.ELF != nil && layout.IsGlibcLibrary(f.ELF.Soname) }) {
		return fail(fmt.Errorf("%s has the C library, and a process cannot mix two of them; hashpkg install puts a program beside the system with its own", spec.Name))
	}
	return record.Pin{Library: m.Name, Version: m.Version, Tree: m.Tree}, nil
}

// checkPinned reads the trees that pins are to, and those that these are bound to, every
// file of them: a program that was made to load a damaged library would be broken by it.
func checkPinned(ctx context.Context, root *sysroot.Root, pins []record.Pin) error {
	for _, pin := range pins {
		trees, unread, err := pinnedTrees(root, pin)
		if err = errors.Join(err, unread); err == nil {
			err = checkTrees(root, trees)
		}
		if err != nil {
			return fmt.Errorf("%w to %s: %w", ErrPin, pin.Spec(), err)
		}
		_, damaged, err := root.Store().Verify(ctx, trees, nil)
		if err != nil {
			return err
		}
		if len(damaged) == 0 {
			continue
		}
		d, which := damaged[0], "which"
		if d.Package != pin.Spec() {
			which = d.Package + ", to which it is bound,"
		}
		return fmt.Errorf("%w to %s: %s is damaged: %s: %s; hashpkg verify %s lists all of it, and hashpkg verify --repair %[6]s mends what it can",
			ErrPin, pin.Spec(), which, d.Path, d.What, d.Package)
	}
	return nil
}

// changePins changes the record of pins and edits the programs concerned. change
// returns the new pins, and of them those that somebody asks for now: these are all
// taken back when no program follows them.
//
// The order is that of a power cut, or a kill, between any two steps:
//
//  1. pins.json is durable. From here on the pins are not those that state.json has
//     the digest of, so that the next sync looks at every program, and pins it or,
//     where it cannot, says that it goes on without.
//  2. The records of edits are durable, then the programs are replaced, and that is
//     durable before programs.Apply returns.
//  3. Only then state.json says that the pins have been followed.
//
// A pin that turns out not to be followed by any program is taken from pins.json again
// after 2. What Apply did not change has the record that it had.
func changePins(ctx context.Context, o PinOptions, change func(*sysroot.Root, []record.Pin) (after, asked []record.Pin, err error)) (result *PinResult, err error) {
	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	before, err := o.Root.Pins()
	if err != nil {
		return nil, err
	}
	after, asked, err := change(o.Root, slices.Clone(before))
	if err != nil {
		return nil, err
	}
	pins, _ := loadPins(o.Root, after) // of older ones that are lost, check tells
	list, records, err := programsNamed(ctx, o.Root, o.Program, o.Rewrite)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no package has a dynamic program %s; give a program's path or a package's name", ErrPin, o.Program)
	}
	policy := activePolicy(w, o.Rewrite, pins)
	policy.Restored, policy.Strict = true, len(asked) > 0
	unsafe := CheckPrefix(o.Root)
	if unsafe != nil { // the way out is open: see RemovePins
		policy.Rewrite, policy.Pins = programs.Rewrite{Executables: programs.RewriteNone}, nil
	}
	decisions, err := programs.Plan(ctx, o.Root, records, list, policy)
	if err != nil {
		return nil, err
	}
	if unsafe != nil {
		decisions = slices.DeleteFunc(decisions, func(d *programs.Decision) bool { return !followedOne(d, before, after) })
	}
	if err := checkFollowed(o, asked, programs.Expected(decisions)); err != nil {
		return nil, err
	}
	if err := o.Root.SetPins(after); err != nil {
		return nil, errors.Join(err, o.Root.SetPins(before))
	}
	outcomes, err := programs.Apply(ctx, o.Root, records, decisions, false)
	switch {
	case errors.Is(err, ErrInterrupted):
		return nil, fmt.Errorf("%w; run hashpkg sync to finish", err)
	case errors.Is(err, context.Canceled): // before any program
		return nil, errors.Join(err, o.Root.SetPins(before))
	case err != nil:
		return nil, err
	}
	if err := checkFollowed(o, asked, outcomes); err != nil {
		return nil, errors.Join(err, o.Root.SetPins(followed(before, asked, outcomes)))
	}
	fresh := slices.DeleteFunc(slices.Clone(after), func(p record.Pin) bool { return slices.Contains(before, p) })
	result, faults := pinResult(fresh, outcomes)
	result.Warnings = append(result.Warnings, misplaced(o.Root.Prefix(), pins, fresh, outcomes)...)
	if faults != nil {
		return result, fmt.Errorf("not all programs could be edited; hashpkg sync tries again: %w", faults)
	}
	if unsafe != nil { // what has its packaged bytes is for the next sync that may edit it
		result.Warnings = append(result.Warnings, unsafe.Error())
		return result, nil
	}
	return result, rememberPins(o, after, outcomes)
}

// followedOne reports whether a program has the edit of a pin that was taken away.
func followedOne(d *programs.Decision, before, after []record.Pin) bool {
	return d.Current != nil && slices.ContainsFunc(before, func(p record.Pin) bool {
		return !slices.Contains(after, p) && p.Of(d.Path, d.Package.Name) && slices.Contains(d.Current.Pins, p.Pinned())
	})
}

// followed returns the pins that were there before, and of those that were asked for the
// ones that a program follows.
func followed(before, asked []record.Pin, outcomes []programs.Outcome) []record.Pin {
	pins := slices.Clone(before)
	for _, pin := range asked {
		if slices.ContainsFunc(outcomes, func(c programs.Outcome) bool { return follows(c, pin) }) {
			pins = append(slices.DeleteFunc(pins, func(p record.Pin) bool { return p.Program == pin.Program && p.Library == pin.Library }), pin)
		}
	}
	return pins
}

// pinResult says what became of programs; faults has those that the next sync tries
// again.
func pinResult(fresh []record.Pin, outcomes []programs.Outcome) (result *PinResult, faults error) {
	result = &PinResult{Pins: fresh, Programs: []ProgramReport{}, Left: []LeftReport{}, Warnings: []string{}}
	if fresh == nil {
		result.Pins = []record.Pin{}
	}
	for _, c := range outcomes {
		switch c.State {
		case programs.Edited, programs.Restored:
			result.Programs = append(result.Programs, programReport(c))
		case programs.Left:
			result.Left = append(result.Left, leftReport(c))
		case programs.Failed:
			faults = errors.Join(faults, c.Err)
		case programs.Unchanged:
		}
	}
	return result, faults
}

// misplaced warns of pinned libraries that ask where they were found, and of programs
// that ask where these were: they get the tree, which has libraries only, and those of
// one package only.
func misplaced(prefix string, pins []programs.Pin, fresh []record.Pin, outcomes []programs.Outcome) []string {
	loaded := map[string]bool{}
	var warnings []string
	for _, o := range outcomes {
		if o.State == programs.Edited {
			if o.Info.ImportsWhere && len(o.Desired.Pins) > 0 {
				warnings = append(warnings, fmt.Sprintf("%s asks where libraries were found, and gets the trees of pinned ones: what it looks for beside them, such as plugins or data of other packages, may not be found", o.Path))
			}
			for _, e := range o.Desired.Edits {
				for _, file := range e.To {
					loaded[file] = true
				}
			}
		}
	}
	for _, pin := range pins {
		if !slices.Contains(fresh, pin.Pin) {
			continue
		}
		for i := range pin.Manifest.Files {
			f := &pin.Manifest.Files[i]
			file := prefix + "/" + layout.TreePath(pin.Library, pin.Tree) + "/" + f.Path
			if f.ELF != nil && f.ELF.AsksWhere && loaded[file] {
				warnings = append(warnings, fmt.Sprintf("%s asks where it was found, and gets %s: what it looks for beside itself, such as plugins or data of other packages, may not be found",
					f.ELF.Soname, path.Dir(file)))
			}
		}
	}
	return warnings
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
		Integrity: confine.ReadIntegrity(w.root),
	}
}

// programsNamed returns the programs that a pin's Program names, sorted by path, and
// the records of their packages.
func programsNamed(ctx context.Context, root *sysroot.Root, name string, rewrite programs.Rewrite) ([]*programs.Program, *programs.Records, error) {
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	byPath := strings.HasPrefix(name, "/")
	if name != record.EveryProgram && !byPath {
		packages = slices.DeleteFunc(packages, func(p *backends.Installed) bool { return p.Name != name })
	}
	found, err := system.Scan(ctx, root, packages, nil, rewrite.SizeLimit(), func(int) {})
	if err != nil {
		return nil, nil, err
	}
	var list []*programs.Program
	var keys []pkginfo.Key
	for _, f := range found {
		for _, p := range programsOf(f) {
			if !byPath || p.Path == name {
				list = append(list, p)
				keys = append(keys, f.Key)
			}
		}
	}
	slices.SortFunc(list, func(a, b *programs.Program) int { return cmp.Compare(a.Path, b.Path) })
	records, err := programs.ReadRecords(root, slices.Compact(keys))
	return oncePerPath(list), records, err
}

// rememberPins lets the next sync know that the pins have been followed.
func rememberPins(o PinOptions, pins []record.Pin, outcomes []programs.Outcome) error {
	state := o.Root.SystemState()
	state.Settings = settingsDigest(o.Root, o.Rewrite, pins)
	for _, c := range outcomes {
		if p, ok := state.Packages[c.Package.Key]; ok && c.Desired != nil && len(c.Desired.Pins) > 0 {
			p.Pinned = true
			state.Packages[c.Package.Key] = p
		}
	}
	return o.Root.SetSystemState(state)
}

// checkFollowed refuses pins that no program follows, or will, and says what is in the
// way of the first.
func checkFollowed(o PinOptions, pins []record.Pin, outcomes []programs.Outcome) error {
	for _, pin := range pins {
		if slices.ContainsFunc(outcomes, func(c programs.Outcome) bool { return follows(c, pin) }) {
			continue
		}
		for _, c := range outcomes {
			switch c.State {
			case programs.Left:
				return fmt.Errorf("%w %s: %s%s", ErrPin, c.Path, c.Reason, forceHint(o))
			case programs.Failed:
				return fmt.Errorf("%w %s: %w", ErrPin, c.Path, c.Err)
			case programs.Unchanged, programs.Edited, programs.Restored:
			}
		}
		return fmt.Errorf("%w: no program of %s loads a library of %s", ErrPin, o.Program, pin.Library)
	}
	return nil
}

// follows reports whether a program loads what it is pinned to.
func follows(c programs.Outcome, pin record.Pin) bool {
	return (c.State == programs.Edited || c.State == programs.Unchanged) && c.Desired != nil && slices.Contains(c.Desired.Pins, pin.Pinned())
}

func forceHint(o PinOptions) string {
	if o.Force {
		return ""
	}
	return " (--force pins it all the same)"
}

// ListedPin is a pin, and the programs that follow it.
type ListedPin struct {
	record.Pin
	Programs []string `json:"programs"`       // paths in the root
	Lost     string   `json:"lost,omitempty"` // why its tree is not in the store
}

// ListPins returns the pins of a root.
func ListPins(root *sysroot.Root) ([]ListedPin, error) {
	if _, err := root.Exists(); err != nil { // of another layout
		return nil, err
	}
	listed := []ListedPin{}
	pins, err := root.Pins()
	if err != nil {
		return nil, err
	}
	keys, err := root.EditedPackages()
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		l := ListedPin{Pin: p, Programs: []string{}}
		if _, _, err := pinnedTrees(root, p); err != nil {
			l.Lost = err.Error()
		}
		listed = append(listed, l)
	}
	for _, key := range keys {
		edits, err := root.Edits(key)
		if err != nil {
			return nil, err
		}
		for _, f := range edits.Files {
			for i := range listed {
				l := &listed[i]
				if l.Of(f.Path, edits.Package) && len(f.Applied) > 0 && slices.Contains(f.Applied[0].Pins, l.Pinned()) {
					l.Programs = append(l.Programs, f.Path)
				}
			}
		}
	}
	return listed, nil
}
