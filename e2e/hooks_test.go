package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// TestHooksFollowDpkg lets dpkg and apt call hashpkg by its hooks.
func TestHooksFollowDpkg(t *testing.T) {
	t.Parallel()
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

// TestOneRunIsOneGeneration lets apt install libraries of which each must be configured
// before the next is unpacked: dpkg runs, and calls hashpkg, for each.
func TestOneRunIsOneGeneration(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	root.WriteFile("/etc/dpkg/dpkg.cfg.d/zz-note", "post-invoke=readlink /var/sys/current-system >>/var/log/active\n", 0o644)
	repo := root.Repo()
	active := func() map[string]bool {
		seen := map[string]bool{}
		for line := range strings.Lines(root.ReadFile("/var/log/active")) {
			seen[line] = true
		}
		root.WriteFile("/var/log/active", "", 0o644)
		return seen
	}
	for _, version := range []string{"1", "2"} {
		before := generationsOf(t, root)
		repo.Add(chain(t, "libone", version, ""), chain(t, "libtwo", version, "libone (= "+version+")"),
			chain(t, "libthree", version, "libtwo (= "+version+")"))
		root.Run("apt-get", "-y", "-q", "install", "libthree")
		if n := len(active()); n < 3 {
			t.Errorf("version %s: apt made dpkg call hashpkg after %d changes only", version, n)
		}
		after := generationsOf(t, root)
		if len(after) != len(before)+1 {
			t.Fatalf("version %s: the generations were %v, are %v", version, before, after)
		}
		if last := after[len(after)-1]; last.Parent != before[len(before)-1].ID || !last.Active {
			t.Errorf("version %s: after %v the last generation is %v", version, before, last)
		}
		for i := range before {
			if after[i].ID != before[i].ID {
				t.Errorf("version %s: the generations were %v, are %v", version, before, after)
			}
		}
		inForce(t, root, "version "+version)
	}
	// Two runs are two.
	before := generationsOf(t, root)
	root.Run("apt-get", "-y", "-q", "--allow-downgrades", "install", "libthree=1", "libtwo=1", "libone=1")
	root.Run("apt-get", "-y", "-q", "install", "libthree")
	if after := generationsOf(t, root); len(after) != len(before)+2 {
		t.Errorf("before two runs the generations were %v, then %v", before, after)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "rollback"); err == nil || !strings.Contains(out, "those of the system stay as their package manager has them") {
		t.Errorf("where only packages of the system have changed, rollback says %v: %s", err, out)
	}
	inForce(t, root, "not rolled back")
}

// TestOneRunOfDNFIsOneGeneration has dnf install two packages, and then upgrade them: rpm
// calls hashpkg for what has come, and for what has gone.
func TestOneRunOfDNFIsOneGeneration(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "rpm", "rpmbuild", "dnf", "createrepo_c", "gcc")
	root := testroot.RPM(t)
	repo := filepath.Join(root.Dir, "srv/repo")
	if err := os.MkdirAll(repo, 0o755); err != nil {
		t.Fatal(err)
	}
	root.WriteFile("/etc/yum.repos.d/own.repo", "[own]\nname=own\nbaseurl=file://"+repo+"\n", 0o644)
	root.RPM(append([]string{"-i"}, buildPackages(t, "rpm", "1.0")[:2]...)...) // the third needs rpm-build
	// Between two calls what the loader finds changes, so that each has something to do.
	root.WriteFile("/usr/bin/hashpkg.noted", `#!/bin/sh
hashpkg.real "$@"
[ "$2" = after ] && [ -e `+libs+`libone.so.1 ] || exit 0
mkdir -p /usr/local/lib
readlink /var/sys/current-system >>/var/log/active
rm /usr/local/lib/libone.so.1 2>/dev/null || cp `+libs+`libone.so.1 /usr/local/lib/
ldconfig
`, 0o755)
	root.Run("sh", "-c", "mv /usr/bin/hashpkg /usr/bin/hashpkg.real && mv /usr/bin/hashpkg.noted /usr/bin/hashpkg")

	for _, c := range []struct {
		version string
		states  int // that rpm's calls of hashpkg leave
		command string
	}{
		{"1", 1, "install libone libtwo"},
		{"2", 2, "upgrade"},
	} {
		for _, name := range []string{"libone", "libtwo"} {
			chainRPM(t, repo, name, c.version)
		}
		mustRun(t, "createrepo_c", "--quiet", "--no-database", repo)
		before := generationsOf(t, root.Root)
		root.WriteFile("/var/log/active", "", 0o644)
		said := root.DNF(strings.Fields(c.command)...)
		states := map[string]bool{}
		for line := range strings.Lines(root.ReadFile("/var/log/active")) {
			states[line] = true
		}
		if len(states) != c.states {
			t.Errorf("dnf %s: hashpkg leaves the states %v: %s", c.command, states, said)
		}
		after := generationsOf(t, root.Root)
		if len(after) != len(before)+1 {
			t.Fatalf("dnf %s: the generations were %v, are %v: %s", c.command, before, after, said)
		}
		if last := after[len(after)-1]; last.Parent != before[len(before)-1].ID || !last.Active {
			t.Errorf("dnf %s: after %v the last generation is %v", c.command, before, last)
		}
		var history struct {
			Generations []struct {
				Command string
				Changes []struct{ Name, After string }
			}
		}
		if err := json.Unmarshal([]byte(root.Run("hashpkg", "--json", "history")), &history); err != nil {
			t.Fatal(err)
		}
		newest := history.Generations[0]
		if !strings.HasPrefix(newest.Command, "dnf ") || !strings.HasSuffix(newest.Command, " "+c.command) {
			t.Errorf("the reason of what dnf %s did is %q", c.command, newest.Command)
		}
		changes := fmt.Sprint(newest.Changes)
		if want := fmt.Sprintf("[{libone %s-1} {libtwo %[1]s-1}]", c.version); changes != want {
			t.Errorf("dnf %s changed %s, not %s", c.command, changes, want)
		}
	}
	inForce(t, root.Root, "upgraded by dnf")
}

