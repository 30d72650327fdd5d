package transaction

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// removeTool takes the tool away, and from the database unless it is listed still.
func removeTool(t *testing.T, root *sysroot.Root, listed bool) {
	t.Helper()
	if err := os.Remove(filepath.Join(root.Dir(), "usr/bin/tool")); err != nil {
		t.Fatal(err)
	}
	if !listed {
		dpkgInstall(t, root, libLoader, libA("1"))
	}
}

// syncAtWork syncs while a package manager is at work. It reports whether the tool is frozen then,
// and what was said of it.
func syncAtWork(t *testing.T, root *sysroot.Root, atWork string) (frozen bool, said []string) {
	t.Helper()
	result, err := Sync(t.Context(), SyncOptions{Root: root, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}, Now: now, AtWork: atWork})
	if err != nil {
		t.Fatal(err)
	}
	pins, err := root.Pins()
	if err != nil {
		t.Fatal(err)
	}
	return len(frozenPrograms(pins)) == 1, result.Frozen
}

// TestFreezeOfAbsent takes a frozen program away while a package manager is at work, which
// brings it again or does not.
func TestFreezeOfAbsent(t *testing.T) {
	const file = "/var/sys/liba1/1/" + libDir + "liba.so.1"
	for _, tt := range []struct {
		name   string
		listed bool
		works  []string // package managers at work at each sync without the program
		again  bool     // the program comes again then
		ends   bool     // the freeze, with the last sync
	}{
		{"comes again in the same run", false, []string{"apt 1", "apt 1"}, true, false},
		{"is gone at the end of the run", false, []string{"apt 1", ""}, false, true},
		{"is gone in the next run", false, []string{"apt 1", "apt 2"}, false, true},
		{"is gone without a package manager", false, []string{""}, false, true},
		{"is missing, and its package is there", true, []string{"apt 1", "", "apt 2", ""}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, o := freezable(t)
			if _, err := Freeze(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			removeTool(t, root, tt.listed)
			for i, work := range tt.works {
				frozen, said := syncAtWork(t, root, work)
				end := tt.ends && i == len(tt.works)-1
				if frozen == end || (len(said) == 1) != end {
					t.Fatalf("sync %d: frozen: %v, and it says %q", i, frozen, said)
				}
				if end && !strings.Contains(said[0], "is not there any more") {
					t.Errorf("it says %q", said)
				}
			}
			if !tt.again {
				return
			}
			if err := os.Remove(filepath.Join(root.Dir(), "var/lib/dpkg/info/tool.list")); err != nil { // as dpkg replaces it
				t.Fatal(err)
			}
			dpkgInstall(t, root, libLoader, libA("1"), tool)
			if frozen, said := syncAtWork(t, root, tt.works[0]); !frozen || len(said) != 0 || firstNeeded(t, root) != file {
				t.Errorf("it is there again: frozen: %v, it needs %s, and the sync says %q", frozen, firstNeeded(t, root), said)
			}
			if state := root.SystemState(); len(state.Absent) != 0 {
				t.Errorf("absent is %v", state.Absent)
			}
		})
	}
}

// TestFreezeOfDiverted has dpkg-divert move a frozen program, and another package take its place.
func TestFreezeOfDiverted(t *testing.T) {
	root, o := freezable(t)
	if _, err := Freeze(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	here, there := filepath.Join(root.Dir(), "usr/bin/tool"), filepath.Join(root.Dir(), "usr/bin/tool.real")
	frozen, err := os.ReadFile(here)
	if err != nil {
		t.Fatal(err)
	}
	other := testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}, RunPath: "/other"}.Bytes()
	diverted := func(diversions string) {
		t.Helper()
		if err := root.WriteFile("/var/lib/dpkg/diversions", []byte(diversions), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, program string) {
		t.Helper()
		pins, err := root.Pins()
		if list := frozenPrograms(pins); err != nil || len(list) != 1 || list[0] != program {
			t.Errorf("%s: frozen is %q (%v)", what, list, err)
		}
		b, err := root.ReadFile(program, 1<<20)
		if err != nil || !bytes.Equal(b, frozen) {
			t.Errorf("%s: %s is not what was frozen (%v)", what, program, err)
		}
	}
	if err := os.Rename(here, there); err != nil {
		t.Fatal(err)
	}
	diverted("/usr/bin/tool\n/usr/bin/tool.real\nother\n")
	dpkgInstall(t, root, libLoader, libA("1"), dpkgPackage{"other", "1", map[string][]byte{"usr/bin/tool": other}}, tool)
	syncRoot(t, root, false)
	check("diverted", "/usr/bin/tool.real")
	if list, err := ListFrozen(root); err != nil || len(list) != 1 || !list[0].InForce {
		t.Errorf("%+v %v", list, err)
	}

	if err := os.Rename(there, here); err != nil {
		t.Fatal(err)
	}
	diverted("")
	dpkgInstall(t, root, libLoader, libA("1"), tool)
	syncRoot(t, root, false)
	check("undiverted", "/usr/bin/tool")
}
