package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// buildPackages builds hashpkg's own packages, of a version: the program, what follows the
// package manager, and what packagers need.
func buildPackages(t *testing.T, format, version string) []string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("../scripts/package.sh", format)
	cmd.Env = append(os.Environ(), "OUT="+dir, "PKGVERSION="+version, "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build packages: %v: %s", err, out)
	}
	between := map[string]string{"deb": "_", "rpm": "-"}[format]
	var files []string
	names := []string{"hashpkg", "hashpkg-follow"}
	names = append(names, map[string]string{"deb": "dh-sequence-hashpkg", "rpm": "hashpkg-devel"}[format])
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(dir, name+between+version+between+"*."+format))
		if err != nil || len(found) != 1 {
			t.Fatalf("built %q, %v", found, err)
		}
		files = append(files, found[0])
	}
	return files
}

// isReproducible fails the test unless a second build of packages gives the same bytes.
func isReproducible(t *testing.T, files []string, format, version string) {
	t.Helper()
	for i, again := range buildPackages(t, format, version) {
		first, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("two builds of %s differ", filepath.Base(again))
		}
	}
}

// searches reports whether a program searches the farm.
func searches(root *testroot.Root, program string) bool {
	return strings.Contains(root.ReadFile(program), "/var/sys/current-system/lib64")
}

// TestUnits has systemd judge the units.
func TestUnits(t *testing.T) {
	testneed.Programs(t, "systemd-analyze")
	dir := t.TempDir()
	units := []string{filepath.Join(dir, "hashpkg-gc.service"), filepath.Join(dir, "hashpkg-gc.timer")}
	for _, unit := range units {
		text, err := os.ReadFile(filepath.Join("../packaging/systemd", filepath.Base(unit)))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("/usr/bin/hashpkg"), []byte(hashpkg(t))) // which must be there
		if err := os.WriteFile(unit, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("hashpkg")) {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
}

// TestPackageLint has lintian and rpmlint judge the packages. Overrides and filters name what is
// meant to be so.
func TestPackageLint(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "lintian", "rpmlint")
	debs, rpms := buildPackages(t, "deb", "1.0"), buildPackages(t, "rpm", "1.0")
	out, err := exec.Command("lintian", append([]string{"--fail-on", "error,warning", "--allow-root"}, debs...)...).CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v: %s", err, out)
	}
	out, err = exec.Command("rpmlint", append([]string{"-c", "../packaging/rpm/rpmlint.toml"}, rpms...)...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("0 errors, 0 warnings")) {
		t.Errorf("rpmlint: %v: %s", err, out)
	}
	hasManual(t, debs[0], rpms[0])
}

// hasManual has man look for pages in the package, and rpm list the same ones.
func hasManual(t *testing.T, deb, rpm string) {
	t.Helper()
	testneed.Programs(t, "man", "dpkg-deb", "rpm")
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -x: %v: %s", err, out)
	}
	inRPM, err := exec.Command("rpm", "-qlp", rpm).CombinedOutput()
	if err != nil {
		t.Fatalf("rpm -qlp: %v: %s", err, inRPM)
	}
	for asked, want := range map[string]string{
		"hashpkg": "man8/hashpkg.8.gz", "7 hashpkg": "man7/hashpkg.7.gz", "hashpkg-install": "man8/hashpkg-install.8.gz", "hashpkg install": "man8/hashpkg-install.8.gz",
		"hashpkg.toml": "man5/hashpkg.toml.5.gz", "hashpkg-layout": "man5/hashpkg-layout.5.gz",
	} {
		out, err := exec.Command("man", append([]string{"-M", filepath.Join(dir, "usr/share/man"), "-w"}, strings.Fields(asked)...)...).CombinedOutput()
		if page := "/usr/share/man/" + want; err != nil || strings.TrimSpace(string(out)) != dir+page || !slices.Contains(strings.Fields(string(inRPM)), page) {
			t.Errorf("man %s: %v: %s; the rpm has %s", asked, err, out, inRPM)
		}
	}
}

