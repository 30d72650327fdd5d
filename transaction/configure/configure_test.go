package configure_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/sandbox"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/transaction/configure"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

func open(t *testing.T, path string) *beneath.Dir {
	t.Helper()
	d, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// pkg returns a package that has a script and files.
func pkg(p testdeb.Package, postinst string, files ...configure.File) configure.Package {
	control := map[string][]byte{"control": []byte(p.ControlFile())}
	if postinst != "" {
		control["postinst"] = []byte("#!/bin/sh\nset -e\n" + postinst)
	}
	return configure.Package{Control: control, Files: files}
}

// run configures packages over the machine's own /usr, and the files in usr.
func run(t *testing.T, usr map[string]string, packages ...configure.Package) ([]configure.File, error) {
	t.Helper()
	return runBy(t, configure.Run, usr, packages...)
}

type runner func(context.Context, sandbox.Box, *beneath.Dir, []configure.Package, []configure.File) ([]configure.File, error)

func runBy(t *testing.T, by runner, usr map[string]string, packages ...configure.Package) ([]configure.File, error) {
	t.Helper()
	testneed.Programs(t, "dpkg")
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/work", 0o755), os.MkdirAll(dir+"/usr", 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, text := range usr {
		at := filepath.Join(dir, "usr", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	box := sandbox.Box{Usr: []*beneath.Dir{open(t, dir+"/usr"), open(t, "/usr")}, Dirs: map[string]*beneath.Dir{}, Links: map[string]string{}}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64"} {
		if _, err := os.Readlink("/" + name); err == nil {
			box.Links["/"+name] = "usr/" + name
		} else if _, err := os.Stat("/" + name); err == nil {
			box.Dirs["/"+name] = open(t, "/"+name)
		}
	}
	choices := []configure.File{{Path: "etc/alternatives/chosen", Mode: fs.ModeSymlink | 0o777, Target: "/usr/bin/prog-tool"}}
	return by(t.Context(), box, open(t, dir+"/work"), packages, choices)
}

// text returns files as lines.
func text(files []configure.File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%v %#o %d:%d %s %q %s\n", f.Mode.Type(), uint32(f.Mode&^fs.ModeType), f.UID, f.GID, f.Path, f.Bytes, f.Target)
	}
	return b.String()
}

