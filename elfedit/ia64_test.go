package elfedit

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The regions that ia64 programs are linked into: text is in region 2, data in
// region 3.
const (
	ia64Text = 2 << 61
	ia64Data = 3 << 61
)

// tinyIA64 is tinyLibrary with the addresses that ia64 programs have.
func tinyIA64(t *testing.T) []byte {
	t.Helper()
	data := tinyLibrary(2, 1)
	img, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	img.order.PutUint16(data[16:], uint16(elf.ET_EXEC))
	img.order.PutUint16(data[18:], uint16(elf.EM_IA_64))
	for i, p := range img.progs {
		base := uint64(ia64Text)
		if p.flags&elf.PF_W != 0 && p.filesz > 0 {
			base = ia64Data
		}
		if p.filesz > 0 {
			p.vaddr += base
			p.paddr += base
		}
		img.putProg(data[img.phoff+uint64(i)*img.progSize():], p)
	}
	at := img.progs[img.dynProg].off
	for i, d := range img.dyn {
		switch d.tag {
		case elf.DT_HASH, elf.DT_STRTAB, elf.DT_SYMTAB, elf.DT_VERSYM, elf.DT_VERNEED:
			img.putDyn(data[at+uint64(i)*img.dynSize():], d.tag, d.value+ia64Text)
		}
	}
	return data
}

// checkIA64Growth makes edits that do not fit the file's own segments, and
// checks that what is added is in a region with the others.
func checkIA64Growth(t *testing.T, data []byte) {
	t.Helper()
	long := strings.Repeat("/directory", 3000)
	edited := mustMake(t, data, Changes{Path: &SearchPath{Set: &long}})
	if err := checkSound(data, edited); err != nil {
		t.Error(err)
	}
	if got := mustInspect(t, edited); got.RunPath != long {
		t.Errorf("the search path has %d bytes; want %d", len(got.RunPath), len(long))
	}
	img, err := parse(edited)
	if err != nil {
		t.Fatal(err)
	}
	var last prog
	for _, p := range img.progs {
		if p.kind == elf.PT_LOAD {
			last = p
		}
	}
	if last.vaddr>>61 != ia64Data>>61 || last.flags != elf.PF_R {
		t.Errorf("the last segment is at %#x with %v", last.vaddr, last.flags)
	}
}

func TestIA64Regions(t *testing.T) {
	checkIA64Growth(t, tinyIA64(t))
}

// TestIA64Program edits what the real linker makes.
func TestIA64Program(t *testing.T) {
	assembler, linker := tool(t, "ia64-linux-gnu-as"), tool(t, "ia64-linux-gnu-ld")
	dir := t.TempDir()
	source := "\t.text\n\t.global %\n\t.proc %\n%:\n\tbr.ret.sptk.many b0\n\t.endp %\n"
	run := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
	}
	for _, name := range []string{"_start", "f"} {
		if err := os.WriteFile(filepath.Join(dir, name+".s"), []byte(strings.ReplaceAll(source, "%", name)), 0o644); err != nil {
			t.Fatal(err)
		}
		run(assembler, name+".s", "-o", name+".o")
	}
	run(linker, "-shared", "-soname", "libf.so.1", "f.o", "-o", "libf.so")
	run(linker, "-dynamic-linker", "/lib/ld-linux-ia64.so.2", "_start.o", "libf.so", "-o", "program")
	data, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	checkIA64Growth(t, data)
}
