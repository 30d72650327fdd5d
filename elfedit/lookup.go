package elfedit

import (
	"cmp"
	"debug/elf"
	"errors"
	"slices"
)

// Symbol is a name by which objects find each other's functions and data in a process.
type Symbol struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // "" without one, and for a file's base version
}

// MayAnswer reports whether an object that exports s could be the one in which a look-up of o
// ends: the names are equal, and the versions are, or one has none. glibc takes a definition
// without a version for a reference with any version, and for a reference without one a definition of
// some version, which depends on the others of its object (elf/dl-lookup.c, check_match): any is
// counted here.
func (s Symbol) MayAnswer(o Symbol) bool {
	return s.Name == o.Name && (s.Version == o.Version || s.Version == "" || o.Version == "")
}

// compareSymbols orders by name, then by version.
func compareSymbols(a, b Symbol) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
}

// Exports returns every symbol by which the file, a library or a program, could answer a look-up
// of another object in a process, sorted and each once: its global, weak and unique dynamic symbols
// that are defined (among them what COPY relocations make a program's own) or
// that have an address all the same, as functions have whose address a program takes. Hidden
// and internal ones are in no look-up.
//
// A file without dynamic symbols exports nothing. The errors are those of Inspect.
func Exports(data []byte) ([]Symbol, error) { return dynamicSymbols(data, symbol.isFound) }

