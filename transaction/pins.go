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

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
)

// ErrPin is returned (wrapped) for a pin that cannot be.
var ErrPin = errors.New("cannot pin")

// pinnedLibrary is a pin and the tree that it is to.
type pinnedLibrary struct {
	record.Pin
	manifest *record.Manifest
}

// pinnedTrees returns how pins stand in the record of an edit.
func pinnedTrees(pins []*pinnedLibrary) []record.PinnedTree {
	var trees []record.PinnedTree
	for _, p := range pins {
		trees = append(trees, p.Pinned())
	}
	return trees
}

// forced reports whether one of the pins is wanted though it does not fit.
func forced(pins []*pinnedLibrary) bool {
	return slices.ContainsFunc(pins, func(p *pinnedLibrary) bool { return p.Force })
}

// file returns the library of the tree that takes an object's place; nil if it has
// none.
func (p *pinnedLibrary) file(o *ldso.Object) *record.File {
	if o.Info.Soname == "" {
		return nil
	}
	for i := range p.manifest.Files {
		f := &p.manifest.Files[i]
		if f.ELF != nil && f.ELF.Soname == o.Info.Soname && ldso.Triplet(f.ELF) == ldso.Triplet(o.Info) && f.ELF.Class == o.Info.Class {
			return f
		}
	}
	return nil
}

// findTree returns what is missing of the tree that a pin is to.
func findTree(s *store.Store, pin record.Pin) error {
	for _, name := range []string{layout.ManifestPath(pin.Library, pin.Tree), layout.TreePath(pin.Library, pin.Tree)} {
		if _, err := os.Lstat(s.Path(name)); err != nil {
			return err
		}
	}
	return nil
}

// loadPins reads the trees of pins. A pin whose tree is gone is in lost.
func loadPins(s *store.Store, pins []record.Pin) (loaded []*pinnedLibrary, lost []string) {
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
		loaded = append(loaded, &pinnedLibrary{pin, m})
	}
	// What names a program goes before what names its package, and that before
	// what is for all.
	order := func(p *pinnedLibrary) int {
		switch {
		case p.Program == record.EveryProgram:
			return 2
		case strings.HasPrefix(p.Program, "/"):
			return 0
		}
		return 1
	}
	slices.SortStableFunc(loaded, func(a, b *pinnedLibrary) int { return cmp.Compare(order(a), order(b)) })
	return loaded, lost
}

// pinRecords returns the edits that make a program load pinned libraries, and the
// pins that are for it: what it needs by name it then needs by path, and what only
// its libraries need it needs too, so that it is loaded when they ask for it.
func (e *programEditor) pinRecords(c *programChange, info *elfedit.Info, f *finders) ([]*pinnedLibrary, []record.EditRecord, error) {
	var wanted []*pinnedLibrary
	for _, p := range e.pins {
		if p.Of(c.path, c.pkg.Name) {
			wanted = append(wanted, p)
		}
	}
	if len(wanted) == 0 {
		return nil, nil, nil
	}
	closure, err := c.load(info, f)
	if err != nil {
		return nil, nil, err
	}
	replace, add := record.EditRecord{Kind: record.EditReplace}, record.EditRecord{Kind: record.EditAdd}
	var used []*pinnedLibrary
	for _, o := range closure.Objects[1:] {
		for _, p := range wanted {
			library := p.file(o)
			if library == nil {
				continue
			}
			path := e.root.Prefix() + "/" + layout.TreePath(p.Library, p.Tree) + "/" + library.Path
			direct := false
			for _, n := range closure.Needs {
				if n.From == closure.Objects[0] && n.Provider == o {
					replace.From, replace.To = append(replace.From, n.Name), append(replace.To, path)
					direct = true
				}
			}
			if !direct {
				add.To = append(add.To, path)
			}
			if !slices.Contains(used, p) {
				used = append(used, p)
			}
			break
		}
	}
	var records []record.EditRecord
	for _, r := range []record.EditRecord{replace, add} {
		if len(r.To) > 0 {
			records = append(records, r)
		}
	}
	if len(used) > 0 {
		if reason := confine.Read(e.root.Files(), e.root.Prefix()).Denies(c.path); reason != "" {
			c.left = reason
			return nil, nil, nil
		}
	}
	return used, records, nil
}

