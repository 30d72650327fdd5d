package elfedit

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
)

// Closure describes a closure object: a library without code or symbols, whose only
// purpose is to need others. A program whose own dynamic section has no room for all
// the libraries that it is to load needs the object first, and so loads them in the
// object's order.
//
// The ABI is that of the program.
type Closure struct {
	Class   elf.Class   `json:"class"`
	Data    elf.Data    `json:"data"`
	Machine elf.Machine `json:"machine"`
	Flags   uint32      `json:"flags,omitempty"` // e_flags
	Needed  []string    `json:"needed"`          // DT_NEEDED, in this order

	// Auxiliary are libraries that the loader puts right before the object, in this order, and passes
	// over when they are not there (DT_AUXILIARY; gABI, "Dynamic Section").
	Auxiliary []string `json:"auxiliary,omitempty"`
}

// feature is the property by which an object says that it works where branch
// targets and return addresses are checked. The loader switches the checks off for
// a process one of whose objects does not say so. An object without code can say it always.
type feature struct{ kind, value uint32 }

const (
	noteBuildID     = 3 // NT_GNU_BUILD_ID
	noteGNUProperty = 5 // NT_GNU_PROPERTY_TYPE_0 (linux-abi, "Program Property")
)

// closureMachines are those that closure objects can be made for, with their
// features; 0 for none. Others want more of a library than what is in a closure object, such as
// MIPS its DT_MIPS entries.
var closureMachines = map[elf.Machine]feature{
	elf.EM_386:       {0xc0000002, 1 | 2}, // GNU_PROPERTY_X86_FEATURE_1_AND: IBT, SHSTK
	elf.EM_X86_64:    {0xc0000002, 1 | 2},
	elf.EM_AARCH64:   {0xc0000000, 1 | 2 | 4}, // GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI, PAC, GCS
	elf.EM_ARM:       {},
	elf.EM_PPC64:     {},
	elf.EM_S390:      {},
	elf.EM_RISCV:     {},
	elf.EM_LOONGARCH: {},
}

// HasClosures reports whether closure objects can be made for a machine.
func HasClosures(m elf.Machine) bool {
	_, ok := closureMachines[m]
	return ok
}

// pageAlign is the alignment of a closure object's segment: the largest page that
// Linux uses on a machine, since the loader refuses what is aligned to less than a page.
func pageAlign(m elf.Machine) uint64 {
	if m == elf.EM_386 || m == elf.EM_X86_64 {
		return 1 << 12
	}
	return 1 << 16
}

