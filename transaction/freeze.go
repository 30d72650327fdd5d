package transaction

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrFreeze is returned (wrapped) for a program that cannot be frozen.
var ErrFreeze = errors.New("cannot freeze")

// FreezeOptions says which programs are to be frozen, or thawed.
type FreezeOptions struct {
	Root  *sysroot.Root
	Names []string // paths in the root, or names of packages
	// All thaws, or with Refresh freezes anew, all that are frozen.
	All bool
	// Refresh freezes programs that are frozen to what they would load now.
	Refresh bool
	Rewrite programs.Rewrite
	// Alone is as in [RestoreOptions], for [Thaw].
	Alone bool
	Now   time.Time
	Lock  sysroot.LockOptions
}

// FreezeResult says what became of programs.
type FreezeResult struct {
	Programs []ProgramReport `json:"programs"` // that were changed
	Frozen   []FrozenProgram `json:"frozen"`   // of those that were named
	Left     []LeftReport    `json:"left"`     // that are not frozen, and why
	Warnings []string        `json:"warnings"`
}

// Freeze binds programs to exactly the files that they load now, but for the C library's,
// whatever the package manager installs. A program that is frozen stays as it is without
// Refresh. Of the files' digests the record has those of their trees.
//
// The error wraps [ErrFreeze] when none of the programs of a name can be frozen, or a library
// is damaged; nothing is changed then.
func Freeze(ctx context.Context, o FreezeOptions) (*FreezeResult, error) {
	left, named := []LeftReport{}, []*programs.Program(nil)
	change := &pinChange{root: o.Root, names: o.Names, rewrite: o.Rewrite, mayMiss: o.All, refused: ErrFreeze, now: o.Now}
	if o.All {
		pins, err := o.Root.Pins()
		if err != nil {
			return nil, err
		}
		change.names = frozenPrograms(pins)
	}
	change.change = func(c *pinChange) (after, asked []record.Pin, err error) {
		if err := CheckPrefix(c.root); err != nil {
			return nil, nil, err
		}
		after = slices.Clone(c.before)
		f := freezer{root: c.root, active: c.w.Active()}
		pins, _ := loadPins(c.root, c.before)
		policy := activePolicy(c.w, c.rewrite, pins)
		frozen := frozenPrograms(c.before)
		for _, p := range c.list {
			if !o.Refresh && slices.Contains(frozen, p.Path) { // in force again, if it is not
				for _, pin := range c.before {
					if pin.Frozen() && pin.Program == p.Path {
						asked = append(asked, pin)
					}
				}
				continue
			}
			fresh, reason, err := f.pins(c, p, policy)
			if err != nil {
				return nil, nil, err
			}
			if reason != "" {
				left = append(left, LeftReport{p.Path, string(reason)})
				continue
			}
			for i := range fresh {
				fresh[i].Since = frozenSince(c.before, &fresh[i], o.Now)
			}
			after = slices.DeleteFunc(after, func(pin record.Pin) bool { return pin.Frozen() && pin.Program == p.Path })
			after, asked = append(after, fresh...), append(asked, fresh...)
		}
		if err := f.checkAny(c, left, after); err != nil {
			return nil, nil, err
		}
		named = slices.Clone(c.list)
		// The others stay as they are.
		c.list = slices.DeleteFunc(c.list, func(p *programs.Program) bool { return !slices.Contains(frozenPrograms(asked), p.Path) })
		return after, asked, checkPinned(ctx, c.root, c.refused, asked)
	}
	change.settle = settleFreeze
	changed, err := changePins(ctx, change, o.Lock)
	if changed == nil {
		return nil, err
	}
	result := &FreezeResult{Programs: changed.Programs, Frozen: []FrozenProgram{}, Left: append(left, changed.Left...), Warnings: changed.Warnings}
	all, listErr := ListFrozen(o.Root)
	for _, f := range all {
		if slices.ContainsFunc(named, func(p *programs.Program) bool { return p.Path == f.Program }) {
			result.Frozen = append(result.Frozen, f)
		}
	}
	return result, errors.Join(err, listErr)
}

