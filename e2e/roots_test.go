package e2e

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
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
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/layout"
)

// dump describes everything below a directory, a line a name: type, mode, link
// target, content. Farms of inactive generations are left out: they may be lent.
func dump(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	active, err := os.Readlink(filepath.Join(dir, "var/sys/current-system"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		in, isGeneration := strings.CutPrefix(rel, "var/sys/"+layout.GenerationsDir+"/")
		if number, _, below := strings.Cut(in, "/"); isGeneration && below && d.IsDir() && layout.GenerationsDir+"/"+number != active {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", rel, info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
		case info.Mode().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeDeb(t *testing.T, dir string, p testdeb.Package) string {
	t.Helper()
	path := filepath.Join(dir, p.Name+"_"+p.Version+".deb")
	if err := os.WriteFile(path, testdeb.Deb(t, p), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// twoVersions returns two small packages and a root that has the first, and
// generations enough for the next one to borrow a farm.
func twoVersions(t *testing.T) (dir, first, second, root string) {
	t.Helper()
	dir = t.TempDir()
	files := func(s string) []testdeb.File {
		return []testdeb.File{
			testdeb.Exec("usr/bin/tool", "tool "+s),
			{Path: "usr/share/tool/data", Content: "data"},
			{Path: "usr/share/tool/secret", Content: s, Mode: 0o640},
			testdeb.Symlink("usr/bin/t", "tool"),
		}
	}
	first = writeDeb(t, dir, testdeb.Package{Name: "tool", Version: "1.0", Files: files("1")})
	second = writeDeb(t, dir, testdeb.Package{Name: "tool", Version: "2.0", Files: files("2")})
	root = filepath.Join(dir, "base")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", first)
	mustRun(t, hashpkg(t), "--root", root, "use", "-q", "tool=1.0")
	mustRun(t, hashpkg(t), "--root", root, "use", "-q", "--highest", "tool")
	return dir, first, second, root
}

// copyRoot makes a copy of a root in which hard links are hard links.
func copyRoot(t *testing.T, from, to string) {
	t.Helper()
	mustRun(t, "cp", "-a", from, to)
}

// bookworm returns jq of bookworm and its libraries.
func bookworm(t *testing.T) []string {
	t.Helper()
	testneed.Network(t)
	debs, err := archive.Fetch(context.Background(), archive.Options{
		Suite: "bookworm", Arch: "amd64", Packages: []string{"jq", "libjq1", "libonig5", "libc6", "libgcc-s1"},
	})
	if err != nil {
		testneed.Unmet(t, err)
	}
	return debs
}

// libs is where the libraries of a root are.
const libs = "/usr/lib/x86_64-linux-gnu/"

// serviceRoot returns a root with svc and the first version of its library, and in
// /root/new what an administrator may put in its place.
func serviceRoot(t *testing.T) (root *testroot.Root, first, second []string) {
	t.Helper()
	testneed.Programs(t, "gcc")
	root = newSystem(t)
	first, second = service(t, "1.0"), service(t, "2.0")
	dir := t.TempDir()
	mustRun(t, "dpkg-deb", "-x", second[0], dir)
	root.Install(dir+libs+"libsvc.so.1.2.0", "/root/new")
	installDebs(root, first...)
	root.Run("hashpkg", "sync")
	return root, first, second
}

// installDebs puts debs into the root and has its dpkg install them.
func installDebs(root *testroot.Root, debs ...string) {
	args := []string{"dpkg", "-i"}
	for _, deb := range debs {
		to := "/root/" + deb[strings.LastIndexByte(deb, '/')+1:]
		root.Install(deb, to)
		args = append(args, to)
	}
	root.Run(args...)
}

// service builds two debs: a library of a version, whose postinst starts the
// program of the other, as those of libraries restart services; the program, which
// has two names, says which version it was linked to at run time. The library has a
// symbol of the version SVC_1, from 2.0 on one of SVC_2 too, which the program then
// needs.
func service(t *testing.T, version string) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	const libs = "usr/lib/x86_64-linux-gnu/"
	symbol, versions := "svc_version", "SVC_1 { svc_version; };\n"
	if version >= "2" {
		symbol, versions = "svc_newer", versions+"SVC_2 { svc_newer; };\n"
	}
	write("svc.c", fmt.Sprintf("#include <stdio.h>\nconst char *%s(void);\nint main(void) { puts(%[1]s()); return 0; }\n", symbol), 0o644)
	write("lib.c", fmt.Sprintf("const char *svc_version(void) { return \"%s\"; }\nconst char *svc_newer(void) { return \"%[1]s\"; }\n", version), 0o644)
	write("versions", versions, 0o644)
	write("libsvc1/DEBIAN/control", fmt.Sprintf("Package: libsvc1\nVersion: %s\nArchitecture: amd64\nMulti-Arch: same\nMaintainer: test\nDescription: test\n", version), 0o644)
	write("libsvc1/DEBIAN/postinst", "#!/bin/sh\nset -e\nif [ -x /usr/bin/svc ]; then /usr/bin/svc >>/var/log/svc; fi\n", 0o755)
	write("svc/DEBIAN/control", fmt.Sprintf("Package: svc\nVersion: %s\nArchitecture: amd64\nDepends: libsvc1\nMaintainer: test\nDescription: test\n", version), 0o644)
	for _, d := range []string{"libsvc1/" + libs, "svc/usr/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lib := filepath.Join(dir, "libsvc1", libs, "libsvc.so.1."+version)
	mustRun(t, "gcc", "-shared", "-fPIC", "-Wl,-soname,libsvc.so.1,--version-script="+filepath.Join(dir, "versions"), "-o", lib, filepath.Join(dir, "lib.c"))
	if err := os.Symlink(filepath.Base(lib), filepath.Join(dir, "libsvc1", libs, "libsvc.so.1")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "gcc", "-o", filepath.Join(dir, "svc/usr/bin/svc"), filepath.Join(dir, "svc.c"), lib)
	if err := os.Link(filepath.Join(dir, "svc/usr/bin/svc"), filepath.Join(dir, "svc/usr/bin/svc-too")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "sh", "-c", `cd "$1" && for p in svc libsvc1; do (cd $p && find usr -type f -exec md5sum {} + >DEBIAN/md5sums); done`, "sh", dir)
	var debs []string
	for _, name := range []string{"libsvc1", "svc"} {
		deb := filepath.Join(dir, name+"_"+version+".deb")
		if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", filepath.Join(dir, name), deb).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		debs = append(debs, deb)
	}
	return debs
}

// inForce fails the test unless hashpkg keeps up with the package manager.
func inForce(t *testing.T, root *testroot.Root, what string) {
	t.Helper()
	for _, args := range [][]string{{"check"}, {"verify", "--system"}, {"verify"}} {
		if out, err := root.RunErr(t.Context(), append([]string{"hashpkg"}, args...)...); err != nil {
			t.Errorf("%s: %q: %v: %s", what, args, err, out)
		}
	}
	if link := root.Run("readlink", "/var/sys/current-system"); !strings.HasPrefix(link, ".hashpkg/generations/") {
		t.Errorf("%s: current-system leads to %s", what, link)
	}
}

// smallSystem makes a root of a few real packages that dpkg's database says are
// installed: jq and what it loads. Programs of the C library's package are left out.
func smallSystem(t *testing.T, dir string) {
	t.Helper()
	testneed.Network(t)
	testneed.Programs(t, "dpkg-deb")
	debs, err := archive.Fetch(t.Context(), archive.Options{Suite: "bookworm", Packages: []string{"jq", "libjq1", "libonig5", "libc6"}})
	if err != nil {
		testneed.Unmet(t, err)
	}
	unpackDebs(t, dir, debs)
}

// unpackDebs makes a root in which dpkg's database says that packages are installed,
// with those of their files that unpackInto takes.
func unpackDebs(t *testing.T, dir string, debs []string) {
	t.Helper()
	info := filepath.Join(dir, "var/lib/dpkg/info")
	for _, d := range []string{info, filepath.Join(dir, "usr/lib64"), filepath.Join(dir, "usr/bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"lib", "lib64", "bin"} {
		if err := os.Symlink("usr/"+link, filepath.Join(dir, link)); err != nil && !errors.Is(err, fs.ErrExist) {
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

// unpackInto puts a package's libraries and the program where the package has them,
// and writes its list and digests.
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
			base == "libc.so.6", base == "libm.so.6", base == "svc", strings.HasPrefix(base, "libsvc"):
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

// newSystem returns a root with hashpkg in it.
func newSystem(t *testing.T, packages ...string) *testroot.Root {
	t.Helper()
	root := testroot.Debian(t, "bookworm", "", packages...)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	return root
}
