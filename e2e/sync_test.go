package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestFarmFollowsTheLoader changes by hand what the loader finds, in the ways in
// which administrators do: programs that search the farm load what all others do.
func TestFarmFollowsTheLoader(t *testing.T) {
	root, _, _ := serviceRoot(t)
	const divert = "dpkg-divert --quiet --local --rename "
	for _, change := range []struct{ name, do, undo string }{
		{"another file in its place", "cp $L.1.0 /root/old; cp /root/new $L.x; mv $L.x $L.1.0", "mv /root/old $L.1.0"},
		{"a newer one beside it", "cp /root/new $L.9.0", "rm $L.9.0"},
		{"a diversion", divert + "--divert $L.distrib --add $L.1.0; cp /root/new $L.1.0", "rm $L.1.0; " + divert + "--remove $L.1.0"},
		{"for some processors", "mkdir -p /usr/local/lib/glibc-hwcaps/x86-64-v2; cp /root/new /usr/local/lib/glibc-hwcaps/x86-64-v2/libsvc.so.1", "rm -r /usr/local/lib/glibc-hwcaps"},
		{"in /usr/local/lib", "cp /root/new /usr/local/lib/libsvc.so.1", "rm /usr/local/lib/libsvc.so.1"},
		{"in a directory of its own", "mkdir /opt/new; cp /root/new /opt/new/libsvc.so.1; echo /opt/new >/etc/ld.so.conf.d/a.conf", "rm /etc/ld.so.conf.d/a.conf"},
	} {
		for _, step := range []struct{ do, want string }{{change.do, "2.0\n"}, {change.undo, "1.0\n"}} {
			root.Run("sh", "-ec", "L="+libs+"libsvc.so.1; "+step.do+"; ldconfig; hashpkg sync")
			if out := root.Run("svc"); out != step.want {
				t.Errorf("%s: after %q and a sync svc says %q, want %q", change.name, step.do, out, step.want)
			}
		}
	}
	// update-alternatives(1) changes a link, and nothing else.
	root.Run("sh", "-ec", `cd $0; mkdir one two; mv libsvc.so.1* one; cp /root/new two/libsvc.so.1; ln -s one/libsvc.so.1 .
		sed -i s,/libsvc.so,/one/libsvc.so, /var/lib/dpkg/info/libsvc1*.list /var/lib/dpkg/info/libsvc1*.md5sums
		ldconfig; hashpkg sync --again; ln -sf two/libsvc.so.1 .`, libs)
	if out := root.Run("svc"); out != "2.0\n" {
		t.Errorf("after another alternative was chosen svc says %q", out)
	}
}

// TestSyncSweeps leaves in the place of programs what a run leaves there that was killed
// a moment before: the next one removes it, and none need follow.
func TestSyncSweeps(t *testing.T) {
	testneed.Root(t)
	dir := filepath.Join(t.TempDir(), "root")
	smallSystem(t, dir)
	const left = "usr/bin/.hashpkg-edit-0123456789abcdef"
	for _, command := range []string{"sync", "restore --all", "restore --all"} {
		mustRun(t, "cp", "-p", filepath.Join(dir, "usr/bin/jq"), filepath.Join(dir, left))
		mustRun(t, hashpkg(t), append(strings.Fields(command), "--root", dir, "-q")...)
		if _, err := os.Lstat(filepath.Join(dir, left)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: what a killed run has left is there still: %v", command, err)
		}
	}
}

