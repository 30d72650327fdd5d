package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrPin is returned (wrapped) for a pin that cannot be.
var ErrPin = errors.New("cannot pin")

// findTree returns what is missing of the tree that a pin is to.
func findTree(s *store.Store, pin record.Pin) error {
	for _, name := range []string{layout.ManifestPath(pin.Library, pin.Tree), layout.TreePath(pin.Library, pin.Tree)} {
		if _, err := os.Lstat(s.Path(name)); err != nil {
			return err
		}
	}
	return nil
}

// loadPins reads the trees of pins. lost says which pins have none.
func loadPins(s *store.Store, pins []record.Pin) (loaded []programs.Pin, lost []string) {
	for _, pin := range pins {
		err := findTree(s, pin)
		var m *record.Manifest
		if err == nil {
			m, err = s.Manifest(pin.Library, pin.Tree)
		}
		if err != nil {
			lost = append(lost, fmt.Sprintf("%s is pinned to %s, which is not to be had: %v", pin.Program, pin.Spec(), err))
			continue
		}
		loaded = append(loaded, programs.Pin{Pin: pin, Manifest: m})
	}
	programs.SortPins(loaded)
	return loaded, lost
}

// PinOptions says which programs are to load which libraries.
type PinOptions struct {
	Root    *sysroot.Root
	Program string   // a path in the root, a package's name, or record.EveryProgram
	Specs   []string // "NAME=VERSION"
	Force   bool     // though symbol versions do not fit
	Rewrite programs.Rewrite
	Wait    time.Duration // for the lock
}

// PinResult says what pins came to.
type PinResult struct {
	Pins     []record.Pin    `json:"pins"`     // the new ones
	Programs []ProgramReport `json:"programs"` // that load the library now
	Left     []LeftReport    `json:"left"`     // that do not, and why
}

// AddPins makes programs load certain versions of libraries, while all others go on
// with the current ones. The error wraps ErrPin when none of the programs can.
func AddPins(ctx context.Context, o PinOptions) (result *PinResult, err error) {
	return changePins(ctx, o, true, func(root *sysroot.Root, pins []record.Pin) ([]record.Pin, error) {
		for _, spec := range o.Specs {
			pin, err := findPinned(root.Store(), spec)
			if err != nil {
				return nil, err
			}
			pin.Program, pin.Force = o.Program, o.Force
			pins = slices.DeleteFunc(pins, func(p record.Pin) bool { return p.Program == pin.Program && p.Library == pin.Library })
			pins = append(pins, pin)
		}
		return pins, nil
	})
}

// RemovePins takes back what AddPins did, for the libraries "NAME" or
// "NAME=VERSION", or without any for all that the program is pinned to.
func RemovePins(ctx context.Context, o PinOptions) (*PinResult, error) {
	return changePins(ctx, o, false, func(_ *sysroot.Root, pins []record.Pin) ([]record.Pin, error) {
		before := len(pins)
		pins = slices.DeleteFunc(pins, func(p record.Pin) bool {
			return p.Program == o.Program && (len(o.Specs) == 0 || slices.Contains(o.Specs, p.Library) || slices.Contains(o.Specs, p.Spec()))
		})
		if len(pins) == before {
			return nil, fmt.Errorf("%s is not pinned so; hashpkg pins shows what is", o.Program)
		}
		return pins, nil
	})
}

// findPinned returns a pin to the tree of a library's version, of those in the store.
func findPinned(s *store.Store, spec string) (record.Pin, error) {
	name, version, ok := strings.Cut(spec, "=")
	if !ok || name == "" || version == "" {
		return record.Pin{}, fmt.Errorf("%w: %q: want NAME=VERSION", ErrPin, spec)
	}
	manifests, err := s.Manifests(name)
	if err != nil {
		return record.Pin{}, err
	}
	m, err := choosePinned(manifests, name, version)
	if err != nil {
		return record.Pin{}, fmt.Errorf("%w: %w", ErrPin, err)
	}
	return record.Pin{Library: m.Name, Version: m.Version, Tree: m.Tree}, nil
}

// choosePinned returns the tree of a version, or of a tree's name, of those that the
// store has of a library.
func choosePinned(manifests []*record.Manifest, name, version string) (*record.Manifest, error) {
	var found []*record.Manifest
	var versions []string
	for _, m := range manifests {
		versions = append(versions, m.Version)
		if m.Version == version || m.Tree == version {
			found = append(found, m)
		}
	}
	// The distribution's own build goes before one that was edited for a private tree.
	slices.SortStableFunc(found, func(a, b *record.Manifest) int { return -cmp.Compare(a.Origin, b.Origin) })
	switch {
	case len(found) == 0 && len(versions) == 0:
		return nil, fmt.Errorf("the store has no %s; hashpkg install brings the version that you want", name)
	case len(found) == 0:
		return nil, fmt.Errorf("the store has no %s=%s; of %s it has %q", name, version, name, slices.Compact(versions))
	case len(found) > 1 && found[0].Origin == found[1].Origin && found[0].Tree != version:
		trees := make([]string, len(found))
		for i, m := range found {
			trees[i] = m.Name + "=" + m.Tree
		}
		return nil, fmt.Errorf("several builds are there, name one of %q", trees)
	case slices.ContainsFunc(found[0].Files, func(f record.File) bool { return f.ELF != nil && layout.IsGlibcLibrary(f.ELF.Soname) }):
		return nil, fmt.Errorf("%s is the C library, of which a program and all its libraries must have one; hashpkg install puts a program beside the system with its own", name)
	}
	return found[0], nil
}

