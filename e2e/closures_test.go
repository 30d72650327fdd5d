package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestClosures has a program with many libraries print in which order these are loaded,
// constructed, searched and destructed: as it was linked, and installed, when it has room
// for the list of its libraries and when it has not.
func TestClosures(t *testing.T) {
	testneed.Programs(t, "gcc", "strace")
	for _, count := range []int{12, 51} {
		t.Run(strconv.Itoa(count), func(t *testing.T) { compareClosures(t, count) })
	}
}

func compareClosures(t *testing.T, count int) {
	l := loader{cc: []string{"gcc"}, arch: runtime.GOARCH}
	prefix, dir := installClosures(t, l, count)
	for name := range closurePrograms {
		bound := filepath.Join(prefix, name, "1/usr/bin", name)
		for _, env := range []string{"LC_ALL=C", "LD_BIND_NOW=1", "LD_PRELOAD=" + filepath.Join(dir, "preload.so")} {
			shipped, have := output(t, []string{env, "LD_LIBRARY_PATH=" + dir}, filepath.Join(dir, name)), output(t, []string{env}, bound)
			// What else the program lists stands before what a preloaded library needs.
			shipped, have = strings.Replace(shipped, "loaded libm.so.6\n", "", 1), strings.Replace(have, "loaded libm.so.6\n", "", 1)
			if diff := cmp.Diff(lines(shipped), lines(have)); diff != "" {
				t.Errorf("%s with %s prints (-as it was linked +installed)\n%s", name, env, diff)
			}
		}
		compareAudited(t, dir, name, bound)
		countFailedOpens(t, dir, name, bound)
	}
}

// compareAudited compares what the loader tells an auditing library, and each binding that it makes, and counts
// constructors.
func compareAudited(t *testing.T, dir, name, bound string) {
	t.Helper()
	audit := filepath.Join(dir, "audit.so")
	writeFile(t, filepath.Join(dir, "audit.c"), auditSource)
	mustRun(t, "gcc", "-shared", "-fPIC", "-o", audit, filepath.Join(dir, "audit.c"))
	path := "LD_LIBRARY_PATH=" + dir
	shipped, have := output(t, []string{path, "LD_AUDIT=" + audit}, filepath.Join(dir, name)), output(t, []string{"LD_AUDIT=" + audit}, bound)
	if !strings.Contains(shipped, "audited lib0.so\n") || !strings.Contains(shipped, "bound dlopen\n") {
		t.Fatalf("nothing is audited:\n%s", shipped)
	}
	if diff := cmp.Diff(lines(shipped), lines(have)); diff != "" {
		t.Errorf("%s with LD_AUDIT prints (-as it was linked +installed)\n%s", name, diff)
	}
	for line, count := range countLines(have) {
		if strings.HasPrefix(line, "made ") && count != 1 {
			t.Errorf("%s: the library that says %q is constructed %d times", name, line, count)
		}
	}
	debug := []string{"LD_DEBUG=bindings", "LD_BIND_NOW=1"}
	linked, installed := bindings(output(t, append(debug, path), filepath.Join(dir, name))), bindings(output(t, debug, bound))
	if len(linked) < 100 {
		t.Fatalf("the loader tells of %d bindings only", len(linked))
	}
	if diff := cmp.Diff(linked, installed); diff != "" {
		t.Errorf("%s is bound to (-as it was linked +installed)\n%s", name, diff)
	}
}

func countLines(s string) map[string]int {
	counts := map[string]int{}
	for _, l := range lines(s) {
		counts[l]++
	}
	return counts
}

// auditSource prints what is loaded and which names are looked up (rtld-audit(7)), but for closure objects.
const auditSource = `#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <string.h>
unsigned la_version(unsigned version) { return version < LAV_CURRENT ? version : LAV_CURRENT; }
unsigned la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie)
{
	const char *base = strrchr(map->l_name, '/');
	if (strstr(map->l_name, "/closures/") == 0)
		dprintf(1, "audited %s\n", base ? base + 1 : map->l_name);
	return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
static uintptr_t bound(uintptr_t value, const char *name)
{
	dprintf(1, "bound %s\n", name);
	return value;
}
uintptr_t la_symbind32(Elf32_Sym *s, unsigned i, uintptr_t *from, uintptr_t *to, unsigned *flags, const char *name) { return bound(s->st_value, name); }
uintptr_t la_symbind64(Elf64_Sym *s, unsigned i, uintptr_t *from, uintptr_t *to, unsigned *flags, const char *name) { return bound(s->st_value, name); }
`