// TestSyncWithoutItsStore takes the store away for a while, as when its file system is
// not mounted: nothing begins anew there, which would be out of sight afterwards.
func TestSyncWithoutItsStore(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	root, away := filepath.Join(dir, "root"), filepath.Join(dir, "away")
	prefix := filepath.Join(root, "var/sys")
	plainSystem(t, root, "1", 3)
	packaged := dump(t, filepath.Join(root, "usr"))
	mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
	take := func(from, to string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(to), os.Rename(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	take(prefix, away)
	if err := os.Mkdir(prefix, 0o755); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]int{"sync": 1, "sync --dry-run": 1, "hook after": 0, "hook remove": 1} {
		cmd := exec.Command(hashpkg(t), append(strings.Fields(args), "--root", root)...)
		if status, stderr := run(t, cmd); status != want || args != "hook after" && !strings.Contains(stderr, "was edited to search in /var/sys, where there are no records of a sync: mount its file system") {
			t.Errorf("%s: status %d: %s", args, status, stderr)
		}
		if entries, err := os.ReadDir(prefix); err != nil || len(entries) > 0 {
			t.Errorf("%s has made %v (%v)", args, entries, err)
		}
	}
	take(away, prefix)
	mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
	mustRun(t, hashpkg(t), "--root", root, "-q", "restore", "--all")
	if have := dump(t, filepath.Join(root, "usr")); have != packaged {
		t.Errorf("the programs are not what they were (-before +have):\n%s", cmp.Diff(packaged, have))
	}

	// What is lost for ever is made anew when somebody asks for it.
	mustRun(t, hashpkg(t), "--root", root, "-q", "sync", "--again")
	take(prefix, away)
	mustRun(t, hashpkg(t), "--root", root, "-q", "sync", "--again")
	mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
	if _, err := os.Lstat(filepath.Join(prefix, "current-system")); err != nil {
		t.Error(err)
	}
}

// TestSyncMountedOver has something mounted over a program, as systems do that are
// put together of images: the program is left, and no sync fails for that.
func TestSyncMountedOver(t *testing.T) {
	testneed.Root(t)
	dir := filepath.Join(t.TempDir(), "root")
	smallSystem(t, dir)
	jq := filepath.Join(dir, "usr/bin/jq")
	if err := unix.Mount(jq, jq, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(jq, unix.MNT_DETACH) })
	for _, args := range [][]string{{"sync"}, {"sync", "--again"}} {
		out, err := exec.Command(hashpkg(t), append([]string{"--root", dir, "--json"}, args...)...).Output()
		if err != nil || !strings.Contains(string(out), `{"path":"/usr/bin/jq","reason":"cannot be replaced: something is mounted over it: device or resource busy"}`) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		mustRun(t, hashpkg(t), "--root", dir, "-q", "verify", "--system")
	}
	if err := unix.Unmount(jq, 0); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", dir, "-q", "sync", "--again")
	if out, err := exec.Command(hashpkg(t), "--root", dir, "--json", "verify", "--system").Output(); err != nil || !strings.Contains(string(out), `"edited":["/usr/bin/jq"]`) {
		t.Errorf("it is not edited when nothing is mounted over it any more: %v: %s", err, out)
	}
}

// TestSyncFollowsDpkg takes a system through the life of its packages, each time
// with a sync afterwards.
func TestSyncFollowsDpkg(t *testing.T) {
	t.Parallel()
	root := newSystem(t, "curl", "jq", "less")
	before := root.Loads()
	untouched := root.Run("dpkg", "--verify")
	starts := root.Loop("jq", "-n", "1")
	check := func(what string) {
		t.Helper()
		if out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system"); err != nil {
			t.Errorf("%s: verify --system: %v: %s", what, err, out)
		}
		if out, err := root.RunErr(t.Context(), "hashpkg", "verify"); err != nil {
			t.Errorf("%s: verify: %v: %s", what, err, out)
		}
		if out := root.Run("dpkg", "--audit"); out != "" {
			t.Errorf("%s: dpkg --audit says %s", what, out)
		}
		if again := syncJSON(t, root, "sync"); again["changed"] != false || length(again["programs"]) > 0 {
			t.Errorf("%s: a second sync does something: %v", what, again)
		}
	}
	first := syncJSON(t, root, "sync")
	if length(first["trees"]) < 50 || length(first["programs"]) < 50 || length(first["left"]) > 0 {
		t.Errorf("the first sync says %v", first)
	}
	check("first")
	if diff := before.Diff(root.Loads("/var"), root.SameFile); len(diff) > 0 {
		t.Errorf("programs load other files: %q", diff)
	}
	// curl finds libcurl through the farm; without the prefix, as early at boot, it
	// finds the same.
	if out := root.Run("ldd", "/usr/bin/curl"); !strings.Contains(out, "/var/sys/current-system/lib64/libcurl.so.4") {
		t.Errorf("curl does not search the farm: %s", out)
	}
	root.Run("mv", "/var/sys", "/var/away")
	if diff := before.Diff(root.Loads("/var"), root.SameFile); len(diff) > 0 {
		t.Errorf("without the prefix programs load other files: %q", diff)
	}
	root.Run("mv", "/var/away", "/var/sys")
	// Where a program may not look at the prefix, as under a confinement that does
	// not know it, the search goes on.
	root.Run("chmod", "700", "/var/sys/.hashpkg")
	if out := root.Run("setpriv", "--reuid=65534", "--clear-groups", "ldd", "/usr/bin/curl"); strings.Contains(out, "/var/sys") || strings.Contains(out, "not found") {
		t.Errorf("without a permission to read the prefix curl loads %s", out)
	}
	root.Run("setpriv", "--reuid=65534", "--clear-groups", "curl", "--version")
	root.Run("chmod", "755", "/var/sys/.hashpkg")

	repo := root.Repo()
	newer := testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("libjq1", "jq", "zlib1g")...)
	repo.Add(newer...)
	root.Run("apt-get", "-y", "-q", "install", "zlib1g", "libjq1", "jq")
	upgraded := syncJSON(t, root, "sync")
	if length(upgraded["trees"]) != 2 || length(upgraded["gone"]) != 2 || length(upgraded["programs"]) != 1 {
		t.Errorf("the sync after an upgrade says %v", upgraded)
	}
	check("upgraded")
	if out := root.Run("ls", "/var/sys/libjq1"); !strings.Contains(out, "+new1") || strings.Count(out, "\n") != 3 {
		t.Errorf("the trees of libjq1 are %s", out)
	}

	root.Run("apt-get", "-y", "-q", "install", "--reinstall", "zlib1g", "jq")
	if r := syncJSON(t, root, "sync"); length(r["programs"]) != 1 {
		t.Errorf("the sync after another installation says %v", r)
	}
	check("installed again")

	repo.Add(root.Fetch("libjq1", "jq", "zlib1g")...)
	root.Run("sh", "-c", "apt-get -y -q install --allow-downgrades $(dpkg-query -W -f '${Package}=${Version} ' jq libjq1 zlib1g | sed 's/+new1//g')")
	syncJSON(t, root, "sync")
	check("downgraded")
	if out := root.Run("readlink", "-f", "/var/sys/current-system/lib64/libjq.so.1"); strings.Contains(out, "+new1") {
		t.Errorf("the farm leads to %s", out)
	}
	if n := starts.Stop(); n < 10 {
		t.Errorf("jq was started %d times only", n)
	}

	root.Run("apt-get", "-y", "-q", "purge", "jq", "libjq1")
	if r := syncJSON(t, root, "sync"); length(r["gone"]) != 1 {
		t.Errorf("the sync after a removal says %v", r)
	}
	check("removed")
	if out, err := root.RunErr(t.Context(), "readlink", "-e", "/var/sys/current-system/lib64/libjq.so.1"); err == nil {
		t.Errorf("the farm has libjq still, at %s", out)
	}

	root.Run("hashpkg", "restore", "--all")
	if out := root.Run("dpkg", "--verify"); out != untouched {
		t.Errorf("dpkg --verify says %q after all was restored, and %q before", out, untouched)
	}
	if r := syncJSON(t, root, "sync"); length(r["programs"]) > 0 {
		t.Errorf("a sync edits what was restored: %v", r)
	}
	if r := syncJSON(t, root, "sync", "--again"); length(r["programs"]) < 50 {
		t.Errorf("sync --again edits %d programs", length(r["programs"]))
	}
	check("again")
}

