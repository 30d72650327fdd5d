package testslots

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// memory is that of a stopped process.
type memory struct {
	io.ReaderAt
	is64   bool
	others []loaded // the stack and the heap

	window []byte // what was read last, and from where
	readAt uint64
	atOnce int // bytes that are read at once
}

// processMemory is that of a process that the processor runs.
type processMemory struct {
	memory
	io.Closer
}

func openMemory(pid int) (*processMemory, error) {
	program, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, err
	}
	defer program.Close()
	var ident [elf.EI_NIDENT]byte
	if _, err := program.ReadAt(ident[:], 0); err != nil {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	return &processMemory{memory{ReaderAt: f, is64: elf.Class(ident[elf.EI_CLASS]) == elf.ELFCLASS64, atOnce: 1 << 16}, f}, err
}

func (m *memory) wordSize() int {
	if m.is64 {
		return 8
	}
	return 4
}

func (m *memory) word(b []byte) uint64 {
	if m.is64 {
		return binary.NativeEndian.Uint64(b)
	}
	return uint64(binary.NativeEndian.Uint32(b))
}

// Values of the auxiliary vector (getauxval(3)): where the program's segments are listed, how many they are, and
// where it begins, and where its name is.
const (
	atPhdr   = 3
	atPhnum  = 5
	atEntry  = 9
	atExecfn = 31
)

// auxiliary returns a value of an auxiliary vector.
func (m *memory) auxiliary(auxv []byte, kind uint64) (uint64, error) {
	for w := m.wordSize(); len(auxv) >= 2*w; auxv = auxv[2*w:] {
		if m.word(auxv) == kind {
			return m.word(auxv[w:]), nil
		}
	}
	return 0, fmt.Errorf("the auxiliary vector has no value %d", kind)
}

// loaded is an object in memory.
type loaded struct {
	name      string
	base, end uint64 // of addresses
	file      *elf.File
}

// objects finds the loaded objects: what is mapped of a file, from its first byte on. The kernel's own
// (vdso(7)) has no file.
func (m *processMemory) objects(pid int) ([]loaded, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	var list []loaded
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		path := fields[5]
		if path == "[vdso]" {
			list = append(list, loaded{path, start, end, nil})
		}
		if path == "[stack]" || path == "[heap]" {
			m.others = append(m.others, loaded{path, start, end, nil})
		}
		if !filepath.IsAbs(path) || strings.Trim(fields[2], "0") != "" || len(list) > 0 && start < list[len(list)-1].end {
			continue
		}
		file, err := elf.Open(path)
		var format *elf.FormatError
		if errors.As(err, &format) {
			continue // a locale's file
		}
		if err != nil {
			return nil, err
		}
		o := loaded{name: filepath.Base(path), base: start, file: file}
		if first := firstSegment(file); first != nil {
			o.base -= first.Vaddr - first.Vaddr%4096
		}
		o.setEnd()
		list = append(list, o)
	}
	return list, nil
}

// firstSegment returns the first segment of a file that is loaded; nil where there is none.
func firstSegment(f *elf.File) *elf.Prog {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			return p
		}
	}
	return nil
}

// setEnd sets the end of an object that is a file.
func (o *loaded) setEnd() {
	for _, p := range o.file.Progs {
		if p.Type == elf.PT_LOAD {
			o.end = o.base + p.Vaddr + p.Memsz
		}
	}
}

