package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestSyncHostileRoot gives sync and its companions images in which links lead out
// of the root, and pipes stand where files are expected: nothing outside is
// changed, and nothing waits for ever.
func TestSyncHostileRoot(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	smallSystem(t, base)
	synced := filepath.Join(dir, "synced")
	copyRoot(t, base, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	in := func(name string) string { return filepath.Join(root, name) }
	out := func(name string) string {
		moved := filepath.Join(outside, filepath.Base(name))
		mustRun(t, "mv", in(name), moved)
		if err := os.Symlink(moved, in(name)); err != nil {
			t.Fatal(err)
		}
		return moved
	}
	pipe := func(name string) {
		if err := os.RemoveAll(in(name)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(in(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, from string
		change     func()
		says       string // by sync; "" when it succeeds
	}{
		{"program", base, func() { out("usr/bin/jq") }, ""},
		{"private directory", synced, func() { out("var/sys/.hashpkg") }, "no directory of its own"},
		{"records", synced, func() { out("var/sys/.hashpkg/system") }, "no directory of its own"},
		{"trees", synced, func() {
			out("var/sys/libonig5")
			mustRun(t, "sed", "-i", "s/^Version: 6/Version: 7/", in("var/lib/dpkg/status"))
		}, "no directory of its own"},
		{"pins", synced, func() { pipe("var/sys/.hashpkg/system/pins.json") }, "no regular file"},
		{"state", synced, func() { pipe("var/sys/.hashpkg/system/state.json") }, ""},
		{"circle", base, func() {
			mustRun(t, "sh", "-c", `ln -s circle "$1/usr/circle" && echo /usr/circle/libx.so >>"$1/var/lib/dpkg/info/jq.list"`, "sh", root)
		}, ""},
	} {
		if err := os.MkdirAll(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		copyRoot(t, c.from, root)
		c.change()
		before := dump(t, outside)
		for _, command := range []string{"sync --again", "restore --all", "verify --system", "check"} {
			args := append([]string{"20", hashpkg(t), "--root", root, "-q"}, strings.Fields(command)...)
			status, stderr := run(t, exec.Command("timeout", args...))
			if status == 124 {
				t.Errorf("%s: %s waits for ever", c.name, command)
			}
			if strings.HasPrefix(command, "sync") && (status == 0) != (c.says == "") || c.says != "" && command == "sync --again" && !strings.Contains(stderr, c.says) {
				t.Errorf("%s: %s: status %d: %s", c.name, command, status, stderr)
			}
		}
		if after := dump(t, outside); after != before {
			t.Errorf("%s: what is outside was changed", c.name)
		}
		for _, d := range []string{root, outside} {
			if err := os.RemoveAll(d); err != nil {
				t.Fatal(err)
			}
		}
	}
}
