package subject_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/build/audit"
	"github.com/hashpkg/hashpkg/build/subject"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

const interpreter = "/lib64/ld-linux-x86-64.so.2"

// program needs libraries, and searches a directory unless it is "".
func program(runpath string, needed ...string) string {
	return string(testelf.File{Interpreter: interpreter, RunPath: runpath, Needed: append(needed, "libc.so.6")}.Bytes())
}

func library(soname string, needed ...string) string {
	return string(testelf.File{Soname: soname, Needed: needed}.Bytes())
}

// arm returns a file as one for AArch64.
func arm(elf string) string {
	b := []byte(elf)
	b[18] = 183 // e_machine, EM_AARCH64 (gABI, figure 4-3)
	return string(b)
}

// write writes files below a directory; what begins with "-> " is a link.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok && err == nil {
			err = os.Symlink(target, at)
		} else if err == nil {
			err = os.WriteFile(at, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// newRoot makes a root with the C library only.
func newRoot(t *testing.T, files map[string]string) *sysroot.Root {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"lib64": "-> usr/lib64", "lib": "-> usr/lib", "bin": "-> usr/bin",
		"usr/lib64/ld-linux-x86-64.so.2":          library("ld-linux-x86-64.so.2"),
		"usr/lib/x86_64-linux-gnu/libc.so.6":      library("libc.so.6"),
		"usr/lib/ld-linux-aarch64.so.1":           arm(library("ld-linux-aarch64.so.1")),
		"usr/lib/aarch64-linux-gnu/libc.so.6":     arm(library("libc.so.6")),
		"usr/lib/x86_64-linux-gnu/app/liba.so.1":  library("liba.so.1"),
		"etc/ld.so.conf":                          "include /etc/ld.so.conf.d/*.conf\n",
		"var/sys/libtree/default/lib64/libt.so.1": library("libt.so.1"),
	})
	write(t, dir, files)
	root, err := sysroot.Open(dir, "/var/sys", formats())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// errorsOf returns the errors among findings, "ID FILE: WHAT", without those about protections.
func errorsOf(findings []audit.Finding) []string {
	var list []string
	for _, f := range findings {
		if f.Level == audit.LevelError || f.ID == "library-elsewhere" {
			list = append(list, f.ID+" "+f.File+": "+f.What)
		}
	}
	return list
}

func TestPackages(t *testing.T) {
	const libs = "usr/lib/x86_64-linux-gnu/"
	missing := []string{"missing-library /usr/bin/p: there is no libfoo.so.1 where the loader searches"}
	deb := func(files ...testdeb.File) testdeb.Package { return testdeb.Package{Files: files} }
	tests := []struct {
		name      string
		debs      []testdeb.Package
		rpms      []testrpm.Package
		libraries []testdeb.Package
		root      map[string]string
		want      []string
	}{
		{name: "what nobody has", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")))}, want: missing},
		{
			name: "what the root has", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")))},
			root: map[string]string{libs + "libfoo.so.1": library("libfoo.so.1")},
		},
		{name: "what another one has, before /usr was merged", debs: []testdeb.Package{
			deb(testdeb.Exec("bin/p", program("", "libfoo.so.1"))),
			deb(testdeb.Exec("lib/x86_64-linux-gnu/libfoo.so.1.2", library("libfoo.so.1")), testdeb.Symlink("lib/x86_64-linux-gnu/libfoo.so.1", "libfoo.so.1.2")),
		}},
		{name: "a hard link", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")),
			testdeb.Exec(libs+"libfoo.so.1.2", library("libfoo.so.1")), testdeb.HardLink(libs+"libfoo.so.1", "./"+libs+"libfoo.so.1.2"))}},
		{
			name: "what --library-dir has", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")))},
			libraries: []testdeb.Package{deb(testdeb.Exec(libs+"libfoo.so.1", library("libfoo.so.1")), testdeb.Exec("usr/bin/q", program("", "libnone.so.1")))},
		},
		{name: "a directory that the package configures", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")),
			testdeb.Exec("opt/foo/lib/libfoo.so.1", library("libfoo.so.1")), testdeb.File{Path: "etc/ld.so.conf.d/foo.conf", Content: "/opt/foo/lib\n"})}},
		{name: "a directory that nobody configures", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")),
			testdeb.Exec("opt/foo/lib/libfoo.so.1", library("libfoo.so.1")), testdeb.File{Path: "etc/foo.conf.d/foo.conf", Content: "/opt/foo/lib\n"})}, want: missing},
		{
			name: "a setuid program in a directory that is configured", debs: []testdeb.Package{deb(testdeb.File{Path: "usr/local/bin/p", Mode: 0o4755, Content: program("$ORIGIN/../lib/foo", "libfoo.so.1")},
				testdeb.Exec("usr/local/lib/foo/libfoo.so.1", library("libfoo.so.1")))}, root: map[string]string{"etc/ld.so.conf.d/libc.conf": "/usr/local/lib\n"},
			want: []string{"setuid-origin /usr/local/bin/p: libfoo.so.1 is found by $ORIGIN only, which the loader ignores in a program with rights of its own"},
		},
		{
			name: "a setuid program that is trusted", debs: []testdeb.Package{deb(testdeb.File{Path: "usr/bin/p", Mode: 0o4755, Content: program("$ORIGIN/../lib/foo", "libfoo.so.1")},
				testdeb.Exec("usr/lib/foo/libfoo.so.1", library("libfoo.so.1")))},
		},
		{name: "a tree of what it requires", debs: []testdeb.Package{{Depends: "libtree (>= 1)", Files: []testdeb.File{testdeb.Exec("usr/bin/p", program("", "libt.so.1"))}}}},
		{
			name: "a tree of what it does not require", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libt.so.1")))},
			want: []string{"missing-library /usr/bin/p: there is no libt.so.1 where the loader searches"},
		},
		{name: "a link out of the package", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("/usr/lib/mine", "libfoo.so.1")),
			testdeb.Symlink("usr/lib/mine", "../../../../../../..//usr/lib/theirs"))}, root: map[string]string{"usr/lib/theirs/libfoo.so.1": library("libfoo.so.1")}},
		{name: "a root's link into the package", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("/srv/lib", "libfoo.so.1")),
			testdeb.Exec("opt/foo/libfoo.so.1", library("libfoo.so.1")))}, root: map[string]string{"srv/lib": "-> /opt/foo"}},
		{name: "a loop of links", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("/usr/lib/a", "libfoo.so.1")),
			testdeb.Symlink("usr/lib/a", "b"), testdeb.Symlink("usr/lib/b", "a"))}, want: missing},
		{name: "a foreign architecture", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", arm(strings.Replace(program("", "libfoo.so.1"), interpreter, "/lib/ld-linux-aarch64.so.1\x00"[:len(interpreter)], 1))),
			testdeb.Exec("usr/lib/aarch64-linux-gnu/libfoo.so.1", arm(library("libfoo.so.1"))))}},
		{name: "a library of another architecture", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("", "libfoo.so.1")),
			testdeb.Exec(libs+"libfoo.so.1", arm(library("libfoo.so.1"))))}, want: missing},
		{
			name: "a plugin", debs: []testdeb.Package{deb(testdeb.Exec("usr/lib/p/p.so", library("", "liba.so.1")))},
			want: []string{"library-elsewhere /usr/lib/p/p.so: liba.so.1 is not where the loader searches, but /usr/lib/x86_64-linux-gnu/app/liba.so.1"},
		},
		{name: "an rpm", rpms: []testrpm.Package{{Files: []testrpm.File{{Path: "/usr/bin/p", Mode: 0o100755, Content: program("", "libfoo.so.1")}}}}, want: missing},
		{name: "an rpm with all", rpms: []testrpm.Package{{Files: []testrpm.File{
			{Path: "/usr/bin/p", Mode: 0o100755, Content: program("$ORIGIN/../lib64/p", "libfoo.so.1")},
			{Path: "/usr/lib64/p/libfoo.so.1", Mode: 0o100755, Content: library("libfoo.so.1")},
		}}}},
		{
			name: "a damaged program", debs: []testdeb.Package{deb(testdeb.Exec("usr/bin/p", program("")[:70]), testdeb.File{Path: "usr/share/p", Content: "\x7fELF no program"})},
			want: []string{"damaged-file /usr/bin/p: "},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := subject.Options{Root: newRoot(t, test.root)}
			dir := t.TempDir()
			put := func(name string, b []byte) string {
				at := filepath.Join(dir, name)
				if err := os.WriteFile(at, b, 0o644); err != nil {
					t.Fatal(err)
				}
				return at
			}
			for i, p := range test.debs {
				o.Names = append(o.Names, put("p"+string(rune('0'+i))+".deb", testdeb.Deb(t, p)))
			}
			for _, p := range test.rpms {
				o.Names = append(o.Names, put("p.rpm", testrpm.RPM(t, p)))
			}
			for _, p := range test.libraries {
				o.Libraries = append(o.Libraries, put("l.deb", testdeb.Deb(t, p)))
			}
			got := errorsOf(auditOf(t, o))
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("found %q, expected %q", got, test.want)
			}
		})
	}
}