// process reads the slots of objects, whose files it closes.
func (m *memory) process(list []loaded, err error) (*Process, error) {
	slices.SortFunc(list, func(a, b loaded) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.base, b.base)) })
	defer func() {
		for _, o := range list {
			if o.file != nil {
				o.file.Close() //nolint:errcheck // only read
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	byBase := slices.SortedFunc(slices.Values(list), func(a, b loaded) int { return cmp.Compare(a.base, b.base) })
	p := &Process{}
	for _, o := range list {
		if o.file == nil {
			continue
		}
		offsets, err := relocated(o.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		object := Object{Name: o.name}
		for _, offset := range offsets {
			word, err := m.wordAt(o.base + offset)
			if err != nil {
				return nil, fmt.Errorf("%s: read %#x: %v", o.name, offset, err)
			}
			object.Slots = append(object.Slots, Slot{offset, m.value(byBase, word)})
		}
		p.Objects = append(p.Objects, object)
	}
	return p, nil
}

// value returns what a word is; list is in the order of the objects' addresses.
func (m *memory) value(list []loaded, word uint64) Value {
	i, found := slices.BinarySearchFunc(list, word, func(o loaded, word uint64) int { return cmp.Compare(o.base, word) })
	if !found {
		i--
	}
	if i >= 0 && word < list[i].end {
		return Value{list[i].name, word - list[i].base}
	}
	for _, o := range m.others {
		if word >= o.base && word < o.end {
			return Value{o.name, 0}
		}
	}
	return Value{"", word}
}

// wordAt reads a word. Words are asked for in their order, mostly.
func (m *memory) wordAt(addr uint64) (uint64, error) {
	w := uint64(m.wordSize())
	if addr < m.readAt || addr+w > m.readAt+uint64(len(m.window)) {
		m.readAt = addr
		b := make([]byte, m.atOnce)
		n, err := m.ReadAt(b, int64(addr)) // stops where nothing is mapped
		if m.window = b[:n]; uint64(n) < w {
			return 0, err
		}
	}
	return m.word(m.window[addr-m.readAt:]), nil
}

// relocated returns the addresses of what a file's dynamic relocations are for, sorted, each once.
func relocated(f *elf.File) ([]uint64, error) {
	is64 := f.Class == elf.ELFCLASS64
	word := func(b []byte) uint64 {
		if is64 {
			return f.ByteOrder.Uint64(b)
		}
		return uint64(f.ByteOrder.Uint32(b))
	}
	w := uint64(4)
	if is64 {
		w = 8
	}
	value := func(tag elf.DynTag) uint64 {
		values, err := f.DynValue(tag)
		if err != nil || len(values) == 0 {
			return 0
		}
		return values[len(values)-1]
	}
	found := make(map[uint64]bool)
	table := func(addr, size, entry uint64) ([]byte, error) {
		if addr == 0 || size == 0 {
			return nil, nil
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+size <= p.Vaddr+p.Filesz {
				b := make([]byte, size-size%entry)
				_, err := p.ReadAt(b, int64(addr-p.Vaddr))
				return b, err
			}
		}
		return nil, fmt.Errorf("no segment has the relocations at %#x", addr)
	}
	pltEntry := 2 * w
	if elf.DynTag(value(elf.DT_PLTREL)) == elf.DT_RELA {
		pltEntry = 3 * w
	}
	for _, t := range []struct {
		addr, size elf.DynTag
		entry      uint64
	}{{elf.DT_REL, elf.DT_RELSZ, 2 * w}, {elf.DT_RELA, elf.DT_RELASZ, 3 * w}, {elf.DT_JMPREL, elf.DT_PLTRELSZ, pltEntry}} {
		b, err := table(value(t.addr), value(t.size), t.entry)
		if err != nil {
			return nil, err
		}
		for ; uint64(len(b)) >= t.entry; b = b[t.entry:] {
			found[word(b)] = true
		}
	}
	const dtRelr, dtRelrSize = elf.DynTag(36), elf.DynTag(35) // gABI, "Relative Relocation Table"
	b, err := table(value(dtRelr), value(dtRelrSize), w)
	if err != nil {
		return nil, err
	}
	next := uint64(0)
	for ; uint64(len(b)) >= w; b = b[w:] {
		entry := word(b)
		if entry&1 == 0 {
			found[entry] = true
			next = entry + w
			continue
		}
		for bit := range 8*w - 1 {
			if entry>>(bit+1)&1 != 0 {
				found[next+bit*w] = true
			}
		}
		next += (8*w - 1) * w
	}
	delete(found, 0) // of a relocation that does nothing (R_*_NONE)
	return slices.Sorted(maps.Keys(found)), nil
}
