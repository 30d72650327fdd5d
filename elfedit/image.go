package elfedit

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// image is an ELF file as it stands, its headers and dynamic entries read.
// It refers to data and never changes it.
type image struct {
	format
	data []byte

	kind       elf.Type
	machine    elf.Machine
	osabi      elf.OSABI
	abiVersion uint8
	flags      uint32

	phoff    uint64
	shoff    uint64
	shstrndx uint32
	progs    []prog
	sects    []sect // nil when there are none, or none that can be read
	sectsErr error  // why the section headers cannot be read

	dynProg  int // index in progs, -1 without PT_DYNAMIC
	dyn      []dynEntry
	dynSlots int // entries that PT_DYNAMIC has room for
}

// dynEntry is one entry of PT_DYNAMIC.
type dynEntry struct {
	tag   elf.DynTag
	value uint64
}

// Places in the file header that the two classes share.
const (
	identOSABI = 7
	identABI   = 8
)

// parse reads the headers. The section headers are optional: what is wrong
// with them is kept in sectsErr.
func parse(data []byte) (*image, error) {
	if len(data) < 4 || string(data[:4]) != elf.ELFMAG {
		return nil, fmt.Errorf("read ELF header: %w", ErrNotELF)
	}
	if len(data) < 20 {
		return nil, broken(0, "the file ends within the ELF header")
	}
	img := &image{data: data, dynProg: -1}
	switch elf.Class(data[4]) {
	case elf.ELFCLASS32:
	case elf.ELFCLASS64:
		img.is64 = true
	default:
		return nil, broken(4, "unknown class %d", data[4])
	}
	switch elf.Data(data[5]) {
	case elf.ELFDATA2LSB:
		img.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		img.order = binary.BigEndian
	default:
		return nil, broken(5, "unknown byte order %d", data[5])
	}
	if data[6] != byte(elf.EV_CURRENT) {
		return nil, broken(6, "unknown ELF version %d", data[6])
	}
	if uint64(len(data)) < img.ehdrSize() {
		return nil, broken(0, "the file ends within the ELF header")
	}
	img.osabi, img.abiVersion = elf.OSABI(data[identOSABI]), data[identABI]
	img.kind = elf.Type(img.order.Uint16(data[16:]))
	img.machine = elf.Machine(img.order.Uint16(data[18:]))
	if err := img.parseTables(); err != nil {
		return nil, err
	}
	if err := img.parseDynamic(); err != nil {
		return nil, err
	}
	return img, nil
}

func (img *image) parseTables() error {
	w := int(img.wordSize())
	img.phoff = img.word(img.data[24+w:])
	img.shoff = img.word(img.data[24+2*w:])
	rest := img.data[24+3*w:]
	half := func(i int) uint64 { return uint64(img.order.Uint16(rest[4+2*i:])) }
	img.flags = img.order.Uint32(rest)
	phentsize, phnum, shentsize, shnum := half(1), half(2), half(3), half(4)
	img.shstrndx = uint32(half(5))

	img.sects, img.sectsErr = img.parseSects(shentsize, shnum)
	if phnum == 0xffff { // PN_XNUM: the count is in the first section header
		if len(img.sects) == 0 {
			return broken(img.shoff, "no section header that says the number of program headers")
		}
		phnum = uint64(img.sects[0].info)
	}
	if phnum == 0 {
		return nil
	}
	if phentsize != img.progSize() {
		return broken(img.phoff, "program headers of %d bytes", phentsize)
	}
	table, err := img.bytes(img.phoff, phnum*phentsize, "program headers")
	if err != nil {
		return err
	}
	img.progs = make([]prog, phnum)
	for i := range img.progs {
		p := img.prog(table[uint64(i)*phentsize:])
		if addOverflows(p.off, p.filesz) || addOverflows(p.vaddr, p.memsz) {
			return broken(img.phoff+uint64(i)*phentsize, "program header %d wraps around", i)
		}
		img.progs[i] = p
	}
	return nil
}

func (img *image) parseSects(entsize, count uint64) ([]sect, error) {
	if img.shoff == 0 {
		return nil, nil
	}
	if entsize != img.sectSize() {
		return nil, broken(img.shoff, "section headers of %d bytes", entsize)
	}
	first, err := img.bytes(img.shoff, entsize, "section headers")
	if err != nil {
		return nil, err
	}
	if count == 0 { // more than fit e_shnum: the count is in the first header
		count = img.sect(first).size
	}
	if count > uint64(len(img.data))/entsize {
		return nil, broken(img.shoff, "%d section headers in a file of %d bytes", count, len(img.data))
	}
	table, err := img.bytes(img.shoff, count*entsize, "section headers")
	if err != nil {
		return nil, err
	}
	sects := make([]sect, count)
	for i := range sects {
		s := img.sect(table[uint64(i)*entsize:])
		if addOverflows(s.off, s.fileSize()) || addOverflows(s.addr, s.size) {
			return nil, broken(img.shoff+uint64(i)*entsize, "section header %d wraps around", i)
		}
		if s.fileSize() > 0 && s.off+s.fileSize() > uint64(len(img.data)) {
			return nil, broken(img.shoff+uint64(i)*entsize, "section %d reaches past the end of the file", i)
		}
		sects[i] = s
	}
	if img.shstrndx == 0xffff && count > 0 { // SHN_XINDEX
		img.shstrndx = sects[0].link
	}
	return sects, nil
}

