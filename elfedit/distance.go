package elfedit

import "debug/elf"

// largestObject bounds the size that a symbol is believed to have, in bytes.
const largestObject = 1 << 20

// distance is how far above the other segments a read-only one starts, at
// least. eu-elflint takes the place that a relocation changes to be as large as
// the relocation's symbol, and must not find it to be read-only. Where nothing reaches that far
// it is 0, so that the segment follows on the next page: the loader makes another call, mprotect, for
// each file with a hole between its segments (glibc elf/dl-map-segments.h).
func (e *editor) distance() uint64 {
	r := e.region(regionDynsym)
	if r == nil {
		return 1
	}
	var reach uint64
	top := e.top()
	known := e.eachRelocation(func(place, symbol uint64) {
		at := r.off + symbol*e.symSize()
		if at+e.symSize() > r.end() {
			return
		}
		if size := e.symbol(e.data[at:]).size; size <= largestObject && place <= top && place+size > top {
			reach = max(reach, place+size-top)
		}
	})
	if known {
		return reach
	}
	for at := r.off; at+e.symSize() <= r.end(); at += e.symSize() {
		if size := e.symbol(e.data[at:]).size; size <= largestObject {
			reach = max(reach, size)
		}
	}
	return reach + 1
}

// eachRelocation calls f with the address that each dynamic relocation changes and the index of
// its symbol. known is false when there are relocations that cannot be read.
func (e *editor) eachRelocation(f func(place, symbol uint64)) (known bool) {
	if isMIPS(e.machine) || e.hasTag(0x6000000f) || e.hasTag(0x60000011) { // DT_ANDROID_REL, DT_ANDROID_RELA
		return false
	}
	plt, _ := e.dynValue(elf.DT_PLTREL)
	w := e.wordSize()
	shift := e.pick(8, 32)
	for _, t := range []struct {
		addr, size elf.DynTag
		entry      uint64
	}{
		{elf.DT_RELA, elf.DT_RELASZ, 3 * w},
		{elf.DT_REL, elf.DT_RELSZ, 2 * w},
		{elf.DT_JMPREL, elf.DT_PLTRELSZ, 2 * w},
	} {
		if t.addr == elf.DT_JMPREL && elf.DynTag(plt) == elf.DT_RELA {
			t.entry = 3 * w
		}
		addr, ok := e.dynValue(t.addr)
		size, _ := e.dynValue(t.size)
		if !ok || size == 0 {
			continue
		}
		off, err := e.offset(addr, size, "the relocations")
		if err != nil {
			return false
		}
		for at := off; at+t.entry <= off+size; at += t.entry {
			f(e.word(e.data[at:]), e.word(e.data[at+w:])>>shift)
		}
	}
	return true
}
