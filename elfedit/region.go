package elfedit

import (
	"cmp"
	"debug/elf"
	"slices"
)

// regionKind says what a region holds, and with that, what refers to it. The
// order is that of the regions in the file's own segment: what grows most
// comes last.
type regionKind int

const (
	regionProgs   regionKind = iota // the program headers
	regionInterp                    // PT_INTERP
	regionNote                      // PT_NOTE and PT_GNU_PROPERTY, those that overlap as one
	regionFlags                     // other program headers' data that only they refer to
	regionGNUHash                   // DT_GNU_HASH
	regionHash                      // DT_HASH
	regionDynsym                    // DT_SYMTAB
	regionVersym                    // DT_VERSYM
	regionVerdef                    // DT_VERDEF
	regionVerneed                   // DT_VERNEED
	regionDynstr                    // DT_STRTAB
	regionDynamic                   // PT_DYNAMIC
	regionSects                     // the section headers
)

// region is a part of the file of which every reference is known, so that it
// can move.
type region struct {
	kind  regionKind
	off   uint64
	addr  uint64
	size  uint64
	align uint64
	load  int  // index of its PT_LOAD in progs, -1 without one
	fixed bool // stays where it is
	mixed bool // shares bytes with something else, and so cannot change

	content []byte // as it shall be; nil while that is as it was
	newOff  uint64
	newAddr uint64
	newSize uint64
	inArena bool // is in the file's own segment, or shall be

	// For notes that change: where the old bounds of entries are in content,
	// and how much of it is used.
	bounds map[uint64]uint64
	used   uint64
}

func (r *region) end() uint64   { return r.off + r.size }
func (r *region) isMoved() bool { return r.inArena || r.newOff != r.off }

// region returns the first region of a kind, or nil.
func (e *editor) region(kind regionKind) *region {
	for _, r := range e.regions {
		if r.kind == kind {
			return r
		}
	}
	return nil
}

// load returns a region's content, which may be written to.
func (e *editor) load(r *region) []byte {
	if r.content == nil {
		r.content = append([]byte(nil), e.data[r.off:r.end()]...)
	}
	return r.content
}

// add adds a region at an offset of the file. It is dropped when it is not
// within the file.
func (e *editor) add(kind regionKind, off, size, align uint64) *region {
	if size == 0 || off > uint64(len(e.data)) || size > uint64(len(e.data))-off {
		return nil
	}
	r := &region{kind: kind, off: off, size: size, align: align, load: -1, newOff: off, newSize: size}
	for i, p := range e.progs {
		if p.kind == elf.PT_LOAD && off >= p.off && off+size <= p.fileEnd() {
			r.load, r.addr = i, p.vaddr+(off-p.off)
			break
		}
	}
	r.newAddr = r.addr
	r.fixed = r.load < 0 || e.progs[max(r.load, 0)].flags&elf.PF_W != 0
	e.regions = append(e.regions, r)
	return r
}

