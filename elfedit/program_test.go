package elfedit

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

const greetSource = `
const char *greet(void) { return "hello"; }
const char *greet_twice(void) { return "hello hello"; }
int greet_data = 42;
`

const mainSource = `
#include <stdio.h>
#include <dlfcn.h>
#include <link.h>
const char *greet(void);
const char *greet_twice(void);
extern int greet_data;
static int headers(struct dl_phdr_info *i, size_t n, void *p) { ++*(int *)p; return 0; }
int main(void) {
	int objects = 0;
	dl_iterate_phdr(headers, &objects);
	printf("%s %s %d %d\n", greet(), greet_twice(), greet_data, objects > 2);
	return 0;
}
`

const greetVersions = `GREET_1.0 { global: greet; greet_twice; greet_data; local: *; };`

// bench is a directory with a library and what compiles programs for it.
type bench struct {
	t   testing.TB
	dir string
	gcc string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), gcc: tool(t, "gcc")}
	for name, text := range map[string]string{"greet.c": greetSource, "main.c": mainSource, "greet.map": greetVersions} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.try("libgreet.so", "-shared", "-fPIC", "-Wl,-soname,libgreet.so.1", "-Wl,--version-script="+b.path("greet.map"), b.path("greet.c")); err != nil {
		testneed.Unmet(t, "gcc makes no library: ", err)
	}
	if err := os.Rename(b.path("libgreet.so"), b.path("libgreet.so.1")); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// try runs gcc and returns the file that it made.
func (b *bench) try(out string, args ...string) ([]byte, error) {
	args = append([]string{"-O1", "-o", b.path(out)}, args...)
	cmd := exec.Command(b.gcc, args...)
	cmd.Dir = b.dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %s", err, text)
	}
	return os.ReadFile(b.path(out))
}

func (b *bench) make(out string, args ...string) []byte {
	b.t.Helper()
	data, err := b.try(out, args...)
	if err != nil {
		testneed.Unmet(b.t, err)
	}
	return data
}

// program is main.c linked against the library, with more arguments.
func (b *bench) program(args ...string) []byte {
	b.t.Helper()
	return b.make("main", append([]string{b.path("main.c"), b.path("libgreet.so.1")}, args...)...)
}

