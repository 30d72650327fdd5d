package elfedit

import (
	"debug/elf"
	"slices"
	"strings"
)

// SelfBindable returns the symbols of the file itself to which relocations of it can be bound for
// good, so that the loader looks none of them up, in a process of which no other object could
// answer the look-up: see (Symbol).MayAnswer. They are sorted, each once.
//
// A relocation of such a symbol is for a word of a writable segment, and in a library the symbol is
// a function, or a vtable or type information of C++: programs have copies of other data. Of a
// procedure linkage table it is in files that the loader binds at once (BIND_NOW). Functions that
// others replace on purpose (malloc and its kin, operator new and delete) are left
// out; so is all of a file of the C library itself or of a sanitizer's runtime, of one that is
// linked symbolically, filters another or relocates its text, and of machines other than x86-64,
// AArch64 and i386. That none is bindable is no error; the errors are those of Inspect.
func SelfBindable(data []byte) ([]Symbol, error) {
	img, err := parse(data)
	if err != nil {
		return nil, err
	}
	s, err := img.selfBinder()
	if s == nil || err != nil {
		return nil, err
	}
	found := make(map[*Symbol]bool) // each has many relocations
	err = s.eachBinding(nil, func(b selfBinding) error {
		found[b.symbol] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]Symbol, 0, len(found))
	for symbol := range found {
		list = append(list, *symbol)
	}
	slices.SortFunc(list, compareSymbols)
	return slices.Compact(list), nil
}

// relocationKinds are the relocations of a machine that self-binding knows, by its processor
// supplement's names: the address of a symbol with an addend, the same for a slot of
// the global offset table and of the procedure linkage table, and the load address with an addend.
type relocationKinds struct {
	class                          elf.Class
	addend                         bool // Elf_Rela: the addend is in the relocation and not in the slot
	word, slot, jumpSlot, relative uint32
}

var selfBindKinds = map[elf.Machine]relocationKinds{
	elf.EM_X86_64: {
		elf.ELFCLASS64, true,
		uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_GLOB_DAT), uint32(elf.R_X86_64_JMP_SLOT), uint32(elf.R_X86_64_RELATIVE),
	},
	elf.EM_AARCH64: {
		elf.ELFCLASS64, true,
		uint32(elf.R_AARCH64_ABS64), uint32(elf.R_AARCH64_GLOB_DAT), uint32(elf.R_AARCH64_JUMP_SLOT), uint32(elf.R_AARCH64_RELATIVE),
	},
	elf.EM_386: {
		elf.ELFCLASS32, false,
		uint32(elf.R_386_32), uint32(elf.R_386_GLOB_DAT), uint32(elf.R_386_JMP_SLOT), uint32(elf.R_386_RELATIVE),
	},
}

// selfBinder finds the relocations of a file that can be bound to the file itself.
type selfBinder struct {
	*lookupTable
	kinds    relocationKinds
	program  bool
	bindNow  bool
	tables   []relocationTable
	adjoins  bool // the second table is that of the procedure linkage table, and begins where the first ends
	byName   map[string][]uint64
	verdicts map[uint64]*Symbol // by index; nil for a symbol that is not bound
}

// relocationTable is DT_RELA or DT_REL, or DT_JMPREL.
type relocationTable struct {
	addr, off, size uint64
	plt             bool
}

// selfBinding is one relocation that can be bound to the file itself.
type selfBinding struct {
	symbol *Symbol
	at     uint64 // the relocation's address
	slot   uint64 // the address of what it relocates
	value  uint64 // what the slot shall hold, less the load address
	plt    bool   // it is in the table of the procedure linkage table
}

// maxSelfProgs is how many program headers a file may have of which something is bound: for each relocation they
// are looked through. Linkers make a dozen.
const maxSelfProgs = 64

