package transaction

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// dpkgPackage is an installed package with its files.
type dpkgPackage struct {
	name, version string
	files         map[string][]byte
}

func libA(version string) dpkgPackage {
	return dpkgPackage{"liba1", version, map[string][]byte{
		libDir + "liba.so.1": testelf.File{Soname: "liba.so.1", RunPath: "/build/of/" + version}.Bytes(),
	}}
}

var (
	toolBytes = testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}}.Bytes()
	tool      = dpkgPackage{"tool", "1", map[string][]byte{"usr/bin/tool": toolBytes}}
	libLoader = dpkgPackage{"libc6", "2.36", map[string][]byte{libDir + "ld-linux-x86-64.so.2": testelf.File{Soname: "ld-linux-x86-64.so.2"}.Bytes()}}
)

// dpkgInstall makes these the packages of a root, as dpkg does: files by renames, then
// the lists, then the status.
func dpkgInstall(t *testing.T, root *sysroot.Root, packages ...dpkgPackage) {
	t.Helper()
	put := func(name string, b []byte) {
		t.Helper()
		if err := root.WriteFile(name, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if !root.HasFile("/lib64") {
		if err := os.Symlink(libDir, filepath.Join(root.Dir(), "lib64")); err != nil {
			t.Fatal(err)
		}
	}
	status := ""
	for _, p := range packages {
		list := "/.\n"
		for name, b := range p.files {
			list += "/" + name + "\n"
			if have, err := root.ReadFile(name, 1<<20); p.name == "tool" && err == nil && len(have) > 0 {
				continue // it is not installed again
			}
			put(name, b)
		}
		if have, err := root.ReadFile("/var/lib/dpkg/info/"+p.name+".list", 1<<20); err != nil || p.name != "tool" || string(have) != list {
			put("/var/lib/dpkg/info/"+p.name+".list", []byte(list))
		}
		status += "Package: " + p.name + "\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: " + p.version + "\nDescription: x\n\n"
	}
	put("/var/lib/dpkg/status", []byte(status))
}

func syncRoot(t *testing.T, root *sysroot.Root, dryRun bool) *SyncResult {
	t.Helper()
	result, err := Sync(t.Context(), SyncOptions{Root: root, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}, DryRun: dryRun, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// search returns the RUNPATH of the tool.
func search(t *testing.T, root *sysroot.Root) string {
	t.Helper()
	b, err := root.ReadFile("/usr/bin/tool", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info.RunPath
}

// TestSyncKnowsMore follows a sync that did not know of libraries that ask where they
// are: nothing was installed since, and yet it looks.
func TestSyncKnowsMore(t *testing.T) {
	root := newRoot(t)
	asks := dpkgPackage{"liba1", "1", map[string][]byte{
		libDir + "liba.so.1": testelf.File{Soname: "liba.so.1", RunPath: "$ORIGIN/plugins"}.Bytes(),
	}}
	dpkgInstall(t, root, libLoader, asks, tool)
	syncRoot(t, root, false)
	link := root.Store().Path("current-system/lib64/liba.so.1")
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the library is in the farm (%v)", err)
	}

	w, err := Begin(t.Context(), root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	older := w.Active().Next(0, now)
	for i := range older.Trees {
		tree := &older.Trees[i]
		tree.AskWhere, tree.Links = nil, slices.Sorted(maps.Keys(tree.Places))
	}
	if err := errors.Join(w.Commit(t.Context(), nil, older), w.End()); err != nil {
		t.Fatal(err)
	}
	state := root.SystemState()
	state.Facts, state.Generation = 0, older.ID
	if err := root.SetSystemState(state); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); err != nil {
		t.Fatalf("the older farm is not as it was to be: %v", err)
	}

	if result := syncRoot(t, root, false); !result.Changed || result.Looked != 3 || len(result.Outside) != 1 {
		t.Errorf("the sync: %+v", result)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the library is in the farm still (%v)", err)
	}
	if again := syncRoot(t, root, false); again.Changed || again.Looked != 0 {
		t.Errorf("again: %+v", again)
	}
}

// TestSync follows a small system: two versions of a library, and a program.
func TestSync(t *testing.T) {
	root := newRoot(t)
	if _, err := Sync(t.Context(), SyncOptions{Root: root, Now: now}); !errors.Is(err, backends.ErrNoDatabase) {
		t.Errorf("without a package manager: %v", err)
	}
	dpkgInstall(t, root, libLoader, libA("1"), tool)

	dry := syncRoot(t, root, true)
	if _, err := os.Lstat(root.Store().Path(".")); err == nil {
		t.Error("a dry run makes a prefix")
	}
	result := syncRoot(t, root, false)
	if !dry.Changed || !result.Changed || result.Generation != 1 || result.Packages != 3 || result.Looked != 3 {
		t.Errorf("the dry run: %+v\nthe sync: %+v", dry, result)
	}
	if diff := cmp.Diff(dry.Trees, result.Trees); diff != "" {
		t.Errorf("trees (-planned +made):\n%s", diff)
	}
	if diff := cmp.Diff(dry.Programs, result.Programs); diff != "" {
		t.Errorf("programs (-planned +edited):\n%s", diff)
	}
	checkState(t, root, "1<0 liba1/1:1* libc6/2.36:1*")
	farm, err := os.Readlink(root.Store().Path("current-system/lib64/liba.so.1"))
	if err != nil || farm != "../../../../../../"+libDir+"liba.so.1" {
		t.Errorf("the farm's link leads to %s (%v)", farm, err)
	}
	first := libA("1").files[libDir+"liba.so.1"]
	if b, err := os.ReadFile(root.Store().Path("liba1/1/" + libDir + "liba.so.1")); !bytes.Equal(b, first) {
		t.Errorf("the tree has another library (%v)", err)
	}
	if path := search(t, root); path != "/var/sys/current-system/lib64" {
		t.Errorf("the tool searches %q", path)
	}
	if state := root.SystemState(); state.Generation != 1 || state.Packages[debKey("liba1")].Tree != "liba1/1" || state.Packages[debKey("tool")].Tree != "" {
		t.Errorf("remembered is %+v", state)
	}
	if again := syncRoot(t, root, false); again.Changed || again.Looked != 0 || again.Packages != 3 {
		t.Errorf("again: %+v", again)
	}

	dpkgInstall(t, root, libLoader, libA("2"), tool)
	result = syncRoot(t, root, false)
	if diff := cmp.Diff([]string{"liba1=1"}, result.Gone); diff != "" || len(result.Trees) != 1 || result.Trees[0].Tree != "2" || len(result.Programs) > 0 {
		t.Errorf("after the upgrade: %+v", result)
	}
	checkState(t, root, "2<1 liba1/2:2* libc6/2.36:1*")
	if b, err := os.ReadFile(root.Store().Path("liba1/1/" + libDir + "liba.so.1")); !bytes.Equal(b, first) {
		t.Errorf("the older tree has lost its library (%v)", err)
	}

	// One program goes on with the older version.
	pin := PinOptions{Root: root, Program: "/usr/bin/tool", Specs: []string{"liba1=1"}, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}}
	pinned, err := AddPins(t.Context(), pin)
	if err != nil || len(pinned.Pins) != 1 || len(pinned.Programs) != 1 {
		t.Fatalf("pin: %+v, %v", pinned, err)
	}
	listed, err := ListPins(root)
	if err != nil || len(listed) != 1 || len(listed[0].Programs) != 1 || listed[0].Programs[0] != "/usr/bin/tool" || listed[0].Lost != "" {
		t.Errorf("the pins are %+v, %v", listed, err)
	}
	b, err := root.ReadFile("/usr/bin/tool", 1<<20)
	if err != nil || !bytes.Contains(b, []byte("/var/sys/liba1/1/")) {
		t.Errorf("the tool does not load the older library (%v)", err)
	}
	if again := syncRoot(t, root, false); again.Changed || len(again.Programs) > 0 {
		t.Errorf("a sync after the pin: %+v", again)
	}
	for _, tt := range []struct{ program, spec, err string }{
		{"/usr/bin/tool", "liba1", `cannot pin: "liba1": not NAME or NAME=VERSION: give the version, as NAME=VERSION`},
		{"/usr/bin/tool", "liba1=3", "cannot pin: liba1=3 is not in the store, which has the versions 1, 2"},
		{"/usr/bin/other", "liba1=1", "cannot pin: no package has a dynamic program /usr/bin/other; give a program's path or a package's name"},
	} {
		o := pin
		o.Program, o.Specs = tt.program, []string{tt.spec}
		if _, err := AddPins(t.Context(), o); !errors.Is(err, ErrPin) || err.Error() != tt.err {
			t.Errorf("pin %s to %s: %v, want %s", tt.program, tt.spec, err, tt.err)
		}
	}
	if _, err := RemovePins(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	if path := search(t, root); path != "/var/sys/current-system/lib64" {
		t.Errorf("after the pin the tool searches %q", path)
	}
	if _, err := RemovePins(t.Context(), pin); err == nil || err.Error() != "/usr/bin/tool has no such pin; hashpkg pins lists those that there are" {
		t.Errorf("the pin is removed twice: %v", err)
	}

	// It gets its packaged bytes back, and keeps them.
	restored, err := Restore(t.Context(), RestoreOptions{Root: root, Names: []string{"tool"}})
	if err != nil || strings.Join(restored.Restored, " ") != "/usr/bin/tool" || len(restored.Left) > 0 {
		t.Fatalf("restore: %+v, %v", restored, err)
	}
	if b, err := root.ReadFile("/usr/bin/tool", 1<<20); !bytes.Equal(b, toolBytes) {
		t.Errorf("it has other bytes than packaged (%v)", err)
	}
	dpkgInstall(t, root, libLoader, libA("3"), tool)
	if result := syncRoot(t, root, false); len(result.Programs) > 0 || !result.Changed {
		t.Errorf("a sync after the restore: %+v", result)
	}
	if pinned, err := AddPins(t.Context(), pin); err != nil || len(pinned.Programs) != 1 { // which somebody asks for later
		t.Errorf("a pin after the restore: %+v, %v", pinned, err)
	}
	if _, err := Restore(t.Context(), RestoreOptions{Root: root, Names: []string{"nothing"}}); err == nil ||
		err.Error() != "not installed: neither a program that was edited, nor a package with one, has the name nothing" {
		t.Errorf("restore nothing: %v", err)
	}

	// The package is removed.
	dpkgInstall(t, root, libLoader, libA("3"))
	if err := root.Remove("/usr/bin/tool"); err != nil {
		t.Fatal(err)
	}
	syncRoot(t, root, false)
	if keys, err := root.EditedPackages(); len(keys) > 0 || err != nil {
		t.Errorf("records are left of %v (%v)", keys, err)
	}
	if failure, err := root.Failure(); failure != "" || err != nil {
		t.Errorf("a failure is kept: %q, %v", failure, err)
	}
}

// TestRollbackKeepsTheSystem rolls back to a generation with another version of a
// library than dpkg has: the one that is installed stays.
func TestRollbackKeepsTheSystem(t *testing.T) {
	root := newRoot(t)
	dpkgInstall(t, root, libLoader, libA("1"))
	syncRoot(t, root, false)
	add(t, root, "jq", "1", record.OriginPrivate)
	dpkgInstall(t, root, libLoader, libA("2"))
	syncRoot(t, root, false)
	checkState(t, root, "3<2 jq/1:2* liba1/2:3* libc6/2.36:1*")
	result, err := Rollback(t.Context(), Change{Root: root, Now: now}, 1)
	if err != nil || result.Generation != 4 || !result.Changed {
		t.Errorf("%+v, %v", result, err)
	}
	if diff := cmp.Diff([]record.Change{
		{Name: "jq", Change: "removed", Tree: "1"}, {Name: "jq", Change: "default", Before: "1"},
	}, result.Changes); diff != "" {
		t.Errorf("what changed (-want +have):\n%s", diff)
	}
	checkState(t, root, "4<3 liba1/2:3* libc6/2.36:1*")
	if result := syncRoot(t, root, false); result.Changed || result.Looked != 0 {
		t.Errorf("a sync after the roll-back: %+v", result)
	}
}

func debKey(name string) pkginfo.Key { return pkginfo.Key{Format: deb.Name, ID: name + ":amd64"} }
