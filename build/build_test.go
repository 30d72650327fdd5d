package build

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

const (
	loader = "/lib64/ld-linux-x86-64.so.2"
	libDir = "usr/lib/x86_64-linux-gnu/"
	farm   = "/var/sys/current-system/lib64"
)

func program(needed ...string) testelf.File {
	return testelf.File{Interpreter: loader, Needed: append(needed, "libc.so.6"), Sections: true}
}

func library(soname string) testelf.File { return testelf.File{Soname: soname, Sections: true} }

// tree makes a directory of files, and returns it.
func tree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o755); err != nil {
			t.Fatal(err)
		}
		old := time.Unix(1234567890, 0)
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func root(t *testing.T, dir string) *sysroot.Root {
	t.Helper()
	r, err := sysroot.Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// machine has libz.so.1 and the C library.
func machine(t *testing.T) *sysroot.Root {
	return root(t, tree(t, map[string][]byte{
		libDir + "libz.so.1": library("libz.so.1").Bytes(),
		libDir + "libc.so.6": library("libc.so.6").Bytes(),
	}))
}

func bind(t *testing.T, dir string, p Policy) map[string]File {
	t.Helper()
	report, err := Bind(context.Background(), root(t, dir), &p)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]File{}
	for _, f := range report.Files {
		files[f.Path] = f
	}
	return files
}

func inspect(t *testing.T, dir, name string) *elfedit.Info {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestSearchPath writes the way to the farm from wherever a program is.
func TestSearchPath(t *testing.T) {
	with := func(f testelf.File, path string) testelf.File { f.RunPath = path; return f }
	for _, c := range []struct {
		name  string
		file  testelf.File
		rules string
		want  string
		why   programs.Reason
	}{
		{"usr/bin/x", program("libz.so.1"), "", "$ORIGIN/../.." + farm, ""},
		{"bin/x", program("libz.so.1"), "", "$ORIGIN/../.." + farm, ""},
		{"x", program("libz.so.1"), "", "$ORIGIN" + farm, ""},
		{"opt/a/b/c/x", program("libz.so.1"), "", "$ORIGIN/../../../.." + farm, ""},
		{"lib/a/x", program("libz.so.1"), "", "$ORIGIN/../../.." + farm, ""},
		{"usr/bin/x", with(program("libz.so.1"), "/usr/lib/x:$ORIGIN/../lib"), "", "/usr/lib/x:$ORIGIN/../lib:$ORIGIN/../.." + farm, ""},
		{"usr/bin/x", with(program("libz.so.1"), "$ORIGIN/../.."+farm), "", "$ORIGIN/../.." + farm, ""},
		{"usr/bin/x", program(), "", "", "needs no library that the farm could have"},
		{"usr/bin/x", program(), "runpath full usr/bin", "$ORIGIN/../.." + farm, ""},
		{"usr/bin/x", program("libz.so.1"), "runpath none /usr/bin/x", "", "a rule wants none"},
		{"usr/bin/x", program("libz.so.1"), "runpath none /usr/bin\nrunpath minimal usr/bin/*", "$ORIGIN/../.." + farm, ""},
		{"usr/bin/x", testelf.File{Interpreter: loader, Needed: []string{"libz.so.1"}, RPath: "/a", Sections: true}, "", "", "has an RPATH, which a RUNPATH would disable"},
	} {
		rules, err := ParseRules(c.rules)
		if err != nil {
			t.Fatal(err)
		}
		dir := tree(t, map[string][]byte{c.name: c.file.Bytes()})
		f := bind(t, dir, Policy{Machine: machine(t), Rules: rules})["/"+c.name]
		if f.RunPath != c.want || f.RunPathLeft != c.why || f.Left != "" || f.Error != "" {
			t.Errorf("%s, %q: %+v, want %q, %q", c.name, c.rules, f, c.want, c.why)
		}
		if got := inspect(t, dir, c.name).RunPath; got != c.want {
			t.Errorf("%s, %q: the file has %q, want %q", c.name, c.rules, got, c.want)
		}
	}
}

// TestNote names the package's own library before that of another package, and that before the
// machine's.
func TestNote(t *testing.T) {
	own, other := append(library("libown.so.1").Bytes(), 1), append(library("libz.so.1").Bytes(), 2)
	p := program("libown.so.1", "libz.so.1", "libnone.so.1")
	p.RunPath = "$ORIGIN/../lib/own"
	dir := tree(t, map[string][]byte{"usr/bin/x": p.Bytes(), "usr/lib/own/libown.so.1": own})
	packages := []*sysroot.Root{root(t, tree(t, map[string][]byte{"lib/x86_64-linux-gnu/libz.so.1": other}))}
	m := machine(t)
	f := bind(t, dir, Policy{Machine: m, Packages: packages})["/usr/bin/x"]
	want := []elfedit.Bound{
		{Path: "/usr/lib/own/libown.so.1", Digest: digest.Of(own).String()},
		{Path: "/lib/x86_64-linux-gnu/libz.so.1", Digest: digest.Of(other).String()},
		{Path: "/" + libDir + "libc.so.6", Digest: digest.Of(library("libc.so.6").Bytes()).String()},
	}
	info := inspect(t, dir, "usr/bin/x")
	if !slices.Equal(f.BuiltAgainst, want) || !slices.Equal(info.BuiltAgainst, want) || info.Bound != nil {
		t.Errorf("the note has %v, the report %v, want %v; bound to %v", info.BuiltAgainst, f.BuiltAgainst, want, info.Bound)
	}
	if !slices.Equal(f.Unresolved, []string{"libnone.so.1"}) {
		t.Errorf("not found: %v", f.Unresolved)
	}
	before, err := os.ReadFile(filepath.Join(dir, "usr/bin/x"))
	if err != nil {
		t.Fatal(err)
	}
	if f := bind(t, dir, Policy{Machine: m, Packages: packages})["/usr/bin/x"]; f.Changed || f.NoteLeft != "" {
		t.Errorf("the second call: %+v", f)
	}
	if f := bind(t, dir, Policy{Machine: m})["/usr/bin/x"]; f.Changed || f.NoteLeft == "" {
		t.Errorf("a call with other libraries: %+v", f)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "usr/bin/x")); err != nil || string(after) != string(before) {
		t.Errorf("later calls change the file: %v", err)
	}
}

