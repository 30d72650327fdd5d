package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
)

// TestLockIsHeld has another writer at work.
func TestLockIsHeld(t *testing.T) {
	_, _, second, root := twoVersions(t)
	f, err := os.Open(filepath.Join(root, "var/sys", layout.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	before := dump(t, root)
	for _, args := range [][]string{{"install", second}, {"use", "tool=1.0"}, {"remove", "tool"}, {"rollback", "1"}, {"gc"}} {
		status, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...))
		if status != 4 || !strings.Contains(stderr, fmt.Sprintf("/var/sys is held by process %d", os.Getpid())) {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
	}
	for _, args := range [][]string{{"list"}, {"show", "tool"}, {"verify"}, {"generations"}} { // readers need no lock
		mustRun(t, hashpkg(t), append([]string{"--root", root}, args...)...)
	}
	if have := dump(t, root); have != before {
		t.Errorf("the root has changed (-before +have):\n%s", cmp.Diff(before, have))
	}
}

// TestManyAtOnce runs installs of different packages at the same time: each gets
// the lock or is told that it is held, and nothing is lost.
func TestManyAtOnce(t *testing.T) {
	dir, _, _, root := twoVersions(t)
	bin := hashpkg(t)
	const n = 8
	var wg sync.WaitGroup
	for i := range n {
		deb := writeDeb(t, dir, testdeb.Package{Name: fmt.Sprintf("p%d", i), Version: "1", Files: []testdeb.File{{Path: "usr/share/p", Content: fmt.Sprint(i)}}})
		wg.Go(func() {
			for {
				out, err := exec.Command(bin, "--root", root, "install", "-q", deb).CombinedOutput()
				var exit *exec.ExitError
				if errors.As(err, &exit) && exit.ExitCode() == 4 {
					continue
				}
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
		})
	}
	wg.Wait()
	out, err := exec.Command(bin, "--root", root, "list").Output()
	if err != nil || strings.Count(string(out), "\n") != n+1 {
		t.Errorf("%v: %s", err, out)
	}
	mustRun(t, bin, "--root", root, "verify", "-q")
}

// TestWithoutRoot installs real packages as a user, into a directory of the
// user's own, and runs the program.
func TestWithoutRoot(t *testing.T) {
	testneed.Root(t) // to become another user
	debs := bookworm(t)
	home, err := os.MkdirTemp("", "hashpkg-home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	const nobody = 65534
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for i, deb := range debs { // the cache may be where only root can read
		b, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		debs[i] = filepath.Join(home, filepath.Base(deb))
		if err := os.WriteFile(debs[i], b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asUser := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir = home
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	status, stderr := run(t, asUser(hashpkg(t), append([]string{"install"}, debs...)...))
	if status != 1 || !strings.Contains(stderr, "--prefix with a directory of your own") {
		t.Errorf("without --prefix: status %d, %s", status, stderr)
	}
	prefix := filepath.Join(home, "sys")
	status, stderr = run(t, asUser(hashpkg(t), append([]string{"install", "-q", "--prefix", prefix}, debs...)...))
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	cmd := asUser(filepath.Join(prefix, "current-system/bin/jq"), "-n", "1+1")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "2" {
		t.Errorf("jq: %v: %s", err, out)
	}
	if status, stderr := run(t, asUser(hashpkg(t), "verify", "-q", "--prefix", prefix)); status != 0 {
		t.Errorf("verify: status %d: %s", status, stderr)
	}
}

// TestHostsOwnRoot installs with the default root, seen from inside a chroot, in
// which there is nothing else and no program that unpacks.
func TestHostsOwnRoot(t *testing.T) {
	testneed.Root(t)
	root := t.TempDir()
	args := []string{root, "/hashpkg", "install", "-q"}
	for _, deb := range bookworm(t) {
		mustRun(t, "cp", "-L", deb, root)
		args = append(args, "/"+filepath.Base(deb))
	}
	mustRun(t, "cp", hashpkg(t), root)
	mustRun(t, "chroot", args...)
	out, err := exec.Command("chroot", root, "/var/sys/current-system/bin/jq", "-n", "1+1").Output()
	if err != nil || strings.TrimSpace(string(out)) != "2" {
		t.Errorf("jq: %v: %s", err, out)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "var" && name != "hashpkg" && !strings.HasSuffix(name, ".deb") {
			t.Errorf("/%s was made; everything should be below /var/sys", name)
		}
	}
}
