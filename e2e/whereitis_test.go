package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// Two libraries that look for a plugin beside themselves, one that does not, and the
// program that uses them.
const (
	askingSource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
const char *asking_plugin(void) {
	static char name[4096];
	Dl_info info;
	if (!dladdr((void *)asking_plugin, &info)) return "nowhere";
	snprintf(name, sizeof name, "%s", info.dli_fname);
	strcpy(strrchr(name, '/'), "/asking/plugin.so");
	void *plugin = dlopen(name, RTLD_NOW);
	return plugin ? *(const char **)dlsym(plugin, "plugin_name") : "none";
}
`
	originSource = `#include <dlfcn.h>
const char *origin_plugin(void) {
	void *plugin = dlopen("plugin-of-origin.so", RTLD_NOW);
	return plugin ? *(const char **)dlsym(plugin, "plugin_name") : "none";
}
`
	plainSource  = `const char *plain(void) { return "VERSION"; }` + "\n"
	pluginSource = `const char *plugin_name = "NAME";` + "\n"
	usingSource  = `#include <stdio.h>
const char *asking_plugin(void), *origin_plugin(void), *plain(void);
int main(void) { printf("%s %s %s\n", asking_plugin(), origin_plugin(), plain()); return 0; }
`
	// This one asks for a library that does not.
	findingSource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
const char *plain(void);
int main(void) {
	char name[4096];
	Dl_info info;
	if (!dladdr((void *)plain, &info)) return 1;
	snprintf(name, sizeof name, "%s", info.dli_fname);
	strcpy(strrchr(name, '/'), "/asking/plugin.so");
	void *plugin = dlopen(name, RTLD_NOW);
	printf("%s %s\n", plugin ? *(const char **)dlsym(plugin, "plugin_name") : "none", plain());
	return 0;
}
`
)

