package e2e

import (
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// source is a Debian source of several packages: a library, programs that need it, of which one is
// setgid, one has two names and one belongs to somebody else, data for all architectures, and the program
// once more for the installer.
type source struct {
	compat string // of debhelper
	addon  bool   // dh-sequence-hashpkg is among the build dependencies
	rules  string // debian/hello.hashpkg
	extra  string // in debian/rules
}

func (s source) files() map[string]string {
	depends := "debhelper-compat (= " + s.compat + ")"
	if s.addon {
		depends += ", dh-sequence-hashpkg"
	}
	stanza := func(name, arch, rest string) string {
		return "\nPackage: " + name + "\nArchitecture: " + arch + "\n" + rest +
			"Depends: ${shlibs:Depends}, ${misc:Depends}\nDescription: greeting of the world, " + name + "\n It is for a test, in which a source has packages of each kind that debhelper\n knows.\n"
	}
	files := map[string]string{
		"debian/control": "Source: hello\nSection: misc\nPriority: optional\nMaintainer: A Tester <tester@example.org>\nBuild-Depends: " + depends +
			"\nStandards-Version: 4.6.2\nRules-Requires-Root: binary-targets\n" +
			stanza("hello", "any", "") + stanza("libhello1", "any", "Section: libs\nMulti-Arch: same\n") + stanza("hello-data", "all", "") +
			stanza("hello-udeb", "any", "Package-Type: udeb\nSection: debian-installer\n"),
		"debian/changelog":          "hello (1.0) unstable; urgency=medium\n\n  * First.\n\n -- A Tester <tester@example.org>  Tue, 14 Nov 2023 22:13:20 +0000\n",
		"debian/copyright":          "A Tester made it, in 2023. Everybody may do with it what they want.\n",
		"debian/source/format":      "3.0 (native)\n",
		"debian/hello.install":      "usr/bin\nusr/games\nusr/libexec\n",
		"debian/libhello1.install":  "usr/lib/*/libhello.so.1\n",
		"debian/hello-data.install": "usr/share/hello\n",
		"debian/hello-udeb.install": "usr/bin/hello\n",
		"debian/rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n\noverride_dh_fixperms:\n\tdh_fixperms\n\tchown games:games debian/hello/usr/games/hello\n" +
			"\tchgrp games debian/hello/usr/games/hello-score\n\tchmod 2755 debian/hello/usr/games/hello-score\n" + s.extra,
		"Makefile": `DEB_HOST_MULTIARCH ?= $(shell dpkg-architecture -qDEB_HOST_MULTIARCH)
CC ?= gcc
lib = usr/lib/$(DEB_HOST_MULTIARCH)
FLAGS = $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)
all: libhello.so.1 hello
libhello.so.1: lib.c
	$(CC) $(FLAGS) -shared -fPIC -Wl,-soname,$@ -o $@ lib.c
hello: main.c libhello.so.1
	$(CC) $(FLAGS) -o $@ main.c ./libhello.so.1
clean:
	rm -f hello libhello.so.1
install:
	mkdir -p $(addprefix $(DESTDIR)/,$(lib) usr/bin usr/games usr/libexec/hello usr/share/hello)
	cp libhello.so.1 $(DESTDIR)/$(lib)/
	cp hello $(DESTDIR)/usr/bin/
	ln $(DESTDIR)/usr/bin/hello $(DESTDIR)/usr/libexec/hello/hello-again
	cp hello $(DESTDIR)/usr/games/
	cp hello $(DESTDIR)/usr/games/hello-score
	echo world >$(DESTDIR)/usr/share/hello/who
`,
		"lib.c":  "const char *greeting(void) { return \"hello, world\"; }\n",
		"main.c": "#include <stdio.h>\nconst char *greeting(void);\nint main(void) { puts(greeting()); return 0; }\n",
	}
	if s.rules != "" {
		files["debian/hello.hashpkg"] = s.rules
	}
	return files
}

// debhelper is a machine with dh-sequence-hashpkg, as dh, perl and PATH find it.
type debhelper struct {
	t     *testing.T
	env   []string
	umask string
}

func newDebhelper(t *testing.T) *debhelper {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "dh", "dpkg-buildpackage", "dpkg-deb", "fakeroot", "gcc", "lintian", "perl", "readelf")
	bin, perl := t.TempDir(), t.TempDir()
	sequences := filepath.Join(perl, "Debian/Debhelper/Sequence")
	if err := os.MkdirAll(sequences, 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"../packaging/debhelper/dh_hashpkg": filepath.Join(bin, "dh_hashpkg"),
		"../packaging/debhelper/hashpkg.pm": filepath.Join(sequences, "hashpkg.pm"),
		hashpkg(t):                          filepath.Join(bin, "hashpkg"),
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &debhelper{t, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "PERL5LIB="+perl, "LC_ALL=C.UTF-8", "DH_QUIET=", "DEB_BUILD_OPTIONS=terse"), "022"}
}

