package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// service builds two debs: a library of a version, whose postinst starts the
// program of the other, as those of libraries restart services; the program, which
// has two names, says which version it was linked to at run time. The library has a
// symbol of the version SVC_1, from 2.0 on one of SVC_2 too, which the program then
// needs.
func service(t *testing.T, version string) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	const libs = "usr/lib/x86_64-linux-gnu/"
	symbol, versions := "svc_version", "SVC_1 { svc_version; };\n"
	if version >= "2" {
		symbol, versions = "svc_newer", versions+"SVC_2 { svc_newer; };\n"
	}
	write("svc.c", fmt.Sprintf("#include <stdio.h>\nconst char *%s(void);\nint main(void) { puts(%[1]s()); return 0; }\n", symbol), 0o644)
	write("lib.c", fmt.Sprintf("const char *svc_version(void) { return \"%s\"; }\nconst char *svc_newer(void) { return \"%[1]s\"; }\n", version), 0o644)
	write("versions", versions, 0o644)
	write("libsvc1/DEBIAN/control", fmt.Sprintf("Package: libsvc1\nVersion: %s\nArchitecture: amd64\nMulti-Arch: same\nMaintainer: test\nDescription: test\n", version), 0o644)
	write("libsvc1/DEBIAN/postinst", "#!/bin/sh\nset -e\nif [ -x /usr/bin/svc ]; then /usr/bin/svc >>/var/log/svc; fi\n", 0o755)
	write("svc/DEBIAN/control", fmt.Sprintf("Package: svc\nVersion: %s\nArchitecture: amd64\nDepends: libsvc1\nMaintainer: test\nDescription: test\n", version), 0o644)
	for _, d := range []string{"libsvc1/" + libs, "svc/usr/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lib := filepath.Join(dir, "libsvc1", libs, "libsvc.so.1."+version)
	mustRun(t, "gcc", "-shared", "-fPIC", "-Wl,-soname,libsvc.so.1,--version-script="+filepath.Join(dir, "versions"), "-o", lib, filepath.Join(dir, "lib.c"))
	if err := os.Symlink(filepath.Base(lib), filepath.Join(dir, "libsvc1", libs, "libsvc.so.1")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "gcc", "-o", filepath.Join(dir, "svc/usr/bin/svc"), filepath.Join(dir, "svc.c"), lib)
	if err := os.Link(filepath.Join(dir, "svc/usr/bin/svc"), filepath.Join(dir, "svc/usr/bin/svc-too")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "sh", "-c", `cd "$1" && for p in svc libsvc1; do (cd $p && find usr -type f -exec md5sum {} + >DEBIAN/md5sums); done`, "sh", dir)
	var debs []string
	for _, name := range []string{"libsvc1", "svc"} {
		deb := filepath.Join(dir, name+"_"+version+".deb")
		if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", filepath.Join(dir, name), deb).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		debs = append(debs, deb)
	}
	return debs
}

// TestHooksFollowDpkg lets dpkg and apt call hashpkg by its hooks.
func TestHooksFollowDpkg(t *testing.T) {
	needTool(t, "gcc")
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(first...)
	root.Run("apt-get", "-y", "-q", "install", "svc")
	if out := root.Run("ldd", "/usr/bin/svc"); !strings.Contains(out, "/var/sys/current-system/lib64/libsvc.so.1") {
		t.Fatalf("svc does not search the farm: %s", out)
	}
	check := func(what string) {
		t.Helper()
		for _, args := range [][]string{{"check"}, {"verify", "--system"}, {"verify"}} {
			if out, err := root.RunErr(t.Context(), append([]string{"hashpkg"}, args...)...); err != nil {
				t.Errorf("%s: %q: %v: %s", what, args, err, out)
			}
		}
		if out := root.Run("dpkg", "--audit"); out != "" {
			t.Errorf("%s: dpkg --audit says %s", what, out)
		}
		if link := root.Run("readlink", "/var/sys/current-system"); strings.Contains(link, "following") {
			t.Errorf("%s: the following farm is active still", what)
		}
		root.Run("svc")
	}
	check("installed")

	// The library's postinst starts the service before any hook after unpacking.
	starts := root.Loop("svc")
	repo.Add(second[0])
	root.Run("apt-get", "-y", "-q", "install", "libsvc1")
	if log := root.ReadFile("/var/log/svc"); log != "1.0\n2.0\n" {
		t.Errorf("the service that the upgrade started has loaded %q", log)
	}
	check("upgraded")
	if out := root.Run("svc"); out != "2.0\n" {
		t.Errorf("svc says %q", out)
	}
	if out := root.Run("ls", "/var/sys/libsvc1"); out != "1.0\n2.0\ndefault\n" {
		t.Errorf("the trees are %q", out)
	}
	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	if out := root.Run("svc"); out != "1.0\n" {
		t.Errorf("the pinned svc says %q", out)
	}
	root.Run("hashpkg", "unpin", "svc")

	// dpkg alone, in two steps, and what has no directories in it.
	root.Run("dpkg", "--unpack", repo.Path(first[0]))
	if out := root.Run("svc"); out != "1.0\n" {
		t.Errorf("between unpacking and configuring svc says %q", out)
	}
	root.Run("dpkg", "--configure", "libsvc1")
	check("downgraded by dpkg in two steps")
	bare := testroot.Rebuild(t, testroot.Change{Suffix: "+bare1", NoDirs: true, Note: true}, first[0])
	repo.Add(bare...)
	root.Run("dpkg", "-i", repo.Path(bare[0]))
	check("without directory entries")
	if out := root.Run("readlink", "-f", "/var/sys/current-system/lib64/libsvc.so.1"); !strings.Contains(out, "bare1") {
		t.Errorf("the farm leads to %s", out)
	}
	if n := starts.Stop(); n < 20 {
		t.Errorf("svc was started %d times only", n)
	}
	root.Run("apt-get", "-y", "-q", "remove", "svc")
	root.Run("dpkg", "-P", "libsvc1")
	for _, args := range [][]string{{"check"}, {"verify", "--system"}} {
		root.Run(append([]string{"hashpkg"}, args...)...)
	}
}