// Bytes returns the object, the same for equal closures. The error is a
// *RefusedError for a machine, class or byte order that there are no objects for, and
// for a name that DT_NEEDED cannot hold.
//
// The object has one segment, which is writable because the loader relocates the
// dynamic section in place: glibc 2.17 and 2.31 crash on one that is not. It has a DT_GNU_HASH
// without buckets and no soname, so that nothing finds a symbol or the object in it, and no
// section headers. The loader, which asks it for every symbol that is not the program's own, passes over an
// object without buckets before it reads any table of it.
func (c *Closure) Bytes() ([]byte, error) {
	property, ok := closureMachines[c.Machine]
	if !ok || c.Class != elf.ELFCLASS32 && c.Class != elf.ELFCLASS64 || c.Data != elf.ELFDATA2LSB && c.Data != elf.ELFDATA2MSB {
		return nil, refused("there are no closure objects for %v of %v, %v", c.Machine, c.Class, c.Data)
	}
	f := format{is64: c.Class == elf.ELFCLASS64, order: binary.LittleEndian}
	if c.Data == elf.ELFDATA2MSB {
		f.order = binary.BigEndian
	}
	table := []byte{0}
	var names []uint64
	for _, n := range slices.Concat(c.Needed, c.Auxiliary) {
		if n == "" || len(n) > maxName || strings.ContainsRune(n, 0) {
			return nil, refused("a closure object cannot need %.100q", n)
		}
		names = append(names, uint64(len(table)))
		table = append(append(table, n...), 0)
	}

	// Notes come first, so that they are within what a core dump keeps of the object.
	segments := uint64(4)
	if property.kind != 0 {
		segments++ // PT_GNU_PROPERTY
	}
	notesAt := alignUp(f.ehdrSize()+segments*f.progSize(), f.wordSize())
	var notes []byte
	if property.kind != 0 {
		desc := f.order.AppendUint32(nil, property.kind)
		desc = f.order.AppendUint32(desc, 4)
		desc = f.order.AppendUint32(desc, property.value)
		desc = append(desc, make([]byte, alignUp(12, f.wordSize())-12)...)
		notes = appendNote(f.order, notes, Note{Name: "GNU", Type: noteGNUProperty, Desc: desc}, f.wordSize())
	}
	propertySize := uint64(len(notes))
	buildID := make([]byte, 20)
	notes = appendNote(f.order, notes, Note{Name: "GNU", Type: noteBuildID, Desc: buildID}, f.wordSize())
	buildIDAt := notesAt + propertySize + alignUp(noteHeader+4, f.wordSize())

	dynAt := alignUp(notesAt+uint64(len(notes)), f.wordSize())
	dynSize := uint64(len(names)+6) * f.dynSize()
	hashAt := dynAt + dynSize
	hash := f.order.AppendUint32(nil, 0) // buckets
	hash = f.order.AppendUint32(hash, 1) // the first symbol in the table
	hash = f.order.AppendUint32(hash, 1) // words of the bloom filter
	hash = f.order.AppendUint32(hash, 0) // its shift
	hash = append(hash, make([]byte, f.wordSize())...)
	symAt := alignUp(hashAt+uint64(len(hash)), f.wordSize())
	tableAt := symAt + f.symSize()
	size := tableAt + uint64(len(table))
	if !f.is64 && size > 1<<31 {
		return nil, refused("a closure object of %d bytes is too large", size)
	}

	b := make([]byte, size)
	f.putHeader(b, c, int(segments))
	copy(b[notesAt:], notes)
	at := f.ehdrSize()
	for _, p := range []prog{
		{kind: elf.PT_LOAD, flags: elf.PF_R | elf.PF_W, filesz: size, memsz: size, align: pageAlign(c.Machine)},
		{kind: elf.PT_DYNAMIC, flags: elf.PF_R | elf.PF_W, off: dynAt, filesz: dynSize, memsz: dynSize, align: f.wordSize()},
		{kind: elf.PT_NOTE, flags: elf.PF_R, off: notesAt, filesz: uint64(len(notes)), memsz: uint64(len(notes)), align: f.wordSize()},
		{kind: elf.PT_GNU_STACK, flags: elf.PF_R | elf.PF_W, align: 16},
		{kind: elf.PT_GNU_PROPERTY, flags: elf.PF_R, off: notesAt, filesz: propertySize, memsz: propertySize, align: f.wordSize()},
	}[:segments] {
		p.vaddr, p.paddr = p.off, p.off
		f.putProg(b[at:], p)
		at += f.progSize()
	}
	at = dynAt
	entry := func(tag elf.DynTag, value uint64) {
		f.putDyn(b[at:], tag, value)
		at += f.dynSize()
	}
	for i, n := range names {
		if i < len(c.Needed) {
			entry(elf.DT_NEEDED, n)
		} else {
			entry(tagAuxiliary, n)
		}
	}
	entry(elf.DT_GNU_HASH, hashAt)
	entry(elf.DT_STRTAB, tableAt)
	entry(elf.DT_SYMTAB, symAt)
	entry(elf.DT_STRSZ, uint64(len(table)))
	entry(elf.DT_SYMENT, f.symSize())
	copy(b[hashAt:], hash)
	copy(b[tableAt:], table)
	sum := sha256.Sum256(b)
	copy(b[buildIDAt:], sum[:len(buildID)])
	return b, nil
}

// putHeader writes the file header of a closure object.
func (f format) putHeader(b []byte, c *Closure, segments int) {
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(c.Class), byte(c.Data), byte(elf.EV_CURRENT)
	f.order.PutUint16(b[16:], uint16(elf.ET_DYN))
	f.order.PutUint16(b[18:], uint16(c.Machine))
	f.order.PutUint32(b[20:], uint32(elf.EV_CURRENT))
	f.putWord(b[24+f.wordSize():], f.ehdrSize()) // e_phoff
	at := 24 + 3*f.wordSize()
	f.order.PutUint32(b[at:], c.Flags)
	for i, v := range []uint64{f.ehdrSize(), f.progSize(), uint64(segments), f.sectSize()} {
		f.order.PutUint16(b[at+4+2*uint64(i):], uint16(v))
	}
}