// onTerminal runs what gives its children a terminal, as apt does, and returns the lines without
// what that adds.
func onTerminal(root *testroot.Root, args ...string) string {
	return strings.ReplaceAll(root.Run(args...), "\r", "")
}

// TestDebPackage takes hashpkg's .deb through its life, in a system on which apt and
// dpkg work.
func TestDebPackage(t *testing.T) {
	t.Parallel()
	root := testroot.Debian(t, "bookworm", "", "debsums", "jq")
	repo := root.Repo()
	debs := buildPackages(t, "deb", "1.0")
	isReproducible(t, debs, "deb", "1.0")
	repo.Add(debs...)
	debs = debs[:2] // the third needs debhelper
	if before := root.Run("dpkg", "--verify"); before != "" {
		t.Fatalf("dpkg --verify says before: %s", before)
	}

	root.Run("apt-get", "-y", "-q", "install", "hashpkg")
	if out := root.Run("dpkg", "--verify"); out != "" || searches(root, "/usr/bin/jq") {
		t.Errorf("with the program alone dpkg --verify says: %s", out)
	}
	if out := root.Run("sh", "-c", "test ! -e /var/sys; ls -A /etc/dpkg/dpkg.cfg.d"); strings.Contains(out, "hashpkg") {
		t.Errorf("with the program alone dpkg is to call it: %s", out)
	}
	installed := onTerminal(root, "apt-get", "-y", "-q", "install", "hashpkg-follow")
	if !slices.ContainsFunc(slices.Collect(strings.Lines(installed)), saysChanged.MatchString) {
		t.Errorf("its installation does not say what it did: %s", installed)
	}
	inForce(t, root, "installed")
	if !searches(root, "/usr/bin/jq") || searches(root, "/usr/bin/hashpkg") {
		t.Error("jq does not search the farm, or hashpkg does")
	}
	if out := root.Run("hashpkg", "hooks", "status"); strings.Count(out, "installed ") != 2 {
		t.Errorf("hooks: %s", out)
	}
	root.Run("jq", "-n", "1")
	for _, unit := range []string{"hashpkg-gc.service", "hashpkg-gc.timer"} {
		root.Run("test", "-f", "/usr/lib/systemd/system/"+unit)
	}
	if out := root.Run("find", "/etc/systemd", "/var/lib/systemd", "-name", "hashpkg*"); out != "" {
		t.Errorf("nobody has enabled the timer, and there is %s", out)
	}

	t.Run("debsums", func(t *testing.T) { testDebsums(t, root.With(t)) })
	t.Run("mishaps", func(t *testing.T) { testMishaps(t, root.With(t), repo) })

	root.Run("hashpkg", "sync", "--again") // those that were running when it was installed, too
	edited := root.Run("dpkg", "--verify")
	root.Run(append([]string{"dpkg", "-i"}, repo.Paths(debs...)...)...) // an upgrade as far as their scripts know
	inForce(t, root, "upgraded")
	if now := root.Run("dpkg", "--verify"); now != edited {
		t.Errorf("an upgrade of hashpkg changes %s to %s", edited, now)
	}

	root.Run("hashpkg", "freeze", "/usr/bin/jq")
	removed := onTerminal(root, "apt-get", "-y", "-q", "remove", "hashpkg-follow")
	if !regexp.MustCompile(`(?m)^hashpkg: \d+ programs have their packaged bytes again; out of force: the freeze of /usr/bin/jq$`).MatchString(removed) {
		t.Errorf("its removal does not say what it did: %s", removed)
	}
	if out := root.Run("dpkg", "--verify"); out != "" {
		t.Errorf("removed, dpkg --verify says: %s", out)
	}
	root.Run("jq", "-n", "1")
	root.Run("dpkg", "-r", "debsums") // which calls nobody any more
	if out := root.Run("dpkg", "--verify"); out != "" || searches(root, "/usr/bin/jq") {
		t.Errorf("removed, and dpkg has run, dpkg --verify says: %s", out)
	}
	root.Run("apt-get", "-y", "-q", "install", "hashpkg-follow")
	inForce(t, root, "followed again")
	root.Run("hashpkg", "thaw", "/usr/bin/jq")
	root.Run("hashpkg", "sync", "--again")
	root.Run("hashpkg", "hooks", "install", "debsums")
	root.Run("apt-get", "-y", "-q", "remove", "hashpkg") // and what depends on it
	root.Run("test", "!", "-e", "/usr/sbin/prelink")     // debsums would ask it
	if out := root.Run("dpkg", "--verify"); out != "" {
		t.Errorf("both removed, dpkg --verify says: %s", out)
	}
	root.Run("jq", "-n", "1")
	root.Run("dpkg", "--configure", "-a") // what is left of the hooks does no harm

	root.WriteFile("/etc/apparmor.d/abi/4.0", "", 0o644)
	root.Run("apt-get", "-y", "-q", "install", "hashpkg-follow")
	hasProfile(t, root)
	inForce(t, root, "installed again")
	root.Run("hashpkg", "sync", "--again")
	if now := root.Run("dpkg", "--verify"); now != edited {
		t.Errorf("installed again, %s is %s", edited, now)
	}
	root.WriteFile("/etc/hashpkg.toml", "prefix = \"/var/sys\"\n", 0o644)
	root.WriteFile("/var/log/hashpkg.log", "{}\n", 0o640)
	root.WriteFile("/var/log/hashpkg.log.1.gz", "", 0o640)
	root.Run("dpkg", "-P", "hashpkg", "hashpkg-follow")
	for _, gone := range []string{"/var/sys", "/etc/hashpkg.toml", "/etc/dpkg/dpkg.cfg.d/hashpkg", "/etc/apparmor.d/abstractions/base.d/hashpkg", "/etc/apparmor.d/hashpkg-launchers", "/etc/logrotate.d/hashpkg", "/var/log/hashpkg.log", "/var/log/hashpkg.log.1.gz"} {
		if _, err := os.Lstat(root.LinkPath(gone)); err == nil {
			t.Errorf("purged, and %s is there", gone)
		}
	}
	if out := root.Run("dpkg", "--verify"); out != "" {
		t.Errorf("purged, dpkg --verify says: %s", out)
	}
	root.Run("jq", "-n", "1")

	// A first sync for which there is no room.
	out := root.Run(append([]string{"sh", "-c", `mkdir /var/sys; mount -t tmpfs -o size=300k,mode=755 full /var/sys
dpkg -i "$@" 2>&1; echo $?; umount /var/sys; rmdir /var/sys`, "sh"}, repo.Paths(debs...)...)...)
	if !strings.Contains(out, "no space left on device") || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("on a full disk: %s", out)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil {
		t.Errorf("on a full disk check finds nothing: %s", out)
	}
	root.Run("jq", "-n", "1")
	root.Run("hashpkg", "sync")
	inForce(t, root, "with room again")
}

