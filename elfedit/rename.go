package elfedit

import (
	"cmp"
	"debug/elf"
	"maps"
	"slices"
)

// changeSymbols clears symbols' versions and renames symbols.
func (e *editor) changeSymbols() error {
	c := e.changes
	if len(c.ClearSymbolVersions)+len(c.RenameSymbols) == 0 {
		return nil
	}
	off, count, exact, err := e.symbolTable()
	if err != nil || count == 0 {
		return err
	}
	if e.table == nil {
		return e.noStringTable()
	}
	if !exact || e.region(regionDynsym) == nil {
		return refused("the number of dynamic symbols is unknown: the file has neither DT_HASH nor section headers")
	}
	clear := make(map[string]bool)
	for _, name := range c.ClearSymbolVersions {
		clear[name] = true
	}
	size := e.symSize()
	renamed := make(map[uint64]string)
	for i := uint64(1); i < count; i++ {
		name := uint64(e.symbol(e.data[off+i*size:]).name)
		text, err := e.table.text(name, "a symbol's name")
		if err != nil {
			return err
		}
		if clear[text] {
			e.clearVersion(i)
		}
		if to, ok := c.RenameSymbols[text]; ok && to != text {
			renamed[i] = to
		}
	}
	if len(renamed) == 0 {
		return nil
	}
	return e.renameSymbols(renamed, count)
}

// clearVersion makes a symbol's version the unnamed global one.
func (e *editor) clearVersion(index uint64) {
	const verNdxGlobal = 1
	if r := e.region(regionVersym); r != nil {
		e.order.PutUint16(e.load(r)[2*index:], verNdxGlobal)
	}
}

// renameSymbols renames dynamic symbols. The hash tables find a symbol by its
// name's hash, and DT_GNU_HASH holds the symbols in the order of their
// buckets, so symbols may have to change their places.
func (e *editor) renameSymbols(renamed map[uint64]string, count uint64) error {
	_, hasXHash := e.dynValue(tagMIPSXHash)
	hash, hasHash := e.region(regionHash), false
	if _, hasHash = e.dynValue(elf.DT_HASH); hasHash && hash == nil || hasXHash && isMIPS(e.machine) {
		return refused("the file's symbol hash table is of a kind that is not edited")
	}
	order := make([]uint64, count) // by new index, the old one
	for i := range order {
		order[i] = uint64(i)
	}
	h, hasGNU := e.gnuHash()
	if _, ok := e.dynValue(elf.DT_GNU_HASH); ok && !hasGNU {
		return refused("the file's symbol hash table cannot be read")
	}
	if hasGNU {
		if err := e.rehashGNU(h, renamed, order); err != nil {
			return err
		}
	}
	place := make([]uint64, count) // by old index, the new one
	moved := false
	for to, from := range order {
		place[from] = uint64(to)
		moved = moved || from != uint64(to)
	}
	if moved {
		if err := e.reorder(order, place); err != nil {
			return err
		}
	}
	if hash != nil {
		if err := e.rehash(hash, renamed, place); err != nil {
			return err
		}
	}
	e.renamed = make(map[uint64]bool)
	e.place = place
	for _, i := range slices.Sorted(maps.Keys(renamed)) {
		e.renamed[i] = true
		e.table.want(renamed[i], e.symbolNameSetter(i))
	}
	return nil
}

// symbolNameSetter returns a function that gives the dynamic symbol which has
// that index in the file as it was its name.
func (e *editor) symbolNameSetter(index uint64) func(uint32) {
	return func(offset uint32) {
		if e.place != nil {
			index = e.place[index]
		}
		e.order.PutUint32(e.load(e.region(regionDynsym))[index*e.symSize():], offset)
	}
}

// gnuHashOf is the hash of DT_GNU_HASH.
func gnuHashOf(name string) uint32 {
	h := uint32(5381)
	for i := range len(name) {
		h = h*33 + uint32(name[i])
	}
	return h
}

// sysvHashOf is the hash of DT_HASH (gABI, figure 5-13).
func sysvHashOf(name string) uint32 {
	var h uint32
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		g := h & 0xf0000000
		h = (h ^ g>>24) &^ g
	}
	return h
}

// rehashGNU makes DT_GNU_HASH anew, with as many buckets as it had, and puts
// the symbols that are in it into the order that it needs.
func (e *editor) rehashGNU(h gnuHash, renamed map[uint64]string, order []uint64) error {
	var inTable bool
	for i := range renamed {
		inTable = inTable || h.last != 0 && i >= uint64(h.first) && i <= uint64(h.last)
	}
	if !inTable {
		return nil
	}
	r := e.region(regionGNUHash)
	if r == nil || uint64(h.last) >= uint64(len(order)) || h.buckets == 0 || h.bloomN == 0 {
		return refused("the file's symbol hash table cannot be read")
	}
	b := e.load(r)
	o, w := e.order, e.wordSize()
	bits := uint32(8 * w)
	clear(b[h.bloomAt:h.bucketAt])
	hashes := make(map[uint64]uint32)
	for i := uint64(h.first); i <= uint64(h.last); i++ {
		hash := e.oldHash(i) // the chain has lost its lowest bit
		if name, ok := renamed[i]; ok {
			hash = gnuHashOf(name)
		}
		hashes[i] = hash
		word := b[h.bloomAt+w*uint64(hash/bits%h.bloomN):]
		e.putWord(word, e.word(word)|1<<(hash%bits)|1<<(hash>>h.shift%bits))
	}
	inside := order[h.first : h.last+1]
	slices.SortStableFunc(inside, func(x, y uint64) int {
		return cmp.Compare(hashes[x]%h.buckets, hashes[y]%h.buckets)
	})
	clear(b[h.bucketAt:h.chainAt])
	for i, from := range inside {
		bucket := hashes[from] % h.buckets
		at := b[h.bucketAt+4*uint64(bucket):]
		if o.Uint32(at) == 0 {
			o.PutUint32(at, h.first+uint32(i))
		}
		last := i == len(inside)-1 || hashes[inside[i+1]]%h.buckets != bucket
		value := hashes[from] &^ 1
		if last {
			value |= 1
		}
		o.PutUint32(b[h.chainAt+4*uint64(i):], value)
	}
	return nil
}