// dynamicSymbols returns the dynamic symbols of a kind, sorted and each once.
func dynamicSymbols(data []byte, is func(symbol) bool) ([]Symbol, error) {
	img, err := parse(data)
	if err != nil {
		return nil, err
	}
	t, err := img.lookupTable()
	if err != nil {
		return nil, err
	}
	var list []Symbol
	for i := range t.symbols() {
		if !is(t.at(i)) {
			continue
		}
		name, err := t.symbol(i)
		if err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	slices.SortFunc(list, compareSymbols)
	return slices.Compact(list), nil
}

// isFound reports whether a look-up can end at the symbol, of whatever version
// (glibc, elf/dl-lookup.c, do_lookup_x and check_match).
func (s symbol) isFound() bool {
	switch elf.ST_BIND(s.info) {
	case elf.STB_GLOBAL, elf.STB_WEAK, stbUnique:
	default:
		return false
	}
	switch elf.ST_VISIBILITY(s.other) {
	case elf.STV_HIDDEN, elf.STV_INTERNAL:
		return false
	}
	switch elf.ST_TYPE(s.info) {
	case elf.STT_SECTION, elf.STT_FILE:
		return false
	}
	return s.shndx != uint16(elf.SHN_UNDEF) || s.value != 0
}

// stbUnique is STB_GNU_UNIQUE and sttIFunc STT_GNU_IFUNC (GNU gABI extensions).
const (
	stbUnique = elf.SymBind(10)
	sttIFunc  = elf.SymType(10)
)

// lookupTable is the dynamic symbols of a file as the loader's look-ups see them.
type lookupTable struct {
	img     *image
	off     uint64
	count   uint64
	first   uint64 // symbols before this one are in no hash table
	strings []byte
	strOff  uint64
	left    int // bytes of names that may still be copied

	versym   []byte            // nil in a file without versions
	versions map[uint16]string // by the number in versym; base versions are missing
}

// Numbers in .gnu.version (Linux Standard Base, "Symbol Version Table").
const (
	versymHidden = 0x8000
	versymIndex  = 0x7fff
)

// lookupTable reads the dynamic symbols, an empty table where there are none.
func (img *image) lookupTable() (*lookupTable, error) {
	t := &lookupTable{img: img, left: 4*len(img.data) + spareCopy, versions: make(map[uint16]string)}
	if img.dynProg < 0 {
		return t, nil
	}
	var err error
	if t.off, t.count, err = img.lookupSymbols(); err != nil || t.count == 0 {
		return t, err
	}
	if h, ok := img.gnuHash(); ok {
		t.first = uint64(h.first)
	}
	if t.strOff, t.strings, err = img.stringTable(); err != nil {
		if errors.Is(err, ErrNoStringTable) {
			t.count = 0 // no symbol has a name
			return t, nil
		}
		return nil, err
	}
	addr, ok := img.dynValue(elf.DT_VERSYM)
	if !ok {
		return t, nil
	}
	if t.versym, err = img.addressBytes(addr, 2*t.count, "the symbols' versions"); err != nil {
		return nil, err
	}
	return t, t.readVersions()
}

// lookupSymbols returns where the dynamic symbols are and how many: those that the hash tables have,
// which are what the loader goes by, and those of the section headers.
func (img *image) lookupSymbols() (off, count uint64, err error) {
	off, count, _, err = img.symbolTable()
	if err != nil || !img.hasTag(elf.DT_SYMTAB) {
		return 0, 0, err
	}
	if h, ok := img.gnuHash(); ok && h.last != 0 {
		count = max(count, uint64(h.last)+1)
	}
	if hash, ok := img.dynValue(elf.DT_HASH); ok && !img.wideHash() {
		b, err := img.addressBytes(hash, 8, "the symbol hash table")
		if err != nil {
			return 0, 0, err
		}
		count = max(count, uint64(img.order.Uint32(b[4:])))
	}
	if count > uint64(len(img.data))/img.symSize() {
		return 0, 0, broken(off, "%d dynamic symbols in a file of %d bytes", count, len(img.data))
	}
	_, err = img.bytes(off, count*img.symSize(), "the dynamic symbols")
	return off, count, err
}

func (img *image) hasTag(tag elf.DynTag) bool {
	_, ok := img.dynValue(tag)
	return ok
}

// readVersions fills versions. A program's symbols have those of what it needs, where it
// has a copy or an address of its own.
func (t *lookupTable) readVersions() error {
	needs, _, _, err := t.img.verneeds()
	if err != nil {
		return err
	}
	for _, n := range needs {
		for _, a := range n.aux {
			if t.versions[a.index&versymIndex], err = t.text(uint64(a.name.name), "a needed version's name"); err != nil {
				return err
			}
		}
	}
	defs, _, _, err := t.img.verdefs()
	if err != nil {
		return err
	}
	for _, d := range defs {
		if d.flags&verFlagBase != 0 || len(d.names) == 0 {
			continue
		}
		if t.versions[d.index&versymIndex], err = t.text(uint64(d.names[0].name), "a defined version's name"); err != nil {
			return err
		}
	}
	return nil
}

func (t *lookupTable) text(at uint64, what string) (string, error) {
	b, err := stringAt(t.strings, t.strOff, at, what)
	if t.left -= len(b); err == nil && t.left < 0 {
		return "", broken(t.strOff, "the strings overlap")
	}
	return string(b), err
}

// symbols is the number of symbols.
func (t *lookupTable) symbols() uint64 { return t.count }

func (t *lookupTable) at(i uint64) symbol {
	return t.img.symbol(t.img.data[t.off+i*t.img.symSize():])
}

// symbol returns the name and version of a symbol.
func (t *lookupTable) symbol(i uint64) (Symbol, error) {
	name, err := t.text(uint64(t.at(i).name), "a symbol's name")
	if err != nil {
		return Symbol{}, err
	}
	return Symbol{Name: name, Version: t.versions[t.number(i)&versymIndex]}, nil
}

// number is a symbol's entry of .gnu.version, 0 in a file without versions.
func (t *lookupTable) number(i uint64) uint16 {
	if t.versym == nil {
		return 0
	}
	return t.img.order.Uint16(t.versym[2*i:])
}

// Imports returns the symbols that the file needs of other objects of its process, sorted and each once: its
// dynamic symbols that are global, neither weak nor defined, with the versions that it wants. The errors
// are those of Inspect.
func Imports(data []byte) ([]Symbol, error) { return dynamicSymbols(data, symbol.isWanted) }

// isWanted reports whether the symbol has to be found in another object. The first of a table, which stands for no
// symbol (gABI, "Symbol Table"), is local.
func (s symbol) isWanted() bool {
	kind := elf.ST_TYPE(s.info)
	return s.shndx == uint16(elf.SHN_UNDEF) && elf.ST_BIND(s.info) == elf.STB_GLOBAL && (kind <= elf.STT_TLS || kind == sttIFunc)
}