// testDebsums has debsums ask for edited programs.
func testDebsums(t *testing.T, root *testroot.Root) {
	if out, err := root.RunErr(t.Context(), "debsums", "-s", "jq"); err == nil {
		t.Fatalf("debsums finds nothing changed in jq: %s", out)
	}
	root.Run("hashpkg", "hooks", "install", "debsums")
	root.Run("debsums", "-s", "jq", "bash", "coreutils")
	// What somebody else has changed stays changed.
	root.Run("cp", "-p", "/usr/bin/jq", "/usr/bin/jq.good")
	root.Run("sh", "-c", "printf x >>/usr/bin/jq")
	if out, err := root.RunErr(t.Context(), "debsums", "-s", "jq"); err == nil || !strings.Contains(out, "/usr/bin/jq") {
		t.Errorf("debsums accepts another change: %s", out)
	}
	root.Run("mv", "/usr/bin/jq.good", "/usr/bin/jq")
	root.Run("debsums", "-s", "jq")
	root.Run("hashpkg", "hooks", "remove", "debsums")
	root.WriteFile("/usr/sbin/prelink", "#!/bin/sh\n", 0o755)
	if out, err := root.RunErr(t.Context(), "hashpkg", "hooks", "install", "debsums"); err == nil {
		t.Errorf("a real prelink is not an obstacle: %s", out)
	}
	root.Run("rm", "/usr/sbin/prelink")
}

