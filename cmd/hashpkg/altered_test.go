package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// libs is where the libraries of a root are.
const libs = "/usr/lib/x86_64-linux-gnu/"

// serviceRoot returns a root with svc and the first version of its library, and in
// /root/new what an administrator may put in its place.
func serviceRoot(t *testing.T) (root *testroot.Root, first, second []string) {
	t.Helper()
	needTool(t, "gcc")
	root = newSystem(t)
	first, second = service(t, "1.0"), service(t, "2.0")
	dir := t.TempDir()
	mustRun(t, "dpkg-deb", "-x", second[0], dir)
	root.Install(dir+libs+"libsvc.so.1.2.0", "/root/new")
	installDebs(root, first...)
	root.Run("hashpkg", "sync")
	return root, first, second
}

// installDebs puts debs into the root and has its dpkg install them.
func installDebs(root *testroot.Root, debs ...string) {
	args := []string{"dpkg", "-i"}
	for _, deb := range debs {
		to := "/root/" + deb[strings.LastIndexByte(deb, '/')+1:]
		root.Install(deb, to)
		args = append(args, to)
	}
	root.Run(args...)
}

// TestFarmFollowsTheLoader changes by hand what the loader finds, in the ways in
// which administrators do: programs that search the farm load what all others do.
func TestFarmFollowsTheLoader(t *testing.T) {
	root, _, _ := serviceRoot(t)
	const divert = "dpkg-divert --quiet --local --rename "
	for _, change := range []struct{ name, do, undo string }{
		{"another file in its place", "cp $L.1.0 /root/old; cp /root/new $L.x; mv $L.x $L.1.0", "mv /root/old $L.1.0"},
		{"a newer one beside it", "cp /root/new $L.9.0", "rm $L.9.0"},
		{"a diversion", divert + "--divert $L.distrib --add $L.1.0; cp /root/new $L.1.0", "rm $L.1.0; " + divert + "--remove $L.1.0"},
		{"for some processors", "mkdir -p /usr/local/lib/glibc-hwcaps/x86-64-v2; cp /root/new /usr/local/lib/glibc-hwcaps/x86-64-v2/libsvc.so.1", "rm -r /usr/local/lib/glibc-hwcaps"},
		{"in /usr/local/lib", "cp /root/new /usr/local/lib/libsvc.so.1", "rm /usr/local/lib/libsvc.so.1"},
		{"in a directory of its own", "mkdir /opt/new; cp /root/new /opt/new/libsvc.so.1; echo /opt/new >/etc/ld.so.conf.d/a.conf", "rm /etc/ld.so.conf.d/a.conf"},
	} {
		for _, step := range []struct{ do, want string }{{change.do, "2.0\n"}, {change.undo, "1.0\n"}} {
			root.Run("sh", "-ec", "L="+libs+"libsvc.so.1; "+step.do+"; ldconfig; hashpkg sync")
			if out := root.Run("svc"); out != step.want {
				t.Errorf("%s: after %q and a sync svc says %q, want %q", change.name, step.do, out, step.want)
			}
		}
	}
	// update-alternatives(1) changes a link, and nothing else.
	root.Run("sh", "-ec", `cd $0; mkdir one two; mv libsvc.so.1* one; cp /root/new two/libsvc.so.1; ln -s one/libsvc.so.1 .
		sed -i s,/libsvc.so,/one/libsvc.so, /var/lib/dpkg/info/libsvc1*.list /var/lib/dpkg/info/libsvc1*.md5sums
		ldconfig; hashpkg sync --again; ln -sf two/libsvc.so.1 .`, libs)
	if out := root.Run("svc"); out != "2.0\n" {
		t.Errorf("after another alternative was chosen svc says %q", out)
	}
}

// TestRecordsSurvive takes away what leads to an edited program for a while: the
// edit can still be proved and undone.
func TestRecordsSurvive(t *testing.T) {
	root, _, _ := serviceRoot(t)
	untouched := func(what string) {
		t.Helper()
		if out := root.Run("hashpkg", "verify", "--system"); !strings.Contains(out, " 0 altered") {
			t.Errorf("%s: %s", what, out)
		}
		root.Run("hashpkg", "restore", "--all")
		if out, err := root.RunErr(t.Context(), "dpkg", "--verify", "svc"); err != nil || out != "" {
			t.Errorf("%s: after restore --all, dpkg --verify says %v %s", what, err, out)
		}
		root.Run("hashpkg", "sync", "--again")
	}
	for _, away := range []struct{ name, do, undo string }{
		{"without its list", "mv $D/info/svc.list /root; touch $D/status", "mv /root/svc.list $D/info; touch $D/status"},
		{
			"half-installed", "sed -i '/^Package: svc$/,/^$/s/^Status: .*/Status: install reinstreq half-installed/' $D/status",
			"sed -i '/^Package: svc$/,/^$/s/^Status: .*/Status: install ok installed/' $D/status",
		},
		{"diverted", "dpkg-divert --local --rename --divert /usr/bin/svc.real --add /usr/bin/svc", ""},
	} {
		root.Run("sh", "-ec", "D=/var/lib/dpkg; "+away.do+"; hashpkg sync; "+away.undo)
		root.Run("hashpkg", "sync")
		untouched(away.name)
	}
	// Restoring does not wait for who writes to a pipe.
	root.Run("sh", "-ec", "rm /usr/bin/svc-too; mkfifo /usr/bin/svc-too")
	if out, err := root.RunErr(t.Context(), "timeout", "20", "hashpkg", "restore", "svc"); !strings.Contains(out, "is no regular file any more") {
		t.Errorf("restore with a pipe in a program's place: %v %s", err, out)
	}
}

