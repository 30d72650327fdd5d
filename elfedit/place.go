package elfedit

import (
	"debug/elf"
	"slices"
)

// gap is a run of zero bytes of the file that nothing covers, at the end of a
// read-only segment, at the start of a writable one, or both. Each segment can
// be made larger to cover a part of it.
type gap struct {
	from   uint64 // its start
	lo, hi uint64 // what is left of it
	below  int    // index of the read-only PT_LOAD that ends at its start, -1
	roEnd  uint64 // offset that the segment below may reach
	above  int    // index of the writable PT_LOAD that starts at its end, -1
	rwFrom uint64 // offset that the segment above may start at
}

// longestGap bounds what is searched for zero bytes.
const longestGap = 1 << 20

// span is a range of the file.
type span struct{ lo, hi uint64 }

// covered returns the ranges of the file that something refers to.
func (e *editor) covered() []span {
	spans := []span{
		{0, e.ehdrSize()},
		{e.phoff, e.phoff + uint64(len(e.progs))*e.progSize()},
		{e.shoff, e.shoff + uint64(len(e.sects))*e.sectSize()},
	}
	for _, p := range e.progs {
		if p.kind != elf.PT_NULL && p.kind != elf.PT_GNU_STACK {
			spans = append(spans, span{p.off, p.fileEnd()})
		}
	}
	for _, s := range e.sects {
		spans = append(spans, span{s.off, s.off + s.fileSize()})
	}
	return slices.DeleteFunc(spans, func(s span) bool { return s.lo == s.hi })
}

// segmentAlign is the largest page that a segment was laid out for.
func (e *editor) segmentAlign(p prog) uint64 {
	if isPowerOfTwo(p.align) && p.align >= 1<<12 {
		return p.align
	}
	return e.machinePage()
}

// machinePage is the largest page that the machine's systems use.
func (e *editor) machinePage() uint64 {
	switch e.machine {
	case elf.EM_386, elf.EM_X86_64, elf.EM_S390, elf.EM_RISCV, elf.EM_SH, elf.EM_68K:
		return 1 << 12
	}
	return 1 << 16
}

// findGaps finds the room that edits may use without making the file larger.
func (e *editor) findGaps() {
	spans := e.covered()
	for i, p := range e.progs {
		if p.kind != elf.PT_LOAD || p.filesz == 0 {
			continue
		}
		if p.flags&elf.PF_W == 0 {
			if p.flags&elf.PF_R != 0 && p.filesz == p.memsz {
				e.findTail(i, spans)
			}
		} else {
			e.findHead(i, spans)
		}
	}
}

// findTail finds the gap behind a read-only segment.
func (e *editor) findTail(i int, spans []span) {
	p := e.progs[i]
	lo, hi := p.fileEnd(), min(uint64(len(e.data)), p.fileEnd()+longestGap)
	for _, s := range spans {
		if s.hi <= lo {
			continue
		}
		if s.lo < lo {
			return
		}
		hi = min(hi, s.lo)
	}
	end := lo + uint64(zeroPrefix(e.data[lo:hi]))
	limit := ^uint64(0)
	for j, q := range e.progs {
		if q.kind == elf.PT_LOAD && j != i && q.memEnd() > p.vaddr {
			limit = min(limit, alignDown(q.vaddr, e.segmentAlign(q)))
		}
	}
	if limit <= p.memEnd() || end == lo || slices.ContainsFunc(e.gaps, func(g *gap) bool { return g.lo == lo && g.below >= 0 }) {
		return
	}
	e.gaps = append(e.gaps, &gap{from: lo, lo: lo, hi: end, below: i, roEnd: lo + min(limit-p.memEnd(), end-lo), above: -1})
}

