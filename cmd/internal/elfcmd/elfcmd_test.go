package elfcmd

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// callElf runs the command and returns what it printed.
func callElf(args ...string) (status int, out, notes string) {
	var o, e bytes.Buffer
	status = Main(args, Env{Out: &o, Err: &e, Getenv: func(string) string { return "" }})
	return status, o.String(), e.String()
}

// TestElfManyFiles edits many files at a time, some of them by two names: all
// are done, and what is printed is in their order.
func TestElfManyFiles(t *testing.T) {
	self, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var files []string
	var want, failures string
	for i := range 60 {
		path := filepath.Join(dir, fmt.Sprintf("file%d", i))
		files = append(files, path)
		if i%10 == 3 {
			failures += fmt.Sprintf("patchelf: %s: no such file or directory\n", path)
			continue
		}
		if err := os.WriteFile(path, self, 0o755); err != nil {
			t.Fatal(err)
		}
		if status, _, notes := callElf("--set-rpath", fmt.Sprintf("/dir%d", i), path); status != 0 {
			t.Fatal(notes)
		}
		want += fmt.Sprintf("/dir%d\n", i)
	}
	failures += "patchelf: 6 of 60 files failed\n"
	if status, out, notes := callElf(append([]string{"--print-rpath"}, files...)...); status != 1 || out != want || notes != failures {
		t.Errorf("print: status %d, printed %q and %q", status, out, notes)
	}

	good := slices.DeleteFunc(slices.Clone(files), func(path string) bool { _, err := os.Stat(path); return err != nil })
	link := filepath.Join(dir, "link")
	if err := os.Symlink("file0", link); err != nil {
		t.Fatal(err)
	}
	twice := slices.Concat([]string{link}, good[:20], []string{link}, good, good[:3])
	for range 2 {
		if status, out, notes := callElf(append([]string{"--add-rpath", "/more"}, twice...)...); status != 0 || out+notes != "" {
			t.Fatalf("add: status %d, printed %q and %q", status, out, notes)
		}
	}
	_, out, _ := callElf(append([]string{"--print-rpath"}, good...)...)
	if want := strings.ReplaceAll(want, "\n", ":/more\n"); out != want {
		t.Errorf("after the addition: %q", out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(good)+1 {
		t.Errorf("%d entries are in the directory, %v; want %d", len(entries), err, len(good)+1)
	}
}

// TestElfWithoutStringTable edits programs whose dynamic section is lost, or names
// no string table.
func TestElfWithoutStringTable(t *testing.T) {
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil || f.Class != elf.ELFCLASS64 {
		t.Skip("/bin/sh is not a program of 64 bits")
	}
	header := func(kind elf.ProgType) (at, offset uint64) {
		for i, p := range f.Progs {
			if p.Type == kind {
				return f.ByteOrder.Uint64(b[32:]) + 56*uint64(i), p.Off
			}
		}
		t.Skipf("/bin/sh has no %v", kind)
		return 0, 0
	}
	at, dynamic := header(elf.PT_DYNAMIC)
	for _, c := range []struct {
		name   string
		change func(b []byte)
		path   string // what is told of --set-rpath
	}{
		{"no PT_DYNAMIC", func(b []byte) { f.ByteOrder.PutUint32(b[at:], uint32(elf.PT_NULL)) }, "cannot find section '.dynamic'"},
		{"empty", func(b []byte) { clear(b[at+32 : at+48]) }, "cannot find section '.dynamic'"},
		{"no DT_STRTAB, no sections", func(b []byte) {
			for ; f.ByteOrder.Uint64(b[dynamic:]) != uint64(elf.DT_STRTAB); dynamic += 16 {
			}
			f.ByteOrder.PutUint64(b[dynamic:], uint64(elf.DT_DEBUG))
			clear(b[40:48])
			clear(b[60:64])
		}, "the dynamic section names no string table"},
	} {
		data := bytes.Clone(b)
		c.change(data)
		path := filepath.Join(t.TempDir(), "sh")
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
		if status, _, notes := callElf("--set-interpreter", "/a/ld.so", path); status != 0 || notes != "" {
			t.Errorf("%s: set: status %d, %q", c.name, status, notes)
		}
		if status, out, _ := callElf("--print-interpreter", path); status != 0 || out != "/a/ld.so\n" {
			t.Errorf("%s: print: status %d, %q", c.name, status, out)
		}
		if status, _, notes := callElf("--set-rpath", "/x", path); status != 1 || !strings.Contains(notes, c.path) {
			t.Errorf("%s: search path: status %d, %q", c.name, status, notes)
		}
	}
}

// TestElfJSON checks that --json prints one value that says what was done.
func TestElfJSON(t *testing.T) {
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sh")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args    []string
		runpath string
		changed bool
	}{
		{[]string{"--dry-run", "--set-rpath", "/a"}, "", true},
		{[]string{"--set-rpath", "/a"}, "/a", true},
		{[]string{"--set-rpath", "/a"}, "/a", false},
	} {
		status, out, notes := callElf(append([]string{"--json", path}, c.args...)...)
		var got output
		if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || notes != "" {
			t.Fatalf("%q: status %d, %v, %q", c.args, status, err, notes)
		}
		if f := got.Files[0]; f.ELF.RunPath != c.runpath || f.Edit.Changed != c.changed {
			t.Errorf("%q: %s", c.args, out)
		}
	}
}

// TestElfPlaces names files in the ways that a user may.
func TestElfPlaces(t *testing.T) {
	self, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := errors.Join(
		os.Mkdir("dir", 0o755), os.Mkdir("other", 0o755), os.WriteFile("dir/file", self, 0o755),
		os.Symlink("dir", "link"), os.Symlink("../dir/file", "other/file"), os.Symlink("none", "dangling"),
	); err != nil {
		t.Fatal(err)
	}
	edits := 0
	for _, args := range [][]string{
		{"dir/file"},
		{"./dir/../dir/file"},
		{"link/file"},
		{"other/file"},
		{"--output", "dir/file", "dir/file"},
		{"--output", "other/file", "link/file"},
	} {
		edits++
		want := fmt.Sprintf("/dir%d", edits)
		if status, out, notes := callElf(append([]string{"--set-rpath", want}, args...)...); status != 0 || out+notes != "" {
			t.Errorf("%q: status %d, printed %q and %q", args, status, out, notes)
		}
		if _, out, _ := callElf("--print-rpath", "dir/file"); out != want+"\n" {
			t.Errorf("%q gives the search path %q", args, out)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"dir"}, "dir: it is a directory"},
		{[]string{"--output", "dir", "dir/file"}, "dir: it is a directory"},
		{[]string{"--output", "dir/", "dir/file"}, "it is a directory"},
		{[]string{"--output", "..", "dir/file"}, "it is a directory"},
		{[]string{"--output", "none/file", "dir/file"}, "no such file"},
		{[]string{"--output", "dangling", "dir/file"}, "dangling: "},
		{[]string{"--output", "dir/file/", "dir/file"}, "not a directory"},
	} {
		status, _, notes := callElf(append([]string{"--set-rpath", "/x"}, c.args...)...)
		if status != 1 || !strings.Contains(notes, c.want) {
			t.Errorf("%q: status %d, printed %q", c.args, status, notes)
		}
	}
	// A signature keeps a file from being edited, and not from being copied.
	if err := unix.Setxattr("dir/file", "security.ima", []byte("\x03\x02signature"), 0); err != nil {
		t.Skipf("only root may sign files, where the file system lets it: %v", err)
	}
	const want = "patchelf: other/file: it is signed, and would lose its signature (security.ima); --output writes an edited copy\n"
	if status, _, notes := callElf("--set-rpath", "/signed", "other/file"); status != 1 || notes != want {
		t.Errorf("a signed file: status %d, printed %q", status, notes)
	}
	if status, _, notes := callElf("--set-rpath", "/signed", "--output", "copy", "other/file"); status != 0 {
		t.Errorf("a copy of a signed file: status %d, printed %q", status, notes)
	}
}