// TestPinOneName pins one of the two names of a file, and loses the pins' trees.
func TestPinOneName(t *testing.T) {
	root, first, second := serviceRoot(t)
	says := func(what, svc, too string) {
		t.Helper()
		if a, b := root.Run("svc"), root.Run("svc-too"); a != svc+"\n" || b != too+"\n" {
			t.Errorf("%s: they say %q and %q, want %s and %s", what, a, b, svc, too)
		}
		if out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system"); err != nil {
			t.Errorf("%s: %v %s", what, err, out)
		}
	}
	installDebs(root, second[0])
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0")
	says("pinned", "1.0", "2.0")
	installDebs(root, first[1]) // one file with two names again
	root.Run("hashpkg", "sync")
	says("installed again", "1.0", "2.0")

	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	root.Run("rm", "-r", "/var/sys/libsvc1/1.0")
	if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil {
		t.Errorf("check does not miss the pinned library: %s", out)
	}
	root.Run("hashpkg", "sync")
	says("without the pinned library", "2.0", "2.0")
	root.Run("hashpkg", "unpin", "svc")
	root.Run("hashpkg", "unpin", "/usr/bin/svc")
	root.Run("hashpkg", "check")
}

// TestSyncSweeps leaves in the place of programs what a killed sync leaves there.
func TestSyncSweeps(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "root")
	smallSystem(t, dir)
	const left = "usr/bin/.hashpkg-edit-0123456789abcdef"
	mustRun(t, "cp", "-p", filepath.Join(dir, "usr/bin/jq"), filepath.Join(dir, left))
	time.Sleep(2100 * time.Millisecond)
	mustRun(t, hashpkg(t), "--root", dir, "sync", "-q")
	if _, err := os.Lstat(filepath.Join(dir, left)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed run has left is there still: %v", err)
	}
}

// TestSyncMountedOver has something mounted over a program, as systems do that are
// put together of images: the program is left, and no sync fails for that.
func TestSyncMountedOver(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "root")
	smallSystem(t, dir)
	jq := filepath.Join(dir, "usr/bin/jq")
	if err := unix.Mount(jq, jq, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(jq, unix.MNT_DETACH) })
	for _, args := range [][]string{{"sync"}, {"sync", "--again"}} {
		out, err := exec.Command(hashpkg(t), append([]string{"--root", dir, "--json"}, args...)...).Output()
		if err != nil || !strings.Contains(string(out), `{"path":"/usr/bin/jq","reason":"cannot be replaced: device or resource busy"}`) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		mustRun(t, hashpkg(t), "--root", dir, "-q", "verify", "--system")
	}
	if err := unix.Unmount(jq, 0); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", dir, "-q", "sync", "--again")
	if out, err := exec.Command(hashpkg(t), "--root", dir, "--json", "verify", "--system").Output(); err != nil || !strings.Contains(string(out), `"edited":["/usr/bin/jq"]`) {
		t.Errorf("it is not edited when nothing is mounted over it any more: %v: %s", err, out)
	}
}

// TestSyncBesideDpkg runs a sync while dpkg is at work: the farm follows dpkg until
// that has ended.
func TestSyncBesideDpkg(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "root")
	smallSystem(t, dir)
	follows := func() bool {
		t.Helper()
		link, err := os.Readlink(filepath.Join(dir, "var/sys/current-system"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(link, "following")
	}
	mustRun(t, hashpkg(t), "--root", dir, "sync", "-q")
	mustRun(t, hashpkg(t), "--root", dir, "hook", "before")
	lock, err := os.Create(filepath.Join(dir, "var/lib/dpkg/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", dir, "sync", "-q", "--again")
	if !follows() {
		t.Error("a sync has ended what dpkg's hook began")
	}
	if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_UNLCK}); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", dir, "sync", "-q")
	if follows() {
		t.Error("the farm follows a dpkg that has ended")
	}
}
