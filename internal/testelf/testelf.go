// Package testelf makes small ELF files for tests: programs and libraries of amd64
// with the entries that the dynamic loader reads, and no code.
package testelf

import (
	"debug/elf"
	"encoding/binary"
	"slices"
)

// File is what an ELF file says of itself. One with an interpreter is a program, any
// other a library.
type File struct {
	Interpreter string
	Soname      string
	Needed      []string
	RunPath     string // with RPath, both entries are there
	RPath       string
	// Tight files have RELRO, and room for no more than Room entries in what it protects.
	Tight bool
	Room  int
	// Refused files have more program headers than elfedit edits.
	Refused bool
	// Sections have files with section headers: of the names of sections only, without which no
	// note is added.
	Sections bool
}

const (
	headerSize  = 64
	progSize    = 56
	sectionSize = 64
	spare       = 8   // entries of a dynamic section that is not tight
	tooMany     = 257 // program headers
)

// Bytes returns the file.
func (f File) Bytes() []byte {
	le := binary.LittleEndian
	strings := []byte{0}
	text := func(s string) uint64 {
		at := len(strings)
		strings = append(append(strings, s...), 0)
		return uint64(at)
	}
	type entry struct {
		tag   elf.DynTag
		value uint64
	}
	var dyn []entry
	for _, n := range f.Needed {
		dyn = append(dyn, entry{elf.DT_NEEDED, text(n)})
	}
	for _, t := range []struct {
		tag   elf.DynTag
		value string
	}{{elf.DT_SONAME, f.Soname}, {elf.DT_RUNPATH, f.RunPath}, {elf.DT_RPATH, f.RPath}} {
		if t.value != "" {
			dyn = append(dyn, entry{t.tag, text(t.value)})
		}
	}
	if f.Interpreter != "" {
		dyn = append(dyn, entry{elf.DT_FLAGS_1, uint64(elf.DF_1_PIE)})
	}

	progs := 6 // at most
	if f.Refused {
		progs = tooMany
	}
	interp := uint64(headerSize + progs*progSize)
	symbols := (interp + uint64(len(f.Interpreter)) + 1 + 7) &^ 7
	hash := symbols + 24
	table := hash + 16
	end := table + uint64(len(strings))
	dyn = append(dyn,
		entry{elf.DT_HASH, hash}, entry{elf.DT_STRTAB, table}, entry{elf.DT_SYMTAB, symbols},
		entry{elf.DT_STRSZ, uint64(len(strings))}, entry{elf.DT_SYMENT, 24}, entry{elf.DT_NULL, 0})
	dataAt := (end + 0xfff) &^ 0xfff // of the writable segment
	dynAt := dataAt
	if f.Tight {
		dynAt += 16 // something stands before what RELRO protects
		dyn = append(dyn, slices.Repeat([]entry{{elf.DT_NULL, 0}}, f.Room)...)
	} else {
		dyn = append(dyn, slices.Repeat([]entry{{elf.DT_NULL, 0}}, spare)...)
	}
	dynSize := uint64(16 * len(dyn))

	b := make([]byte, dynAt+dynSize)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint32(b[20:], uint32(elf.EV_CURRENT))
	le.PutUint64(b[32:], headerSize)
	for i, v := range []uint16{headerSize, progSize, 0, 64, 0, 0} {
		le.PutUint16(b[52+2*i:], v)
	}
	count := 0
	segment := func(kind elf.ProgType, flags elf.ProgFlag, at, size, align uint64) {
		p := b[headerSize+count*progSize:]
		le.PutUint32(p, uint32(kind))
		le.PutUint32(p[4:], uint32(flags))
		for i, v := range []uint64{at, at, at, size, size, align} {
			le.PutUint64(p[8+8*i:], v)
		}
		count++
		le.PutUint16(b[56:], uint16(count))
	}
	if f.Interpreter != "" {
		segment(elf.PT_INTERP, elf.PF_R, interp, uint64(len(f.Interpreter))+1, 1)
	}
	segment(elf.PT_LOAD, elf.PF_R|elf.PF_X, 0, end, 0x1000)
	segment(elf.PT_LOAD, elf.PF_R|elf.PF_W, dataAt, dynAt+dynSize-dataAt, 0x1000)
	segment(elf.PT_DYNAMIC, elf.PF_R|elf.PF_W, dynAt, dynSize, 8)
	if f.Tight {
		segment(elf.PT_GNU_RELRO, elf.PF_R, dynAt, dynSize, 1)
	}
	segment(elf.PT_GNU_STACK, elf.PF_R|elf.PF_W, 0, 0, 16)
	if f.Refused {
		for count < tooMany {
			segment(elf.PT_NULL, 0, 0, 0, 0)
		}
	}
	copy(b[interp:], f.Interpreter)
	for i, v := range []uint32{1, 1, 0, 0} {
		le.PutUint32(b[hash+4*uint64(i):], v)
	}
	copy(b[table:], strings)
	for i, d := range dyn {
		le.PutUint64(b[dynAt+16*uint64(i):], uint64(d.tag))
		le.PutUint64(b[dynAt+16*uint64(i)+8:], d.value)
	}
	if f.Sections {
		b = addSections(b)
	}
	return b
}

// addSections adds the headers of no section and of that of the names.
func addSections(b []byte) []byte {
	const names = "\x00.shstrtab\x00"
	le, at := binary.LittleEndian, uint64(len(b))
	b = append(b, names...)
	b = append(b, make([]byte, -len(b)&7)...)
	le.PutUint64(b[40:], uint64(len(b)))
	le.PutUint16(b[60:], 2)
	le.PutUint16(b[62:], 1)
	b = append(b, make([]byte, 2*sectionSize)...)
	h := b[len(b)-sectionSize:]
	le.PutUint32(h, 1)
	le.PutUint32(h[4:], uint32(elf.SHT_STRTAB))
	le.PutUint64(h[24:], at)
	le.PutUint64(h[32:], uint64(len(names)))
	le.PutUint64(h[48:], 1)
	return b
}
