package e2e

import (
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestNeedrestart has needrestart look at processes of a program that follows the system, and of one that is
// pinned, after an upgrade of their library and a collection: the first has what is gone, the second
// what it is to have. It needs no configuration for that. When no process has the older library in use any more, the
// pin alone keeps it: another collection leaves it, and the program starts with it.
func TestNeedrestart(t *testing.T) {
	root := newSystem(t, "needrestart")
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	old := strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "libtinfo6"))
	root.Run("cp", "/bin/bash", "/usr/local/bin/other") // which has the edit of the sync
	root.Run("hashpkg", "pin", "/usr/bin/bash", "libtinfo6="+old)
	root.Repo().Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("libtinfo6", "ncurses-bin", "ncurses-base")...)...)
	out := root.Run("sh", "-c", `set -eu
mkfifo /root/wait
/usr/bin/bash -c 'read x </root/wait; :' & pinned=$!
/usr/local/bin/other -c 'read x </root/wait; :' & other=$!
sleep 1
apt-get -y -q install libtinfo6 >/root/apt.log 2>&1
hashpkg gc --keep 1 --keep-versions 0 >/dev/null
needrestart -v -l -r l 2>&1 | sed "s/#$pinned /#pinned /; s/#$other /#other /"
grep tinfo /proc/$pinned/maps /proc/$other/maps
kill $pinned $other`)
	if !strings.Contains(out, "#other uses deleted /usr/lib/x86_64-linux-gnu/libtinfo.so.6") && !strings.Contains(out, "#other uses deleted /lib/x86_64-linux-gnu/libtinfo.so.6") || strings.Contains(out, "#pinned") {
		t.Errorf("needrestart says %s", out)
	}
	// A generation more, so that the one with the older library is not what the active one was made from.
	root.WriteFile("/root/tool.deb", string(testdeb.Deb(t, testdeb.Package{Name: "tool", Files: []testdeb.File{{Path: "usr/share/tool/x", Content: "x"}}})), 0o644)
	root.Run("hashpkg", "install", "-q", "/root/tool.deb")
	root.Run("hashpkg", "gc", "--keep", "1", "--keep-versions", "0")
	root.Run("hashpkg", "gc", "--keep", "1", "--keep-versions", "0") // the first one may still see who has just ended
	tree := "/var/sys/libtinfo6/" + old + "/"
	if out := root.Run("bash", "-c", "grep tinfo /proc/$$/maps; :"); !strings.Contains(out, tree) {
		t.Errorf("after the collection, with nothing running, the pinned program has loaded %s, not from %s", out, tree)
	}
}