// generation is one of a root, as hashpkg lists it.
type generation struct {
	ID, Parent int
	Active     bool
}

func generationsOf(t *testing.T, root *testroot.Root) []generation {
	t.Helper()
	var said struct{ Generations []generation }
	if err := json.Unmarshal([]byte(root.Run("hashpkg", "--json", "generations")), &said); err != nil {
		t.Fatal(err)
	}
	return said.Generations
}

// TestDpkgAloneIsOneGeneration has dpkg call hashpkg in its trigger, and by its hook
// when it has given its lock back. The trigger comes while dpkg has not written its
// status yet, and another package's trigger after it changes what the loader finds.
func TestDpkgAloneIsOneGeneration(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "gcc")
	root := testroot.Debian(t, "bookworm", "")
	repo := root.Repo()
	late := writeDeb(t, t.TempDir(), testdeb.Package{
		Name: "late", Version: "1", Arch: "all", Triggers: "interest-noawait " + libs + "libone.so.1\n",
		Scripts: map[string]string{"postinst": `#!/bin/sh
set -e
[ "$1" = triggered ] && [ -e ` + libs + `libone.so.1 ] || exit 0
readlink /var/sys/current-system >>/var/log/active
rm /usr/local/lib/libone.so.1 2>/dev/null || cp ` + libs + `libone.so.1 /usr/local/lib/
ldconfig
`},
	})
	repo.Add(append(buildPackages(t, "deb", "1.0"), late)...)
	root.Run("apt-get", "-y", "-q", "install", "hashpkg-follow", "late")
	root.WriteFile("/etc/dpkg/dpkg.cfg.d/zz-note", "post-invoke=readlink /var/sys/current-system >>/var/log/active\n", 0o644)
	trees := ""
	for _, version := range []string{"1", "2"} {
		trees += version + " "
		one, two := chain(t, "libone", version, ""), chain(t, "libtwo", version, "")
		repo.Add(one, two)
		before := generationsOf(t, root)
		was := root.Run("readlink", "/var/sys/current-system")
		root.WriteFile("/var/log/active", "", 0o644)
		out := root.Run("dpkg", "-i", repo.Path(one), repo.Path(two))
		active := root.ReadFile("/var/log/active")
		if lines := slices.Collect(strings.Lines(active)); len(lines) != 2 || lines[0] == was || lines[0] == lines[1] {
			t.Errorf("version %s: the trigger and the hook were to change the generation each, and after %q came %q: %s", version, was, lines, out)
		}
		after := generationsOf(t, root)
		if last := after[len(after)-1]; len(after) != len(before)+1 || last.Parent != before[len(before)-1].ID || !last.Active {
			t.Errorf("version %s: the generations were %v, are %v", version, before, after)
		}
		if out := root.Run("sh", "-c", "cd /var/sys/libone; echo *"); out != trees+"default\n" {
			t.Errorf("version %s: the trees of libone are %s", version, out)
		}
		inForce(t, root, "version "+version)
	}
	// Two runs are two.
	before := generationsOf(t, root)
	root.Run("dpkg", "-r", "libone")
	root.Run("dpkg", "-r", "libtwo")
	if after := generationsOf(t, root); len(after) != len(before)+2 {
		t.Errorf("before two runs the generations were %v, then %v", before, after)
	}
}

