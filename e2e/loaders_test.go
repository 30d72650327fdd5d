package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// loader is a C library that programs are tried with.
type loader struct {
	arch string   // Debian's name
	cc   []string // compiles for it, and for all later ones
	libc []string // package files of it; none for the machine's own
	run  []string // starts its programs on this machine; none for those of the machine itself
	musl bool     // it is no glibc
}

func (l loader) compile(t *testing.T, args ...string) {
	t.Helper()
	mustRun(t, l.cc[0], slices.Concat(l.cc[1:], args)...)
}

// tree returns the name of the tree of a version.
func (l loader) tree(version string) string {
	if l.arch != runtime.GOARCH {
		return version + "@" + l.arch
	}
	return version
}

// TestClosuresOnLoaders is TestClosures on the loaders of releases from glibc 2.27 on (2.17 where there are rpms of it), with
// programs that know no later one, and on those of other architectures.
func TestClosuresOnLoaders(t *testing.T) {
	testneed.Root(t)
	onLoaders(t, compareOnLoader)
}

// onLoaders runs a test with each loader.
func onLoaders(t *testing.T, test func(*testing.T, loader)) {
	t.Helper()
	testneed.Network(t)
	if runtime.GOARCH != "amd64" {
		testneed.Unmet(t, "its loaders run on amd64")
	}
	testneed.Programs(t, "gcc", "dpkg-deb", "strace", "aarch64-linux-gnu-gcc", "qemu-aarch64-static", "i686-linux-gnu-gcc")
	keyring := ""
	fetch := func(suite, arch string, packages ...string) []string {
		o := archive.Options{Suite: suite, Arch: arch, Packages: packages}
		if suite == "bionic" {
			o.Keyring = keyring
		}
		files, err := archive.Fetch(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	compiler := func(name, arch string) []string { // for glibc 2.31 and later
		dir := t.TempDir()
		for _, deb := range fetch("bullseye", arch, "libc6", "libc6-dev", "linux-libc-dev") {
			mustRun(t, "dpkg-deb", "-x", deb, dir)
		}
		libraries, err := filepath.Glob(filepath.Join(dir, "lib/*-linux-gnu"))
		if err != nil || len(libraries) != 1 {
			t.Fatalf("the libraries of %s are in %q: %v", arch, libraries, err)
		}
		relinkLoader(t, dir)
		// A compiler has what is started first, and the C library, of its own before those of a sysroot.
		start := filepath.Join(dir, "usr/lib", filepath.Base(libraries[0])) + "/"
		return []string{name, "--sysroot=" + dir, "-B" + start, "-L" + start, "-L" + libraries[0]}
	}
	keys := t.TempDir() // a later release brings the key of bionic
	mustRun(t, "dpkg-deb", "-x", fetch("jammy", "amd64", "ubuntu-keyring")[0], keys)
	keyring = filepath.Join(keys, "usr/share/keyrings/ubuntu-archive-keyring.gpg")
	native := compiler("gcc", "amd64")
	for _, tt := range []struct {
		suite string
		loader
	}{
		{"bionic", loader{arch: "amd64", cc: native}}, // glibc 2.27
		{"bullseye", loader{arch: "amd64", cc: native}},
		{"bookworm", loader{arch: "amd64", cc: native}},
		{"trixie", loader{arch: "amd64", cc: native}},
		{"sid", loader{arch: "amd64", cc: native}},
		{"bookworm", loader{arch: "i386", cc: compiler("i686-linux-gnu-gcc", "i386")}},
		{"trixie", loader{arch: "arm64", cc: compiler("aarch64-linux-gnu-gcc", "arm64"), run: []string{"qemu-aarch64-static"}}},
	} {
		t.Run(tt.suite+"-"+tt.arch, func(t *testing.T) {
			l := tt.loader
			l.libc = fetch(tt.suite, tt.arch, "libc6", libgcc(tt.suite))
			test(t, l)
		})
	}
	if centos := os.Getenv("HASHPKG_TEST_CENTOS"); centos != "" {
		t.Run("centos7-amd64", func(t *testing.T) { // glibc 2.17
			libc, err := filepath.Glob(filepath.Join(centos, "glibc-*.rpm"))
			if err != nil || len(libc) == 0 {
				t.Fatalf("there is no glibc in %s: %v", centos, err)
			}
			test(t, loader{arch: "amd64", cc: native, libc: libc})
		})
	}
}

// libgcc is the package that the C library of a release depends on.
func libgcc(suite string) string {
	if suite == "bionic" {
		return "libgcc1"
	}
	return "libgcc-s1"
}

// relinkLoader makes links of the C library's package that lead to the machine's loader lead to that below dir, where
// linkers look.
func relinkLoader(t *testing.T, dir string) {
	t.Helper()
	links, err := filepath.Glob(filepath.Join(dir, "lib*/ld-*.so.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil || !filepath.IsAbs(target) {
			continue
		}
		if err := errors.Join(os.Remove(l), os.Symlink(filepath.Join(dir, target), l)); err != nil {
			t.Fatal(err)
		}
	}
}

func lines(s string) []string { return strings.Split(s, "\n") }

// compareOnLoader compares programs as they were linked, but for the interpreter, with what
// is installed of them, in all of their ways to find libraries.
func compareOnLoader(t *testing.T, l loader) {
	prefix, dir := installClosures(t, l, 12)
	start := func(program string, env ...string) string {
		if l.run == nil {
			return output(t, env, program)
		}
		args := slices.Clone(l.run)
		for _, e := range env {
			args = append(args, "-E", e)
		}
		return output(t, nil, append(args, program)...)
	}
	for name := range closurePrograms {
		shipped, bound := filepath.Join(dir, name), filepath.Join(prefix, name, l.tree("1"), "usr/bin", name)
		info, err := elfedit.Inspect([]byte(readFile(t, bound)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(info.Interpreter, prefix) {
			t.Fatalf("%s runs on %s, and not on the C library that is tried", name, info.Interpreter)
		}
		path := "LD_LIBRARY_PATH=" + filepath.Dir(info.Interpreter) + ":" + dir
		mustRun(t, hashpkg(t), "elf", "--set-interpreter", info.Interpreter, shipped)
		for _, env := range []string{"LC_ALL=C", "LD_BIND_NOW=1"} {
			if diff := cmp.Diff(lines(start(shipped, env, path)), lines(start(bound, env))); diff != "" {
				t.Errorf("%s with %s prints (-as it was linked +installed)\n%s", name, env, diff)
			}
		}
		// Other libraries of these names are not taken.
		if diff := cmp.Diff(lines(start(bound, "LC_ALL=C")), lines(start(bound, "LC_ALL=C", "LD_LIBRARY_PATH="+dir))); diff != "" {
			t.Errorf("%s prints (-without +with LD_LIBRARY_PATH)\n%s", name, diff)
		}
		if l.run == nil {
			countFailedOpens(t, dir, name, bound)
		}
	}
}