// TestHooksFailGently breaks hashpkg under dpkg's feet: dpkg does not notice, check
// tells, and the next run repairs.
func TestHooksFailGently(t *testing.T) {
	needTool(t, "gcc")
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(append(first, second[0])...)
	root.Run("dpkg", "-i", repo.Path(first[0]), repo.Path(first[1]))

	for _, fault := range []struct{ name, script string }{
		{"killed", "#!/bin/sh\ncase $2 in after) kill -9 $$;; esac\nexec /usr/bin/hashpkg.real \"$@\"\n"},
		{"failing", "#!/bin/sh\ncase $2 in after) exit 7;; esac\nexec /usr/bin/hashpkg.real \"$@\"\n"},
	} {
		root.Run("mv", "/usr/bin/hashpkg", "/usr/bin/hashpkg.real")
		root.WriteFile("/usr/bin/hashpkg", fault.script, 0o755)
		root.Run("dpkg", "-i", repo.Path(second[0]))
		if out := root.Run("svc"); out != "2.0\n" {
			t.Errorf("%s: svc says %q", fault.name, out)
		}
		root.Run("mv", "/usr/bin/hashpkg.real", "/usr/bin/hashpkg")
		if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil {
			t.Errorf("%s: check finds nothing: %s", fault.name, out)
		}
		root.Run("hashpkg", "sync")
		root.Run("hashpkg", "check")
		root.Run("hashpkg", "verify", "--system")
		root.Run("dpkg", "-i", repo.Path(first[0]))
	}
	// Two package managers' hooks at once, and a sync besides.
	root.Run("sh", "-c", "for i in 1 2 3 4 5; do hashpkg hook after & hashpkg sync & done; wait")
	root.Run("hashpkg", "check")
}

// TestPinThatDoesNotFit upgrades a pinned program to one that needs more than the
// library that it is pinned to has.
func TestPinThatDoesNotFit(t *testing.T) {
	needTool(t, "gcc")
	root := newSystem(t)
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(append(first, second...)...)
	root.Run("dpkg", "-i", repo.Path(first[0]), repo.Path(first[1]))
	root.Run("hashpkg", "sync")
	root.Run("dpkg", "-i", repo.Path(second[0]))
	root.Run("hashpkg", "sync")
	says := func(what, want string) {
		t.Helper()
		if out := root.Run("svc"); out != want+"\n" {
			t.Errorf("%s: svc says %q", what, out)
		}
	}
	says("upgraded", "2.0")
	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	says("pinned", "1.0")

	root.Run("dpkg", "-i", repo.Path(second[1]))
	if out := root.Run("hashpkg", "sync"); !strings.Contains(out, "goes on without its pin") || !strings.Contains(out, "SVC_2") {
		t.Errorf("the sync does not tell of the pin: %s", out)
	}
	says("the program upgraded", "2.0")
	if out, err := root.RunErr(t.Context(), "hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0"); err == nil || !strings.Contains(out, "needs the symbol version SVC_2") {
		t.Errorf("the pin is not refused: %v %s", err, out)
	}
	says("refused", "2.0")
	root.Run("hashpkg", "pin", "--force", "/usr/bin/svc", "libsvc1=1.0")
	if out, err := root.RunErr(t.Context(), "svc"); err == nil || !strings.Contains(out, "SVC_2") {
		t.Errorf("forced, svc says %s", out)
	}
	root.Run("hashpkg", "unpin", "/usr/bin/svc")
	says("unpinned", "2.0")

	// Back to the older program: its pin is in force again.
	root.Run("dpkg", "-i", repo.Path(first[1]))
	root.Run("hashpkg", "sync")
	says("the older program", "1.0")
	// The only other name of a program is pinned by itself.
	root.Run("hashpkg", "unpin", "svc")
	root.Run("hashpkg", "verify", "--system")
}