// TestReplaced looks at a package over a root that has another version of it, whose files go: one that stands
// where the loader looks first, and one that the new version needs.
func TestReplaced(t *testing.T) {
	const libs = "usr/lib/x86_64-linux-gnu/"
	files := map[string]string{
		libs + "libfoo.so.1.0": library("libfoo.so.1", "libancient.so.1"), libs + "libfoo.so.1": "-> libfoo.so.1.0", libs + "libgone.so.1": library("libgone.so.1"), "etc/foo": "text",
		"var/lib/dpkg/status": "Package: foo\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nMaintainer: m\nDescription: d\n",
		"var/lib/dpkg/info/foo.list": "/.\n/lib\n/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu/libfoo.so.1.0\n/lib/x86_64-linux-gnu/libfoo.so.1\n/usr\n/usr/lib\n/usr/lib/x86_64-linux-gnu\n" +
			"/usr/lib/x86_64-linux-gnu/libgone.so.1\n/etc\n/etc/foo\n",
	}
	for name, want := range map[string][]string{
		"foo":   {"missing-library /usr/bin/p: there is no libgone.so.1 where the loader searches"},
		"other": {"missing-library /usr/bin/p: there is no libancient.so.1, which /lib/x86_64-linux-gnu/libfoo.so.1 needs, where the loader searches"},
	} {
		file := filepath.Join(t.TempDir(), "p.deb")
		b := testdeb.Deb(t, testdeb.Package{Name: name, Version: "2", Files: []testdeb.File{testdeb.Exec("usr/bin/p", program("", "libfoo.so.1", "libgone.so.1")), testdeb.Exec("usr/lib/libfoo.so.1", library("libfoo.so.1"))}})
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := errorsOf(auditOf(t, subject.Options{Root: newRoot(t, files), Names: []string{file}})); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, expected %q", name, got, want)
		}
	}
}

