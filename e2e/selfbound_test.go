package e2e

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testslots"
)

// TestSelfBoundClosures compares programs with many libraries with copies whose libraries are bound
// to themselves, on the loader of this machine: what they print, and what stands in their slots.
func TestSelfBoundClosures(t *testing.T) {
	testneed.Programs(t, "gcc")
	l := loader{cc: []string{"gcc"}, arch: runtime.GOARCH}
	for _, count := range []int{12, 51} {
		c := newSelfBoundClosure(t, l, nil, count)
		c.compare(t)
		c.compareAllSlots(t)
	}
}

// TestSelfBoundOnLoaders is the same on other loaders, and on those of other architectures.
func TestSelfBoundOnLoaders(t *testing.T) {
	testneed.Root(t)
	onLoaders(t, func(t *testing.T, l loader) {
		prefix := t.TempDir()
		mustRun(t, hashpkg(t), append([]string{"install", "--prefix", prefix, "--signature", "off"}, l.libc...)...)
		for _, count := range []int{12, 30} {
			c := newSelfBoundClosure(t, l, findLoader(t, prefix, l.arch), count)
			c.compare(t)
			c.compareAllSlots(t)
		}
	})
}

// selfBoundClosure is a random program with its libraries, in two directories: as they were linked, and
// bound to themselves.
type selfBoundClosure struct {
	l     loader
	start []string // what starts programs of this loader, without the search path; none for the machine's
	dir   string
	paths [2]string // the directories' search paths
}

// newSelfBoundClosure compiles a program with count libraries. So that the libraries of the loader are found, the
// directory that has them is given with it.
func newSelfBoundClosure(t *testing.T, l loader, start []string, count int) *selfBoundClosure {
	t.Helper()
	const seed = 2
	c := &selfBoundClosure{l: l, start: start, dir: t.TempDir()}
	shipped, bound := filepath.Join(c.dir, "shipped"), filepath.Join(c.dir, "bound")
	if err := os.Mkdir(shipped, 0o755); err != nil {
		t.Fatal(err)
	}
	compileLibraries(t, l, shipped, rand.New(rand.NewPCG(seed, uint64(count))), count)
	linkProgram(t, l, shipped, "program", 0)
	build := func(name, source string, args ...string) {
		file := filepath.Join(shipped, name)
		writeFile(t, file+".c", source)
		l.compile(t, append([]string{"-shared", "-fPIC", "-o", file, file + ".c"}, args...)...)
	}
	build("interpose.so", interposeSource)
	build("audit.so", silentAuditSource)
	build("bystander.so", "void unused(void) {}\n")
	mustRun(t, "cp", "-a", shipped, bound)
	libraries, err := filepath.Glob(filepath.Join(bound, "lib*.so"))
	if err != nil || len(libraries) != count {
		t.Fatalf("%d libraries: %v", len(libraries), err)
	}
	paths := append(libraries, filepath.Join(bound, "interpose.so"), filepath.Join(bound, "program"))
	if files, symbols := testslots.SelfBind(t, paths); files < count-2 || symbols < count {
		t.Fatalf("%d files are bound to %d symbols", files, symbols)
	}
	c.paths = [2]string{shipped, bound}
	return c
}

// environments are what the programs run with. DIR is the directory of the libraries.
func (c *selfBoundClosure) environments() []string {
	return []string{
		"LC_ALL=C", "LD_BIND_NOW=1", "LD_PRELOAD=DIR/interpose.so", "LD_PRELOAD=DIR/bystander.so",
		"LD_AUDIT=DIR/audit.so", "LD_AUDIT=DIR/audit.so LD_BIND_NOW=1", "LD_PROFILE=lib0.so LD_PROFILE_OUTPUT=DIR",
		"LD_PROFILE=lib1.so LD_PROFILE_OUTPUT=DIR", "LD_DYNAMIC_WEAK=1",
	}
}