// Thaw takes back what Freeze did: programs have their packaged bytes again, as after
// [Restore], or follow the pins that there are for them.
func Thaw(ctx context.Context, o FreezeOptions) (*FreezeResult, error) {
	pins, err := o.Root.Pins()
	if err != nil {
		return nil, err
	}
	change := &pinChange{root: o.Root, names: o.Names, rewrite: o.Rewrite, mayMiss: true, packaged: true, alone: o.Alone, refused: ErrFreeze, now: o.Now}
	if o.All {
		change.names = frozenPrograms(pins)
	}
	change.change = func(c *pinChange) (after, _ []record.Pin, err error) {
		thawed := map[string]bool{} // paths
		for _, name := range frozenPrograms(c.before) {
			thawed[name] = o.All || slices.Contains(c.names, name)
		}
		for _, p := range c.list {
			if _, is := thawed[p.Path]; is {
				thawed[p.Path] = true
			}
		}
		c.list = slices.DeleteFunc(c.list, func(p *programs.Program) bool { return !thawed[p.Path] })
		for _, name := range c.names {
			if o.All {
				break
			}
			of := func(p *programs.Program) bool { return p.Path == name || p.Package.Name == name }
			if !thawed[name] && !slices.ContainsFunc(c.list, of) {
				return nil, nil, advice.Errorf("%s is not frozen; hashpkg pins lists what is", name)
			}
		}
		return slices.DeleteFunc(slices.Clone(c.before), func(p record.Pin) bool { return p.Frozen() && thawed[p.Program] }), nil, nil
	}
	changed, err := changePins(ctx, change, o.Lock)
	if changed == nil {
		return nil, err
	}
	return &FreezeResult{Programs: changed.Programs, Frozen: []FrozenProgram{}, Left: changed.Left, Warnings: changed.Warnings}, err
}

// frozenSince returns since when a program is frozen to a file: since the first time, where it is so
// already.
func frozenSince(before []record.Pin, pin *record.Pin, now time.Time) string {
	for i := range before {
		if p := &before[i]; p.Program == pin.Program && p.Pinned() == pin.Pinned() && p.File == pin.File {
			return p.Since
		}
	}
	if now.IsZero() {
		return ""
	}
	return now.UTC().Format(time.RFC3339)
}

// frozenPrograms returns the programs that are frozen, each once, in the order of the pins.
func frozenPrograms(pins []record.Pin) (list []string) {
	seen := map[string]bool{}
	for _, p := range pins {
		if p.Frozen() && !seen[p.Program] {
			seen[p.Program] = true
			list = append(list, p.Program)
		}
	}
	return list
}

// settleFreeze keeps the freezes that programs follow: one that cannot be is what it was
// before. The error says why none can.
func settleFreeze(c *pinChange, outcomes []programs.Outcome) ([]record.Pin, error) {
	asked := frozenPrograms(c.asked)
	follow := map[string]bool{}
	var refused error
	for _, o := range outcomes {
		if !slices.Contains(asked, o.Path) {
			continue
		}
		ok := true
		for _, pin := range c.asked {
			ok = ok && (pin.Program != o.Path || follows(o, pin))
		}
		follow[o.Path] = ok
		switch {
		case ok || refused != nil:
		case o.State == programs.Failed:
			refused = fmt.Errorf("%w %s: %w", ErrFreeze, o.Path, o.Err)
		default:
			refused = fmt.Errorf("%w %s: %s", ErrFreeze, o.Path, o.Reason.Sentence())
		}
	}
	of := func(pins []record.Pin, kept bool) []record.Pin {
		return slices.DeleteFunc(slices.Clone(pins), func(p record.Pin) bool {
			return p.Frozen() && slices.Contains(asked, p.Program) && follow[p.Program] != kept
		})
	}
	pins := append(of(c.after, true), slices.DeleteFunc(of(c.before, false), func(p record.Pin) bool {
		return !p.Frozen() || !slices.Contains(asked, p.Program)
	})...)
	if slices.ContainsFunc(asked, func(p string) bool { return follow[p] }) || len(asked) == 0 {
		return pins, nil
	}
	return pins, refused
}

// freezer finds the files that programs are to be frozen to.
type freezer struct {
	root   *sysroot.Root
	active *record.Generation
	places map[string]place // of libraries of the system, by path in the root; nil until it is read
}