// try builds a source below a directory, and returns what was said.
func (d *debhelper) try(dir string, s source, args ...string) (said string, err error) {
	d.t.Helper()
	top := filepath.Join(dir, "hello-1.0")
	for name, text := range s.files() {
		name = filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			d.t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if filepath.Base(name) == "rules" {
			mode = 0o755
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			d.t.Fatal(err)
		}
	}
	build := []string{"-c", `umask "$1" && shift && exec dpkg-buildpackage "$@"`, "sh", d.umask, "-b", "-d", "-us", "-uc", "-rfakeroot"}
	cmd := exec.Command("sh", append(build, args...)...)
	cmd.Dir, cmd.Env = top, d.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// build is try, and returns the packages by their names, too.
func (d *debhelper) build(dir string, s source, args ...string) (debs map[string]string, said string) {
	d.t.Helper()
	said, err := d.try(dir, s, args...)
	if err != nil {
		d.t.Fatalf("dpkg-buildpackage: %v: %s", err, said)
	}
	return debsIn(d.t, dir), said
}

// debsIn returns the packages and udebs in a directory, by their names.
func debsIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.*deb"))
	if err != nil {
		t.Fatal(err)
	}
	debs := map[string]string{}
	for _, file := range found {
		name, _, _ := strings.Cut(filepath.Base(file), "_")
		debs[name] = file
	}
	return debs
}

// digests returns the digests of packages, by their names.
func digests(t *testing.T, debs map[string]string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for name, file := range debs {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sums[name] = digest.Of(b).String()
	}
	return sums
}

// unpacked returns the directory of a package's files.
func unpacked(t *testing.T, deb string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -x: %v: %s", err, out)
	}
	return dir
}

