package rpm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// needRPM skips a test that needs rpm, and root, which rpm needs for --root.
func needRPM(t *testing.T) {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "rpm")
}

// run runs a program that must succeed.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "NOLD=0", "LC_ALL=C.UTF-8")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}

// openRoot returns a directory as a root.
func openRoot(t testing.TB, dir string) backends.Root {
	t.Helper()
	root, err := sysroot.Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() }) // nothing is written through it
	return root
}

// read reads the database of a root, which must be right.
func read(t *testing.T, root string) []*Installed {
	t.Helper()
	all, err := ReadDatabase(context.Background(), openRoot(t, root))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDatabaseOfRoot compares the database of a real root, and every file that rpm
// lists of it, from the database alone.
func TestDatabaseOfRoot(t *testing.T) {
	needRPM(t)
	root := testroot.RPM(t).Dir
	where := []string{"--root", root, "--dbpath", "/var/lib/rpm"}
	alone := rootWith(t, filepath.Join(root, "var/lib/rpm"))
	all := read(t, alone)
	if len(all) < 50 {
		t.Fatalf("the root has %d packages", len(all))
	}
	compareDatabase(t, all, where...)

	var got []string
	for _, p := range all {
		for _, f := range p.Files {
			got = append(got, "/"+strings.TrimPrefix(f.Path, "."))
		}
	}
	want := slices.DeleteFunc(judge(t, append(where, "-qal")...), func(s string) bool { return s == "(contains no files)" })
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files, rpm -ql's and ours:\n%.4000s", diff)
	}

	t.Run("export", func(t *testing.T) {
		d := &database{root: openRoot(t, alone), file: "/var/lib/rpm/rpmdb.sqlite"}
		exported, err := exportPackages(context.Background(), d, errUnreadable)
		if err != nil {
			t.Fatal(err)
		}
		byName := func(a, b *Installed) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(all, byName)
		slices.SortFunc(exported, byName)
		if diff := cmp.Diff(all, exported, cmpopts.IgnoreFields(Installed{}, "Instance")); diff != "" {
			t.Errorf("read and exported:\n%.4000s", diff)
		}
	})
}