// TestSetuidClosures has a copy of a bound program run as root, by another user: it loads what it is bound to, whoever owns
// that, and nothing that the user names.
func TestSetuidClosures(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "gcc")
	prefix, dir := installClosures(t, loader{cc: []string{"gcc"}, arch: runtime.GOARCH}, 12)
	for at := dir; at != filepath.Dir(os.TempDir()) && at != "/"; at = filepath.Dir(at) { // another user may come there
		if info, err := os.Stat(at); err != nil || info.Mode().Perm()&0o001 == 0 {
			if err := errors.Join(err, os.Chmod(at, 0o711)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const nobody = 65534
	preload := "LD_PRELOAD=" + filepath.Join(dir, "preload.so")
	for name := range closurePrograms {
		bound := filepath.Join(prefix, name, "1/usr/bin", name)
		copied := filepath.Join(dir, "setuid-"+name)
		writeFile(t, copied, readFile(t, bound))
		start := func(mode os.FileMode) string {
			t.Helper()
			if err := os.Chmod(copied, mode); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(copied)
			cmd.Env = []string{"LC_ALL=C", preload, "LD_LIBRARY_PATH=" + dir}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("run %s: %v\n%s", name, err, out)
			}
			return string(out)
		}
		want := output(t, []string{"LC_ALL=C"}, bound)
		if have := start(0o755); !strings.Contains(have, "preload\n") {
			t.Fatalf("%s preloads nothing for the user:\n%s", name, have)
		}
		if diff := cmp.Diff(lines(want), lines(start(0o755|os.ModeSetuid))); diff != "" {
			t.Errorf("%s prints (-for root +as setuid root)\n%s", name, diff)
		}
		if err := filepath.WalkDir(prefix, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobody, nobody))
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lines(want), lines(start(0o755|os.ModeSetuid))); diff != "" {
			t.Errorf("%s prints (-for root +as setuid root, with a prefix of the user's)\n%s", name, diff)
		}
	}
}

// closurePrograms are the programs of installClosures, and how many entries more their dynamic
// sections have room for; 0 for any number.
var closurePrograms = map[string]int{"tight": 4, "roomy": 0}

// installClosures compiles programs with many libraries and installs them, with packages of a
// C library if the loader has some. It returns the prefix, and the directory of what was linked.
func installClosures(t *testing.T, l loader, count int) (prefix, dir string) {
	t.Helper()
	const seed = 1
	random := rand.New(rand.NewPCG(seed, uint64(count)))
	dir = t.TempDir()
	compileLibraries(t, l, dir, random, count)
	prefix = filepath.Join(dir, "sys")
	var packages []testdeb.Package
	for i := range count {
		packages = append(packages, testdeb.Package{Name: fmt.Sprintf("lib%d", i), Version: "1", Arch: l.arch, Files: []testdeb.File{
			testdeb.Exec("usr/lib/"+soname(i), readFile(t, filepath.Join(dir, soname(i)))),
		}})
	}
	for name, room := range closurePrograms {
		packages = append(packages, testdeb.Package{Name: name, Version: "1", Arch: l.arch, Files: []testdeb.File{
			testdeb.Exec("usr/bin/"+name, linkProgram(t, l, dir, name, room)),
		}})
	}
	// Bindings of prelocated files are not made at the start, so that nobody is told of them.
	install := append([]string{"install", "--prefix", prefix, "--signature", "off", "--no-prelocate"}, l.libc...)
	for _, p := range packages {
		file := filepath.Join(dir, p.Name+".deb")
		if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		install = append(install, file)
	}
	mustRun(t, hashpkg(t), install...)
	for name := range closurePrograms {
		info, err := elfedit.Inspect([]byte(readFile(t, filepath.Join(prefix, name, l.tree("1"), "usr/bin", name))))
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(info.Needed[0], "/closures/"); has != (name == "tight") {
			t.Fatalf("%s needs a closure object: %v; it needs %q", name, has, info.Needed)
		}
	}
	return prefix, dir
}

// countFailedOpens fails when a program tries to open a private library that is not there.
func countFailedOpens(t *testing.T, dir, name, bound string) {
	t.Helper()
	trace := filepath.Join(dir, "trace")
	mustRun(t, "strace", "-f", "-e", "trace=open,openat", "-o", trace, bound)
	for line := range strings.Lines(readFile(t, trace)) {
		if private.MatchString(line) && strings.Contains(line, "= -1") { // the machine's C library is searched for
			t.Errorf("%s fails to open a library: %s", name, line)
		}
	}
}