// findRegions finds what can move.
func (e *editor) findRegions() error {
	if r := e.add(regionProgs, e.phoff, uint64(len(e.progs))*e.progSize(), e.wordSize()); r != nil {
		r.fixed = true // moves only as addSegments says
	}
	if r := e.add(regionSects, e.shoff, uint64(len(e.sects))*e.sectSize(), e.wordSize()); r != nil {
		r.fixed = true
	}
	e.findProgRegions()
	if e.dynProg >= 0 {
		if err := e.findTables(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(e.regions, func(a, b *region) int { return cmp.Compare(a.off, b.off) })
	e.fixTangled()
	return nil
}

// findProgRegions finds the regions that only program headers refer to.
func (e *editor) findProgRegions() {
	var notes []*region
	for i, p := range e.progs {
		// The alignment cannot exceed what keeps a region within a segment's.
		align := p.align
		if !isPowerOfTwo(align) || align > 64 {
			align = 16
		}
		switch p.kind {
		case elf.PT_INTERP:
			if e.region(regionInterp) == nil {
				e.add(regionInterp, p.off, p.filesz, 1)
			}
		case elf.PT_NOTE, elf.PT_GNU_PROPERTY:
			if r := e.add(regionNote, p.off, p.filesz, max(align, 4)); r != nil {
				notes = append(notes, r)
			}
		case elf.PT_MIPS_ABIFLAGS, elf.PT_MIPS_REGINFO:
			e.add(regionFlags, p.off, p.filesz, max(align, 8))
		case elf.PT_DYNAMIC:
			if i != e.dynProg { // a second one, which no loader reads
				continue
			}
			if r := e.add(regionDynamic, p.off, p.filesz, e.wordSize()); r != nil {
				r.fixed = true // moves only as placeDynamic says
			}
		}
	}
	// Notes that overlap move together.
	slices.SortStableFunc(notes, func(a, b *region) int { return cmp.Compare(a.off, b.off) })
	for i := 1; i < len(notes); i++ {
		a, b := notes[i-1], notes[i]
		if b.off >= a.end() {
			continue
		}
		a.size = max(a.end(), b.end()) - a.off
		a.newSize, a.align, a.fixed = a.size, max(a.align, b.align), a.fixed || b.fixed
		e.regions = slices.DeleteFunc(e.regions, func(r *region) bool { return r == b })
		notes[i] = a
	}
}

// findTables finds the regions that dynamic entries refer to.
func (e *editor) findTables() error {
	if e.table != nil {
		e.add(regionDynstr, e.table.off, uint64(len(e.table.old)), 1)
	}
	off, count, exact, err := e.symbolTable()
	if err != nil {
		return err
	}
	if exact {
		e.add(regionDynsym, off, count*e.symSize(), e.wordSize())
		if addr, ok := e.dynValue(elf.DT_VERSYM); ok {
			if off, err := e.offset(addr, count*2, "the symbols' versions"); err == nil {
				e.add(regionVersym, off, count*2, 2)
			}
		}
	}
	_, off, end, err := e.verneeds()
	if err != nil {
		return err
	}
	e.add(regionVerneed, off, end-off, e.wordSize())
	if _, off, end, err = e.verdefs(); err != nil {
		return err
	}
	e.add(regionVerdef, off, end-off, e.wordSize())
	if off, size := e.hashTable(); size > 0 {
		e.add(regionHash, off, size, e.wordSize())
	}
	if h, ok := e.gnuHash(); ok {
		e.add(regionGNUHash, h.off, h.size, e.wordSize())
	}
	return nil
}

// fixTangled fixes the regions that overlap others, or are a part of a section
// which holds more.
func (e *editor) fixTangled() {
	for i, r := range e.regions {
		r.mixed = r.mixed || r.off < e.ehdrSize()
		for _, s := range e.regions[i+1:] {
			if s.off >= r.end() {
				break
			}
			r.mixed, s.mixed = true, true
		}
		r.fixed = r.fixed || r.mixed
	}
	for _, s := range e.sects {
		size := s.fileSize()
		if size == 0 {
			continue
		}
		for _, r := range e.regions {
			if s.off >= r.end() || r.off >= s.off+size || s.off >= r.off && s.off+size <= r.end() {
				continue
			}
			if s.off == r.off && (r.kind == regionVersym || r.kind == regionVerneed || r.kind == regionVerdef || r.kind == regionHash || r.kind == regionGNUHash || r.kind == regionInterp) &&
				s.off+size-r.end() < 16 && r.kind != regionVersym {
				// The section ends with padding.
				r.size = size
				r.newSize = size
				continue
			}
			r.fixed = true
		}
	}
	for _, r := range e.regions {
		if r.kind != regionNote {
			continue
		}
		for _, s := range e.sects {
			if s.fileSize() > 0 && s.off >= r.off && s.off < r.end() && s.kind != elf.SHT_NOTE {
				r.fixed = true
			}
		}
	}
}

// dynTag is the tag of the entry that holds a region's address, 0 for none.
func (k regionKind) dynTag() elf.DynTag {
	switch k {
	case regionGNUHash:
		return elf.DT_GNU_HASH
	case regionHash:
		return elf.DT_HASH
	case regionDynsym:
		return elf.DT_SYMTAB
	case regionVersym:
		return elf.DT_VERSYM
	case regionVerdef:
		return elf.DT_VERDEF
	case regionVerneed:
		return elf.DT_VERNEED
	case regionDynstr:
		return elf.DT_STRTAB
	}
	return elf.DT_NULL
}

// hashTable returns where DT_HASH is, with a size of 0 when it is not to be
// moved.
func (e *editor) hashTable() (off, size uint64) {
	addr, ok := e.dynValue(elf.DT_HASH)
	if !ok || e.wideHash() {
		return 0, 0
	}
	off, err := e.offset(addr, 8, "the symbol hash table")
	if err != nil {
		return 0, 0
	}
	size = 8 + 4*(uint64(e.order.Uint32(e.data[off:]))+uint64(e.order.Uint32(e.data[off+4:])))
	if _, err := e.bytes(off, size, "the symbol hash table"); err != nil {
		return 0, 0
	}
	return off, size
}

// gnuHash is where the parts of DT_GNU_HASH are.
type gnuHash struct {
	off     uint64
	size    uint64
	buckets uint32
	first   uint32 // the first symbol that is in it
	bloomAt uint64 // offsets within the table
	bloomN  uint32
	shift   uint32
	bucketAt,
	chainAt uint64
	last uint32 // the last symbol that is in it, 0 when there is none
}

// gnuHash reads DT_GNU_HASH and finds its end, which is where its longest
// chain ends.
func (img *image) gnuHash() (h gnuHash, ok bool) {
	addr, ok := img.dynValue(elf.DT_GNU_HASH)
	if !ok {
		return h, false
	}
	off, err := img.offset(addr, 16, "the symbol hash table")
	if err != nil {
		return h, false
	}
	b := img.data[off:]
	h = gnuHash{
		off: off, buckets: img.order.Uint32(b), first: img.order.Uint32(b[4:]),
		bloomAt: 16, bloomN: img.order.Uint32(b[8:]), shift: img.order.Uint32(b[12:]),
	}
	h.bucketAt = 16 + uint64(h.bloomN)*img.wordSize()
	h.chainAt = h.bucketAt + 4*uint64(h.buckets)
	if h.chainAt > uint64(len(b)) {
		return h, false
	}
	for i := range uint64(h.buckets) {
		h.last = max(h.last, img.order.Uint32(b[h.bucketAt+4*i:]))
	}
	h.size = h.chainAt
	if h.last < h.first {
		h.last = 0
		return h, true
	}
	for {
		at := h.chainAt + 4*uint64(h.last-h.first)
		if at+4 > uint64(len(b)) {
			return h, false
		}
		h.size = at + 4
		if img.order.Uint32(b[at:])&1 != 0 {
			return h, true
		}
		h.last++
	}
}
