package programs

import (
	"cmp"
	"errors"
	"path"
	"reflect"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot/confine"
)

// Decision is what shall become of one program. Nothing changes it afterwards.
type Decision struct {
	Facts
	Desired *record.AppliedEdit // the edit that it shall have; nil for none
	// Edit makes the desired bytes of those on the disk. It is zero when there is
	// nothing to do.
	Edit elfedit.Edit
	// Restore says that somebody asked for the packaged bytes, which the record
	// keeps.
	Restore bool
	// Keep says that the program stays as it is because somebody asked for that
	// before.
	Keep bool
	// Loads are the files that it loads as it is packaged, by device and inode; nil
	// where they were not looked for.
	Loads []string
	// Forced says that the loader is not asked: it follows a pin that may not fit, or
	// gets an edit again that the loader was asked about when it was made.
	Forced bool

	// Closure is the manifest of the tree with the closure object that the desired edit needs,
	// which is to be there before the program is edited; nil for none.
	Closure *record.Manifest
	Frozen  bool // it has a freeze, be that in force or not

	Left Reason // why it is left, though it would be edited; "" if it is not
	// Unsettled says that it is left, or goes on without its pins, because of
	// something that can change without its package: it is to be looked at again.
	Unsettled  bool
	Unpinned   Reason   // why it goes on without its pins
	Unresolved []string // sonames that it needs and that no tree offers
	// Fault is what kept it from being decided on, and may not the next time.
	Fault error
}

// Changes reports whether the file is to be replaced.
func (d *Decision) Changes() bool { return d.Left == "" && d.Fault == nil && !d.Edit.IsZero() }

// result is the digest of the desired bytes.
func (d *Decision) result() digest.Digest {
	if d.Desired == nil {
		return d.Source
	}
	return d.Desired.Object
}

// Decide says what shall become of a program. finder finds what its loader would; it
// is not asked about a program with a reason to be left. The error is a fault of
// finder, or says that the bytes contradict the facts.
func Decide(f *Facts, b Bytes, p *Policy, finder ldso.Finder) (*Decision, error) {
	d := &Decision{Facts: *f, Left: f.Left}
	if d.Left != "" {
		return d, nil
	}
	unresolved, farmHelps := p.lookUpNeeds(f.Info)
	d.Unresolved = unresolved
	var pins []Pin
	pins, d.Frozen = p.pinsFor(f)
	var records []record.EditRecord
	if r := p.searchPath(f, farmHelps); r != nil && !d.Frozen { // a frozen one lists all that it loads
		if hasOnlyRPath(f.Info) {
			d.Left = searchesByRPath
			return d, nil
		}
		records = append(records, *r)
	}
	if f.Record != nil && f.Record.Restored && !p.Restored {
		d.Keep = f.Current == nil
		if !d.Keep { // who was giving the packaged bytes back was cut short
			d.Edit, d.Restore = undo(b), true
		}
		return d, nil
	}
	if p.isThawed(f, d.Frozen) {
		records = nil
		defer func() { d.Restore = d.Desired == nil && d.Left == "" }()
	}
	// See asksWhere. A pin names a file, and is asked for.
	asks := len(records) > 0 && f.Info.ImportsWhere
	if asks {
		records = nil
	}
	// It would not start with other bytes than it was packaged with, or loads in another
	// way: it is not edited, and one that was edited before gets its bytes back.
	sealed := cmp.Or(f.Sealed, ofMusl(f.Info), p.distrust())
	if sealed == "" && len(records)+len(pins) > 0 {
		sealed = startedByOther(f, finder)
	}
	if sealed != "" {
		if f.Current == nil && len(records)+len(pins) > 0 {
			d.Left = sealed
			return d, nil
		}
		return d, d.decideEdit(b, p, nil, followed{}, finder)
	}
	if len(pins) > 0 {
		done, err := d.decidePinned(b, p, pins, records, finder)
		if done || err != nil {
			return d, err
		}
	}
	if asks && f.Current == nil {
		d.Left = asksWhere
		return d, nil
	}
	return d, d.decideEdit(b, p, records, followed{}, finder)
}

// ofMusl returns why a program of musl is not edited; "" for any other. Its libraries
// would inherit a search path that is written into it.
func ofMusl(info *elfedit.Info) Reason {
	if info.Musl {
		return "is a program of musl, and these are left as they are"
	}
	return ""
}

// startedByOther returns why a program does not run in what the system's own loader
// would make of it: its interpreter is another file than the one that is in a default
// directory of its architecture under that name. One that is not there is none.
func startedByOther(f *Facts, finder ldso.Finder) Reason {
	chain := []*ldso.Object{{Path: f.Path, ID: "program", Info: f.Info}}
	find := func(name string) string {
		o, err := finder.Find(name, chain)
		if err != nil {
			return "" // what that means for the program, the comparison of what it loads says
		}
		return o.ID
	}
	name := f.Info.Interpreter
	started := find(name)
	if started == "" {
		return ""
	}
	dirs := slices.Concat(loaderDirs, ldso.MultiarchLayout(f.Info).Dirs, ldso.Lib64Layout(f.Info).Dirs)
	if slices.ContainsFunc(dirs, func(dir string) bool { return find(dir+"/"+path.Base(name)) == started }) {
		return ""
	}
	return Reason("is started by " + name + ", which is not this system's loader")
}