// testMishaps breaks what the hooks need: dpkg succeeds, check tells, and the next
// run repairs.
func testMishaps(t *testing.T, root *testroot.Root, repo *testroot.Repo) {
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(append(first, second[0])...)
	root.Run("dpkg", "-i", repo.Path(first[0]), repo.Path(first[1]))
	inForce(t, root, "svc installed")

	// dpkg's exit status is the last line.
	install := `dpkg -i "$1" 2>&1; echo $?; hashpkg check >/run/check 2>&1; echo $? >>/run/check`
	for _, c := range []struct{ name, before, after string }{
		{"settings", "echo nonsense >/etc/hashpkg.toml", "rm /etc/hashpkg.toml"},
		{"staging full", "mount -t tmpfs -o mode=755,size=4k,nr_inodes=9 full /var/sys/.hashpkg/staging", "umount /var/sys/.hashpkg/staging"},
		{"read-only", "mount --bind /var/sys /var/sys; mount -o remount,bind,ro /var/sys", "umount -l /var/sys"},
		{"closed", "exec <&-", ""},
	} {
		out := root.Run("sh", "-c", c.before+"\n"+install+"\n"+c.after, "sh", repo.Path(second[0]))
		if !strings.HasSuffix(out, "\n0\n") {
			t.Errorf("%s: dpkg fails: %s", c.name, out)
		}
		checked := root.ReadFile("/run/check")
		if c.after != "" && (!strings.Contains(out, "run hashpkg check") || strings.HasSuffix(checked, "\n0\n")) {
			t.Errorf("%s: nothing is reported: %s; check: %s", c.name, out, checked)
		}
		if out := root.Run("svc"); out != "2.0\n" {
			t.Errorf("%s: svc says %s", c.name, out)
		}
		root.Run("hashpkg", "sync")
		inForce(t, root, c.name)
		root.Run("dpkg", "-i", repo.Path(first[0]))
		inForce(t, root, c.name+", and back")
	}

	// Nobody listens, no home, no standard files.
	for _, script := range []string{
		"exec env -i /usr/bin/hashpkg hook after",
		"hashpkg hook after <&- >&- 2>&-",
		"hashpkg hook before", // as older versions had dpkg call it
		"echo nonsense >/etc/hashpkg.toml; { hashpkg hook after; echo $? >/run/status; } 2>&1 | :; rm /etc/hashpkg.toml; exit $(cat /run/status)",
		"hashpkg hook after --root /nowhere",
		"DPKG_ROOT=/srv/other hashpkg hook after; test ! -e /srv/other",
	} {
		root.Run("sh", "-c", script)
	}
	root.Run("hashpkg", "hook", "after")
	inForce(t, root, "after all")

	// While dpkg's lock is held, what follows from that is no problem.
	out := root.Run("perl", "-e", `use Fcntl; open F, "+<", "/var/lib/dpkg/lock" or die;
my $lock = pack("ssx![q]qqix![q]", F_WRLCK, 0, 0, 0, 0);
fcntl(F, F_SETLK, $lock) or die;
system("hashpkg hook after; hashpkg sync -q; hashpkg check --json")`)
	if !strings.Contains(out, `{"at_work":["dpkg"],"problems":[],"notes":[],`) {
		t.Errorf("with the lock held: %s", out)
	}
	root.Run("hashpkg", "check")
}