// TestNoteOfMergedDirectories finds a library where /lib leads to on most systems, and not on the one that
// has the package's files only.
func TestNoteOfMergedDirectories(t *testing.T) {
	p := program("libown.so.1")
	for from, to := range map[string]string{"/lib/own": "usr/lib/own", "/usr/lib/own": "lib/own"} {
		p.RunPath = from
		dir := tree(t, map[string][]byte{"usr/bin/x": p.Bytes(), to + "/libown.so.1": library("libown.so.1").Bytes()})
		if f := bind(t, dir, Policy{Machine: machine(t)})["/usr/bin/x"]; len(f.BuiltAgainst) != 2 || f.BuiltAgainst[0].Path != "/"+to+"/libown.so.1" {
			t.Errorf("with the path %s, of %s: %+v", from, to, f)
		}
	}
}

// TestLeft has what is not edited, and why.
func TestLeft(t *testing.T) {
	p := program("libz.so.1").Bytes()
	object := append([]byte{}, p...)
	object[16] = 1 // ET_REL
	static := testelf.File{Interpreter: "/lib/ld-musl-x86_64.so.1", Needed: []string{"libz.so.1"}, Sections: true}
	dir := tree(t, map[string][]byte{
		"usr/bin/setuid": p, "usr/bin/hmac": p, "usr/bin/.hmac.hmac": []byte("x"), "usr/bin/outside": p,
		"usr/bin/ruled": p, "usr/bin/excluded": p, "usr/bin/musl": static.Bytes(),
		"usr/bin/libx.so.1": library("libx.so.1").Bytes(), "usr/lib/debug/x": p, "lib/firmware/x": p,
		"usr/lib/x.ko": object, "usr/bin/broken": p[:80], "usr/bin/script": []byte("#!/bin/sh\n"), "DEBIAN/preinst": p,
	})
	if err := os.Chmod(filepath.Join(dir, "usr/bin/setuid"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "usr/bin/outside"), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("ruled", filepath.Join(dir, "usr/bin/link")); err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules("leave usr/bin/ruled\n")
	if err != nil {
		t.Fatal(err)
	}
	files := bind(t, dir, Policy{Machine: machine(t), Rules: rules, Exclude: []string{"/usr/bin/excluded"}})
	for name, want := range map[string]string{
		"/usr/bin/setuid": "has other rights", "/usr/bin/hmac": "is compared with /usr/bin/.hmac.hmac", "/usr/bin/outside": "is a hard link",
		"/usr/bin/ruled": "is left by a rule", "/usr/bin/excluded": "is excluded", "/usr/bin/musl": "is a program of musl",
		"/usr/bin/libx.so.1": "is a library", "/usr/lib/debug/x": "holds the debugging", "/lib/firmware/x": "is firmware",
		"/usr/lib/x.ko": "is an object file", "/usr/bin/broken": "cannot be edited",
	} {
		if f, ok := files[name]; !ok || !strings.HasPrefix(string(f.Left), want) || f.Changed {
			t.Errorf("%s: %+v, want %q", name, f, want)
		}
		delete(files, name)
	}
	if len(files) > 0 {
		t.Errorf("others are in the report: %v", files)
	}
	dir = tree(t, map[string][]byte{"usr/bin/iconv": program("libz.so.1").Bytes(), libDir + "ld-linux-x86-64.so.2": library("ld-linux-x86-64.so.2").Bytes()})
	if f := bind(t, dir, Policy{Machine: machine(t)})["/usr/bin/iconv"]; f.Left == "" {
		t.Errorf("a program of the C library's package: %+v", f)
	}
}

// TestFileStays edits a file with two names that nobody may write to: inode, names, mode and times stay.
func TestFileStays(t *testing.T) {
	dir := tree(t, map[string][]byte{"usr/bin/x": program("libz.so.1").Bytes()})
	name, other := filepath.Join(dir, "usr/bin/x"), filepath.Join(dir, "usr/libexec/a/x")
	if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(name, other); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o555); err != nil {
		t.Fatal(err)
	}
	var before, after unix.Stat_t
	if err := unix.Stat(name, &before); err != nil {
		t.Fatal(err)
	}
	f := bind(t, dir, Policy{Machine: machine(t)})["/usr/bin/x"]
	if err := unix.Stat(other, &after); err != nil {
		t.Fatal(err)
	}
	if !f.Changed || !slices.Equal(f.Links, []string{"/usr/libexec/a/x"}) || f.RunPath != "$ORIGIN/../../.."+farm {
		t.Errorf("%+v", f)
	}
	if after.Ino != before.Ino || after.Mode != before.Mode || after.Nlink != 2 || after.Mtim != before.Mtim || after.Size == before.Size {
		t.Errorf("it was %+v and is %+v", before, after)
	}
}

