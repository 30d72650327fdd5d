package ldso

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// muslLoader is the loader that judges, by its path in programs.
const muslLoader = "/lib/ld-musl-x86_64.so.1"

// muslJudge asks musl's loader what it loads for a program.
func muslJudge(t testing.TB, program string, env ...string) (j judgement) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, muslLoader, "--list", program)
	command.Env = env
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		_, file, found := strings.Cut(strings.TrimSpace(line), " => ")
		if file, _, ok := strings.Cut(file, " (0x"); found && ok {
			if !slices.Contains(j.paths, file) { // the loader, for each of its names
				j.paths = append(j.paths, file)
			}
			continue
		}
		if name, ok := strings.CutPrefix(line, "Error loading shared library "); ok {
			name, _, _ = strings.Cut(name, ":")
			j.missing = append(j.missing, name)
			continue
		}
		if i > 0 || !strings.Contains(line, muslLoader) {
			t.Fatalf("%s: what does the loader mean by %q?", program, line)
		}
	}
	return j
}

// muslLoad computes what muslJudge answers.
func muslLoad(t testing.TB, program, libraryPath string) judgement {
	t.Helper()
	options := Options{}
	if libraryPath != "" {
		options.LibraryPath = strings.Split(libraryPath, ":")
	}
	_, j := host{}.load(t, program, options)
	return j
}

