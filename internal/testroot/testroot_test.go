package testroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each test of a real root makes one, so a root serves for several subtests.
func TestDebian(t *testing.T) {
	t.Parallel()
	start := time.Now()
	root := Debian(t, "bookworm", "")
	t.Logf("the root was there after %v", time.Since(start).Round(time.Millisecond))

	t.Run("dpkg knows its packages", func(t *testing.T) {
		root := root.With(t)
		if out := root.Run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", "apt", "libc6"); out != "apt ii \nlibc6 ii \n" {
			t.Errorf("dpkg-query said %q", out)
		}
		if out := root.Run("dpkg", "--verify"); out != "" {
			t.Errorf("dpkg --verify said %q", out)
		}
	})
	t.Run("environment", func(t *testing.T) {
		root := root.With(t)
		out := root.Run("sh", "-c", "echo $LC_ALL $DEBIAN_FRONTEND $HOME; pwd; cat; [ $$ -lt 50 ] && cat /proc/1/comm; echo x >/dev/null; ls /dev/fd/0")
		want := "C noninteractive /root\n/\nsh\n/dev/fd/0\n"
		if diff := cmp.Diff(want, out); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if mounts := must(os.ReadFile("/proc/self/mounts"))(t); strings.Contains(string(mounts), root.Dir) {
			t.Error("a mount in the root is seen outside")
		}
	})
	t.Run("failure", func(t *testing.T) {
		root := root.With(t)
		out, err := root.RunErr(context.Background(), "sh", "-c", "echo said; exit 7")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 || out != "said\n" {
			t.Errorf("got %q, %v", out, err)
		}
	})
	t.Run("pivoted", func(t *testing.T) {
		root := root.With(t)
		for _, id := range []int{0, 1000} {
			script := "id -u; id -G; unshare -U -r -m sh -c 'mount -t tmpfs x /mnt && id -u'; cat /proc/net/dev | grep -c lo:; grep -c machine /proc/self/mounts; ls /dev/machine 2>&1"
			out, err := root.PivotCommand(t.Context(), id, "sh", "-c", script).CombinedOutput()
			want := fmt.Sprintf("%[1]d\n%[1]d\n0\n1\n0\nls: cannot access '/dev/machine': No such file or directory\n", id)
			if diff := cmp.Diff(want, string(out)); diff != "" {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		}
		out, err := root.Command(t.Context(), "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-U", "true").CombinedOutput()
		if err == nil {
			t.Errorf("a user namespace is made in a chroot: %s", out)
		}
	})
	t.Run("processes end with the command", func(t *testing.T) {
		root := root.With(t)
		sleep := fmt.Sprintf("sleep 98765.%d", os.Getpid()) // not that of another test process
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := root.RunErr(ctx, "sh", "-c", "setsid "+sleep+" & "+sleep)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		root.Run("sh", "-c", "setsid "+sleep+" >/dev/null 2>&1 &")
		if out, err := exec.Command("pgrep", "-x", "-f", sleep).Output(); err == nil {
			t.Errorf("still there: %s", out)
		}
	})
	t.Run("loads", func(t *testing.T) {
		root := root.With(t)
		loads := root.Loads()
		if failures := loads.Failures(); len(failures) > 0 {
			t.Errorf("%q", failures)
		}
		libraries := loads["/usr/bin/grep"].Libraries
		if len(loads) < 300 || libraries["libc.so.6"] == "" || libraries["libpcre2-8.so.0"] == "" {
			t.Errorf("%d executables; grep loads %q", len(loads), libraries)
		}
		if diff := loads.Diff(loads, nil); len(diff) > 0 {
			t.Errorf("differs from itself: %q", diff)
		}
	})
	t.Run("loop", func(t *testing.T) {
		root := root.With(t)
		starts := root.Loop("sh", "-c", "! [ -e /fail ] || { echo because; exit 3; }")
		root.WriteFile("/fail", "", 0o644)
		for starts.Failing() == 0 { // what succeeded before may be reported late
			time.Sleep(10 * time.Millisecond)
		}
		n, failures := starts.StopErr()
		if len(failures) == 0 || len(failures) >= n || !strings.HasSuffix(failures[0], ": status 3: because") {
			t.Errorf("%d starts: %q", n, failures)
		}
	})
}

