package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// builtSystem makes a root without the network: the program svc, its library in two
// versions, of which the second is installed and the first was, and the machine's C
// library. hashpkg, which is the root's too, has synced it after each, and has
// installed two versions of a package of its own beside it.
func builtSystem(t *testing.T, dir string) {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "gcc", "dpkg-deb")
	first, second, libc := service(t, "1.0"), service(t, "2.0"), machineLibc(t)
	unpackDebs(t, dir, []string{first[0], first[1], libc})
	mustRun(t, "cp", hashpkg(t), filepath.Join(dir, "usr/bin/hashpkg"))
	mustRun(t, hashpkg(t), "--root", dir, "sync", "-q")
	for _, old := range []string{"usr/lib/x86_64-linux-gnu/libsvc.so.1", "usr/lib/x86_64-linux-gnu/libsvc.so.1.1.0"} {
		if err := os.Remove(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
	unpackDebs(t, dir, []string{second[0], first[1], libc})
	mustRun(t, hashpkg(t), "--root", dir, "sync", "-q")
	for _, version := range []string{"1.0", "2.0"} {
		deb := writeDeb(t, t.TempDir(), testdeb.Package{Name: "tool", Version: version, Files: []testdeb.File{
			testdeb.Exec("usr/bin/tool", "tool "+version), {Path: "usr/share/tool/data", Content: "data"},
		}})
		mustRun(t, hashpkg(t), "--root", dir, "install", "-q", deb)
	}
}

// machineLibc builds a package of the machine's own C library.
func machineLibc(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "libc6")
	for _, d := range []string{"DEBIAN", libs, "usr/lib64"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const loader = "ld-linux-x86-64.so.2"
	for from, to := range map[string]string{"/lib64/" + loader: libs + loader, libs + "libc.so.6": libs + "libc.so.6"} {
		if _, err := os.Stat(from); err != nil {
			testneed.Unmet(t, err)
		}
		mustRun(t, "cp", "-L", "--preserve=mode", from, filepath.Join(dir, to))
	}
	control := "Package: libc6\nVersion: 2.36\nArchitecture: amd64\nMulti-Arch: same\nMaintainer: test\nDescription: test\n"
	if err := os.WriteFile(filepath.Join(dir, "DEBIAN/control"), []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".."+strings.TrimPrefix(libs, "/usr")+loader, filepath.Join(dir, "usr/lib64", loader)); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "dpkg-deb", "--root-owner-group", "-Znone", "-b", dir, dir+".deb")
	return dir + ".deb"
}

// snapshot describes everything at and below a directory, a line a name, so that
// whatever is done to it shows: inodes, names, modes, owners, bytes and times. That
// something is read would show too; but others may read what is in /tmp.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	var look func(path string)
	look = func(path string) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatalf("look at %s: %v", path, err)
		}
		what := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			what = "-> " + target
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			what = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		lines = append(lines, fmt.Sprintf("%s: %d mode %o links %d owner %d:%d size %d mtime %v ctime %v %s",
			path, st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim, what))
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			entries, err := os.ReadDir(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				look(filepath.Join(path, e.Name()))
			}
		}
	}
	look(dir)
	return lines
}

// compareSnapshots fails the test with the first lines that differ, and reports
// whether they are equal.
func compareSnapshots(t *testing.T, what string, before, after []string) bool {
	t.Helper()
	if slices.Equal(before, after) {
		return true
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("%s: outside the root was\n\t%s", what, line)
			break
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("%s: outside the root is now\n\t%s", what, line)
			break
		}
	}
	return false
}
