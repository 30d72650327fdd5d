package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/layout"
)

// binary builds hashpkg once, as users build it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hashpkg-test")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "hashpkg")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, os.Chmod(dir, 0o755)
})

// built is the directory that binary made.
var built string

func removeBinary() {
	if built != "" {
		os.RemoveAll(built)
	}
}

func hashpkg(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// needTool skips a test that cannot do without a program; CI has them all.
func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		unmet(t, name+" is not installed")
	}
	return path
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		unmet(t, "needs root")
	}
}

func unmet(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// run runs a program and returns its exit status (-1 when a signal ended it) and
// what it printed on standard error.
func run(t *testing.T, cmd *exec.Cmd) (status int, stderr string) {
	t.Helper()
	var b bytes.Buffer
	cmd.Stderr = &b
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

// mustRun is run for what has to succeed.
func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if status, stderr := run(t, exec.Command(name, args...)); status != 0 {
		t.Fatalf("%s %q: status %d: %s", name, args, status, stderr)
	}
}

// dump describes everything below a directory, a line a name: type, mode, link
// target, content. Farms of inactive generations are left out: they may be lent.
func dump(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	active, err := os.Readlink(filepath.Join(dir, "var/sys/current-system"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		in, isGeneration := strings.CutPrefix(rel, "var/sys/"+layout.GenerationsDir+"/")
		if number, _, below := strings.Cut(in, "/"); isGeneration && below && d.IsDir() && layout.GenerationsDir+"/"+number != active {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", rel, info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
		case info.Mode().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeDeb(t *testing.T, dir string, p testdeb.Package) string {
	t.Helper()
	path := filepath.Join(dir, p.Name+"_"+p.Version+".deb")
	if err := os.WriteFile(path, testdeb.Deb(t, p), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// twoVersions returns two small packages and a root that has the first, and
// generations enough for the next one to borrow a farm.
func twoVersions(t *testing.T) (dir, first, second, root string) {
	t.Helper()
	dir = t.TempDir()
	files := func(s string) []testdeb.File {
		return []testdeb.File{
			testdeb.Exec("usr/bin/tool", "tool "+s),
			{Path: "usr/share/tool/data", Content: "data"},
			{Path: "usr/share/tool/secret", Content: s, Mode: 0o640},
			testdeb.Symlink("usr/bin/t", "tool"),
		}
	}
	first = writeDeb(t, dir, testdeb.Package{Name: "tool", Version: "1.0", Files: files("1")})
	second = writeDeb(t, dir, testdeb.Package{Name: "tool", Version: "2.0", Files: files("2")})
	root = filepath.Join(dir, "base")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", first)
	mustRun(t, hashpkg(t), "--root", root, "use", "-q", "tool=1.0")
	mustRun(t, hashpkg(t), "--root", root, "use", "-q", "--highest", "tool")
	return dir, first, second, root
}

// copyRoot makes a copy of a root in which hard links are hard links.
func copyRoot(t *testing.T, from, to string) {
	t.Helper()
	mustRun(t, "cp", "-a", from, to)
}

// oldOrNew checks that a root is one of two states, whole, once the next writer
// has been there.
func oldOrNew(t *testing.T, what, root, before, after string) {
	t.Helper()
	if status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "verify", "-q")); status != 0 {
		t.Errorf("%s: verify right afterwards: status %d: %s", what, status, stderr)
	}
	// Using the default that is the default changes nothing but recovers. The
	// version 1.0 is in both states.
	g := exec.Command(hashpkg(t), "--root", root, "use", "-q", "--highest", "tool")
	if status, stderr := run(t, g); status != 0 {
		t.Errorf("%s: the next command: status %d: %s", what, status, stderr)
	}
	if have := dump(t, root); have != before && have != after {
		t.Errorf("%s: the root is neither as before nor as after (-before +have):\n%s", what, cmp.Diff(before, have))
	}
	for _, args := range [][]string{{"rollback", "1"}, {"verify"}} { // whose farm may be lent
		if status, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)); status != 0 {
			t.Errorf("%s: %q: status %d: %s", what, args, status, stderr)
		}
	}
}

// TestKilledAtAnyStep kills an install at each of the calls that change
// directories or make things durable.
func TestKilledAtAnyStep(t *testing.T) {
	strace := needTool(t, "strace")
	dir, _, second, base := twoVersions(t)
	before := dump(t, base)
	done := filepath.Join(dir, "done")
	copyRoot(t, base, done)
	mustRun(t, hashpkg(t), "--root", done, "install", "-q", second)
	after := dump(t, done)
	if before == after {
		t.Fatal("the install changed nothing")
	}

	killSweep(t, strace, dir, base, []string{"renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "unlinkat", "fchmodat", "fsync", "syncfs", "utimensat"},
		[]string{"install", "-q", second}, 40, func(what, root string) { oldOrNew(t, what, root, before, after) })
}

// killSweep runs a command on copies of a root, killed at the first of some calls,
// then at the second, and so on until it ends before: atLeast so many times. check
// looks at each root.
func killSweep(t *testing.T, strace, dir, base string, calls, command []string, atLeast int, check func(what, root string)) {
	t.Helper()
	kills := 0
	for _, call := range calls {
		for n, survived := 1, 0; survived < 2 && n < 200; n++ {
			root := filepath.Join(dir, "killed")
			copyRoot(t, base, root)
			status, stderr := run(t, injected(strace, call, fmt.Sprintf("signal=KILL:when=%d", n), append([]string{hashpkg(t), "--root", root}, command...)...))
			what := fmt.Sprintf("%s killed at %s %d", command[0], call, n)
			switch status {
			case 0:
				survived++
			case -1, 137:
				survived = 0
				kills++
			default:
				t.Errorf("%s: status %d: %s", what, status, stderr)
			}
			check(what, root)
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d kills", kills)
	if kills < atLeast {
		t.Errorf("only %d kills: the sweep has not been everywhere", kills)
	}
}

// injected returns a command in which strace does something to calls of a kind
// (strace(1), "inject").
func injected(strace, call, what string, command ...string) *exec.Cmd {
	return exec.Command(strace, append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=" + call + ":" + what}, command...)...)
}

// TestFaultAtAnyStep lets each of the calls fail. The install must then fail, and
// have changed nothing, or have succeeded whole.
func TestFaultAtAnyStep(t *testing.T) {
	strace := needTool(t, "strace")
	dir, _, second, base := twoVersions(t)
	before := dump(t, base)
	done := filepath.Join(dir, "done")
	copyRoot(t, base, done)
	mustRun(t, hashpkg(t), "--root", done, "install", "-q", second)
	after := dump(t, done)

	faults := 0
	for _, call := range []string{"renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "fchmodat", "fsync", "syncfs", "utimensat"} {
		for _, fault := range []string{"ENOSPC", "EIO"} {
			for n, survived := 1, 0; survived < 2 && n < 200; n++ {
				root := filepath.Join(dir, "failed")
				copyRoot(t, base, root)
				status, stderr := run(t, injected(strace, call, fmt.Sprintf("error=%s:when=%d", fault, n), hashpkg(t), "--root", root, "install", "-q", second))
				what := fmt.Sprintf("%s at %s %d", fault, call, n)
				have := dump(t, root)
				switch {
				case status == 0 && have == after:
					survived++ // a link of the farm may be made another way
				case status == 1 && (have == before || have == after && (call == "fsync" || strings.Contains(stderr, "it is done"))):
					survived = 0
					faults++
					if !strings.Contains(stderr, "hashpkg: ") {
						t.Errorf("%s: no message: %q", what, stderr)
					}
				default:
					t.Errorf("%s: status %d, %s; the root has changed (-before +have):\n%s", what, status, stderr, cmp.Diff(before, have))
					survived++
				}
				if err := os.RemoveAll(root); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d faults", faults)
	if faults < 50 {
		t.Errorf("only %d faults: the sweep has not been everywhere", faults)
	}
}

// TestFullDisk installs more than a file system holds.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	dir, first, _, _ := twoVersions(t)
	root := filepath.Join(dir, "small")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", first)
	before := dump(t, root)
	big := testdeb.Package{Name: "big", Version: "1"}
	for i := range 100 {
		big.Files = append(big.Files, testdeb.File{Path: fmt.Sprintf("usr/share/big/%d", i), Content: strings.Repeat(fmt.Sprint(i), 50000)})
	}
	status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "install", "-q", writeDeb(t, dir, big)))
	if status != 1 || !strings.Contains(stderr, "no space left on device") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if have := dump(t, root); have != before {
		t.Errorf("the root has changed (-before +have):\n%s", cmp.Diff(before, have))
	}
}

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
		if status != 4 || !strings.Contains(stderr, "another hashpkg is at work") {
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
	needRoot(t) // to become another user
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
	needRoot(t)
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

// bookworm returns jq of bookworm and its libraries.
func bookworm(t *testing.T) []string {
	t.Helper()
	debs, err := archive.Fetch(context.Background(), archive.Options{
		Suite: "bookworm", Arch: "amd64", Packages: []string{"jq", "libjq1", "libonig5", "libc6", "libgcc-s1"},
	})
	if err != nil {
		unmet(t, fmt.Sprintf("the Debian archive cannot be reached: %v", err))
	}
	return debs
}
