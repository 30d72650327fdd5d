package elfedit

import (
	"cmp"
	"debug/elf"
	"slices"
)

// findOwnSegments finds the segments that an earlier edit added. The read-only
// one is the last in memory, or the first of a dumped program, does not hold the
// file header, and holds nothing but tables that can move, and zeros. The
// writable one is like it and holds the dynamic section alone.
func (e *editor) findOwnSegments() {
	top, bottom := -1, -1
	for i, p := range e.progs {
		if p.kind != elf.PT_LOAD || p.off == 0 || p.filesz == 0 || p.filesz != p.memsz {
			continue
		}
		if p.flags == elf.PF_R|elf.PF_W && e.holdsOnly(i, func(r *region) bool { return r.kind == regionDynamic && r.off == p.off }) {
			e.ownRW = i
		}
		if top < 0 || p.vaddr > e.progs[top].vaddr {
			top = i
		}
		if bottom < 0 || p.vaddr < e.progs[bottom].vaddr {
			bottom = i
		}
	}
	if e.dumped = e.isDumped(); e.dumped {
		top = bottom
	}
	if top < 0 || e.progs[top].flags != elf.PF_R {
		return
	}
	for i, p := range e.progs {
		if p.kind == elf.PT_LOAD && i != top && p.memEnd() > e.progs[top].vaddr && !e.dumped {
			return
		}
	}
	movable := func(r *region) bool { return !r.fixed || r.kind == regionProgs }
	if !e.holdsOnly(top, movable) {
		return
	}
	e.arena = top
	for _, r := range e.regions {
		if r.load == top {
			r.inArena = true
		}
	}
}

// isDumped reports whether a program was written from its own memory, as GNU Common
// Lisp writes those that are made with it: at a fixed address, with all of its
// variables and the heap in the file. It goes on with its heap where its last
// segment ends, and there the system's begins (brk(2)) while no other segment is
// behind it.
func (e *editor) isDumped() bool {
	if e.kind != elf.ET_EXEC || e.machine == elf.EM_IA_64 {
		return false
	}
	last := -1
	for i, p := range e.progs {
		if p.kind == elf.PT_LOAD && i != e.ownRW && (last < 0 || p.vaddr > e.progs[last].vaddr) {
			last = i
		}
	}
	return last >= 0 && e.progs[last].flags&elf.PF_W != 0 && e.progs[last].filesz == e.progs[last].memsz
}

// holdsOnly reports whether a segment holds at least one region, only regions
// that are suitable, and zeros between them.
func (e *editor) holdsOnly(load int, suitable func(*region) bool) bool {
	p := e.progs[load]
	at, found := p.off, false
	for _, r := range e.regions {
		if r.load != load {
			continue
		}
		if !suitable(r) || r.off < at || zeroPrefix(e.data[at:r.off]) != int(r.off-at) {
			return false
		}
		at, found = r.end(), true
	}
	return found && zeroPrefix(e.data[at:p.fileEnd()]) == int(p.fileEnd()-at)
}

// payload refuses a file that has bytes of its own behind everything that the
// headers refer to. Some programs look for such bytes at the end of the file,
// others at the offset that they were put at, so that the file can grow neither
// behind them nor before them.
func (e *editor) payload() error {
	var end uint64
	for _, s := range e.covered() {
		end = max(end, s.hi)
	}
	if end < uint64(len(e.data)) && zeroPrefix(e.data[end:]) != len(e.data)-int(end) {
		return refused("the file must grow, and behind the ELF file, from offset %#x on, it has %d bytes of its own that must stay its end", end, uint64(len(e.data))-end)
	}
	return nil
}

// top is the first address above all segments.
func (e *editor) top() uint64 {
	var top uint64
	for _, p := range e.newProgs {
		if p.kind == elf.PT_LOAD {
			top = max(top, p.memEnd())
		}
	}
	return top
}

// lowestAddress is the first address at which programs may have something
// (vm.mmap_min_addr, as distributions set it).
const lowestAddress = 1 << 16

// newAddr returns the address of a segment that is added, whose bytes stand at an
// offset of the file: above the others and as far away as distance says, or
// below the others of a dumped program.
func (e *editor) newAddr(off, size, distance, align uint64) (uint64, error) {
	if !e.dumped {
		return alignUp(e.top()+distance, align) + off%align, nil
	}
	lowest := ^uint64(0)
	for _, p := range e.newProgs {
		if p.kind == elf.PT_LOAD {
			lowest = min(lowest, alignDown(p.vaddr, align))
		}
	}
	need := alignUp(off%align+size, align)
	if lowest < lowestAddress+need {
		return 0, refused("it goes on with its heap where its segments end, and below them no addresses are left for another one")
	}
	return lowest - need + off%align, nil
}

// newAlign is the alignment of a segment that is added.
func (e *editor) newAlign() uint64 {
	align := max(e.changes.PageSize, 1<<12)
	for _, p := range e.progs {
		if p.kind == elf.PT_LOAD {
			align = max(align, e.segmentAlign(p))
		}
	}
	return align
}

