package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestFreeze freezes programs of a real system and upgrades their libraries, and the C library.
func TestFreeze(t *testing.T) {
	root := newSystem(t, "curl")
	before := root.Run("sh", "-c", "dpkg --verify || true")
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	old := strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "zlib1g"))
	tree := "/zlib1g/" + strings.ReplaceAll(old, ":", "%3a") + "/"
	shipped := loadedBy(root, "/usr/bin/curl")
	maps := func() string { return root.Run("curl", "-s", "file:///proc/self/maps") }

	root.Run("hashpkg", "freeze", "/usr/bin/curl", "apt")
	if have := loadedBy(root, "/usr/bin/curl"); !equalBases(shipped, have) {
		t.Errorf("frozen, curl loads\n%q, and before\n%q", have, shipped)
	}
	if out := maps(); strings.Contains(out, " /usr/lib/x86_64-linux-gnu/libz.so") || !strings.Contains(out, "/var/sys"+tree) || strings.Contains(out, "/var/sys/libc6/") {
		t.Errorf("frozen, curl has mapped %s", out)
	}
	if out := root.Run("hashpkg", "elf", "--json", "/usr/bin/curl"); !strings.Contains(out, `"bound":[{"path":"/var/sys/`) {
		t.Errorf("there is no note: %s", out)
	}
	root.Run("hashpkg", "verify", "--system")
	root.Run("hashpkg", "check")

	newer := testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("zlib1g", "libc6", "libc-bin")...)
	root.Repo().Add(newer...)
	out := root.Run("apt-get", "-y", "-q", "install", "zlib1g", "libc6", "libc-bin")
	if !strings.Contains(out, "/usr/bin/curl is frozen to zlib1g="+old) {
		t.Errorf("the hook does not say that the library is not in force: %s", out)
	}
	if out := maps(); !strings.Contains(out, "/var/sys"+tree) || strings.Contains(out, "+new1") {
		t.Errorf("after the upgrade, curl has mapped %s", out)
	}
	root.Run("apt-get", "--version")
	out, err := root.RunErr(t.Context(), "hashpkg", "check")
	if err == nil || !strings.Contains(out, "/usr/bin/curl runs on frozen libraries") || !strings.Contains(out, "zlib1g="+old+", where "+old+"+new1 is installed") {
		t.Errorf("check says %v: %s", err, out)
	}
	// Collected is nothing that a program is frozen to, and a rollback changes none.
	root.Run("hashpkg", "gc", "--keep", "1", "--keep-versions", "0")
	list := generationsOf(t, root)
	root.Run("hashpkg", "rollback", strconv.Itoa(list[len(list)-2].ID))
	root.Run("hashpkg", "sync")
	if out := maps(); !strings.Contains(out, "/var/sys"+tree) {
		t.Errorf("collected, curl has mapped %s", out)
	}
	root.Run("hashpkg", "verify")

	// The program itself is upgraded, and is frozen as before.
	root.Repo().Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("curl")...)...)
	root.Run("apt-get", "-y", "-q", "install", "curl")
	if out := maps(); !strings.Contains(out, "/var/sys"+tree) {
		t.Errorf("curl upgraded, it has mapped %s", out)
	}

	root.Run("hashpkg", "freeze", "--refresh")
	if out := maps(); strings.Contains(out, "/var/sys"+tree) || !strings.Contains(out, "+new1/usr/lib") {
		t.Errorf("frozen anew, curl has mapped %s", out)
	}
	root.Run("hashpkg", "check")

	root.Run("hashpkg", "thaw", "apt", "/usr/bin/curl")
	checkPackaged(t, root, "apt", "usr/bin/apt-get")
	checkPackaged(t, root, "curl", "usr/bin/curl")
	root.Run("hashpkg", "check")
	root.Run("hashpkg", "restore", "--all")
	if after := root.Run("sh", "-c", "dpkg --verify || true"); after != before {
		t.Errorf("dpkg --verify says %q, and without hashpkg %q", after, before)
	}

	root.Run("hashpkg", "freeze", "/usr/bin/curl")
	if out := root.Run("apt-get", "-y", "-q", "purge", "curl"); strings.Contains(out, "no longer frozen") {
		t.Errorf("apt may bring curl again until it ends, and the hook says %s", out)
	}
	root.Run("hashpkg", "check")
	if out := root.Run("hashpkg", "sync"); !strings.Contains(out, "/usr/bin/curl is not there any more, and is no longer frozen") {
		t.Errorf("curl is removed, and the sync says %s", out)
	}
	root.Run("hashpkg", "check")
}

