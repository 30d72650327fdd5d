package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestLibrariesOfTheRoot has a program with libraries of its own and of the root print what is loaded and found, as it was
// linked and installed: libraries that only those of the root need stand between the others. Without them it starts as well.
func TestLibrariesOfTheRoot(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := testroot.Debian(t, "bookworm", "")
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "main.c"), rootMain)
	const own = "/opt/linked" // as it was linked
	const libraries = "/usr/lib/x86_64-linux-gnu"
	library := func(where, name string, needs ...string) string {
		t.Helper()
		source := "#include <stdio.h>\nconst char *who(void) { return \"" + name + "\"; }\n" +
			"__attribute__((constructor)) static void made(void) { puts(\"made " + name + "\"); }\n" +
			"__attribute__((destructor)) static void gone(void) { puts(\"gone " + name + "\"); }\n"
		if name == "first" || name == "private" { // the others are asked for who they are
			source = strings.Replace(source, "who(", "who_"+name+"(", 1)
		}
		writeFile(t, filepath.Join(dir, name+".c"), source)
		file := filepath.Join(dir, "lib"+name+".so")
		args := []string{"-shared", "-fPIC", "-o", file, "-Wl,-soname,lib" + name + ".so", filepath.Join(dir, name+".c"), "-L" + dir, "-Wl,--no-as-needed"}
		for _, n := range needs {
			args = append(args, "-l"+n)
		}
		mustRun(t, "gcc", args...)
		root.WriteFile(filepath.Join(where, "lib"+name+".so"), readFile(t, file), 0o755)
		return file
	}
	library(libraries, "third")
	library(libraries, "second", "third")
	deep := library(own, "deep")
	private := library(own, "private", "deep")
	library(libraries, "first", "second")
	mustRun(t, "gcc", "-o", filepath.Join(dir, "program"), filepath.Join(dir, "main.c"), "-L"+dir, "-Wl,--no-as-needed,--allow-shlib-undefined", "-lfirst", "-lprivate", "-Wl,-z,lazy")
	root.WriteFile(own+"/program", readFile(t, filepath.Join(dir, "program")), 0o755)
	root.Run("ldconfig")
	deb := testdeb.Deb(t, testdeb.Package{Name: "program", Version: "1", Arch: "amd64", Files: []testdeb.File{
		testdeb.Exec("usr/bin/program", readFile(t, filepath.Join(dir, "program"))),
		testdeb.Exec("usr/lib/libprivate.so", readFile(t, private)),
		testdeb.Exec("usr/lib/libdeep.so", readFile(t, deep)),
	}})
	root.WriteFile("/program.deb", string(deb), 0o644)
	root.Run("hashpkg", "install", "--signature", "off", "/program.deb")

	const bound = "/var/sys/program/1/usr/bin/program"
	start := func(program string, env ...string) string {
		t.Helper()
		out := root.Run(slices.Concat([]string{"env"}, env, []string{program})...)
		return strings.Join(slices.DeleteFunc(lines(out), func(s string) bool { return closure.MatchString(s) }), "\n")
	}
	linked := "LD_LIBRARY_PATH=" + own
	want := start(own+"/program", linked)
	if !strings.Contains(want, "found in second\n") {
		t.Fatalf("as it was linked, it does not find the library that is to be found:\n%s", want)
	}
	if diff := cmp.Diff(lines(want), lines(start(bound))); diff != "" {
		t.Errorf("it prints (-as it was linked +installed)\n%s", diff)
	}
	wantBindings, have := bindings(start(own+"/program", linked, "LD_BIND_NOW=1", "LD_DEBUG=bindings")), bindings(start(bound, "LD_BIND_NOW=1", "LD_DEBUG=bindings"))
	if len(wantBindings) < 10 {
		t.Fatalf("the loader tells of %d bindings only: %q", len(wantBindings), wantBindings)
	}
	if diff := cmp.Diff(wantBindings, have); diff != "" {
		t.Errorf("it is bound to (-as it was linked +installed)\n%s", diff)
	}

	// A root whose library needs them no more.
	library(libraries, "first")
	for _, name := range []string{"second", "third"} {
		if err := os.Remove(root.Path(libraries + "/lib" + name + ".so")); err != nil {
			t.Fatal(err)
		}
	}
	root.Run("ldconfig")
	if diff := cmp.Diff(lines(start(own+"/program", linked)), lines(start(bound))); diff != "" {
		t.Errorf("without libraries of the root it prints (-as it was linked +installed)\n%s", diff)
	}
}

// closure matches a line about a closure object.
var closure = regexp.MustCompile(`/closures/|\b[0-9a-f]{32}\.so\b`)

// binding matches the loader's line about one symbol.
var binding = regexp.MustCompile(`binding file (\S+) \[\d+\] to (\S+) \[\d+\]: (.*)$`)

// bindings returns which file's symbol was found in which, in what the loader prints with LD_DEBUG=bindings, without
// directories.
func bindings(out string) []string {
	var found []string
	for _, line := range lines(out) {
		if m := binding.FindStringSubmatch(line); m != nil {
			found = append(found, filepath.Base(m[1])+" "+filepath.Base(m[2])+" "+m[3])
		}
	}
	slices.Sort(found)
	return found
}

const rootMain = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
static int print(struct dl_phdr_info *info, size_t size, void *data)
{
	const char *base = strrchr(info->dlpi_name, '/');
	printf("loaded %s\n", base ? base + 1 : info->dlpi_name);
	return 0;
}
int main(void)
{
	const char *(*who)(void) = (const char *(*)(void))dlsym(RTLD_DEFAULT, "who");
	printf("found in %s\n", who ? who() : "none");
	return dl_iterate_phdr(print, 0);
}
`