func TestRules(t *testing.T) {
	for text, want := range map[string]string{
		"frob x": "line 1: \"frob\" is no rule", "\n\nleave": "line 3: expected leave PATTERN", "leave a b": "line 1: expected",
		"runpath most x": "line 1: runpath most: expected", "runpath none": "line 1: expected runpath", "note all x": "line 1: expected note none",
		"leave [": "line 1: \"[\" is no pattern",
	} {
		if _, err := ParseRules(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	r, err := ParseRules("# all\nleave usr/bin/a # why\n\nnote none /usr/bin/b\nleave usr/bin/none\n")
	if err != nil {
		t.Fatal(err)
	}
	if !r.leaves("/usr/bin/a") || r.leaves("/usr/bin/b") || !r.of([]string{"/usr/bin/b"}).noNote || r.of([]string{"/usr/bin/a"}).noNote {
		t.Errorf("the rules are %+v", r)
	}
	if got := r.unused([]string{"/usr/bin/a", "/usr/bin/b"}); len(got) != 1 || !strings.Contains(got[0], "/usr/bin/none") {
		t.Errorf("unused: %q", got)
	}
}

// FuzzParseRules has rules that were read say something of files, or an error name a line.
func FuzzParseRules(f *testing.F) {
	for _, seed := range []string{"leave usr/bin/a # why", "runpath none [a-z]*\n\nnote none x", "runpath", "leave \\", "#", "leave a\x00b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRules(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, one := range r.list {
			if !strings.HasPrefix(one.pattern, "/") || !one.leave && one.runPath == "" && !one.noNote {
				t.Errorf("%q: %+v", text, one)
			}
		}
		r.of([]string{"/usr/bin/a"})
		r.unused(nil)
	})
}