// TestCheckWithoutRoot has somebody check who may not see all, and settings of programs
// that compare others with digests.
func TestCheckWithoutRoot(t *testing.T) {
	testneed.Programs(t, "gcc")
	root, _, second := serviceRoot(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("chmod", "700", "/usr/bin/svc")
	root.Run("chmod", "640", "/var/lib/dpkg/lock-frontend")
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "hashpkg", "check"}
	if out := root.Run(nobody...); !strings.Contains(out, "note: cannot see ") || !strings.Contains(out, "\nok: ") {
		t.Errorf("without root check says %s", out)
	}
	// A problem is one for nobody, too.
	root.WriteFile("/etc/dpkg/dpkg.cfg.d/hashpkg", "# changed\n", 0o644)
	if out, err := root.RunErr(t.Context(), nobody...); err == nil || !strings.Contains(out, "is changed; run hashpkg hooks install") {
		t.Errorf("of a changed hook check says %v: %s", err, out)
	}
	root.Run("rm", "/etc/dpkg/dpkg.cfg.d/hashpkg")
	root.Run("hashpkg", "hooks", "install")

	root.WriteFile("/etc/fapolicyd/fapolicyd.conf", "permissive = 0\nintegrity = sha256\n", 0o644)
	root.WriteFile("/etc/aide/aide.conf", "", 0o644)
	if !searches(root, "/usr/bin/svc") {
		t.Fatal("svc was not edited")
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil || !strings.Contains(out, "behind the package manager") {
		t.Errorf("while svc is edited, and trusted by its digest, check says %v: %s", err, out)
	}
	root.Run("hashpkg", "sync")
	if searches(root, "/usr/bin/svc") {
		t.Error("svc is edited, and fapolicyd would refuse it")
	}
	out := root.Run("hashpkg", "check")
	for _, want := range []string{"note: fapolicyd trusts programs by their digests (integrity = sha256", "note: AIDE (/etc/aide/aide.conf)", "\nok: "} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q: %s", want, out)
		}
	}
	installDebs(root, second...)
	if out := root.Run("hashpkg", "sync", "--again", "-v"); !strings.Contains(out, "note: /usr/bin/svc is left as it is: it is trusted by its digest") {
		t.Errorf("sync says %s", out)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "pin", "svc", "libsvc1=1.0"); err == nil || !strings.Contains(out, "trusted by its digest") {
		t.Errorf("pin says %v: %s", err, out)
	}
	root.WriteFile("/etc/fapolicyd/fapolicyd.conf", "integrity = none\n", 0o644)
	root.Run("hashpkg", "sync")
	if !searches(root, "/usr/bin/svc") {
		t.Error("svc is not edited, though nobody minds")
	}
}

// chain builds a deb of a library that pre-depends on another.
func chain(t *testing.T, name, version, preDepends string) string {
	t.Helper()
	dir := t.TempDir()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: test\nDescription: test\n", name, version)
	if preDepends != "" {
		control += "Pre-Depends: " + preDepends + "\n"
	}
	for _, d := range []string{"DEBIAN", libs} {
		if err := os.MkdirAll(filepath.Join(dir, name, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name, "DEBIAN/control"), []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "lib.c")
	if err := os.WriteFile(source, []byte("int "+name+"(void) { return "+version+"; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "gcc", "-shared", "-fPIC", "-Wl,-soname,"+name+".so.1", "-o", filepath.Join(dir, name, libs, name+".so.1"), source)
	deb := filepath.Join(dir, name+"_"+version+".deb")
	mustRun(t, "dpkg-deb", "--root-owner-group", "-b", filepath.Join(dir, name), deb)
	return deb
}

// chainRPM puts the rpm of a library into a directory.
func chainRPM(t *testing.T, dir, name, version string) {
	t.Helper()
	work := t.TempDir()
	source, lib := filepath.Join(work, "lib.c"), filepath.Join(work, "lib.so")
	if err := os.WriteFile(source, []byte("int "+name+"(void) { return "+version+"; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "gcc", "-shared", "-fPIC", "-Wl,-soname,"+name+".so.1", "-o", lib, source)
	content, err := os.ReadFile(lib)
	if err != nil {
		t.Fatal(err)
	}
	rpm := testrpm.RPM(t, testrpm.Package{Name: name, Version: version, Files: []testrpm.File{
		{Path: libs + name + ".so.1", Mode: 0o755, Content: string(content)},
	}})
	if err := os.WriteFile(filepath.Join(dir, name+"-"+version+"-1.x86_64.rpm"), rpm, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestHooksFailGently breaks hashpkg under dpkg's feet: dpkg does not notice, check
// tells, and the next run repairs.
func TestHooksFailGently(t *testing.T) {
	t.Parallel()
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