// findHead finds the gap before a writable segment. It ends where the
// segment's first page starts: nothing else may be on that page.
func (e *editor) findHead(i int, spans []span) {
	p := e.progs[i]
	page := e.segmentAlign(p)
	room := p.vaddr % page
	first := p.vaddr - room
	for j, q := range e.progs {
		if q.kind == elf.PT_LOAD && j != i && q.vaddr < p.vaddr && q.memEnd() > first {
			return
		}
	}
	room = min(room, p.off, longestGap)
	lo := p.off - room
	for _, s := range spans {
		if s.lo >= p.off {
			continue
		}
		if s.hi > p.off {
			return
		}
		lo = max(lo, s.hi)
	}
	lo = p.off - uint64(zeroSuffix(e.data[lo:p.off]))
	if lo == p.off {
		return
	}
	for _, g := range e.gaps {
		if g.hi == p.off && g.above < 0 {
			g.above, g.rwFrom = i, lo
			return
		}
	}
	e.gaps = append(e.gaps, &gap{from: lo, lo: lo, hi: p.off, below: -1, above: i, rwFrom: lo})
}

func zeroPrefix(b []byte) int {
	n := slices.IndexFunc(b, func(c byte) bool { return c != 0 })
	if n < 0 {
		return len(b)
	}
	return n
}

func zeroSuffix(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return len(b) - n
}

// growTail lets a region that ends a read-only segment grow with it.
func (e *editor) growTail(r *region, size uint64) bool {
	if r.load < 0 {
		return false
	}
	for _, g := range e.gaps {
		if g.below == r.load && g.lo == r.end() && !r.isMoved() && r.off+size <= min(g.hi, g.roEnd) {
			g.lo = r.off + size
			r.newSize = size
			return true
		}
	}
	return false
}

// moveToGap moves a region into a gap: the one of the smallest sufficient
// room, but into an executable segment only when there is no other.
func (e *editor) moveToGap(r *region, size uint64) bool {
	var best *gap
	better := func(g *gap) bool {
		if best == nil {
			return true
		}
		x, y := e.progs[g.below].flags&elf.PF_X, e.progs[best.below].flags&elf.PF_X
		return x < y || x == y && min(g.hi, g.roEnd)-g.lo < min(best.hi, best.roEnd)-best.lo
	}
	for _, g := range e.gaps {
		if g.below >= 0 && g.below != e.arena && e.gapStart(g, r.align)+size <= min(g.hi, g.roEnd) && better(g) {
			best = g
		}
	}
	if best == nil {
		return false
	}
	p := e.progs[best.below]
	r.newOff = e.gapStart(best, r.align)
	r.newAddr = p.vaddr + (r.newOff - p.off)
	r.newSize = size
	best.lo = r.newOff + size
	return true
}

// gapStart is the first offset of a gap whose address has the alignment.
func (e *editor) gapStart(g *gap, align uint64) uint64 {
	p := e.progs[g.below]
	addr := p.vaddr + (g.lo - p.off)
	return g.lo + (alignUp(addr, align) - addr)
}

// moveAllToGaps moves several regions into gaps, or none.
func (e *editor) moveAllToGaps(regions []*region) bool {
	var saved []gap
	for _, g := range e.gaps {
		saved = append(saved, *g)
	}
	for i, r := range regions {
		if e.moveToGap(r, r.newSize) {
			continue
		}
		for _, r := range regions[:i] {
			r.newOff, r.newAddr = r.off, r.addr
		}
		for i, g := range e.gaps {
			*g = saved[i]
		}
		return false
	}
	return true
}

// moveToArena puts a region into the file's own segment.
func (e *editor) moveToArena(r *region) {
	if !r.inArena {
		r.inArena = true
		e.toArena = append(e.toArena, r)
	}
}

// following returns the regions that have to go so that n bytes are free from
// an offset on, and where the free bytes then end. ok is false when something
// is in the way that cannot move.
func (e *editor) following(from, n uint64) (victims []*region, end uint64, ok bool) {
	end = from
	for _, r := range e.regions {
		if r.end() <= from {
			continue
		}
		if end >= from+n {
			break
		}
		if r.off < end || !e.isFree(end, min(r.off, from+n)) {
			return nil, 0, false
		}
		end = min(r.off, from+n)
		if end == from+n {
			break
		}
		if !r.isMoved() {
			if r.fixed {
				return nil, 0, false
			}
			victims = append(victims, r)
		}
		end = r.end()
	}
	if end < from+n {
		if !e.isFree(end, from+n) {
			return nil, 0, false
		}
		end = from + n
	}
	return victims, end, true
}

