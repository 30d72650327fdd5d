package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// mountWithoutExchange mounts a file system that has links and owners, and no flags of
// renameat2(2): ext4 in user space. Others by FUSE, and NFS, have none either. It has no
// attributes: fuse2fs stores an access control list, and leaves the mode as it was.
func mountWithoutExchange(t *testing.T, size int64) string {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "fuse2fs", "mkfs.ext4")
	dir, mount := mountDir(t)
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs.ext4", "-q", "-O", "^ext_attr,^has_journal", image)
	server := exec.Command("fuse2fs", "-f", image, mount)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Minute): // it writes all that it has kept
			t.Errorf("the file system's server does not end: %v", errors.Join(server.Process.Kill(), <-ended))
		}
	})
	for wait := time.Now().Add(10 * time.Second); !isMount(t, mount); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("fuse2fs: %v", err)
		default:
		}
		if time.Now().After(wait) {
			t.Fatal("nothing is mounted")
		}
	}
	a, b := filepath.Join(mount, "a"), filepath.Join(mount, "b")
	if err := errors.Join(os.Mkdir(a, 0o755), os.Mkdir(b, 0o755)); err != nil {
		t.Fatal(err)
	}
	for to, flag := range map[string]uint{b: unix.RENAME_EXCHANGE, b + "c": unix.RENAME_NOREPLACE} {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, to, flag); !errors.Is(err, unix.EINVAL) {
			t.Fatalf("this file system knows the flag %d of renameat2: %v", flag, err)
		}
	}
	return mount
}

func isMount(t *testing.T, dir string) bool {
	t.Helper()
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		t.Fatal(err)
	}
	return here.Dev != above.Dev
}

// misplaced puts directories where files belong, and files where directories do, each of
// which somebody may want back.
func misplaced(t *testing.T, tree string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `
		rm usr/bin/tool && mkdir usr/bin/tool && echo mine >usr/bin/tool/mine1
		rm bin/t && mkdir bin/t && echo mine >bin/t/mine2
		rm -r usr/share && echo mine >usr/share`)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// found counts the files below a directory that have these contents.
func found(t *testing.T, dir, content string) int {
	t.Helper()
	out, err := exec.Command("grep", "-rlx", content, dir).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	return strings.Count(string(out), "\n")
}

// TestRepairWithoutExchange repairs a store on a file system that cannot swap two names, and
// kills the repair at each rename: what stood in a place is never gone.
func TestRepairWithoutExchange(t *testing.T) {
	const strace = "strace"
	mount := mountWithoutExchange(t, 64<<20)
	testneed.Programs(t, strace)
	_, first, _, small := twoVersions(t)
	base := filepath.Join(mount, "base")
	copyRoot(t, small, base)
	before := dump(t, base)
	tree := func(root string) string { return filepath.Join(root, "var/sys/tool/1.0") }
	misplaced(t, tree(base))
	if n := found(t, base, "mine"); n != 3 {
		t.Fatalf("%d files are somebody's", n)
	}
	mended := func(what, root string) {
		t.Helper()
		if n := found(t, root, "mine"); n != 3 {
			t.Errorf("%s: of 3 files that are somebody's, there are %d", what, n)
		}
		if status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "verify", "-q", "--repair", "--from", first)); status != 0 {
			t.Errorf("%s: the next repair: status %d: %s", what, status, stderr)
		}
		quarantine := filepath.Join(root, "var/sys/.hashpkg/quarantine")
		if n := found(t, quarantine, "mine"); n != 3 {
			t.Errorf("%s: of 3 files that are somebody's, %d are in the quarantine", what, n)
		}
		if err := os.RemoveAll(quarantine); err != nil {
			t.Fatal(err)
		}
		if have := dump(t, root); have != before {
			t.Errorf("%s: it is another root:\n%s", what, lineDiff(before, have))
		}
	}
	killSweep(t, strace, mount, base, []string{"renameat", "renameat2", "unlinkat"}, []string{"verify", "-q", "--repair", "--from", first}, 10, mended)
	whole := filepath.Join(mount, "whole") // a tree that a file and a directory stand for
	for _, c := range []string{"rm -r $1 && echo mine >$1", "rm -r $1/usr && mkdir $1/usr && for i in 1 2 3; do echo mine >$1/usr/$i; done"} {
		copyRoot(t, small, whole)
		mustRun(t, "sh", "-ec", c, "sh", tree(whole))
		n := found(t, whole, "mine")
		mustRun(t, hashpkg(t), "--root", whole, "verify", "-q", "--repair")
		if kept := found(t, filepath.Join(whole, "var/sys/.hashpkg/quarantine"), "mine"); kept != n || n == 0 {
			t.Errorf("%s: of %d files, %d are in the quarantine", c, n, kept)
		}
		mustRun(t, hashpkg(t), "--root", whole, "verify", "-q")
		if err := os.RemoveAll(whole); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSyncWithoutExchange edits programs on a file system that cannot swap two names, gives
// them back, and is killed at each rename: all of them start, and the next run ends it.
func TestSyncWithoutExchange(t *testing.T) {
	const strace = "strace"
	mount := mountWithoutExchange(t, 256<<20)
	testneed.Programs(t, strace)
	base := filepath.Join(mount, "base")
	smallSystem(t, base)
	packaged := dump(t, filepath.Join(base, "usr"))
	synced := filepath.Join(mount, "synced")
	copyRoot(t, base, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	edited := dump(t, filepath.Join(synced, "usr"))
	if edited == packaged {
		t.Fatal("nothing was edited")
	}
	for _, sweep := range []struct {
		from    string
		command []string
		after   string
	}{
		{base, []string{"sync"}, edited},
		{synced, []string{"restore", "--all"}, packaged},
	} {
		killSweep(t, strace, mount, sweep.from, []string{"renameat", "renameat2"}, append(sweep.command, "-q"), 3, func(what, root string) {
			starts(t, what, root)
			for line := range strings.Lines(withoutTemporary(dump(t, filepath.Join(root, "usr")))) {
				if !strings.Contains(packaged, line) && !strings.Contains(edited, line) {
					t.Errorf("%s: neither as packaged nor as edited: %s", what, line)
				}
			}
			mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, sweep.command...)...)
			starts(t, what+", and again", root)
			if have := withoutTemporary(dump(t, filepath.Join(root, "usr"))); have != sweep.after {
				t.Errorf("%s: /usr is not what it should be after another run:\n%s", what, lineDiff(sweep.after, have))
			}
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		})
	}
}