// TestDebPackageStays removes hashpkg's package while another hashpkg has the lock, and
// has its trigger killed: the package stays while programs are edited, and dpkg goes on.
func TestDebPackageStays(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "gcc")
	root := testroot.Debian(t, "bookworm", "")
	installDebs(root, buildPackages(t, "deb", "1.0")[:2]...) // the third needs debhelper
	debs := service(t, "1.0")
	const wrapper = "#!/bin/sh\ncase $2 in trigger) kill -9 $$;; esac\nexec /usr/bin/hashpkg.real \"$@\"\n"
	root.Run("mv", "/usr/bin/hashpkg", "/usr/bin/hashpkg.real")
	root.WriteFile("/usr/bin/hashpkg", wrapper, 0o755)
	installDebs(root, debs...)
	root.Run("dpkg", "--configure", "-a")
	root.Run("mv", "/usr/bin/hashpkg.real", "/usr/bin/hashpkg")
	if out := root.Run("dpkg", "--audit"); out != "" {
		t.Errorf("the trigger was killed, and dpkg --audit says %s", out)
	}
	root.Run("hashpkg", "sync")
	inForce(t, root, "after a trigger that was killed")

	out := root.Run("sh", "-c", "flock /var/sys/.hashpkg/lock sleep 100 & sleep 1; dpkg -r hashpkg hashpkg-follow 2>&1; echo $?; wait")
	if !strings.HasSuffix(out, "\n1\n") || !strings.Contains(out, "its package stays until hashpkg restore --all succeeds") {
		t.Errorf("with the lock held dpkg -r says %s", out)
	}
	if status := root.Run("dpkg-query", "-W", "-f=${db:Status-Status}", "hashpkg"); status != "installed" || !searches(root, "/usr/bin/svc") {
		t.Errorf("with the lock held hashpkg is %s, and svc edited: %v", status, searches(root, "/usr/bin/svc"))
	}
	root.Run("svc")
	inForce(t, root, "after a removal that failed")
	root.Run("dpkg", "-r", "hashpkg-follow", "hashpkg")
	if searches(root, "/usr/bin/svc") {
		t.Error("hashpkg is removed, and svc is edited")
	}
	root.Run("svc")
}

// saysChanged is what a hook says of what it has changed.
var saysChanged = regexp.MustCompile(`^hashpkg: (\d+ (trees?|trees? out of use|programs? edited|programs? as packaged again)(, |; undo: hashpkg restore --all)?)+\n?$`)

