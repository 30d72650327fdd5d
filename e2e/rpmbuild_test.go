package e2e

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// spec is a spec file of packages with a program, a library of its own, a plugin, data for all architectures and
// debugging information.
type spec struct {
	name    string
	top     string // lines before %description
	install string // lines at the end of %install
	debug   bool   // it has debugging information apart
	noarch  bool   // it has no program
	flags   string // of the link of the program
	files   string // more of %files
}

func (s spec) text() string {
	text := "Name: " + s.name + "\nVersion: 1.0\nRelease: 1\nSummary: A test\nLicense: MIT\n"
	if !s.debug {
		text = "%global debug_package %{nil}\n" + text
	}
	if s.noarch {
		text += "BuildArch: noarch\n"
	}
	text += s.top + "%description\nA test.\n"
	if s.debug {
		text += "%debug_package\n"
	}
	if s.noarch {
		return text + "%install\nmkdir -p %{buildroot}/usr/share/" + s.name + "\necho text >%{buildroot}/usr/share/" + s.name + "/data\n" + s.install + "%files\n/usr/share/" + s.name + "\n"
	}
	symbols := "" // they have the name of the directory, which the build id follows from
	if s.debug {
		symbols = "-g "
	}
	return text + `%package libs
Summary: A test
%description libs
A test.
%package data
Summary: A test
BuildArch: noarch
%description data
A test.
%prep
%setup -T -c
%build
echo 'int puts(const char *); int greet(void) { return puts("hello") < 0; }' >lib.c
echo 'int greet(void); int main(void) { return greet(); }' >main.c
gcc -O2 ` + symbols + `-shared -fPIC -Wl,--build-id -Wl,-soname,libgreet.so.1 -o libgreet.so.1 lib.c
gcc -O2 ` + symbols + `-Wl,--build-id ` + s.flags + ` -o greet main.c ./libgreet.so.1
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/lib64/` + s.name + ` %{buildroot}/usr/share/` + s.name + `
cp greet %{buildroot}/usr/bin/greet
ln %{buildroot}/usr/bin/greet %{buildroot}/usr/bin/greet-again
cp libgreet.so.1 %{buildroot}/usr/lib64/
cp libgreet.so.1 %{buildroot}/usr/lib64/` + s.name + `/plugin.so
echo text >%{buildroot}/usr/share/` + s.name + `/data
` + s.install + `%files
/usr/bin/greet
/usr/bin/greet-again
` + s.files + `%files libs
/usr/lib64/libgreet.so.1
/usr/lib64/` + s.name + `
%files data
/usr/share/` + s.name + "\n"
}

// rpmBuilder is a machine on which rpmbuild has, or has not, what hashpkg-devel brings.
type rpmBuilder struct {
	t   *testing.T
	env []string
}

func newRPMBuilder(t *testing.T, devel bool) *rpmBuilder {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "rpmbuild", "rpm", "rpm2cpio", "cpio", "gcc", "find-debuginfo")
	// rpm's own configuration, and in it the files of the package.
	conf := filepath.Join(t.TempDir(), "rpm")
	mustRun(t, "cp", "-a", "/usr/lib/rpm", conf)
	if devel {
		mustRun(t, "cp", "../packaging/rpm/brp-hashpkg", conf)
		mustRun(t, "cp", "../packaging/rpm/macros.hashpkg", filepath.Join(conf, "macros.d"))
	}
	bin := t.TempDir()
	if err := os.Symlink(hashpkg(t), filepath.Join(bin, "hashpkg")); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "RPM_CONFIGDIR="+conf, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "SOURCE_DATE_EPOCH=1700000000", "LC_ALL=C")
	return &rpmBuilder{t, env}
}

