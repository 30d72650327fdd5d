package elfedit

import (
	"bytes"
	"debug/elf"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// tinyProgram is tinyLibrary with an interpreter in place of its note, and with
// these entries in its dynamic section.
func tinyProgram(t *testing.T, class, order byte, dyn ...dynEntry) []byte {
	t.Helper()
	data := tinyLibrary(class, order)
	img, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range img.progs {
		if p.kind == elf.PT_NOTE {
			p.kind = elf.PT_INTERP
			clear(data[p.off:p.fileEnd()])
			copy(data[p.off:], "/ld.so")
			img.putProg(data[img.phoff+uint64(i)*img.progSize():], p)
		}
	}
	setDynamic(img, dyn...)
	return data
}

// setDynamic replaces all entries of a file's dynamic section.
func setDynamic(img *image, dyn ...dynEntry) {
	at, size := img.progs[img.dynProg].off, img.dynSize()
	clear(img.data[at:img.progs[img.dynProg].fileEnd()])
	for i, d := range dyn {
		img.putDyn(img.data[at+uint64(i)*size:], d.tag, d.value)
	}
}

func TestInterpreterWithoutStringTable(t *testing.T) {
	c := Changes{Interpreter: ptr("/a/longer/name/of/an/interpreter/ld.so"), OSABI: ptr(elf.ELFOSABI_LINUX)}
	for _, class := range []byte{1, 2} {
		for _, order := range []byte{1, 2} {
			for _, dyn := range [][]dynEntry{
				nil,
				{{elf.DT_DEBUG, 0}},
				{{elf.DT_NEEDED, 1}, {elf.DT_SONAME, 2}, {elf.DT_DEBUG, 0}}, // names that are nowhere
			} {
				data := tinyProgram(t, class, order, dyn...)
				edited := mustMake(t, data, c)
				info, err := Inspect(edited)
				if names := len(dyn) > 1; names != errors.Is(err, ErrNoStringTable) || !names && err != nil {
					t.Errorf("%v: inspect: %v", dyn, err)
				}
				if info == nil || info.Interpreter != *c.Interpreter || info.OSABI != elf.ELFOSABI_LINUX {
					t.Errorf("%v: %+v", dyn, info)
				}
			}
			// Neither a dynamic section of no bytes nor a file without one is in the way.
			for _, change := range []func(p *prog){
				func(p *prog) { p.off, p.paddr, p.filesz, p.memsz = 0, 0, 0, 0 }, // as objcopy -R .dynamic leaves it
				func(p *prog) { *p = prog{} },
			} {
				data := tinyProgram(t, class, order)
				img, err := parse(data)
				if err != nil {
					t.Fatal(err)
				}
				change(&img.progs[img.dynProg])
				img.putProg(data[img.phoff+uint64(img.dynProg)*img.progSize():], img.progs[img.dynProg])
				if got := mustInspect(t, mustMake(t, data, c)); got.Interpreter != *c.Interpreter {
					t.Errorf("the interpreter is %q", got.Interpreter)
				}
				var reason *RefusedError
				if _, err := Make(data, Changes{Path: &SearchPath{Set: ptr("/x")}}); !errors.As(err, &reason) || !strings.Contains(err.Error(), "no dynamic section") {
					t.Errorf("a search path: %v", err)
				}
			}
		}
	}
}

// TestTwoDynamic edits a file with a second PT_DYNAMIC, which has no room for
// the entries of the first.
func TestTwoDynamic(t *testing.T) {
	data := tinyLibrary(2, 1)
	img, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range img.progs {
		if p.kind == elf.PT_NOTE {
			p.kind = elf.PT_DYNAMIC
			img.putProg(data[img.phoff+uint64(i)*img.progSize():], p)
		}
	}
	if got := mustInspect(t, mustMake(t, data, Changes{Path: &SearchPath{Set: ptr("/x")}})); got.RunPath != "/x" {
		t.Errorf("the search path is %q", got.RunPath)
	}
}

func TestStringTableIsMade(t *testing.T) {
	for _, class := range []byte{1, 2} {
		for _, order := range []byte{1, 2} {
			data := tinyProgram(t, class, order, dynEntry{elf.DT_DEBUG, 0})
			edited := mustMake(t, data, Changes{Path: &SearchPath{Set: ptr("/a:/b")}, AddNeededLast: []string{"libx.so.1"}})
			info := mustInspect(t, edited)
			if info.RunPath != "/a:/b" || len(info.Needed) != 1 || info.Needed[0] != "libx.so.1" {
				t.Errorf("class %d, order %d: %+v", class, order, info)
			}
			if err := checkSound(data, edited); err != nil {
				t.Error(err)
			}
			long := strings.Repeat("/directory", 1000)
			if got := mustInspect(t, mustMake(t, edited, Changes{Path: &SearchPath{Set: &long}})); got.RunPath != long {
				t.Errorf("class %d, order %d: a longer path was not set", class, order)
			}
			// Nothing is to be made for a change that changes nothing.
			if e, err := Make(data, Changes{Path: &SearchPath{Remove: true}, RemoveNeeded: []string{"x"}}); err != nil || !e.IsZero() {
				t.Errorf("no change: %v, %v", e, err)
			}
		}
	}
	// Names that are in no table would become names in the new one.
	for _, dyn := range [][]dynEntry{{{elf.DT_NEEDED, 1}}, {{elf.DT_SONAME, 1}}, {{elf.DT_SYMTAB, 0x40}}, {{elf.DT_VERNEED, 0x40}, {elf.DT_VERNEEDNUM, 1}}} {
		_, err := Make(tinyProgram(t, 2, 1, dyn...), Changes{Path: &SearchPath{Set: ptr("/x")}})
		if !errors.Is(err, ErrNoStringTable) {
			t.Errorf("%v: the error is %v", dyn, err)
		}
	}
}

// TestStringTableIsKept has readelf and strip find the table that was made, or
// the one that only the section headers lead to.
func TestStringTableIsKept(t *testing.T) {
	b := newBench(t)
	data := b.program()
	img, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	check := func(data []byte, want ...string) {
		t.Helper()
		out, err := exec.Command(tool(t, "readelf"), "-dW", writeProgram(t, b.dir, "table", data)).CombinedOutput()
		if err != nil || strings.Contains(string(out), "readelf:") {
			t.Errorf("readelf: %v: %s", err, out)
		}
		for _, name := range want {
			if !strings.Contains(string(out), "["+name+"]") {
				t.Errorf("readelf finds no %s: %s", name, out)
			}
		}
		if got := mustInspect(t, data); got.RunPath != want[0] {
			t.Errorf("the search path is %q", got.RunPath)
		}
	}

	// Linked: the program loads again once its dynamic section names the table.
	linked := bytes.Clone(data)
	img.data = linked
	kept := slices.DeleteFunc(slices.Clone(img.dyn), func(d dynEntry) bool { return d.tag == elf.DT_STRTAB || d.tag == elf.DT_STRSZ })
	setDynamic(img, kept...)
	edited := mustMake(t, linked, Changes{Path: &SearchPath{Set: &b.dir}})
	check(edited, b.dir, "libgreet.so.1")
	b.mustSay(edited, says)
	b.mustSay(b.strip(edited), says)
	if got := mustInspect(t, mustMake(t, linked, Changes{Interpreter: ptr("/ld.so")})); got.Interpreter != "/ld.so" {
		t.Errorf("the interpreter is %q", got.Interpreter)
	}

	// Made: neither the dynamic section nor a section header names one.
	made := bytes.Clone(data)
	img.data = made
	setDynamic(img, dynEntry{elf.DT_DEBUG, 0})
	for i, s := range img.sects {
		at := made[img.shoff+uint64(i)*img.sectSize():]
		if s.flags&uint64(elf.SHF_ALLOC) != 0 && (s.kind == elf.SHT_STRTAB || s.link != 0) {
			s.link = 0
			if s.kind != elf.SHT_DYNAMIC {
				s.kind = elf.SHT_PROGBITS
				s.name++ // tools know .dynstr by its name
			}
			img.putSect(at, s)
		}
	}
	edited = mustMake(t, made, Changes{Path: &SearchPath{Set: ptr("/made")}})
	check(edited, "/made")
	check(b.strip(edited), "/made")
}