// TestSamePath reads packages that have different things at one path: each file has its own symbols.
func TestSamePath(t *testing.T) {
	var contents []string
	for _, name := range []string{"/usr/bin/env", "/usr/bin/ls"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(b))
	}
	o := subject.Options{Root: newRoot(t, nil)}
	dir := t.TempDir()
	for i, files := range [][]testdeb.File{
		{testdeb.Exec("usr/bin/q", contents[0]), testdeb.Symlink("usr/bin/p", "q")},
		{testdeb.Exec("usr/bin/p", contents[1])},
	} {
		at := filepath.Join(dir, string(rune('0'+i)))
		if err := os.WriteFile(at, testdeb.Deb(t, testdeb.Package{Files: files}), 0o644); err != nil {
			t.Fatal(err)
		}
		o.Names = append(o.Names, at)
	}
	read, err := subject.Read(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer read.World.Close()
	for i, s := range read.Subjects {
		want, err := audit.SymbolsOf([]byte(contents[i]))
		if err != nil {
			t.Fatal(err)
		}
		if got := read.World.Symbols(s.Files[0].Object); got == nil || !slices.Equal(got.Imports, want.Imports) {
			t.Errorf("%s has the symbols of another file", s.Files[0].Path)
		}
	}
}

// TestWritable looks at search paths with directories that a package lets others write to.
func TestWritable(t *testing.T) {
	for _, test := range []struct {
		dir  testdeb.File
		want string
	}{
		{testdeb.File{Mode: 0o755}, ""},
		{testdeb.File{Mode: 0o775}, ""}, // the group is root
		{testdeb.File{Mode: 0o777}, "everybody"},
		{testdeb.File{Mode: 0o1777}, "everybody"},
		{testdeb.File{Mode: 0o2775, GID: 50, Group: "staff"}, "the group staff"},
		{testdeb.File{Mode: 0o755, GID: 50, Group: "staff"}, ""},
		{testdeb.File{Mode: 0o755, UID: 33, Owner: "www-data"}, "the user www-data"},
		{testdeb.File{Mode: 0o775, GID: 50}, "the group 50"},
		{testdeb.File{Mode: 0o755, UID: 33}, "the user 33"}, // tar --numeric-owner
	} {
		for _, search := range []string{"/usr/lib/mine/sub", "$ORIGIN/../lib/mine/sub"} {
			dir := test.dir
			dir.Path = "usr/lib/mine/"
			file := filepath.Join(t.TempDir(), "p.deb")
			b := testdeb.Deb(t, testdeb.Package{Files: []testdeb.File{testdeb.Exec("usr/bin/p", program(search)), dir, testdeb.Exec("usr/lib/mine/sub/x", "text")}})
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range auditOf(t, subject.Options{Root: newRoot(t, nil), Names: []string{file}}) {
				if f.ID == "runpath-writable" {
					got = f.What
				}
			}
			if (got != "") != (test.want != "") || !strings.Contains(got, "in which "+test.want) && test.want != "" {
				t.Errorf("%s of %+v: found %q, expected %q", search, dir, got, test.want)
			}
		}
	}
}

