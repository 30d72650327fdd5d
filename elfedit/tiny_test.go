package elfedit

import (
	"debug/elf"
	"encoding/binary"
	"testing"
)

// tinyLibrary is a shared library of some hundred bytes: it needs libc.so.6 in
// version V1, and defines f.
func tinyLibrary(class, order byte) []byte {
	f := format{is64: class == 2, order: binary.LittleEndian}
	if order == 2 {
		f.order = binary.BigEndian
	}
	strings := "\x00libc.so.6\x00tiny.so\x00f\x00V1\x00/old\x00"
	at := func(s string) uint64 { return uint64(findString([]byte(strings), s)) }
	w := f.wordSize()
	phoff := f.ehdrSize()
	symAt := alignUp(phoff+5*f.progSize(), 8)
	hashAt := symAt + 2*f.symSize()
	strAt := hashAt + 4*5
	verAt := alignUp(strAt+uint64(len(strings)), 2)
	needAt := alignUp(verAt+4, 8)
	noteAt := needAt + verneedSize + vernauxSize
	end := noteAt + 12 + 4 + 4
	const data = 0x1000
	dynAt := uint64(data)
	dyn := []dynEntry{
		{elf.DT_NEEDED, at("libc.so.6")},
		{elf.DT_SONAME, at("tiny.so")},
		{elf.DT_RPATH, at("/old")},
		{elf.DT_HASH, hashAt},
		{elf.DT_STRTAB, strAt},
		{elf.DT_SYMTAB, symAt},
		{elf.DT_STRSZ, uint64(len(strings))},
		{elf.DT_SYMENT, f.symSize()},
		{elf.DT_VERSYM, verAt},
		{elf.DT_VERNEED, needAt},
		{elf.DT_VERNEEDNUM, 1},
		{elf.DT_NULL, 0},
		{elf.DT_NULL, 0},
		{elf.DT_NULL, 0},
	}
	dynSize := uint64(len(dyn)) * f.dynSize()
	b := make([]byte, dynAt+dynSize)
	copy(b, elf.ELFMAG)
	b[4], b[5], b[6] = class, order, 1
	f.order.PutUint16(b[16:], uint16(elf.ET_DYN))
	f.order.PutUint16(b[18:], uint16(elf.EM_X86_64))
	f.order.PutUint32(b[20:], 1)
	f.putWord(b[24+w:], phoff)
	half := b[24+3*w+4:]
	for i, v := range []uint64{f.ehdrSize(), f.progSize(), 5, f.sectSize(), 0, 0} {
		f.order.PutUint16(half[2*i:], uint16(v))
	}
	for i, p := range []prog{
		{kind: elf.PT_LOAD, flags: elf.PF_R | elf.PF_X, filesz: end, memsz: end, align: 0x1000},
		{kind: elf.PT_LOAD, flags: elf.PF_R | elf.PF_W, off: dynAt, vaddr: dynAt, paddr: dynAt, filesz: dynSize, memsz: dynSize, align: 0x1000},
		{kind: elf.PT_DYNAMIC, flags: elf.PF_R | elf.PF_W, off: dynAt, vaddr: dynAt, paddr: dynAt, filesz: dynSize, memsz: dynSize, align: 8},
		{kind: elf.PT_NOTE, flags: elf.PF_R, off: noteAt, vaddr: noteAt, paddr: noteAt, filesz: end - noteAt, memsz: end - noteAt, align: 4},
		{kind: elf.PT_GNU_STACK, flags: elf.PF_R | elf.PF_W, align: 16},
	} {
		f.putProg(b[phoff+uint64(i)*f.progSize():], p)
	}
	f.order.PutUint32(b[symAt+f.symSize():], uint32(at("f")))
	for i, v := range []uint32{1, 2, 1, 0, 0} {
		f.order.PutUint32(b[hashAt+4*uint64(i):], v)
	}
	copy(b[strAt:], strings)
	f.order.PutUint16(b[verAt+2:], 2)
	f.order.PutUint16(b[needAt:], 1)
	f.order.PutUint16(b[needAt+2:], 1)
	f.order.PutUint32(b[needAt+4:], uint32(at("libc.so.6")))
	f.order.PutUint32(b[needAt+8:], verneedSize)
	f.order.PutUint16(b[needAt+22:], 2)
	f.order.PutUint32(b[needAt+24:], uint32(at("V1")))
	copy(b[noteAt:], appendNote(f.order, nil, Note{Name: "tst", Type: 7, Desc: []byte("abcd")}, 4))
	for i, d := range dyn {
		f.putDyn(b[dynAt+uint64(i)*f.dynSize():], d.tag, d.value)
	}
	return b
}

func TestTiny(t *testing.T) {
	for _, class := range []byte{1, 2} {
		for _, order := range []byte{1, 2} {
			data := tinyLibrary(class, order)
			info := mustInspect(t, data)
			if info.Soname != "tiny.so" || info.RPath != "/old" || len(info.Needed) != 1 || len(info.VersionNeeds) != 1 || len(info.Notes) != 1 {
				t.Fatalf("class %d, order %d: %+v", class, order, info)
			}
			c := Changes{
				ReplaceNeeded: []Replacement{{"libc.so.6", "/lib/libc.so.6"}},
				AddNeededLast: []string{"libm.so.6", "so.6"},
				Path:          &SearchPath{Last: []string{"/new"}},
				RenameSymbols: map[string]string{"f": "renamed"},
				SetNotes:      []Note{{Name: "tst", Type: 7, Desc: []byte("longer than that")}},
			}
			edited := mustMake(t, data, c)
			if len(edited) != len(data) {
				t.Errorf("class %d, order %d: %d bytes, was %d", class, order, len(edited), len(data))
			}
			if diff := difference(info, mustInspect(t, edited), Changes{Path: c.Path, ReplaceNeeded: c.ReplaceNeeded, AddNeededLast: c.AddNeededLast, SetNotes: c.SetNotes}); diff != "" {
				t.Error(diff)
			}
		}
	}
}