// PinOptions says which programs are to load which libraries.
type PinOptions struct {
	Root    *sysroot.Root
	Program string   // a path in the root, a package's name, or record.EveryProgram
	Specs   []string // "NAME=VERSION"
	Force   bool     // though symbol versions do not fit
	Rewrite Rewrite
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

// findPinned returns a pin to the tree of a library's version.
func findPinned(s *store.Store, spec string) (record.Pin, error) {
	name, version, ok := strings.Cut(spec, "=")
	if !ok || name == "" || version == "" {
		return record.Pin{}, fmt.Errorf("%w: %q: want NAME=VERSION", ErrPin, spec)
	}
	manifests, err := s.Manifests(name)
	if err != nil {
		return record.Pin{}, err
	}
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
		return record.Pin{}, fmt.Errorf("%w: the store has no %s; hashpkg install brings the version that you want", ErrPin, name)
	case len(found) == 0:
		return record.Pin{}, fmt.Errorf("%w: the store has no %s; of %s it has %q", ErrPin, spec, name, slices.Compact(versions))
	case len(found) > 1 && found[0].Origin == found[1].Origin && found[0].Tree != version:
		trees := make([]string, len(found))
		for i, m := range found {
			trees[i] = m.Name + "=" + m.Tree
		}
		return record.Pin{}, fmt.Errorf("%w: several builds are there, name one of %q", ErrPin, trees)
	}
	m := found[0]
	if slices.ContainsFunc(m.Files, func(f record.File) bool { return f.ELF != nil && layout.IsGlibcLibrary(f.ELF.Soname) }) {
		return record.Pin{}, fmt.Errorf("%w: %s is the C library, of which a program and all its libraries must have one; hashpkg install puts a program beside the system with its own", ErrPin, name)
	}
	return record.Pin{Library: m.Name, Version: m.Version, Tree: m.Tree}, nil
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
	packages, err := systemPackages(ctx, o.Root)
	if err != nil {
		return nil, err
	}
	editor, err := newProgramEditor(o.Root, o.Rewrite, pins)
	if err != nil {
		return nil, err
	}
	editor.restored, editor.strict = true, strict
	programs, err := editor.programsOf(packages, o.Program)
	if err != nil {
		return nil, err
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("%w: no package has a dynamic program %s; give a program's path or a package's name", ErrPin, o.Program)
	}
	changes, err := editor.prepareAll(programs)
	if err != nil {
		return nil, err
	}
	result = &PinResult{Pins: fresh, Programs: []ProgramReport{}, Left: []LeftReport{}}
	if err := checkPins(o, result.Pins, changes); err != nil {
		return nil, err
	}
	if err := o.Root.SetPins(after); err != nil {
		return nil, err
	}
	if err := editor.edit(ctx, changes); err != nil {
		return nil, err
	}
	done, left, fault := outcome(changes)
	result.Left = append(result.Left, left...)
	for _, c := range done {
		result.Programs = append(result.Programs, c.report())
	}
	if fault != nil {
		return result, fmt.Errorf("not all programs could be edited; hashpkg sync tries again: %w", fault)
	}
	return result, editor.rememberPins(after, changes)
}

// checkPins refuses new pins that no program can follow, and those for one
// program that it cannot.
func checkPins(o PinOptions, pins []record.Pin, changes []*programChange) error {
	if len(pins) == 0 {
		return nil
	}
	follows := false
	for _, c := range changes {
		switch {
		case c.left != "" && o.Program != record.EveryProgram && len(changes) == 1:
			return fmt.Errorf("%w %s: %s%s", ErrPin, c.path, c.left, forceHint(o))
		case c.left == "" && c.want != nil && len(c.want.Pins) > 0:
			follows = true
		}
	}
	if follows {
		return nil
	}
	for _, c := range changes {
		if c.left != "" {
			return fmt.Errorf("%w: %s: %s%s", ErrPin, c.path, c.left, forceHint(o))
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
