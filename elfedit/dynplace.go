package elfedit

import "debug/elf"

// spareDyn is how many entries a dynamic section that moves has to spare.
const spareDyn = 8

// placeDynamic finds room for the dynamic section.
func (e *editor) placeDynamic() error {
	if e.dynProg < 0 || len(e.newDyn)+1 <= e.dynSlots {
		return nil
	}
	r := e.region(regionDynamic)
	if r == nil || r.load < 0 {
		return refused("the dynamic section has no spare entries and is in no segment")
	}
	least := uint64(len(e.newDyn)+1) * e.dynSize()
	wanted := least + spareDyn*e.dynSize()
	p := e.progs[r.load]
	switch {
	case p.flags&elf.PF_W == 0:
		if !e.moveToGap(r, wanted) && !e.moveToGap(r, least) {
			r.newSize = wanted
			e.moveToArena(r)
		}
	case e.lowerSegment(r, wanted), e.lowerSegment(r, least), e.growSegment(r, wanted), e.moveSegment(r, least):
	default:
		r.newSize = wanted
		e.newRW = r
	}
	return nil
}

// info is what is known of the kind of the file.
func (e *editor) info() *Info {
	i := &Info{Type: e.kind}
	flags, _ := e.dynValue(elf.DT_FLAGS_1)
	i.PIE = elf.DynFlag1(flags)&elf.DF_1_PIE != 0
	if e.region(regionInterp) != nil {
		i.Interpreter = "yes"
	}
	return i
}

// relroFrom reports whether PT_GNU_RELRO lets the dynamic section stand at the
// start of its segment: there is none, or it starts there, or the section was
// not in it.
func (e *editor) relroFrom(r *region) (index int, ok bool) {
	p := e.progs[r.load]
	for i, q := range e.progs {
		if q.kind == elf.PT_GNU_RELRO {
			return i, q.vaddr == p.vaddr && q.off == p.off || r.addr < q.vaddr || r.addr >= q.memEnd()
		}
	}
	return -1, true
}

// lowerSegment makes the dynamic section's segment start earlier, by using the
// unused bytes before it.
func (e *editor) lowerSegment(r *region, size uint64) bool {
	p := e.progs[r.load]
	relro, ok := e.relroFrom(r)
	if !ok {
		return false
	}
	end := p.off
	if r.off == p.off {
		end = r.end() // an earlier edit put it there
	}
	for _, g := range e.gaps {
		if g.above != r.load || g.hi != p.off || end < size {
			continue
		}
		// The end keeps its alignment, so there may be a few bytes behind.
		start := alignDown(end-size, e.wordSize())
		if start < max(g.lo, g.rwFrom) {
			return false
		}
		g.hi = start
		e.lower(r.load, relro, p.off-start)
		r.newOff, r.newAddr, r.newSize = start, p.vaddr-(p.off-start), size
		return true
	}
	return false
}

// lower makes a segment, and the RELRO that starts with it, start n bytes
// earlier.
func (e *editor) lower(load, relro int, n uint64) {
	for i, p := range e.progs {
		if i == load || i == relro && p.vaddr == e.progs[load].vaddr {
			q := &e.newProgs[i]
			q.off, q.vaddr, q.paddr = q.off-n, q.vaddr-n, q.paddr-n
			q.filesz, q.memsz = q.filesz+n, q.memsz+n
		}
	}
}

// largestMove is the size of the largest segment that is copied to make room,
// in bytes.
const largestMove = 8 << 20

// moveSegment copies the bytes of the dynamic section's segment to the end of
// the file, where there can be room before them. The addresses stay.
func (e *editor) moveSegment(r *region, least uint64) bool {
	p := e.progs[r.load]
	page := e.segmentAlign(p)
	relro, ok := e.relroFrom(r)
	room := alignDown(p.vaddr%page, e.wordSize())
	size := room - room%e.dynSize()
	if !ok || size < least || p.filesz > largestMove || page > 1<<16 || e.payload() != nil {
		return false
	}
	for i, q := range e.progs {
		if q.kind != elf.PT_LOAD || i == r.load {
			continue
		}
		if q.vaddr < p.vaddr && q.memEnd() > p.vaddr-p.vaddr%page || q.off < p.fileEnd() && q.fileEnd() > p.off {
			return false
		}
	}
	start := alignUp(e.out.size, 16)
	start += (p.vaddr - room - start) % page
	if !e.is64 && start+room+p.filesz > 1<<32-1 {
		return false
	}
	e.out.write(start+room, e.out.read(p.off, p.filesz))
	delta := start + room - p.off
	for i, q := range e.progs {
		inside := q.off >= p.off && q.fileEnd() <= p.fileEnd() && q.vaddr >= p.vaddr && q.vaddr < p.memEnd()
		if i == r.load || inside && q.kind != elf.PT_LOAD && q.kind != elf.PT_NULL && q.kind != elf.PT_DYNAMIC {
			e.newProgs[i].off += delta
		}
	}
	for i, s := range e.sects {
		if s.flags&uint64(elf.SHF_ALLOC) != 0 && s.addr >= p.vaddr && s.addr+s.size <= p.memEnd() &&
			s.off >= p.off && s.off <= p.fileEnd() && s.kind != elf.SHT_NULL {
			e.newSects[i].off += delta
		}
	}
	e.lower(r.load, relro, room)
	r.newOff, r.newAddr, r.newSize = start, p.vaddr-room, size
	for i := range e.gaps { // its old place is no head of a segment any more
		if e.gaps[i].above == r.load {
			e.gaps[i].above = -1
		}
	}
	return true
}

// growSegment appends the dynamic section to its segment, where that is the
// last in memory and ends with its bytes: so is one that an earlier edit added
// for it.
func (e *editor) growSegment(r *region, size uint64) bool {
	p := &e.newProgs[r.load]
	for _, q := range e.progs {
		if q.kind == elf.PT_GNU_RELRO && r.addr >= q.vaddr && r.addr < q.memEnd() {
			return false
		}
	}
	if p.filesz != p.memsz || p.memEnd() < e.top() || e.payload() != nil {
		return false
	}
	start := alignUp(p.fileEnd(), e.wordSize())
	if r.end() == p.fileEnd() {
		start = r.off
	}
	n := start + size - p.fileEnd()
	if p.fileEnd() < e.out.size {
		if !e.shiftTail(p.fileEnd(), n) {
			return false
		}
		e.out.zero(p.fileEnd(), n)
	} else {
		e.out.zero(e.out.size, n)
	}
	p.filesz += n
	p.memsz += n
	r.newOff, r.newAddr, r.newSize = start, p.vaddr+(start-p.off), size
	return true
}

// layoutRW gives the dynamic section a writable segment of its own.
func (e *editor) layoutRW() error {
	if err := e.payload(); err != nil {
		return err
	}
	r := e.newRW
	off := alignUp(e.out.size, 16)
	align := e.newAlign()
	addr := alignUp(e.top(), align) + off%align
	p := prog{kind: elf.PT_LOAD, flags: elf.PF_R | elf.PF_W, off: off, vaddr: addr, paddr: addr, filesz: r.newSize, memsz: r.newSize, align: align}
	if e.ownRW >= 0 {
		e.newProgs[e.ownRW].kind = elf.PT_NULL
	}
	if err := e.addLoad(p); err != nil {
		return err
	}
	r.newOff, r.newAddr = off, addr
	for i, s := range e.sects {
		if s.kind == elf.SHT_DYNAMIC && s.off == r.off {
			e.newSects[i].flags |= uint64(elf.SHF_WRITE)
		}
	}
	return nil
}
