package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// registered is a script that computes a list of what other packages have, as XML's catalogs
// are.
const registered = "mkdir -p /etc/reg; ls /usr/share/reg >/etc/reg/catalog\n"

// scriptedRoot is a root with packages whose scripts compute files.
type scriptedRoot struct {
	t    *testing.T
	root *testroot.Root
	dir  string
}

func newScriptedRoot(t *testing.T) *scriptedRoot {
	t.Helper()
	return &scriptedRoot{t, testroot.Debian(t, "bookworm", ""), t.TempDir()}
}

// deb makes a package that has a command, files, and a script which configures it.
func (s *scriptedRoot) deb(name, version, depends, script string, files ...testdeb.File) string {
	s.t.Helper()
	p := testdeb.Package{Name: name, Version: version, Depends: depends, Files: files}
	p.Files = append(p.Files, testdeb.File{Path: "usr/bin/" + name, Mode: 0o755, Content: "#!/bin/sh\ncat /etc/" + name + "/*\n"})
	if script != "" {
		p.Scripts = map[string]string{"postinst": "#!/bin/sh\nset -e\n" + script}
	}
	return writeDeb(s.t, s.dir, p)
}

// hashpkg runs a command, which must have a status, and returns what it has said.
func (s *scriptedRoot) hashpkg(status int, args ...string) string {
	s.t.Helper()
	var b bytes.Buffer
	cmd := exec.Command(hashpkg(s.t), append([]string{"--root", s.root.Dir}, args...)...)
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	if have := cmd.ProcessState.ExitCode(); have != status {
		s.t.Fatalf("hashpkg %q: %v: %s", args, err, &b)
	}
	return b.String()
}

// says fails the test where a command has not said something.
func (s *scriptedRoot) says(out string, all ...string) {
	s.t.Helper()
	for _, text := range all {
		if !strings.Contains(out, text) {
			s.t.Errorf("it does not say %q: %s", text, out)
		}
	}
}

