package e2e

import (
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
	"testing"

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
	const seed = 1
	random := rand.New(rand.NewPCG(seed, uint64(count)))
	dir := t.TempDir()
	compileLibraries(t, dir, random, count)
	prefix := filepath.Join(dir, "sys")
	programs := map[string]int{"tight": 3, "roomy": 0}
	var packages []testdeb.Package
	for i := range count {
		packages = append(packages, testdeb.Package{Name: fmt.Sprintf("lib%d", i), Version: "1", Arch: runtime.GOARCH, Files: []testdeb.File{
			testdeb.Exec("usr/lib/"+soname(i), readFile(t, filepath.Join(dir, soname(i)))),
		}})
	}
	for name, room := range programs {
		packages = append(packages, testdeb.Package{Name: name, Version: "1", Arch: runtime.GOARCH, Files: []testdeb.File{
			testdeb.Exec("usr/bin/"+name, linkProgram(t, dir, name, room)),
		}})
	}
	install := []string{"install", "--prefix", prefix, "--signature", "off"}
	for _, p := range packages {
		file := filepath.Join(dir, p.Name+".deb")
		if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		install = append(install, file)
	}
	mustRun(t, hashpkg(t), install...)
	for name := range programs {
		bound := filepath.Join(prefix, name, "1/usr/bin", name)
		info, err := elfedit.Inspect([]byte(readFile(t, bound)))
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(info.Needed[0], "/closures/"); has != (name == "tight") {
			t.Fatalf("%s needs a closure object: %v; it needs %q", name, has, info.Needed)
		}
		for _, env := range []string{"LC_ALL=C", "LD_BIND_NOW=1", "LD_PRELOAD=" + filepath.Join(dir, "preload.so")} {
			shipped, have := output(t, []string{env, "LD_LIBRARY_PATH=" + dir}, filepath.Join(dir, name)), output(t, []string{env}, bound)
			if name == "roomy" { // its long list stands before what a preloaded library needs
				shipped, have = strings.Replace(shipped, "loaded libm.so.6\n", "", 1), strings.Replace(have, "loaded libm.so.6\n", "", 1)
			}
			if have != shipped {
				t.Errorf("%s with %s prints\n%s\nas it was linked\n%s", name, env, have, shipped)
			}
		}
		trace := filepath.Join(dir, "trace")
		mustRun(t, "strace", "-f", "-e", "trace=open,openat", "-o", trace, bound)
		for line := range strings.Lines(readFile(t, trace)) {
			if private.MatchString(line) && strings.Contains(line, "= -1") { // the C library is the machine's, and searched for
				t.Errorf("%s fails to open a library: %s", name, line)
			}
		}
	}
}