// A library is upgraded by apt while programs that use it are started.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	root := Debian(t, "bookworm", "")
	repo := root.Repo()
	repo.Add(root.FetchMissing("jq")...)
	root.Run("apt-get", "-y", "-q", "install", "jq")
	debs := root.Fetch("libjq1", "jq", "libpcre2-8-0", "zlib1g")
	before := root.Loads()

	repo.Add(Rebuild(t, Change{Suffix: "+new1", Note: true}, debs...)...)
	grep, jq := root.Loop("grep", "-q", "root", "/etc/passwd"), root.Loop("dpkg-deb", "--help")
	root.Run("apt-get", "-y", "-q", "dist-upgrade")
	t.Logf("%d starts of grep, %d of dpkg-deb", grep.Stop(), jq.Stop())

	versions := root.Run("dpkg-query", "-W", "-f", "${Version}\n", "jq", "libjq1", "libpcre2-8-0", "zlib1g")
	if strings.Count(versions, "+new1\n") != 4 {
		t.Errorf("versions after the upgrade:\n%s", versions)
	}
	if out := root.Run("dpkg", "--verify"); out != "" {
		t.Errorf("dpkg --verify said %q", out)
	}
	if out := root.Run("sh", "-c", `echo '{"a":[1]}' | jq -c .a`); out != "[1]\n" {
		t.Errorf("jq said %q", out)
	}
	after := root.Loads()
	diff := before.Diff(after, root.SameFile)
	for _, line := range diff {
		if !strings.Contains(line, ": libpcre2-8.so.0") { // it is a link to a file of another name
			t.Errorf("%s", line)
		}
	}
	if failures := after.Failures(); len(failures) > 0 {
		t.Errorf("%q", failures)
	}
	library := root.Path("/usr/lib/x86_64-linux-gnu/libjq.so.1")
	if out := must(exec.Command("readelf", "--notes", library).Output())(t); !strings.Contains(string(out), "testroot") {
		t.Errorf("no note in the new library: %s", out)
	}
}

// dpkg runs its triggers for directories; a package without any is installed
// all the same, but runs none.
func TestRebuildWithoutDirectories(t *testing.T) {
	t.Parallel()
	root := Debian(t, "bookworm", "")
	repo := root.Repo()
	repo.Add(root.FetchMissing("jq")...)
	root.Run("apt-get", "-y", "-q", "install", "jq")
	debs := Rebuild(t, Change{Suffix: "+new1", NoDirs: true, Edit: func(name, dir string) error {
		return os.WriteFile(filepath.Join(dir, "usr/share/doc", name, "more"), []byte("more\n"), 0o644)
	}}, root.Fetch("jq", "libjq1")...)
	for _, deb := range debs {
		if out := must(exec.Command("dpkg-deb", "-c", deb).Output())(t); strings.HasPrefix(string(out), "d") || strings.Contains(string(out), "\nd") {
			t.Errorf("%s has directories:\n%s", deb, out)
		}
	}
	repo.Add(debs...)
	root.Run(append([]string{"dpkg", "-i"}, repo.Paths(debs...)...)...)
	if out := root.Run("dpkg", "--verify"); out != "" {
		t.Errorf("dpkg --verify said %q", out)
	}
	if got := root.ReadFile("/usr/share/doc/jq/more"); got != "more\n" {
		t.Errorf("got %q", got)
	}
	root.Run("jq", "-n", "1")
}

func TestForeign(t *testing.T) {
	t.Parallel()
	arch := "arm64"
	if hostArch(t) == arch {
		arch = "amd64"
	}
	root := Debian(t, "bookworm", arch, "jq")
	out := must(exec.Command("dpkg-query", "--admindir", root.Path("/var/lib/dpkg"), "-W", "-f", "${Package}:${Architecture} ${db:Status-Abbrev}\n", "jq", "libjq1").CombinedOutput())(t)
	if want := "jq:" + arch + " ii \nlibjq1:" + arch + " ii \n"; string(out) != want {
		t.Errorf("dpkg-query said %q", out)
	}
	if out := must(exec.Command("dpkg", "--root", root.Dir, "--verify").CombinedOutput())(t); len(out) != 0 {
		t.Errorf("dpkg --verify said %q", out)
	}
	if out := must(exec.Command("dpkg-query", "--admindir", root.Path("/var/lib/dpkg"), "-S", "/usr/bin/jq").CombinedOutput())(t); !strings.HasSuffix(string(out), ": /usr/bin/jq\n") {
		t.Errorf("dpkg-query said %q", out)
	}
}

func TestParseLoads(t *testing.T) {
	got := parseLoads("== /bin/a\n\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f4f)\n\tlibx.so => not found\n\t/lib64/ld.so (0x00007f)\n\n-- 0\n" +
		"== /bin/b (0x1)\nsh: ld.so: not found\n\n-- 127\n")
	want := Loads{
		"/bin/a":       {Libraries: map[string]string{"libc.so.6": "/lib/libc.so.6", "libx.so": "", "/lib64/ld.so": "/lib64/ld.so"}, Err: "libx.so => not found"},
		"/bin/b (0x1)": {Libraries: map[string]string{}, Err: "status 127: sh: ld.so: not found"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestChangeVersions(t *testing.T) {
	control := "Package: b\nVersion: 1:2-3\nDepends: a (= 1:2-3), aa (= 1:2-3), a:any (= 1:2-3) | a (>= 1:2-3)\n"
	want := "Package: b\nVersion: 1:2-3+n\nDepends: a (= 1:2-3+n), aa (= 1:2-3), a:any (= 1:2-3+n) | a (>= 1:2-3)\n"
	if diff := cmp.Diff(want, changeVersions(control, "+n", map[string]string{"a": "1:2-3"})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A process that is killed has no time to clean up.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("TESTROOT_KILLED"); dir != "" { // the process that is killed
		if _, err := removeLater(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "started"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "TESTROOT_KILLED="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the process to start", func() bool { _, err := os.Stat(filepath.Join(dir, "started")); return err == nil })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitFor(t, "the directory to vanish", func() bool { _, err := os.Stat(dir); return errors.Is(err, os.ErrNotExist) })
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
