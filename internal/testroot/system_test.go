//go:build system

package testroot

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

func TestSystemBoot(t *testing.T) {
	root := Debian(t, "bookworm", "amd64", BootPackages...)

	t.Run("initial file system", func(t *testing.T) {
		m := root.With(t).Boot(BootOptions{})
		t.Logf("the shell answered after %v", m.Took.Round(time.Second))
		if out := m.Run("cat /proc/cmdline; ls /scripts"); !strings.Contains(out, "break=premount") || !strings.Contains(out, "functions") {
			t.Errorf("the machine said %q", out)
		}
		if _, status, err := m.RunErr(t.Context(), "exit_status() { return 3; }; exit_status"); err != nil || status != 3 {
			t.Errorf("status %d, %v", status, err)
		}
	})
	t.Run("disk", func(t *testing.T) {
		root := root.With(t)
		root.WriteFile("/marker", "here\n", 0o644)
		m := root.Boot(BootOptions{Disk: true})
		t.Logf("the shell answered after %v", m.Took.Round(time.Second))
		if out := m.Run("cat /marker; dpkg-query -W -f '${Package}' libc6"); !strings.HasPrefix(out, "here\nlibc6") {
			t.Errorf("the machine said %q", out)
		}
		m.Run("/lib64/ld-linux-x86-64.so.2 --list /bin/ls")
	})
}

func TestSystemLarge(t *testing.T) {
	start := time.Now()
	root := Debian(t, "bookworm", "amd64", LargePackages...)
	t.Logf("unpacked after %v", time.Since(start).Round(time.Second))
	n := strings.Count(root.Run("dpkg-query", "-W"), "\n")
	t.Logf("%d packages, %s MiB", n, strings.Fields(root.Run("du", "-smx", "/"))[0])
	if n < 800 {
		t.Errorf("the root has %d packages", n)
	}
	start = time.Now()
	loads := root.Loads()
	t.Logf("%d programs were asked for in %v", len(loads), time.Since(start).Round(time.Second))
	for _, line := range loads.Failures() {
		if !strings.Contains(line, ": status 127: ") { // a program of another architecture, whose loader is not there
			t.Error(line)
		}
	}
}

func TestSystemRPM(t *testing.T) {
	start := time.Now()
	root := RPM(t)
	t.Logf("unpacked after %v", time.Since(start).Round(time.Millisecond))
	if n := strings.Count(root.RPM("-qa"), "\n"); n < 70 || n != len(root.New) || len(root.Old) == 0 {
		t.Errorf("the root has %d packages, of %d new and %d old ones", n, len(root.New), len(root.Old))
	}
	root.Run("jq", "-n", "1")
	before := root.Loads()
	if failures := before.Failures(); len(failures) > 0 {
		t.Errorf("%q", failures)
	}

	old := ""
	for _, file := range root.Old {
		if strings.HasPrefix(filepath.Base(file), "libjq1-") {
			old = file
		}
	}
	if old == "" {
		testneed.Unmet(t, "there is no older libjq1")
	}
	now := root.RPM("-q", "libjq1")
	starts := root.Loop("grep", "-q", "root", "/etc/passwd")
	root.RPM("-U", "--oldpackage", "--nodeps", old)
	if back := root.RPM("-q", "libjq1"); back == now {
		t.Errorf("libjq1 is still %s", now)
	}
	root.Run("jq", "-n", "1")
	if diff := before.Diff(root.Loads(), nil); len(diff) > 0 {
		t.Errorf("%q", diff)
	}
	t.Logf("%d starts of grep", starts.Stop())
}

// All packages of a minimal system, the C library and dpkg among them, are
// replaced by higher versions with other bytes.
func TestSystemUpgradeAll(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			root := Debian(t, suite, "")
			installed := strings.Fields(root.Run("dpkg-query", "-W", "-f", "${Package}=${Version}\n"))
			before := root.Loads()
			start := time.Now()
			debs := Rebuild(t, Change{Suffix: "+new1", Note: true}, root.Fetch(installed...)...)
			t.Logf("%d packages rebuilt in %v", len(debs), time.Since(start).Round(time.Second))
			root.Repo().Add(debs...)

			start = time.Now()
			loops := []*Loop{root.Loop("grep", "-q", "root", "/etc/passwd"), root.Loop("perl", "-e", "1"), root.Loop("ls", "-l", "/")}
			root.Run("apt-get", "-y", "-q", "dist-upgrade")
			starts := 0
			for _, loop := range loops {
				starts += loop.Stop()
			}
			t.Logf("upgraded in %v, while programs started %d times", time.Since(start).Round(time.Second), starts)

			for _, version := range strings.Fields(root.Run("dpkg-query", "-W", "-f", "${Version}\n")) {
				if !strings.HasSuffix(version, "+new1") {
					t.Errorf("a package still has version %s", version)
				}
			}
			if out := root.Run("dpkg", "--verify"); out != "" {
				t.Errorf("dpkg --verify said %q", out)
			}
			if diff := before.Diff(root.Loads(), nil); len(diff) > 0 {
				t.Errorf("%q", diff)
			}
		})
	}
}
