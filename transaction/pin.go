package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
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
	Now     time.Time
	Rewrite programs.Rewrite
	DryRun  bool // say what would be, and change nothing
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
	change := func(c *pinChange) (after, asked []record.Pin, err error) {
		o.Program = c.names[0]
		if err := CheckPrefix(c.root); err != nil {
			return nil, nil, err
		}
		after = slices.Clone(c.before)
		for _, spec := range o.Specs {
			pin, err := findPinned(c.root.Store(), spec)
			if err != nil {
				return nil, nil, err
			}
			pin.Program, pin.Force, pin.Since = o.Program, o.Force, sinceWhen(c.before, pin, o)
			after = slices.DeleteFunc(after, func(p record.Pin) bool { return p.Program == pin.Program && p.Library == pin.Library && !p.Frozen() })
			after, asked = append(after, pin), append(asked, pin)
		}
		return after, asked, checkPinned(ctx, c.root, ErrPin, asked)
	}
	settle := func(c *pinChange, outcomes []programs.Outcome) ([]record.Pin, error) {
		if err := checkFollowed(o, c.asked, outcomes); err != nil {
			return followed(c.before, c.asked, outcomes), err
		}
		return c.after, nil
	}
	return changePins(ctx, &pinChange{root: o.Root, names: []string{o.Program}, rewrite: o.Rewrite, refused: ErrPin, dryRun: o.DryRun, now: o.Now, change: change, settle: settle}, o.Lock)
}

// RemovePins takes back what AddPins did, for the libraries "NAME" or
// "NAME=VERSION", or without any for all that the program is pinned to. Where others than
// root could change the prefix, no program is edited to search it: those that followed the
// pins get their packaged bytes, and a warning says so. The program, or its package, need not be
// there any more.
func RemovePins(ctx context.Context, o PinOptions) (*PinResult, error) {
	change := func(c *pinChange) (after, asked []record.Pin, err error) {
		o.Program = c.names[0]
		after = slices.DeleteFunc(slices.Clone(c.before), func(p record.Pin) bool {
			return p.Program == o.Program && !p.Frozen() && (len(o.Specs) == 0 || slices.Contains(o.Specs, p.Library) || slices.Contains(o.Specs, p.Spec()))
		})
		if len(after) == len(c.before) {
			return nil, nil, advice.Errorf("%s has no such pin; hashpkg pins lists those that there are", o.Program)
		}
		return after, nil, nil
	}
	return changePins(ctx, &pinChange{root: o.Root, names: []string{o.Program}, rewrite: o.Rewrite, mayMiss: true, refused: ErrPin, dryRun: o.DryRun, now: o.Now, change: change}, o.Lock)
}

// sinceWhen returns since when a program is pinned: what is pinned to the same tree again, is it
// since the first time.
func sinceWhen(before []record.Pin, pin record.Pin, o PinOptions) string {
	for _, p := range before {
		if p.Program == o.Program && p.Pinned() == pin.Pinned() && !p.Frozen() {
			return p.Since
		}
	}
	if o.Now.IsZero() {
		return ""
	}
	return o.Now.UTC().Format(time.RFC3339)
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
	if m, err = asLinked(s, m, spec.Version); err != nil {
		return fail(err)
	}
	if slices.ContainsFunc(m.Files, func(f record.File) bool { return f.ELF != nil && layout.IsGlibcLibrary(f.ELF.Soname) }) {
		return fail(advice.Errorf("%s has the C library, and a process cannot mix two of them; hashpkg install puts a program beside the system with its own", spec.Name))
	}
	return record.Pin{Library: m.Name, Version: m.Version, Tree: m.Tree}, nil
}

// asLinked returns the tree of m's package that is not prelocated, where there is one and only a version was
// asked for: programs of the system may answer what others are bound to.
func asLinked(s *store.Store, m *record.Manifest, version string) (*record.Manifest, error) {
	if !m.Binding.IsPrelocated() || m.Version != version {
		return m, nil
	}
	all, err := s.Manifests(m.Name)
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		if o.Package.Digest == m.Package.Digest && o.Origin == m.Origin && !o.Binding.IsPrelocated() {
			return o, nil
		}
	}
	return m, nil
}

