package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/sandbox"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// box returns a box with the machine's own /usr under a directory that has usr/share/own,
// whose program is a shell that runs a script.
func box(t *testing.T, script string) *sandbox.Box {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"usr/share/own": "own\n", "tree/file": "tree\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	open := func(path string) *beneath.Dir {
		d, err := beneath.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	b := &sandbox.Box{
		Usr: []*beneath.Dir{open(filepath.Join(dir, "usr")), open("/usr")}, Dirs: map[string]*beneath.Dir{"/var/sys/tree/1": open(filepath.Join(dir, "tree"))},
		Links: map[string]string{}, Out: "/out", OutLinks: map[string]string{"in/own": "/usr/share/own"},
		Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/usr/sbin"},
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64"} {
		if _, err := os.Readlink("/" + name); err == nil {
			b.Links["/"+name] = "usr/" + name
		} else if _, err := os.Stat("/" + name); err == nil {
			b.Dirs["/"+name] = open("/" + name)
		}
	}
	return b
}

// asBoth runs a test as root and, in a process of its own, as another user.
func asBoth(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		test(t)
		return
	}
	t.Run("root", test)
	t.Run("user", func(t *testing.T) {
		dir := t.TempDir()
		for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		program := filepath.Join(dir, "test")
		self, err := os.ReadFile("/proc/self/exe")
		if err == nil {
			err = os.WriteFile(program, self, 0o755)
		}
		work := filepath.Join(dir, "work")
		if err = errors.Join(err, os.Mkdir(work, 0o755), os.Chown(work, 1000, 1000)); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(t.Name(), "/")
		cmd := exec.Command(program, "-test.run=^"+name+"$", "-test.v")
		cmd.Dir, cmd.Env = work, append(os.Environ(), "TMPDIR="+work)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "SKIP") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestRun: a program sees what it is shown, and its output is had.
func TestRun(t *testing.T) {
	testneed.Programs(t, "sh", "sort")
	asBoth(t, func(t *testing.T) {
		b := box(t, "cat /usr/share/own /var/sys/tree/1/file /out/in/own; mkdir /out/a; echo made >/out/a/b; echo x | sort >/tmp/x")
		out, err := b.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Dir.Close()
		if string(out.Printed) != "own\ntree\nown\n" {
			t.Errorf("it prints %q", out.Printed)
		}
		if made, err := out.Dir.ReadFile("a/b", 100); err != nil || string(made) != "made\n" {
			t.Errorf("it has written %q, %v", made, err)
		}
	})
}

// TestApart: a program can change nothing, reaches nothing and has no rights.
func TestApart(t *testing.T) {
	testneed.Programs(t, "sh", "setpriv", "ip", "unshare", "ls")
	outside := filepath.Join(t.TempDir(), "outside")
	asBoth(t, func(t *testing.T) {
		for name, script := range map[string]string{
			"write to usr":        "echo x >/usr/share/x",
			"write to a tree":     "echo x >/var/sys/tree/1/x",
			"change a file":       "echo x >/usr/share/own",
			"write to the root":   "echo x >/x || mkdir /y",
			"write to dev":        "echo x >/dev/x",
			"write by a link":     "echo x >/out/in/own",
			"see the machine":     "ls /etc/passwd || ls /root || ls /home || ls /proc/1 || ls /sys/kernel || ls " + outside,
			"mount":               "mount -t tmpfs none /out",
			"mount as its own":    "unshare -rm mount -o remount,rw /usr",
			"a network":           "ip -o link | grep -v ' lo:' | grep .",
			"rights":              "mknod /out/null c 1 3 || chown 12345 /out",
			"rights to get":       "! setpriv --dump | grep -q 'no_new_privs: 1'",
			"to be root":          "test $(id -u) = 0",
			"descriptors":         "test -e /dev/fd/3 || : 2>/dev/null >&3",
			"many files":          "i=0; while [ $i -lt 60000 ]; do : >/out/$i || exit 1; i=$((i+1)); done",
			"see other processes": "kill -0 2",
		} {
			t.Run(name, func(t *testing.T) {
				out, err := box(t, "("+script+") 2>/dev/null || exit 77").Run(t.Context())
				if err == nil {
					t.Errorf("it can, and prints %q", out.Printed)
				} else if !strings.HasSuffix(err.Error(), "exit status 77") {
					t.Error(err)
				}
			})
		}
	})
}

func TestFails(t *testing.T) {
	testneed.Programs(t, "sh")
	for _, test := range []struct{ script, want string }{
		{"echo first >&2; printf 'out of \\033[1mit\\n' >&2; exit 3", "/bin/sh: exit status 3: out of ?[1mit"},
		{"kill -9 $$; exit 4", "exit status 4"}, // the first process of a namespace is not to be killed from within
		{"while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", "it prints more than"},
	} {
		if _, err := box(t, test.script).Run(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want %q", test.script, err, test.want)
		}
	}
	b := box(t, "")
	b.Args = []string{"/usr/share/own"}
	if _, err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "execute it: permission denied") {
		t.Errorf("the error is %v", err)
	}
}

// TestEnds: what a program has started ends with it, and it ends when nobody waits any more.
func TestEnds(t *testing.T) {
	testneed.Programs(t, "sh", "sleep")
	mark := fmt.Sprintf("%d.%d", 600+os.Getpid()%100, os.Getpid())
	if _, err := box(t, "sleep "+mark+" >/dev/null 2>&1 &").Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := box(t, "sleep "+mark).Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	for _, dir := range must(filepath.Glob("/proc/[0-9]*"))(t) {
		if b, err := os.ReadFile(dir + "/cmdline"); err == nil && strings.HasPrefix(string(b), "sleep\x00"+mark) {
			t.Errorf("%s runs: %q", dir, b)
		}
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