// TestSyncFollowsRPM does with rpm what TestSyncFollowsDpkg does with dpkg.
func TestSyncFollowsRPM(t *testing.T) {
	t.Parallel()
	root := testroot.RPM(t)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	before := root.Loads()
	untouched, _ := root.RPMErr(t.Context(), "-Va")
	check := func(what string) {
		t.Helper()
		for _, args := range [][]string{{"verify", "--system"}, {"verify"}} {
			if out, err := root.RunErr(t.Context(), append([]string{"hashpkg"}, args...)...); err != nil {
				t.Errorf("%s: %q: %v: %s", what, args, err, out)
			}
		}
		if again := syncJSON(t, root.Root, "sync"); again["changed"] != false || length(again["programs"]) > 0 {
			t.Errorf("%s: a second sync does something: %v", what, again)
		}
	}
	first := syncJSON(t, root.Root, "sync")
	if length(first["trees"]) < 40 || length(first["programs"]) < 20 {
		t.Errorf("the first sync has %d trees and %d programs", length(first["trees"]), length(first["programs"]))
	}
	check("first")
	if diff := before.Diff(root.Loads("/var"), root.SameFile); len(diff) > 0 {
		t.Errorf("programs load other files: %q", diff)
	}
	choose := func(files []string, names ...string) (chosen []string) {
		for _, file := range files {
			for _, name := range names {
				if rest, ok := strings.CutPrefix(filepath.Base(file), name+"-"); ok && rest[0] >= '0' && rest[0] <= '9' {
					chosen = append(chosen, file)
				}
			}
		}
		return chosen
	}
	oldJQ, newJQ := choose(root.Old, "libjq1"), choose(root.New, "libjq1")
	root.RPM(append([]string{"-U", "--oldpackage", "--nodeps"}, oldJQ...)...)
	if r := syncJSON(t, root.Root, "sync"); length(r["trees"]) == 0 || length(r["gone"]) == 0 {
		t.Errorf("the sync after a downgrade says %v", r)
	}
	check("downgraded")
	root.Run("jq", "-n", "1")
	root.RPM(append([]string{"-U", "--nodeps"}, newJQ...)...)
	syncJSON(t, root.Root, "sync")
	check("upgraded")
	root.RPM(append([]string{"-U", "--nodeps", "--force"}, newJQ...)...)
	if r := syncJSON(t, root.Root, "sync"); r["looked_at"] != 1.0 {
		t.Errorf("the sync after another installation says %v", r)
	}
	check("installed again")
	root.RPM("-e", "--nodeps", "libjq1")
	if r := syncJSON(t, root.Root, "sync"); length(r["gone"]) != 1 {
		t.Errorf("the sync after a removal says %v", r)
	}
	check("removed")
	root.RPM(append([]string{"-U", "--nodeps"}, newJQ...)...)
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "restore", "--all")
	if out, _ := root.RPMErr(t.Context(), "-Va"); out != untouched {
		t.Errorf("rpm -Va says %q after all was restored, and %q before", out, untouched)
	}
}

