package elfedit

import (
	"bytes"
	"debug/elf"
	"slices"
)

// sectMove is a section that has another address.
type sectMove struct {
	index int
	delta uint64
}

// emit writes what was decided into the overlay.
func (e *editor) emit() error {
	for _, r := range e.regions {
		if r.newOff != r.off || r.newSize != r.size || r.bounds != nil {
			e.moveReferences(r)
		}
	}
	for _, r := range e.regions {
		switch r.kind {
		case regionProgs, regionSects:
			continue
		case regionDynamic:
			if e.dynProg >= 0 {
				r.content = e.dynContent(r)
				if r.newOff != r.off {
					e.moveGOT(r)
				}
			}
		default:
			if r.content == nil && r.newOff != r.off {
				e.load(r)
			}
		}
		if r.content == nil {
			continue
		}
		if r.mixed && (r.newOff != r.off || !bytes.Equal(r.content, e.data[r.off:r.end()])) {
			return broken(r.off, "two tables share the same bytes")
		}
		e.out.write(r.newOff, r.content)
	}
	if table := e.region(regionProgs); table != nil && table.mixed && !slices.Equal(e.progs, e.newProgs) {
		return broken(e.phoff, "the program headers share bytes with another table")
	}
	e.moveSymbols()
	e.emitHeaders()
	return nil
}

// moveReferences makes everything that leads to a region lead to where it is
// now.
func (e *editor) moveReferences(r *region) {
	resized := r.newSize != r.size
	for i := range e.newProgs {
		p := &e.newProgs[i]
		if p.kind == elf.PT_LOAD || p.kind == elf.PT_NULL || p.kind == elf.PT_GNU_RELRO || p.kind == elf.PT_GNU_STACK || p.kind == elf.PT_PHDR {
			continue
		}
		if p.filesz == 0 || p.off < r.off || p.fileEnd() > r.end() || !r.refersTo(p.kind) {
			continue
		}
		switch {
		case r.bounds != nil:
			start, end := r.bounds[p.off-r.off], r.bounds[p.fileEnd()-r.off]
			if p.kind == elf.PT_NOTE && p.fileEnd() == r.end() {
				end = r.used
			}
			shift := start - (p.off - r.off)
			p.off, p.vaddr, p.paddr = p.off+shift, p.vaddr+shift, p.paddr+shift
			p.filesz, p.memsz = end-start, end-start
			if end == start { // all that it covered is removed
				*p = prog{}
				continue
			}
		case resized && p.off == r.off && p.filesz == r.size:
			p.memsz += r.newSize - r.size
			p.filesz = r.newSize
		}
		p.off += r.newOff - r.off
		p.vaddr += r.newAddr - r.addr
		p.paddr += r.newAddr - r.addr
	}
	for i, s := range e.sects {
		if s.fileSize() == 0 || s.off < r.off || s.off+s.size > r.end() || s.flags&uint64(elf.SHF_ALLOC) == 0 {
			continue
		}
		n := &e.newSects[i]
		delta := r.newAddr - r.addr
		n.off = s.off + (r.newOff - r.off)
		if r.bounds != nil {
			start := r.bounds[s.off-r.off]
			shift := start - (s.off - r.off)
			delta += shift
			n.off += shift
			n.size = r.bounds[s.off+s.size-r.off] - start
			if n.size == 0 { // removed; SHT_NULL marks a header without use, and the others keep their numbers
				*n = sect{}
				continue
			}
		} else if resized && s.off == r.off && s.size == r.size {
			n.size = r.newSize
		}
		n.addr = s.addr + delta
		if delta != 0 {
			e.moved = append(e.moved, sectMove{i, delta})
		}
	}
	if tag := r.kind.dynTag(); tag != elf.DT_NULL {
		e.setDynAddress(tag, r.newAddr)
	}
	if r.kind == regionDynstr {
		e.setDynAddress(elf.DT_STRSZ, r.newSize)
	}
}

// refersTo reports whether a program header of that type leads to the region.
func (r *region) refersTo(kind elf.ProgType) bool {
	switch r.kind {
	case regionInterp:
		return kind == elf.PT_INTERP
	case regionNote:
		return kind == elf.PT_NOTE || kind == elf.PT_GNU_PROPERTY
	case regionDynamic:
		return kind == elf.PT_DYNAMIC
	case regionFlags:
		return kind == elf.PT_MIPS_ABIFLAGS || kind == elf.PT_MIPS_REGINFO
	}
	return false
}