// selfBinder returns nil for a file of which nothing is bound.
func (img *image) selfBinder() (*selfBinder, error) {
	kinds, ok := selfBindKinds[img.machine]
	if !ok || kinds.class != elf.Class(img.data[4]) || img.dynProg < 0 || len(img.progs) > maxSelfProgs {
		return nil, nil
	}
	flags, _ := img.dynValue(elf.DT_FLAGS)
	flags1, _ := img.dynValue(elf.DT_FLAGS_1)
	for _, tag := range []elf.DynTag{elf.DT_SYMBOLIC, elf.DT_TEXTREL, tagFilter, tagAuxiliary} {
		if img.hasTag(tag) {
			return nil, nil
		}
	}
	if elf.DynFlag(flags)&(elf.DF_SYMBOLIC|elf.DF_TEXTREL) != 0 {
		return nil, nil
	}
	interpreter := slices.ContainsFunc(img.progs, func(p prog) bool { return p.kind == elf.PT_INTERP })
	pie := elf.DynFlag1(flags1)&elf.DF_1_PIE != 0
	if !interpreter && (pie || img.kind == elf.ET_EXEC) {
		return nil, nil // linked statically
	}
	s := &selfBinder{
		kinds:    kinds,
		program:  img.kind == elf.ET_EXEC || pie || interpreter && !img.hasTag(elf.DT_SONAME),
		bindNow:  img.hasTag(elf.DT_BIND_NOW) || elf.DynFlag(flags)&elf.DF_BIND_NOW != 0 || elf.DynFlag1(flags1)&elf.DF_1_NOW != 0,
		byName:   make(map[string][]uint64),
		verdicts: make(map[uint64]*Symbol),
	}
	var err error
	if s.lookupTable, err = img.lookupTable(); err != nil {
		return nil, err
	}
	if excluded, err := s.isRuntime(); excluded || err != nil {
		return nil, err
	}
	if err := s.readNames(); err != nil || s.byName == nil {
		return nil, err
	}
	if ok, err := s.findTables(); !ok || err != nil {
		return nil, err
	}
	return s, nil
}

// readNames fills byName with the symbols at which look-ups can end. It clears it when one of them
// is a sanitizer's.
func (s *selfBinder) readNames() error {
	for i := s.first; i < s.symbols(); i++ {
		if !s.at(i).isFound() {
			continue
		}
		name, err := s.text(uint64(s.at(i).name), "a symbol's name")
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "__sanitizer_") {
			s.byName = nil
			return nil
		}
		s.byName[name] = append(s.byName[name], i)
	}
	return nil
}

// findTables finds the relocations. ok is false where there are none, or they are of an unusual form.
func (s *selfBinder) findTables() (ok bool, err error) {
	tag, sizeTag, entTag := elf.DT_RELA, elf.DT_RELASZ, elf.DT_RELAENT
	if !s.kinds.addend {
		tag, sizeTag, entTag = elf.DT_REL, elf.DT_RELSZ, elf.DT_RELENT
	}
	add := func(tag, sizeTag elf.DynTag, plt bool) error {
		addr, ok := s.img.dynValue(tag)
		size, _ := s.img.dynValue(sizeTag)
		if !ok || size == 0 {
			return nil
		}
		off, err := s.img.offset(addr, size, "the relocations")
		s.tables = append(s.tables, relocationTable{addr, off, size, plt})
		return err
	}
	if entry, ok := s.img.dynValue(entTag); ok && entry != s.entrySize() {
		return false, nil
	}
	if err := add(tag, sizeTag, false); err != nil {
		return false, err
	}
	hasMain := len(s.tables) > 0
	if kind, ok := s.img.dynValue(elf.DT_PLTREL); ok && elf.DynTag(kind) == tag {
		if err := add(elf.DT_JMPREL, elf.DT_PLTRELSZ, true); err != nil {
			return false, err
		}
	}
	if hasMain && len(s.tables) == 2 {
		main, plt := s.tables[0], s.tables[1]
		if main.addr < plt.addr+plt.size && plt.addr < main.addr+main.size {
			return false, nil // as old linkers made them: the one within the other
		}
		s.adjoins = main.addr+main.size == plt.addr && main.off+main.size == plt.off && main.size%s.entrySize() == 0
	}
	return len(s.tables) > 0, nil
}

// entrySize is the size of a relocation.
func (s *selfBinder) entrySize() uint64 {
	if s.kinds.addend {
		return 3 * s.img.wordSize()
	}
	return 2 * s.img.wordSize()
}

// eachBinding calls f with the relocations that can be bound, in the order of the tables; unless allowed
// is nil, with those of the symbols for which it is true.
func (s *selfBinder) eachBinding(allowed map[Symbol]bool, f func(selfBinding) error) error {
	img, w := s.img, s.img.wordSize()
	isAllowed := map[*Symbol]bool{} // each has many relocations, and may have a long name
	for _, table := range s.tables {
		for at := uint64(0); at+s.entrySize() <= table.size; at += s.entrySize() {
			b := img.data[table.off+at:]
			slot, info := img.word(b), img.word(b[w:])
			index, kind := info>>img.pick(8, 32), uint32(info&(1<<img.pick(8, 32)-1))
			if index == 0 || index >= s.count || !s.isBound(kind, table.plt) {
				continue
			}
			symbol, err := s.bindable(index)
			if err != nil {
				return err
			}
			if symbol == nil {
				continue
			}
			ok, known := isAllowed[symbol]
			if !known {
				ok = allowed == nil || allowed[*symbol]
				isAllowed[symbol] = ok
			}
			if !ok {
				continue
			}
			addend, ok := s.addend(slot, kind, b)
			if !ok {
				continue
			}
			value := s.at(index).value + addend
			if err := f(selfBinding{symbol, table.addr + at, slot, value, table.plt}); err != nil {
				return err
			}
		}
	}
	return nil
}

