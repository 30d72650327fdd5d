package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout/record"
)

// TestVerifySystem changes files behind hashpkg's back.
func TestVerifySystem(t *testing.T) {
	t.Parallel()
	root := newSystem(t, "jq")
	root.Run("hashpkg", "sync")
	root.Run("chmod", "700", "/usr/bin/tty")
	out, err := root.RunErr(t.Context(), "setpriv", "--reuid", "65534", "--clear-groups", "hashpkg", "verify", "--system")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 || !strings.Contains(out, "/usr/bin/tty: may not be read\n") || !strings.Contains(out, " 0 altered by somebody else") {
		t.Errorf("verify --system by a user: %v: %s", err, out)
	}
	root.Run("sh", "-c", "printf x >> /usr/bin/jq; printf x >> /usr/bin/env; rm /usr/bin/who")
	out, err = root.RunErr(t.Context(), "hashpkg", "verify", "--system", "--json")
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("verify --system: %v", err)
	}
	var v struct{ Altered []struct{ Path, What string } }
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]string{
		"/usr/bin/jq":  "is neither what its package brought nor what hashpkg made of it",
		"/usr/bin/env": "is not what its package brought",
		"/usr/bin/who": "is missing",
	}
	for _, a := range v.Altered {
		if want[a.Path] != a.What {
			t.Errorf("%s: %s", a.Path, a.What)
		}
		delete(want, a.Path)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "restore", "/usr/bin/jq"); err == nil || !strings.Contains(out, "neither") {
		t.Errorf("restore of an altered file: %v %s", err, out)
	}
	// Its package brings it again, and with it the edit.
	root.Repo().Add(root.Fetch("jq", "coreutils")...)
	root.Run("apt-get", "-y", "-q", "install", "--reinstall", "jq", "coreutils")
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "verify", "--system")
}

