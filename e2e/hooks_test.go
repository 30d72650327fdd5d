package e2e

import (
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestHooksFollowDpkg lets dpkg and apt call hashpkg by its hooks.
func TestHooksFollowDpkg(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(first...)
	root.Run("apt-get", "-y", "-q", "install", "svc")
	if out := root.Run("ldd", "/usr/bin/svc"); !strings.Contains(out, "/var/sys/current-system/lib64/libsvc.so.1") {
		t.Fatalf("svc does not search the farm: %s", out)
	}
	check := func(what string) {
		t.Helper()
		for _, args := range [][]string{{"check"}, {"verify", "--system"}, {"verify"}} {
			if out, err := root.RunErr(t.Context(), append([]string{"hashpkg"}, args...)...); err != nil {
				t.Errorf("%s: %q: %v: %s", what, args, err, out)
			}
		}
		if out := root.Run("dpkg", "--audit"); out != "" {
			t.Errorf("%s: dpkg --audit says %s", what, out)
		}
		root.Run("svc")
	}
	check("installed")

	// The library's postinst starts the service before any hook after unpacking.
	starts := root.Loop("svc")
	repo.Add(second[0])
	root.Run("apt-get", "-y", "-q", "install", "libsvc1")
	if log := root.ReadFile("/var/log/svc"); log != "1.0\n2.0\n" {
		t.Errorf("the service that the upgrade started has loaded %q", log)
	}
	check("upgraded")
	if out := root.Run("svc"); out != "2.0\n" {
		t.Errorf("svc says %q", out)
	}
	if out := root.Run("ls", "/var/sys/libsvc1"); out != "1.0\n2.0\ndefault\n" {
		t.Errorf("the trees are %q", out)
	}
	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	if out := root.Run("svc"); out != "1.0\n" {
		t.Errorf("the pinned svc says %q", out)
	}
	root.Run("hashpkg", "unpin", "svc")

	// dpkg alone, in two steps, and what has no directories in it.
	root.Run("dpkg", "--unpack", repo.Path(first[0]))
	if out := root.Run("svc"); out != "1.0\n" {
		t.Errorf("between unpacking and configuring svc says %q", out)
	}
	root.Run("dpkg", "--configure", "libsvc1")
	check("downgraded by dpkg in two steps")
	bare := testroot.Rebuild(t, testroot.Change{Suffix: "+bare1", NoDirs: true, Note: true}, first[0])
	repo.Add(bare...)
	root.Run("dpkg", "-i", repo.Path(bare[0]))
	check("without directory entries")
	if out := root.Run("readlink", "-f", "/var/sys/libsvc1/default"); !strings.Contains(out, "bare1") {
		t.Errorf("the default tree is %s", out)
	}
	if out := root.Run("readlink", "/var/sys/current-system/lib64/libsvc.so.1"); !strings.HasSuffix(out, "/usr/lib/x86_64-linux-gnu/libsvc.so.1\n") {
		t.Errorf("the farm leads to %s", out)
	}
	if n := starts.Stop(); n < 20 {
		t.Errorf("svc was started %d times only", n)
	}
	root.Run("apt-get", "-y", "-q", "remove", "svc")
	root.Run("dpkg", "-P", "libsvc1")
	for _, args := range [][]string{{"check"}, {"verify", "--system"}} {
		root.Run(append([]string{"hashpkg"}, args...)...)
	}
}

// TestHooksFailGently breaks hashpkg under dpkg's feet: dpkg does not notice, check
// tells, and the next run repairs.
func TestHooksFailGently(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(append(first, second[0])...)
	root.Run("dpkg", "-i", repo.Path(first[0]), repo.Path(first[1]))

	for _, fault := range []struct{ name, script string }{
		{"killed", "#!/bin/sh\ncase $2 in after) kill -9 $$;; esac\nexec /usr/bin/hashpkg.real \"$@\"\n"},
		{"failing", "#!/bin/sh\ncase $2 in after) exit 7;; esac\nexec /usr/bin/hashpkg.real \"$@\"\n"},
	} {
		root.Run("mv", "/usr/bin/hashpkg", "/usr/bin/hashpkg.real")
		root.WriteFile("/usr/bin/hashpkg", fault.script, 0o755)
		root.Run("dpkg", "-i", repo.Path(second[0]))
		if out := root.Run("svc"); out != "2.0\n" {
			t.Errorf("%s: svc says %q", fault.name, out)
		}
		root.Run("mv", "/usr/bin/hashpkg.real", "/usr/bin/hashpkg")
		if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil {
			t.Errorf("%s: check finds nothing: %s", fault.name, out)
		}
		root.Run("hashpkg", "sync")
		root.Run("hashpkg", "check")
		root.Run("hashpkg", "verify", "--system")
		root.Run("dpkg", "-i", repo.Path(first[0]))
	}
	// Two package managers' hooks at once, and a sync besides.
	root.Run("sh", "-c", "for i in 1 2 3 4 5; do hashpkg hook after & hashpkg sync & done; wait")
	root.Run("hashpkg", "check")
}