// TestRPMPackage takes hashpkg's .rpm through its life.
func TestRPMPackage(t *testing.T) {
	t.Parallel()
	root := testroot.RPM(t)
	files := buildPackages(t, "rpm", "1.0")
	isReproducible(t, files, "rpm", "1.0")
	files = files[:2] // the third needs rpm-build
	newer := buildPackages(t, "rpm", "1.1")[:2]
	untouched, _ := root.RPMErr(t.Context(), "-Va")
	of := func(files []string, names ...string) (chosen []string) {
		for _, name := range names {
			for _, f := range files {
				if rest, ok := strings.CutPrefix(filepath.Base(f), name+"-"); ok && rest[0] >= '0' && rest[0] <= '9' {
					chosen = append(chosen, f)
				}
			}
		}
		if len(chosen) < len(names) {
			t.Fatalf("of %q there are %q only", names, chosen)
		}
		return chosen
	}
	generations := 0
	do := func(what string, args ...string) {
		t.Helper()
		for line := range strings.Lines(root.RPM(args...)) {
			if strings.HasPrefix(line, "hashpkg:") && !saysChanged.MatchString(line) {
				t.Errorf("%s: %s", what, line)
			}
		}
		inForce(t, root.Root, what)
		list := generationsOf(t, root.Root)
		if len(list) > generations+1 {
			t.Errorf("%s: one transaction has made %d generations", what, len(list)-generations)
		}
		generations = len(list)
	}
	jq := []string{"jq", "libjq1"}
	root.RPM("-i", files[0])
	if now, _ := root.RPMErr(t.Context(), "-Va"); now != untouched {
		t.Errorf("with the program alone rpm -Va says %s, and before it said %s", now, untouched)
	}
	do("installed", "-i", files[1])
	if !searches(root.Root, "/usr/bin/curl") {
		t.Error("curl does not search the farm")
	}
	starts := root.Loop("curl", "--version")
	do("older", append([]string{"-U", "--oldpackage"}, of(root.Old, jq...)...)...)
	if record := root.ReadFile("/var/sys/current-system/generation.json"); !strings.Contains(record, `"run":"rpm `) {
		t.Errorf("the generation is of no run of rpm: %.300s", record)
	}
	do("newer", append([]string{"-U"}, of(root.New, jq...)...)...)
	do("again", append([]string{"-U", "--replacepkgs"}, of(root.New, jq...)...)...)
	do("jq erased", "-e", "jq") // files of /usr/bin only
	do("libjq1 erased", "-e", "libjq1")
	if out := root.Run("sh", "-c", "ls /var/sys/current-system/lib64"); strings.Contains(out, "libjq.so.1") {
		t.Error("the farm still has libjq.so.1")
	}
	do("back", append([]string{"-i"}, of(root.New, jq...)...)...)
	do("hashpkg upgraded", append([]string{"-U"}, newer...)...)
	if !searches(root.Root, "/usr/bin/jq") {
		t.Error("an upgrade of hashpkg gives programs back")
	}

	// rpm goes on without hashpkg's help, and with its settings broken.
	root.WriteFile("/etc/hashpkg.toml", "nonsense\n", 0o644)
	if out := root.RPM(append([]string{"-U", "--oldpackage"}, of(root.Old, jq...)...)...); !strings.Contains(out, "run hashpkg check") {
		t.Errorf("nothing is reported: %s", out)
	}
	root.Run("rm", "/etc/hashpkg.toml")
	if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil {
		t.Errorf("check finds nothing: %s", out)
	}
	do("repaired", append([]string{"-U"}, of(root.New, jq...)...)...)
	starts.Stop()

	root.RPM("-e", "hashpkg-follow", "jq")
	root.RPM(append([]string{"-i"}, of(root.New, "jq")...)...) // rpm calls nobody any more
	if now, _ := root.RPMErr(t.Context(), "-Va"); now != untouched {
		t.Errorf("followed no more, rpm -Va says %s, and before hashpkg it said %s", now, untouched)
	}
	root.RPM("-e", "hashpkg")
	if now, _ := root.RPMErr(t.Context(), "-Va"); now != untouched {
		t.Errorf("erased, rpm -Va says %s, and before hashpkg it said %s", now, untouched)
	}
	root.Run("curl", "--version")
	root.WriteFile("/etc/apparmor.d/abi/4.0", "", 0o644)
	do("installed again", append([]string{"-i"}, files...)...)
	if !searches(root.Root, "/usr/bin/curl") {
		t.Error("installed again, curl does not search the farm")
	}
	hasProfile(t, root.Root)
	root.RPM("-e", "hashpkg", "hashpkg-follow")
	root.Run("sh", "-c", "test ! -L /etc/apparmor.d/hashpkg-launchers")
}

// hasProfile fails the test unless the profile for launchers is in force, on a system that has
// a new enough AppArmor.
func hasProfile(t *testing.T, root *testroot.Root) {
	t.Helper()
	if text := root.Run("cat", "/etc/apparmor.d/hashpkg-launchers"); !strings.Contains(text, "userns,") {
		t.Errorf("the profile for launchers is %q", text)
	}
}
