//go:build system

package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestSystemCompilers: what a compiler of another release makes runs with the libraries of
// that release, outside of a view, after an upgrade and a collection; and where these are
// seen by all, it is for what is seen. Older ones than the machine's are not shown to it.
func TestSystemCompilers(t *testing.T) {
	testneed.Network(t)
	testneed.Programs(t, "pivot_root")
	proxy := newCachingProxy(t)
	root := testroot.Debian(t, "bookworm", "")
	install := func(args ...string) {
		t.Helper()
		cmd := exec.Command(hashpkg(t), append([]string{"--root", root.Dir, "install", "-q", "--signature", "warn"}, args...)...)
		cmd.Env = append(cmd.Environ(), "http_proxy="+proxy)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("install %q: %v: %s", args, err, out)
		}
	}
	install("--from", "trixie", "gcc", "libc6-dev")
	install("--from", "bullseye", "gcc-10", "libc6-dev")
	root.WriteFile("/tmp/a.c", "#include <gnu/libc-version.h>\n#include <stdio.h>\nint main(void) { puts(gnu_get_libc_version()); }\n", 0o644)
	inside := insideRoot(t, root)
	want := func(want, script string) {
		t.Helper()
		out, err := root.PivotCommand(t.Context(), 1000, "sh", "-ec", "cd /tmp; PATH=/var/sys/current-system/bin:$PATH; "+script).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s\nprints %s (%v), want %s", script, out, err, want)
		}
	}
	want("2.41\n", "gcc a.c -o new; ./new")
	want("2.31\n", "gcc-10 a.c -o old; ./old")
	want("2.41\n2.31\n", "./new; ./old")
	if out, status := inside(1000, "enter", "gcc", "--", "sh", "-ec", "cd /tmp; gcc a.c -o within; ./within"); status != 0 || out != "2.41\n" {
		t.Errorf("in the view: %d: %s", status, out)
	}
	if out, status := inside(1000, "enter", "--libs", "gcc", "--", "sh", "-ec", "cd /tmp; gcc a.c -o plain; ./plain; /bin/ls plain"); status != 0 || out != "2.41\nplain\n" {
		t.Errorf("with the libraries: %d: %s", status, out)
	}
	want("/lib64/ld-linux-x86-64.so.2\n", "readelf -l plain | grep -o '/lib.*so.2'")
	if out, status := inside(1000, "enter", "--libs", "gcc-10", "--", "true"); status != 1 || !strings.Contains(out, "older there than here") {
		t.Errorf("with older libraries: %d: %s", status, out)
	}
	out, err := exec.Command(hashpkg(t), "--root", root.Dir, "verify", "--all").CombinedOutput()
	if err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
	if out, err := exec.Command(hashpkg(t), "--root", root.Dir, "gc", "--keep", "1", "--keep-versions", "0").CombinedOutput(); err != nil {
		t.Errorf("gc: %v: %s", err, out)
	}
	want("2.41\n2.31\n", "./new; ./old")
}