// addSegments lays out the file's own segments and makes room for their
// program headers.
func (e *editor) addSegments() error {
	if table := e.region(regionProgs); table != nil && e.dumped && e.slots() > 0 && !table.mixed {
		// Linux before 5.18 takes the table to be in the first segment.
		e.moveToArena(table)
	}
	if err := e.makeSlots(); err != nil {
		return err
	}
	e.growTails()
	if e.newRW != nil {
		if err := e.layoutRW(); err != nil {
			return err
		}
	}
	if len(e.toArena) > 0 || e.arenaChanged() {
		if err := e.layoutArena(); err != nil {
			return err
		}
	}
	for _, n := range e.addProgs {
		if n.r != nil {
			n.off, n.vaddr, n.paddr = n.r.newOff, n.r.newAddr, n.r.newAddr
			n.filesz, n.memsz = n.r.used, n.r.used
		}
		e.insertProg(len(e.newProgs), n.prog)
	}
	return nil
}

// growTails makes the segments cover what was put into the gaps behind them.
func (e *editor) growTails() {
	for _, g := range e.gaps {
		if g.below >= 0 && g.lo > g.from {
			q := &e.newProgs[g.below]
			q.filesz += g.lo - g.from
			q.memsz = q.filesz
		}
	}
}

// arenaChanged reports whether a region of the file's own segment has another
// size or content.
func (e *editor) arenaChanged() bool {
	return slices.ContainsFunc(e.regions, func(r *region) bool {
		return r.inArena && (r.newSize != r.size || r.content != nil)
	})
}

// slots returns how many program headers are to be added.
func (e *editor) slots() int {
	n := len(e.addProgs)
	if len(e.toArena) > 0 && e.arena < 0 {
		n++
	}
	if e.newRW != nil && e.ownRW < 0 {
		n++
	}
	return n
}

// makeSlots finds room for more program headers: unused ones, then the bytes
// behind the table, moving what is there and can move, and at last the table
// moves itself. Tools that rewrite a file, as strip does, put the table behind
// the file header, so it stays there if it can.
func (e *editor) makeSlots() error {
	var unused int
	for _, p := range e.progs {
		if p.kind == elf.PT_NULL {
			unused++
		}
	}
	table := e.region(regionProgs)
	for {
		n := e.slots()
		if n <= unused {
			return nil
		}
		count := len(e.progs) + n - unused
		if count >= 0xffff || table == nil {
			return refused("the file has no room for another program header")
		}
		table.newSize = uint64(count) * e.progSize()
		if table.inArena {
			return nil
		}
		e.clearSects(table.end(), table.off+table.newSize)
		victims, _, ok := e.following(table.end(), table.newSize-table.size)
		if ok && e.inSegment(table.load, table.off+table.newSize) {
			if !e.moveAllToGaps(victims) {
				for _, v := range victims {
					e.moveToArena(v)
				}
			}
		} else {
			e.moveToArena(table)
		}
		if e.slots() == n {
			return nil
		}
	}
}

// clearSects moves the section headers to the end of the file when they are
// between two offsets, as Go's linker has them behind the program headers.
func (e *editor) clearSects(lo, hi uint64) {
	r := e.region(regionSects)
	if r == nil || r.isMoved() || r.off >= hi || r.end() <= lo || e.payload() != nil {
		return
	}
	if e.newShoff != e.shoff { // they have moved already
		r.newOff = e.newShoff
		return
	}
	r.newOff = alignUp(e.out.size, 16)
	e.newShoff = r.newOff
	e.out.zero(e.out.size, r.newOff+r.size-e.out.size)
}

// addressLimit is the first address above those that a segment may have which
// is added to the file.
func (e *editor) addressLimit() uint64 {
	switch {
	case !e.is64:
		return 1 << 32
	case e.machine == elf.EM_IA_64:
		// The upper three bits of an address are the number of a region, and
		// programs have their data in region 3. The lowest 64 GiB of a region can
		// be mapped whatever the size of a page (Linux, RGN_MAP_LIMIT of
		// arch/ia64); larger pages reach further.
		const region = 1 << 61
		return alignDown(e.top(), region) + 1<<36
	}
	return 1 << 47
}

// addLoad adds a PT_LOAD above all others, or below them, and makes the file as long
// as it.
func (e *editor) addLoad(p prog) error {
	if p.vaddr < e.top() && !e.dumped || p.memEnd() > e.addressLimit() || p.memEnd() < p.vaddr || !e.is64 && p.fileEnd() > 1<<32 {
		return refused("no addresses are left above the file's segments")
	}
	at := 0
	for i, q := range e.newProgs {
		if q.kind == elf.PT_LOAD && q.vaddr < p.vaddr {
			at = i + 1
		}
	}
	if at == 0 { // below all others, and behind what stands before these
		at = max(0, slices.IndexFunc(e.newProgs, func(q prog) bool { return q.kind == elf.PT_LOAD }))
	}
	e.insertProg(at, p)
	if p.fileEnd() > e.out.size {
		e.out.zero(e.out.size, p.fileEnd()-e.out.size)
	}
	return nil
}