func inspected(t *testing.T, file string) *elfedit.Info {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// hints returns what lintian says of packages.
func hints(t *testing.T, debs map[string]string) string {
	t.Helper()
	args := append([]string{"--allow-root", "--no-cfg", "--display-info", "--pedantic"}, slices.Sorted(maps.Values(debs))...)
	out, err := exec.Command("lintian", args...).Output()
	if err != nil && len(out) == 0 {
		t.Fatalf("lintian: %v", err)
	}
	return string(out)
}

const farmOfPackages = "$ORIGIN/../../var/sys/current-system/system/lib64"

// TestDebhelper builds a source of many packages with the addon, and without: only programs differ, twice
// built they are the same, lintian says the same of them, and installed they do their work.
func TestDebhelper(t *testing.T) {
	t.Parallel()
	d := newDebhelper(t)
	without := d.env
	for i, e := range without {
		if strings.HasPrefix(e, "PERL5LIB=") {
			without = slices.Delete(slices.Clone(without), i, i+1)
		}
	}
	for _, compat := range []string{"13", "14"} {
		t.Run("compat "+compat, func(t *testing.T) {
			d := &debhelper{t, d.env, d.umask}
			plain, _ := d.build(t.TempDir(), source{compat: compat})
			bound, said := d.build(t.TempDir(), source{compat: compat, addon: true})
			if plainer, _ := (&debhelper{t, without, d.umask}).build(t.TempDir(), source{compat: compat}); !maps.Equal(digests(t, plain), digests(t, plainer)) {
				t.Error("a source that does not name the addon is built otherwise where it is")
			}
			if a, b := digests(t, plain), digests(t, bound); a["hello-data"] != b["hello-data"] || a["hello-udeb"] != b["hello-udeb"] || a["libhello1"] != b["libhello1"] || a["hello"] == b["hello"] {
				t.Errorf("without the addon the packages are %v, with it %v: %s", a, b, said)
			}
			if was, is := hints(t, plain), hints(t, bound); was != is {
				t.Errorf("lintian says without the addon\n%s\nand with it\n%s", was, is)
			}
			checkBound(t, plain["hello"], bound, elf.EM_X86_64)

			// Elsewhere, for somebody with another umask.
			again := filepath.Join(t.TempDir(), "elsewhere-and-deeper")
			if err := os.Mkdir(again, 0o755); err != nil {
				t.Fatal(err)
			}
			d.env, d.umask = append(slices.Clone(d.env), "HOME="+again, "TZ=Asia/Tokyo"), "077"
			second, _ := d.build(again, source{compat: compat, addon: true, extra: "\n# " + again + "\n"})
			if a, b := digests(t, bound), digests(t, second); !maps.Equal(a, b) {
				t.Errorf("two builds differ: %v, %v", a, b)
			}
		})
	}
}

// checkBound looks at the package hello: what its programs search and say, and that all else is that of
// the package without the addon.
func checkBound(t *testing.T, plain string, bound map[string]string, machine elf.Machine) {
	t.Helper()
	dir, was := unpacked(t, bound["hello"]), unpacked(t, plain)
	libraries, err := filepath.Glob(filepath.Join(unpacked(t, bound["libhello1"]), "usr/lib/*/libhello.so.1"))
	if err != nil || len(libraries) != 1 {
		t.Fatalf("libhello1 has %q, %v", libraries, err)
	}
	library, err := os.ReadFile(libraries[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"usr/bin/hello": "$ORIGIN/../../../var/sys/current-system/system/lib64", "usr/libexec/hello/hello-again": "$ORIGIN/../../../var/sys/current-system/system/lib64", "usr/games/hello": farmOfPackages,
	} {
		info := inspected(t, filepath.Join(dir, name))
		if info.RunPath != path || info.Machine != machine || len(info.BuiltAgainst) == 0 {
			t.Fatalf("%s: %s searches %q, built against %v", name, info.Machine, info.RunPath, info.BuiltAgainst)
		}
		if b := info.BuiltAgainst[0]; b.Digest != digest.Of(library).String() || !strings.HasSuffix(libraries[0], b.Path) {
			t.Errorf("%s was built against %s, and the package has %s of %s", name, b, digest.Of(library), libraries[0])
		}
	}
	if info := inspected(t, filepath.Join(dir, "usr/games/hello-score")); info.RunPath != "" || info.BuiltAgainst != nil {
		t.Errorf("the program that is setgid was edited: %+v", info)
	}
	// Names, modes, owners, times and links are those of the package without the addon.
	for _, p := range []string{was, dir} {
		if out, err := exec.Command("sh", "-c", "cd \"$1\" && [ usr/bin/hello -ef usr/libexec/hello/hello-again ]", "sh", p).CombinedOutput(); err != nil {
			t.Errorf("the two names are of two files: %v: %s", err, out)
		}
	}
	if a, b := listing(t, plain), listing(t, bound["hello"]); a != b {
		t.Errorf("the package has\n%s\nand with the addon\n%s", a, b)
	}
}

// listing lists the files of a package, but for their sizes.
func listing(t *testing.T, deb string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -tv --numeric-owner --full-time", "sh", deb).Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		fmt.Fprintln(&lines, append(fields[:2:2], fields[3:]...))
	}
	return lines.String()
}

// TestDebhelperInstalled installs packages that the addon made into a system, with hashpkg-follow and without:
// their programs do their work, and dpkg and debsums find what the packages have, but for a setgid program.
func TestDebhelperInstalled(t *testing.T) {
	t.Parallel()
	d := newDebhelper(t)
	debs, _ := d.build(t.TempDir(), source{compat: "13", addon: true})
	root := testroot.Debian(t, "bookworm", "", "debsums", "jq")
	works := func(when, edited string) {
		t.Helper()
		for _, name := range []string{"/usr/bin/hello", "/usr/libexec/hello/hello-again", "/usr/games/hello", "/usr/games/hello-score"} {
			if out := root.Run(name); out != "hello, world\n" {
				t.Errorf("%s, %s says %q", when, name, out)
			}
		}
		if out := root.Run("sh", "-c", "debsums -c hello libhello1 2>&1; dpkg --verify hello libhello1 | cut -c13-"); out != edited {
			t.Errorf("%s, debsums and dpkg find changes: %s", when, out)
		}
	}
	installDebs(root, debs["libhello1"], debs["hello"], debs["hello-data"])
	works("without hashpkg", "")
	packages := buildPackages(t, "deb", "1.0")
	installDebs(root, packages[0])
	// What is installed beside the package manager may be of another release, and is not theirs.
	root.Run("hashpkg", "install", "/root/"+filepath.Base(debs["libhello1"]))
	if out := root.Run("readlink", "-e", "/var/sys/current-system/lib64/libhello.so.1"); !strings.HasPrefix(out, "/var/sys/libhello1/") {
		t.Errorf("the private library is %s", out)
	}
	if out := root.Run("sh", "-c", "LD_DEBUG=libs /usr/games/hello 2>&1"); !strings.Contains(out, "calling init: /lib/x86_64-linux-gnu/libhello.so.1") {
		t.Errorf("a program of the system finds a library that was installed beside it: %s", out)
	}
	works("with hashpkg", "")
	installDebs(root, packages[1])
	// A setgid program cannot say where it searches before it is installed.
	works("with hashpkg-follow", strings.Repeat("/usr/games/hello-score\n", 2))
	if out := root.Run("sh", "-c", "LD_DEBUG=libs /usr/games/hello 2>&1"); !strings.Contains(out, "calling init: /usr/games/../../var/sys/current-system/system/lib64/libhello.so.1") {
		t.Errorf("the library is not found in the trees: %s", out)
	}
	if info := inspected(t, root.Path("/usr/games/hello")); info.RunPath != farmOfPackages {
		t.Errorf("the program was edited once more: %s", info.RunPath)
	}
	root.Run("hashpkg", "verify", "--system")
	root.Run("dpkg", "-P", "hashpkg-follow", "hashpkg")
	works("when hashpkg is gone", "")
}

// TestDebhelperOptions leaves what -X, the rules and the profile of a build ask for.
func TestDebhelperOptions(t *testing.T) {
	t.Parallel()
	d := newDebhelper(t)
	s := source{compat: "13", addon: true, rules: "leave usr/bin\nnote none usr/games\n", extra: "\noverride_dh_hashpkg:\n\tdh_hashpkg -Xhello-s\n\tdh_hashpkg --no-act\n"}
	debs, _ := d.build(t.TempDir(), s)
	dir := unpacked(t, debs["hello"])
	if info := inspected(t, filepath.Join(dir, "usr/bin/hello")); info.RunPath != "" || info.BuiltAgainst != nil {
		t.Errorf("what a rule leaves is edited: %+v", info)
	}
	if info := inspected(t, filepath.Join(dir, "usr/games/hello")); info.RunPath != farmOfPackages || info.BuiltAgainst != nil {
		t.Errorf("what is to have no note has one, or no path: %+v", info)
	}
	s = source{compat: "13", addon: true, rules: "leave usr/bin/none\nfrob x\n"}
	if out, err := d.try(t.TempDir(), s); err == nil || !strings.Contains(out, `debian/hello.hashpkg: line 2: "frob" is no rule`) {
		t.Errorf("a rule that is none: %v: %s", err, out)
	}
}

// TestDebhelperCross builds for another architecture: hashpkg is that of the machine.
func TestDebhelperCross(t *testing.T) {
	t.Parallel()
	d := newDebhelper(t)
	testneed.Programs(t, "aarch64-linux-gnu-gcc", "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1")
	// The C library is the compiler's, of which dpkg knows nothing.
	shlibs := "\noverride_dh_shlibdeps:\n\tdh_shlibdeps -l/usr/aarch64-linux-gnu/lib -- --ignore-missing-info\n"
	plain, _ := d.build(t.TempDir(), source{compat: "13", extra: shlibs}, "-aarm64")
	bound, _ := d.build(t.TempDir(), source{compat: "13", addon: true, extra: shlibs}, "-aarm64")
	checkBound(t, plain["hello"], bound, elf.EM_AARCH64)
}
