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

// says runs hashpkg on a root, with the time epoch, and returns its status and all that it
// printed.
func says(t *testing.T, root, epoch string, args ...string) (status int, out string) {
	t.Helper()
	cmd := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

const epoch = "1700000000"

// TestOtherFormat has every command refuse the store of another hashpkg, and leave it alone.
func TestOtherFormat(t *testing.T) {
	_, _, second, root := twoVersions(t)
	prefix := filepath.Join(root, "var/sys")
	mustRun(t, "sh", "-c", "mkdir -p $1/var/lib/dpkg/info && : >$1/var/lib/dpkg/status && echo 2 >$1/var/sys/.hashpkg/format", "sh", root)
	before := dump(t, root)
	for _, args := range [][]string{
		{"list"},
		{"show", "tool"},
		{"generations"},
		{"diff", "1", "2"},
		{"du"},
		{"verify"},
		{"verify", "--all"},
		{"verify", "tool"},
		{"pins"},
		{"install", second},
		{"use", "tool=1.0"},
		{"remove", "tool"},
		{"rollback", "1"},
		{"gc"},
		{"sync"},
		{"restore", "--all"},
		{"pin", "--all", "tool=1.0"},
		{"unpin", "--all"},
		{"verify", "--repair"},
		{"verify", "--repair", "--dry-run"},
		{"verify", "--system", "--repair"},
	} {
		status, out := says(t, root, epoch, args...)
		if status != 1 || !strings.Contains(out, `says layout "2", and this hashpkg knows layout 1 only: use the hashpkg that wrote it, or a newer one`) {
			t.Errorf("%q: status %d: %s", args, status, out)
		}
	}
	for _, args := range [][]string{{"hook", "before"}, {"hook", "after"}} { // which keep no package manager from its work
		if status, out := says(t, root, epoch, args...); status != 0 || !strings.Contains(out, `says layout "2"`) {
			t.Errorf("%q: status %d: %s", args, status, out)
		}
	}
	if have := dump(t, root); have != before {
		t.Errorf("it was changed:\n%s", lineDiff(before, have))
	}

	// Its number is lost, and no record is of this layout.
	mustRun(t, "sh", "-ec", `cd $1/.hashpkg; rm format generations/*/index; sed -i 's/"layout": *1/"layout":2/' generations/*/generation.json manifests/*/*`, "sh", prefix)
	before = dump(t, root)
	if status, out := says(t, root, epoch, "verify", "--repair"); status != 1 || !strings.Contains(out, "no record of the store has layout 1, which this hashpkg knows: use the hashpkg that wrote it") {
		t.Errorf("without its number: status %d: %s", status, out)
	}
	if have := dump(t, root); have != before {
		t.Errorf("it was changed:\n%s", lineDiff(before, have))
	}
}

// TestGarbageClock has the clock run wild: the numbers of generations say what came after what,
// nothing that was just used goes, and repair says what is strange.
func TestGarbageClock(t *testing.T) {
	const last, never = "253402300799", "253402300800" // the end of 9999, and after it
	dir, first, second, _ := twoVersions(t)
	root := filepath.Join(dir, "clock")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	must := func(epoch string, args ...string) string {
		t.Helper()
		status, out := says(t, root, epoch, args...)
		if status != 0 {
			t.Errorf("%q at %s: status %d: %s", args, epoch, status, out)
		}
		return out
	}
	must(last, "install", first)
	must("0", "install", second)
	must("-1", "use", "tool=1.0")
	must(epoch, "use", "--highest", "tool")
	var ids []string
	for line := range strings.Lines(must(epoch, "generations")) {
		ids = append(ids, strings.Fields(line)[0])
	}
	if have := strings.Join(ids, " "); have != "1 2 3 4" {
		t.Errorf("the generations are %s", have)
	}
	if out := must(epoch, "verify", "--repair"); !strings.Contains(out, "note: generation 1 has a time in the future, 9999-12-31T23:59:59Z: the clock was set back since") || strings.Contains(out, "generation 2") {
		t.Errorf("verify --repair: %s", out)
	}
	must(epoch, "remove", "tool=1.0")
	for _, at := range []string{"0", "1", epoch} { // it left just now, whatever the time is
		must(at, "gc", "--keep", "1")
		if _, err := os.Stat(filepath.Join(root, "var/sys/tool/1.0/usr/bin/tool")); err != nil {
			t.Errorf("gc at %s: %v", at, err)
		}
	}
	must(epoch, "rollback")
	must(epoch, "verify", "--all")
	before := dump(t, root)
	for _, garbage := range []string{"x", never, "-99999999999999", "99999999999999999999"} {
		if status, out := says(t, root, garbage, "install", second); status != 2 || !strings.Contains(out, "SOURCE_DATE_EPOCH") {
			t.Errorf("at %s: status %d: %s", garbage, status, out)
		}
	}
	if have := dump(t, root); have != before {
		t.Errorf("it was changed:\n%s", lineDiff(before, have))
	}
}

// TestCopiedStore copies a store without its hard links: it works, verify says what it is, and
// a repair makes it what it was.
func TestCopiedStore(t *testing.T) {
	dir, _, second, base := twoVersions(t)
	before := dump(t, base)
	if _, out := says(t, base, epoch, "verify", "--all"); strings.Contains(out, "hard links") {
		t.Errorf("verify of the original: %s", out)
	}
	copied := filepath.Join(dir, "copied")
	mustRun(t, "cp", "-r", base, copied)
	status, out := says(t, copied, epoch, "verify", "--all")
	if status != 0 || !strings.Contains(out, "note: the store has lost hard links, as a copy of it may: hashpkg verify --repair makes links of 2 files again, and frees ") {
		t.Errorf("verify: status %d: %s", status, out)
	}
	mustRun(t, hashpkg(t), "--root", copied, "install", "-q", second)
	mustRun(t, hashpkg(t), "--root", copied, "rollback", "-q")
	if status, out := says(t, copied, epoch, "verify", "--repair"); status != 0 || !strings.Contains(out, "files linked again, ") {
		t.Errorf("verify --repair: status %d: %s", status, out)
	}
	if status, out := says(t, copied, epoch, "verify", "--all"); status != 0 || strings.Contains(out, "hard links") {
		t.Errorf("then verify: status %d: %s", status, out)
	}
	have := dump(t, copied)
	for line := range strings.Lines(before) {
		if !strings.Contains(have, line) {
			t.Errorf("this is not what it was: %s", line)
		}
	}
}

// TestTwoMounts mounts one store a second time, in the same root: it is one store, with one
// lock, by either path.
func TestTwoMounts(t *testing.T) {
	testneed.Root(t)
	_, _, second, small := twoVersions(t)
	dir, mount := mountDir(t)
	base := filepath.Join(dir, "base")
	copyRoot(t, small, base)
	if err := unix.Mount(base, mount, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(mount, "srv/sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	twin := filepath.Join(mount, "srv/sys")
	if err := unix.Mount(filepath.Join(mount, "var/sys"), twin, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(twin, 0); err != nil {
			t.Error(err)
		}
	})
	lock, err := os.Open(filepath.Join(base, "var/sys/.hashpkg/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"/var/sys", "/srv/sys"} {
		status, out := says(t, mount, epoch, "--prefix", prefix, "verify", "--repair", "--wait", "0s")
		if status != 4 || !strings.Contains(out, "lock") {
			t.Errorf("by %s, with the lock held by the first path: status %d: %s", prefix, status, out)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", mount, "--prefix", "/srv/sys", "install", "-q", second)
	for _, args := range [][]string{{"--root", base}, {"--root", mount}, {"--root", mount, "--prefix", "/srv/sys"}} {
		out, err := exec.Command(hashpkg(t), append(args, "list")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "2.0") {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		mustRun(t, hashpkg(t), append(args, "verify", "-q", "--repair")...)
		mustRun(t, hashpkg(t), append(args, "verify", "-q", "--all")...)
	}
}