// isBound reports whether relocations of that kind are bound.
func (s *selfBinder) isBound(kind uint32, plt bool) bool {
	switch kind {
	case s.kinds.word, s.kinds.slot:
		return !plt
	case s.kinds.jumpSlot:
		return s.bindNow && (!plt || s.adjoins)
	}
	return false
}

// addend returns what is added to the symbol's value in a slot. ok is false for a slot that is not in
// the writable part of the file, or for an addend where none is taken.
func (s *selfBinder) addend(slot uint64, kind uint32, relocation []byte) (addend uint64, ok bool) {
	w := s.img.wordSize()
	for _, p := range s.img.progs {
		if p.kind != elf.PT_LOAD || p.flags&elf.PF_W == 0 || slot < p.vaddr || slot-p.vaddr >= p.memsz || p.memsz-(slot-p.vaddr) < w {
			continue
		}
		if s.kinds.addend {
			addend = s.img.word(relocation[2*w:])
			return addend, kind == s.kinds.word || addend == 0
		}
		b, err := s.img.addressBytes(slot, w, "what is relocated")
		if err != nil {
			return 0, false
		}
		if kind == s.kinds.word {
			addend = s.img.word(b)
		}
		return addend, true
	}
	return 0, false
}

// bindable returns the symbol of that index if relocations of it can be bound, else nil.
func (s *selfBinder) bindable(index uint64) (*Symbol, error) {
	if verdict, ok := s.verdicts[index]; ok {
		return verdict, nil
	}
	symbol, err := s.symbol(index)
	if err != nil {
		return nil, err
	}
	if s.isOwn(index, symbol) {
		s.verdicts[index] = &symbol
	} else {
		s.verdicts[index] = nil
	}
	return s.verdicts[index], nil
}

// bindSelf binds the relocations of Changes.SelfBind. Those of the procedure linkage table become
// the end of the table before it: the loader, where it audits or profiles, takes
// no other kind from their own (glibc, elf/dl-runtime.c, "unexpected PLT reloc type").
func (e *editor) bindSelf() error {
	if len(e.changes.SelfBind) == 0 {
		return nil
	}
	s, err := e.selfBinder()
	if s == nil || err != nil {
		return err
	}
	allowed := make(map[Symbol]bool)
	for _, symbol := range e.changes.SelfBind {
		allowed[symbol] = true
	}
	w, fold := e.wordSize(), false
	write := func(addr, value uint64) error {
		off, err := e.offset(addr, w, "what is relocated")
		if err != nil {
			return err
		}
		word := make([]byte, w)
		e.putWord(word, value)
		e.out.write(e.newOffset(addr, off), word)
		return nil
	}
	err = s.eachBinding(allowed, func(b selfBinding) error {
		fold = fold || b.plt
		value := b.slot
		if s.kinds.addend {
			value = b.at + 2*w
		}
		if err := write(b.at+w, uint64(s.kinds.relative)); err != nil {
			return err
		}
		return write(value, b.value)
	})
	if err != nil {
		return err
	}
	if fold {
		e.foldPLT(s)
	}
	return nil
}

// foldPLT makes the relocations of the procedure linkage table part of those before them.
func (e *editor) foldPLT(s *selfBinder) {
	size := elf.DT_RELASZ
	if !s.kinds.addend {
		size = elf.DT_RELSZ
	}
	main, plt := s.tables[0], s.tables[1]
	e.setDynAddress(size, main.size+plt.size)
	e.setDynAddress(elf.DT_JMPREL, plt.addr+plt.size)
	e.setDynAddress(elf.DT_PLTRELSZ, 0)
	e.coverByte(plt.addr + plt.size)
}

// coverByte makes the read-only segment that ends at an address a little longer, if it can be,
// because readers of dynamic sections want every address of them within a segment.
func (e *editor) coverByte(addr uint64) {
	w := e.wordSize()
	for _, g := range e.gaps {
		if g.below < 0 || g.lo != g.from || e.progs[g.below].memEnd() != addr || g.hi < g.lo+w || g.roEnd < g.lo+w {
			continue
		}
		g.lo += w
		e.newProgs[g.below].filesz += w
		e.newProgs[g.below].memsz += w
	}
}
