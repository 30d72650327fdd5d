package ldso

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestRootOfCache builds a root with a cache, and asks the loader inside it.
func TestRootOfCache(t *testing.T) {
	testneed.Root(t) // to change into a root
	w := newWorkshop(t)
	options := loaderOptions(t)
	if !slices.Contains(options.HWCaps, "x86-64-v2") {
		testneed.Unmet(t, "the processor is older than x86-64-v2")
	}
	copyFile := func(to, from string) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.path(to), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(loaderPath, loaderPath)
	lib := strings.TrimPrefix(options.Layout.Dirs[0], "/")
	copyFile(lib+"/libc.so.6", options.Layout.Dirs[0]+"/libc.so.6")
	w.library("opt/lib/liba.so.1.0", soname+"liba.so.1")
	w.library("opt/lib/libb.so.1.0", soname+"libb.so.1")
	w.library("opt/lib/glibc-hwcaps/x86-64-v2/libb.so.1", soname+"libb.so.1")
	w.library("opt/lib/glibc-hwcaps/z13/liba.so.1.0", soname+"liba.so.1")
	w.library("opt/more/liba.so.1.0", soname+"liba.so.1")
	w.library(lib+"/libd.so.1", soname+"libd.so.1")
	w.library("usr/local/lib/libd.so.1", soname+"libd.so.1")
	w.program(w.path("opt/lib/liba.so.1.0"), w.path("opt/lib/libb.so.1.0"), w.path(lib+"/libd.so.1"))
	w.gcc("bin/nodeflib", "int main(void) { return 0; }\n", "-Wl,-z,nodefaultlib",
		w.path("opt/lib/libb.so.1.0"), w.path(lib+"/libd.so.1"))
	w.write("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n/opt/lib\n")
	w.write("etc/ld.so.conf.d/more.conf", "/opt/more\n/usr/local/lib\n")
	root := host{root: w.dir}

	dirs, err := ParseConf(os.DirFS(w.dir), "etc/ld.so.conf")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/opt/more", "/usr/local/lib", "/opt/lib"}, dirs); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	root.compare(t, "/bin/p", options) // there is no cache yet

	for _, format := range []string{"compat", "new"} {
		out, err := exec.Command("/sbin/ldconfig", "-r", w.dir, "-c", format).CombinedOutput()
		if err != nil {
			t.Fatalf("ldconfig: %v\n%s", err, out)
		}
		c := root.compare(t, "/bin/p", options)
		if len(c.Missing) > 0 {
			t.Errorf("missing: %v", c.Missing)
		}
		root.compare(t, "/bin/nodeflib", options)
		if format == "compat" {
			continue // its entries for subdirectories are of no use
		}
		var cached, configured []string
		for _, o := range c.Objects {
			cached = append(cached, o.Path)
		}
		inhibited := options
		inhibited.ConfigDirs = dirs
		uncached, _ := host{root: w.dir, uncached: true}.load(t, "/bin/p", inhibited)
		for _, o := range uncached.Objects {
			configured = append(configured, o.Path)
		}
		if diff := cmp.Diff(cached, configured); diff != "" {
			t.Errorf("with the cache, and (+) with the configuration alone:\n%s", diff)
		}
	}
}