// linkProgram links a program that needs three of the libraries, and returns its bytes. Its
// dynamic section has room for at least two entries more and at most room; for any number where
// room is 0.
func linkProgram(t *testing.T, l loader, dir, name string, room int) string {
	t.Helper()
	file := filepath.Join(dir, name)
	pad := 0
	for range 50 { // a page of pointers before the dynamic section, at most
		args := []string{
			"-fPIE", "-pie", "-DPAD=" + strconv.Itoa(pad), "-o", file, filepath.Join(dir, "main.c"), "-L" + dir,
			"-Wl,--no-as-needed,--allow-shlib-undefined", "-l0", "-l1", "-l2",
		}
		if l.musl {
			args = append(args, "-DUNASKED") // where libraries are: they would be found there
		} else {
			args = append(args, "-l:libdl.so.2")
		}
		if room == 0 {
			l.compile(t, append(args, "-Wl,-z,norelro")...)
			return readFile(t, file)
		}
		l.compile(t, append(args, "-Wl,-z,relro", "-Wl,--spare-dynamic-tags=3")...)
		b := readFile(t, file)
		info, err := elfedit.Inspect([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		switch has := info.DynamicRoom; {
		case has >= 2 && has <= room: // one is for a search path
			return b
		case has > room:
			pad += 2 * (has - room) // an entry is as large as two pointers
		default:
			pad++
		}
	}
	t.Fatalf("%s could not be linked with room for %d entries", name, room)
	return ""
}

// compileLibraries compiles libraries that need one another in any order and in circles,
// and define the same functions, data and thread-local data. Each wants a version of a symbol
// of those that it needs.
func compileLibraries(t *testing.T, l loader, dir string, random *rand.Rand, count int) {
	t.Helper()
	needs, sources := make([][]int, count), make([]string, count)
	for i := range count {
		for _, j := range random.Perm(count)[:1+random.IntN(4)] {
			if j != i {
				needs[i] = append(needs[i], j)
			}
		}
		if i+3 < count && !slices.Contains(needs[i], i+3) { // so that all are in the closure
			needs[i] = append(needs[i], i+3)
		}
		sources[i] = libraryOf(i, random, l.musl)
		writeFile(t, filepath.Join(dir, soname(i)+".map"), fmt.Sprintf("VERSION%[1]d { unique%[1]d; sum%[1]d; table%[1]d; };\n", i))
	}
	build := func(i int, file, source string, more ...string) {
		if i%2 == 0 {
			more = append(more, "-Wl,-z,now")
		} else {
			more = append(more, "-Wl,-z,lazy")
		}
		writeFile(t, filepath.Join(dir, soname(i)+".c"), source)
		l.compile(t, append([]string{
			"-shared", "-fPIC", "-o", filepath.Join(dir, file), "-Wl,-soname," + soname(i), "-Wl,--version-script=" + filepath.Join(dir, soname(i)+".map"),
			filepath.Join(dir, soname(i)+".c"), "-L" + dir, "-Wl,--no-as-needed,--allow-shlib-undefined",
		}, more...)...)
	}
	for i := range count { // to link with, as long as the others are not there
		build(i, soname(i), sources[i])
	}
	for i := range count {
		source, list := sources[i]+"__attribute__((constructor)) static void ask(void)\n{\n", []string{}
		for _, j := range needs[i] {
			source += fmt.Sprintf("\tint unique%d(void);\n\tprintf(\"%d asks %%d\\n\", unique%d());\n", j, i, j)
			list = append(list, fmt.Sprintf("-l%d", j))
		}
		build(i, soname(i)+".new", source+"}\n", list...)
	}
	for i := range count {
		if err := os.Rename(filepath.Join(dir, soname(i)+".new"), filepath.Join(dir, soname(i))); err != nil {
			t.Fatal(err)
		}
	}
	preload := filepath.Join(dir, "preload.c")
	writeFile(t, preload, "#include <stdio.h>\n#include <math.h>\ndouble (*use)(double) = cos;\n__attribute__((constructor)) static void made(void) { puts(\"preload\"); }\n")
	l.compile(t, "-shared", "-fPIC", "-o", filepath.Join(dir, "preload.so"), preload, "-Wl,--no-as-needed", "-lm")
	plugin := filepath.Join(dir, "plugin.so")
	writeFile(t, filepath.Join(dir, "plugin.c"), `#include <stdio.h>
__attribute__((constructor)) static void made(void) { puts("plugin made"); }
__attribute__((destructor)) static void gone(void) { puts("plugin gone"); }
`)
	l.compile(t, "-shared", "-fPIC", "-o", plugin, filepath.Join(dir, "plugin.c"), "-L"+dir, "-Wl,--no-as-needed,--allow-shlib-undefined", "-l0")
	writeFile(t, filepath.Join(dir, "main.c"), fmt.Sprintf(mainSource, symbols, soname(count-1), plugin))
}

// private matches a file of one of the libraries.
var private = regexp.MustCompile(`/lib\d+\.so"`)

func soname(i int) string { return fmt.Sprintf("lib%d.so", i) }

// libraryOf returns the source of a library, which has some of what others have, too, but
// for musl no indirect functions.
func libraryOf(i int, random *rand.Rand, musl bool) string {
	var calls, table string // what it asks itself for
	s := fmt.Sprintf("#include <stdio.h>\nint unique%d(void) { return %d; }\n__attribute__((constructor)) static void made(void) { puts(\"made %d\"); }\n"+
		"__attribute__((destructor)) static void gone(void) { puts(\"gone %d\"); }\n", i, i, i, i)
	for k := range symbols {
		switch random.IntN(4) {
		case 0:
			s += fmt.Sprintf("int function%d(void) { return %d; }\n", k, i)
		case 1:
			s += fmt.Sprintf("__attribute__((weak)) int function%d(void) { return %d; }\n", k, 1000+i)
		}
		if name := fmt.Sprintf("function%d", k); strings.Contains(s, name) {
			calls += fmt.Sprintf("\tprintf(\"%d has %s of %%d\\n\", %s());\n", i, name, name)
			table += name + ", "
		}
		kind := random.IntN(4)
		if musl && kind == 2 {
			kind = 3
		}
		switch kind {
		case 0:
			s += fmt.Sprintf("int data%d = %d;\n", k, i)
		case 1:
			s += fmt.Sprintf("__thread int local%d = %d;\n", k, i)
		case 2:
			s += fmt.Sprintf("static int chosen%d(void) { return %d; }\nstatic void *choose%d(void) { return chosen%d; }\nint indirect%d(void) __attribute__((ifunc(\"choose%d\")));\n", k, i, k, k, k, k)
		}
	}
	return s + fmt.Sprintf("int sum%[1]d(int from)\n{\n\treturn from ? from + sum%[1]d(from - 1) : unique%[1]d();\n}\nint (*table%[1]d[])(void) = {%[2]sunique%[1]d};\n"+
		"__attribute__((constructor)) static void call(void)\n{\n%[3]s\tfor (unsigned n = 0; n < sizeof table%[1]d / sizeof *table%[1]d; n++)\n"+
		"\t\tprintf(\"%[1]d has %%d at %%u\\n\", table%[1]d[n](), n);\n\tprintf(\"%[1]d sums up to %%d\\n\", sum%[1]d(3));\n}\n", i, table, calls)
}

const symbols = 6

// mainSource prints what the loader has loaded and what it finds. The arguments are how
// many symbols of each kind there are, a library to open by its soname and then by its path, and one to open and close.
const mainSource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { symbols = %d };
const void *const pad[PAD + 1] = {[PAD] = &pad[PAD]}; /* relocated: it stands before the dynamic section */
static int print(struct dl_phdr_info *info, size_t size, void *data)
{
	char file[PATH_MAX]; /* without links, which trees have none of */
	const char *name = strchr(info->dlpi_name, '/') && realpath(info->dlpi_name, file) ? file : info->dlpi_name;
	const char *base = strrchr(name, '/');
	if (strstr(name, "/closures/") == 0)
		printf("loaded %%s\n", base ? base + 1 : name);
	return 0;
}
int main(void)
{
	const char *kinds[] = {"function", "data", "local", "indirect"};
	void *handle = dlopen("%s", RTLD_NOW);
	dl_iterate_phdr(print, 0);
	printf("opened %%d\n", handle != 0);
#ifndef UNASKED
	struct link_map *map;
	if (handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0)
		printf("by its path it is the same: %%d\n", dlopen(map->l_name, RTLD_NOW) == handle);
#endif
	void *plugin = dlopen("%s", RTLD_NOW);
	printf("plugin %%d\n", plugin != 0);
	if (plugin)
		printf("closed %%d\n", dlclose(plugin) == 0);
	for (int kind = 0; kind < 4; kind++) {
		for (int i = 0; i < symbols; i++) {
			char name[32];
			sprintf(name, "%%s%%d", kinds[kind], i);
			void *p = dlsym(RTLD_DEFAULT, name);
			if (p == 0)
				continue;
#ifndef UNASKED
			Dl_info where;
			if (kind != 2 && dladdr(p, &where)) {
				const char *base = strrchr(where.dli_fname, '/');
				printf("%%s in %%s\n", name, base ? base + 1 : where.dli_fname);
			}
#endif
			printf("%%s is %%d\n", name, kind == 1 || kind == 2 ? *(int *)p : ((int (*)(void))p)());
		}
	}
	if (handle)
		dlclose(handle);
	return 0;
}
`

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// output returns what a program prints, with variables of the environment.
func output(t *testing.T, env []string, program ...string) string {
	t.Helper()
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "LD_") }), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run %s with %q: %v\n%s", program, env, err, out)
	}
	return string(out)
}