// linkProgram links a program that needs three of the libraries, and returns its bytes. Its
// dynamic section has room for at least one entry more and at most room; for any number where
// room is 0.
func linkProgram(t *testing.T, dir, name string, room int) string {
	t.Helper()
	file := filepath.Join(dir, name)
	pad := 0
	for range 50 { // a page of pointers before the dynamic section, at most
		args := []string{
			"-fPIE", "-pie", "-DPAD=" + strconv.Itoa(pad), "-o", file, filepath.Join(dir, "main.c"), "-L" + dir,
			"-Wl,--no-as-needed,--allow-shlib-undefined", "-l0", "-l1", "-l2",
		}
		if room == 0 {
			mustRun(t, "gcc", append(args, "-Wl,-z,norelro")...)
			return readFile(t, file)
		}
		mustRun(t, "gcc", append(args, "-Wl,-z,relro", "-Wl,--spare-dynamic-tags=1")...)
		b := readFile(t, file)
		info, err := elfedit.Inspect([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		switch has := info.DynamicRoom; {
		case has >= 1 && has <= room:
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
// and define the same functions, data and thread-local data.
func compileLibraries(t *testing.T, dir string, random *rand.Rand, count int) {
	t.Helper()
	stub := filepath.Join(dir, "stub.c")
	writeFile(t, stub, "")
	for i := range count { // to link with, as long as the others are not there
		mustRun(t, "gcc", "-shared", "-o", filepath.Join(dir, soname(i)), "-Wl,-soname,"+soname(i), stub)
	}
	for i := range count {
		var needs []string
		for _, j := range random.Perm(count)[:1+random.IntN(4)] {
			if j != i {
				needs = append(needs, fmt.Sprintf("-l%d", j))
			}
		}
		if i+3 < count { // so that all are in the closure
			needs = append(needs, fmt.Sprintf("-l%d", i+3))
		}
		source := filepath.Join(dir, soname(i)+".c")
		writeFile(t, source, libraryOf(i, random))
		mustRun(t, "gcc", append([]string{
			"-shared", "-fPIC", "-o", filepath.Join(dir, soname(i)+".new"), "-Wl,-soname," + soname(i), source, "-L" + dir, "-Wl,--no-as-needed,--allow-shlib-undefined",
		}, needs...)...)
	}
	for i := range count {
		if err := os.Rename(filepath.Join(dir, soname(i)+".new"), filepath.Join(dir, soname(i))); err != nil {
			t.Fatal(err)
		}
	}
	preload := filepath.Join(dir, "preload.c")
	writeFile(t, preload, "#include <stdio.h>\n#include <math.h>\ndouble (*use)(double) = cos;\n__attribute__((constructor)) static void made(void) { puts(\"preload\"); }\n")
	mustRun(t, "gcc", "-shared", "-fPIC", "-o", filepath.Join(dir, "preload.so"), preload, "-Wl,--no-as-needed", "-lm")
	writeFile(t, filepath.Join(dir, "main.c"), fmt.Sprintf(mainSource, symbols, soname(count-1)))
}

// private matches a file of one of the libraries.
var private = regexp.MustCompile(`/lib\d+\.so"`)

func soname(i int) string { return fmt.Sprintf("lib%d.so", i) }

// libraryOf returns the source of a library, which has some of what others have, too.
func libraryOf(i int, random *rand.Rand) string {
	s := fmt.Sprintf("#include <stdio.h>\n__attribute__((constructor)) static void made(void) { puts(\"made %d\"); }\n"+
		"__attribute__((destructor)) static void gone(void) { puts(\"gone %d\"); }\n", i, i)
	for k := range symbols {
		switch random.IntN(4) {
		case 0:
			s += fmt.Sprintf("int function%d(void) { return %d; }\n", k, i)
		case 1:
			s += fmt.Sprintf("__attribute__((weak)) int function%d(void) { return %d; }\n", k, 1000+i)
		}
		switch random.IntN(4) {
		case 0:
			s += fmt.Sprintf("int data%d = %d;\n", k, i)
		case 1:
			s += fmt.Sprintf("__thread int local%d = %d;\n", k, i)
		case 2:
			s += fmt.Sprintf("static int chosen%d(void) { return %d; }\nstatic void *choose%d(void) { return chosen%d; }\nint indirect%d(void) __attribute__((ifunc(\"choose%d\")));\n", k, i, k, k, k, k)
		}
	}
	return s
}

const symbols = 6

// mainSource prints what the loader has loaded and what it finds. The arguments are how
// many symbols of each kind there are, and a library to open.
const mainSource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
enum { symbols = %d };
const void *const pad[PAD + 1] = {[PAD] = &pad[PAD]}; /* relocated: it stands before the dynamic section */
static int print(struct dl_phdr_info *info, size_t size, void *data)
{
	const char *base = strrchr(info->dlpi_name, '/');
	if (strstr(info->dlpi_name, "/closures/") == 0)
		printf("loaded %%s\n", base ? base + 1 : info->dlpi_name);
	return 0;
}
int main(void)
{
	const char *kinds[] = {"function", "data", "local", "indirect"};
	void *handle = dlopen("%s", RTLD_NOW);
	dl_iterate_phdr(print, 0);
	printf("opened %%d\n", handle != 0);
	for (int kind = 0; kind < 4; kind++) {
		for (int i = 0; i < symbols; i++) {
			char name[32];
			Dl_info where;
			sprintf(name, "%%s%%d", kinds[kind], i);
			void *p = dlsym(RTLD_DEFAULT, name);
			if (p == 0)
				continue;
			if (kind != 2 && dladdr(p, &where)) {
				const char *base = strrchr(where.dli_fname, '/');
				printf("%%s in %%s\n", name, base ? base + 1 : where.dli_fname);
			}
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
func output(t *testing.T, env []string, program string) string {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "LD_") }), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run %s with %q: %v\n%s", program, env, err, out)
	}
	return string(out)
}
