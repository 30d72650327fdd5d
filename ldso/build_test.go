package ldso

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// workshop builds small programs and libraries below a directory.
type workshop struct {
	t   *testing.T
	dir string
}

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	testneed.Programs(t, "gcc")
	// Not t.TempDir, whose names have the test's, commas included.
	dir, err := os.MkdirTemp("", "ldso")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	return workshop{t, dir}
}

// path returns the absolute path of a file of the workshop, making its
// directory.
func (w workshop) path(name string) string {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// write makes a text file.
func (w workshop) write(name, text string) string {
	w.t.Helper()
	file := w.path(name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// gcc compiles code to the file name; "@" in arguments is the directory.
func (w workshop) gcc(name, code string, args ...string) string {
	w.t.Helper()
	source := w.write(name+".c", code)
	all := []string{"-o", w.path(name), source, "-Wl,--no-as-needed", "-Wl,--unresolved-symbols=ignore-all", "-Wl,--enable-new-dtags"}
	for _, arg := range args {
		all = append(all, strings.ReplaceAll(arg, "@", w.dir))
	}
	if out, err := exec.Command("gcc", all...).CombinedOutput(); err != nil {
		w.t.Fatalf("gcc %s: %v\n%s", strings.Join(all, " "), err, out)
	}
	return w.path(name)
}

// library builds a shared library that defines a function for its name.
func (w workshop) library(name string, args ...string) string {
	w.t.Helper()
	base, _, _ := strings.Cut(filepath.Base(name), ".")
	return w.gcc(name, fmt.Sprintf("int %s_f(void) { return 0; }\n", base), append([]string{"-shared", "-fPIC"}, args...)...)
}

func (w workshop) program(args ...string) string {
	w.t.Helper()
	return w.gcc("bin/p", "int main(void) { return 0; }\n", args...)
}

// runs reports whether a program starts.
func runs(program string, env ...string) bool {
	command := exec.Command(program)
	command.Env = env
	return command.Run() == nil
}

const (
	oldTags = "-Wl,--disable-new-dtags"
	soname  = "-Wl,-soname,"
	rpathTo = "-Wl,-rpath,"
)

// TestLoadBuilt builds each case, compares its closure with what the loader
// lists, and Starts with what happens when it runs.
func TestLoadBuilt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(w workshop) (program string)
		env   string   // LD_LIBRARY_PATH
		want  []string // objects but those of glibc, "@" being the directory
		gone  []string // missing names
		fails bool     // the loader lists nothing
	}{
		{
			name: "RUNPATH is not transitive",
			build: func(w workshop) string {
				w.library("lib/libb.so", soname+"libb.so")
				w.library("lib/liba.so", soname+"liba.so", "-L@/lib", "-lb")
				return w.program("-L@/lib", "-la", rpathTo+"@/lib")
			},
			want: []string{"@/lib/liba.so"}, gone: []string{"libb.so"},
		},
		{
			name: "RPATH is inherited",
			build: func(w workshop) string {
				w.library("lib/libb.so", soname+"libb.so")
				w.library("lib/liba.so", soname+"liba.so", "-L@/lib", "-lb")
				return w.program(oldTags, "-L@/lib", "-la", rpathTo+"@/lib")
			},
			want: []string{"@/lib/liba.so", "@/lib/libb.so"},
		},
		{
			name: "but not by a library with RUNPATH",
			build: func(w workshop) string {
				w.library("lib/libb.so", soname+"libb.so")
				w.library("lib/liba.so", soname+"liba.so", "-L@/lib", "-lb", rpathTo+"/nowhere")
				return w.program(oldTags, "-L@/lib", "-la", rpathTo+"@/lib")
			},
			want: []string{"@/lib/liba.so"}, gone: []string{"libb.so"},
		},
		{
			name: "RPATH through a library in between with RUNPATH",
			build: func(w workshop) string {
				w.library("lib/libc2.so", soname+"libc2.so")
				w.library("lib/libb.so", soname+"libb.so", "-L@/lib", "-lc2")
				w.library("lib/liba.so", soname+"liba.so", "-L@/lib", "-lb", rpathTo+"$ORIGIN")
				return w.program(oldTags, "-L@/lib", "-la", rpathTo+"$ORIGIN/../lib")
			},
			want: []string{"@/bin/../lib/liba.so", "@/bin/../lib/libb.so", "@/bin/../lib/libc2.so"},
		},
		{
			name: "breadth first",
			build: func(w workshop) string {
				w.library("lib/libd.so", soname+"libd.so")
				w.library("lib/liba.so", soname+"liba.so", "-L@/lib", "-ld")
				w.library("lib/libb.so", soname+"libb.so", "-L@/lib", "-la")
				return w.program(oldTags, "-L@/lib", "-lb", "-la", rpathTo+"@/lib")
			},
			want: []string{"@/lib/libb.so", "@/lib/liba.so", "@/lib/libd.so"},
		},
		{
			name: "a soname other than the needed name answers for both",
			build: func(w workshop) string {
				w.library("stub/liba.so", soname+"libasked.so")
				w.library("stub/libn.so", soname+"libnamed.so")
				w.library("lib/libb.so", soname+"libb.so", "-L@/stub", "-ln", rpathTo+"@/other")
				w.library("other/libnamed.so", soname+"libnamed.so")
				w.library("lib/libasked.so", soname+"libnamed.so")
				return w.program("-L@/stub", "-L@/lib", "-la", "-lb", rpathTo+"@/lib")
			},
			want: []string{"@/lib/libasked.so", "@/lib/libb.so"},
		},
		{
			name: "one file by two names",
			build: func(w workshop) string {
				w.library("stub/liba.so", soname+"liba.so")
				w.library("stub/libb.so", soname+"libb.so")
				a := w.library("lib/liba.so")
				if err := os.Symlink(a, w.path("lib/libb.so")); err != nil {
					w.t.Fatal(err)
				}
				return w.program("-L@/stub", "-la", "-lb", rpathTo+"@/lib")
			},
			want: []string{"@/lib/liba.so"},
		},
		{
			name: "two copies are two libraries",
			build: func(w workshop) string {
				w.library("x/liba.so", soname+"liba.so")
				y := w.library("y/liba.so")
				return w.program("-L@/x", "-la", y, rpathTo+"@/x")
			},
			want: []string{"@/x/liba.so", "@/y/liba.so"},
		},
		{
			name: "an absolute name, and its soname afterwards",
			build: func(w workshop) string {
				w.library("stub/liba.so", soname+w.path("x/liba.so"))
				w.library("stub/libb.so", soname+"liba.so")
				w.library("x/liba.so", soname+"liba.so")
				w.library("y/liba.so", soname+"liba.so")
				return w.program("-L@/stub", "-la", "-lb", rpathTo+"@/y")
			},
			want: []string{"@/x/liba.so"},
		},
		{
			name: "$ORIGIN in a name, of each who needs it",
			build: func(w workshop) string {
				stub := w.library("stub/liba.so", soname+"$ORIGIN/liba.so")
				for _, dir := range []string{"x", "y"} {
					w.library(dir + "/liba.so")
					w.library(dir+"/lib"+dir+".so", stub)
				}
				return w.program(w.path("x/libx.so"), w.path("y/liby.so"))
			},
			want: []string{"@/x/libx.so", "@/y/liby.so", "@/x/liba.so", "@/y/liba.so"},
		},
		{
			name: "$LIB and $PLATFORM",
			build: func(w workshop) string {
				options := loaderOptions(w.t)
				lib := "lib/" + options.Layout.Lib + "/" + options.Platform
				w.library(lib+"/liba.so", soname+"liba.so")
				return w.program("-L@/"+lib, "-la", rpathTo+"$ORIGIN/../lib/${LIB}/$PLATFORM")
			},
			want: []string{"@/bin/../lib/LIB/PLATFORM/liba.so"},
		},
		{
			name: "LD_LIBRARY_PATH is before RUNPATH",
			build: func(w workshop) string {
				w.library("env/liba.so", soname+"liba.so")
				w.library("lib/liba.so", soname+"liba.so")
				return w.program("-L@/lib", "-la", rpathTo+"@/lib")
			},
			env:  "@/none:@/env",
			want: []string{"@/env/liba.so"},
		},
		{
			name: "and after RPATH",
			build: func(w workshop) string {
				w.library("env/liba.so", soname+"liba.so")
				w.library("lib/liba.so", soname+"liba.so")
				return w.program(oldTags, "-L@/lib", "-la", rpathTo+"@/lib")
			},
			env:  "@/env",
			want: []string{"@/lib/liba.so"},
		},
		{
			name: "glibc-hwcaps",
			build: func(w workshop) string {
				if !slices.Contains(loaderOptions(w.t).HWCaps, "x86-64-v2") {
					testneed.Unmet(w.t, "the processor is older than x86-64-v2")
				}
				w.library("lib/liba.so", soname+"liba.so")
				w.library("lib/glibc-hwcaps/x86-64-v2/liba.so", soname+"liba.so")
				w.library("lib/glibc-hwcaps/power9/liba.so", soname+"liba.so")
				return w.program("-L@/lib", "-la", rpathTo+"@/lib")
			},
			want: []string{"@/lib/glibc-hwcaps/x86-64-v2/liba.so"},
		},
		{
			name: "another machine is passed over",
			build: func(w workshop) string {
				w.library("lib/liba.so", soname+"liba.so")
				b, err := os.ReadFile(w.library("arm/liba.so", soname+"liba.so"))
				if err != nil {
					w.t.Fatal(err)
				}
				binary.LittleEndian.PutUint16(b[18:], uint16(elf.EM_AARCH64))
				w.write("arm/liba.so", string(b))
				return w.program("-L@/lib", "-la", rpathTo+"@/arm:@/lib")
			},
			want: []string{"@/lib/liba.so"},
		},
		{
			name: "a text is not",
			build: func(w workshop) string {
				w.library("lib/liba.so", soname+"liba.so")
				w.write("text/liba.so", "INPUT(liba.so.1)\n")
				return w.program("-L@/lib", "-la", rpathTo+"@/text:@/lib")
			},
			gone: []string{"liba.so"}, fails: true,
		},
		{
			name: "nor is a program",
			build: func(w workshop) string {
				w.library("lib/liba.so", soname+"liba.so")
				w.gcc("exe/liba.so", "int main(void) { return 0; }\n", "-pie", "-fPIE")
				return w.program("-L@/lib", "-la", rpathTo+"@/exe:@/lib")
			},
			gone: []string{"liba.so"}, fails: true,
		},
		{
			name: "no default directories",
			build: func(w workshop) string {
				w.library("lib/liba.so", soname+"liba.so", "-nodefaultlibs")
				return w.program("-L@/lib", "-la", rpathTo+"@/lib", "-Wl,-z,nodefaultlib")
			},
			want: []string{"@/lib/liba.so"}, gone: []string{"libc.so.6"},
		},
		{
			name: "filters come after what they are for",
			build: func(w workshop) string {
				w.library("lib/libf.so", soname+"libf.so")
				w.library("lib/libx.so", soname+"libx.so")
				w.library("lib/liby.so", soname+"liby.so", "-L@/lib", "-lx", rpathTo+"@/lib")
				w.library("lib/liba.so", soname+"liba.so", "-L@/lib", "-lx", rpathTo+"@/lib",
					"-Wl,-f,libf.so", "-Wl,-f,libnone.so", "-Wl,-F,liby.so")
				w.library("lib/libb.so", soname+"libb.so")
				return w.program("-L@/lib", "-la", "-lb", "-lf", rpathTo+"@/lib")
			},
			want: []string{"@/lib/liby.so", "@/lib/libf.so", "@/lib/liba.so", "@/lib/libb.so", "@/lib/libx.so"},
		},
		{
			name: "a filter without what it is for",
			build: func(w workshop) string {
				w.library("lib/liba.so", soname+"liba.so", "-Wl,-F,libnone.so")
				return w.program("-L@/lib", "-la", rpathTo+"@/lib")
			},
			want: []string{"@/lib/liba.so"}, gone: []string{"libnone.so"},
		},
		{
			name: "nothing but the interpreter",
			build: func(w workshop) string {
				return w.gcc("bin/p", "void _start(void) { __asm__(\"mov $60,%eax; xor %edi,%edi; syscall\"); }\n", "-nostdlib", "-pie", "-fPIE")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorkshop(t)
			options := loaderOptions(t)
			here := strings.NewReplacer("@", w.dir, "LIB", options.Layout.Lib, "PLATFORM", options.Platform).Replace
			var env []string
			if tt.env != "" {
				env = []string{"LD_LIBRARY_PATH=" + here(tt.env)}
				options.LibraryPath = strings.Split(here(tt.env), ":")
			}
			program := tt.build(w)
			var c *Closure
			if tt.fails {
				c, _ = host{}.load(t, program, options)
				if j := (host{}).judge(t, program, env...); !j.failed {
					t.Errorf("the loader lists %v", j)
				}
			} else {
				c = host{}.compare(t, program, options, env...)
			}
			var want, got, gone []string
			for _, file := range tt.want {
				want = append(want, here(file))
			}
			for _, o := range c.Objects[1:] {
				if strings.HasPrefix(o.Path, w.dir) {
					got = append(got, o.Path)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" && !tt.fails {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			for _, m := range c.Missing {
				gone = append(gone, strings.ReplaceAll(m.Name, w.dir, "@"))
			}
			if diff := cmp.Diff(tt.gone, gone, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			if got, want := c.Starts(), runs(program, env...); got != want {
				t.Errorf("Starts() = %v, and it is %v that the program runs", got, want)
			}
		})
	}
}

// TestVersionsBuilt replaces a versioned library after linking.
func TestVersionsBuilt(t *testing.T) {
	const calls = "int f1(void); int f2(void); int main(void) { return 0; } int (*a)(void) = f1, (*b)(void) = f2;\n"
	const both = "int f1(void) { return 0; } int f2(void) { return 0; }\n"
	for _, tt := range []struct {
		name, script string // of the library that replaces the first
		weak         bool
		want         []string
		fatal        bool
	}{
		{"there", "V1 { f1; }; V2 { f2; };", false, nil, false},
		{"missing", "V1 { f1; };", false, []string{"V2 false true"}, true},
		{"no versions", "", false, []string{"V1 false false", "V2 false false"}, false},
		{"weak", "V1 { f1; };", true, []string{"V2 false false"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorkshop(t)
			options := loaderOptions(t)
			w.write("map", "V1 { f1; }; V2 { f2; };")
			w.gcc("lib/liba.so", both, "-shared", "-fPIC", soname+"liba.so", "-Wl,--version-script,@/map")
			program := w.gcc("bin/p", calls, "-Wl,-z,lazy", "-L@/lib", "-la", rpathTo+"@/lib")
			if tt.weak {
				weakenVersions(t, program)
			}
			args := []string{"-shared", "-fPIC", soname + "liba.so"}
			if tt.script != "" {
				w.write("map", tt.script)
				args = append(args, "-Wl,--version-script,@/map")
			}
			w.gcc("lib/liba.so", both, args...)

			c := host{}.compare(t, program, options)
			var got []string
			for _, v := range c.Versions {
				got = append(got, fmt.Sprintf("%s %v %v", v.Version, v.Provider == nil, v.Fatal))
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("versions (-want +got):\n%s", diff)
			}
			if got, want := c.Starts(), runs(program); got != want || want == tt.fatal {
				t.Errorf("Starts() = %v, and it is %v that the program runs", got, want)
			}
		})
	}
}

// TestVersionsOfAbsoluteNames has a library loaded by its path only while
// vn_file is its soname: the loader aborts, unless something asks for the
// soname.
func TestVersionsOfAbsoluteNames(t *testing.T) {
	for _, asked := range []bool{false, true} {
		t.Run(fmt.Sprintf("soname asked for %v", asked), func(t *testing.T) {
			w := newWorkshop(t)
			options := loaderOptions(t)
			const code = "int f1(void) { return 0; }\n"
			w.write("map", "V1 { f1; };")
			w.gcc("x/liba.so", code, "-shared", "-fPIC", soname+"liba.so", "-Wl,--version-script,@/map")
			w.library("stub/libpath.so", soname+w.path("x/liba.so"))
			args := []string{"-L@/stub", "-L@/x", "-lpath", "-la"}
			if asked {
				w.library("x/libb.so", "-L@/x", "-la")
				args = append(args, w.path("x/libb.so"))
			}
			program := w.gcc("bin/p", "int f1(void); int main(void) { return 0; } int (*a)(void) = f1;\n", args...)
			forgetNeeded(t, program, "liba.so")

			c, _ := host{}.load(t, program, options)
			if asked {
				host{}.compare(t, program, options)
			} else if len(c.Versions) != 1 || c.Versions[0].Provider != nil || c.Versions[0].File != "liba.so" {
				t.Errorf("Versions = %+v", c.Versions)
			}
			if got, want := c.Starts(), runs(program); got != want || want != asked {
				t.Errorf("Starts() = %v, and it is %v that the program runs", got, want)
			}
		})
	}
}

// weakenVersions makes all references to versions weak.
func weakenVersions(t *testing.T, file string) {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	need := b[f.Section(".gnu.version_r").Offset:]
	for next := uint32(1); next != 0; need = need[next:] {
		next = binary.LittleEndian.Uint32(need[12:])
		aux := need[binary.LittleEndian.Uint32(need[8:]):]
		for next := uint32(1); next != 0; aux = aux[next:] {
			next = binary.LittleEndian.Uint32(aux[12:])
			binary.LittleEndian.PutUint16(aux[4:], 2) // VER_FLG_WEAK
		}
	}
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// forgetNeeded makes a DT_NEEDED entry one that the loader does not know.
func forgetNeeded(t *testing.T, file, name string) {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dynamic := f.Section(".dynamic")
	entries, err := dynamic.Data()
	if err != nil {
		t.Fatal(err)
	}
	names, err := f.Section(".dynstr").Data()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(entries); at += 16 {
		tag := elf.DynTag(binary.LittleEndian.Uint64(entries[at:]))
		value := binary.LittleEndian.Uint64(entries[at+8:])
		if tag == elf.DT_NEEDED && strings.HasPrefix(string(names[value:]), name+"\x00") {
			binary.LittleEndian.PutUint64(b[dynamic.Offset+uint64(at):], 0x6fffdead)
			if err := os.WriteFile(file, b, 0o755); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s does not need %s", file, name)
}
