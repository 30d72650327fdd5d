package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// newDir returns a new directory whose name says which process it belongs to.
func newDir() (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
}

const dirPrefix = "hashpkg-e2e-"

// mountDir returns a new directory with the directory "mnt" in it, for a test to
// mount on. Both go with the test, and so does what is mounted. What a test
// process that is killed leaves the next one sweeps away.
func mountDir(t *testing.T) (dir, mount string) {
	t.Helper()
	dir, err := newDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeDir(dir); err != nil {
			t.Error(err)
		}
	})
	mount = filepath.Join(dir, "mnt")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, mount
}

// removeDir removes a directory, and before that what is mounted on its mnt. The kernel frees a loop device with its mount.
func removeDir(dir string) error {
	for {
		err := unix.Unmount(filepath.Join(dir, "mnt"), unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) { // not mounted, or no root to mount
			return os.RemoveAll(dir)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
}

// sweep removes the directories of processes that have ended.
func sweep() error {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		n, invalid := strconv.Atoi(pid)
		if invalid == nil && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			err = errors.Join(err, removeDir(dir))
		}
	}
	return err
}

// TestSweep leaves a mount as a process does that was killed.
func TestSweep(t *testing.T) {
	testneed.Root(t)
	dir, mount := mountDir(t)
	const nobody = 1 << 22 // the kernel gives out no such number (proc(5), pid_max)
	left := strings.Replace(dir, strconv.Itoa(os.Getpid()), strconv.Itoa(nobody), 1)
	for _, d := range []string{left, filepath.Join(left, "mnt")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := removeDir(left); err != nil {
			t.Error(err)
		}
	})
	for _, m := range []string{mount, filepath.Join(left, "mnt")} {
		if err := unix.Mount("tmpfs", m, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a process has left is there: %v", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(mount, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Errorf("this process's own mount was swept away: %v", err)
	}
}

// TestPrefixThatCannotBeUsed takes the prefix away in the ways in which systems do that:
// every program starts all the same.
func TestPrefixThatCannotBeUsed(t *testing.T) {
	root, _, _ := serviceRoot(t)
	// The loader maps what it lists, too. hashpkg itself is static.
	const all = `cd /
for p in /usr/bin/* /usr/sbin/*; do
	[ "$(head -c 4 "$p" | tail -c 3)" = ELF ] && [ $p != /usr/bin/hashpkg ] || continue
	n=$((n+1)); said=$(/lib64/ld-linux-x86-64.so.2 --list $p 2>&1 </dev/null) || echo "$p does not start: $said"
done
[ "$(svc)" = 1.0 ] && perl -MPOSIX -e 1 && [ -n "$(apt-get --version)" ] || echo a program fails
echo "$n programs"`
	const user = "setpriv --reuid=65534 --regid=65534 --clear-groups "
	for _, way := range []struct{ name, before, as string }{
		{"as it is", "true", ""},
		{"mounted noexec", "mount --bind /var /var; mount -o remount,bind,noexec /var", ""},
		{"mounted noexec, for a user", "mount --bind /var /var; mount -o remount,bind,noexec /var", user},
		{"the prefix noexec", "mount --bind /var/sys /var/sys; mount -o remount,bind,noexec /var/sys", ""},
		{"not mounted", "mount -t tmpfs none /var", ""},
		{"mode 000, for a user", "chmod 000 /var/sys", user},
		{"the records mode 000, for a user", "chmod 000 /var/sys/.hashpkg", user},
		{"a farm without links", "mount -t tmpfs none /var/sys/current-system/lib64/", ""},
	} {
		out, err := root.RunErr(t.Context(), "sh", "-c", way.before+" && "+way.as+`sh -c "$0"; s=$?; chmod -f 755 /var/sys /var/sys/.hashpkg; exit $s`, all)
		var n int
		if _, scanErr := fmt.Sscanf(out, "%d programs\n", &n); scanErr != nil || err != nil || n < 200 {
			t.Errorf("%s: %v: %s", way.name, err, out)
		}
	}
}