// place is a file of a tree.
type place struct {
	manifest *record.Manifest
	file     *record.File
}

// checkAny returns an error for a name of which no program is frozen or going to be.
func (f *freezer) checkAny(c *pinChange, left []LeftReport, after []record.Pin) error {
	frozen := frozenPrograms(after)
	for _, name := range c.names {
		of := func(p *programs.Program) bool { return p.Path == name || p.Package.Name == name }
		if !slices.ContainsFunc(c.list, of) || slices.ContainsFunc(c.list, func(p *programs.Program) bool { return of(p) && slices.Contains(frozen, p.Path) }) {
			continue
		}
		for _, l := range left {
			if slices.ContainsFunc(c.list, func(p *programs.Program) bool { return of(p) && p.Path == l.Path }) {
				return fmt.Errorf("%w %s: %s", ErrFreeze, l.Path, l.Sentence())
			}
		}
	}
	return nil
}

// pins returns the pins that freeze a program to what it loads now; reason says why there are
// none.
func (f *freezer) pins(c *pinChange, p *programs.Program, policy *programs.Policy) (pins []record.Pin, reason programs.Reason, err error) {
	loaded, reason, err := programs.ListLoaded(f.root, c.records, p, policy)
	if err != nil || reason != "" {
		return nil, reason, err
	}
	for _, l := range loaded {
		at, reason, err := f.find(&l)
		if err != nil || reason != "" {
			return nil, reason, err
		}
		pins = append(pins, record.Pin{
			Program: p.Path, Library: at.manifest.Name, Version: at.manifest.Version, Tree: at.manifest.Tree,
			File: at.file.Path, Name: l.Name, Object: at.file.Object,
		})
	}
	if len(pins) == 0 {
		reason = "loads nothing but the C library, which follows the package manager in frozen programs, too"
	}
	return pins, reason, nil
}

// find returns the file of a tree that is a library which a program loads.
func (f *freezer) find(l *programs.Loaded) (at place, reason programs.Reason, err error) {
	final, err := f.root.Final(l.Path)
	if err != nil {
		return at, "", err
	}
	at, err = f.at(final)
	if err != nil {
		return at, "", err
	}
	if at.file == nil {
		return at, programs.Reason(fmt.Sprintf("loads %s, of which there is no tree: the sync before has not seen it, or no package has it", final)), nil
	}
	tree := path.Join(f.root.Prefix(), layout.TreePath(at.manifest.Name, at.manifest.Tree), at.file.Path)
	if o, err := f.root.Inspect(tree); err == nil && o.ID == l.ID {
		return at, "", nil
	}
	file, err := f.root.Open(final)
	if err != nil {
		return at, "", err
	}
	d, _, err := digest.OfReader(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return at, "", err
	}
	if d != at.file.Object {
		return at, programs.Reason(fmt.Sprintf("loads %s, which is not what the last sync has seen: run hashpkg sync before", final)), nil
	}
	return at, "", nil
}

// at returns whose a library is that stands at a path of the root; one without a file when no
// tree has it.
func (f *freezer) at(final string) (place, error) {
	if below, ok := strings.CutPrefix(final, f.root.Prefix()+"/"); ok {
		parts := strings.SplitN(below, "/", 3)
		if len(parts) < 3 || layout.CheckName(parts[0]) != nil {
			return place{}, nil
		}
		m, err := f.root.Store().Manifest(parts[0], parts[1])
		if err != nil {
			return place{}, err
		}
		return place{m, m.Lookup(parts[2])}, nil
	}
	if f.places == nil {
		f.places = map[string]place{}
		for i := range f.active.Trees {
			t := &f.active.Trees[i]
			if t.Origin != record.OriginSystem {
				continue
			}
			m, err := f.root.Store().Manifest(t.Name, t.Dir)
			if err != nil {
				return place{}, advice.Errorf("%w; hashpkg verify --repair mends what it can", err)
			}
			for i := range m.Files {
				if file := &m.Files[i]; file.Type == record.TypeFile {
					where := file.Path
					if file.Place != "" {
						where = file.Place
					}
					f.places["/"+where] = place{m, file}
				}
			}
		}
	}
	return f.places[final], nil
}
