package main

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// smallSystem makes a root of a few real packages that dpkg's database says are
// installed: jq and what it loads. Programs of the C library's package are left out.
func smallSystem(t *testing.T, dir string) {
	t.Helper()
	debs, err := archive.Fetch(t.Context(), archive.Options{Suite: "bookworm", Packages: []string{"jq", "libjq1", "libonig5", "libc6"}})
	if err != nil {
		t.Fatal(err)
	}
	info := filepath.Join(dir, "var/lib/dpkg/info")
	for _, d := range []string{info, filepath.Join(dir, "usr/lib64"), filepath.Join(dir, "usr/bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"lib", "lib64", "bin"} {
		if err := os.Symlink("usr/"+link, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	var status strings.Builder
	for _, deb := range debs {
		out, err := exec.Command("dpkg-deb", "-f", deb, "Package", "Version", "Architecture", "Multi-Arch").Output()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&status, "%sStatus: install ok installed\n\n", out)
		name := strings.TrimPrefix(strings.SplitN(string(out), "\n", 2)[0], "Package: ")
		if strings.Contains(string(out), "Multi-Arch: same") {
			name += ":amd64"
		}
		unpacked := t.TempDir()
		mustRun(t, "dpkg-deb", "-x", deb, unpacked)
		unpackInto(t, unpacked, dir, filepath.Join(info, name))
	}
	if err := os.WriteFile(filepath.Join(dir, "var/lib/dpkg/status"), []byte(status.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unpackInto puts a package's libraries and jq where the package has them, and
// writes its list and digests.
func unpackInto(t *testing.T, unpacked, dir, record string) {
	t.Helper()
	list, sums := "/.\n", ""
	err := filepath.WalkDir(unpacked, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(unpacked, p)
		if err != nil {
			return err
		}
		switch base := filepath.Base(rel); {
		case base == "jq", strings.HasPrefix(base, "libjq"), strings.HasPrefix(base, "libonig"), strings.HasPrefix(base, "ld-linux"),
			base == "libc.so.6", base == "libm.so.6":
		default:
			return nil
		}
		to := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		mustRun(t, "cp", "-a", p, to)
		list += "/" + rel + "\n"
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sums += fmt.Sprintf("%x  %s\n", md5.Sum(b), rel)
		}
		return nil
	})
	if err := errors.Join(err, os.WriteFile(record+".list", []byte(list), 0o644), os.WriteFile(record+".md5sums", []byte(sums), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// starts reports whether jq of a root runs in it.
func starts(t *testing.T, what, root string) {
	t.Helper()
	if out, err := exec.Command("chroot", root, "/usr/bin/jq", "-n", "1").CombinedOutput(); err != nil || string(out) != "1\n" {
		t.Errorf("%s: jq does not start: %v %s", what, err, out)
	}
}

// TestSyncKilledAtAnyStep kills a sync, and then the taking back of what it did, at
// each of the calls that change something: all programs start, and the next run
// completes it.
func TestSyncKilledAtAnyStep(t *testing.T) {
	needRoot(t)
	strace := needTool(t, "strace")
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	smallSystem(t, base)
	starts(t, "as packaged", base)
	packaged := dump(t, filepath.Join(base, "usr"))
	synced := filepath.Join(dir, "synced")
	copyRoot(t, base, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	edited := dump(t, filepath.Join(synced, "usr"))
	if edited == packaged {
		t.Fatal("nothing was edited")
	}

	for _, sweep := range []struct {
		from    string
		command []string
		atLeast int
		after   string
	}{
		{base, []string{"sync"}, 40, edited},
		{synced, []string{"restore", "--all"}, 10, packaged},
	} {
		calls := []string{"renameat", "renameat2", "rename", "linkat", "symlinkat", "mkdirat", "unlinkat", "fchmodat", "fchmod", "fsync", "syncfs"}
		killSweep(t, strace, dir, sweep.from, calls, append(sweep.command, "-q"), sweep.atLeast, func(what, root string) {
			starts(t, what, root)
			mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, sweep.command...)...)
			starts(t, what+", and again", root)
			if have := withoutTemporary(dump(t, filepath.Join(root, "usr"))); have != sweep.after {
				t.Errorf("%s: /usr is not what it should be after another run", what)
			}
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		})
	}
}

// withoutTemporary leaves out the copies that a killed edit has not given their names,
// and the old files that it has not removed.
func withoutTemporary(dump string) string {
	var kept []string
	for line := range strings.Lines(dump) {
		if !strings.Contains(line, ".hashpkg-edit-") && !strings.Contains(line, ".hashpkg-swap-") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestSyncFullDisk gives a sync more and more room: it fails and says so, or does
// its work; programs start, and with room the next one completes it.
func TestSyncFullDisk(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	smallSystem(t, base)
	mount := filepath.Join(dir, "small")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	failed, done := 0, 0
	for room := 0; room < 400; room += 8 { // KiB
		what := fmt.Sprintf("%d KiB of room", room)
		if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=16m"); err != nil {
			t.Fatal(err)
		}
		root, filler := filepath.Join(mount, "root"), filepath.Join(mount, "filler")
		copyRoot(t, base, root)
		var fs unix.Statfs_t
		if err := unix.Statfs(mount, &fs); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, int(fs.Bavail)*int(fs.Bsize)-room<<10), 0o644); err != nil {
			t.Fatal(err)
		}
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "-q", "sync"))
		switch {
		case status == 0:
			done++
		case status == 1 && strings.Contains(stderr, "no space left"):
			failed++
		default:
			t.Errorf("%s: status %d: %s", what, status, stderr)
		}
		starts(t, what, root)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
		mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
		mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		starts(t, what+", and again", root)
		edits, err := filepath.Glob(filepath.Join(root, "var/sys/.hashpkg/system/edits/deb/jq*"))
		if err != nil || len(edits) != 1 {
			t.Errorf("%s: jq was not edited in the end: %q %v", what, edits, err)
		}
		if err := unix.Unmount(mount, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d syncs failed, %d were done", failed, done)
	if failed < 3 || done < 5 {
		t.Error("the room was not between too little and enough")
	}
}

// syncJSON runs hashpkg in a root and decodes what it prints.
func syncJSON(t *testing.T, root *testroot.Root, args ...string) map[string]any {
	t.Helper()
	var v map[string]any
	out := root.Run(append([]string{"hashpkg", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("hashpkg %q: %v: %s", args, err, out)
	}
	return v
}

func length(v any) int {
	list, _ := v.([]any)
	return len(list)
}

// newSystem returns a root with hashpkg in it.
func newSystem(t *testing.T, packages ...string) *testroot.Root {
	t.Helper()
	root := testroot.Debian(t, "bookworm", "", packages...)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	return root
}

// TestSyncFollowsDpkg takes a system through the life of its packages, each time
// with a sync afterwards.
func TestSyncFollowsDpkg(t *testing.T) {
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

// TestVerifySystem changes files behind hashpkg's back.
func TestVerifySystem(t *testing.T) {
	root := newSystem(t, "jq")
	root.Run("hashpkg", "sync")
	root.Run("sh", "-c", "printf x >> /usr/bin/jq; printf x >> /usr/bin/env; rm /usr/bin/who")
	out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system", "--json")
	var exit *exec.ExitError
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

// TestPins keeps one program on an older library, then all of them.
func TestPins(t *testing.T) {
	root := newSystem(t, "curl", "jq")
	root.Run("hashpkg", "sync")
	old := strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "zlib1g"))
	newer := testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("zlib1g")...)
	root.Repo().Add(newer...)
	root.Run("apt-get", "-y", "-q", "install", "zlib1g")
	root.Run("hashpkg", "sync")
	loads := func(program string) string {
		t.Helper()
		out := root.Run("sh", "-c", "ldd "+program+" | grep -o '/[^ ]*libz[.]so[^ ]*'")
		return strings.TrimSpace(root.Run("readlink", "-f", strings.TrimSpace(out)))
	}
	version := func(program, want string) {
		t.Helper()
		if have := loads(program); (want == "old") != strings.Contains(have, "/zlib1g/"+strings.ReplaceAll(old, ":", "%3a")+"/") {
			t.Errorf("%s loads %s, which is not the %s one", program, have, want)
		}
	}
	version("/usr/bin/curl", "new")

	// curl needs libz itself and through libcurl; apt needs it through libapt-pkg.
	root.Run("hashpkg", "pin", "/usr/bin/curl", "zlib1g="+old)
	version("/usr/bin/curl", "old")
	version("/usr/bin/apt", "new")
	if out := root.Run("sh", "-c", "curl file:///proc/self/maps | grep libz.so"); strings.Contains(out, "+new1") || !strings.Contains(out, "/var/sys/zlib1g/") {
		t.Errorf("curl has mapped %s", out)
	}
	root.Run("hashpkg", "pin", "apt", "zlib1g="+old)
	version("/usr/bin/apt-get", "old")
	root.Run("apt-get", "--version")

	// The pin survives an upgrade of the program.
	root.Repo().Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("curl")...)...)
	root.Run("apt-get", "-y", "-q", "install", "curl")
	version("/usr/bin/curl", "new")
	root.Run("hashpkg", "sync")
	version("/usr/bin/curl", "old")

	var pins struct {
		Pins []struct {
			Program  string
			Programs []string
		}
	}
	if err := json.Unmarshal([]byte(root.Run("hashpkg", "pins", "--json")), &pins); err != nil || len(pins.Pins) != 2 || len(pins.Pins[0].Programs) != 1 || len(pins.Pins[1].Programs) < 5 {
		t.Errorf("pins says %v: %v", pins, err)
	}
	root.Run("hashpkg", "unpin", "apt")
	version("/usr/bin/apt", "new")
	root.Run("hashpkg", "pin", "--all", "zlib1g="+old)
	for _, p := range []string{"/usr/bin/apt", "/usr/bin/dpkg-deb", "/usr/bin/curl"} {
		version(p, "old")
	}
	root.Run("dpkg-deb", "--version")
	root.Run("hashpkg", "verify", "--system")
	root.Run("hashpkg", "unpin", "--all")
	root.Run("hashpkg", "unpin", "/usr/bin/curl", "zlib1g")
	for _, p := range []string{"/usr/bin/apt", "/usr/bin/dpkg-deb", "/usr/bin/curl"} {
		version(p, "new")
	}
	root.Run("hashpkg", "verify", "--system")

	for _, refused := range []struct {
		args []string
		why  string
	}{
		{[]string{"pin", "/usr/bin/curl", "libc6=" + strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "libc6"))}, "is the C library"},
		{[]string{"pin", "/usr/bin/curl", "zlib1g=9"}, "the store has no zlib1g=9; of zlib1g it has"},
		{[]string{"pin", "/usr/bin/curl", "nothing=9"}, "the store has no nothing"},
		{[]string{"pin", "/usr/bin/no", "zlib1g=" + old}, "no package has a dynamic program /usr/bin/no"},
		{[]string{"pin", "/usr/bin/jq", "zlib1g=" + old}, "no program of /usr/bin/jq loads a library of zlib1g"},
		{[]string{"unpin", "/usr/bin/curl"}, "is not pinned so"},
	} {
		out, err := root.RunErr(context.Background(), append([]string{"hashpkg"}, refused.args...)...)
		if err == nil || !strings.Contains(out, refused.why) {
			t.Errorf("%q: %v: %s", refused.args, err, out)
		}
	}
}

// TestSyncFollowsRPM does with rpm what TestSyncFollowsDpkg does with dpkg.
func TestSyncFollowsRPM(t *testing.T) {
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