// muslRoot writes files, "@" in them being the directory, which it returns.
func muslRoot(t testing.TB, files map[string]testelf.File, links map[string]string) string {
	t.Helper()
	// Not t.TempDir, whose names have the test's, dollar signs included.
	dir, err := os.MkdirTemp("", "ldso")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	at := func(s string) string { return strings.ReplaceAll(s, "@", dir) }
	place := func(name string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, f := range files {
		f.RunPath, f.RPath = at(f.RunPath), at(f.RPath)
		f.Needed = slices.Clone(f.Needed)
		for i := range f.Needed {
			f.Needed[i] = at(f.Needed[i])
		}
		if err := os.WriteFile(place(name), f.Bytes(), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range links {
		if err := os.Symlink(to, place(name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestMuslRules has a case for each of musl's rules, judged by its loader.
func TestMuslRules(t *testing.T) {
	testneed.Programs(t, muslLoader)
	libc := []string{"libc.so"}
	program := func(f testelf.File) testelf.File {
		f.Interpreter = muslLoader
		return f
	}
	for _, tt := range []struct {
		name  string
		files map[string]testelf.File
		links map[string]string
		env   string   // LD_LIBRARY_PATH
		want  []string // "@" being the directory
		gone  []string
	}{
		{
			name: "a search path is inherited",
			files: map[string]testelf.File{
				"p":          program(testelf.File{Needed: []string{"liba.so", "libc.so"}, RunPath: "@/l"}),
				"l/liba.so":  {Needed: []string{"libb.so", "libc.so"}, RunPath: "@/m"},
				"m/libb.so":  {Needed: []string{"libd.so", "libc.so"}},
				"l/libd.so":  {Needed: libc},
				"other/x.so": {Needed: libc},
			},
			want: []string{"@/l/liba.so", muslLoader, "@/m/libb.so", "@/l/libd.so"},
		},
		{
			name: "RUNPATH and RPATH are alike, and one file's RUNPATH counts",
			files: map[string]testelf.File{
				"p":         program(testelf.File{Needed: []string{"liba.so"}, RunPath: "@/l", RPath: "@/m"}),
				"l/liba.so": {Needed: []string{"libb.so"}, RPath: "@/m"},
				"m/liba.so": {}, "l/libb.so": {}, "m/libb.so": {},
			},
			want: []string{"@/l/liba.so", "@/m/libb.so"},
		},
		{
			name: "LD_LIBRARY_PATH is before all",
			files: map[string]testelf.File{
				"p":         program(testelf.File{Needed: []string{"liba.so"}, RPath: "@/l"}),
				"l/liba.so": {}, "e/liba.so": {},
			},
			env: "@/none:@/e", want: []string{"@/e/liba.so"},
		},
		{
			name: "the C library's names are the loader's, in every version",
			files: map[string]testelf.File{
				"p":           program(testelf.File{Needed: []string{"libm.so.6", "libc.musl-x86_64.so.1", "libpthread.so.0", "libmy.so", "libcx.so"}, RunPath: "@/l"}),
				"l/libm.so.6": {}, "l/libmy.so": {}, "l/libcx.so": {},
			},
			want: []string{muslLoader, "@/l/libmy.so", "@/l/libcx.so"},
		},
		{
			name: "a soname is not what a library is known by",
			files: map[string]testelf.File{
				"p":           program(testelf.File{Needed: []string{"@/x/liba.so", "liba.so.1"}, RunPath: "@/l"}),
				"x/liba.so":   {Soname: "liba.so.1"},
				"l/liba.so.1": {Soname: "liba.so.1"},
			},
			want: []string{"@/x/liba.so", "@/l/liba.so.1"},
		},
		{
			name: "one that was loaded by path is known by its name when a search comes to it",
			files: map[string]testelf.File{
				"p":         program(testelf.File{Needed: []string{"@/l/liba.so", "liba.so", "libb.so"}, RunPath: "@/l"}),
				"l/liba.so": {},
				"l/libb.so": {Needed: []string{"liba.so"}, RunPath: "@/m"}, "m/liba.so": {},
			},
			want: []string{"@/l/liba.so", "@/l/libb.so"},
		},
		{
			name: "and by none before that",
			files: map[string]testelf.File{
				"p":         program(testelf.File{Needed: []string{"@/l/liba.so", "libb.so"}, RunPath: "@/l"}),
				"l/liba.so": {},
				"l/libb.so": {Needed: []string{"liba.so"}, RunPath: "@/m"}, "m/liba.so": {},
			},
			want: []string{"@/l/liba.so", "@/l/libb.so", "@/m/liba.so"},
		},
		{
			name: "a link is the same file, with another $ORIGIN",
			files: map[string]testelf.File{
				"p":             program(testelf.File{Needed: []string{"liba.so", "libother.so"}, RunPath: "@/l"}),
				"real/liba.so":  {Needed: []string{"libb.so"}, RunPath: "${ORIGIN}/sub"},
				"l/sub/libb.so": {}, "real/sub/libb.so": {},
			},
			links: map[string]string{"l/liba.so": "../real/liba.so", "l/libother.so": "../real/liba.so"},
			want:  []string{"@/l/liba.so", "@/l/sub/libb.so"},
		},
		{
			name: "another token switches a path off",
			files: map[string]testelf.File{
				"p":         program(testelf.File{Needed: []string{"liba.so", "libb.so"}, RunPath: "@/l"}),
				"l/liba.so": {Needed: []string{"libd.so"}, RunPath: "@/m:$LIB"},
				"l/libb.so": {Needed: []string{"libe.so"}, RunPath: "@/m:$ORIGINAL"},
				"m/libd.so": {}, "m/libe.so": {},
			},
			want: []string{"@/l/liba.so", "@/l/libb.so", "@/m/libe.so"}, gone: []string{"libd.so"},
		},
		{
			name: "tokens in names are not replaced",
			files: map[string]testelf.File{
				"p":       program(testelf.File{Needed: []string{"$ORIGIN/liba.so", "libb.so"}, RunPath: "@"}),
				"liba.so": {}, "libb.so": {},
			},
			want: []string{"@/libb.so"}, gone: []string{"$ORIGIN/liba.so"},
		},
		{
			name: "empty directories are none",
			files: map[string]testelf.File{
				"p":         program(testelf.File{Needed: []string{"liba.so"}, RunPath: "::@/none\n:@/l/:"}),
				"l/liba.so": {},
			},
			want: []string{"@/l//liba.so"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := muslRoot(t, tt.files, tt.links)
			env := strings.ReplaceAll(tt.env, "@", dir)
			want := judgement{missing: tt.gone}
			for _, p := range tt.want {
				want.paths = append(want.paths, strings.ReplaceAll(p, "@", dir))
			}
			options := []cmp.Option{cmp.AllowUnexported(judgement{}), cmpopts.EquateEmpty()}
			if diff := cmp.Diff(want, muslLoad(t, dir+"/p", env), options...); diff != "" {
				t.Errorf("Load (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, muslJudge(t, dir+"/p", "LD_LIBRARY_PATH="+env), options...); diff != "" {
				t.Errorf("the loader (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMuslRandomly compares closures of random programs with what musl's loader loads.
func TestMuslRandomly(t *testing.T) {
	testneed.Programs(t, muslLoader)
	const closures = 200
	loaded, missing, twice := 0, 0, 0
	for seed := range uint64(closures) {
		random := rand.New(rand.NewPCG(seed, 13))
		files, links := map[string]testelf.File{}, map[string]string{}
		dirs := []string{"a", "b", "a/sub", "c"}
		anyOf := func(list ...string) string { return list[random.IntN(len(list))] }
		name := func() string { return fmt.Sprintf("lib%d.so.%d", random.IntN(7), random.IntN(2)) }
		needed := func() (names []string) {
			for range random.IntN(5) {
				switch random.IntN(10) {
				case 0:
					names = append(names, "@/"+anyOf(dirs...)+"/"+name())
				case 1:
					names = append(names, anyOf("libc.so", "libm.so.6", "libdl.so", "libgone.so"))
				default:
					names = append(names, name())
				}
			}
			return names
		}
		searchPath := func() string {
			var list []string
			for range random.IntN(4) {
				list = append(list, anyOf("@/a", "@/b", "@/c/", "$ORIGIN", "${ORIGIN}/sub", "@/none", "", "$ORIGIN/../b", "@/a", "@/b", "$ORIGIN/../c"))
			}
			if random.IntN(12) == 0 {
				list = append(list, "@/a/$LIB")
			}
			return strings.Join(list, anyOf(":", ":", "\n"))
		}
		file := func() (f testelf.File) {
			f.Needed = needed()
			if random.IntN(2) == 0 {
				f.RunPath = searchPath()
			}
			if random.IntN(4) == 0 {
				f.RPath = searchPath()
			}
			return f
		}
		for range 60 {
			where := anyOf(dirs...) + "/" + name()
			if random.IntN(4) == 0 {
				links[where] = strings.Repeat("../", strings.Count(where, "/")) + anyOf(dirs...) + "/" + name()
				continue
			}
			f := file()
			f.Soname = anyOf("", filepath.Base(where), name())
			files[where] = f
		}
		for where := range files {
			delete(links, where)
		}
		p := file()
		p.Interpreter, p.Needed, p.RunPath = muslLoader, append(needed(), needed()...), "@/a:@/b"
		files["p"] = p
		env := anyOf("", "", "@/b", "@/none:@/c")
		dir := muslRoot(t, files, links)
		env = strings.ReplaceAll(env, "@", dir)
		want, got := muslJudge(t, dir+"/p", "LD_LIBRARY_PATH="+env), muslLoad(t, dir+"/p", env)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(judgement{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("closure %d (-loader +Load):\n%s", seed, diff)
		}
		loaded += len(want.paths)
		missing += len(want.missing)
		names := map[string]bool{}
		for _, p := range want.paths {
			if base := filepath.Base(p); names[base] {
				twice++
			} else {
				names[base] = true
			}
		}
	}
	t.Logf("%d closures: %d libraries loaded, %d missing, %d by a name that another one has", closures, loaded, missing, twice)
	if loaded < closures*3 || missing == 0 || twice == 0 {
		t.Error("the closures are too simple to show anything")
	}
}

// TestMuslFacts recognizes files of musl.
func TestMuslFacts(t *testing.T) {
	inspect := func(f testelf.File) *elfedit.Info {
		info, err := elfedit.Inspect(f.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for _, tt := range []struct {
		file testelf.File
		want string
	}{
		{testelf.File{Interpreter: muslLoader}, "x86_64-linux-musl"},
		{testelf.File{Interpreter: "/var/sys/musl/1.2.3-1/usr/lib/x86_64-linux-musl/libc.so"}, "x86_64-linux-musl"},
		{testelf.File{Interpreter: loaderPath, Needed: []string{"libc.so"}}, "x86_64-linux-gnu"},
		{testelf.File{Needed: []string{"libz.so.1", "libc.so"}}, "x86_64-linux-musl"},
		{testelf.File{Needed: []string{"libc.musl-x86_64.so.1"}}, "x86_64-linux-musl"},
		{testelf.File{Needed: []string{"libz.so.1", "libc.so.6"}}, "x86_64-linux-gnu"},
		{testelf.File{Needed: []string{"libz.so.1"}}, "x86_64-linux-gnu"},
		{testelf.File{}, "x86_64-linux-gnu"},
	} {
		if got := Triplet(inspect(tt.file)); got != tt.want {
			t.Errorf("%+v is of %s, want %s", tt.file, got, tt.want)
		}
		if got := MachineTriplet(inspect(tt.file)); got != "x86_64-linux-gnu" {
			t.Errorf("%+v runs on %s", tt.file, got)
		}
	}
	testneed.Programs(t, muslLoader)
	o, err := host{}.Inspect(muslLoader)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Info.IsMuslLibC() || Triplet(o.Info) != "x86_64-linux-musl" {
		t.Errorf("musl's own C library is %+v", o.Info)
	}
}