// insertProg inserts a program header. An unused one makes room for it, so
// that the others keep their order.
func (e *editor) insertProg(at int, p prog) {
	for i, q := range e.newProgs {
		if q.kind == elf.PT_NULL {
			e.newProgs = slices.Delete(e.newProgs, i, i+1)
			if i < at {
				at--
			}
			break
		}
	}
	e.newProgs = slices.Insert(e.newProgs, at, p)
}

// layoutArena lays the file's own read-only segment out anew: the regions that
// it had and those that it gains.
func (e *editor) layoutArena() error {
	var inside []*region
	for _, r := range e.regions {
		if r.inArena {
			inside = append(inside, r)
		}
	}
	slices.SortStableFunc(inside, func(a, b *region) int { return cmp.Compare(a.kind, b.kind) })
	starts := make([]uint64, len(inside))
	var size uint64
	for i, r := range inside {
		starts[i] = alignUp(size, max(r.align, 1))
		size = starts[i] + r.newSize
	}
	p, err := e.arenaSegment(size, inside)
	if err != nil {
		return err
	}
	e.out.zero(p.off, p.filesz)
	for i, r := range inside {
		r.newOff, r.newAddr = p.off+starts[i], p.vaddr+starts[i]
		r.load = -1
		if r.kind != regionProgs {
			e.load(r)
		}
	}
	return nil
}

// arenaSegment returns the program header of the file's own segment, which
// holds size bytes: the one that it has, made larger where that can be, or
// another.
func (e *editor) arenaSegment(size uint64, inside []*region) (prog, error) {
	if e.arena >= 0 {
		p := &e.newProgs[e.arenaIndex()]
		if size <= p.filesz {
			return *p, nil
		}
		if p.memEnd() >= e.top() && p.fileEnd() == e.out.size && e.newRW == nil {
			p.filesz, p.memsz = size, size
			e.out.zero(e.out.size, p.fileEnd()-e.out.size)
			return *p, nil
		}
		if p.memEnd() >= e.top() && e.newRW == nil && e.shiftTail(p.fileEnd(), size-p.filesz) {
			p.filesz, p.memsz = size, size
			return *p, nil
		}
		p.kind = elf.PT_NULL
	}
	if err := e.payload(); err != nil {
		return prog{}, err
	}
	align := e.newAlign()
	off := alignUp(e.out.size, 64)
	addr, err := e.newAddr(off, size, e.distance(), align)
	if err != nil {
		return prog{}, err
	}
	if inside[0].kind == regionProgs && !e.dumped {
		off, addr = e.tableOffset(off, addr, align)
	}
	p := prog{kind: elf.PT_LOAD, flags: elf.PF_R, off: off, vaddr: addr, paddr: addr, filesz: size, memsz: size, align: align}
	return p, e.addLoad(p)
}

// largestHole bounds the zeros that a file gains for the sake of old kernels,
// in bytes.
const largestHole = 1 << 20

// tableOffset chooses an offset and an address for a segment that holds the
// program headers. Linux before 5.18 tells a program that its program headers
// are at the first segment's address plus e_phoff, so the difference of
// address and offset should be that of the first segment.
func (e *editor) tableOffset(off, addr, align uint64) (uint64, uint64) {
	for _, p := range e.progs {
		if p.kind != elf.PT_LOAD {
			continue
		}
		delta := p.vaddr - p.off
		lowest := alignUp(e.top(), align)
		if lowest < delta {
			break
		}
		if o := max(alignUp(off, 64), lowest-delta); o-off <= largestHole {
			return o, o + delta
		}
		break
	}
	return off, addr
}

// arenaIndex finds the file's own segment in newProgs, where a header may have
// been inserted before it.
func (e *editor) arenaIndex() int {
	own := e.progs[e.arena]
	for i, p := range e.newProgs {
		if p.kind == elf.PT_LOAD && p.vaddr == own.vaddr && p.off == own.off {
			return i
		}
	}
	return -1
}

// largestTail is the size of the largest part of a file that is moved to let
// the segment before it grow, in bytes.
const largestTail = 4 << 20

// shiftTail moves what is behind an offset of the file further back, if that
// is nothing but the section headers and sections that are not loaded.
func (e *editor) shiftTail(from, n uint64) bool {
	if e.out.size-from > largestTail || e.payload() != nil {
		return false
	}
	align := uint64(16)
	for _, p := range e.newProgs {
		if p.kind != elf.PT_NULL && p.fileEnd() > from && p.filesz > 0 {
			return false
		}
	}
	for _, s := range e.newSects {
		if s.off+s.fileSize() > from && s.fileSize() > 0 {
			if s.off < from || s.flags&uint64(elf.SHF_ALLOC) != 0 || s.align > 1<<12 {
				return false
			}
			align = max(align, s.align)
		}
	}
	n = alignUp(n, align)
	e.out.write(from+n, e.out.read(from, e.out.size-from))
	for i, s := range e.newSects {
		if s.off >= from && s.kind != elf.SHT_NULL && s.flags&uint64(elf.SHF_ALLOC) == 0 {
			e.newSects[i].off += n
		}
	}
	if e.newShoff >= from {
		e.newShoff += n
	}
	return true
}