// TestHostileDirectory reads a directory in which links lead out of it, and what is no file would hold up who opens it.
func TestHostileDirectory(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string]string{"bin/q": program("", "libsecret.so.1"), "libfoo.so.1": library("libfoo.so.1")})
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"usr/bin/p": program("/usr/lib/out", "libfoo.so.1"), "usr/bin/q": "-> " + outside + "/bin/q", "usr/out": "-> " + outside,
		"usr/lib/out": "-> " + outside, "usr/loop": "-> .", "usr/empty": "", "usr/short": "\x7fE",
		"usr/" + strings.Repeat("d/", 600) + "p": program("", "libdeep.so.1"),
	})
	if err := unix.Mkfifo(dir+"/usr/bin/pipe", 0o755); err != nil {
		t.Fatal(err)
	}
	got := errorsOf(auditOf(t, subject.Options{Root: newRoot(t, nil), Names: []string{dir}}))
	want := []string{
		"missing-library /usr/bin/p: there is no libfoo.so.1 where the loader searches",
		"missing-library /usr/" + strings.Repeat("d/", 600) + "p: there is no libdeep.so.1 where the loader searches",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q", got)
	}
}

// TestPlaces looks at files below the root, and out of it.
func TestPlaces(t *testing.T) {
	root := newRoot(t, map[string]string{"opt/a/bin/p": program("$ORIGIN/../lib", "libfoo.so.1"), "opt/a/lib/libfoo.so.1": library("libfoo.so.1"), "opt/a/link": "-> bin/p"})
	outside := t.TempDir()
	write(t, outside, map[string]string{"bin/p": program("$ORIGIN/../lib", "libfoo.so.1"), "lib/libfoo.so.1": library("libfoo.so.1"), "searches/p": program("", "libfoo.so.1")})
	for _, test := range []struct{ name, want string }{ // want is the name of the only error
		{root.Dir() + "/opt/a/bin/p", ""},
		{root.Dir() + "/opt/a/link", ""},
		{root.Dir() + "/opt/a", ""},
		{outside, "missing-library"},          // only searches/p
		{outside + "/bin", "missing-library"}, // what is beside it is not in the root
		{outside + "/bin/p", "missing-library"},
	} {
		got := errorsOf(auditOf(t, subject.Options{Root: root, Names: []string{test.name}}))
		if len(got) > 1 || (len(got) == 1) != (test.want != "") {
			t.Errorf("%s: %q", test.name, got)
		}
	}
	got := errorsOf(auditOf(t, subject.Options{Root: root, Names: []string{outside + "/bin", outside + "/searches"}, Libraries: []string{outside + "/lib"}}))
	if len(got) > 0 {
		t.Errorf("with --library-dir: %q", got)
	}
}

func TestRefused(t *testing.T) {
	root := newRoot(t, nil)
	dir := t.TempDir()
	whole := testdeb.Deb(t, testdeb.Package{Files: []testdeb.File{testdeb.Exec("usr/bin/p", program(""))}})
	write(t, dir, map[string]string{"text": "some text", "empty": "", "cut.deb": string(whole[:len(whole)-100])})
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		is   error // nil for any
	}{
		{dir + "/text", subject.ErrNotAuditable},
		{dir + "/empty", subject.ErrNotAuditable},
		{dir + "/none", fs.ErrNotExist},
		{dir + "/cut.deb", nil},
		{"no-such-package", query.ErrNotInstalled},
		{"=1", query.ErrSpec},
		{"/dev/null", nil},
		{dir + "/fifo", mapped.ErrNotRegular},
	} {
		_, err := subject.Read(context.Background(), subject.Options{Root: root, Names: []string{test.name}})
		if err == nil || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := subject.Read(ctx, subject.Options{Root: root, Names: []string{root.Dir()}}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestInstalled looks at packages that dpkg has installed here.
func TestInstalled(t *testing.T) {
	testneed.Programs(t, "dpkg-query")
	root, err := sysroot.Open("/", "/var/sys", formats())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	read, err := subject.Read(context.Background(), subject.Options{Root: root, Names: []string{"coreutils", "libc6"}})
	if err != nil {
		t.Fatal(err)
	}
	defer read.World.Close()
	if len(read.Subjects) < 2 || len(read.Subjects[0].Files) < 50 || !strings.HasPrefix(read.Subjects[0].Name, "coreutils:") {
		t.Errorf("%d subjects, %d files", len(read.Subjects), read.Files)
	}
	findings, err := audit.Run(context.Background(), read.World, read.Subjects, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if got := errorsOf(findings); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