// moveGOT changes the first word of the global offset table where that is the
// dynamic section's address.
func (e *editor) moveGOT(r *region) {
	addr, ok := e.dynValue(elf.DT_PLTGOT)
	if !ok {
		return
	}
	off, err := e.offset(addr, e.wordSize(), "the global offset table")
	if err != nil || e.word(e.data[off:]) != r.addr {
		return
	}
	word := make([]byte, e.wordSize())
	e.putWord(word, r.newAddr)
	e.out.write(e.newOffset(addr, off), word)
}

// newOffset returns where in the edited file an address is, whose bytes were
// not moved to another address.
func (e *editor) newOffset(addr, off uint64) uint64 {
	for _, p := range e.newProgs {
		if p.kind == elf.PT_LOAD && addr >= p.vaddr && addr-p.vaddr < p.filesz {
			return p.off + (addr - p.vaddr)
		}
	}
	return off
}

// moveSymbols changes the values of the symbols that are in sections which
// have moved, and of _DYNAMIC.
func (e *editor) moveSymbols() {
	if len(e.moved) == 0 {
		return
	}
	delta := make(map[uint16]uint64)
	for _, m := range e.moved {
		if m.index < int(elf.SHN_LORESERVE) {
			delta[uint16(m.index)] = m.delta
		}
	}
	size := e.symSize()
	done := make(map[elf.SectionType]bool) // a file has one table of each type
	for i, s := range e.sects {
		if s.kind != elf.SHT_SYMTAB && s.kind != elf.SHT_DYNSYM || s.entsize != size || done[s.kind] {
			continue
		}
		done[s.kind] = true
		table := e.data[s.off : s.off+s.size]
		for at := uint64(0); at+size <= s.size; at += size {
			sym := e.symbol(table[at:])
			d, ok := delta[sym.shndx]
			if !ok || sym.info&0xf == uint8(elf.STT_TLS) {
				continue
			}
			word := make([]byte, e.wordSize())
			e.putWord(word, sym.value+d)
			e.out.write(e.newSects[i].off+at+e.symValueAt(), word)
		}
	}
}

// emitHeaders writes the program headers, the section headers and what the
// file header says of them.
func (e *editor) emitHeaders() {
	table := e.region(regionProgs)
	if table != nil {
		for i := range e.newProgs {
			p := &e.newProgs[i]
			if p.kind == elf.PT_PHDR {
				p.off, p.filesz, p.memsz = table.newOff, table.newSize, table.newSize
				if table.inArena {
					p.vaddr, p.paddr = table.newAddr, table.newAddr
				}
			}
		}
		b := make([]byte, uint64(len(e.newProgs))*e.progSize())
		for i, p := range e.newProgs {
			e.putProg(b[uint64(i)*e.progSize():], p)
		}
		e.out.write(table.newOff, b)
		word := make([]byte, e.wordSize())
		e.putWord(word, table.newOff)
		e.out.write(24+e.wordSize(), word)
		if n := len(e.newProgs); n != len(e.progs) {
			e.out.write(e.countsAt()+4, e.order.AppendUint16(nil, uint16(n)))
		}
	}
	e.appendSections()
	if n := len(e.newSects); n != len(e.sects) {
		if e.order.Uint16(e.data[e.countsAt()+8:]) == 0 {
			e.newSects[0].size = uint64(n) // too many for e_shnum
		} else {
			e.out.write(e.countsAt()+8, e.order.AppendUint16(nil, uint16(n)))
		}
	}
	size := e.sectSize()
	for i, s := range e.newSects {
		if e.newShoff == e.shoff && i < len(e.sects) && s == e.sects[i] {
			continue
		}
		b := make([]byte, size)
		e.putSect(b, s)
		e.out.write(e.newShoff+uint64(i)*size, b)
	}
	if e.newShoff != e.shoff {
		word := make([]byte, e.wordSize())
		e.putWord(word, e.newShoff)
		e.out.write(24+2*e.wordSize(), word)
	}
}

// countsAt is the offset of e_ehsize in the file header; e_phentsize, e_phnum,
// e_shentsize, e_shnum and e_shstrndx follow it.
func (e *editor) countsAt() uint64 { return 24 + 3*e.wordSize() + 4 }