// checkPinned reads the trees that pins are to, and those that these are bound to, every
// file of them: a program that was made to load a damaged library would be broken by it.
func checkPinned(ctx context.Context, root *sysroot.Root, refused error, pins []record.Pin) error {
	seen := map[record.PinnedTree]bool{}
	for _, pin := range pins {
		if seen[pin.Pinned()] {
			continue
		}
		seen[pin.Pinned()] = true
		trees, unread, err := pinnedTrees(root, pin)
		if err = errors.Join(err, unread); err == nil {
			err = checkTrees(root, trees)
		}
		if err != nil {
			return fmt.Errorf("%w to %s: %w", refused, pin.Spec(), err)
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
		return advice.Errorf("%w to %s: %s is damaged: %s: %s; hashpkg verify %s lists all of it, and hashpkg verify --repair %[6]s mends what it can",
			refused, pin.Spec(), which, d.Path, d.What, d.Package)
	}
	return nil
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
			pins = append(slices.DeleteFunc(pins, func(p record.Pin) bool { return p.Program == pin.Program && p.Library == pin.Library && !p.Frozen() }), pin)
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

// passedOver returns the programs that load a library of pins that are asked for, and do not
// follow these because they are frozen.
func passedOver(asked []record.Pin, outcomes []programs.Outcome) (left []LeftReport) {
	for _, o := range outcomes {
		loads := func(p record.Pin) bool {
			return !p.Frozen() && slices.ContainsFunc(o.Desired.Pins, func(t record.PinnedTree) bool { return t.Library == p.Library })
		}
		if o.State == programs.Unchanged && o.Frozen && o.Desired != nil && slices.ContainsFunc(asked, loads) {
			left = append(left, LeftReport{o.Path, "is frozen; hashpkg freeze --refresh " + o.Path + " has it follow its pins"})
		}
	}
	return left
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
			if f.ELF == nil || !f.ELF.AsksWhere || !loaded[file] {
				continue
			}
			warning := fmt.Sprintf("%s asks where it was found, and gets the tree of %s=%s: what it looks for beside itself, such as plugins or data of other packages, may not be found",
				f.ELF.Soname, pin.Library, pin.Version)
			if !slices.Contains(warnings, warning) { // a freeze has a pin for each file of a package
				warnings = append(warnings, warning)
			}
		}
	}
	return warnings
}

// checkFollowed refuses pins that no program follows, or will, and says what is in the
// way of the first.
func checkFollowed(o PinOptions, pins []record.Pin, outcomes []programs.Outcome) error {
	for _, pin := range pins {
		if slices.ContainsFunc(outcomes, func(c programs.Outcome) bool { return follows(c, pin) }) {
			continue
		}
		for _, c := range outcomes {
			if c.Frozen {
				return advice.Errorf("%w %s: it is frozen; run hashpkg thaw %[2]s before, and hashpkg freeze after", ErrPin, c.Path)
			}
			switch c.State {
			case programs.Left:
				return forceHint(o, c.Reason, fmt.Errorf("%w %s: %s", ErrPin, c.Path, c.Reason.Sentence()))
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
	return (c.State == programs.Edited || c.State == programs.Unchanged) && c.Desired != nil && slices.Contains(c.Desired.Pins, pin.Pinned()) &&
		c.Frozen == pin.Frozen() && pin.Of(c.Path, c.Package.Name)
}

// forceHint adds to an error that --force would help, where it would.
func forceHint(o PinOptions, reason programs.Reason, err error) error {
	if o.Force || !reason.CanForce() {
		return err
	}
	return advice.Errorf("%w; --force pins it all the same", err)
}

// ListedPin is a pin, and the programs that follow it.
type ListedPin struct {
	record.Pin
	Programs []string `json:"programs"`       // paths in the root
	Lost     string   `json:"lost,omitempty"` // why its tree is not in the store
	// Installed is the version of the library that the package manager has installed, and
	// that the pin holds back; "" where it is the pinned one, or is not installed.
	Installed string `json:"installed,omitempty"`
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
	active := &record.Generation{}
	if len(pins) > 0 {
		if g, err := root.Active(); err == nil { // else it is not known what they hold back
			active = g
		}
	}
	for _, p := range pins {
		if p.Frozen() { // see ListFrozen
			continue
		}
		l := ListedPin{Pin: p, Programs: []string{}}
		for _, t := range active.Find(p.Library, "") {
			if t.Origin == record.OriginSystem && t.Version != p.Version {
				l.Installed = t.Version
			}
		}
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
				if l.Of(f.Path, edits.Package) && len(f.Applied) > 0 && !programs.IsFrozen(&f.Applied[0]) && slices.Contains(f.Applied[0].Pins, l.Pinned()) {
					l.Programs = append(l.Programs, f.Path)
				}
			}
		}
	}
	return listed, nil
}
