package elfedit

import "debug/elf"

// spareDyn is how many entries a dynamic section that moves has to spare.
const spareDyn = 8

// placeDynamic finds room for the dynamic section.
func (e *editor) placeDynamic() error {
	if e.dynProg < 0 || e.dynSlots == 0 || len(e.newDyn)+1 <= e.dynSlots {
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
	case e.inRelRO(r.addr, r.size) && !e.changes.MayLeaveRelRO:
		return &RefusedError{Reason: ErrLeavesRelRO.Error(), Err: ErrLeavesRelRO}
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

// inRelRO reports whether PT_GNU_RELRO covers the dynamic section, of which the
// dynamic loader makes nothing but whole pages read-only.
func (img *image) inRelRO(addr, size uint64) bool {
	for _, p := range img.progs {
		if p.kind == elf.PT_GNU_RELRO {
			return addr >= p.vaddr && addr+size <= p.memEnd()
		}
	}
	return false
}

// dynamicRoom reports whether RELRO covers the dynamic section, and if so, how
// many entries it can gain for that to stay so: what placeDynamic finds before
// it gives up.
func (img *image) dynamicRoom() (relro bool, entries int) {
	d := img.progs[img.dynProg]
	if !img.inRelRO(d.vaddr, d.memsz) {
		return false, 0
	}
	most := uint64(img.dynSlots) * img.dynSize()
	e := &editor{image: img, out: newOverlay(img.data)}
	if r := e.add(regionDynamic, d.off, d.filesz, e.wordSize()); r != nil && r.load >= 0 && img.sectsErr == nil {
		if img.progs[r.load].flags&elf.PF_W == 0 {
			return false, 0 // it needs no RELRO
		}
		e.findGaps()
		if _, end, first, ok := e.headOf(r); ok && end > first {
			most = max(most, end-first)
		}
		most = max(most, e.roomOfMoved(r))
	}
	return true, max(int(most/img.dynSize())-1-len(img.dyn), 0)
}

// headOf returns the gap before the dynamic section's segment, the offset that
// the section may reach there, and the one that it may start at.
func (e *editor) headOf(r *region) (g *gap, end, first uint64, ok bool) {
	p := e.progs[r.load]
	if _, ok := e.relroFrom(r); !ok {
		return nil, 0, 0, false
	}
	end = p.off
	if r.off == p.off {
		end = r.end() // an earlier edit put it there
	}
	for _, g := range e.gaps {
		if g.above == r.load && g.hi == p.off {
			return g, end, alignUp(max(g.lo, g.rwFrom), e.wordSize()), true
		}
	}
	return nil, 0, 0, false
}

// lowerSegment makes the dynamic section's segment start earlier, by using the
// unused bytes before it.
func (e *editor) lowerSegment(r *region, size uint64) bool {
	g, end, first, ok := e.headOf(r)
	if !ok || end < size {
		return false
	}
	// The end keeps its alignment, so there may be a few bytes behind.
	start := alignDown(end-size, e.wordSize())
	if start < first {
		return false
	}
	p := e.progs[r.load]
	relro, _ := e.relroFrom(r)
	g.hi = start
	e.lower(r.load, relro, p.off-start)
	r.newOff, r.newAddr, r.newSize = start, p.vaddr-(p.off-start), size
	return true
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

// largestRoom bounds how many bytes before a segment are used, when there are
// whole unused pages.
const largestRoom = 1 << 16

// roomOfMoved returns how many bytes there are for the dynamic section before its
// segment, when that moves to the end of the file; 0 when it cannot move.
func (e *editor) roomOfMoved(r *region) uint64 {
	p := e.progs[r.load]
	page := e.segmentAlign(p)
	_, ok := e.relroFrom(r)
	if !ok || p.filesz > largestMove || page > largestRoom || e.payload() != nil {
		return 0
	}
	lowest := p.vaddr - p.vaddr%page
	below := uint64(0) // where the segment below ends
	for i, q := range e.progs {
		if q.kind != elf.PT_LOAD || i == r.load {
			continue
		}
		if q.vaddr < p.vaddr {
			below = max(below, q.memEnd())
		}
		if q.off < p.fileEnd() && q.fileEnd() > p.off {
			return 0
		}
	}
	if below > lowest {
		return 0
	}
	if below > 0 { // the pages between the two are free
		lowest = max(alignUp(below, page), min(lowest, alignUp(p.vaddr-min(p.vaddr, largestRoom), page)))
	}
	room := alignDown(p.vaddr-lowest, e.wordSize())
	if start := alignUp(e.out.size, 16); !e.is64 && start+page+room+p.filesz > 1<<32-1 {
		return 0
	}
	return room
}

// moveSegment copies the bytes of the dynamic section's segment to the end of
// the file, where there can be room before them. The addresses stay.
func (e *editor) moveSegment(r *region, least uint64) bool {
	p := e.progs[r.load]
	page := e.segmentAlign(p)
	room := e.roomOfMoved(r)
	size := room - room%e.dynSize()
	if size < least {
		return false
	}
	relro, _ := e.relroFrom(r)
	start := alignUp(e.out.size, 16)
	start += (p.vaddr - room - start) % page
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
	for _, g := range e.gaps {
		if g.above == r.load { // its old place is no head of a segment any more
			g.above = -1
		}
		if g.below < 0 { // nor may others grow into the pages that it starts with now
			continue
		}
		if end := e.progs[g.below].memEnd(); end <= r.newAddr {
			g.roEnd = min(g.roEnd, g.from+(alignDown(r.newAddr, page)-end))
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
	addr, err := e.newAddr(off, r.newSize, 0, align)
	if err != nil {
		return err
	}
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
