package elfedit

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"slices"
	"strings"
)

// stringMark stands in the dynamic string table between the strings that the
// file came with and those that edits added. The strings behind it are made
// anew by each edit, so that a string which nothing uses any more is gone. It
// survives strip and needs no section header; no linker writes it, as "<" is
// in no symbol's name.
const stringMark = "<hashpkg>\x00"

// stringTable is the dynamic string table while it is being edited.
type stringTable struct {
	off  uint64
	old  []byte
	base uint64 // length of what stays as it is
	left int    // bytes of strings that may still be read
	refs []stringRef
}

// stringRef is a place that refers to a string of the table, whose offset is
// to be found.
type stringRef struct {
	text string
	set  func(offset uint32)
}

// openStrings reads the dynamic string table. A file that has none is edited as
// well: most changes need no string, and nameStrings is for the others.
func (e *editor) openStrings() error {
	off, table, err := e.stringTable()
	if errors.Is(err, ErrNoStringTable) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(table) == 0 || table[len(table)-1] != 0 {
		return broken(off, "the dynamic string table has no end")
	}
	e.table = &stringTable{off: off, old: table, base: uint64(len(table)), left: 8*len(e.data) + 8*spareCopy}
	if i := bytes.LastIndex(table, []byte("\x00"+stringMark)); i >= 0 {
		e.table.base = uint64(i + 1)
	}
	return nil
}

// nameStrings makes the dynamic section name its string table, where it has to
// and does not. Without a table it makes one, but not when something refers to
// names already, which would find others in it.
func (e *editor) nameStrings() error {
	wanted := e.table != nil && len(e.table.refs) > 0 ||
		slices.ContainsFunc(e.newDyn, func(d dynString) bool { return d.text != nil })
	if !wanted || e.hasTag(elf.DT_STRTAB) {
		return nil
	}
	if e.table == nil {
		for _, d := range e.dyn {
			if isStringTag(d.tag) || d.tag == elf.DT_SYMTAB || d.tag == elf.DT_VERNEED || d.tag == elf.DT_VERDEF {
				return e.noStringTable()
			}
		}
		e.table = &stringTable{old: []byte{0}, base: 1, left: 8 * spareCopy}
		e.regions = append([]*region{{kind: regionDynstr, align: 1, load: -1}}, e.regions...)
	}
	r := e.region(regionDynstr)
	if r == nil {
		return broken(e.table.off, "no dynamic string table")
	}
	e.dropTag(elf.DT_STRSZ)
	e.newDyn = append(e.newDyn, dynString{tag: elf.DT_STRTAB, value: r.addr, from: -1}, dynString{tag: elf.DT_STRSZ, value: r.size, from: -1})
	return nil
}

// text returns the string at an offset of the table as it was.
func (t *stringTable) text(at uint64, what string) (string, error) {
	b, err := stringAt(t.old, t.off, at, what)
	if t.left -= len(b); err == nil && t.left < 0 {
		return "", broken(t.off, "the strings overlap")
	}
	return string(b), err
}

// isOurs reports whether an offset is of a string that an edit added.
func (t *stringTable) isOurs(at uint64) bool { return at >= t.base }

// want registers a reference to a string.
func (t *stringTable) want(text string, set func(uint32)) {
	t.refs = append(t.refs, stringRef{text, set})
}

// mostSearched bounds the work of finding strings, in bytes compared.
const mostSearched = 1 << 35

// build returns the whole table with all strings that are wanted, and tells
// the references their offsets. It returns nil when the table stays as it is.
func (t *stringTable) build() ([]byte, error) {
	if len(t.refs) == 0 {
		return nil, nil
	}
	if uint64(len(t.refs))*t.base > mostSearched {
		return nil, refused("%d strings are too many for a string table of %d bytes", len(t.refs), t.base)
	}
	base := t.old[:t.base]
	offsets := make(map[string]uint32)
	var missing []string
	for _, r := range t.refs {
		if _, ok := offsets[r.text]; ok {
			continue
		}
		offsets[r.text] = 0
		if at := findString(base, r.text); at >= 0 {
			offsets[r.text] = uint32(at)
		} else {
			missing = append(missing, r.text)
		}
	}
	// The longest first, so that those which end another find it there.
	slices.SortFunc(missing, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	table := bytes.Clone(base)
	if len(missing) > 0 {
		table = append(table, stringMark...)
	}
	for _, text := range missing {
		at := findString(table[t.base:], text)
		if at < 0 {
			at = len(table) - int(t.base)
			table = append(append(table, text...), 0)
		}
		offsets[text] = uint32(t.base) + uint32(at)
	}
	for _, r := range t.refs {
		r.set(offsets[r.text])
	}
	return table, nil
}

// findString returns where in a table a string is, or -1. It may be the end of
// another string.
func findString(table []byte, text string) int {
	return bytes.Index(table, append([]byte(text), 0))
}

// wantOld registers all references to strings behind the mark that the
// changes leave as they are, apart from the dynamic entries' own.
func (e *editor) wantOld() error {
	t := e.table
	if t.base == uint64(len(t.old)) {
		return nil
	}
	off, count, exact, err := e.symbolTable()
	if err != nil {
		return err
	}
	size := e.symSize()
	for i := range count {
		name := e.symbol(e.data[off+i*size:]).name
		if !t.isOurs(uint64(name)) || e.renamed[i] || !exact && uint64(name) >= uint64(len(t.old)) {
			continue
		}
		if !exact {
			return refused("the number of dynamic symbols is unknown: the file has neither a hash table of them nor section headers")
		}
		text, err := t.text(uint64(name), "a symbol's name")
		if err != nil {
			return err
		}
		t.want(text, e.symbolNameSetter(i))
	}
	defs, defOff, _, err := e.verdefs()
	if err != nil {
		return err
	}
	for _, d := range defs {
		for _, n := range d.names {
			if err := e.wantName(regionVerdef, defOff, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// wantName registers a reference to a string behind the mark from a table of
// versions that starts at off.
func (e *editor) wantName(kind regionKind, off uint64, n nameRef) error {
	if !e.table.isOurs(uint64(n.name)) {
		return nil
	}
	text, err := e.table.text(uint64(n.name), "a version's name")
	if err != nil {
		return err
	}
	e.table.want(text, e.nameSetter(kind, n.at-off))
	return nil
}

// nameSetter returns a function that writes a string's offset into a region.
func (e *editor) nameSetter(kind regionKind, at uint64) func(uint32) {
	return func(offset uint32) {
		e.order.PutUint32(e.load(e.region(kind))[at:], offset)
	}
}

// isStringTag reports whether a dynamic entry's value is an offset in the
// dynamic string table.
func isStringTag(tag elf.DynTag) bool {
	switch tag {
	case elf.DT_NEEDED, elf.DT_SONAME, elf.DT_RPATH, elf.DT_RUNPATH,
		tagAuxiliary, tagFilter, tagConfig, tagDepAudit, tagAudit:
		return true
	}
	return false
}