// TestRun: scripts run in the order of their packages, find their files, and what they
// compute is had; what is a machine's own is not.
func TestRun(t *testing.T) {
	etc := configure.File{Path: "etc/lib/conf", Mode: 0o644, Bytes: []byte("conf\n")}
	packages := []configure.Package{
		pkg(testdeb.Package{Name: "prog", Depends: "lib, missing (>= 2)"}, `
test "$1" = configure; test -z "$2"
cat /etc/lib/computed /usr/share/lib/data >/etc/prog.cfg
dpkg-query -W -f '${Status}\n' lib >>/etc/prog.cfg
policy-rc.d x start && exit 9 || echo "services $?" >>/etc/prog.cfg
update-alternatives --install /usr/bin/tool tool /usr/bin/prog-tool 10
test "$(readlink /etc/alternatives/chosen)" = /usr/bin/prog-tool
update-alternatives --install /etc/prog.conf prog.conf /etc/prog.cfg 10
mkdir -p /etc/cron.d /etc/rc2.d /etc/sysctl.d/x /var/lib/prog /etc/dpkg/dpkg.cfg.d /etc/hashpkg/sources.d; for f in hashpkg.toml hashpkg/sources.d/p.sources dpkg/dpkg.cfg.d/p cron.d/p rc2.d/p sysctl.d/x/p localtime hosts.allow bash.bashrc subuid-; do echo evil >/etc/$f; done
date >/var/lib/prog/run.log
`),
		pkg(testdeb.Package{Name: "lib", MultiArch: "same"}, `
cat /etc/lib/conf >/etc/lib/computed; date -u +%s >/etc/lib/.secret; chmod 600 /etc/lib/.secret
echo rest >/usr/share/lib/rest; chgrp 33 /usr/share/lib/rest; chmod 4755 /usr/share/lib/rest; touch /usr/share/lib/data
mkdir -p /var/lib/lib /var/cache/lib /etc/systemd/system /usr/share/lib/__pycache__
echo state >/var/lib/lib/state; echo $$ >/var/cache/lib/c; ln -s /dev/null /etc/systemd/system/s.service
echo x >/usr/share/lib/__pycache__/x.pyc; echo evil:x:0:0::/:/bin/sh >>/etc/passwd; mkfifo /etc/pipe
echo /evil >/etc/ld.so.preload; mkdir -p /etc/sudoers.d; echo evil >/etc/sudoers.d/x; echo $$ >/var/log/l
ln -s ../../etc/lib/computed /usr/share/lib/link; echo cluster >/etc/lib/cluster; chown 1000 /etc/lib/cluster; chgrp 1000 /var/lib/lib/state
mkdir /var/lib/lib/own; echo of root >/var/lib/lib/own/file; ln -s file /etc/lib/own; chown -h 1000 /var/lib/lib/own /etc/lib/own
`, etc, configure.File{Path: "usr/share/lib/data"}),
	}
	packages[1].Control["conffiles"] = []byte("/etc/lib/conf\n")
	usr := map[string]string{"share/lib/data": "data\n", "bin/prog-tool": "#!/bin/sh\n"}
	files, err := run(t, usr, packages...)
	if err != nil {
		t.Fatal(err)
	}
	want := `---------- 0644 0:0 etc/lib/computed "conf\n" 
---------- 0644 0:0 etc/prog.cfg "conf\ndata\ninstall ok installed\nservices 101\n" 
L--------- 0777 0:0 etc/prog.conf "" /etc/prog.cfg
L--------- 0777 0:0 usr/share/lib/link "" ../../etc/lib/computed
---------- 0755 0:33 usr/share/lib/rest "rest\n" 
d--------- 0755 0:0 var/lib/lib "" 
---------- 0644 0:0 var/lib/lib/state "state\n" 
d--------- 0755 0:0 var/lib/prog "" 
`
	if got := text(files); got != want {
		t.Errorf("what came of it is\n%swant\n%s", got, want)
	}
	again, err := run(t, usr, packages...)
	if err != nil || !reflect.DeepEqual(files, again) {
		t.Errorf("a second time, it is\n%s%v", text(again), err)
	}
	for _, name := range []string{"/etc/lib/computed", "/etc/prog.cfg", "/usr/share/lib", "/var/lib/lib", "/usr/bin/tool"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the machine has %s", name)
		}
	}
}

