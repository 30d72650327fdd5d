package transaction

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// pinnable returns a root with two versions of a library and a program of the newer
// one, and what pins the program to the older one.
func pinnable(t *testing.T) (*sysroot.Root, PinOptions) {
	t.Helper()
	root := newRoot(t)
	dpkgInstall(t, root, libLoader, libA("1"), tool)
	syncRoot(t, root, false)
	dpkgInstall(t, root, libLoader, libA("2"), tool)
	syncRoot(t, root, false)
	return root, PinOptions{Root: root, Program: "/usr/bin/tool", Specs: []string{"liba1=1"}, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}}
}

// pinRecords returns what is recorded of pins, and of the edits of programs.
func pinRecords(t *testing.T, root *sysroot.Root) string {
	t.Helper()
	text := ""
	for _, name := range []string{"pins.json", "edits/deb/tool%3aamd64.json", "edits/deb/tool:amd64.json", "state.json"} {
		b, err := os.ReadFile(root.Store().Path(".hashpkg/system/" + name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		text += name + ": " + string(b) + "\n"
	}
	return text
}

func TestPinToDamagedLibrary(t *testing.T) {
	root, pin := pinnable(t)
	file := root.Store().Path("liba1/1/" + libDir + "liba.so.1")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	damaged[len(damaged)-1]++
	write := func(b []byte) {
		t.Helper()
		if err := errors.Join(os.Chmod(file, 0o755), os.WriteFile(file, b, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	before := pinRecords(t, root)
	write(damaged)
	_, err = AddPins(t.Context(), pin)
	if !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "hashpkg verify liba1=1") {
		t.Errorf("pinned to a damaged library: %v", err)
	}
	if have := pinRecords(t, root); have != before {
		t.Errorf("recorded is %s, and was %s", have, before)
	}
	write(whole)
	if _, err := AddPins(t.Context(), pin); err != nil {
		t.Errorf("pinned to a whole one: %v", err)
	}
}

// TestPinToBoundLibrary pins to a library that is bound to another tree, and damages that one.
func TestPinToBoundLibrary(t *testing.T) {
	root, pin := pinnable(t)
	dir := t.TempDir()
	var debs []string
	for _, p := range []testdeb.Package{
		{Name: "liba1", Version: "3", Depends: "libb1", Files: []testdeb.File{elfFile(libDir+"liba.so.1", testelf.File{Soname: "liba.so.1", Needed: []string{"libb.so.1"}})}},
		{Name: "libb1", Version: "1", Depends: "libc1", Files: []testdeb.File{elfFile(libDir+"libb.so.1", testelf.File{Soname: "libb.so.1", Needed: []string{"libc.so.1"}})}},
		{Name: "libc1", Version: "1", Files: []testdeb.File{elfFile(libDir+"libc.so.1", testelf.File{Soname: "libc.so.1"})}},
	} {
		debs = append(debs, filepath.Join(dir, p.Name+".deb"))
		if err := os.WriteFile(debs[len(debs)-1], testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install(t, root, false, debs...)
	pin.Specs = []string{"liba1=3"}
	tree := root.Store().Path("libc1/1")
	file := tree + "/" + libDir + "libc.so.1"
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	manifest := root.Store().Path(layout.ManifestPath("libc1", "1"))
	before := pinRecords(t, root)
	for name, c := range map[string]struct {
		damage, mend func() error
		says         string
	}{
		"a byte": {
			func() error {
				return errors.Join(os.Chmod(file, 0o755), os.WriteFile(file, whole[:len(whole)-1], 0o755))
			},
			func() error { return errors.Join(os.WriteFile(file, whole, 0o755), os.Chmod(file, 0o555)) },
			"cannot pin to liba1=3: libc1=1, to which it is bound, is damaged: " + file,
		},
		"its tree":   {func() error { return os.Rename(tree, tree+"x") }, func() error { return os.Rename(tree+"x", tree) }, "libc1/1, to which it is bound, is missing"},
		"its record": {func() error { return os.Rename(manifest, manifest+"x") }, func() error { return os.Rename(manifest+"x", manifest) }, "of libc1/1, to which it is bound: "},
		"its owner":  {func() error { return os.Chmod(tree, 0o777) }, func() error { return os.Chmod(tree, 0o755) }, tree + " can be written by everybody"},
	} {
		if err := c.damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := AddPins(t.Context(), pin); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if have := pinRecords(t, root); have != before {
			t.Errorf("%s: recorded is %s, and was %s", name, have, before)
		}
		if err := c.mend(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := AddPins(t.Context(), pin); err != nil {
		t.Fatalf("with all of them whole: %v", err)
	}
	// The program starts without the pin where it would not with it.
	if err := os.Rename(manifest, manifest+"x"); err != nil {
		t.Fatal(err)
	}
	if result := syncRoot(t, root, false); len(result.Programs) != 0 || len(result.Warnings) != 0 {
		t.Errorf("without the record of a library that is there: %+v", result)
	}
	if err := errors.Join(os.Rename(manifest+"x", manifest), os.Rename(tree, tree+"x")); err != nil {
		t.Fatal(err)
	}
	if listed, err := ListPins(root); err != nil || len(listed) != 1 || !strings.Contains(listed[0].Lost, "libc1/1, to which it is bound, is missing") {
		t.Errorf("listed is %+v (%v)", listed, err)
	}
	if result := syncRoot(t, root, false); len(result.Programs) != 1 || len(result.Programs[0].Pins) != 0 || len(result.Warnings) != 1 {
		t.Errorf("without the library: %+v", result)
	}
}

// TestPinThatIsLeft pins a program that cannot be replaced, which is seen when it is to
// be.
func TestPinThatIsLeft(t *testing.T) {
	testneed.Root(t)
	root, pin := pinnable(t)
	file := filepath.Join(root.Dir(), "usr/bin/tool")
	if err := unix.Mount(file, file, "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	unmounted := false
	unmount := func() {
		if !unmounted {
			unmounted = true
			if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(unmount)
	before := pinRecords(t, root)
	for _, program := range []string{"/usr/bin/tool", "tool", record.EveryProgram} {
		pin.Program = program
		if _, err := AddPins(t.Context(), pin); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), "/usr/bin/tool: it cannot be replaced") {
			t.Errorf("%s: %v", program, err)
		}
		if have := pinRecords(t, root); have != before {
			t.Errorf("%s: recorded is %s, and was %s", program, have, before)
		}
	}
	unmount()
	if result, err := AddPins(t.Context(), pin); err != nil || len(result.Programs) != 1 {
		t.Errorf("%+v %v", result, err)
	}
	// Asked for again it is followed already.
	if result, err := AddPins(t.Context(), pin); err != nil || len(result.Programs) != 0 || len(result.Pins) != 0 {
		t.Errorf("again: %+v %v", result, err)
	}
}

// TestPinCutOff has only the record of a pin, as after a power cut: the next sync pins
// the program.
func TestPinCutOff(t *testing.T) {
	root, _ := pinnable(t)
	if err := root.SetPins([]record.Pin{{Program: "/usr/bin/tool", Library: "liba1", Version: "1", Tree: "1"}}); err != nil {
		t.Fatal(err)
	}
	if result := syncRoot(t, root, false); len(result.Programs) != 1 || len(result.Programs[0].Pins) != 1 {
		t.Errorf("%+v", result)
	}
	if result := syncRoot(t, root, false); len(result.Programs) != 0 || result.Looked != 0 {
		t.Errorf("again: %+v", result)
	}
}

// TestUnsafePrefix has a component of the prefix that others may write to.
func TestUnsafePrefix(t *testing.T) {
	testneed.Root(t)
	root, pin := pinnable(t)
	tree := root.Store().Path("liba1/1")
	if err := os.Chown(tree, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := AddPins(t.Context(), pin); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), tree+" belongs to user 1000") {
		t.Errorf("pinned to a tree of a user's: %v", err)
	}
	if err := errors.Join(os.Chown(tree, 0, 0), os.Chmod(filepath.Join(root.Dir(), "var"), 0o777)); err != nil {
		t.Fatal(err)
	}
	var unsafe *sysroot.UnsafeError
	if _, err := AddPins(t.Context(), pin); !errors.As(err, &unsafe) {
		t.Errorf("pinned: %v", err)
	}
	if err := os.Chmod(filepath.Join(root.Dir(), "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	edited := search(t, root)
	if _, err := AddPins(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root.Dir(), "var"), 0o777); err != nil {
		t.Fatal(err)
	}
	unpin := pin
	unpin.Specs = nil
	result, err := RemovePins(t.Context(), unpin)
	if err != nil || len(result.Programs) != 1 || len(result.Programs[0].Edits) != 0 || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "can be written by everybody") {
		t.Errorf("unpinned: %+v %v", result, err)
	}
	if b, err := root.ReadFile("/usr/bin/tool", 1<<20); err != nil || !bytes.Equal(b, toolBytes) {
		t.Errorf("unpinned, it has not its packaged bytes (%v)", err)
	}
	if pins, err := root.Pins(); err != nil || len(pins) != 0 {
		t.Errorf("unpinned, there is %v (%v)", pins, err)
	}
	if err := os.Chmod(filepath.Join(root.Dir(), "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	syncRoot(t, root, false) // which edits it as before the pin
	if have := search(t, root); have != edited {
		t.Errorf("after a sync, it searches %s, and before the pin %s", have, edited)
	}
	if err := os.Chmod(filepath.Join(root.Dir(), "var"), 0o777); err != nil {
		t.Fatal(err)
	}
	dpkgInstall(t, root, libLoader, libA("3"), tool)
	full := SyncOptions{Root: root, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}, Now: now}
	if _, err := Sync(t.Context(), full); !errors.As(err, &unsafe) || unsafe.Path != filepath.Join(root.Dir(), "var") {
		t.Errorf("synced: %v", err)
	}
	if failure, err := root.Failure(); err != nil || !strings.Contains(failure, "can be written by everybody") {
		t.Errorf("kept is %q (%v)", failure, err)
	}
	if result, err := Restore(t.Context(), RestoreOptions{Root: root, All: true}); err != nil || len(result.Restored) != 1 {
		t.Errorf("restored: %+v %v", result, err)
	}
	full.Rewrite.Executables = programs.RewriteNone // which edits nothing
	if result, err := Sync(t.Context(), full); err != nil || !result.Changed {
		t.Errorf("synced without edits: %+v %v", result, err)
	}
}

// TestPinsThatCannotBeRead has something else in the record of pins: syncs go on and say
// so, and programs keep the pins that they follow, those that do not fit included, and get
// them again after an upgrade.
func TestPinsThatCannotBeRead(t *testing.T) {
	root, pin := pinnable(t)
	file := filepath.Join(t.TempDir(), "liba1.deb")
	if err := os.WriteFile(file, testdeb.Deb(t, testdeb.Package{Name: "liba1", Version: "3", Files: []testdeb.File{
		elfFile(libDir+"liba.so.1", testelf.File{Soname: "liba.so.1", Needed: []string{"libgone.so.1"}}),
		elfFile(libDir+"libb.so.1", testelf.File{Soname: "libb.so.1"}),
	}}), 0o644); err != nil {
		t.Fatal(err)
	}
	install(t, root, false, file)
	sync := func(again bool) *SyncResult {
		t.Helper()
		result, err := Sync(t.Context(), SyncOptions{Root: root, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}, Again: again, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	read := func() []byte {
		t.Helper()
		b, err := root.ReadFile("/usr/bin/tool", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		spec  string
		force bool
	}{{"liba1=1", false}, {"liba1=3", true}} {
		pin.Specs, pin.Force = []string{tt.spec}, tt.force
		if _, err := AddPins(t.Context(), pin); err != nil {
			t.Fatal(err)
		}
		sync(false)
		pinned := read()
		pins := root.Store().Path(sysroot.PinsFile)
		whole, err := os.ReadFile(pins)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pins, []byte("garbage"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, again := range []bool{false, false, true} {
			result := sync(again)
			if len(result.Programs) > 0 || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], pins) || !bytes.Equal(read(), pinned) {
				t.Errorf("%s, again: %v: %+v", tt.spec, again, result)
			}
		}
		if !tt.force {
			err := errors.Join(root.WriteFile("/usr/bin/tool", toolBytes, 0o755), root.WriteFile("/var/lib/dpkg/info/tool.list", []byte("/.\n/usr/bin/tool\n\n"), 0o644))
			if err != nil || bytes.Equal(read(), pinned) {
				t.Fatalf("it is not installed again: %v", err)
			}
			dpkgInstall(t, root, libLoader, libA("2"), dpkgPackage{"tool", "2", tool.files})
			if result := sync(false); len(result.Programs) != 1 || !bytes.Equal(read(), pinned) {
				t.Errorf("%s, upgraded: %+v", tt.spec, result)
			}
		}
		if err := os.WriteFile(pins, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		if result := sync(true); len(result.Programs) > 0 || len(result.Warnings) > 0 || !bytes.Equal(read(), pinned) {
			t.Errorf("%s, with the pins again: %+v", tt.spec, result)
		}
	}
}

// TestMisplaced has a program frozen to two files of a package, which ask where they were found: each is
// named once, by its package and its version.
func TestMisplaced(t *testing.T) {
	const dir = "usr/lib/x86_64-linux-gnu/"
	m := &record.Manifest{Name: "liba1", Version: "1:1", Tree: "1%3a1"}
	var pins []programs.Pin
	var fresh []record.Pin
	var loaded []string
	for _, name := range []string{"liba.so.1", "libb.so.1"} {
		m.Files = append(m.Files, record.File{Path: dir + name, Type: record.TypeFile, ELF: &elfedit.Info{Soname: name, AsksWhere: true}})
		pin := record.Pin{Program: "/usr/bin/tool", Library: m.Name, Version: m.Version, Tree: m.Tree, File: dir + name, Name: name}
		pins, fresh = append(pins, programs.Pin{Pin: pin, Manifest: m}), append(fresh, pin)
		loaded = append(loaded, "/var/sys/liba1/1%3a1/"+dir+name)
	}
	outcomes := []programs.Outcome{{State: programs.Edited, Decision: &programs.Decision{
		Facts:   programs.Facts{Program: programs.Program{Path: "/usr/bin/tool"}, Info: &elfedit.Info{}},
		Desired: &record.AppliedEdit{Edits: []record.EditRecord{{Kind: record.EditReplace, To: loaded}}},
	}}}
	got := misplaced("/var/sys", pins, fresh, outcomes)
	if len(got) != 2 || !strings.HasPrefix(got[0], "liba.so.1 asks where it was found, and gets the tree of liba1=1:1: ") || !strings.HasPrefix(got[1], "libb.so.1 asks") {
		t.Errorf("it warns of %q", got)
	}
}