func (b *bench) run(data []byte, env ...string) (string, error) {
	b.t.Helper()
	path := writeProgram(b.t, b.dir, "run", data)
	cmd := exec.Command(path)
	cmd.Env = append([]string{"LD_BIND_NOW=1", "LC_ALL=C"}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *bench) mustSay(data []byte, want string, env ...string) {
	b.t.Helper()
	if out, err := b.run(data, env...); err != nil || out != want {
		b.t.Errorf("the program says %q, %v; want %q", out, err, want)
	}
}

func (b *bench) strip(data []byte) []byte {
	b.t.Helper()
	path := writeProgram(b.t, b.dir, "stripped", data)
	if out, err := exec.Command(tool(b.t, "strip"), path).CombinedOutput(); err != nil || len(out) > 0 {
		b.t.Fatalf("strip: %v: %s", err, out)
	}
	stripped, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return stripped
}

const says = "hello hello hello 42 1\n"

// linkings are ways to link a program.
var linkings = map[string][]string{
	"plain":                 nil,
	"no pie":                {"-no-pie"},
	"now":                   {"-Wl,-z,now"},
	"no relro":              {"-Wl,-z,norelro"},
	"one segment":           {"-Wl,-z,noseparate-code"},
	"no pie, one segment":   {"-no-pie", "-Wl,-z,noseparate-code"},
	"64 KiB pages":          {"-Wl,-z,max-page-size=65536"},
	"2 MiB pages":           {"-Wl,-z,max-page-size=2097152"},
	"no build ID":           {"-Wl,--build-id=none"},
	"sysv hash":             {"-Wl,--hash-style=sysv"},
	"both hashes":           {"-Wl,--hash-style=both"},
	"gold":                  {"-fuse-ld=gold"},
	"gold, no pie":          {"-fuse-ld=gold", "-no-pie"},
	"lld":                   {"-fuse-ld=lld"},
	"exports all":           {"-rdynamic"},
	"debugging information": {"-g"},
	"stripped":              {"-s"},
	"rpath":                 {"-Wl,--disable-new-dtags,-rpath,/old/rpath"},
	"runpath":               {"-Wl,--enable-new-dtags,-rpath,/old/runpath"},
	"packed relocations":    {"-Wl,-z,pack-relative-relocs"},
}

func TestProgramRuns(t *testing.T) {
	b := newBench(t)
	loader := hostLoader(t, elf.ELFCLASS64, elf.EM_X86_64)
	if loader == "" {
		testneed.Unmet(t, "the loader of x86-64 is not here")
	}
	lib := b.path("libgreet.so.1")
	long := strings.Repeat("/a/directory/of/some/length:", 200)
	var many []string
	for i := range 150 {
		many = append(many, fmt.Sprintf("/a/directory/that/is/not/there-%d/../there", i))
	}
	longLoader := "/lib64/" + strings.Repeat("../lib64/", 60) + filepath.Base(loader)
	runpath := &SearchPath{First: []string{b.dir}}
	for linking, args := range linkings {
		data, err := b.try("main", append([]string{b.path("main.c"), b.path("libgreet.so.1")}, args...)...)
		if err != nil {
			t.Logf("%s is left out: %v", linking, err)
			continue
		}
		b.mustSay(data, says, "LD_LIBRARY_PATH="+b.dir)
		var before map[string]int
		if _, err := exec.LookPath("eu-elflint"); err == nil {
			before = lint(t, writeProgram(t, b.dir, "before", data))
		}
		for _, test := range []struct {
			name    string
			changes Changes
		}{
			{"runpath", Changes{Path: runpath}},
			{"rpath", Changes{Path: &SearchPath{Last: []string{b.dir}, Form: FormRPath}}},
			{"long runpath", Changes{Path: &SearchPath{Set: ptr(long + b.dir)}}},
			{"long interpreter", Changes{Path: runpath, Interpreter: &longLoader}},
			{"absolute needed", Changes{ReplaceNeeded: []Replacement{{"libgreet.so.1", lib}}}},
			{"whole list", Changes{
				SetNeeded:    []string{lib, "libc.so.6"},
				VersionFiles: map[string]string{"libgreet.so.1": lib},
			}},
			{"added and replaced", Changes{
				AddNeededFirst: []string{"libm.so.6"}, AddNeededLast: []string{"libdl.so.2"},
				ReplaceNeeded: []Replacement{{"libgreet.so.1", lib}},
			}},
			{"many directories", Changes{Path: &SearchPath{First: many, Last: []string{b.dir}}}},
			{"flags", Changes{Path: runpath, DebugTag: true, ExecStack: ptr(false), OSABI: ptr(elf.ELFOSABI_LINUX)}},
			{"note", Changes{Path: runpath, SetNotes: []Note{{Name: "hashpkg", Type: 1, Desc: bytes.Repeat([]byte("x"), 300)}}}},
			{"soname and symbols", Changes{Path: runpath, Soname: ptr("main.so.1"), RenameSymbols: map[string]string{"not_there": "anywhere"}}},
		} {
			t.Run(linking+"/"+test.name, func(t *testing.T) {
				b := &bench{t: t, dir: b.dir, gcc: b.gcc}
				edited := mustMake(t, data, test.changes)
				b.mustSay(edited, says)
				if err := checkSound(data, edited); err != nil {
					t.Error(err)
				}
				if before != nil {
					if fresh := newComplaints(before, lint(t, writeProgram(t, b.dir, "after", edited))); len(fresh) > 0 {
						t.Errorf("eu-elflint: %q", fresh)
					}
				}
				stripped := b.strip(edited)
				b.mustSay(stripped, says)
				again := mustMake(t, stripped, Changes{Path: &SearchPath{Set: ptr("/nowhere:" + b.dir)}})
				b.mustSay(again, says)
				b.mustSay(b.strip(again), says)
			})
		}
	}
}

// TestDumped edits programs that have all of their variables in the file, as those have that
// were written from their own memory. Their heap goes on where their last segment ends.
func TestDumped(t *testing.T) {
	b := newBench(t)
	source := `
#include <stdio.h>
#include <unistd.h>
const char *greet(void);
extern char end[];
int main(void) {
	unsigned long heap = (unsigned long)sbrk(0);
	printf("%s %d\n", greet(), heap - (unsigned long)end < 4096);
	return 0;
}
`
	if err := os.WriteFile(b.path("dumped.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	objcopy, setarch := tool(t, "objcopy"), tool(t, "setarch")
	lib := b.path("libgreet.so.1")
	long := "/lib64/" + strings.Repeat("../lib64/", 400) + "ld-linux-x86-64.so.2"
	var many []string
	for i := range 150 {
		many = append(many, fmt.Sprintf("/a/directory/that/is/not/there-%d/../there", i))
	}
	run := func(name string, data []byte) {
		t.Helper()
		// As Lisp does, which starts itself again where addresses are random.
		cmd := exec.Command(setarch, "-R", writeProgram(t, b.dir, "run", data))
		cmd.Env = []string{"LD_BIND_NOW=1", "LD_LIBRARY_PATH=" + b.dir}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "hello 1\n" {
			t.Errorf("%s: it says %q, %v", name, out, err)
		}
	}
	for _, base := range []string{"0x400000", "0x18000"} {
		b.make("linked", "-no-pie", "-Wl,-z,norelro", "-Wl,-Ttext-segment="+base, b.path("dumped.c"), lib)
		if out, err := exec.Command(objcopy, "--set-section-flags", ".bss=alloc,load,contents", b.path("linked"), b.path("dumped")).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v: %s", err, out)
		}
		data, err := os.ReadFile(b.path("dumped"))
		if err != nil {
			t.Fatal(err)
		}
		run(base, data)
		for _, changes := range [][]Changes{
			{{ReplaceNeeded: []Replacement{{"libgreet.so.1", lib}}}},
			{{Interpreter: &long}, {Path: &SearchPath{Set: ptr("/nowhere:" + b.dir)}}},
			{{Path: &SearchPath{First: many, Last: []string{b.dir}}}, {ReplaceNeeded: []Replacement{{"libgreet.so.1", lib}}}},
			{{AddNeededLast: []string{"libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libanl.so.1", "libresolv.so.2", "libnsl.so.1", "libBrokenLocale.so.1"}}},
		} {
			edited := data
			for _, c := range changes {
				before := edited
				edited = mustMake(t, edited, c)
				run(base, edited)
				if err := checkSound(before, edited); err != nil {
					t.Error(err)
				}
			}
		}
	}
	// Where nothing is free below it, it is left as it is.
	b.make("linked", "-no-pie", "-Wl,-Ttext-segment=0x10000", b.path("dumped.c"), lib)
	if out, err := exec.Command(objcopy, "--set-section-flags", ".bss=alloc,load,contents", b.path("linked"), b.path("dumped")).CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v: %s", err, out)
	}
	data, err := os.ReadFile(b.path("dumped"))
	if err != nil {
		t.Fatal(err)
	}
	var reason *RefusedError
	if _, err := Make(data, Changes{Path: &SearchPath{First: many}}); !errors.As(err, &reason) || !strings.Contains(err.Error(), "goes on with its heap") {
		t.Errorf("nothing is free below it, and the error is %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// stripHeaders removes the section headers, as sstrip does.
func stripHeaders(data []byte) []byte {
	data = bytes.Clone(data)
	img, err := parse(data)
	if err != nil {
		panic(err)
	}
	var end uint64
	for _, p := range img.progs {
		end = max(end, p.fileEnd())
	}
	clear(data[40:48])
	clear(data[58:64])
	return data[:end]
}

func TestWithoutSectionHeaders(t *testing.T) {
	b := newBench(t)
	for linking, args := range linkings {
		t.Run(linking, func(t *testing.T) {
			b := &bench{t: t, dir: b.dir, gcc: b.gcc}
			data := stripHeaders(b.program(args...))
			b.mustSay(data, says, "LD_LIBRARY_PATH="+b.dir)
			long := strings.Repeat("/a/directory/of/some/length:", 200) + b.dir
			for _, c := range []Changes{
				{Path: &SearchPath{Set: &b.dir}},
				{Path: &SearchPath{Set: &long}},
				{Path: &SearchPath{Set: &b.dir}, SetNotes: []Note{{Name: "x", Type: 1, Desc: []byte("y")}}},
			} {
				edited := mustMake(t, data, c)
				b.mustSay(edited, says)
				longer := long + ":/even/longer" + strings.Repeat("/longer", 100)
				b.mustSay(mustMake(t, edited, Changes{Path: &SearchPath{Set: &longer}}), says)
			}
		})
	}
}

// TestGoldPayload makes C++ programs longer that gold linked, with and without
// data behind them. That data keeps its place, or the edit is refused.
func TestGoldPayload(t *testing.T) {
	b := newBench(t)
	b.gcc = tool(t, "g++")
	source := "#include <cstdio>\nint main() { try { throw 42; } catch (int v) { std::printf(\"%d\", v); } return 0; }\n"
	if err := os.WriteFile(b.path("throw.cc"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("payload\n"), 8192)
	for _, args := range [][]string{
		{"-fcf-protection=full"},
		{"-fcf-protection=full", "-Wl,-z,now"},
		{"-fcf-protection=full", "-s"},
		{"-fcf-protection=full", "-Wl,--rosegment"},
		{"-fcf-protection=full", "-no-pie"},
	} {
		data := b.make("throw", append([]string{"-pie", "-fPIE", "-fuse-ld=gold", b.path("throw.cc")}, args...)...)
		long := strings.Repeat("/directory", 3000)
		for _, changes := range [][]Changes{
			{{Path: &SearchPath{Set: &long}}},
			{{Interpreter: ptr("/lib64/" + strings.Repeat("./", 1500) + "ld-linux-x86-64.so.2")}, {Path: &SearchPath{Set: &long}}},
			{{SetNotes: []Note{{Name: "x", Type: 1, Desc: payload}}}, {AddNeededLast: []string{"libm.so.6"}}},
		} {
			edited := data
			for _, c := range changes {
				edited = mustMake(t, edited, c)
				b.mustSay(edited, "42")
			}
			_, err := Make(append(bytes.Clone(data), payload...), changes[0])
			var reason *RefusedError
			if want := fmt.Sprintf("from offset %#x on, it has %d bytes of its own", len(data), len(payload)); !errors.As(err, &reason) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: with data behind the file the error is %v; want %q", args, err, want)
			}
		}
		// An edit for which there is room leaves the data where it is.
		edited := mustMake(t, append(bytes.Clone(data), payload...), Changes{Path: &SearchPath{Set: ptr("/x")}})
		if len(edited) != len(data)+len(payload) || !bytes.HasSuffix(edited, payload) {
			t.Errorf("%q: the data behind the file has moved", args)
		}
	}
}

// TestManyNeeded makes the dynamic section outgrow its room.
func TestManyNeeded(t *testing.T) {
	b := newBench(t)
	var libs []string
	for i := range 120 {
		name := fmt.Sprintf("libn%d.so", i)
		source := b.path(name + ".c")
		if err := os.WriteFile(source, fmt.Appendf(nil, "int n%d(void) { return %d; }\n", i, i), 0o644); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			b.make(name, "-shared", "-fPIC", "-nostdlib", "-Wl,-soname,"+name, source)
		} else {
			data, err := os.ReadFile(b.path("libn0.so"))
			if err != nil {
				t.Fatal(err)
			}
			data = mustMake(t, data, Changes{Soname: &name})
			writeProgram(t, b.dir, name, data)
		}
		libs = append(libs, b.path(name))
	}
	for _, count := range []int{10, 40, 120} {
		for linking, args := range linkings {
			t.Run(fmt.Sprintf("%s/%d", linking, count), func(t *testing.T) {
				b := &bench{t: t, dir: b.dir, gcc: b.gcc}
				data := b.program(args...)
				c := Changes{
					SetNeeded:    append(slices.Clone(libs[:count]), b.path("libgreet.so.1"), "libc.so.6"),
					VersionFiles: map[string]string{"libgreet.so.1": b.path("libgreet.so.1")},
				}
				info := mustInspect(t, data)
				fits := !info.DynamicRelRO || count+2-len(info.Needed) <= info.DynamicRoom
				if _, err := Make(data, c); fits && err != nil || !fits && !errors.Is(err, ErrLeavesRelRO) {
					t.Errorf("room for %d entries, %v: the error is %v", info.DynamicRoom, info.DynamicRelRO, err)
				}
				c.MayLeaveRelRO = true
				edited := mustMake(t, data, c)
				b.mustSay(edited, says)
				if err := checkSound(data, edited); fits && err != nil || !fits && !strings.Contains(fmt.Sprint(err), "dynamic-in-relro=false") {
					t.Errorf("room for %d entries: %v", info.DynamicRoom, err)
				}
				stripped := b.strip(edited)
				b.mustSay(stripped, says)
				more := append(slices.Clone(libs[:count]), "libm.so.6", "libdl.so.2", "libpthread.so.0")
				again := mustMake(t, stripped, Changes{SetNeeded: append(more, c.SetNeeded[count:]...), MayLeaveRelRO: true})
				b.mustSay(again, says)
				got := mustInspect(t, again).Needed
				if len(got) != count+5 {
					t.Errorf("needs %d libraries: %q", len(got), got)
				}
			})
		}
	}
}

// TestVersionDefs inspects libraries that define symbol versions, only the base
// one, and none: a wanted version that is not there is fatal with the first two
// only (glibc elf/dl-version.c, match_symbol).
func TestVersionDefs(t *testing.T) {
	b := newBench(t)
	versioned, err := os.ReadFile(b.path("libgreet.so.1"))
	if err != nil {
		t.Fatal(err)
	}
	// No linker makes a definition of the base only, so the chain is cut behind it.
	f, err := elf.NewFile(bytes.NewReader(versioned))
	if err != nil {
		t.Fatal(err)
	}
	onlyBase := slices.Clone(versioned)
	defs, dynamic := f.Section(".gnu.version_d"), f.Section(".dynamic")
	const vdNext, word = 16, 4 // gABI, symbol versioning: vd_next of Elf64_Verdef, an Elf64_Word
	if f.Class != elf.ELFCLASS64 || defs == nil || dynamic == nil || f.ByteOrder.Uint32(onlyBase[defs.Offset+vdNext:]) == 0 {
		testneed.Unmet(t, "the library is no 64-bit one with two definitions")
	}
	f.ByteOrder.PutUint32(onlyBase[defs.Offset+vdNext:], 0)
	for at := dynamic.Offset; at < dynamic.Offset+dynamic.Size; at += 4 * word {
		if elf.DynTag(f.ByteOrder.Uint64(onlyBase[at:])) == elf.DT_VERDEFNUM {
			f.ByteOrder.PutUint64(onlyBase[at+2*word:], 1)
		}
	}
	none := b.make("libnone.so", "-shared", "-fPIC", b.path("greet.c"))
	for _, test := range []struct {
		name string
		data []byte
		has  bool
		defs []VersionDef
	}{
		{"versioned", versioned, true, []VersionDef{{Name: "GREET_1.0"}}},
		{"only the base", onlyBase, true, nil},
		{"none", none, false, nil},
	} {
		info := mustInspect(t, test.data)
		if info.HasVersionDefs != test.has || !slices.Equal(info.VersionDefs, test.defs) {
			t.Errorf("%s: %v, %v", test.name, info.HasVersionDefs, info.VersionDefs)
		}
	}
}

// TestVersionFile shows that a library which is asked for by its path cannot
// have its versions asked for by its soname.
func TestVersionFile(t *testing.T) {
	b := newBench(t)
	data := b.program()
	lib := b.path("libgreet.so.1")
	bare := mustMake(t, data, Changes{SetNeeded: []string{lib, "libc.so.6"}})
	if out, err := b.run(bare); err == nil {
		t.Errorf("a program with a bare vn_file starts, and says %q: the premise is wrong", out)
	}
	paired := mustMake(t, data, Changes{SetNeeded: []string{lib, "libc.so.6"}, VersionFiles: map[string]string{"libgreet.so.1": lib}})
	b.mustSay(paired, says)
	other := mustMake(t, data, Changes{SetNeeded: []string{lib, "libc.so.6"}, VersionFiles: map[string]string{"libgreet.so.1": filepath.Join(b.dir, ".", "../") + "/elsewhere"}})
	if out, err := b.run(other); err == nil {
		t.Errorf("a program with another path in vn_file starts, and says %q: the premise is wrong", out)
	}
}

func TestRename(t *testing.T) {
	b := newBench(t)
	for _, style := range []string{"gnu", "sysv", "both"} {
		for _, count := range []int{1, 50} {
			t.Run(fmt.Sprintf("%s/%d", style, count), func(t *testing.T) {
				b := &bench{t: t, dir: t.TempDir(), gcc: b.gcc}
				var lib, main, calls strings.Builder
				renames := make(map[string]string)
				for i := range count {
					fmt.Fprintf(&lib, "int before_%d(void) { return %d; }\nint (*at_%d)(void) = before_%d;\n", i, i, i, i)
					fmt.Fprintf(&main, "int after_%d(void); extern int (*at_%d)(void);\n", i, i)
					fmt.Fprintf(&calls, "if (after_%d() != %d || at_%d() != %d) return 1;\n", i, i, i, i)
					renames[fmt.Sprintf("before_%d", i)] = fmt.Sprintf("after_%d", i)
				}
				for name, text := range map[string]string{"lib.c": lib.String(), "main.c": main.String() + "int main(void) {" + calls.String() + "return 0; }"} {
					if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				data := b.make("lib.so", "-shared", "-fPIC", "-Wl,--hash-style="+style, "-Wl,-soname,lib.so", b.path("lib.c"))
				edited := mustMake(t, data, Changes{RenameSymbols: renames})
				if err := checkSound(data, edited); err != nil {
					t.Error(err)
				}
				before := lint(t, b.path("lib.so"))
				writeProgram(t, b.dir, "lib.so", edited)
				if fresh := newComplaints(before, lint(t, b.path("lib.so"))); len(fresh) > 0 {
					t.Errorf("eu-elflint: %q", fresh)
				}
				program := b.make("main", b.path("main.c"), b.path("lib.so"), "-Wl,-rpath,"+b.dir)
				b.mustSay(program, "")
				back := make(map[string]string)
				for from, to := range renames {
					back[to] = from
				}
				// The same from the program's side.
				writeProgram(t, b.dir, "lib.so", mustMake(t, edited, Changes{RenameSymbols: back}))
				if _, err := b.run(program); err == nil {
					t.Error("the program runs with the old names")
				}
				b.mustSay(mustMake(t, program, Changes{RenameSymbols: back}), "")
			})
		}
	}
}

func TestClearSymbolVersions(t *testing.T) {
	b := newBench(t)
	data := b.program()
	edited := mustMake(t, data, Changes{Path: &SearchPath{Set: &b.dir}, ClearSymbolVersions: []string{"greet"}})
	b.mustSay(edited, says)
	out, _ := exec.Command(tool(t, "readelf"), "--dyn-syms", "-W", writeProgram(t, b.dir, "cleared", edited)).Output()
	if strings.Contains(string(out), " greet@") || !strings.Contains(string(out), " greet_twice@") {
		t.Errorf("readelf says:\n%s", out)
	}
}

func TestNotes(t *testing.T) {
	b := newBench(t)
	for linking, args := range linkings {
		t.Run(linking, func(t *testing.T) {
			b := &bench{t: t, dir: b.dir, gcc: b.gcc}
			program := b.program(args...)
			data := program
			old := mustInspect(t, data).Notes
			first := Note{Name: "hashpkg", Type: 1, Desc: []byte("one")}
			second := Note{Name: "hashpkg", Type: 2, Desc: bytes.Repeat([]byte("two"), 2000)}
			edited := mustMake(t, data, Changes{SetNotes: []Note{first, second}})
			second.Desc = []byte("shorter")
			replaced := mustMake(t, edited, Changes{SetNotes: []Note{second}})
			for data, want := range map[*[]byte][]Note{
				&edited:   append(slices.Clone(old), first, Note{Name: "hashpkg", Type: 2, Desc: bytes.Repeat([]byte("two"), 2000)}),
				&replaced: append(slices.Clone(old), first, second),
			} {
				b.mustSay(*data, says, "LD_LIBRARY_PATH="+b.dir)
				if got := mustInspect(t, *data).Notes; fmt.Sprint(sortNotes(got)) != fmt.Sprint(sortNotes(want)) {
					t.Errorf("notes are %v, not %v", got, want)
				}
				stripped := b.strip(*data)
				b.mustSay(stripped, says, "LD_LIBRARY_PATH="+b.dir)
				if got := mustInspect(t, stripped).Notes; fmt.Sprint(sortNotes(got)) != fmt.Sprint(sortNotes(want)) {
					t.Errorf("stripped, notes are %v, not %v", got, want)
				}
				before := lint(t, writeProgram(t, b.dir, "before", program))
				if fresh := newComplaints(before, lint(t, writeProgram(t, b.dir, "after", *data))); len(fresh) > 0 {
					t.Errorf("eu-elflint: %q", fresh)
				}
			}
		})
	}
}

func sortNotes(notes []Note) []string {
	var list []string
	for _, n := range notes {
		list = append(list, fmt.Sprintf("%s %d %x", n.Name, n.Type, n.Desc))
	}
	slices.Sort(list)
	return list
}

func TestRefused(t *testing.T) {
	b := newBench(t)
	object := b.make("main.o", "-c", b.path("main.c"))
	if err := os.WriteFile(b.path("static.c"), []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	static := b.make("static", "-static", b.path("static.c"))
	b.program("-g")
	if out, err := exec.Command(tool(t, "objcopy"), "--only-keep-debug", b.path("main"), b.path("main.debug")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	debug, err := os.ReadFile(b.path("main.debug"))
	if err != nil {
		t.Fatal(err)
	}
	// Of a file that has no debugging information itself nothing is left but headers,
	// which tell of bytes behind its end.
	b.program("-s")
	if out, err := exec.Command(tool(t, "objcopy"), "--only-keep-debug", b.path("main"), b.path("main.debug")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	stripped, err := os.ReadFile(b.path("main.debug"))
	if err != nil {
		t.Fatal(err)
	}
	program := b.program()
	core := bytes.Clone(program)
	core[16] = byte(elf.ET_CORE)
	path := Changes{Path: &SearchPath{Set: ptr("/x")}}
	for _, test := range []struct {
		name    string
		data    []byte
		changes Changes
	}{
		{"object", object, path},
		{"static", static, path},
		{"split debug", debug, path},
		{"split debug of a stripped file", stripped, path},
		{"core", core, path},
		{"static, interpreter", static, Changes{Interpreter: ptr("/x")}},
		{"colon", program, Changes{Path: &SearchPath{Last: []string{"/a:/b"}}}},
		{"zero byte", program, Changes{Soname: ptr("a\x00b")}},
		{"empty needed", program, Changes{AddNeededLast: []string{""}}},
		{"long interpreter", program, Changes{Interpreter: ptr("/" + strings.Repeat("x", 4096))}},
		{"payload", append(bytes.Clone(program), "payload"...), Changes{Path: &SearchPath{Set: ptr(strings.Repeat("/x", 9000))}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Make(test.data, test.changes)
			var reason *RefusedError
			if !errors.As(err, &reason) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
