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
	"time"

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

// TestWaitByDefault has another writer at work, where a person looks on and where nobody
// does: without --wait some commands wait a while then, and none before a person.
func TestWaitByDefault(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	plainSystem(t, root, "1", 1)
	mustRun(t, hashpkg(t), "--root", root, "sync", "-q")
	deb := writeDeb(t, dir, testdeb.Package{Name: "tool", Version: "1.0"})
	f, err := os.Open(filepath.Join(root, "var/sys", layout.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hold := func(how int) {
		t.Helper()
		if err := unix.Flock(int(f.Fd()), how); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args    []string
		patient bool
	}{
		{[]string{"sync", "--again"}, true},
		{[]string{"restore", "--all"}, true},
		{[]string{"verify", "--repair"}, true},
		{[]string{"pin", "/usr/bin/tool0", "liba1=1"}, true},
		{[]string{"unpin", "/usr/bin/tool0", "liba1"}, true},
		{[]string{"install", deb}, false},
		{[]string{"remove", "tool"}, false},
		{[]string{"gc"}, false},
	} {
		command := func(more ...string) *exec.Cmd {
			cmd := exec.Command(hashpkg(t), append(append([]string{"--root", root}, c.args...), more...)...)
			cmd.Env = append(os.Environ(), "COLUMNS=500") // or messages are broken
			return cmd
		}
		hold(unix.LOCK_EX)
		start := time.Now()
		status, said := runOnTerminal(t, command(), func(string) {})
		if took := time.Since(start); status != 4 || !strings.Contains(said, "is held by process") || strings.Contains(said, "waiting") || took > 5*time.Second {
			t.Errorf("%q on a terminal: status %d after %v: %s", c.args, status, took, said)
		}
		released := false
		status, said = runOnTerminal(t, command("--wait", "1m"), func(said string) {
			if !released && strings.Contains(said, "waiting up to 1m0s") {
				released = true
				hold(unix.LOCK_UN)
			}
		})
		if status != 0 || !released {
			t.Errorf("%q --wait on a terminal: status %d: %s", c.args, status, said)
		}
		hold(unix.LOCK_EX)
		if status, said := run(t, command("--wait", "0")); status != 4 {
			t.Errorf("%q --wait 0: status %d: %s", c.args, status, said)
		}
		release := time.AfterFunc(time.Second, func() {
			if c.patient {
				_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // if not, the command says so
			}
		})
		start = time.Now()
		status, said = run(t, command())
		release.Stop()
		if took := time.Since(start); c.patient && (status == 4 || took < time.Second) || !c.patient && (status != 4 || took > 5*time.Second) {
			t.Errorf("%q without a terminal: status %d after %v: %s", c.args, status, took, said)
		}
		hold(unix.LOCK_UN)
	}
}

// runOnTerminal runs a program whose standard error is a terminal, and returns its
// exit status and what it printed there, which watch is given as it comes.
func runOnTerminal(t *testing.T, cmd *exec.Cmd, watch func(said string)) (status int, said string) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	end, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = end
	err = cmd.Start()
	if err := errors.Join(err, end.Close()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	for {
		n, err := terminal.Read(b)
		said += string(b[:n])
		watch(said)
		if err != nil { // EIO: nobody has the other end any more
			break
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said
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