// compare compares what the programs print.
func (c *selfBoundClosure) compare(t *testing.T) {
	t.Helper()
	for _, env := range c.environments() {
		if c.l.run != nil && strings.HasPrefix(env, "LD_PROFILE") {
			continue // SIGPROF is not what qemu can do for it
		}
		var out [2]string
		for i, dir := range c.paths {
			variables := strings.Fields(strings.ReplaceAll(env, "DIR", dir))
			path := dir
			program := []string{filepath.Join(dir, "program")}
			if c.start != nil {
				loader := c.start[len(c.start)-1]
				path += ":" + filepath.Dir(loader)
				program = slices.Concat([]string{loader, "--library-path", path}, program)
			} else {
				variables = append(variables, "LD_LIBRARY_PATH="+path)
			}
			if c.l.run != nil {
				args := slices.Clone(c.l.run)
				for _, v := range variables {
					args = append(args, "-E", v)
				}
				program, variables = append(args, program...), nil
			}
			out[i] = output(t, variables, program...)
		}
		if !strings.Contains(out[0], "sums up") {
			t.Errorf("with %s it prints\n%s", env, out[0])
		}
		if strings.HasPrefix(env, "LD_AUDIT") && !strings.Contains(out[1], "audited\n") {
			t.Errorf("nothing was audited:\n%s", out[1])
		}
		if library, ok := strings.CutPrefix(strings.Fields(env)[0], "LD_PROFILE="); ok {
			if _, err := os.Stat(filepath.Join(c.paths[1], library+".profile")); err != nil {
				t.Errorf("nothing was profiled: %v", err)
			}
		}
		if diff := cmp.Diff(lines(out[0]), lines(out[1])); diff != "" {
			t.Errorf("with %s the program prints (-as it was linked +bound)\n%s", env, diff)
		}
	}
}

// compareAllSlots compares what stands in the slots before the programs begin, in each environment in which the
// loader binds them as it does without.
func (c *selfBoundClosure) compareAllSlots(t *testing.T) {
	t.Helper()
	if c.start != nil { // the loader's own entry point is no place to stop
		for _, dir := range c.paths {
			data := []byte(readFile(t, filepath.Join(dir, "program")))
			loader := c.start[len(c.start)-1]
			edit, err := elfedit.Make(data, elfedit.Changes{Interpreter: &loader})
			if err != nil {
				t.Fatal(err)
			}
			if data, err = edit.Apply(data); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "program"), string(data))
		}
	}
	for _, env := range c.environments() {
		if !strings.HasPrefix(env, "LD_AUDIT") && !strings.HasPrefix(env, "LD_PROFILE") {
			c.compareSlots(t, env)
		}
	}
}

func (c *selfBoundClosure) compareSlots(t *testing.T, env string) {
	t.Helper()
	var p [2]*testslots.Process
	for i, dir := range c.paths {
		cmd := exec.Command(filepath.Join(dir, "program"))
		path := dir
		if c.start != nil {
			path += ":" + filepath.Dir(c.start[len(c.start)-1])
		}
		cmd.Env = append(strings.Fields(strings.ReplaceAll(env, "DIR", dir)), "LD_LIBRARY_PATH="+path)
		var err error
		if c.l.run == nil {
			p[i], err = testslots.Run(cmd)
		} else {
			emulator, missing := exec.LookPath(c.l.run[0])
			if missing != nil {
				t.Fatal(missing)
			}
			p[i], err = testslots.Emulate(emulator, cmd)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := p[0].Diff(p[1]); len(diff) > 0 {
		t.Errorf("with %s %d of %d slots have other values: %q", env, len(diff), p[0].Count(), diff)
	}
	if n := p[0].Count(); n < 500 {
		t.Errorf("with %s there are %d slots", env, n)
	}
}

// findLoader returns what starts programs with a loader that is installed: the emulator, if it needs
// one, and the loader, beside which its libraries are.
func findLoader(t *testing.T, prefix, arch string) []string {
	t.Helper()
	name := map[string]string{"amd64": "ld-linux-x86-64.so.2", "i386": "ld-linux.so.2", "arm64": "ld-linux-aarch64.so.1"}[arch]
	found := ""
	err := filepath.WalkDir(prefix, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == name {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "libc.so.6")); err == nil && strings.Contains(path, "/usr/lib") {
				found = path
			}
		}
		return err
	})
	if err == nil && found == "" {
		err = errors.New("there is none")
	}
	if err != nil {
		t.Fatalf("find %s in %s: %v", name, prefix, err)
	}
	return []string{found}
}

// interposeSource is of a library that is loaded before the others and has functions of theirs.
const interposeSource = `int function0(void) { return 5000; }
int function1(void) { return 5001; }
int function2(void) { return 5002; }
int unique3(void) { return 5003; }
int sum4(int from) { return 5004; }
`

// silentAuditSource is of a library that is told of every binding (rtld-audit(7)).
const silentAuditSource = `#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <unistd.h>
unsigned int la_version(unsigned int version) { return version; }
void la_preinit(uintptr_t *cookie) { write(1, "audited\n", 8); }
unsigned int la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie) { return LA_FLG_BINDTO | LA_FLG_BINDFROM; }
uintptr_t la_symbind64(Elf64_Sym *sym, unsigned int n, uintptr_t *from, uintptr_t *to, unsigned int *flags, const char *name) { return sym->st_value; }
uintptr_t la_symbind32(Elf32_Sym *sym, unsigned int n, uintptr_t *from, uintptr_t *to, unsigned int *flags, const char *name) { return sym->st_value; }
`
