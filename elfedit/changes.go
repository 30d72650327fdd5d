package elfedit

import (
	"debug/elf"
	"slices"
	"strings"
)

// Changes says what Make is to change. The zero value changes nothing, and so
// does a field that asks for what the file has already.
type Changes struct {
	Interpreter *string // PT_INTERP; the file must have one
	Soname      *string // DT_SONAME, added where there is none

	// Path changes DT_RUNPATH and DT_RPATH.
	Path *SearchPath

	// SetNeeded, unless nil, replaces the whole list of needed libraries, in
	// this order. Then ReplaceNeeded renames, RemoveNeeded removes, and
	// AddNeededFirst and AddNeededLast add those that are not there yet.
	SetNeeded      []string
	ReplaceNeeded  []Replacement
	RemoveNeeded   []string
	AddNeededFirst []string
	AddNeededLast  []string

	// VersionFiles renames the files of needed symbol versions (vn_file), from
	// old to new name. glibc's loader stops the program unless a loaded object
	// is known by the very name in vn_file (elf/dl-version.c), and an object
	// is known by the names it was asked for: so a library that SetNeeded asks
	// for by another name needs a pair here, from its old name or soname to
	// the new name. ReplaceNeeded's pairs are applied by themselves, where
	// VersionFiles does not say otherwise. A library that is removed keeps its
	// name there: the program needs another object to ask for it by that name.
	VersionFiles map[string]string

	NoDefaultLib *bool      // DF_1_NODEFLIB
	ExecStack    *bool      // PF_X of PT_GNU_STACK, which is added where there is none
	OSABI        *elf.OSABI // the byte in the file header
	DebugTag     bool       // add DT_DEBUG where there is none

	// ClearSymbolVersions names dynamic symbols that lose their version.
	ClearSymbolVersions []string
	// RenameSymbols renames dynamic symbols, defined and undefined ones.
	RenameSymbols map[string]string

	// SetNotes adds notes; one that has the name and the type of a note in
	// the file replaces it.
	SetNotes []Note
	// RemoveNotes names notes that go, with their section headers. One that
	// SetNotes holds too is replaced.
	RemoveNotes []NoteID

	// Bound adds a note of the libraries that the program is bound to: see docs/note.md. It
	// needs section headers, and is in no segment.
	Bound []Bound

	// BuiltAgainst adds a note of the libraries that the program was built against, in the same way.
	BuiltAgainst []Bound

	// SelfBind names symbols of the file to which its own relocations may be bound for good,
	// because no other object of its processes exports them; those that SelfBindable does not return
	// change nothing. The relocations become relative ones where they are, without a symbol, and nothing
	// grows or moves. What is bound stays so: a file is bound to fewer symbols by an edit of its
	// packaged bytes.
	SelfBind []Symbol

	// MayLeaveRelRO allows an edit for which the dynamic section has no room but
	// in a segment that stays writable, although PT_GNU_RELRO covered it.
	MayLeaveRelRO bool

	// PageSize, unless zero, is the alignment of a segment that is added. It
	// is a power of two; a larger alignment of the file's own wins.
	PageSize uint64
}

// Replacement is one pair of ReplaceNeeded.
type Replacement struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// SearchPath says how a search path changes. What the file has is its
// DT_RUNPATH, or its DT_RPATH when it has no other. The fields apply in their
// order.
type SearchPath struct {
	Remove bool     // remove DT_RUNPATH and DT_RPATH; Set, First and Last start anew
	Set    *string  // replace the path
	First  []string // directories for its front, those that it has not got
	Last   []string // directories for its end, likewise
	// Keep, unless nil, says which directories of the path stay. Each is
	// asked for once, as it is written.
	Keep func(dir string) bool
	Form PathForm
}

// PathForm is the dynamic tag that holds a search path.
type PathForm int

// The forms of a search path.
const (
	FormRunPath PathForm = iota // DT_RUNPATH; a DT_RPATH becomes one
	FormRPath                   // DT_RPATH; a DT_RUNPATH becomes one
	FormAsFound                 // the one that the file has, else DT_RUNPATH
)

// maxInterpreter is the length of the longest interpreter that Linux starts, in
// bytes: PATH_MAX holds its zero byte too.
const maxInterpreter = 4095