// loaderDirs are the directories that ABIs have their loaders in (the psABIs; glibc
// shlib-versions), besides those of the loader's own search.
var loaderDirs = []string{"/lib", "/lib64", "/lib32", "/libx32", "/libo32", "/libn32"}

// decidePinned decides on a program that has pins. done is false where they decide
// nothing: the program loads none of the pinned libraries, or cannot follow the pins
// and is to go on without them.
func (d *Decision) decidePinned(b Bytes, p *Policy, pins []Pin, records []record.EditRecord, finder ldso.Finder) (done bool, err error) {
	pinned, err := d.follow(b, p, pins, finder)
	if err != nil || len(pinned.trees) == 0 && pinned.unfit == "" {
		return false, err
	}
	if p.Confinement != nil {
		d.Left = Reason(p.Confinement.Denies(d.Path))
	}
	if d.Left == "" {
		d.Left = pinned.unfit
	}
	if d.Left == "" {
		err = d.decideEdit(b, p, append(slices.Clone(records), pinned.records...), pinned, finder)
	}
	if err != nil || d.Left == "" || p.Strict {
		return true, err
	}
	d.Unpinned, d.Left, d.Unsettled = d.Left, "", true
	return false, nil
}

// decideEdit makes the edits on the packaged bytes and looks at what the loader
// would make of the result. It sets Left when that must not take the program's place.
func (d *Decision) decideEdit(b Bytes, p *Policy, records []record.EditRecord, pinned followed, finder ldso.Finder) error {
	if len(records) == 0 {
		if d.Current != nil {
			d.Edit = undo(b)
		}
		return nil
	}
	same := d.Current != nil && reflect.DeepEqual(d.Current.Edits, records)
	// What a pinned program loads changes with all other libraries, so it is looked
	// at each time.
	if same && len(pinned.trees) == 0 && (p.Integrity != confine.IntegritySize || len(b.Current) == len(b.Packaged)) {
		d.Desired = d.Current
		return nil
	}
	if d.Current == nil && len(pinned.trees) == 0 {
		if d.Left = p.Running.reason(d.File); d.Left != "" {
			d.Unsettled = true
			return nil
		}
	}
	edit, edited, err := rewritten(b.Packaged, records)
	var refused *elfedit.RefusedError
	if errors.As(err, &refused) {
		d.Left = Reason(refused.Reason)
		return nil
	}
	if err != nil {
		return err
	}
	if p.Integrity == confine.IntegritySize && len(edited) != len(b.Packaged) {
		if d.Current != nil {
			d.Edit = undo(b)
		} else {
			d.Left = "would have another size, by which fapolicyd trusts it (" + confine.FapolicydConfig + ": integrity = size)"
		}
		return nil
	}
	after, err := elfedit.Inspect(edited)
	if err != nil {
		return err
	}
	if err := rewrite.Compare(after, d.Info, records); err != nil {
		return err
	}
	if finder, err = withClosure(finder, p.Prefix, pinned.closure); err != nil {
		return err
	}
	if !p.FarmPlanned {
		d.Left, err = d.compareLoaded(after, pinned, finder, p.Symbols)
		if err != nil {
			return err
		}
		if d.Left != "" {
			d.Unsettled = true
			return nil
		}
	}
	d.Forced, d.Closure = pinned.forced, pinned.closure
	if same {
		d.Desired = d.Current
		return nil
	}
	patch, err := record.PackEdit(edit)
	if err != nil {
		return err
	}
	d.Desired = &record.AppliedEdit{Object: digest.Of(edited), Edits: records, Patch: patch, Pins: pinned.trees}
	d.Edit = edit
	if d.Current != nil {
		d.Edit = elfedit.Diff(b.Current, edited)
	}
	return nil
}

// rewritten makes the edits of records on a program's packaged bytes. A program of the
// system keeps all its protection: one without room for that is refused.
func rewritten(packaged []byte, records []record.EditRecord) (e elfedit.Edit, edited []byte, err error) {
	e, leavesRelRO, err := rewrite.Make(packaged, records)
	if err == nil && leavesRelRO {
		err = &elfedit.RefusedError{Reason: "has no room for the edit in what RELRO protects"}
	}
	if err != nil {
		return e, nil, err
	}
	edited, err = e.Apply(packaged)
	return e, edited, err
}

// undo returns the edit that gives a program its packaged bytes back.
func undo(b Bytes) elfedit.Edit { return elfedit.Diff(b.Current, b.Packaged) }
