package elfedit

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// selfSource has a symbol of every kind. Each is referred to by a word of data, and the functions
// by calls, too.
const selfSource = `
int plain(void) { return 1; }
__attribute__((weak)) int feeble(void) { return 2; }
__attribute__((visibility("hidden"))) int hidden(void) { return 3; }
__attribute__((visibility("protected"))) int kept(void) { return 4; }
static int chosen(void) { return 5; }
static void *choose(void) { return chosen; }
int indirect(void) __attribute__((ifunc("choose")));
int data = 6;
__thread int local = 7;
void *malloc(unsigned long n) { return 0; }
int _Znwm(void) { return 8; }
int _ZTV1C[2] = {9, 9};
int old_twice(void) { return 10; }
int new_twice(void) { return 11; }
__asm__(".symver old_twice, twice@V1\n.symver new_twice, twice@@V2");
extern int foreign(void);
extern int twice(void);
void *words[] = {plain, feeble, kept, hidden, indirect, &data, malloc, _Znwm, _ZTV1C, foreign, twice};
int *last = &data + 1;
int *inside = &_ZTV1C[1];
int call(void) { return plain() + feeble() + hidden() + kept() + indirect() + foreign() + _Znwm() + !!malloc(1) + local + data + _ZTV1C[0]; }
`

const selfVersions = `V1 { twice; plain; }; V2 { twice; };`

// machines are those that SelfBind knows, and what compiles for them.
var machines = map[string]string{"x86-64": "gcc", "AArch64": "aarch64-linux-gnu-gcc", "i386": "i686-linux-gnu-gcc"}

