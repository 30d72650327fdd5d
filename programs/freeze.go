package programs

import (
	"cmp"
	"errors"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Loaded is a library that a program loads when it starts.
type Loaded struct {
	Name string // by which it was asked for first
	Path string // at which it was found, in the root
	ID   string // its device and inode, "DEVICE:INODE"
}

// ListLoaded returns the libraries that a program would load if it were not frozen, in the
// loader's order, but for those of the C library: one process has one of these, with the loader
// that starts it. Of the policy only the pins count. left says why there is nothing to be
// found out. The error wraps fs.ErrNotExist for a program that is not there.
func ListLoaded(root *sysroot.Root, records *Records, program *Program, p *Policy) (list []Loaded, left Reason, err error) {
	policy := *p
	policy.Rewrite.Executables, policy.Strict, policy.Restored, policy.Pins = RewriteNone, false, true, nil
	for _, pin := range p.Pins {
		if !pin.Frozen() {
			policy.Pins = append(policy.Pins, pin)
		}
	}
	err = Read(root, program, records.Of(program.Package.Key, program.Path), p.Rewrite.SizeLimit(), func(f *Facts, b Bytes) error {
		if left = f.Left; left != "" {
			return nil
		}
		finder, err := root.System(f.Info)
		if err != nil {
			return err
		}
		d, err := Decide(f, b, &policy, finder)
		if err != nil {
			return err
		}
		info := f.Info
		if d.Desired != nil {
			edited, err := d.Edit.Apply(b.Current)
			if d.Edit.IsZero() {
				edited, err = b.Current, nil
			}
			if err == nil {
				info, err = elfedit.Inspect(edited)
			}
			if err != nil {
				return err
			}
		}
		o := f.object(info)
		c, err := ldso.Load(o, finder)
		if err != nil {
			return err
		}
		if !c.Starts() {
			left = "does not start as it is: " + whyNot(c)
		}
		loaded, _ := c.List(o, func(o *ldso.Object, asked string) string {
			if o == c.Interpreter || layout.IsGlibcLibrary(o.Info.Soname) {
				return ""
			}
			return cmp.Or(asked, o.Path)
		})
		for _, l := range loaded {
			if !l.Optional {
				list = append(list, Loaded{l.Name, l.Object.Path, l.Object.ID})
			}
		}
		return nil
	})
	return list, left, err
}

// frozenFinder finds what a frozen program is to load: the files of its pins by the names
// that they answer, and everything else as ever.
type frozenFinder struct {
	ldso.Finder
	files map[string]string // paths in the root, by name
}

// Find implements [ldso.Finder].
func (f *frozenFinder) Find(name string, chain []*ldso.Object) (*ldso.Object, error) {
	if file, ok := f.files[name]; ok {
		name = file
	}
	return f.Finder.Find(name, chain)
}

// freeze returns the edits that bind a program to the files of its freeze: a list of all
// that it loads, in the loader's order. The C library is in it by name, and so is what the
// freeze does not have, because the program has come to need it since: both follow the
// package manager. Without room for the list, it is that of a closure object. A note has the
// digests of the files, if the program can have one.
func (d *Decision) freeze(b Bytes, prefix string, pins []Pin, finder ldso.Finder) (out followed, err error) {
	files := map[string]string{}
	pinOf := map[string]*Pin{}
	for i := range pins {
		pin := &pins[i]
		file := prefix + "/" + pin.Pinned().Path() + "/" + pin.File
		pinOf[file] = pin
		files[pin.Name] = file
		if f := pin.Manifest.Lookup(pin.File); f != nil && f.ELF != nil && f.ELF.Soname != "" {
			files[f.ELF.Soname] = file
		}
	}
	program := d.object(d.Info)
	c, err := ldso.Load(program, &frozenFinder{finder, files})
	if err != nil {
		return out, err
	}
	if !c.Starts() {
		out.unfit = "would not start: " + whyNot(c)
	}
	list, sonames := c.List(program, func(o *ldso.Object, asked string) string {
		switch {
		case o == c.Interpreter:
			return d.Info.Interpreter
		case pinOf[o.Path] != nil:
			return o.Path
		}
		return asked
	})
	needed, note := record.EditRecord{Kind: record.EditNeeded}, record.EditRecord{Kind: record.EditNote}
	whole := append(list, sonames...)
	listed := whole
	if !hasRoom(d.Info, whole) {
		if listed, out.closure = shortList(d.Info, c, whole, prefix); out.closure != nil {
			out.noteTree(record.PinnedTree{Library: out.closure.Name, Tree: out.closure.Tree})
		}
	}
	for _, e := range listed {
		needed.From, needed.To = append(needed.From, e.Old), append(needed.To, e.Name)
	}
	for _, e := range whole {
		pin := pinOf[e.Name]
		if pin == nil {
			continue
		}
		line := elfedit.Bound{Path: e.Name, Digest: pin.Object.String()}.String()
		if _, ok := elfedit.ParseBound(line); ok { // a path may have a line feed
			note.To = append(note.To, line)
		}
		out.noteTree(pin.Pinned())
	}
	out.loads, out.records = ids(c), []record.EditRecord{needed}
	if len(note.To) > 0 {
		noted := append(out.records, note)
		_, _, err := rewritten(b.Packaged, noted)
		var refused *elfedit.RefusedError
		switch {
		case err == nil:
			out.records = noted
		case !errors.As(err, &refused):
			return out, err
		}
	}
	return out, nil
}

// IsFrozen reports whether an edit binds a program of the system to the files of its freeze.
func IsFrozen(a *record.AppliedEdit) bool {
	for _, e := range a.Edits {
		if e.Kind == record.EditNeeded {
			return true
		}
	}
	return false
}

// isThawed reports whether a program has the edit of a freeze that somebody has taken back, so
// that it is to have its packaged bytes, and keep them: who was thawing it was cut short. While the
// record of the pins cannot be read, nobody knows that.
func (p *Policy) isThawed(f *Facts, frozen bool) bool {
	return f.Current != nil && IsFrozen(f.Current) && !frozen && !p.Frozen[f.Path] && !p.Restored && !p.Strict
}

// NotFrozen returns the names in the edit of a frozen program by which it needs libraries
// that its freeze does not have, but for those of the C library.
func NotFrozen(a *record.AppliedEdit) (names []string) {
	for _, e := range a.Edits {
		if e.Kind != record.EditNeeded {
			continue
		}
		for i, name := range e.To {
			if e.From[i] != "" && !strings.Contains(name, "/") && !layout.IsGlibcLibrary(name) {
				names = append(names, name)
			}
		}
	}
	return names
}