// TestReinstalled installs packages, one of them again, and removes one.
func TestReinstalled(t *testing.T) {
	needRPM(t)
	dir, root := t.TempDir(), t.TempDir()
	rpm := func(args ...string) {
		t.Helper()
		run(t, "rpm", append([]string{"--root", root, "--dbpath", "/usr/lib/sysimage/rpm", "--nodeps", "--noscripts", "--force-debian"}, args...)...)
	}
	var files []string
	for _, p := range []testrpm.Package{
		{Name: "one", Arch: "noarch", Files: []testrpm.File{{Path: "/usr/bin/one", Content: "one", Mode: 0o100755}}},
		{Name: "two", Arch: "noarch", Epoch: "3", Files: []testrpm.File{{Path: "/usr/share/two", Content: "two", Flags: 2}, testrpm.Ghost("/var/two")}},
		{Name: "empty", Arch: "noarch"},
	} {
		file := filepath.Join(dir, p.Name+".rpm")
		if err := os.WriteFile(file, testrpm.RPM(t, p), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	rpm(append([]string{"-i", "--excludedocs"}, files...)...)
	// Programs find the database through a link, as on most distributions.
	if err := os.MkdirAll(filepath.Join(root, "var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/sysimage/rpm", filepath.Join(root, "var/lib/rpm")); err != nil {
		t.Fatal(err)
	}
	where := []string{"--root", root, "--dbpath", "/usr/lib/sysimage/rpm"}
	before := read(t, root)
	compareDatabase(t, before, where...)
	if f := find(before, "two").Files[0]; f.State != FileNotInstalled {
		t.Errorf("documentation that was left out is %v", f.State)
	}

	rpm("-i", "--replacepkgs", files[0])
	rpm("-e", "empty")
	after := read(t, root)
	compareDatabase(t, after, where...)
	if len(after) != 2 {
		t.Fatalf("%d packages", len(after))
	}
	a, b := find(before, "one"), find(after, "one")
	if a.Instance == b.Instance || a.HeaderDigest != b.HeaderDigest {
		t.Errorf("installed again: instances %d and %d, headers %s and %s", a.Instance, b.Instance, a.HeaderDigest, b.HeaderDigest)
	}
	if a, b := find(before, "two"), find(after, "two"); a.Instance != b.Instance {
		t.Errorf("left alone: instances %d and %d", a.Instance, b.Instance)
	}
}

func find(all []*Installed, name string) *Installed {
	for _, p := range all {
		if p.Name == name {
			return p
		}
	}
	return &Installed{}
}

// TestLog has a database as a hook sees it: the transaction that it is part of is
// in the log.
func TestLog(t *testing.T) {
	needRPM(t)
	dir, root := t.TempDir(), t.TempDir()
	script := `for _, n in ipairs{"rpmdb.sqlite", "rpmdb.sqlite-wal"} do
  local from, to = io.open("/var/lib/rpm/" .. n, "rb"), io.open("/saved/var/lib/rpm/" .. n, "wb")
  to:write(from:read("*a")) to:close()
end`
	if err := os.MkdirAll(filepath.Join(root, "saved/var/lib/rpm"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []testrpm.Package{
		{Name: "first"},
		{Name: "second", Edit: func(h *testrpm.Header) {
			h.Set(testrpm.Value{Tag: testrpm.Tag(tagPosttrans), Type: uint32(kindString), Count: 1, Data: []byte(script + "\x00")})
			h.Set(testrpm.Value{Tag: testrpm.Tag(tagPosttransProg), Type: uint32(kindString), Count: 1, Data: []byte("<lua>\x00")})
		}},
	} {
		file := filepath.Join(dir, p.Name+".rpm")
		if err := os.WriteFile(file, testrpm.RPM(t, p), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps", "--ignorearch", "--force-debian", "-i", file)
	}
	saved := filepath.Join(root, "saved")
	wal := filepath.Join(saved, "var/lib/rpm/rpmdb.sqlite-wal")
	if info, err := os.Stat(wal); err != nil || info.Size() < walHeaderSize {
		testneed.Unmet(t, "this rpm keeps no log: ", err)
	}
	if all := read(t, saved); len(all) != 2 || find(all, "second").Name == "" {
		t.Errorf("with the log there are %d packages", len(all))
	}

	// What a program was stopped while writing is no part of it.
	log, err := os.ReadFile(wal)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, walHeaderSize - 1, walHeaderSize + 100, len(log) / 2, len(log) - 1} {
		if err := os.WriteFile(wal, log[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if all := read(t, saved); len(all) != 1 && len(all) != 2 {
			t.Errorf("with %d of %d bytes of the log there are %d packages", size, len(log), len(all))
		}
	}
	if err := os.Remove(wal); err != nil {
		t.Fatal(err)
	}
	if all := read(t, saved); len(all) != 1 {
		t.Errorf("without the log there are %d packages", len(all))
	}
}

func TestNoDatabase(t *testing.T) {
	root := t.TempDir()
	if _, err := ReadDatabase(context.Background(), openRoot(t, root)); !errors.Is(err, backends.ErrNoDatabase) {
		t.Errorf("got %v", err)
	}
	dir := filepath.Join(root, "var/lib/rpm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages.db"), ndbDatabase(storedBlob(t, "one")), 0o600); err != nil {
		t.Fatal(err)
	}
	if all := read(t, root); len(all) != 1 {
		t.Errorf("%d packages", len(all))
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), bdbDatabase(storedBlob(t, "one")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDatabase(context.Background(), openRoot(t, root)); err == nil || !strings.Contains(err.Error(), "both ") {
		t.Errorf("of two databases: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "Packages.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), bytes.Repeat([]byte("?"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDatabase(context.Background(), openRoot(t, root)); !errors.Is(err, errUnreadable) {
		t.Errorf("of an unknown database: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("reading made files: %v, %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rpmdb.sqlite-journal"), []byte(journalMagic+"\x00\x00\x00\x01"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rpmdb.sqlite"), sqliteDatabase(storedBlob(t, "one")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDatabase(context.Background(), openRoot(t, root)); err == nil || !strings.Contains(err.Error(), "rpm -qa") {
		t.Errorf("of an unfinished change: %v", err)
	}
}

// TestEndlessDatabase has a sparse file in the place of a database. It would fill the
// disk if it were copied.
func TestEndlessDatabase(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"Packages", "rpmdb.sqlite"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, maxCopied+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyDatabase(to, openRoot(t, dir), "/"); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("it is copied: %v", err)
	}
	if left, err := filepath.Glob(to + "/*"); err != nil || len(left) > 0 {
		t.Errorf("it left %q (%v)", left, err)
	}
}
