package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// capableRoot returns a root with a package whose programs need a view, and what runs
// hashpkg in it: it returns the status and what was said.
func capableRoot(t *testing.T) (root string, command func(args ...string) (int, string)) {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "getcap", "setcap")
	root = filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	command = func(args ...string) (int, string) {
		t.Helper()
		return run(t, exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...))
	}
	if status, said := command("install", "-q", toolDeb(t, "1")); status != 0 {
		t.Fatal(said)
	}
	return root, command
}

func toolDeb(t *testing.T, version string) string {
	t.Helper()
	return writeDeb(t, t.TempDir(), testdeb.Package{Name: "tool", Version: version, Files: []testdeb.File{
		{Path: "usr/bin/tool", Content: "#!/bin/sh\n", Mode: 0o755},
		{Path: "usr/bin/other", Content: "#!/bin/sh\n", Mode: 0o755},
		{Path: "usr/share/tool/data", Content: version},
	}})
}

const toolLauncher = "var/sys/tool/1/bin/tool"

// capabilities returns which files of a root have capabilities, by libcap's own program.
func capabilities(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.Command("getcap", "-r", root).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.ReplaceAll(string(out), root+"/", ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func wantStatus(t *testing.T, want int, text string, status int, said string) {
	t.Helper()
	if status != want || !strings.Contains(said, text) {
		t.Errorf("status %d: %s; want %d, and %q", status, said, want, text)
	}
}

// TestCapability gives a launcher a capability and takes it back: it is one file's, no
// object's and no other launcher's; verify knows it, repair gives it again, a later version
// has it too, and what takes it back takes it from all.
func TestCapability(t *testing.T) {
	root, command := capableRoot(t)
	do := func(args ...string) {
		t.Helper()
		status, said := command(args...)
		wantStatus(t, 0, "", status, said)
	}
	want := func(what, want string) {
		t.Helper()
		if got := capabilities(t, root); got != want {
			t.Errorf("%s: capabilities are\n%swant\n%s", what, got, want)
		}
		do("verify", "-q", "--all")
	}
	want("installed", "")
	before, err := os.ReadFile(filepath.Join(root, toolLauncher))
	if err != nil {
		t.Fatal(err)
	}
	do("view", "-q", "--capability", "tool")
	const first = toolLauncher + " cap_sys_admin=ep\n"
	want("given", first)
	mustRun(t, "setcap", "-v", "cap_sys_admin+ep", filepath.Join(root, toolLauncher))
	info, err := os.Lstat(filepath.Join(root, toolLauncher))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Nlink != 1 || st.Uid != 0 || st.Gid != 0 || info.Mode() != 0o755 {
		t.Errorf("it has %d links, mode %v, owner %d:%d", st.Nlink, info.Mode(), st.Uid, st.Gid)
	}
	if after, err := os.ReadFile(filepath.Join(root, toolLauncher)); err != nil || string(after) != string(before) {
		t.Errorf("it has other bytes (%v)", err)
	}
	do("view", "-q", "--capability", "tool")
	want("given twice", first)

	mustRun(t, "setcap", "-r", filepath.Join(root, toolLauncher))
	status, said := command("verify", "-q")
	wantStatus(t, 3, "", status, said)
	do("verify", "-q", "--repair")
	want("mended", first)
	if err := os.WriteFile(filepath.Join(root, toolLauncher), []byte("#!/bin/sh\n"), 0o755); err != nil { // which takes the capability
		t.Fatal(err)
	}
	do("verify", "-q", "--repair")
	want("mended again", first)

	do("install", "-q", toolDeb(t, "2"))
	want("with a later version", first+"var/sys/tool/2/bin/tool cap_sys_admin=ep\n")
	do("view", "-q", "--none", "tool")
	want("without a view", "")
	do("view", "-q", "--capability", "tool")
	do("view", "-q", "--auto", "tool")
	want("taken back", "")
	do("rollback", "-q")
	want("rolled back", "")

	other := writeDeb(t, t.TempDir(), testdeb.Package{Name: "other", Version: "1"})
	do("view", "-q", "--capability", "tool")
	want("given again", first+"var/sys/tool/2/bin/tool cap_sys_admin=ep\n")
	do("remove", "-q", "tool")
	for range 2 { // until no generation has it
		do("install", "-q", other)
		do("remove", "-q", "other")
	}
	do("gc", "-q", "--keep", "1", "--keep-versions", "0")
	do("install", "-q", toolDeb(t, "1"))
	do("gc", "-q", "--keep", "1", "--keep-versions", "0")
	want("removed with the program, and installed anew", "")
}

// TestCapabilityOfGoodBytes: an object that somebody has changed gets none.
func TestCapabilityOfGoodBytes(t *testing.T) {
	root, command := capableRoot(t)
	file := filepath.Join(root, toolLauncher)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil { // the object, too
		t.Fatal(err)
	}
	status, said := command("view", "-q", "--capability", "tool")
	wantStatus(t, 0, "", status, said)
	if now, err := os.ReadFile(file); err != nil || string(now) != string(good) {
		t.Errorf("it is another file than the launcher (%v)", err)
	}
	if got := capabilities(t, root); got != toolLauncher+" cap_sys_admin=ep\n" {
		t.Errorf("capabilities are %s", got)
	}
}

// TestCapabilityOnlyWhereRootRules: it is refused where others could change what the
// launcher leads to, where the file system does not heed it, and to others than root.
func TestCapabilityOnlyWhereRootRules(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, root string) error{
		"prefix of a user":  func(_ *testing.T, root string) error { return os.Chown(filepath.Join(root, "var/sys"), 1000, 0) },
		"prefix of a group": func(_ *testing.T, root string) error { return os.Chmod(filepath.Join(root, "var/sys"), 0o775) },
		"above, even sticky": func(_ *testing.T, root string) error {
			return os.Chmod(filepath.Join(root, "var"), 0o777|os.ModeSticky)
		},
		"tree of a user": func(_ *testing.T, root string) error { return os.Chown(filepath.Join(root, "var/sys/tool/1"), 1000, 0) },
		"commands for all": func(_ *testing.T, root string) error {
			return os.Chmod(filepath.Join(root, "var/sys/tool/1/bin"), 0o777)
		},
		"host's of a user": func(_ *testing.T, root string) error {
			return os.Chown(filepath.Join(root, "var/sys/.hashpkg/host"), 1000, 0)
		},
		"views of a user": func(_ *testing.T, root string) error {
			return os.Chown(filepath.Join(root, "var/sys/.hashpkg/views"), 1000, 0)
		},
		"link through a user's": func(_ *testing.T, root string) error {
			sys := filepath.Join(root, "var/sys")
			home := filepath.Join(root, "home")
			if err := os.Mkdir(home, 0o777); err != nil {
				return err
			}
			if err := os.Chmod(home, 0o777); err != nil {
				return err
			}
			if err := os.Rename(sys, filepath.Join(home, "sys")); err != nil {
				return err
			}
			return os.Symlink("../home/sys", sys)
		},
		"nosuid": func(t *testing.T, root string) error {
			at := filepath.Join(root, "var/sys")
			if err := unix.Mount(at, at, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			t.Cleanup(func() {
				if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			return unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, command := capableRoot(t)
			if err := change(t, root); err != nil {
				t.Fatal(err)
			}
			status, said := command("view", "-q", "--capability", "tool")
			wantStatus(t, 1, "", status, said)
			if got := capabilities(t, root); got != "" {
				t.Errorf("capabilities are %s", got)
			}
		})
	}
	t.Run("a user", func(t *testing.T) {
		root, _ := capableRoot(t)
		mustRun(t, "chown", "-R", "1000:1000", root)
		if err := os.Chmod(filepath.Dir(filepath.Dir(root)), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(hashpkg(t), "--root", root, "view", "--capability", "tool")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		status, said := run(t, cmd)
		wantStatus(t, 1, "only root can do that", status, said)
	})
}

// TestViewChoiceKilledAnywhere kills what says how a program is launched. A right is never
// there without its record, and the command does the rest when it is run again.
func TestViewChoiceKilledAnywhere(t *testing.T) {
	const strace = "strace"
	testneed.Programs(t, strace)
	given, command := capableRoot(t)
	dir := filepath.Dir(given)
	plain := filepath.Join(dir, "plain")
	copyRoot(t, given, plain)
	status, said := command("view", "-q", "--capability", "tool")
	wantStatus(t, 0, "", status, said)
	for _, c := range []struct {
		base, how, want string
	}{
		{plain, "--capability", toolLauncher + " cap_sys_admin=ep\n"}, {given, "--auto", ""}, {given, "--none", ""}, {plain, "--none", ""},
	} {
		args := []string{"view", "-q", c.how, "tool"}
		killSweep(t, strace, dir, c.base, []string{"renameat2", "renameat", "linkat", "symlinkat", "fsync", "syncfs", "fsetxattr"}, args, 5, func(what, root string) {
			manifest, err := os.ReadFile(filepath.Join(root, "var/sys/.hashpkg/manifests/tool/1.json"))
			if err != nil {
				t.Fatal(err)
			}
			if capabilities(t, filepath.Join(root, "var/sys/tool")) != "" && !strings.Contains(string(manifest), "security.capability") {
				t.Errorf("%s %s: a capability that the manifest does not tell of", what, c.how)
			}
			mustRun(t, hashpkg(t), append([]string{"--root", root}, args...)...)
			mustRun(t, hashpkg(t), "--root", root, "verify", "-q", "--all")
			if got := capabilities(t, root); got != c.want {
				t.Errorf("%s %s: then capabilities are %q, want %q", what, c.how, got, c.want)
			}
		})
	}
}