// TestVerifyByUser has a user verify what root has installed, with files that only root may
// read: the rest is verified, and these are named.
func TestVerifyByUser(t *testing.T) {
	testneed.Root(t) // to become another user
	base, err := os.MkdirTemp("", "hashpkg-verify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(base, "closed.deb")
	p := testdeb.Package{Name: "closed", Version: "1", Files: []testdeb.File{
		{Path: "usr/share/open/file", Content: "open"},
		{Path: "usr/share/open/secret", Content: "secret", Mode: 0o600},
		{Path: "usr/share/shut/", Mode: 0o700},
		{Path: "usr/share/shut/in/file", Content: "in"},
	}}
	if err := os.WriteFile(deb, testdeb.Deb(t, p), 0o644); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(base, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", deb)
	asUser := func(args ...string) (status int, out string) {
		cmd := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		b, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return exit.ExitCode(), string(b)
		} else if err != nil {
			t.Fatal(err)
		}
		return 0, string(b)
	}
	tree := filepath.Join(root, "var/sys/closed/1/usr/share")
	want := tree + "/open/secret: may not be read\n" + tree + "/shut: may not be read\n"
	status, out := asUser("verify")
	if status != 5 || !strings.HasPrefix(out, want) || !strings.Contains(out, " files checked, 0 damaged; 2 may not be read: root may\n") {
		t.Errorf("status %d: %s, want %s", status, out, want)
	}
	if status, out := asUser("verify", "--all", "--json"); status != 5 || !strings.Contains(out, `"unread":["`+tree+`/open/secret","`+tree+`/shut"`) {
		t.Errorf("status %d: %s", status, out)
	}
	open := filepath.Join(tree, "open/file")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, []byte("OPEN"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, out := asUser("verify"); status != 3 || !strings.Contains(out, "1 damaged; 2 may not") {
		t.Errorf("with damage, status %d: %s", status, out)
	}
}

// TestRepairTwoMounts repairs one store by two prefixes: it is the same, with one lock.
func TestRepairTwoMounts(t *testing.T) {
	testneed.Root(t)
	_, base, before, deb := damagedStore(t)
	_, mount := mountDir(t)
	if err := unix.Mount(base, mount, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(filepath.Join(base, "var/sys/.hashpkg/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if status, stderr := run(t, exec.Command(hashpkg(t), "--root", mount, "verify", "--repair", "--wait", "0s")); status != 4 {
		t.Errorf("with the lock of the other mount held: status %d: %s", status, stderr)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	repaired(t, "the other mount", mount, before, deb)
	mustRun(t, hashpkg(t), "--root", base, "verify", "-q")
}

// TestRepairSystem damages the trees of the system's packages, which the distribution has
// the files of.
func TestRepairSystem(t *testing.T) {
	testneed.Root(t)
	root := filepath.Join(t.TempDir(), "root")
	smallSystem(t, root)
	mustRun(t, hashpkg(t), "--root", root, "sync", "-q")
	before := dump(t, root)
	output := func(args ...string) string {
		out, _ := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...).CombinedOutput()
		return string(out)
	}
	find := func(pattern string) string {
		found, err := filepath.Glob(filepath.Join(root, "var/sys", pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s is %q (%v)", pattern, found, err)
		}
		return found[0]
	}
	library := find("libonig5/6*/usr/lib/x86_64-linux-gnu/libonig.so.5.?.?")
	sameFile := func() {
		t.Helper()
		a, err := os.Stat(library)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(root, libs, filepath.Base(library)))
		if err != nil || !os.SameFile(a, b) {
			t.Errorf("the tree's library is not the distribution's file (%v)", err)
		}
	}
	for what, damage := range map[string]func(){
		"objects and a tree are lost": func() {
			for _, d := range []string{find(".hashpkg/objects"), filepath.Dir(find("libonig5/6*/usr"))} {
				if err := os.RemoveAll(d); err != nil {
					t.Fatal(err)
				}
			}
		},
		"manifests are lost": func() {
			for _, m := range []string{find(".hashpkg/manifests/libonig5/*"), find(".hashpkg/manifests/libc6/*")} {
				if err := os.Remove(m); err != nil {
					t.Fatal(err)
				}
			}
		},
		"the tree has a copy": func() {
			b, err := os.ReadFile(library)
			if err == nil {
				err = errors.Join(os.Remove(library), os.WriteFile(library, b, 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		damage()
		mustRun(t, hashpkg(t), "--root", root, "verify", "-q", "--repair")
		if have := dump(t, root); have != before {
			t.Errorf("%s: after the repair:\n%s", what, lineDiff(before, have))
		}
		sameFile()
		starts(t, what, root)
		mustRun(t, hashpkg(t), "--root", root, "verify", "-q")
	}

	// What the distribution has not any more is named, with who uses it.
	mustRun(t, hashpkg(t), "--root", root, "pin", "-q", "/usr/bin/jq", "libonig5=6.9.8-1")
	inner := library + ".old"
	if err := errors.Join(os.Rename(library, inner), os.Remove(filepath.Join(root, libs, filepath.Base(library)))); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "find", filepath.Join(root, "var/sys/.hashpkg/objects"), "-samefile", inner, "-delete")
	if out := output("verify", "--repair"); !strings.Contains(out, "libonig.so.5") || !strings.Contains(out, "install version 6.9.8-1 of package libonig5 again") || !strings.Contains(out, "it concerns /usr/bin/jq") {
		t.Errorf("of a library that is nowhere: %s", out)
	}
	moved := find(".hashpkg/quarantine/*/usr/lib/x86_64-linux-gnu/*.old")
	if err := os.Rename(moved, filepath.Join(root, libs, filepath.Base(library))); err != nil { // its package brings it
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "verify", "-q", "--repair")
	sameFile()

	// sync looks after its farm, if it looks at all.
	output("sync") // without the clock of an image, which remembers nothing
	link := find("current-system/lib64/libonig.so.5")
	if err := errors.Join(os.Remove(link), os.Remove(find("libonig5/default"))); err != nil {
		t.Fatal(err)
	}
	if out := output("sync"); !strings.Contains(out, "nothing to do") {
		t.Errorf("sync: %s", out)
	}
	if out := output("sync", "--again"); !strings.Contains(out, "lib64/libonig.so.5: was lost; put back") || !strings.Contains(out, "libonig5/default: was lost; put back") {
		t.Errorf("sync --again: %s", out)
	}
	mustRun(t, hashpkg(t), "--root", root, "verify", "-q")
}

// TestRepairAsUser repairs a store of somebody who is not root.
func TestRepairAsUser(t *testing.T) {
	_, base, before, deb := damagedStore(t)
	if os.Geteuid() == 0 {
		const nobody = "65534"
		program := hashpkg(t)
		dir, err := newDir() // that nobody can reach
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		mustRun(t, "sh", "-c", "chmod 0755 $1 && cp $2 $1/tool.deb && mkdir $1/sys && chown -R 65534:65534 $1", "sh", dir, deb)
		as := func(args ...string) (int, string) {
			return run(t, exec.Command("setpriv", append([]string{"--reuid", nobody, "--regid", nobody, "--clear-groups", program, "--prefix", filepath.Join(dir, "sys")}, args...)...))
		}
		testneed.Programs(t, "setpriv")
		if status, stderr := as("install", "-q", filepath.Join(dir, "tool.deb")); status != 0 {
			t.Fatalf("install: status %d: %s", status, stderr)
		}
		before := dump(t, dir)
		mustRun(t, "sh", "-c", "cd $1/tool/1.0 && chmod u+w usr/bin/tool && echo >>usr/bin/tool && rm -r usr/share && chmod 0755 usr/bin/tool", "sh", filepath.Join(dir, "sys"))
		if status, stderr := as("verify", "-q"); status != 3 {
			t.Errorf("verify: status %d: %s", status, stderr)
		}
		if status, stderr := as("verify", "-q", "--repair", "--from", filepath.Join(dir, "tool.deb")); status != 0 {
			t.Errorf("verify --repair: status %d: %s", status, stderr)
		}
		if have := dump(t, dir); have != before {
			t.Errorf("after the repair:\n%s", lineDiff(before, have))
		}
		return
	}
	repaired(t, "as a user", base, before, deb)
}

// TestRepairPrograms damages an edited program and what is recorded of it, in a system that
// dpkg keeps: it does its work again, and dpkg has nothing to say once it is restored.
func TestRepairPrograms(t *testing.T) {
	t.Parallel()
	root, first, _ := serviceRoot(t)
	repo := root.Repo()
	repo.Add(first...)
	const (
		edits   = "/var/sys/.hashpkg/system/edits/deb/svc:amd64.json"
		command = "run apt-get install --reinstall svc:amd64"
	)
	package1 := "/root/" + filepath.Base(first[1])
	status := func(args ...string) (int, string) {
		t.Helper()
		out, err := root.RunErr(t.Context(), append([]string{"hashpkg"}, args...)...)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), out
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0, out
	}
	edit := func(change func(*record.EditedFile)) func() {
		return func() {
			var e record.PackageEdits
			if err := json.Unmarshal([]byte(root.ReadFile(edits)), &e); err != nil || len(e.Files) != 2 {
				t.Fatalf("%v: %d files", err, len(e.Files))
			}
			for i := range e.Files {
				change(&e.Files[i])
			}
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			root.WriteFile(edits, string(b), 0o644)
		}
	}
	sums := func() string {
		return root.Run("sh", "-c", "sha256sum /usr/bin/svc /usr/bin/svc-too; stat -c '%a %u %i' /usr/bin/svc")
	}
	flip := func() { // the program's text: its headers stay
		root.Run("sh", "-c", "size=$(stat -c %s /usr/bin/svc); printf x | dd of=/usr/bin/svc bs=1 seek=$((size / 2)) conv=notrunc status=none")
	}
	for name, c := range map[string]struct {
		damage func()
		// alone says that no package is needed
		alone bool
		// program says that the program itself is damaged
		program bool
		says    string // with all that it takes
	}{
		"other bytes":          {flip, false, true, "/usr/bin/svc: is neither what its package brought nor what hashpkg made of it; from svc_1.0.deb, with its recorded edit"},
		"no record":            {func() { root.Run("rm", edits) }, false, false, "/usr/bin/svc: is not what its package brought; from svc_1.0.deb, as packaged; hashpkg sync edits it again"},
		"an unreadable record": {func() { root.WriteFile(edits, "x", 0o644) }, false, false, "/usr/bin/svc: is not what its package brought; from svc_1.0.deb, as packaged; hashpkg sync edits it again"},
		"no patches":           {edit(func(f *record.EditedFile) { f.Applied[0].Patch.Packed = []byte("x") }), false, false, "/usr/bin/svc: undoing its recorded edit does not give the recorded bytes; from svc_1.0.deb, its record made again"},
		"a wrong patch": {edit(func(f *record.EditedFile) {
			if f.Path == "/usr/bin/svc" {
				f.Applied[0].Patch.Packed = []byte("x")
			}
		}), true, false, "/usr/bin/svc: undoing its recorded edit does not give the recorded bytes; from /usr/bin/svc-too, its record made again"},
		"other digests of sources": {edit(func(f *record.EditedFile) { f.Source[0]++ }), true, false, "/usr/bin/svc: undoing its recorded edit does not give the recorded bytes; from itself, its edit undone, its record made again"},
		"no record, other bytes":   {func() { flip(); root.Run("rm", edits) }, false, true, "/usr/bin/svc: is not what its package brought; from svc_1.0.deb, as packaged; hashpkg sync edits it again"},
	} {
		before := sums()
		c.damage()
		damaged := sums() + root.Run("sh", "-c", "cat "+edits+" || true")
		unchanged := func(what string) {
			t.Helper()
			if now := sums() + root.Run("sh", "-c", "cat "+edits+" || true"); now != damaged {
				t.Errorf("%s: %s: it is\n%s\nand was\n%s", name, what, now, damaged)
			}
			if !c.program {
				if out := root.Run("svc"); out != "1.0\n" {
					t.Errorf("%s: %s: the program says %s", name, what, out)
				}
			}
		}
		if code, out := status("verify", "--system", "svc"); code != 3 {
			t.Errorf("%s: verify --system: status %d: %s", name, code, out)
		}
		code, out := status("verify", "--system", "--repair", "--offline", "--dry-run", "svc")
		if wants := map[bool]int{true: 0, false: 3}[c.alone]; code != wants || !c.alone && !strings.Contains(out, "not mended: its packaged bytes are not at hand: "+command+", or give its package with --from") {
			t.Errorf("%s: a dry run: status %d: %s", name, code, out)
		}
		unchanged("a dry run")
		if !c.alone {
			if code, out := status("verify", "--system", "--repair", "--offline", "svc"); code != 3 || !strings.Contains(out, command) {
				t.Errorf("%s: without the package: status %d: %s", name, code, out)
			}
			unchanged("without the package")
		}
		args := []string{"verify", "--system", "--repair"}
		if !c.alone {
			args = append(args, "--from", package1)
		}
		if code, out := status(args...); code != 0 || !strings.Contains(out, c.says) {
			t.Errorf("%s: status %d: %s", name, code, out)
		}
		if out := root.Run("svc") + root.Run("svc-too"); out != "1.0\n1.0\n" {
			t.Errorf("%s: the programs say %s", name, out)
		}
		if now := sums(); !c.program && strings.Contains(c.says, "record made again") && now != before {
			t.Errorf("%s: the program was touched:\n%s%s", name, before, now)
		}
		if c.program {
			if kept := root.Run("sh", "-c", "cat /var/sys/.hashpkg/quarantine/*/usr/bin/svc | sha256sum"); !strings.Contains(damaged, strings.Fields(kept)[0]) {
				t.Errorf("%s: what was replaced is not in the quarantine", name)
			}
		}
		root.Run("rm", "-rf", "/var/sys/.hashpkg/quarantine")
		root.Run("hashpkg", "sync")
		if out := root.Run("hashpkg", "verify", "--system"); !strings.Contains(out, " 0 altered") {
			t.Errorf("%s: %s", name, out)
		}
		if out := root.Run("ldd", "/usr/bin/svc"); !strings.Contains(out, "/var/sys/current-system/") {
			t.Errorf("%s: after a sync, it loads %s", name, out)
		}
		if now := strings.SplitN(sums(), "\n", 2)[0]; now != strings.SplitN(before, "\n", 2)[0] {
			t.Errorf("%s: after a sync it is %s, and was %s", name, now, before)
		}
		root.Run("hashpkg", "restore", "--all")
		if out, err := root.RunErr(t.Context(), "dpkg", "--verify", "svc"); err != nil || out != "" {
			t.Errorf("%s: after restore --all, dpkg --verify says %v %s", name, err, out)
		}
		root.Run("hashpkg", "sync", "--again")
	}

	// The command that is named is enough.
	root.WriteFile(edits, "x", 0o644)
	flip()
	if out, err := root.RunErr(t.Context(), "hashpkg", "sync", "--again"); err == nil || !strings.Contains(out, "hashpkg verify --system --repair") {
		t.Errorf("a sync with a record that cannot be read: %v %s", err, out)
	}
	root.Run("sh", "-c", strings.TrimPrefix(command, "run ")+" -y -q")
	if code, out := status("verify", "--system", "--repair"); code != 0 || !strings.Contains(out, edits+": ") {
		t.Errorf("after %s: status %d: %s", command, code, out)
	}
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "check")
	root.Run("hashpkg", "verify", "--system")

	// What hashpkg has not edited is somebody else's.
	root.Run("sh", "-c", "printf x >>/usr/bin/deb-systemd-helper")
	if code, out := status("verify", "--system", "--repair"); code != 3 || !strings.Contains(out, "/usr/bin/deb-systemd-helper: is not what its package brought; not mended: nothing says that hashpkg has edited it: run apt-get install --reinstall init-system-helpers") {
		t.Errorf("of another file: status %d: %s", code, out)
	}
}
