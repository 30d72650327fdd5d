package elfedit

import (
	"bytes"
	"debug/elf"
	"errors"
	"slices"
)

// symbolTable returns the offset and the number of the dynamic symbols. exact
// says that the number is stated by the file; otherwise it is what fits before
// the next table, which may be too many.
func (img *image) symbolTable() (off, count uint64, exact bool, err error) {
	addr, ok := img.dynValue(elf.DT_SYMTAB)
	if !ok {
		return 0, 0, false, nil
	}
	size := img.symSize()
	if off, err = img.offset(addr, size, "the dynamic symbols"); err != nil {
		return 0, 0, false, err
	}
	within := func(n uint64) error {
		if n > uint64(len(img.data))/size {
			return broken(off, "%d dynamic symbols in a file of %d bytes", n, len(img.data))
		}
		_, err := img.bytes(off, n*size, "the dynamic symbols")
		return err
	}
	for _, s := range img.sects {
		if s.kind == elf.SHT_DYNSYM && s.addr == addr {
			return s.off, s.size / size, true, nil
		}
	}
	if hash, ok := img.dynValue(elf.DT_HASH); ok && !img.wideHash() {
		b, err := img.addressBytes(hash, 8, "the symbol hash table")
		if err != nil {
			return 0, 0, false, err
		}
		count = uint64(img.order.Uint32(b[4:]))
		return off, count, true, within(count)
	}
	if h, ok := img.gnuHash(); ok && h.last != 0 {
		// The symbols that are in it are the last ones.
		count = uint64(h.last) + 1
		return off, count, true, within(count)
	}
	// The tables that linkers put behind the symbols bound their number.
	for _, tag := range []elf.DynTag{
		elf.DT_STRTAB, elf.DT_VERSYM, elf.DT_VERNEED, elf.DT_VERDEF, elf.DT_RELA, elf.DT_REL, elf.DT_JMPREL,
		elf.DT_HASH, elf.DT_GNU_HASH, elf.DT_INIT,
	} {
		next, ok := img.dynValue(tag)
		if !ok || next <= addr {
			continue
		}
		if n := (next - addr) / size; (count == 0 || n < count) && within(n) == nil {
			count = n
		}
	}
	return off, count, false, nil
}

// wideHash reports whether DT_HASH has entries of 64 bits, as on Alpha and on
// 64-bit S/390.
func (img *image) wideHash() bool {
	return img.is64 && (img.machine == elf.EM_S390 || img.machine == elf.EM_ALPHA || uint16(img.machine) == 0x9026)
}

// openers are the functions that load what is named at run time, and askers those
// that tell where a library was found (dlopen(3), dladdr(3), dlinfo(3)).
var (
	openers = []string{"dlopen", "dlmopen"}
	askers  = []string{"dladdr", "dladdr1", "dlinfo"}
)

// imports reports whether the file has an undefined symbol of one of the names in
// each of the lists, of whatever version.
func (img *image) imports(lists ...[]string) ([]bool, error) {
	found := make([]bool, len(lists))
	err := img.eachNamed(lists, func(list int, s symbol) {
		found[list] = found[list] || s.shndx == uint16(elf.SHN_UNDEF)
	})
	return found, err
}

// defines reports whether the file has a definition of a symbol, of whatever version.
func (img *image) defines(name string) (found bool, err error) {
	err = img.eachNamed([][]string{{name}}, func(_ int, s symbol) {
		found = found || s.shndx != uint16(elf.SHN_UNDEF)
	})
	return found, err
}

// eachNamed calls f with each dynamic symbol that has one of the names in the lists, and
// which list that is.
func (img *image) eachNamed(lists [][]string, f func(list int, s symbol)) error {
	off, count, _, err := img.symbolTable()
	if err != nil || count == 0 {
		return err
	}
	_, table, err := img.stringTable()
	if errors.Is(err, ErrNoStringTable) {
		return nil // no symbol has a name
	}
	if err != nil {
		return err
	}
	// A name is compared by where it is in the string table; most files have
	// none of them, and then no symbol need be read.
	wanted := make(map[uint32]int)
	for list, names := range lists {
		for _, name := range names {
			findNames(table, name+"\x00", func(at uint32) { wanted[at] = list })
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	size := img.symSize()
	symbols, err := img.bytes(off, count*size, "the dynamic symbols")
	if err != nil {
		return err
	}
	for ; uint64(len(symbols)) >= size; symbols = symbols[size:] {
		s := img.symbol(symbols)
		if list, ok := wanted[s.name]; ok {
			f(list, s)
		}
	}
	return nil
}

// findNames calls f with each place of a table of strings at which name is.
func findNames(table []byte, name string, f func(at uint32)) {
	for at := 0; ; at += len(name) {
		n := bytes.Index(table[at:], []byte(name))
		if n < 0 {
			return
		}
		at += n
		f(uint32(at))
	}
}

// namesOrigin reports whether the loader puts the file's directory into a name or a
// search path of the dynamic section.
func namesOrigin(info *Info) bool {
	names := slices.Concat([]string{info.RPath, info.RunPath}, info.Needed, info.Auxiliary, info.Filter)
	return slices.ContainsFunc(names, func(name string) bool { return hasOrigin([]byte(name)) })
}

// hasOrigin reports whether the name for which the loader puts the directory of a file
// is among bytes (ld.so(8)). In a file that calls dlopen it may be part of what that
// is given; elsewhere the loader does not read it, and it is somebody else's.
func hasOrigin(b []byte) bool {
	word := []byte("ORIGIN") // "$" is in every other instruction, and is found nine times slower
	for {
		before, after, found := bytes.Cut(b, word)
		if !found {
			return false
		}
		if bytes.HasSuffix(before, []byte("$")) || bytes.HasSuffix(before, []byte("${")) && bytes.HasPrefix(after, []byte("}")) {
			return true
		}
		b = after
	}
}