// vendor writes the macros of the vendor, which are read last but those of who builds.
func (b *rpmBuilder) vendor(macros string) {
	b.t.Helper()
	for _, v := range b.env {
		if conf, ok := strings.CutPrefix(v, "RPM_CONFIGDIR="); ok {
			mustRun(b.t, "mkdir", "-p", conf+"/debian")
			if err := os.WriteFile(conf+"/debian/macros", []byte(macros), 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// everywhere returns arguments that have rpmbuild bind all packages.
func (b *rpmBuilder) everywhere() []string {
	b.t.Helper()
	cmd := exec.Command("rpm", "--eval", "%hashpkg_bind_all")
	cmd.Env = b.env
	macros, err := cmd.Output()
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.t.TempDir(), "macros")
	if err := os.WriteFile(file, macros, 0o644); err != nil {
		b.t.Fatal(err)
	}
	return []string{"--load", file}
}

// try builds a spec, and returns its packages by their names.
func (b *rpmBuilder) try(s spec, args ...string) (map[string]string, string, error) {
	b.t.Helper()
	return b.tryText(s.name, s.text(), args...)
}

// tryText builds a spec, and returns its packages by their names.
func (b *rpmBuilder) tryText(name, text string, args ...string) (map[string]string, string, error) {
	b.t.Helper()
	// The directory is in no package, but is the same for all, as debugging information has its length.
	top := filepath.Join(b.t.TempDir(), "top")
	out := b.t.TempDir()
	file := filepath.Join(b.t.TempDir(), name+".spec")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("rpmbuild", append([]string{
		"-bb", "--define", "_topdir " + top, "--define", "_rpmdir " + out,
		"--define", "_build_name_fmt %%{NAME}.rpm", "--define", "_buildhost localhost", "--define", "use_source_date_epoch_as_buildtime 1",
		"--define", "clamp_mtime_to_source_date_epoch 1",
	}, append(args, file)...)...)
	cmd.Env = b.env
	said, err := cmd.CombinedOutput()
	rpms := map[string]string{}
	found, globErr := filepath.Glob(out + "/*.rpm")
	if globErr != nil {
		b.t.Fatal(globErr)
	}
	for _, f := range found {
		rpms[strings.TrimSuffix(filepath.Base(f), ".rpm")] = f
	}
	return rpms, string(said), err
}

func (b *rpmBuilder) build(s spec, args ...string) map[string]string {
	b.t.Helper()
	rpms, said, err := b.try(s, args...)
	if err != nil || len(rpms) == 0 {
		b.t.Fatalf("rpmbuild: %v\n%s", err, said)
	}
	return rpms
}

// unpack puts a package's files into a directory.
func unpack(t *testing.T, rpm string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `rpm2cpio "$1" | cpio -idm --quiet`, "sh", rpm)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v: %s", rpm, err, out)
	}
	return dir
}

func runPathOf(t *testing.T, file string) string {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dirs, err := f.DynString(elf.DT_RUNPATH)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(dirs, ":")
}

const farmFromBin = "$ORIGIN/../../var/sys/current-system/system/lib64"

// TestRPMBuild builds packages as with hashpkg-devel installed.
func TestRPMBuild(t *testing.T) {
	plain, devel := newRPMBuilder(t, false), newRPMBuilder(t, true)
	readFile := func(file string) []byte {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const bind = "%hashpkg_bind\n"
	leave := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(leave, []byte("leave usr/bin/greet\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^%hashpkg_bind.*\n`)
	everywhere := devel.everywhere()
	tests := []struct {
		spec
		args    []string
		runpath string // of the program
	}{
		{spec{name: "unasked"}, nil, ""},
		{spec{name: "unasked-debug", debug: true}, nil, ""},
		{spec{name: "asked", install: bind}, nil, farmFromBin},
		{spec{name: "asked-debug", install: bind, debug: true}, nil, farmFromBin},
		{spec{name: "in-a-comment", top: "# %hashpkg_bind\n", install: "# " + bind}, nil, ""},
		{spec{name: "not-this-time", install: bind}, []string{"--define", "_hashpkg_bind 0"}, ""},
		{spec{name: "everywhere", debug: true}, everywhere, farmFromBin},
		{spec{name: "everywhere-but-here", top: "%global _hashpkg_bind 0\n"}, everywhere, ""},
		{spec{name: "everywhere-and-asked", install: "%hashpkg_bind --rules " + leave + "\n"}, everywhere, ""},
		{spec{name: "rules", install: "%hashpkg_bind --rules " + leave + "\n"}, nil, ""},
		{spec{name: "own-path", install: bind, flags: `-Wl,-rpath,'$ORIGIN/../lib64/own'`}, nil, "$ORIGIN/../lib64/own:" + farmFromBin},
		{spec{name: "setgid", install: "chmod 2755 %{buildroot}/usr/bin/greet\n" + bind}, nil, ""},
		{spec{name: "stripped", install: "strip %{buildroot}/usr/bin/greet\n" + bind}, nil, farmFromBin},
		{spec{name: "old-hash", install: bind, flags: "-Wl,--hash-style=sysv -no-pie"}, nil, farmFromBin},
		{spec{name: "pure-data", noarch: true, install: bind}, nil, ""},
		{spec{name: "pure-data-everywhere", noarch: true}, everywhere, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plain, devel := &rpmBuilder{t, plain.env}, &rpmBuilder{t, devel.env}
			rpms := devel.build(test.spec, test.args...)
			unbound := test.spec
			unbound.install = line.ReplaceAllString(unbound.install, "")
			before := plain.build(unbound)
			if len(before) != len(rpms) {
				t.Fatalf("built %v, and without hashpkg %v", rpms, before)
			}
			for name, rpm := range rpms {
				same := bytes.Equal(readFile(rpm), readFile(before[name]))
				if bound := name == test.name && test.runpath != ""; same == bound {
					t.Errorf("%s has the bytes that it has without hashpkg: %v", name, same)
				}
				if out, err := exec.Command("rpm", "-K", "--nosignature", rpm).CombinedOutput(); err != nil {
					t.Errorf("rpm -K: %v: %s", err, out)
				}
			}
			if test.noarch {
				return
			}
			dir := unpack(t, rpms[test.name])
			if got := runPathOf(t, dir+"/usr/bin/greet"); got != test.runpath {
				t.Errorf("the RUNPATH is %q, expected %q", got, test.runpath)
			}
			again, err := os.Stat(dir + "/usr/bin/greet-again")
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(dir + "/usr/bin/greet"); err != nil || !os.SameFile(info, again) {
				t.Errorf("the names of the program are two files: %v", err)
			}
			out, err := exec.Command("env", "RPM_BUILD_ROOT="+dir, "/usr/lib/rpm/check-rpaths").CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("check-rpaths: %v: %s", err, out)
			}
			if debug := rpms[test.name+"-debuginfo"]; (debug != "") != test.debug {
				t.Errorf("there is debugging information: %q", debug)
			}
			isInstalled(t, test.name, rpms)
		})
	}
	wrong := []struct{ section, line, says string }{
		{"%install", "%hashpkg_bind --rules /nowhere", "/nowhere"},
		{"%install", "%hashpkg_bind\nfalse", "%install"}, // and rpm's own message
		{"%build", "%hashpkg_bind", "%hashpkg_bind is for %install"},
		{"%prep", "%hashpkg_bind", "%hashpkg_bind is for %install"},
		{"License: MIT", "%hashpkg_bind", "hashpkg_bind()"}, // rpm knows no such tag
	}
	for _, w := range wrong {
		s := spec{name: "wrong"}
		text := strings.Replace(s.text(), w.section+"\n", w.section+"\n"+w.line+"\n", 1)
		if _, said, err := devel.tryText(s.name, text); err == nil || !strings.Contains(said, w.says) {
			t.Errorf("with %q in %s it says: %v: %s", w.line, w.section, err, said)
		}
	}
}

// TestRPMBuildVendor builds where the vendor has steps of its own after %install.
func TestRPMBuildVendor(t *testing.T) {
	vendors := newRPMBuilder(t, true)
	vendors.vendor("%__spec_install_post \\\n%{__os_install_post}\\\necho vendor >%{buildroot}/usr/share/%{name}/vendor\\\n%{nil}\n")
	for name, test := range map[string]struct {
		install string
		args    []string
	}{
		"line":       {"%hashpkg_bind\n", nil},
		"everywhere": {"", vendors.everywhere()},
	} {
		t.Run(name, func(t *testing.T) {
			b := &rpmBuilder{t, vendors.env}
			rpms := b.build(spec{name: "asked", install: test.install}, test.args...)
			if got := runPathOf(t, unpack(t, rpms["asked"])+"/usr/bin/greet"); got != farmFromBin {
				t.Errorf("the RUNPATH is %q", got)
			}
			if _, err := os.Stat(unpack(t, rpms["asked-data"]) + "/usr/share/asked/vendor"); err != nil {
				t.Errorf("the vendor's step: %v", err)
			}
		})
	}
}

// isInstalled has rpm install packages and compare what they have, and the program run.
func isInstalled(t *testing.T, name string, rpms map[string]string) {
	t.Helper()
	root := t.TempDir()
	args := []string{"--root", root, "--dbpath", "/var/lib/rpm", "--force-debian", "--nosignature", "--nodeps"}
	names := []string{name, name + "-libs", name + "-data"}
	for _, n := range names {
		mustRun(t, "rpm", append(slices.Clone(args), "-i", rpms[n])...)
	}
	for _, n := range names {
		verify := append(slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--force-debian" }), "-V", n)
		if out, err := exec.Command("rpm", verify...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("rpm -V %s: %v: %s", n, err, out)
		}
	}
	cmd := exec.Command(root + "/usr/bin/greet")
	cmd.Env = []string{"LD_LIBRARY_PATH=" + root + "/usr/lib64"}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "hello\n" {
		t.Errorf("the program: %v: %s", err, out)
	}
	out, err := exec.Command(hashpkg(t), "--root", root, "audit", "--only", "missing-library,missing-version,damaged-file,runpath-outside,runpath-build-dir",
		"--library-dir", "/usr/lib/x86_64-linux-gnu", "--library-dir", "/usr/lib64", rpms[name], rpms[name+"-libs"]).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0 errors, 0 warnings") {
		t.Errorf("audit: %v: %s", err, out)
	}
}
