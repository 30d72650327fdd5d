package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/sandbox"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// writingBox returns a box like box's whose program may write to /usr, /etc and /var, and the
// directory whose files /usr and /etc have.
func writingBox(t *testing.T, script string) (*sandbox.Box, string) {
	t.Helper()
	b := box(t, script)
	dir := filepath.Dir(b.Usr[0].Name())
	etc := filepath.Join(dir, "etc")
	if err := errors.Join(os.MkdirAll(etc+"/sub", 0o755), os.WriteFile(etc+"/sub/conf", []byte("conf\n"), 0o644), os.WriteFile(etc+"/old", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	d, err := beneath.Open(etc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	b.Dirs["/etc"], b.Out, b.OutLinks = d, "/.changes", nil
	b.Writes = []string{"/usr", "/etc", "/var"}
	delete(b.Dirs, "/var/sys/tree/1")
	return b, dir
}

// needRoot skips a test of what only root can do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
}

// TestWrites: a program changes what it is shown, what it was shown stays, and the changes
// are had.
func TestWrites(t *testing.T) {
	testneed.Programs(t, "sh", "rm", "chown", "mkdir")
	needRoot(t)
	b, dir := writingBox(t, `set -e
test "$(id -u)" = 0
test "$(ulimit -d)" -le 4194304; test "$(ulimit -v)" -gt 67108864 # which a Java machine reserves
cat /etc/sub/conf
echo more >>/etc/sub/conf; rm /etc/old; echo x >>/usr/share/own
mkdir -p /usr/lib/new /var/lib/some; echo new >/usr/lib/new/file; chown 33:65534 /usr/lib/new/file
echo v >/var/lib/some/file; ln -s /etc/sub /etc/link
chmod 4755 /usr/lib/new/file; echo run >/run/pid`)
	out, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Dir.Close()
	if string(out.Printed) != "conf\n" {
		t.Errorf("it prints %q", out.Printed)
	}
	for name, want := range map[string]string{"etc/sub/conf": "conf\nmore\n", "usr/share/own": "own\nx\n", "usr/lib/new/file": "new\n", "var/lib/some/file": "v\n"} {
		if got, err := out.Dir.ReadFile(name, 100); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
	if st, err := out.Dir.Lstat("usr/lib/new/file"); err != nil || st.Uid != 33 || st.Gid != 65534 {
		t.Errorf("the owner is not what was given: %+v, %v", st, err)
	}
	if st, err := out.Dir.Lstat("etc/old"); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("what was removed is no whiteout: %+v, %v", st, err)
	}
	if to, err := out.Dir.Readlink("etc/link"); err != nil || to != "/etc/sub" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	for name, want := range map[string]string{"etc/sub/conf": "conf\n", "etc/old": "", "usr/share/own": "own\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s outside is %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"/usr/lib/new", "/var/lib/some", "/run/pid"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("the machine has %s", name)
		}
	}
}

// TestWritesApart: a program that is root in its box is nobody outside of it.
func TestWritesApart(t *testing.T) {
	testneed.Programs(t, "sh", "mount", "unshare", "chroot", "mknod", "setpriv", "ip", "ls", "hostname")
	needRoot(t)
	outside := t.TempDir()
	for name, script := range map[string]string{
		"write to the root":   "echo x >/x || mkdir /y",
		"write to dev":        "echo x >/dev/x || rm /dev/null || chmod 600 /dev/null",
		"see the machine":     "ls /root || ls /home || ls /sys/kernel || ls /.changes/etc || ls /etc/shadow || ls " + outside,
		"see the kernel":      "ls /proc/sys || ls /proc/kcore || ls /proc/cmdline || ls /proc/sysrq-trigger || ls /proc/self/root/proc/bus",
		"see processes":       "for p in /proc/[0-9]*; do n=$((n+1)); done; test $n -gt 4 || ls /proc/1/root/root || cat /proc/1/environ | grep -a HOME=/root",
		"escape the killer":   "echo -1000 >/proc/self/oom_score_adj",
		"mount":               "mount -t tmpfs none /var || mount --bind /etc /var || umount /usr || mount -o remount,rw /",
		"mount as its own":    "unshare -m true || unshare -rm mount -o remount,rw / || unshare -rm umount /usr",
		"chroot":              "chroot / /bin/true",
		"devices":             "mknod /var/d b 254 0 || mknod /etc/null c 1 3 || mknod /usr/mem c 1 1",
		"a network":           "ip -o link | grep -v ' lo:' | grep . || ip link set lo up",
		"other processes":     fmt.Sprintf("kill -0 %d || kill -0 -1", os.Getpid()),
		"the host's name":     "hostname other",
		"rights to get":       "! setpriv --dump | grep -q 'no_new_privs: 1'",
		"rights over devices": "setpriv --dump | grep -E '(sys_|net_|mknod|dac_read_search|setfcap|bpf|linux_imm)'",
		"all users":           "chown 65536 /var || chown 4294967294 /etc",
		"many files":          "i=0; while [ $i -lt 60000 ]; do : >/usr/$i || exit 1; i=$((i+1)); done",
		"much space":          "head -c 600000000 /dev/zero >/var/1 || exit 1; : ",
		"much space in parts": "for i in 1 2 3; do head -c 250000000 /dev/zero >/etc/$i || exit 1; done",
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := writingBox(t, "("+script+") 2>/dev/null || exit 77")
			if out, err := b.Run(t.Context()); err == nil {
				t.Errorf("it can, and prints %q", out.Printed)
				out.Dir.Close()
			} else if !strings.HasSuffix(err.Error(), "exit status 77") {
				t.Error(err)
			}
		})
	}
}

// TestWritesEnds: nothing of a program that fails, hangs or starts others stays.
func TestWritesEnds(t *testing.T) {
	testneed.Programs(t, "sh", "sleep", "setsid")
	needRoot(t)
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := writingBox(t, "(sleep 600 >/dev/null 2>&1 &) ; echo x >/usr/share/own; exit 3")
	start := time.Now()
	if _, err := b.Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "exit status 3") {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("what it has started is waited for %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	mark := fmt.Sprintf("%d.%d", 700+os.Getpid()%100, os.Getpid())
	b, _ = writingBox(t, "trap '' TERM INT; (trap '' TERM; setsid sleep "+mark+") & sleep "+mark+"; sleep "+mark)
	if _, err := b.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error of one that hangs is %v", err)
	}
	for _, dir := range must(filepath.Glob("/proc/[0-9]*"))(t) {
		if b, err := os.ReadFile(dir + "/cmdline"); err == nil && strings.HasPrefix(string(b), "sleep\x00"+mark) {
			t.Errorf("%s runs: %q", dir, b)
		}
	}
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || string(after) != string(before) {
		t.Errorf("mounts are left: %s, %v", after, err)
	}
}

// TestWritesAsRoot: a user is told that only root can.
func TestWritesAsRoot(t *testing.T) {
	testneed.Programs(t, "sh")
	asBoth(t, func(t *testing.T) {
		b, _ := writingBox(t, "exit 3")
		_, err := b.Run(t.Context())
		if is := errors.Is(err, sandbox.ErrNotRoot); is != (os.Geteuid() != 0) {
			t.Errorf("the error is %v", err)
		}
	})
}
