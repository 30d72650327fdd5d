package hooks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/sysroot"
)

// newRoot makes a root whose files are those given, and returns it with prefix.
func newRoot(t *testing.T, prefix string, files map[string]string) *sysroot.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return open(t, dir, prefix)
}

func open(t *testing.T, dir, prefix string) *sysroot.Root {
	t.Helper()
	root, err := sysroot.Open(dir, prefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

const (
	dpkgFile     = "/etc/dpkg/dpkg.cfg.d/hashpkg"
	apparmorFile = "/etc/apparmor.d/abstractions/base.d/hashpkg"
	selinuxFile  = "/etc/selinux/targeted/contexts/files/file_contexts.subs"
)

// whole is a root that has every reader of hooks.
func whole(t *testing.T, prefix string) *sysroot.Root {
	return newRoot(t, prefix, map[string]string{
		"usr/bin/hashpkg": "", "var/lib/dpkg/status": "", "etc/apparmor.d/abstractions/base": "", "usr/sbin/.keep": "",
		"etc/selinux/config": "# policy\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", selinuxFile: "/srv/www /var/www",
	})
}

// states returns how the files stand, by path.
func states(t *testing.T, s *InstallStatus, err error) map[string]FileState {
	t.Helper()
	if s == nil {
		t.Fatal(err)
	}
	m := map[string]FileState{}
	for _, f := range s.Files {
		m[f.Path] = f.State
	}
	return m
}

func want(t *testing.T, what string, have map[string]FileState, dpkg, apparmor, selinux, prelink FileState) {
	t.Helper()
	for path, state := range map[string]FileState{dpkgFile: dpkg, apparmorFile: apparmor, selinuxFile: selinux, prelinkPath: prelink} {
		if have[path] != state {
			t.Errorf("%s: %s is %q, want %q", what, path, have[path], state)
		}
	}
}

func TestInstall(t *testing.T) {
	root := whole(t, "/var/sys")
	s, err := Status(root)
	want(t, "before", states(t, s, err), Missing, Missing, Missing, Missing)
	if s.Any() {
		t.Error("hooks are said to be installed")
	}
	for _, what := range []string{"first", "second"} {
		s, err = Install(root, nil)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		want(t, what, states(t, s, err), Installed, Installed, Installed, Missing)
	}
	subs, _ := os.ReadFile(filepath.Join(root.Dir(), selinuxFile))
	if string(subs) != "/srv/www /var/www\n/var/sys /usr/lib\n" {
		t.Errorf("SELinux's equivalents are %q", subs)
	}
	profile, _ := os.ReadFile(filepath.Join(root.Dir(), apparmorFile))
	if !strings.Contains(string(profile), "\n/var/sys/*/*/**.so{,.*} mr,\n") || strings.Contains(string(profile), "@") {
		t.Errorf("the abstraction is %s", profile)
	}
	s, err = Install(root, []string{"debsums"})
	want(t, "debsums", states(t, s, err), Installed, Installed, Installed, Installed)

	other := open(t, root.Dir(), "/usr/lib/sys")
	s, err = Status(other)
	want(t, "another prefix", states(t, s, err), Installed, Outdated, Missing, Installed)
	s, err = Install(other, nil)
	want(t, "brought up to date", states(t, s, err), Installed, Installed, Installed, Installed)
	if _, err := Remove(other, []string{"selinux"}); err != nil {
		t.Error(err)
	}

	s, err = Remove(root, nil)
	if err != nil {
		t.Error(err)
	}
	want(t, "removed", states(t, s, err), Missing, Missing, Missing, Missing)
	subs, _ = os.ReadFile(filepath.Join(root.Dir(), selinuxFile))
	if string(subs) != "/srv/www /var/www\n" {
		t.Errorf("SELinux's equivalents are %q", subs)
	}
	if left, _ := filepath.Glob(filepath.Join(root.Dir(), "etc/*/*/*new")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// AppArmor compares paths without links, so where the prefix is a link, the directory
// that it leads to counts as well.
func TestInstallLinkedPrefix(t *testing.T) {
	root := whole(t, "/var/sys")
	if err := os.MkdirAll(filepath.Join(root.Dir(), "srv/sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/srv/sys", filepath.Join(root.Dir(), "var/sys")); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(root, []string{"apparmor"}); err != nil {
		t.Fatal(err)
	}
	profile, err := os.ReadFile(filepath.Join(root.Dir(), apparmorFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"/var/sys", "/srv/sys"} {
		if !strings.Contains(string(profile), "\n"+prefix+"/*/*/**.so{,.*} mr,\n") {
			t.Errorf("no rule for %s in:\n%s", prefix, profile)
		}
	}
}

func TestInstallLeavesWhatSomebodyChanged(t *testing.T) {
	root := whole(t, "/var/sys")
	if _, err := Install(root, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root.Dir(), dpkgFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mine := "# mine\n" + string(b)
	write(t, path, mine)
	write(t, filepath.Join(root.Dir(), prelinkPath), "#!/bin/sh\n")
	write(t, filepath.Join(root.Dir(), selinuxFile), "/var/sys /usr\n")
	s, err := Install(root, []string{"dpkg", "debsums", "SELinux"})
	if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), prelinkPath) || !strings.Contains(err.Error(), dpkgFile) {
		t.Errorf("install: %v", err)
	}
	want(t, "install", states(t, s, err), Changed, Installed, Changed, Changed)
	s, err = Remove(root, nil)
	if !errors.Is(err, ErrChanged) || strings.Contains(err.Error(), prelinkPath) {
		t.Errorf("remove: %v", err)
	}
	want(t, "remove", states(t, s, err), Changed, Missing, Changed, Changed)
	if b, _ := os.ReadFile(path); string(b) != mine {
		t.Error("the administrator's file was written to")
	}
}

func TestInstallNeedsReaders(t *testing.T) {
	if _, err := Install(newRoot(t, "/var/sys", map[string]string{"var/lib/dpkg/status": ""}), nil); err == nil {
		t.Error("installed where hashpkg is not")
	}
	root := newRoot(t, "/var/sys", map[string]string{"usr/bin/hashpkg": "", "var/lib/rpm/rpmdb.sqlite": ""})
	s, err := Install(root, nil)
	for path, state := range states(t, s, err) {
		if state != Missing {
			t.Errorf("%s is %s", path, state)
		}
	}
	if len(s.Notes) != 1 {
		t.Errorf("notes: %q", s.Notes)
	}
	if _, err := Install(root, []string{"selinux"}); !errors.Is(err, ErrReader) {
		t.Errorf("SELinux's in a root without: %v", err)
	}
	if _, err := Install(open(t, whole(t, "/var/sys").Dir(), "/opt/a b"), nil); err == nil || !strings.Contains(err.Error(), "AppArmor") {
		t.Errorf("a prefix with a space: %v", err)
	}
}