// TestFreezeOfReplaced has apt replace a frozen program's package by one of another name, which it
// does in two calls of dpkg, the first of which leaves the program away.
func TestFreezeOfReplaced(t *testing.T) {
	root, _, second := serviceRoot(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "freeze", "/usr/bin/svc")
	dir := t.TempDir()
	mustRun(t, "dpkg-deb", "-R", service(t, "1.0")[1], dir+"/svcd")
	control := "Package: svcd\nVersion: 3\nArchitecture: amd64\nDepends: libsvc1\nConflicts: svc\nReplaces: svc\nProvides: svc\nMaintainer: test\nDescription: test\n"
	if err := os.WriteFile(dir+"/svcd/DEBIAN/control", []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	// What the hook sees when svc is gone and svcd is not there yet.
	if err := os.WriteFile(dir+"/svcd/DEBIAN/preinst", []byte("#!/bin/sh\ntest ! -e /usr/bin/svc && hashpkg pins >/root/between\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "dpkg-deb", "-b", dir+"/svcd", dir+"/svcd_3_amd64.deb")
	root.Repo().Add(second[0], dir+"/svcd_3_amd64.deb")
	out := root.Run("apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confold", "install", "svcd", "libsvc1")
	if strings.Contains(out, "no longer frozen") {
		t.Errorf("apt says %s", out)
	}
	if between := root.ReadFile("/root/between"); !strings.Contains(between, "/usr/bin/svc: frozen") {
		t.Errorf("between two calls of dpkg, what is frozen is %q", between)
	}
	if out := root.Run("svc"); out != "1.0\n" {
		t.Errorf("svc says %s", out)
	}
	root.Run("hashpkg", "sync")
	if out := root.Run("hashpkg", "pins"); !strings.Contains(out, "/usr/bin/svc: frozen") {
		t.Errorf("frozen are %s", out)
	}
	root.Run("hashpkg", "verify", "--system")
	root.Run("apt-get", "-y", "-q", "purge", "svcd")
	root.Run("hashpkg", "sync")
	if out := root.Run("hashpkg", "pins"); strings.Contains(out, "/usr/bin/svc: frozen") {
		t.Errorf("gone for good, and frozen are %s", out)
	}
}

// TestFreezeOfDiverted has dpkg-divert move a frozen program away and back.
func TestFreezeOfDiverted(t *testing.T) {
	root, _, second := serviceRoot(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "freeze", "/usr/bin/svc")
	check := func(what, program string) {
		t.Helper()
		root.Run("hashpkg", "sync")
		if out := root.Run(program); out != "1.0\n" {
			t.Errorf("%s: it says %s", what, out)
		}
		if out := root.Run("hashpkg", "pins"); !strings.Contains(out, program+": frozen") {
			t.Errorf("%s: frozen are %s", what, out)
		}
		root.Run("hashpkg", "verify", "--system")
	}
	root.Run("dpkg-divert", "--add", "--rename", "--divert", "/usr/bin/svc.real", "/usr/bin/svc")
	check("diverted", "/usr/bin/svc.real")
	installDebs(root, second[0])
	check("upgraded", "/usr/bin/svc.real")
	root.Run("dpkg-divert", "--remove", "--rename", "/usr/bin/svc")
	check("back", "/usr/bin/svc")
}

// TestFreezeRealPrograms freezes programs of Debian that have no room for what they load, one of
// which runs as another group than its user's.
func TestFreezeRealPrograms(t *testing.T) {
	root := newSystem(t)
	root.Run("hashpkg", "sync")
	names := []string{"/usr/bin/findmnt", "/usr/bin/chage"}
	before := map[string][]string{}
	for _, name := range names {
		before[name] = loadedBy(root, name)
	}
	asUser := func() string {
		return root.Run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "chage", "-l", "nobody") + root.Run("findmnt", "-n", "-o", "TARGET", "/proc")
	}
	said := asUser()
	root.Run(append([]string{"hashpkg", "freeze"}, names...)...)
	for _, name := range names {
		if out := root.Run("hashpkg", "elf", "--print-needed", name); !strings.Contains(out, "/var/sys/hashpkg-closures/") {
			t.Errorf("%s has room for %s", name, out)
		}
		var have []string
		for _, file := range loadedBy(root, name) {
			if !strings.Contains(file, "/hashpkg-closures/") {
				have = append(have, file)
			}
		}
		if !equalBases(before[name], have) {
			t.Errorf("frozen, %s loads\n%q, and before\n%q", name, have, before[name])
		}
	}
	if out := asUser(); out != said {
		t.Errorf("frozen, they say %s, and before %s", out, said)
	}
	for _, command := range [][]string{{"verify"}, {"verify", "--system"}, {"check"}, {"thaw", "--all"}} {
		root.Run(append([]string{"hashpkg"}, command...)...)
	}
	checkPackaged(t, root, "passwd", "usr/bin/chage")
	checkPackaged(t, root, "util-linux", "bin/findmnt")
}

// TestFreezeByUser has somebody freeze who may not, and a store of a user's own.
func TestFreezeByUser(t *testing.T) {
	root := newSystem(t)
	root.Run("hashpkg", "sync")
	as := []string{"env", "HOME=/tmp", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "hashpkg"}
	before := root.ReadFile("/usr/bin/findmnt")
	for _, tt := range []struct {
		command []string
		says    string
	}{
		{[]string{"freeze", "/usr/bin/findmnt"}, "a store that belongs to somebody else is not written to"},
		{[]string{"thaw", "--all"}, "a store that belongs to somebody else is not written to"},
		{[]string{"--prefix", "/tmp/sys", "freeze", "/usr/bin/findmnt"}, "there is no hashpkg store"},
	} {
		out, err := root.RunErr(t.Context(), append(as, tt.command...)...)
		if err == nil || !strings.Contains(out, tt.says) {
			t.Errorf("%q: %v: %s", tt.command, err, out)
		}
	}
	if root.ReadFile("/usr/bin/findmnt") != before {
		t.Error("findmnt has changed")
	}
}

// TestFreezeThatDoesNotFit upgrades a frozen program to one that needs more than the library
// that it is frozen to has, and removes hashpkg's edits while it is frozen.
func TestFreezeThatDoesNotFit(t *testing.T) {
	testneed.Programs(t, "gcc")
	root, first, second := serviceRoot(t)
	says := func(what, want string) {
		t.Helper()
		if out := root.Run("svc"); out != want+"\n" {
			t.Errorf("%s: svc says %q, want %s", what, out, want)
		}
		if out := root.Run("svc-too"); out != want+"\n" {
			t.Errorf("%s: svc-too says %q, want %s", what, out, want)
		}
		if out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system"); err != nil {
			t.Errorf("%s: %v %s", what, err, out)
		}
	}
	root.Run("hashpkg", "freeze", "svc")
	installDebs(root, second[0])
	root.Run("hashpkg", "sync")
	says("the library upgraded", "1.0")

	installDebs(root, second[1])
	if out := root.Run("hashpkg", "sync"); !strings.Contains(out, "/usr/bin/svc goes on without its freeze") || !strings.Contains(out, "SVC_2") {
		t.Errorf("the sync does not tell of the freeze: %s", out)
	}
	says("the program upgraded", "2.0")
	if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil || !strings.Contains(out, "/usr/bin/svc is frozen, and runs without its freeze") {
		t.Errorf("check says %v: %s", err, out)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "freeze", "/usr/bin/svc"); err == nil || !strings.Contains(out, "cannot freeze /usr/bin/svc: it would not start") {
		t.Errorf("freeze says %v: %s", err, out)
	}
	says("refused", "2.0")
	installDebs(root, first[1])
	root.Run("hashpkg", "sync")
	says("the older program again", "1.0")

	root.Run("hashpkg", "restore", "--all") // as the removal of hashpkg's package does
	checkPackaged(t, root, "svc", "usr/bin/svc")
	root.Run("hashpkg", "freeze", "svc")
	says("frozen again", "1.0")
	root.Run("rm", "-r", "/var/sys/libsvc1/1.0")
	root.Run("hashpkg", "sync")
	says("without the tree", "2.0")
	root.Run("hashpkg", "freeze", "--refresh")
	says("frozen anew", "2.0")
	root.Run("hashpkg", "thaw", "--all")
	says("thawed", "2.0")
	checkPackaged(t, root, "svc", "usr/bin/svc")
	root.Run("hashpkg", "check")
}

// loadedBy returns the files that the loader lists for a program, by ldd in their order.
func loadedBy(root *testroot.Root, program string) []string {
	return strings.Fields(root.Run("sh", "-c", "ldd "+program+" | grep -o '/[^ ]*'"))
}

// equalBases reports whether lists have the same names of libraries in the same order, whatever
// their directories and the rest of their versions.
func equalBases(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		base := func(p string) string {
			name, _, _ := strings.Cut(p[strings.LastIndexByte(p, '/')+1:], ".so")
			return name
		}
		if base(a[i]) != base(b[i]) {
			return false
		}
	}
	return true
}

// checkPackaged compares a program with the digest that dpkg has of it.
func checkPackaged(t *testing.T, root *testroot.Root, pkg, program string) {
	t.Helper()
	b, err := os.ReadFile(root.Path("/" + program))
	if err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum(b)
	if !strings.Contains(root.ReadFile("/var/lib/dpkg/info/"+pkg+".md5sums"), hex.EncodeToString(sum[:])+"  "+program+"\n") {
		t.Errorf("%s has not its packaged bytes", program)
	}
}