// has fails the test where a file of the root has other contents.
func (s *scriptedRoot) has(files map[string]string) {
	s.t.Helper()
	for name, want := range files {
		b, err := os.ReadFile(filepath.Join(s.root.Dir, name))
		switch {
		case want == "" && !os.IsNotExist(err):
			s.t.Errorf("%s: %q, %v: nothing is to be there", name, b, err)
		case want != "" && (err != nil || string(b) != want):
			s.t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
}

// TestConfScripts has scripts compute configuration: what they compute is copied where nothing
// is, follows when it is asked for again, and goes when it is dropped. What is not the packages'
// own, and what is secret, stays in the box.
func TestConfScripts(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install",
		s.deb("tool", "1", "lib", `
mkdir -p /etc/tool /var/lib/tool /etc/cron.d
cat /etc/lib/conf /usr/share/lib/data >/etc/tool/computed
echo 1 >/etc/tool/own; echo 1 >/etc/tool/changed; echo 1 >/etc/tool/gone; echo 1 >/etc/tool/old
echo 1 >/var/lib/tool/state; echo 1 >/etc/cron.d/tool; echo evil >>/etc/passwd
date +%N >/etc/tool/key; chmod 600 /etc/tool/key; echo 1 >/usr/share/lib/more
ln -s /usr/share/lib/data /etc/tool/data; ln -s computed /etc/tool/alias
`+registered, testdeb.File{Path: "usr/share/reg/tool"}),
		s.deb("lib", "1", "", "mkdir -p /etc/lib; echo lib >/etc/lib/made\n",
			testdeb.File{Path: "etc/lib/conf", Content: "conf\n"}, testdeb.File{Path: "usr/share/lib/data", Content: "data\n"}))
	s.root.WriteFile("/etc/tool/own", "mine\n", 0o644)
	passwd := s.root.ReadFile("/etc/passwd")

	before := dump(t, s.root.Path("/etc"))
	s.says(s.hashpkg(0, "configure", "tool", "--dry-run"), "/etc/tool/computed: would be copied\n")
	if after := dump(t, s.root.Path("/etc")); after != before {
		t.Errorf("a dry run has changed /etc to %s", after)
	}
	out := s.hashpkg(0, "configure", "tool")
	s.says(out, "/etc/tool/computed: copied\n", "/etc/lib/made: copied\n", "/var/lib/tool/state: copied\n", "note: /etc/tool/own is left (own)\n",
		"note: /usr/share/lib/more is left (refused): scripts compute 1 file for /usr, where nothing is put\n")
	first := map[string]string{
		"etc/tool/computed": "conf\ndata\n", "etc/tool/own": "mine\n", "etc/tool/changed": "1\n", "etc/tool/data": "data\n", "etc/tool/alias": "conf\ndata\n",
		"etc/lib/made": "lib\n", "var/lib/tool/state": "1\n", "etc/reg/catalog": "tool\n", "etc/passwd": passwd,
		"etc/tool/key": "", "etc/cron.d/tool": "", "usr/share/lib/more": "",
	}
	s.has(first)
	s.says(s.hashpkg(0, "conf", "list", "tool"), "adopted  /etc/tool/computed")
	s.says(s.hashpkg(0, "configure", "tool"), "nothing to do\n")

	// What is computed of all that there is has what both packages bring.
	s.hashpkg(0, "install", s.deb("other", "1", "", registered, testdeb.File{Path: "usr/share/reg/other"}))
	s.says(s.hashpkg(0, "configure", "other"), "/etc/reg/catalog: updated\n")
	first["etc/reg/catalog"] = "other\ntool\n"
	s.has(first)

	// Another version: what nobody has changed follows when it is asked for, and not before.
	s.root.WriteFile("/etc/tool/changed", "changed\n", 0o644)
	if err := os.Remove(s.root.Path("/etc/tool/gone")); err != nil {
		t.Fatal(err)
	}
	out = s.hashpkg(0, "install", s.deb("tool", "2", "lib", `
mkdir -p /etc/tool; for f in computed own changed gone; do echo 2 >/etc/tool/$f; done
`+registered, testdeb.File{Path: "usr/share/reg/tool2"}))
	s.says(out, "note: 7 files of tool were computed by scripts of version 1: hashpkg configure tool computes them again\n")
	first["etc/tool/changed"] = "changed\n"
	s.has(first)
	s.says(s.hashpkg(0, "conf", "list", "tool"), "outdated  /etc/tool/computed", "scripts have computed it for version 1; hashpkg configure tool computes it again",
		"changed   /etc/tool/changed", "removed   /etc/tool/gone")
	out = s.hashpkg(0, "configure", "tool")
	s.says(out, "/etc/tool/computed: updated\n", "/etc/tool/old: removed\n",
		"/etc/tool/changed: somebody has changed it; the new version is beside it, as /etc/tool/changed.hashpkg-new\n")
	if strings.Contains(out, "for version 1") {
		t.Errorf("it speaks of what it has replaced: %s", out)
	}
	s.has(map[string]string{
		"etc/tool/computed": "2\n", "etc/tool/own": "mine\n", "etc/tool/changed": "changed\n", "etc/tool/changed.hashpkg-new": "2\n", "etc/tool/gone": "2\n",
		"etc/tool/old": "", "etc/tool/data": "", "var/lib/tool/state": "", "var/lib/tool": "", "etc/reg/catalog": "other\ntool2\n",
	})

	s.says(s.hashpkg(0, "show", "tool"), "scripts   postinst: what configures it ran in a box\n/etc      5 files, such as /etc/lib/made; hashpkg conf list tool says more\n")
	s.says(s.hashpkg(0, "remove", "tool"), "note: 5 files of tool in /etc and /var/lib stay: hashpkg conf drop tool removes those that nobody has changed\n")
	s.hashpkg(0, "conf", "drop", "tool")
	s.has(map[string]string{"etc/tool/computed": "", "etc/lib/made": "", "etc/reg/catalog": "other\ntool2\n", "etc/tool/own": "mine\n", "etc/tool/changed": "changed\n", "etc/passwd": passwd})
	s.says(s.hashpkg(0, "configure", "other"), "/etc/reg/catalog: updated\n")
	s.has(map[string]string{"etc/reg/catalog": "other\n"})
	s.says(s.hashpkg(0, "conf", "drop", "other"), "/etc/reg/catalog: removed\n")
	s.has(map[string]string{"etc/reg": ""})
	s.says(s.hashpkg(0, "verify", "--all"), ", 0 damaged")
}

// TestConfScriptsOfShipped has a script change a file that its package ships: what it makes of it
// counts from then on.
func TestConfScriptsOfShipped(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install", s.deb("tool", "1", "", "echo more >>/etc/tool/conf\n", testdeb.File{Path: "etc/tool/conf", Content: "conf\n"}))
	s.hashpkg(0, "conf", "adopt", "tool")
	s.has(map[string]string{"etc/tool/conf": "conf\n"})
	s.says(s.hashpkg(0, "configure", "tool"), "/etc/tool/conf: updated\n")
	for range 2 {
		s.has(map[string]string{"etc/tool/conf": "conf\nmore\n"})
		s.says(s.hashpkg(0, "conf", "list", "tool"), "adopted  /etc/tool/conf  tool=1  computed by scripts\n")
		s.says(s.hashpkg(0, "conf", "adopt", "tool"), "nothing to do\n")
	}
	s.hashpkg(0, "conf", "drop", "tool")
	s.has(map[string]string{"etc/tool": ""})
}

// TestConfScriptsThatHang has a script end that waits for ever, and says what gives it longer.
func TestConfScriptsThatHang(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install", s.deb("tool", "1", "", "echo >/etc/tool/made; exec sleep 1000000\n", testdeb.File{Path: "etc/tool/conf", Content: "conf\n"}))
	s.says(s.hashpkg(1, "configure", "--timeout", "1s", "tool"), "it has not ended after 1s", "give it longer by --timeout")
	s.has(map[string]string{"etc/tool": ""})
	s.says(s.hashpkg(2, "configure", "--timeout", "0", "tool"), "--timeout is not more than 0")
}

// TestConfScriptsTogether: --timeout is for all runs of scripts, of which there is one more for each package
// that fails.
func TestConfScriptsTogether(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install", s.deb("tool", "1", "bad", "mkdir /etc/tool; ulimit -t >/etc/tool/left\n"), s.deb("bad", "1", "", "sleep 2; exit 3\n"))
	s.says(s.hashpkg(0, "configure", "--timeout", "1000s", "tool"), "warning: the script that configures bad fails")
	left, err := strconv.Atoi(strings.TrimSpace(s.root.ReadFile("/etc/tool/left")))
	if err != nil || left <= 0 || left > 998 {
		t.Errorf("when 2 of 1000 seconds have gone, %d are left, error %v", left, err)
	}
}

// TestConfScriptsNamed has an install name the commands that bring what its programs lack.
func TestConfScriptsNamed(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	out := s.hashpkg(0, "install", "--allow-missing", s.deb("tool", "1", "debconf, ucf | other", "ucf /usr/share/tool/conf /etc/tool/made\n",
		testdeb.File{Path: "usr/share/tool/conf", Content: "conf\n"}))
	s.says(out, "note: tool may need what only scripts compute, such as /etc/tool/made: hashpkg install ucf, then hashpkg configure tool computes it\n")
	made := func(name, tools string) string {
		return s.deb(name, "1", tools, "ucf /usr/share/tool/conf /etc/"+name+"/made\n", testdeb.File{Path: "usr/share/" + name + "/conf", Content: "conf\n"})
	}
	out = s.hashpkg(0, "install", "--allow-missing", made("one", "ucf"), made("two", "debconf, ucf"))
	s.says(out, "note: scripts need what is not installed: hashpkg install ucf brings it, for those below\n",
		"note: one may need what only scripts compute, such as /etc/one/made: hashpkg configure one computes it\n",
		"note: two may need what only scripts compute, such as /etc/two/made: hashpkg configure two computes it\n")
	if strings.Count(out, "hashpkg install") != 1 {
		t.Errorf("it does not say once what brings what scripts call: %s", out)
	}
	prefix := filepath.Join(s.dir, "sys")
	if err := errors.Join(os.Chmod(filepath.Dir(s.dir), 0o755), os.Chmod(s.dir, 0o755), os.Mkdir(prefix, 0o755), os.Chown(prefix, 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	user := exec.Command(hashpkg(t), "--prefix", prefix, "install", "--allow-missing", filepath.Join(s.dir, "tool_1.deb"))
	user.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	said, err := user.CombinedOutput()
	if err != nil {
		t.Fatalf("as a user: %v: %s", err, said)
	}
	s.says(string(said), "note: tool may need what only scripts compute, such as /etc/tool/made; hashpkg configure has them do so, for root only\n")
	out = s.hashpkg(1, "configure", "tool")
	s.says(out, "ucf: not found", "scripts need ucf, which neither hashpkg nor the system has")
	s.hashpkg(0, "install", s.deb("ucf", "1", "", "", testdeb.File{Path: "usr/share/ucf/x"}))
	if out := s.hashpkg(0, "install", s.deb("tool", "2", "ucf", "echo >/etc/cron.d/tool; echo >>/etc/passwd\n")); strings.Contains(out, "only scripts compute") {
		t.Errorf("what is not copied, or there, is named: %s", out)
	}
}

// TestConfScriptsFail: of a script that fails, nothing comes, and the rest does; the package's
// own, or who may not do it, is an error that changes nothing.
func TestConfScriptsFail(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install", s.deb("tool", "1", "bad", "mkdir -p /etc/tool; echo 1 >/etc/tool/made\n"),
		s.deb("bad", "1", "", "mkdir -p /etc/bad; echo 1 >/etc/bad/made; echo no luck >&2; exit 3\n"),
		s.deb("plain", "1", "", "", testdeb.File{Path: "etc/plain.conf"}),
		s.deb("slow", "1", "", "mkdir -p /etc/slow; echo 1 >/etc/slow/made; echo running >&2; sleep 100\n"))
	out := s.hashpkg(0, "configure", "tool")
	s.says(out, "warning: the script that configures bad fails: no luck; what it would compute is lacking\n", "/etc/tool/made: copied\n")
	s.has(map[string]string{"etc/tool/made": "1\n", "etc/bad": ""})
	s.says(s.hashpkg(0, "--json", "configure", "tool"), `"failed":[{"package":"bad","reason":"the script that configures bad fails: no luck"}]`)

	// What was computed before stays.
	s.hashpkg(0, "install", s.deb("user", "1", "once", "mkdir -p /etc/user; echo 1 >/etc/user/made\n"), s.deb("once", "1", "", "mkdir -p /etc/once; echo 1 >/etc/once/made\n"))
	s.says(s.hashpkg(0, "configure", "user"), "/etc/once/made: copied\n")
	s.hashpkg(0, "install", s.deb("once", "2", "", "exit 1\n"))
	s.says(s.hashpkg(0, "configure", "user"), "warning: the script that configures once fails")
	s.has(map[string]string{"etc/user/made": "1\n", "etc/once/made": "1\n"})

	before := dump(t, s.root.Path("/etc"))
	s.says(s.hashpkg(1, "configure", "bad"), "run the scripts of bad and of what it needs: the script that configures bad fails: no luck")
	s.says(s.hashpkg(1, "configure", "plain"), "no script of it, or of what it needs, computes anything")
	s.says(s.hashpkg(1, "configure", "nobody"), "not installed: nobody")
	cmd := exec.Command(hashpkg(t), "--root", s.root.Dir, "configure", "tool")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("a user has run scripts: %s", out)
	}

	if err := os.Rename(s.root.Path("/usr/bin/dpkg"), s.root.Path("/usr/bin/dpkg.aside")); err != nil {
		t.Fatal(err)
	}
	s.says(s.hashpkg(1, "configure", "tool"), "dpkg runs scripts, and neither the system nor hashpkg has it: hashpkg install dpkg brings what scripts call")
	s.says(s.hashpkg(0, "install", s.deb("late", "1", "", "mkdir -p /etc/late; echo 1 >/etc/late/made\n")), "hashpkg install dpkg, then hashpkg configure late computes it")
	// That of a tree does it as well.
	s.hashpkg(0, "install", writeDeb(t, s.dir, testdeb.Package{Name: "dpkg", Version: "1", Files: []testdeb.File{
		{Path: "usr/bin/dpkg", Mode: 0o755, Content: "#!/bin/sh\nexec /usr/bin/dpkg.aside \"$@\"\n"}, {Path: "usr/share/dpkg/x"},
	}}))
	s.says(s.hashpkg(0, "configure", "late"), "/etc/late/made: copied\n")
	s.hashpkg(0, "conf", "drop", "late")
	s.says(s.hashpkg(1, "configure", "plain"), "no script of it, or of what it needs, computes anything")
	if err := os.Rename(s.root.Path("/usr/bin/dpkg.aside"), s.root.Path("/usr/bin/dpkg")); err != nil {
		t.Fatal(err)
	}

	// Killed while they run, it leaves nothing.
	cmd = exec.Command(hashpkg(t), "--root", s.root.Dir, "configure", "slow")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if out, _ := exec.Command("pgrep", "-P", children(cmd.Process.Pid)).Output(); len(out) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	inside := children(cmd.Process.Pid)
	if inside == "" {
		t.Fatal("no script runs")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for range 200 {
		if _, err := os.Stat("/proc/" + inside); err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := os.Stat("/proc/" + inside); err == nil {
		t.Error("scripts run on without hashpkg")
	}
	if after := dump(t, s.root.Path("/etc")); after != before {
		t.Errorf("/etc was changed to %s", after)
	}
	s.says(s.hashpkg(0, "configure", "tool"), "nothing to do\n")
	s.says(s.hashpkg(0, "verify", "--all"), ", 0 damaged")
}

// TestConfScriptsFullDisk: where there is no room, it says so once, and does the rest when there
// is. A signal while scripts run changes nothing.
func TestConfScriptsFullDisk(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install", s.deb("many", "1", "", "mkdir -p /etc/many; for i in $(seq 30); do head -c 8000 /dev/zero >/etc/many/$i; done; sleep 3\n"))
	dir := s.root.Path("/etc/many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("full", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // where the test has not come to it
	if out := s.hashpkg(1, "configure", "many"); strings.Count(out, "no space left on device") != 1 {
		t.Errorf("it says %s", out)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(hashpkg(t), "--root", s.root.Dir, "configure", "many")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if children(cmd.Process.Pid) != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 || said.String() != "hashpkg: interrupted; nothing was changed\n" {
		t.Errorf("interrupted, its status is %d: %s", cmd.ProcessState.ExitCode(), &said)
	}
	s.says(s.hashpkg(0, "configure", "many"), "/etc/many/ (30 files): copied\n")
}

// TestConfScriptsHostile: scripts that mean harm, and directories that lead elsewhere.
func TestConfScriptsHostile(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	s.hashpkg(0, "install", s.deb("evil", "1", "", `
mkdir -p /etc/evil /etc/led /var/lib/led /var/lib/store /etc/sudoers.d /etc/profile.d /var/lib/sudo /var/lib/pam /root 2>/dev/null || :
cp /bin/sh /etc/evil/sh; chmod 6755 /etc/evil/sh; ln -s ../../../../../../etc/shadow /etc/evil/shadow
for f in /etc/led/x /var/lib/led/x /var/lib/store/x /etc/sudoers.d/x /etc/profile.d/x.sh /var/lib/sudo/x /var/lib/pam/x /etc/shadow /etc/ld.so.preload /etc/passwd; do echo evil >>$f; done
echo evil >/usr/bin/evil2; cat /etc/shadow >/etc/evil/copy; cat /proc/1/environ >>/etc/evil/copy 2>/dev/null || :
mv /etc/passwd /etc/evil/passwd; rm -rf /usr/lib/* 2>/dev/null || :
`))
	for _, args := range [][]string{{"mkdir", "-p", "/root/secret", "/var/lib"}, {"ln", "-s", "/root/secret", "/etc/led"}, {"ln", "-s", "/root/secret", "/var/lib/led"}, {"ln", "-s", "/var/sys/.hashpkg", "/var/lib/store"}} {
		s.root.Run(args...)
	}
	s.root.WriteFile("/etc/shadow", "secret:of:the:host\n", 0o600)
	usr, secret, shadow, passwd := dump(t, s.root.Path("/usr")), dump(t, s.root.Path("/root")), s.root.ReadFile("/etc/shadow"), s.root.ReadFile("/etc/passwd")
	out := s.hashpkg(0, "configure", "evil")
	s.says(out, "/etc/led/x is left (blocked): a link leads out of /etc, to /root/secret/x", "/var/lib/led/x is left (blocked): /var/lib/led/x leads to /root/secret/x",
		"/var/lib/store/x is left (blocked): /var/lib/store/x leads to /var/sys/.hashpkg/x")
	for dir, want := range map[string]string{"/usr": usr, "/root": secret} {
		if have := dump(t, s.root.Path(dir)); have != want {
			t.Errorf("%s is changed to %s", dir, have)
		}
	}
	s.has(map[string]string{
		"etc/shadow": shadow, "etc/passwd": passwd, "etc/ld.so.preload": "", "etc/sudoers.d/x": "", "etc/profile.d/x.sh": "", "var/lib/sudo/x": "", "var/lib/pam/x": "",
	})
	if info, err := os.Stat(s.root.Path("/etc/evil/sh")); err != nil || info.Mode() != 0o755 {
		t.Errorf("a setuid program has the mode %v, error %v", info, err)
	}
	if b, err := os.ReadFile(s.root.Path("/etc/evil/copy")); err != nil || strings.Contains(string(b), "host") {
		t.Errorf("the host's secret is %q, error %v", b, err)
	}
	s.says(s.hashpkg(0, "verify", "--all"), ", 0 damaged")
	s.hashpkg(0, "conf", "drop", "evil")
	s.has(map[string]string{"etc/evil": "", "etc/shadow": shadow})
}

// children returns the first child of a process, by its number; "" for none.
func children(pid int) string {
	out, err := exec.Command("pgrep", "-o", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// rpmScripts are packages of rpm whose scripts compute files, each from what those before it have
// computed. The scripts look at their arguments and order.
func rpmScripts(t *testing.T, dir string) (files []string) {
	t.Helper()
	const posttrans, posttransProg, postProg = 1152, 1154, 1086
	for _, p := range []testrpm.Package{
		{
			Name: "app", Requires: []string{"/usr/bin/base", "/usr/share/index/index"},
			Scripts: map[string]string{"post": "set -e\ntest $# = 1; test $1 = 1; test ! -e /etc/base/after\nmkdir -p /etc/app /var/lib/app\ncat /etc/base/made /etc/base/conf /usr/share/index/index >/etc/app/computed\necho state >/var/lib/app/state; echo x >/etc/cron.d-app; echo evil >>/etc/ld.so.preload-app\n"},
			Files:   []testrpm.File{{Path: "/usr/bin/app", Mode: testrpm.TypeFile | 0o755, Content: "#!/bin/sh\ncat /etc/app/computed\n"}},
			Edit: func(h *testrpm.Header) {
				h.Strings(posttrans, "cat /etc/base/after >/etc/app/last\n")
				h.Strings(posttransProg, "/bin/sh")
			},
		},
		{
			Name: "base", Scripts: map[string]string{"post": "mkdir -p /etc/base; echo made by $1 >/etc/base/made\n"},
			Files: []testrpm.File{{Path: "/etc/base/conf", Content: "conf\n", Flags: 1}, {Path: "/usr/bin/base", Mode: testrpm.TypeFile | 0o755, Content: "#!/bin/sh\n"}},
			Edit: func(h *testrpm.Header) {
				h.Strings(posttrans, "echo after >/etc/base/after\n")
				h.Strings(posttransProg, "/bin/sh")
			},
		},
		{
			Name: "index", Files: []testrpm.File{{Path: "/usr/share/index/index", Content: "index\n"}},
			Edit: func(h *testrpm.Header) { h.Strings(postProg, "/sbin/ldconfig") },
		},
	} {
		file := filepath.Join(dir, p.Name+".rpm")
		if err := os.WriteFile(file, testrpm.RPM(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// TestConfScriptsOfRPM: what the scripts of an rpm compute is what they compute when rpm itself
// installs it.
func TestConfScriptsOfRPM(t *testing.T) {
	t.Parallel()
	root := testroot.RPM(t)
	s := &scriptedRoot{t, root.Root, t.TempDir()}
	files := rpmScripts(t, s.dir)
	out := s.hashpkg(0, append([]string{"install"}, files...)...)
	s.says(out, "note: app may need what only scripts compute, such as /etc/app/computed: hashpkg configure app computes it\n")
	out = s.hashpkg(0, "configure", "app")
	s.says(out, "/etc/app/computed: copied\n", "/etc/app/last: copied\n", "/etc/base/made: copied\n", "/var/lib/app/state: copied\n")
	computed := []string{"/etc/app/computed", "/etc/app/last", "/etc/base/made", "/etc/base/after", "/var/lib/app/state"}
	have := map[string]string{}
	for _, file := range computed {
		have[file] = root.ReadFile(file)
	}
	s.says(s.hashpkg(0, "configure", "app"), "nothing to do\n")
	s.says(s.hashpkg(0, "show", "app"), "scripts   post, posttrans: what configures it ran in a box\n")
	s.hashpkg(0, "conf", "drop", "app")
	s.has(map[string]string{"etc/app": "", "etc/base": "", "var/lib/app": ""})

	var inside []string // rpm sees the packages where the root's user would have them
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root.WriteFile("/tmp/"+filepath.Base(file), string(b), 0o644)
		inside = append(inside, root.Path("/tmp/"+filepath.Base(file)))
	}
	root.RPM(append([]string{"-i", "--nodeps"}, inside...)...)
	for _, file := range computed {
		if want := root.ReadFile(file); have[file] != want {
			t.Errorf("%s was %q, and rpm's is %q", file, have[file], want)
		}
	}
}

// TestConfScriptsOfRPMFail: of a script that fails, or that only rpm can run, nothing comes.
func TestConfScriptsOfRPMFail(t *testing.T) {
	t.Parallel()
	s := newScriptedRoot(t)
	const postProg = 1086
	rpm := func(name, requires, program, script string) string {
		p := testrpm.Package{
			Name: name, Scripts: map[string]string{"post": script}, Files: []testrpm.File{{Path: "/usr/share/" + name + "/x"}},
			Edit: func(h *testrpm.Header) { h.Strings(postProg, program) },
		}
		if requires != "" {
			p.Requires = strings.Fields(requires)
		}
		file := filepath.Join(s.dir, name+".rpm")
		if err := os.WriteFile(file, testrpm.RPM(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	s.hashpkg(0, "install", rpm("top", "bad moon", "/bin/sh", "mkdir /etc/top; echo 1 >/etc/top/made\n"),
		rpm("bad", "", "/bin/sh", "mkdir /etc/bad; echo 1 >/etc/bad/made; echo no luck >&2; exit 3\n"),
		rpm("moon", "", "<lua>", "posix.mkdir('/etc/moon')\n"), rpm("cache", "", "/sbin/ldconfig", ""))
	s.says(s.hashpkg(0, "configure", "top"), "warning: the script that configures bad fails: no luck; what it would compute is lacking\n",
		"warning: the script that configures moon fails: it is written for rpm's own interpreter; what it would compute is lacking\n", "/etc/top/made: copied\n")
	s.has(map[string]string{"etc/top/made": "1\n", "etc/bad": "", "etc/moon": ""})
	before := dump(t, s.root.Path("/etc"))
	s.says(s.hashpkg(1, "configure", "bad"), "the script that configures bad fails: no luck")
	s.says(s.hashpkg(1, "configure", "moon"), "the script that configures moon fails: it is written for rpm's own interpreter")
	s.says(s.hashpkg(1, "configure", "cache"), "no script of it, or of what it needs, computes anything")
	if after := dump(t, s.root.Path("/etc")); after != before {
		t.Errorf("/etc was changed to %s", after)
	}
}