// oldHash is the hash of a symbol's name as it was.
func (e *editor) oldHash(index uint64) uint32 {
	r := e.region(regionDynsym)
	text, err := e.table.text(uint64(e.symbol(e.data[r.off+index*e.symSize():]).name), "a symbol's name")
	if err != nil {
		return 0
	}
	return gnuHashOf(text)
}

// reorder puts the dynamic symbols into another order: order and place hold
// the old index of a new one and the other way round.
func (e *editor) reorder(order, place []uint64) error {
	switch {
	case isMIPS(e.machine):
		return refused("the symbols cannot change their order, which is that of the global offset table")
	case e.hasTag(0x6000000f), e.hasTag(0x60000011), e.hasTag(0x6ffffef8):
		return refused("the file has relocations of a kind that is not edited")
	}
	permute := func(r *region, size uint64) {
		old := slices.Clone(e.load(r))
		for to, from := range order {
			copy(r.content[uint64(to)*size:], old[from*size:(from+1)*size])
		}
	}
	permute(e.region(regionDynsym), e.symSize())
	if e.hasTag(elf.DT_VERSYM) {
		r := e.region(regionVersym)
		if r == nil {
			return refused("the symbols' versions cannot be read")
		}
		permute(r, 2)
	}
	plt, _ := e.dynValue(elf.DT_PLTREL)
	for _, t := range []struct {
		addr, size elf.DynTag
		addend     bool
	}{
		{elf.DT_RELA, elf.DT_RELASZ, true},
		{elf.DT_REL, elf.DT_RELSZ, false},
		{elf.DT_JMPREL, elf.DT_PLTRELSZ, elf.DynTag(plt) == elf.DT_RELA},
	} {
		if err := e.reorderRelocations(t.addr, t.size, t.addend, place); err != nil {
			return err
		}
	}
	return nil
}

// reorderRelocations makes relocations refer to symbols at their new places.
func (e *editor) reorderRelocations(addrTag, sizeTag elf.DynTag, addend bool, place []uint64) error {
	addr, ok := e.dynValue(addrTag)
	size, _ := e.dynValue(sizeTag)
	if !ok || size == 0 {
		return nil
	}
	off, err := e.offset(addr, size, "the relocations")
	if err != nil {
		return err
	}
	w := e.wordSize()
	entry := 2 * w
	if addend {
		entry = 3 * w
	}
	shift := e.pick(8, 32)
	for at := off; at+entry <= off+size; at += entry {
		info := e.word(e.data[at+w:])
		symbol := info >> shift
		if symbol >= uint64(len(place)) {
			return broken(at, "a relocation refers to symbol %d of %d", symbol, len(place))
		}
		if place[symbol] != symbol {
			word := make([]byte, w)
			e.putWord(word, place[symbol]<<shift|info&(1<<shift-1))
			e.out.write(at+w, word)
		}
	}
	return nil
}

// rehash changes DT_HASH: the symbols have new places, and those that are
// renamed new chains.
func (e *editor) rehash(r *region, renamed map[uint64]string, place []uint64) error {
	o := e.order
	old := e.data[r.off:r.end()]
	buckets, chains := uint64(o.Uint32(old)), uint64(o.Uint32(old[4:]))
	if buckets == 0 || chains != uint64(len(place)) {
		return refused("the file's symbol hash table cannot be read")
	}
	b := e.load(r)
	next := func(i uint64) []byte { return b[8+4*(buckets+i):] }
	for i := range buckets {
		// Each chain is linked anew, without the symbols that are renamed.
		link := b[8+4*i:]
		steps := uint64(0)
		symbol := uint64(o.Uint32(old[8+4*i:]))
		for symbol != 0 {
			if symbol >= chains || steps > chains {
				return broken(r.off, "the symbol hash table has a loop")
			}
			if _, ok := renamed[symbol]; !ok {
				o.PutUint32(link, uint32(place[symbol]))
				link = next(place[symbol])
			}
			symbol = uint64(o.Uint32(old[8+4*(buckets+symbol):]))
			steps++
		}
		o.PutUint32(link, 0)
	}
	for _, i := range slices.Sorted(maps.Keys(renamed)) {
		name := renamed[i]
		head := b[8+4*(uint64(sysvHashOf(name))%buckets):]
		copy(next(place[i])[:4], head[:4])
		o.PutUint32(head, uint32(place[i]))
	}
	return nil
}
