package elfedit

import (
	"debug/elf"
	"encoding/binary"
)

// format is a class and a byte order: how the structures of one file are laid
// out (gABI, chapters 4 and 5).
type format struct {
	is64  bool
	order byteOrder
}

// byteOrder reads, writes and appends integers.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// prog is a program header of either class.
type prog struct {
	kind   elf.ProgType
	flags  elf.ProgFlag
	off    uint64
	vaddr  uint64
	paddr  uint64
	filesz uint64
	memsz  uint64
	align  uint64
}

// sect is a section header of either class.
type sect struct {
	name    uint32 // offset in the section name table
	kind    elf.SectionType
	flags   uint64
	addr    uint64
	off     uint64
	size    uint64
	link    uint32
	info    uint32
	align   uint64
	entsize uint64
}

// symbol is a symbol table entry of either class.
type symbol struct {
	name  uint32
	info  uint8
	other uint8
	shndx uint16
	value uint64
	size  uint64
}

// fileEnd is the offset of the first byte behind the segment's bytes.
func (p prog) fileEnd() uint64 { return p.off + p.filesz }

// memEnd is the first address behind the segment.
func (p prog) memEnd() uint64 { return p.vaddr + p.memsz }

// fileSize is the number of bytes that the section has in the file.
func (s sect) fileSize() uint64 {
	if s.kind == elf.SHT_NOBITS || s.kind == elf.SHT_NULL {
		return 0
	}
	return s.size
}

func (f format) pick(size32, size64 uint64) uint64 {
	if f.is64 {
		return size64
	}
	return size32
}

func (f format) wordSize() uint64 { return f.pick(4, 8) }
func (f format) ehdrSize() uint64 { return f.pick(52, 64) }
func (f format) progSize() uint64 { return f.pick(32, 56) }
func (f format) sectSize() uint64 { return f.pick(40, 64) }
func (f format) dynSize() uint64  { return f.pick(8, 16) }
func (f format) symSize() uint64  { return f.pick(16, 24) }

// word reads an address or a size.
func (f format) word(b []byte) uint64 {
	if f.is64 {
		return f.order.Uint64(b)
	}
	return uint64(f.order.Uint32(b))
}

func (f format) putWord(b []byte, v uint64) {
	if f.is64 {
		f.order.PutUint64(b, v)
		return
	}
	f.order.PutUint32(b, uint32(v))
}

func (f format) prog(b []byte) prog {
	o := f.order
	if f.is64 {
		return prog{
			kind: elf.ProgType(o.Uint32(b)), flags: elf.ProgFlag(o.Uint32(b[4:])),
			off: o.Uint64(b[8:]), vaddr: o.Uint64(b[16:]), paddr: o.Uint64(b[24:]),
			filesz: o.Uint64(b[32:]), memsz: o.Uint64(b[40:]), align: o.Uint64(b[48:]),
		}
	}
	return prog{
		kind: elf.ProgType(o.Uint32(b)), off: uint64(o.Uint32(b[4:])),
		vaddr: uint64(o.Uint32(b[8:])), paddr: uint64(o.Uint32(b[12:])),
		filesz: uint64(o.Uint32(b[16:])), memsz: uint64(o.Uint32(b[20:])),
		flags: elf.ProgFlag(o.Uint32(b[24:])), align: uint64(o.Uint32(b[28:])),
	}
}

func (f format) putProg(b []byte, p prog) {
	o := f.order
	o.PutUint32(b, uint32(p.kind))
	if f.is64 {
		o.PutUint32(b[4:], uint32(p.flags))
		for i, v := range []uint64{p.off, p.vaddr, p.paddr, p.filesz, p.memsz, p.align} {
			o.PutUint64(b[8+8*i:], v)
		}
		return
	}
	for i, v := range []uint64{p.off, p.vaddr, p.paddr, p.filesz, p.memsz, uint64(p.flags), p.align} {
		o.PutUint32(b[4+4*i:], uint32(v))
	}
}

func (f format) sect(b []byte) sect {
	o, w := f.order, int(f.wordSize())
	word := func(i int) uint64 { return f.word(b[8+i*w:]) }
	at := 8 + 4*w // sh_link
	return sect{
		name: o.Uint32(b), kind: elf.SectionType(o.Uint32(b[4:])),
		flags: word(0), addr: word(1), off: word(2), size: word(3),
		link: o.Uint32(b[at:]), info: o.Uint32(b[at+4:]),
		align: f.word(b[at+8:]), entsize: f.word(b[at+8+w:]),
	}
}

func (f format) putSect(b []byte, s sect) {
	o, w := f.order, int(f.wordSize())
	o.PutUint32(b, s.name)
	o.PutUint32(b[4:], uint32(s.kind))
	for i, v := range []uint64{s.flags, s.addr, s.off, s.size} {
		f.putWord(b[8+i*w:], v)
	}
	at := 8 + 4*w
	o.PutUint32(b[at:], s.link)
	o.PutUint32(b[at+4:], s.info)
	f.putWord(b[at+8:], s.align)
	f.putWord(b[at+8+w:], s.entsize)
}

// symValueAt is the offset of st_value within a symbol.
func (f format) symValueAt() uint64 { return f.pick(4, 8) }

func (f format) symbol(b []byte) symbol {
	o := f.order
	if f.is64 {
		return symbol{
			name: o.Uint32(b), info: b[4], other: b[5], shndx: o.Uint16(b[6:]),
			value: o.Uint64(b[8:]), size: o.Uint64(b[16:]),
		}
	}
	return symbol{
		name: o.Uint32(b), value: uint64(o.Uint32(b[4:])), size: uint64(o.Uint32(b[8:])),
		info: b[12], other: b[13], shndx: o.Uint16(b[14:]),
	}
}

// dyn reads one dynamic entry. Tags of 32-bit files are widened with their
// sign, as gABI has them signed.
func (f format) dyn(b []byte) (elf.DynTag, uint64) {
	if f.is64 {
		return elf.DynTag(int64(f.order.Uint64(b))), f.order.Uint64(b[8:])
	}
	return elf.DynTag(int32(f.order.Uint32(b))), uint64(f.order.Uint32(b[4:]))
}

func (f format) putDyn(b []byte, tag elf.DynTag, value uint64) {
	w := f.wordSize()
	f.putWord(b, uint64(tag))
	f.putWord(b[w:], value)
}

// addOverflows reports whether a+b passes the largest address of 64 bits.
func addOverflows(a, b uint64) bool { return a+b < a }

// alignUp rounds n up to a multiple of align, which is 0 or a power of two.
func alignUp(n, align uint64) uint64 {
	if align <= 1 {
		return n
	}
	return (n + align - 1) &^ (align - 1)
}

// alignDown rounds n down to a multiple of align, which is 0 or a power of two.
func alignDown(n, align uint64) uint64 {
	if align <= 1 {
		return n
	}
	return n &^ (align - 1)
}

// isPowerOfTwo reports whether n is 1, 2, 4, 8 and so on.
func isPowerOfTwo(n uint64) bool { return n != 0 && n&(n-1) == 0 }
