package elfedit

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// The tests of this file are for what went wrong in other editors.

func TestStaticPIE(t *testing.T) {
	b := newBench(t)
	if err := os.WriteFile(b.path("static.c"), []byte("#include <stdio.h>\nint main(void) { puts(\"static\"); return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := b.make("static", "-static-pie", b.path("static.c"))
	if !mustInspect(t, data).IsStaticPIE() {
		t.Error("not known for a static PIE")
	}
	_, err := Make(data, Changes{Path: &SearchPath{Set: ptr("/x")}})
	var reason *RefusedError
	if !errors.As(err, &reason) {
		t.Errorf("the error is %v", err)
	}
	for _, size := range []int{10, 30_000} {
		edited := mustMake(t, data, Changes{SetNotes: []Note{{Name: "hashpkg", Type: 1, Desc: make([]byte, size)}}})
		b.mustSay(edited, "static\n")
		b.mustSay(b.strip(edited), "static\n")
	}
}

func TestLoader(t *testing.T) {
	testneed.Programs(t, "/lib64/ld-linux-x86-64.so.2")
	loader := hostLoader(t, elf.ELFCLASS64, elf.EM_X86_64)
	if loader == "" {
		testneed.Unmet(t, "the loader of x86-64 is not here")
	}
	data, err := os.ReadFile(loader)
	if err != nil {
		t.Fatal(err)
	}
	if info := mustInspect(t, data); !info.IsLoader() || info.IsProgram() {
		t.Errorf("the loader is taken for %+v", info)
	}
	for _, c := range []Changes{{Path: &SearchPath{Set: ptr("/x")}}, {AddNeededLast: []string{"x"}}} {
		_, err = Make(data, c)
		var reason *RefusedError
		if !errors.As(err, &reason) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestSixtyFourEdits(t *testing.T) {
	b := newBench(t)
	data := b.program()
	var undo []Edit
	first := 0
	edited := data
	for i := range 64 {
		c := Changes{
			Path:        &SearchPath{Set: ptr(fmt.Sprintf("/%s/%d:%s", strings.Repeat("x", i*7%200), i, b.dir))},
			Interpreter: ptr("/lib64/" + strings.Repeat("./", i%40) + "ld-linux-x86-64.so.2"),
		}
		if i%3 == 0 {
			c.AddNeededLast = []string{"libm.so.6"}
		} else {
			c.RemoveNeeded = []string{"libm.so.6"}
		}
		e, err := Make(edited, c)
		if err != nil {
			t.Fatal(err)
		}
		if edited, err = e.Apply(edited); err != nil {
			t.Fatal(err)
		}
		undo = append(undo, e.Invert())
		if i == 2 {
			first = len(edited)
		}
	}
	b.mustSay(edited, says)
	if len(edited)-first > 0x1000 {
		t.Errorf("the file grew from %d to %d bytes", first, len(edited))
	}
	for _, e := range slices.Backward(undo) {
		var err error
		if edited, err = e.Apply(edited); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(edited, data) {
		t.Error("undo does not give the bytes back")
	}
}

func TestLdconfigReadsEditedLibrary(t *testing.T) {
	b := newBench(t)
	ldconfig := tool(t, "ldconfig")
	data, err := os.ReadFile(b.path("libgreet.so.1"))
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{threeDirs, strings.Repeat("/long", 3000)} {
		edited := mustMake(t, data, Changes{Path: &SearchPath{Set: &path}, Soname: ptr(fmt.Sprintf("libedited%d.so.1", i))})
		dir := t.TempDir()
		writeProgram(t, dir, "libfile.so", edited)
		out, err := exec.Command(ldconfig, "-n", "-v", dir).CombinedOutput()
		if err != nil || strings.Contains(string(out), "truncated") || !strings.Contains(string(out), fmt.Sprintf("libedited%d.so.1", i)) {
			t.Errorf("ldconfig: %v: %s", err, out)
		}
	}
}

func TestAlignmentIsKept(t *testing.T) {
	b := newBench(t)
	for _, size := range []uint64{0x1000, 0x10000, 0x200000} {
		data := b.program(fmt.Sprintf("-Wl,-z,max-page-size=%#x", size))
		edited := mustMake(t, data, Changes{Path: &SearchPath{Set: ptr(strings.Repeat("/x", 20000))}, PageSize: 0x4000})
		img, err := parse(edited)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range img.progs {
			if p.kind == elf.PT_LOAD && p.align < size {
				t.Errorf("a segment is aligned to %#x, in a file for %#x", p.align, size)
			}
		}
		if len(edited)-len(data) > 60_000 {
			t.Errorf("the file grew by %d bytes", len(edited)-len(data))
		}
	}
}

func TestProgramHeadersAreLoaded(t *testing.T) {
	b := newBench(t)
	for _, data := range [][]byte{b.program(), b.program("-no-pie"), stripHeaders(b.program()), stripHeaders(b.program("-no-pie"))} {
		edited := mustMake(t, data, Changes{Path: &SearchPath{Set: ptr(strings.Repeat("/x", 20000))}})
		img, err := parse(edited)
		if err != nil {
			t.Fatal(err)
		}
		first := slices.IndexFunc(img.progs, func(p prog) bool { return p.kind == elf.PT_LOAD })
		for _, p := range img.progs {
			if p.kind != elf.PT_PHDR {
				continue
			}
			off, err := img.offset(p.vaddr, p.filesz, "the program headers")
			if err != nil || off != img.phoff || p.off != off {
				t.Errorf("PT_PHDR leads to %#x, the table is at %#x: %v", off, img.phoff, err)
			}
			if p.vaddr-p.off != img.progs[first].vaddr-img.progs[first].off {
				t.Errorf("the program headers' address is not what old kernels compute")
			}
		}
	}
}

// TestTableMoves is for files whose program headers cannot grow where they are.
// They are not stripped: binutils' strip puts the table behind the file header
// again, where it has no room, and the program does not start then.
func TestTableMoves(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{nil, {"-no-pie"}} {
		data := b.program(args...)
		long := strings.Repeat("/long", 3000) + ":" + b.dir
		e, err := newEditor(data, &Changes{Path: &SearchPath{Set: &long}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range e.regions {
			r.fixed = r.fixed || r.kind != regionDynstr
		}
		if err := e.run(); err != nil {
			t.Fatal(err)
		}
		edited, err := e.out.edit().Apply(data)
		if err != nil {
			t.Fatal(err)
		}
		if img, err := parse(edited); err != nil || img.phoff == e.phoff {
			t.Errorf("the table is at %#x: %v", img.phoff, err)
		}
		b.mustSay(edited, says)
		if err := checkSound(data, edited); err != nil {
			t.Error(err)
		}
		again := mustMake(t, edited, Changes{Path: &SearchPath{Set: ptr(long + "er:" + b.dir)}})
		b.mustSay(again, says)
	}
}

func TestGoProgram(t *testing.T) {
	b := newBench(t)
	source := "package main\n\n// int answer(void) { return 42; }\nimport \"C\"\nimport \"fmt\"\n\nfunc main() { fmt.Println(C.answer()) }\n"
	if err := os.WriteFile(b.path("main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"internal", "external"} {
		cmd := exec.Command(tool(t, "go"), "build", "-o", b.path("gomain"), "-ldflags", "-linkmode="+mode, b.path("main.go"))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go makes no program: %v: %s", err, out)
		}
		data, err := os.ReadFile(b.path("gomain"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{threeDirs, strings.Repeat("/long", 3000)} {
			edited := mustMake(t, data, Changes{Path: &SearchPath{Set: &path}, Interpreter: ptr("/lib64/" + strings.Repeat("./", 50) + "ld-linux-x86-64.so.2")})
			b.mustSay(edited, "42\n")
			if err := checkSound(data, edited); err != nil {
				t.Error(err)
			}
			b.mustSay(b.strip(edited), "42\n")
		}
	}
}

func TestSearchPath(t *testing.T) {
	for _, test := range []struct {
		name  string
		path  SearchPath
		old   string
		found bool
		want  string
		there bool
	}{
		{"set", SearchPath{Set: ptr("/a:/b")}, "/c", true, "/a:/b", true},
		{"set empty", SearchPath{Set: ptr("")}, "/c", true, "", true},
		{"remove", SearchPath{Remove: true}, "/c", true, "", false},
		{"remove and add", SearchPath{Remove: true, Last: []string{"/a"}}, "/c", true, "/a", true},
		{"first", SearchPath{First: []string{"/a", "/c", "/a"}}, "/c:/d", true, "/a:/c:/d", true},
		{"last", SearchPath{Last: []string{"/d", "/a"}}, "/c:/d", true, "/c:/d:/a", true},
		{"keep", SearchPath{Keep: func(dir string) bool { return dir == "/d" }}, "/c:/d", true, "/d", true},
		{"keep none", SearchPath{Keep: func(string) bool { return false }}, "/c:/d", true, "", true},
		{"nothing", SearchPath{}, "", false, "", false},
	} {
		if got, there := test.path.apply(test.old, test.found); got != test.want || there != test.there {
			t.Errorf("%s: %q, %v; want %q, %v", test.name, got, there, test.want, test.there)
		}
	}
}

func TestDamagedEdit(t *testing.T) {
	data := []byte("0123456789")
	good := Edit{OldSize: 10, NewSize: 12, Hunks: []Hunk{
		{Offset: 2, Old: []byte("2"), New: []byte("x")},
		{Offset: 9, Old: []byte("9"), New: []byte("abc")},
	}}
	for name, e := range map[string]Edit{"edit": good} {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var read Edit
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		edited, err := read.Apply(data)
		if err != nil || string(edited) != "01x345678abc" {
			t.Fatalf("%s: %q, %v", name, edited, err)
		}
		back, err := read.Invert().Apply(edited)
		if err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%s: undo: %q, %v", name, back, err)
		}
	}
	for name, test := range map[string]struct {
		change func(*Edit)
		want   error
	}{
		"other size":       {func(e *Edit) { e.OldSize++ }, ErrBadEdit},
		"negative size":    {func(e *Edit) { e.OldSize = -1 }, ErrBadEdit},
		"huge":             {func(e *Edit) { e.NewSize = 1 << 62 }, ErrBadEdit},
		"order":            {func(e *Edit) { e.Hunks[0].Offset = 9 }, ErrBadEdit},
		"negative offset":  {func(e *Edit) { e.Hunks[0].Offset = -3 }, ErrBadEdit},
		"overflow":         {func(e *Edit) { e.Hunks[1].Offset = 1<<63 - 1 }, ErrBadEdit},
		"other lengths":    {func(e *Edit) { e.Hunks[0].New = []byte("xy") }, ErrBadEdit},
		"empty":            {func(e *Edit) { e.Hunks[0] = Hunk{Offset: 1} }, ErrBadEdit},
		"growth uncovered": {func(e *Edit) { e.Hunks = e.Hunks[:1] }, ErrBadEdit},
		"other bytes":      {func(e *Edit) { e.Hunks[0].Old = []byte("3") }, ErrEditMismatch},
	} {
		e := Edit{OldSize: good.OldSize, NewSize: good.NewSize, Hunks: slices.Clone(good.Hunks)}
		test.change(&e)
		if _, err := e.Apply(data); !errors.Is(err, test.want) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if _, err := good.Apply(data[:9]); !errors.Is(err, ErrEditMismatch) {
		t.Errorf("the error is %v", err)
	}
}

// BenchmarkMake sets a RUNPATH of three directories in a program of a megabyte.
func BenchmarkMake(b *testing.B) {
	data, err := os.ReadFile("/bin/bash")
	if err != nil {
		b.Skip(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Make(data, Changes{Path: &SearchPath{Set: ptr(threeDirs)}}); err != nil {
			b.Fatal(err)
		}
	}
}