// TestPrefixChanges changes the setting while programs are edited for another one.
func TestPrefixChanges(t *testing.T) {
	t.Parallel()
	root := newSystem(t)
	root.Run("hashpkg", "sync")
	root.WriteFile("/etc/hashpkg.toml", "prefix = \"/usr/lib/sys\"\n", 0o644)
	if out := root.Run("hashpkg", "sync"); !strings.Contains(out, "search /var/sys") || !strings.Contains(out, "--prefix /var/sys restore --all") {
		t.Errorf("the sync does not tell of the other prefix: %s", out)
	}
	root.Run("hashpkg", "--prefix", "/var/sys", "restore", "--all")
	if out := root.Run("hashpkg", "sync", "--again"); strings.Contains(out, "warning") {
		t.Errorf("the sync says %s", out)
	}
	if out := root.Run("ldd", "/usr/bin/apt"); !strings.Contains(out, "/usr/lib/sys/current-system") {
		t.Errorf("apt does not search the new farm: %s", out)
	}
	root.Run("hashpkg", "verify", "--system")
}

// TestPrefixOfSomebodyElse has programs, one of them setuid, search a prefix that a user
// could change: they are left as they are.
func TestPrefixOfSomebodyElse(t *testing.T) {
	testneed.Root(t)
	root := filepath.Join(t.TempDir(), "root")
	plainSystem(t, root, "1", 2)
	setuid := filepath.Join(root, "usr/bin/tool0")
	home := filepath.Join(root, "home/u")
	if err := errors.Join(os.Chmod(setuid, 0o4755), os.MkdirAll(filepath.Join(home, "sys"), 0o755)); err != nil {
		t.Fatal(err)
	}
	bin := hashpkg(t)
	hashpkg := func(want int, args ...string) string {
		t.Helper()
		status, stderr := run(t, exec.Command(bin, append([]string{"--root", root, "-q"}, args...)...))
		if status != want {
			t.Errorf("%q: status %d, want %d: %s", args, status, want, stderr)
		}
		return stderr
	}
	for what, owned := range map[string]string{"the prefix": filepath.Join(home, "sys"), "its directory": home} {
		if err := os.Chown(owned, 1000, 1000); err != nil {
			t.Fatal(err)
		}
		before := dump(t, root)
		if said := hashpkg(1, "--prefix", "/home/u/sys", "sync"); !strings.Contains(said, owned+" belongs to user 1000") || !strings.Contains(said, "chown") {
			t.Errorf("%s: %s", what, said)
		}
		if have := dump(t, root); have != before {
			t.Errorf("%s: the root has changed (-before +have):\n%s", what, cmp.Diff(before, have))
		}
		if err := os.Chown(owned, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	hashpkg(0, "--prefix", "/home/u/sys", "sync")
	b, err := os.ReadFile(setuid)
	if err != nil || !strings.Contains(string(b), "/home/u/sys/current-system") {
		t.Fatalf("a prefix that is root's alone is not searched (%v)", err)
	}

	// What was edited before is reported, and can be given back.
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	plainSystem(t, root, "2", 1)
	hashpkg(1, "--prefix", "/home/u/sys", "sync")
	hashpkg(1, "--prefix", "/home/u/sys", "pin", "--all", "liba1=1")
	out, err := exec.Command(bin, "--root", root, "--prefix", "/home/u/sys", "check").CombinedOutput()
	if err == nil || !strings.Contains(string(out), home+" can be written by everybody") {
		t.Errorf("check says %s (%v)", out, err)
	}
	hashpkg(0, "--prefix", "/home/u/sys", "restore", "--all")
	for _, name := range []string{"tool0", "tool1"} {
		if b, err := os.ReadFile(filepath.Join(root, "usr/bin", name)); err != nil || strings.Contains(string(b), "/home/u/sys") {
			t.Errorf("%s still searches the prefix (%v)", name, err)
		}
	}
}