// asking builds a package of the libraries and one of the programs. The plugins are
// in a third, as those of GStreamer are.
func asking(t *testing.T, version string) []string {
	t.Helper()
	dir := t.TempDir()
	gcc := func(out, source string, args ...string) string {
		t.Helper()
		file := filepath.Join(dir, out)
		if err := os.WriteFile(file+".c", []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		mustRun(t, "gcc", append([]string{"-o", file, file + ".c"}, args...)...)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	library := func(name, source string, args ...string) testdeb.File {
		t.Helper()
		soname := name + ".so.1"
		return testdeb.File{Path: libs[1:] + soname, Content: gcc(soname, source, append(args, "-shared", "-fPIC", "-Wl,-soname,"+soname)...)}
	}
	plugin := func(path, name string) testdeb.File {
		t.Helper()
		return testdeb.File{Path: libs[1:] + path, Content: gcc(name, strings.Replace(pluginSource, "NAME", name, 1), "-shared", "-fPIC")}
	}
	return []string{
		writeDeb(t, dir, testdeb.Package{Name: "libasking1", Version: version, Files: []testdeb.File{
			library("libasking", askingSource), library("libplain", strings.Replace(plainSource, "VERSION", version, 1)),
			library("liborigin", originSource, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/origin"),
		}}),
		writeDeb(t, dir, testdeb.Package{Name: "asking-plugins", Version: version, Files: []testdeb.File{
			plugin("asking/plugin.so", "first"), plugin("origin/plugin-of-origin.so", "second"),
		}}),
		writeDeb(t, dir, testdeb.Package{Name: "asking", Version: version, Files: []testdeb.File{{
			Path: "usr/bin/asking", Mode: 0o755,
			Content: gcc("asking", usingSource, "-L"+dir, "-l:libasking.so.1", "-l:liborigin.so.1", "-l:libplain.so.1"),
		}, {
			Path: "usr/bin/finding", Mode: 0o755, Content: gcc("finding", findingSource, "-L"+dir, "-l:libplain.so.1"),
		}}}),
	}
}

// TestLibrariesThatAskWhereTheyAre has a program do its work whose libraries look for
// plugins beside themselves.
func TestLibrariesThatAskWhereTheyAre(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	installDebs(root, asking(t, "1.0")...)
	works := func(what, want string) {
		t.Helper()
		if out := root.Run("asking"); out != want {
			t.Errorf("%s: the program says %q, want %q", what, out, want)
		}
	}
	works("as it was packaged", "first second 1.0\n")
	r := syncJSON(t, root, "sync")
	works("after a sync", "first second 1.0\n")
	outside := fmt.Sprint(r["outside"])
	for _, name := range []string{"libasking", "liborigin"} {
		if want := fmt.Sprintf("map[package:libasking1=1.0 path:%s%s.so.1 reason:asks where it was found]", libs, name); !strings.Contains(outside, want) {
			t.Errorf("the sync does not tell of %s: %s", name, outside)
		}
	}
	if out := root.Run("sh", "-c", "ls /var/sys/current-system/lib64; ldd /usr/bin/asking"); !strings.Contains(out, "/var/sys/current-system/lib64/libplain.so.1") ||
		strings.Contains(out, "/lib64/libasking") || strings.Contains(outside, "libplain") {
		t.Errorf("the program loads, and the farm has: %s", out)
	}
	if out := root.Run("hashpkg", "sync", "--again", "-v"); !strings.Contains(out, "note: "+libs+"libasking.so.1 is not in the farm: it asks where it was found\n") {
		t.Errorf("sync -v says %s", out)
	}

	// So do scripts of gdb's, for the library that they are for.
	script := "/usr/share/gdb/auto-load" + libs + "libplain.so.1-gdb.py"
	for _, step := range []struct {
		do   string
		want bool
	}{{"mkdir -p $(dirname $0); touch $0", false}, {"rm $0", true}} {
		root.Run("sh", "-ec", step.do, script)
		root.Run("hashpkg", "sync", "--again")
		if out := root.Run("ls", "/var/sys/current-system/lib64"); strings.Contains(out, "libplain.so.1\n") != step.want {
			t.Errorf("after %q the farm has %s", step.do, out)
		}
	}

	// A pin works as far as it can, and says so.
	installDebs(root, asking(t, "2.0")...)
	root.Run("hashpkg", "sync")
	works("after an upgrade", "first second 2.0\n")
	out := root.Run("hashpkg", "pin", "/usr/bin/asking", "libasking1=1.0")
	if want := "warning: libasking.so.1 asks where it was found, and gets the tree of libasking1=1.0: "; !strings.Contains(out, want) || strings.Contains(out, "libplain") {
		t.Errorf("the pin says %s", out)
	}
	works("pinned", "none none 1.0\n")
	root.Run("hashpkg", "unpin", "/usr/bin/asking")
	works("no longer pinned", "first second 2.0\n")
	root.Run("hashpkg", "restore", "--all")
	works("restored", "first second 2.0\n")
	inForce(t, root, "in the end")
}

// TestProgramsThatAskWhereLibrariesAre has a program look for a plugin beside a library
// that it loads.
func TestProgramsThatAskWhereLibrariesAre(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	installDebs(root, asking(t, "1.0")...)
	works := func(what, want string) {
		t.Helper()
		if out := root.Run("finding"); out != want {
			t.Errorf("%s: the program says %q, want %q", what, out, want)
		}
	}
	works("as it was packaged", "first 1.0\n")
	if out := root.Run("hashpkg", "sync", "-v"); !strings.Contains(out, "note: /usr/bin/finding is left as it is: it asks where libraries were found, and would get the farm's directory\n") {
		t.Errorf("sync -v says %s", out)
	}
	works("after a sync", "first 1.0\n")
	if searches(root, "/usr/bin/finding") || !searches(root, "/usr/bin/asking") {
		t.Error("the program that asks searches the farm, or the other one does not")
	}

	installDebs(root, asking(t, "2.0")...)
	root.Run("hashpkg", "sync")
	works("after an upgrade", "first 2.0\n")
	if out := root.Run("hashpkg", "pin", "/usr/bin/finding", "libasking1=1.0"); !strings.Contains(out, "warning: /usr/bin/finding asks where libraries were found, and gets the trees of pinned ones: ") {
		t.Errorf("the pin says %s", out)
	}
	works("pinned", "none 1.0\n")
	root.Run("hashpkg", "sync", "--again")
	works("pinned, and synced again", "none 1.0\n")
	root.Run("hashpkg", "unpin", "/usr/bin/finding")
	works("no longer pinned", "first 2.0\n")
	inForce(t, root, "in the end")
}
