package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestVerifySystem changes files behind hashpkg's back.
func TestVerifySystem(t *testing.T) {
	root := newSystem(t, "jq")
	root.Run("hashpkg", "sync")
	root.Run("sh", "-c", "printf x >> /usr/bin/jq; printf x >> /usr/bin/env; rm /usr/bin/who")
	out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system", "--json")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("verify --system: %v", err)
	}
	var v struct{ Altered []struct{ Path, What string } }
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]string{
		"/usr/bin/jq":  "is neither what its package brought nor what hashpkg made of it",
		"/usr/bin/env": "is not what its package brought",
		"/usr/bin/who": "is missing",
	}
	for _, a := range v.Altered {
		if want[a.Path] != a.What {
			t.Errorf("%s: %s", a.Path, a.What)
		}
		delete(want, a.Path)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "restore", "/usr/bin/jq"); err == nil || !strings.Contains(out, "neither") {
		t.Errorf("restore of an altered file: %v %s", err, out)
	}
	// Its package brings it again, and with it the edit.
	root.Repo().Add(root.Fetch("jq", "coreutils")...)
	root.Run("apt-get", "-y", "-q", "install", "--reinstall", "jq", "coreutils")
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "verify", "--system")
}

// TestRepairTwoMounts repairs one store by two prefixes: it is the same, with one lock.
func TestRepairTwoMounts(t *testing.T) {
	testneed.Root(t)
	_, base, before, deb := damagedStore(t)
	_, mount := mountDir(t)
	if err := unix.Mount(base, mount, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(filepath.Join(base, "var/sys/.hashpkg/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if status, stderr := run(t, exec.Command(hashpkg(t), "--root", mount, "verify", "--repair", "--wait", "0s")); status != 4 {
		t.Errorf("with the lock of the other mount held: status %d: %s", status, stderr)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	repaired(t, "the other mount", mount, before, deb)
	mustRun(t, hashpkg(t), "--root", base, "verify", "-q")
}

// TestRepairSystem damages the trees of the system's packages, which the distribution has
// the files of.
func TestRepairSystem(t *testing.T) {
	testneed.Root(t)
	root := filepath.Join(t.TempDir(), "root")
	smallSystem(t, root)
	mustRun(t, hashpkg(t), "--root", root, "sync", "-q")
	before := dump(t, root)
	output := func(args ...string) string {
		out, _ := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...).CombinedOutput()
		return string(out)
	}
	find := func(pattern string) string {
		found, err := filepath.Glob(filepath.Join(root, "var/sys", pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s is %q (%v)", pattern, found, err)
		}
		return found[0]
	}
	library := find("libonig5/6*/usr/lib/x86_64-linux-gnu/libonig.so.5.?.?")
	sameFile := func() {
		t.Helper()
		a, err := os.Stat(library)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(root, libs, filepath.Base(library)))
		if err != nil || !os.SameFile(a, b) {
			t.Errorf("the tree's library is not the distribution's file (%v)", err)
		}
	}
	for what, damage := range map[string]func(){
		"objects and a tree are lost": func() {
			for _, d := range []string{find(".hashpkg/objects"), filepath.Dir(find("libonig5/6*/usr"))} {
				if err := os.RemoveAll(d); err != nil {
					t.Fatal(err)
				}
			}
		},
		"manifests are lost": func() {
			for _, m := range []string{find(".hashpkg/manifests/libonig5/*"), find(".hashpkg/manifests/libc6/*")} {
				if err := os.Remove(m); err != nil {
					t.Fatal(err)
				}
			}
		},
		"the tree has a copy": func() {
			b, err := os.ReadFile(library)
			if err == nil {
				err = errors.Join(os.Remove(library), os.WriteFile(library, b, 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		damage()
		mustRun(t, hashpkg(t), "--root", root, "verify", "-q", "--repair")
		if have := dump(t, root); have != before {
			t.Errorf("%s: after the repair:\n%s", what, lineDiff(before, have))
		}
		sameFile()
		starts(t, what, root)
		mustRun(t, hashpkg(t), "--root", root, "verify", "-q")
	}

	// What the distribution has not any more is named, with who uses it.
	mustRun(t, hashpkg(t), "--root", root, "pin", "-q", "/usr/bin/jq", "libonig5=6.9.8-1")
	inner := library + ".old"
	if err := errors.Join(os.Rename(library, inner), os.Remove(filepath.Join(root, libs, filepath.Base(library)))); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "find", filepath.Join(root, "var/sys/.hashpkg/objects"), "-samefile", inner, "-delete")
	if out := output("verify", "--repair"); !strings.Contains(out, "libonig.so.5") || !strings.Contains(out, "install version 6.9.8-1 of package libonig5 again") || !strings.Contains(out, "it concerns /usr/bin/jq") {
		t.Errorf("of a library that is nowhere: %s", out)
	}
	moved := find(".hashpkg/quarantine/*/usr/lib/x86_64-linux-gnu/*.old")
	if err := os.Rename(moved, filepath.Join(root, libs, filepath.Base(library))); err != nil { // its package brings it
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "verify", "-q", "--repair")
	sameFile()

	// sync looks after its farm, if it looks at all.
	output("sync") // without the clock of an image, which remembers nothing
	link := find("current-system/lib64/libonig.so.5")
	if err := errors.Join(os.Remove(link), os.Remove(find("libonig5/default"))); err != nil {
		t.Fatal(err)
	}
	if out := output("sync"); !strings.Contains(out, "nothing to do") {
		t.Errorf("sync: %s", out)
	}
	if out := output("sync", "--again"); !strings.Contains(out, "lib64/libonig.so.5: was lost; put back") || !strings.Contains(out, "libonig5/default: was lost; put back") {
		t.Errorf("sync --again: %s", out)
	}
	mustRun(t, hashpkg(t), "--root", root, "verify", "-q")
}

// TestRepairAsUser repairs a store of somebody who is not root.
func TestRepairAsUser(t *testing.T) {
	_, base, before, deb := damagedStore(t)
	if os.Geteuid() == 0 {
		const nobody = "65534"
		program := hashpkg(t)
		dir, err := newDir() // that nobody can reach
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		mustRun(t, "sh", "-c", "chmod 0755 $1 && cp $2 $1/tool.deb && mkdir $1/sys && chown -R 65534:65534 $1", "sh", dir, deb)
		as := func(args ...string) (int, string) {
			return run(t, exec.Command("setpriv", append([]string{"--reuid", nobody, "--regid", nobody, "--clear-groups", program, "--prefix", filepath.Join(dir, "sys")}, args...)...))
		}
		testneed.Programs(t, "setpriv")
		if status, stderr := as("install", "-q", filepath.Join(dir, "tool.deb")); status != 0 {
			t.Fatalf("install: status %d: %s", status, stderr)
		}
		before := dump(t, dir)
		mustRun(t, "sh", "-c", "cd $1/tool/1.0 && chmod u+w usr/bin/tool && echo >>usr/bin/tool && rm -r usr/share && chmod 0755 usr/bin/tool", "sh", filepath.Join(dir, "sys"))
		if status, stderr := as("verify", "-q"); status != 3 {
			t.Errorf("verify: status %d: %s", status, stderr)
		}
		if status, stderr := as("verify", "-q", "--repair", "--from", filepath.Join(dir, "tool.deb")); status != 0 {
			t.Errorf("verify --repair: status %d: %s", status, stderr)
		}
		if have := dump(t, dir); have != before {
			t.Errorf("after the repair:\n%s", lineDiff(before, have))
		}
		return
	}
	repaired(t, "as a user", base, before, deb)
}