// selfLibrary compiles selfSource.
func selfLibrary(t testing.TB, compiler string, args ...string) []byte {
	t.Helper()
	testneed.Programs(t, compiler)
	dir := t.TempDir()
	for name, text := range map[string]string{"self.c": selfSource, "self.map": selfVersions} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(compiler, append([]string{"-O1", "-w", "-fno-builtin", "-shared", "-fPIC", "-nostdlib", "-o", "self.so", "self.c", "-Wl,--version-script=self.map"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "self.so"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestExports(t *testing.T) {
	want := []Symbol{
		{"V1", "V1"},
		{"V2", "V2"},
		{"_ZTV1C", ""},
		{"_Znwm", ""},
		{"call", ""},
		{"data", ""},
		{"feeble", ""},
		{"indirect", ""},
		{"inside", ""},
		{"kept", ""},
		{"last", ""},
		{"local", ""},
		{"malloc", ""},
		{"new_twice", ""},
		{"old_twice", ""},
		{"plain", "V1"},
		{"twice", "V1"},
		{"twice", "V2"},
		{"words", ""},
	}
	for name, compiler := range machines {
		got, err := Exports(selfLibrary(t, compiler))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	b := newBench(t)
	for name, args := range map[string][]string{"main": {"-no-pie", "-fno-pic"}, "none": {"-static-pie"}} {
		if err := os.WriteFile(b.path("main.c"), []byte(mainSource+"int taken(const char *(*f)(void)) { return f == greet; }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if name == "none" {
			got, err := Exports(b.make("none", append(args, b.path("main.c"), b.path("greet.c"))...))
			if err != nil || len(got) > 0 {
				t.Errorf("a static program exports %q, %v", got, err)
			}
			continue
		}
		got, err := Exports(b.program(args...))
		if err != nil {
			t.Fatal(err)
		}
		// A copy of the data, and the address that the program gives to the function.
		for _, s := range []Symbol{{"greet_data", "GREET_1.0"}, {"greet", "GREET_1.0"}} {
			if !slices.Contains(got, s) {
				t.Errorf("%q is not among %q", s, got)
			}
		}
		if slices.ContainsFunc(got, func(s Symbol) bool { return s.Name == "greet_twice" || s.Name == "printf" }) {
			t.Errorf("what the program only calls is among %q", got)
		}
	}
}

func TestMayAnswer(t *testing.T) {
	for _, test := range []struct {
		export, wanted Symbol
		may            bool
	}{
		{Symbol{"f", "V1"}, Symbol{"f", "V1"}, true},
		{Symbol{"f", ""}, Symbol{"f", "V1"}, true},
		{Symbol{"f", "V1"}, Symbol{"f", ""}, true},
		{Symbol{"f", ""}, Symbol{"f", ""}, true},
		{Symbol{"f", "V2"}, Symbol{"f", "V1"}, false},
		{Symbol{"g", "V1"}, Symbol{"f", "V1"}, false},
	} {
		if may := test.export.MayAnswer(test.wanted); may != test.may {
			t.Errorf("%v for %v: %v", test.export, test.wanted, may)
		}
	}
}

var selfNow = []Symbol{{"_ZTV1C", ""}, {"feeble", ""}, {"plain", "V1"}}

// TestSelfBindable has one library linked in several ways.
func TestSelfBindable(t *testing.T) {
	all := append(slices.Clone(selfNow), Symbol{"twice", "V2"}) // and not the older one, which nothing refers to
	for name, compiler := range machines {
		for _, test := range []struct {
			args []string
			want []Symbol
		}{
			{[]string{"-Wl,-z,now"}, all},
			{[]string{"-Wl,-z,lazy"}, all},
			{[]string{"-Wl,-z,now", "-Wl,--hash-style=sysv"}, all},
			{[]string{"-Wl,-Bsymbolic"}, nil},
			{[]string{"-Wl,-soname,libresolv.so.2"}, nil},
			{[]string{"-Wl,-soname,libasan.so.8"}, nil},
			{[]string{"-Wl,-f,libother.so"}, nil},
			{[]string{"-Wl,-F,libother.so"}, nil},
			{[]string{"-Dcall=__sanitizer_call"}, nil},
		} {
			got, err := SelfBindable(selfLibrary(t, compiler, test.args...))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s, %q: %q, want %q", name, test.args, got, test.want)
			}
		}
	}
	// A program's copy of a library's data is its own.
	b := newBench(t)
	if err := os.WriteFile(b.path("main.c"), []byte(mainSource+"int *word = &greet_data;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := SelfBindable(b.program("-pie", "-fPIE")); err != nil || !slices.Equal(got, []Symbol{{"greet_data", "GREET_1.0"}}) {
		t.Errorf("a program: %q, %v", got, err)
	}
	if err := os.WriteFile(b.path("greet.c"), []byte(greetSource+"int *word = &greet_data;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := SelfBindable(b.make("data.so", "-shared", "-fPIC", b.path("greet.c"))); err != nil || len(got) > 0 {
		t.Errorf("a library with data: %q, %v", got, err)
	}
}

// TestSelfBindableOfManyVersions has a function in so many versions that which of them a look-up
// gives is not found out.
func TestSelfBindableOfManyVersions(t *testing.T) {
	b := newBench(t)
	for count, want := range map[int][]Symbol{maxNamesakes: {{"f", fmt.Sprintf("V%d", maxNamesakes)}}, maxNamesakes + 1: nil} {
		var source, versions strings.Builder
		for i := 1; i <= count; i++ {
			at := "@"
			if i == count {
				at = "@@"
			}
			fmt.Fprintf(&source, "int f_%[1]d(void) { return %[1]d; }\n__asm__(\".symver f_%[1]d, f%[2]sV%[1]d\");\n", i, at)
			fmt.Fprintf(&versions, "V%d { local: f_*; };\n", i)
		}
		source.WriteString("extern int f(void);\nint (*const table[])(void) __attribute__((visibility(\"default\"))) = {f};\n")
		for name, text := range map[string]string{"versions.c": source.String(), "versions.map": versions.String()} {
			if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		library := b.make("versions.so", "-shared", "-fPIC", "-Wl,--version-script="+b.path("versions.map"), b.path("versions.c"))
		if got, err := SelfBindable(library); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d versions: %q, %v, want %q", count, got, err, want)
		}
	}
}

// TestNamesThatAreReplaced has what preloaded libraries take the place of, and neighbors of these names.
func TestNamesThatAreReplaced(t *testing.T) {
	for name, want := range map[string]bool{
		"malloc": true, "malloc_usable_size": true, "mallocx": false, "_Znwm": true, "_ZdlPv": true, "_ZNSt6vectorIiE": false,
		"__cxa_throw": true, "__cxa_guard_acquire": true, "_Unwind_RaiseException": true, "acl_get_file": true, "acl_get_entry": false,
		"MPI_Send": true, "mpi_send_": true, "PMPI_Send": false, "glClear": true, "glXSwapBuffers": true, "eglSwapBuffers": true,
		"glob_copy": false, "gl": false, "glib_version": false, "eglot": false,
	} {
		if isReplaced(name) != want {
			t.Errorf("%s is replaced: %v", name, !want)
		}
	}
}

// TestSelfBindableOfManyProgramHeaders moves the program headers of a library to its end and adds others, which mean
// nothing: with more than maxSelfProgs nothing is bound.
func TestSelfBindableOfManyProgramHeaders(t *testing.T) {
	library := selfLibrary(t, "gcc")
	all, err := SelfBindable(library)
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	const size = 56
	at, count := binary.LittleEndian.Uint64(library[32:]), int(binary.LittleEndian.Uint16(library[56:]))
	with := func(n int) []byte {
		table := make([]byte, n*size) // of PT_NULL
		copy(table, library[at:][:count*size])
		data := slices.Concat(library, make([]byte, -len(library)&7), table)
		binary.LittleEndian.PutUint64(data[32:], uint64(len(data)-len(table)))
		binary.LittleEndian.PutUint16(data[56:], uint16(n))
		return data
	}
	for n, want := range map[int][]Symbol{maxSelfProgs: all, maxSelfProgs + 1: nil, 60000: nil} {
		data := with(n)
		if have, err := SelfBindable(data); err != nil || !slices.Equal(have, want) {
			t.Errorf("%d program headers: %d symbols, %v", n, len(have), err)
		}
		if n > 256 { // which Make refuses
			continue
		}
		if e, err := Make(data, Changes{SelfBind: all}); err != nil || e.IsZero() != (want == nil) {
			t.Errorf("%d program headers: the edit is empty: %v, %v", n, e.IsZero(), err)
		}
	}
}

var relocationLine = regexp.MustCompile(`^([0-9a-f]+) +[0-9a-f]+ +(\S+) *(.*)$`)

// relocation is one as readelf has it; value is what the slot gets, less the load address, where the
// relocation has an addend.
type relocation struct {
	kind, symbol string
	value        uint64
}

// relocations returns what readelf says of a file's relocations, by the slot.
func relocations(t *testing.T, path string, args ...string) map[string]relocation {
	t.Helper()
	out, err := exec.Command(tool(t, "readelf"), append(args, "-rW", path)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("arning")) {
		t.Fatalf("readelf: %v: %s", err, out)
	}
	list := make(map[string]relocation)
	for line := range strings.Lines(string(out)) {
		m := relocationLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		r := relocation{kind: m[2]}
		fields := strings.Fields(m[3]) // VALUE NAME + ADDEND, VALUE NAME, or ADDEND
		for i, f := range fields {
			if n, err := strconv.ParseUint(f, 16, 64); err == nil && (i == 0 || i == 3) {
				r.value += n
			}
		}
		if len(fields) > 1 {
			r.symbol, _, _ = strings.Cut(fields[1], "@")
		}
		list[m[1]] = r
	}
	return list
}

// TestSelfBind has readelf say what has become of the relocations, by the section headers
// and by the dynamic section, and eu-elflint that nothing else has.
func TestSelfBind(t *testing.T) {
	for name, compiler := range machines {
		for _, args := range [][]string{{"-Wl,-z,now"}, {"-Wl,-z,lazy"}, {"-Wl,-z,now", "-Wl,-z,noseparate-code"}, {"-Wl,-z,now", "-Wl,-z,pack-relative-relocs"}} {
			if name != "x86-64" && name != "i386" && strings.Contains(args[len(args)-1], "pack") {
				continue // its linker has no such option
			}
			data := selfLibrary(t, compiler, args...)
			dir := t.TempDir()
			old := writeProgram(t, dir, "old.so", data)
			edited := mustMake(t, data, Changes{SelfBind: selfNow})
			path := writeProgram(t, dir, "new.so", edited)
			if len(edited) != len(data) {
				t.Errorf("%s %q: %d bytes, %d before", name, args, len(edited), len(data))
			}
			if err := checkSound(data, edited); err != nil {
				t.Errorf("%s %q: %v", name, args, err)
			}
			if fresh := newComplaints(lint(t, old), lint(t, path)); len(fresh) > 0 {
				t.Errorf("%s %q: eu-elflint: %q", name, args, fresh)
			}
			for _, view := range [][]string{nil, {"-D"}} {
				before, after := relocations(t, old, view...), relocations(t, path, view...)
				bound := make(map[string]int)
				if len(before) != len(after) || len(before) < 12 {
					t.Errorf("%s %q: %d relocations, %d before", name, args, len(after), len(before))
				}
				for slot, is := range after {
					was := before[slot]
					if is == was {
						continue
					}
					bound[was.symbol]++
					if !strings.Contains(is.kind, "_RELATIV") || is.symbol != "" || name != "i386" && is.value != was.value {
						t.Errorf("%s %q: %v has become %v", name, args, was, is)
					}
				}
				least := 1 // the word of data
				if args[0] == "-Wl,-z,now" {
					least = 2 // and the call
				}
				if len(bound) != len(selfNow) || bound["plain"] != least || bound["feeble"] != least || bound["_ZTV1C"] < 1 {
					t.Errorf("%s %q, readelf %q: bound to %v", name, args, view, bound)
				}
			}
			if less := mustMake(t, data, Changes{SelfBind: selfNow[:1]}); bytes.Equal(less, edited) || bytes.Equal(less, data) {
				t.Errorf("%s %q: a smaller set makes no difference", name, args)
			}
		}
	}
	data := selfLibrary(t, "gcc")
	var reason *RefusedError
	if _, err := Make(data, Changes{SelfBind: selfNow, RenameSymbols: map[string]string{"plain": "simple"}}); !errors.As(err, &reason) {
		t.Errorf("bound and renamed: %v", err)
	}
	// Together with a change for which the dynamic section grows.
	many := make([]string, 60)
	for i := range many {
		many[i] = "lib" + strings.Repeat("n", i+1)
	}
	edited := mustMake(t, data, Changes{SelfBind: selfNow, SetNeeded: many, MayLeaveRelRO: true})
	if info := mustInspect(t, edited); !slices.Equal(info.Needed, many) {
		t.Errorf("it needs %q", info.Needed)
	}
	if left, err := SelfBindable(edited); err != nil || slices.ContainsFunc(left, func(s Symbol) bool { return slices.Contains(selfNow, s) }) {
		t.Errorf("what is bound can be bound still: %q, %v", left, err)
	}
}

func FuzzSelfBind(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data, uint16(0))
	}
	for _, compiler := range machines {
		library := selfLibrary(f, compiler, "-Wl,-z,now", "-s")
		f.Add(library, uint16(3))
		// It ends within what is relocated.
		parsed, err := elf.NewFile(bytes.NewReader(library))
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range parsed.Progs {
			if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W != 0 {
				f.Add(library[:p.Off+p.Filesz/2], uint16(0))
				f.Add(library[:p.Off+p.Filesz-2], uint16(0))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, few uint16) {
		var broken *FormatError
		list, err := SelfBindable(data)
		if err != nil {
			if !errors.Is(err, ErrNotELF) && !errors.As(err, &broken) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if _, err := Exports(data); err != nil && !errors.As(err, &broken) {
			t.Fatalf("the error is %v", err)
		}
		for i := range list {
			if few>>(i%16)&1 != 0 {
				list[i].Name += "?"
			}
		}
		e, err := Make(data, Changes{SelfBind: list})
		var reason *RefusedError
		if err != nil {
			if !errors.As(err, &broken) && !errors.As(err, &reason) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		edited, err := e.Apply(data)
		if err != nil {
			t.Fatal(err)
		}
		if len(edited) != len(data) {
			t.Fatal("the file has another size")
		}
		if back, err := e.Invert().Apply(edited); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("undo does not give the bytes back: %v", err)
		}
	})
}
