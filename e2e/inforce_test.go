package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// daemonSource says of which version its library is, and stays.
const daemonSource = `#include <stdio.h>
#include <unistd.h>
const char *svc_version(void);
int main(void) { puts(svc_version()); fflush(stdout); pause(); return 0; }
`

// daemonRoot returns a root with a daemon that uses the first version of a library, and
// the debs of both versions in /root.
func daemonRoot(t *testing.T, packages ...string) *testroot.Root {
	t.Helper()
	testneed.Programs(t, "gcc")
	root := testroot.Debian(t, "bookworm", "", packages...)
	first, second := service(t, "1.0"), service(t, "2.0")
	dir := t.TempDir()
	source, daemon := filepath.Join(dir, "svcd.c"), filepath.Join(dir, "svcd")
	if err := os.WriteFile(source, []byte(daemonSource), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "dpkg-deb", "-x", first[0], dir)
	mustRun(t, "gcc", "-o", daemon, source, dir+libs+"libsvc.so.1")
	b, err := os.ReadFile(daemon)
	if err != nil {
		t.Fatal(err)
	}
	svcd := writeDeb(t, dir, testdeb.Package{Name: "svcd", Version: "1", Files: []testdeb.File{{Path: "usr/sbin/svcd", Mode: 0o755, Content: string(b)}}})
	installDebs(root, first[0], first[1], svcd)
	root.Install(first[0], "/root/1.deb")
	root.Install(second[0], "/root/2.deb")
	return root
}

// TestUpgradeIsInForce upgrades a library while hashpkg cannot do anything: what starts
// afterwards maps the file that dpkg has installed.
func TestUpgradeIsInForce(t *testing.T) {
	t.Parallel()
	root := daemonRoot(t)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	// The daemon starts after the upgrade, at once.
	const upgrade = `
dpkg -i /root/2.deb >/root/said 2>&1 || { cat /root/said; exit 1; }
rm -f /root/out; svcd >/root/out & p=$!
n=0; until [ -s /root/out ] || [ $n = 100 ]; do sleep 0.1; n=$((n+1)); done
echo "svc $(svc), svcd $(cat /root/out), $(grep -m 1 libsvc /proc/$p/maps | sed 's/.* //')"
ldd /usr/sbin/svcd | grep -o '/.*libsvc.so.1'
kill $p`
	for _, fault := range []struct{ name, before, after string }{
		{"nothing", "", ""},
		{"the lock is held for ever", "flock /var/sys/.hashpkg/lock sleep 1000 & l=$!; sleep 1;", ""},
		{"the holder of the lock is stopped", `hashpkg sync --again >/dev/null & l=$!
until ! flock -n /var/sys/.hashpkg/lock true; do kill -0 $l || exit 9; done; kill -STOP $l;`, ""},
		{"the hooks are removed", "hashpkg hooks remove >/dev/null;", ""},
		{
			"syncs are killed", `mv /usr/bin/hashpkg /usr/bin/hashpkg.real; printf '#!/bin/sh\ntimeout -s KILL 0.03 hashpkg.real "$@"\n' >/usr/bin/hashpkg; chmod 755 /usr/bin/hashpkg;`,
			"mv /usr/bin/hashpkg.real /usr/bin/hashpkg",
		},
		{"hashpkg is gone", "mv /usr/bin/hashpkg /usr/bin/hashpkg.real;", "mv /usr/bin/hashpkg.real /usr/bin/hashpkg"},
		{"the disk is full", `mkdir -p /mnt/sys; mount -t tmpfs -o size=300m full /mnt/sys; cp -a /var/sys/. /mnt/sys; mount --move /mnt/sys /var/sys; dd if=/dev/zero of=/var/sys/full bs=1M 2>/dev/null;`, ""},
	} {
		// A version that was there before is not what an upgrade is from: the store begins anew.
		root.Run("sh", "-ec", "! test -e /var/sys || { hashpkg restore --all; rm -rf /var/sys; }; dpkg -i /root/1.deb")
		root.Run("hashpkg", "hooks", "install")
		root.Run("hashpkg", "sync")
		root.Run("hashpkg", "check")
		out, err := root.RunErr(t.Context(), "sh", "-c", fault.before+upgrade+`
s=$?; [ -z "$l" ] || kill -KILL $l
`+fault.after+`
exit $s`)
		if want := "svc 2.0, svcd 2.0, " + libs + "libsvc.so.1.2.0\n/var/sys/current-system/lib64/libsvc.so.1\n"; err != nil || out != want {
			t.Errorf("%s: %v: %s, want %s", fault.name, err, out, want)
		}
	}
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "check")
}

// TestRestartsAreSeen upgrades the library of a running daemon: what tells administrators
// which processes to restart tells them the same with hashpkg and without.
func TestRestartsAreSeen(t *testing.T) {
	root := daemonRoot(t, "debian-goodies", "lsof", "needrestart", "python3")
	const script = `rm -f /root/out; svcd >/root/out & p=$!
n=0; until [ -s /root/out ] || [ $n = 100 ]; do sleep 0.1; n=$((n+1)); done
dpkg -i /root/$0.deb >/root/said 2>&1 || { cat /root/said; exit 1; }
echo lsof:; lsof -n -p $p 2>/dev/null | grep DEL
echo needrestart:; needrestart -b -r l -l -m a 2>/dev/null
echo needrestart -v:; needrestart -v -r l -l -m a 2>&1 | grep -e libsvc -e svcd
echo checkrestart:; checkrestart -v 2>&1 | head -n 20
kill $p`
	volatile := regexp.MustCompile(`#?\b[0-9]{2,}(,[0-9]+)?\b`)
	columns := regexp.MustCompile(` +`) // as wide as numbers are
	seen := func(version string) string {
		t.Helper()
		return columns.ReplaceAllString(volatile.ReplaceAllString(root.Run("sh", "-c", script, version), "N"), " ")
	}
	want := seen("2")
	for _, part := range []string{
		"DEL REG N N " + libs + "libsvc.so.1.1.0\n",
		"uses deleted " + libs + "libsvc.so.1.1.0\n",
		"Process /usr/sbin/svcd (PID: N) \nList of deleted files in use:\n\t" + libs + "libsvc.so.1.1.0\n",
	} {
		if !strings.Contains(want, part) {
			t.Errorf("without hashpkg nobody says %q: %s", part, want)
		}
	}
	root.Run("dpkg", "-i", "/root/1.deb")
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	if out := root.Run("ldd", "/usr/sbin/svcd"); !strings.Contains(out, "/var/sys/current-system/lib64/libsvc.so.1") {
		t.Fatalf("the daemon does not search the farm: %s", out)
	}
	if got := seen("2"); got != want {
		t.Errorf("with hashpkg they say\n%s\nand without\n%s", got, want)
	}
}