// isFree reports whether nothing is between two offsets of one segment. Without
// section headers only the few bytes that align what follows are known to be
// unused.
func (e *editor) isFree(lo, hi uint64) bool {
	if lo == hi {
		return true
	}
	if hi > uint64(len(e.data)) || zeroPrefix(e.data[lo:hi]) != int(hi-lo) {
		return false
	}
	for _, s := range e.sects {
		if s.fileSize() > 0 && s.off < hi && s.off+s.fileSize() > lo {
			return false
		}
	}
	for _, p := range e.progs {
		if p.kind != elf.PT_LOAD && p.kind != elf.PT_NULL && p.off < hi && p.fileEnd() > lo && p.kind != elf.PT_GNU_RELRO {
			return false
		}
	}
	return e.sects != nil || hi-lo < 16
}

// placeStrings finds room for the string table.
func (e *editor) placeStrings() error {
	if e.table == nil {
		return nil
	}
	if err := e.wantChanged(); err != nil {
		return err
	}
	table, err := e.table.build()
	if err != nil || table == nil {
		return err
	}
	r := e.region(regionDynstr)
	if r == nil {
		return broken(e.table.off, "no dynamic string table")
	}
	r.content = table
	need := uint64(len(table))
	if r.size == 0 && e.sects != nil { // nameStrings made it; strip keeps what is in a section
		e.addSects = append(e.addSects, newSect{
			name: ".dynstr", r: r, align: 1,
			sect: sect{kind: elf.SHT_STRTAB, flags: uint64(elf.SHF_ALLOC), size: need, align: 1},
		})
	}
	switch {
	case r.inArena:
		r.newSize = need
		return nil
	case need <= r.size:
		r.content = append(table, make([]byte, r.size-need)...)
		return nil
	case e.growTail(r, need), e.moveToGap(r, need):
		return nil
	}
	victims, end, ok := e.following(r.end(), need-r.size)
	if ok && e.inSegment(r.load, end) {
		var cost uint64
		for _, v := range victims {
			cost += v.newSize
		}
		fits := e.moveAllToGaps(victims)
		if fits || cost < need {
			if !fits {
				for _, v := range victims {
					e.moveToArena(v)
				}
			}
			r.newSize = end - r.off
			r.content = append(table, make([]byte, r.newSize-need)...)
			return nil
		}
	}
	r.newSize = need
	e.moveToArena(r)
	return nil
}

// inSegment reports whether an offset is within a segment, or its end.
func (e *editor) inSegment(load int, end uint64) bool {
	return load >= 0 && end <= e.progs[load].fileEnd()
}

// wantChanged registers the strings that the changes ask for and, when there
// are any, all others that the edit's own part of the table holds.
func (e *editor) wantChanged() error {
	changed := len(e.table.refs) > 0
	for _, d := range e.newDyn {
		changed = changed || d.text != nil
	}
	if !changed {
		return nil
	}
	if err := e.wantDynamic(); err != nil {
		return err
	}
	if err := e.wantOldVersions(); err != nil {
		return err
	}
	return e.wantOld()
}

// placeOthers finds room for the regions whose content outgrew them.
func (e *editor) placeOthers() error {
	for _, r := range e.regions {
		size := uint64(len(r.content))
		if r.kind == regionDynstr || r.kind == regionDynamic || size <= r.newSize {
			continue
		}
		if r.inArena {
			r.newSize = size
			continue
		}
		if r.fixed && r.load < 0 {
			return refused("the file has no room for a larger %v", r.kind)
		}
		if e.growTail(r, size) || e.moveToGap(r, size) {
			continue
		}
		r.newSize = size
		e.moveToArena(r)
	}
	return nil
}

func (k regionKind) String() string {
	switch k {
	case regionInterp:
		return "interpreter"
	case regionNote:
		return "note"
	}
	return "table"
}