// check refuses what can be in no file.
func (c *Changes) check() error {
	name := func(what, s string) error {
		switch {
		case s == "":
			return refused("the %s is empty", what)
		case len(s) > maxName:
			return refused("the %s has %d bytes; %d are the most", what, len(s), maxName)
		case strings.IndexByte(s, 0) >= 0:
			return refused("the %s %q holds a zero byte", what, s)
		}
		return nil
	}
	type named struct{ what, s string }
	var names []named
	if c.Interpreter != nil {
		if len(*c.Interpreter) > maxInterpreter {
			return refused("the interpreter has %d bytes; %d are the most that Linux takes", len(*c.Interpreter), maxInterpreter)
		}
		names = append(names, named{"interpreter", *c.Interpreter})
	}
	if c.Soname != nil {
		names = append(names, named{"soname", *c.Soname})
	}
	for _, list := range [][]string{c.SetNeeded, c.AddNeededFirst, c.AddNeededLast} {
		for _, s := range list {
			names = append(names, named{"needed library's name", s})
		}
	}
	for _, r := range c.ReplaceNeeded {
		names = append(names, named{"needed library's name", r.New})
	}
	for _, s := range c.VersionFiles {
		names = append(names, named{"version's file name", s})
	}
	for _, s := range c.RenameSymbols {
		names = append(names, named{"symbol's name", s})
	}
	for _, list := range [][]Bound{c.Bound, c.BuiltAgainst} {
		for _, b := range list {
			if _, ok := ParseBound(b.String()); !ok {
				return refused("%q is no digest and path of a bound library", b)
			}
		}
		if n := len(boundNote(boundType, list).Desc); n > maxNote {
			return refused("a note of %d bytes; %d are the most", n, maxNote)
		}
	}
	for _, n := range c.SetNotes {
		names = append(names, named{"note's name", n.Name})
		if len(n.Desc) > maxNote {
			return refused("a note of %d bytes; %d are the most", len(n.Desc), maxNote)
		}
	}
	for _, n := range names {
		if err := name(n.what, n.s); err != nil {
			return err
		}
	}
	if len(c.SelfBind) > 0 && len(c.RenameSymbols)+len(c.ClearSymbolVersions) > 0 {
		return refused("symbols are bound, or lose their names or versions, in edits of their own")
	}
	if c.PageSize != 0 && (!isPowerOfTwo(c.PageSize) || c.PageSize > 1<<30) {
		return refused("a page size of %d is not a power of two that a machine has", c.PageSize)
	}
	if c.Path == nil {
		return nil
	}
	for _, dir := range slices.Concat(c.Path.First, c.Path.Last) {
		if err := name("directory", dir); err != nil {
			return err
		}
		if strings.Contains(dir, ":") {
			return refused("the directory %q holds a colon, which ends a directory in a search path", dir)
		}
	}
	if c.Path.Set != nil && *c.Path.Set != "" {
		return name("search path", *c.Path.Set)
	}
	return nil
}

// touchesDynamic reports whether the changes need a dynamic section.
func (c *Changes) touchesDynamic() bool {
	return c.Soname != nil || c.Path != nil || c.SetNeeded != nil ||
		len(c.ReplaceNeeded)+len(c.RemoveNeeded)+len(c.AddNeededFirst)+len(c.AddNeededLast) > 0 ||
		len(c.VersionFiles)+len(c.ClearSymbolVersions)+len(c.RenameSymbols) > 0 ||
		c.NoDefaultLib != nil || c.DebugTag
}

// apply returns the path after the change, and whether there is one.
func (p *SearchPath) apply(path string, found bool) (string, bool) {
	if p.Remove {
		path, found = "", false
	}
	if p.Set != nil {
		path, found = *p.Set, true
	}
	var dirs []string
	if path != "" {
		dirs = strings.Split(path, ":")
	}
	var first []string
	for _, dir := range p.First {
		if !slices.Contains(dirs, dir) && !slices.Contains(first, dir) {
			first = append(first, dir)
		}
	}
	dirs = append(first, dirs...)
	for _, dir := range p.Last {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if p.Keep != nil {
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !p.Keep(dir) })
	}
	return strings.Join(dirs, ":"), found || len(dirs) > 0
}

// needed returns the list of needed libraries after the change.
func (c *Changes) needed(list []string) []string {
	if c.SetNeeded != nil {
		list = c.SetNeeded
	}
	list = slices.Clone(list)
	for _, r := range c.ReplaceNeeded {
		for i, name := range list {
			if name == r.Old {
				list[i] = r.New
			}
		}
	}
	list = slices.DeleteFunc(list, func(name string) bool { return slices.Contains(c.RemoveNeeded, name) })
	var first []string
	for _, name := range c.AddNeededFirst {
		if !slices.Contains(list, name) && !slices.Contains(first, name) {
			first = append(first, name)
		}
	}
	list = append(first, list...)
	for _, name := range c.AddNeededLast {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// versionFile returns the name that replaces a vn_file.
func (c *Changes) versionFile(name string) string {
	if renamed, ok := c.VersionFiles[name]; ok {
		return renamed
	}
	for _, r := range c.ReplaceNeeded {
		if r.Old == name {
			name = r.New
		}
	}
	return name
}