func (img *image) parseDynamic() error {
	for i, p := range img.progs {
		if p.kind == elf.PT_DYNAMIC {
			img.dynProg = i
			break
		}
	}
	if img.dynProg < 0 || img.isSplitDebug() || img.kind == elf.ET_CORE {
		img.dynProg = -1
		return nil
	}
	p := img.progs[img.dynProg]
	table, err := img.bytes(p.off, p.filesz, "the dynamic section")
	if err != nil {
		return err
	}
	size := img.dynSize()
	img.dynSlots = int(p.filesz / size)
	for i := range img.dynSlots {
		tag, value := img.format.dyn(table[uint64(i)*size:])
		if tag == elf.DT_NULL {
			return nil
		}
		img.dyn = append(img.dyn, dynEntry{tag, value})
	}
	if len(img.dyn) == 0 {
		return nil
	}
	return broken(p.off, "the dynamic section has no end")
}

// isSplitDebug reports whether the file holds only the debugging information
// of another: its sections keep their addresses and have no bytes.
func (img *image) isSplitDebug() bool {
	if img.kind != elf.ET_EXEC && img.kind != elf.ET_DYN {
		return false
	}
	addresses := make(map[elf.ProgType]uint64) // of the first of each type
	for _, p := range img.progs {
		if p.kind != elf.PT_DYNAMIC && p.kind != elf.PT_INTERP {
			continue
		}
		if _, ok := addresses[p.kind]; !ok {
			addresses[p.kind] = p.vaddr
		}
	}
	for _, s := range img.sects {
		if s.kind != elf.SHT_NOBITS || s.flags&uint64(elf.SHF_ALLOC) == 0 || s.size == 0 {
			continue
		}
		// The 32-bit PowerPC's .plt is code without bytes.
		if s.flags&uint64(elf.SHF_EXECINSTR) != 0 && img.machine != elf.EM_PPC {
			return true
		}
		for _, addr := range addresses {
			if s.addr == addr {
				return true
			}
		}
	}
	return false
}

// bytes returns n bytes at off, or a FormatError that names what they are.
func (img *image) bytes(off, n uint64, what string) ([]byte, error) {
	size := uint64(len(img.data))
	if off > size || n > size-off {
		return nil, broken(off, "the file ends within %s", what)
	}
	return img.data[off : off+n : off+n], nil
}

// offset returns where in the file n bytes at an address are.
func (img *image) offset(addr, n uint64, what string) (uint64, error) {
	for _, p := range img.progs {
		if p.kind != elf.PT_LOAD || addr < p.vaddr || addr-p.vaddr >= p.filesz {
			continue
		}
		if n > p.filesz-(addr-p.vaddr) {
			return 0, broken(p.off, "a segment ends within %s", what)
		}
		off := p.off + (addr - p.vaddr)
		if _, err := img.bytes(off, n, what); err != nil {
			return 0, err
		}
		return off, nil
	}
	return 0, broken(0, "no segment has %s, at address %#x", what, addr)
}

// addressBytes returns n bytes at an address.
func (img *image) addressBytes(addr, n uint64, what string) ([]byte, error) {
	off, err := img.offset(addr, n, what)
	if err != nil {
		return nil, err
	}
	return img.bytes(off, n, what)
}

// dynValue returns the value of the last entry with the tag: that is the one
// glibc's loader uses (elf/get-dynamic-info.h).
func (img *image) dynValue(tag elf.DynTag) (uint64, bool) {
	for i := len(img.dyn) - 1; i >= 0; i-- {
		if img.dyn[i].tag == tag {
			return img.dyn[i].value, true
		}
	}
	return 0, false
}

// stringTable returns DT_STRTAB's offset in the file and its bytes. Where the
// dynamic section names no table, but the section headers do, it is theirs: so
// tools read the file, although a loader cannot.
func (img *image) stringTable() (off uint64, table []byte, err error) {
	addr, ok := img.dynValue(elf.DT_STRTAB)
	if !ok {
		return img.linkedStrings()
	}
	size, ok := img.dynValue(elf.DT_STRSZ)
	if !ok {
		return 0, nil, broken(img.progs[img.dynProg].off, "the dynamic section does not say the size of its string table")
	}
	if off, err = img.offset(addr, size, "the dynamic strings"); err != nil {
		return 0, nil, err
	}
	table, err = img.bytes(off, size, "the dynamic strings")
	return off, table, err
}

// linkedStrings returns the table that the section header of the dynamic
// section leads to.
func (img *image) linkedStrings() (off uint64, table []byte, err error) {
	for _, s := range img.sects {
		if s.kind != elf.SHT_DYNAMIC || uint64(s.link) >= uint64(len(img.sects)) {
			continue
		}
		t := img.sects[s.link]
		if t.kind != elf.SHT_STRTAB || t.flags&uint64(elf.SHF_ALLOC) == 0 || t.size == 0 {
			continue
		}
		if off, err = img.offset(t.addr, t.size, "the dynamic strings"); err == nil && off == t.off {
			table, err = img.bytes(off, t.size, "the dynamic strings")
			return off, table, err
		}
	}
	return 0, nil, img.noStringTable()
}

// noStringTable is the error for names of a dynamic section without a table of them.
func (img *image) noStringTable() error {
	return &FormatError{Offset: int64(img.progs[img.dynProg].off), Msg: ErrNoStringTable.Error(), Err: ErrNoStringTable}
}

// stringAt returns the string at an offset of a table that starts at off.
func stringAt(table []byte, off, at uint64, what string) ([]byte, error) {
	if at >= uint64(len(table)) {
		return nil, broken(off, "%s is outside the string table", what)
	}
	n := bytes.IndexByte(table[at:min(uint64(len(table)), at+maxName+1)], 0)
	if n < 0 {
		return nil, broken(off+at, "%s has no end or is longer than %d bytes", what, maxName)
	}
	return table[at : at+uint64(n)], nil
}