// changePins changes the record of pins and edits the programs concerned. With
// strict, one that cannot follow its pin is left as it is; else it loses it.
func changePins(ctx context.Context, o PinOptions, strict bool, change func(*sysroot.Root, []record.Pin) ([]record.Pin, error)) (result *PinResult, err error) {
	if ok, err := o.Root.Exists(); err != nil || !ok {
		return nil, cmp.Or(err, fmt.Errorf("%w: there is no hashpkg store at %s yet; run hashpkg sync", ErrNotInstalled, o.Root.Store().Path("")))
	}
	lock, err := o.Root.LockWait(ctx, o.Wait)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	before, err := o.Root.Pins()
	if err != nil {
		return nil, err
	}
	after, err := change(o.Root, slices.Clone(before))
	if err != nil {
		return nil, err
	}
	fresh := slices.DeleteFunc(slices.Clone(after), func(p record.Pin) bool { return slices.Contains(before, p) })
	if _, lost := loadPins(o.Root.Store(), fresh); len(lost) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrPin, strings.Join(lost, "; "))
	}
	pins, _ := loadPins(o.Root.Store(), after) // of older ones that are lost, check tells
	list, records, err := programsNamed(ctx, o.Root, o.Program)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no package has a dynamic program %s; give a program's path or a package's name", ErrPin, o.Program)
	}
	policy, err := activePolicy(o.Root, o.Rewrite, pins)
	if err != nil {
		return nil, err
	}
	policy.Restored, policy.Strict = true, strict
	decisions, err := programs.Plan(ctx, o.Root, records, list, policy)
	if err != nil {
		return nil, err
	}
	result = &PinResult{Pins: fresh, Programs: []ProgramReport{}, Left: []LeftReport{}}
	if err := checkPins(o, result.Pins, decisions); err != nil {
		return nil, err
	}
	if err := o.Root.SetPins(after); err != nil {
		return nil, err
	}
	outcomes, err := programs.Apply(ctx, o.Root, records, decisions)
	if err != nil {
		return nil, err
	}
	var faults error
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
	if faults != nil {
		return result, fmt.Errorf("not all programs could be edited; hashpkg sync tries again: %w", faults)
	}
	return result, rememberPins(o, after, outcomes)
}

// activePolicy returns what is wanted of programs in the active generation.
func activePolicy(root *sysroot.Root, rewrite programs.Rewrite, pins []programs.Pin) (*programs.Policy, error) {
	active, err := root.Active()
	if err != nil {
		return nil, err
	}
	trees := map[string]string{}
	for key, p := range root.SystemState().Packages {
		trees[key] = p.Tree
	}
	return &programs.Policy{
		Rewrite: rewrite, Prefix: root.Prefix(), Architecture: active.Architecture,
		Farm: active.SystemLibraries(), Trees: trees, Pins: pins, Confinement: confinement(root, pins),
	}, nil
}

// programsNamed returns the programs that a pin's Program names, sorted by path, and
// the records of their packages.
func programsNamed(ctx context.Context, root *sysroot.Root, name string) ([]*programs.Program, *programs.Records, error) {
	packages, err := systemPackages(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	byPath := strings.HasPrefix(name, "/")
	if name != record.EveryProgram && !byPath {
		packages = slices.DeleteFunc(packages, func(p *installed) bool { return p.Name != name })
	}
	found, err := scanPackages(ctx, root, packages, nil, func(int) {})
	if err != nil {
		return nil, nil, err
	}
	var list []*programs.Program
	var keys []string
	for _, f := range found {
		for _, p := range f.programs {
			if !byPath || p.Path == name {
				list = append(list, p)
				keys = append(keys, f.key)
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
	state.Settings = settingsDigest(o.Root.Store(), o.Rewrite, pins)
	for _, c := range outcomes {
		if p, ok := state.Packages[c.Package.Key]; ok && c.Desired != nil && len(c.Desired.Pins) > 0 {
			p.Pinned = true
			state.Packages[c.Package.Key] = p
		}
	}
	return o.Root.SetSystemState(state)
}

// checkPins refuses new pins that no program can follow, and those for one
// program that it cannot.
func checkPins(o PinOptions, pins []record.Pin, decisions []*programs.Decision) error {
	if len(pins) == 0 {
		return nil
	}
	follows := false
	for _, d := range decisions {
		switch {
		case d.Left != "" && o.Program != record.EveryProgram && len(decisions) == 1:
			return fmt.Errorf("%w %s: %s%s", ErrPin, d.Path, d.Left, forceHint(o))
		case d.Left == "" && d.Desired != nil && len(d.Desired.Pins) > 0:
			follows = true
		}
	}
	if follows {
		return nil
	}
	for _, d := range decisions {
		if d.Left != "" {
			return fmt.Errorf("%w: %s: %s%s", ErrPin, d.Path, d.Left, forceHint(o))
		}
	}
	return fmt.Errorf("%w: no program of %s loads a library of %s", ErrPin, o.Program, pins[0].Library)
}

func forceHint(o PinOptions) string {
	if o.Force {
		return ""
	}
	return " (--force does it all the same, where that is of no matter)"
}

// ListedPin is a pin, and the programs that follow it.
type ListedPin struct {
	record.Pin
	Programs []string `json:"programs"`       // paths in the root
	Lost     string   `json:"lost,omitempty"` // why its tree is not to be had
}

// ListPins returns the pins of a root.
func ListPins(root *sysroot.Root) ([]ListedPin, error) {
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
		if err := findTree(root.Store(), p); err != nil {
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