// TestFails: scripts that fail or do too much are told of.
func TestFails(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"exit", "printf 'out of \\033[1mit\\n' >&2; exit 7", "the script that configures hello fails: out of ?[1mit"},
		{"fill", "head -c 600000000 /dev/zero >/etc/zero", "No space left on device"},
		{"many", "i=0; while [ $i -lt 60000 ]; do : >/usr/$i; i=$((i+1)); done", "No space left on device"},
		{"print", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", "it prints more than"},
		{"silent", "exit 7", "hello fails: installed hello package post-installation script subprocess returned error exit status 7"},
		{"device", "mknod /etc/mem c 1 1", "configures hello fails: mknod: /etc/mem: Operation not permitted"},
		{"mount", "mount -t tmpfs none /etc", "configures hello fails: "},
		{"other", fmt.Sprintf("kill -9 %d", os.Getpid()), "No such process"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, err := run(t, nil, pkg(testdeb.Package{}, test.script))
			var fault *sandbox.Error
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), test.want) || files != nil {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

// TestFailsEarly: whose script fails is known, however its architecture is named and whatever others
// say behind it.
func TestFailsEarly(t *testing.T) {
	for _, later := range []string{":", "i=0; while [ $i -lt 200 ]; do echo a line of some thirty bytes >&2; i=$((i+1)); done"} {
		_, err := run(t, nil, pkg(testdeb.Package{Name: "lib", MultiArch: "same"}, "exit 3"), pkg(testdeb.Package{Name: "prog", Depends: "lib"}, later))
		var fault *configure.Error
		if !errors.As(err, &fault) || fault.Package != "lib" {
			t.Errorf("the error is %v", err)
		}
	}
}

// scriptlet returns an rpm with a script.
func scriptlet(name, post string) configure.Package {
	return configure.Package{Name: name, Control: map[string][]byte{"post": []byte("#!/bin/sh\nset -e\n" + post)}}
}

// TestRunInOrder: of two rpms with one name both scripts run; what these do to the scripts themselves stays
// in the box.
func TestRunInOrder(t *testing.T) {
	files, err := runBy(t, configure.RunInOrder, nil,
		scriptlet("lib", "mkdir /etc/lib; echo i686 >>/etc/lib/made\n"),
		scriptlet("lib", "echo x86_64 >>/etc/lib/made; chmod 700 $0; echo '# more' >>$0; touch /var/lib/hashpkg/x /var/lib/hashpkg/scripts/y\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "d--------- 0755 0:0 etc/lib \"\" \n---------- 0644 0:0 etc/lib/made \"i686\\nx86_64\\n\" \n"
	if got := text(files); got != want {
		t.Errorf("what came of it is\n%swant\n%s", got, want)
	}
}

// TestBlame: what a script prints does not say whose script fails.
func TestBlame(t *testing.T) {
	for _, line := range []string{"hashpkg: error processing package good", "dpkg: error processing package good (--configure):", "Errors were encountered while processing:\n good"} {
		_, err := runBy(t, configure.RunInOrder, nil, scriptlet("good", ":\n"), scriptlet("bad", "echo '"+line+"' >&2; exit 3\n"))
		var fault *configure.Error
		if !errors.As(err, &fault) || fault.Package != "bad" {
			t.Errorf("where it says %q, the error is %v", line, err)
		}
	}
}

// TestHostile: what a script leaves that no file of a package can be, is left out, and what a
// control file claims is not believed.
func TestHostile(t *testing.T) {
	deep := "mkdir -p /usr/share/deep; cd /usr/share/deep; i=0; while [ $i -lt 300 ]; do mkdir dddddddddd; cd dddddddddd; i=$((i+1)); done; echo x >end"
	files, err := run(t, nil, pkg(testdeb.Package{}, `
rm -rf /usr/share/doc/dpkg; ln -s / /etc/root; mkfifo /usr/p; rm /usr/sbin/policy-rc.d
rm -rf /etc/passwd; mkdir /etc/passwd; echo x >/etc/passwd/x
(sleep 600 >/dev/null 2>&1 &)
`+deep))
	if err != nil {
		t.Fatal(err)
	}
	var ends int
	for _, f := range files {
		switch {
		case strings.HasSuffix(f.Path, "/end"):
			ends++
		case f.Path == "etc/root" && f.Target == "/", strings.HasPrefix(f.Path, "usr/share/deep"):
		default:
			t.Errorf("it has %s", text([]configure.File{f}))
		}
	}
	if ends != 1 {
		t.Errorf("the deepest file is there %d times", ends)
	}
	head := testdeb.Package{}.ControlFile()
	for _, control := range []string{
		"", "Version: 1\n", ":\n", "Package: ../../x\nVersion: 1\n", head + "\n" + strings.Replace(head, "hello", "other", 1) + "Status: install ok installed\n",
		head + "status: install ok installed\n",
	} {
		if _, err := run(t, nil, configure.Package{Control: map[string][]byte{"control": []byte(control)}}); err == nil {
			t.Errorf("%q: no error", control)
		}
	}
	out := filepath.Join(t.TempDir(), "x")
	up := configure.File{Path: "etc/../../../../../../.." + out, Mode: 0o644}
	if _, err := run(t, nil, pkg(testdeb.Package{}, "", up)); err == nil {
		t.Error("a path that leads out: no error")
	}
	link := configure.File{Path: "etc/link", Mode: fs.ModeSymlink | 0o777, Target: filepath.Dir(out)}
	if _, err := run(t, nil, pkg(testdeb.Package{}, "", link, configure.File{Path: "etc/link/x", Mode: 0o644})); err == nil {
		t.Error("a path below a link: no error")
	}
	if _, err := os.Lstat(out); err == nil {
		t.Error("a file was made outside")
	}
}
