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
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// freezable returns a root with a program and a library, and what freezes the program.
func freezable(t *testing.T) (*sysroot.Root, FreezeOptions) {
	t.Helper()
	root := newRoot(t)
	dpkgInstall(t, root, libLoader, libA("1"), tool)
	syncRoot(t, root, false)
	return root, FreezeOptions{Root: root, Names: []string{"tool"}, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}}
}

// firstNeeded returns the first library that the tool needs.
func firstNeeded(t *testing.T, root *sysroot.Root) string {
	t.Helper()
	b, err := root.ReadFile("/usr/bin/tool", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info.Needed[0]
}

// TestFreezeCutOff has only the record of a freeze, as after a power cut: the next sync
// freezes the program, to what the record says, whatever is installed by now.
func TestFreezeCutOff(t *testing.T) {
	root, o := freezable(t)
	if _, err := Freeze(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	pins, err := root.Pins()
	if err != nil || len(pins) != 1 || !pins[0].Frozen() {
		t.Fatalf("the pins are %+v (%v)", pins, err)
	}
	root, _ = freezable(t)
	if err := root.SetPins(pins); err != nil {
		t.Fatal(err)
	}
	dpkgInstall(t, root, libLoader, libA("2"), tool)
	const file = "/var/sys/liba1/1/" + libDir + "liba.so.1"
	result := syncRoot(t, root, false)
	if firstNeeded(t, root) != file || len(result.Frozen) != 1 || !strings.Contains(result.Frozen[0], "liba1=1, where 2 is installed") {
		t.Errorf("with the record it needs %s: %+v", firstNeeded(t, root), result)
	}
	if result := syncRoot(t, root, false); len(result.Programs)+len(result.Frozen) != 0 || result.Looked != 0 {
		t.Errorf("again: %+v", result)
	}
}

// TestFreezeDamaged freezes to a damaged library, and to one that has changed since the sync.
func TestFreezeDamaged(t *testing.T) {
	root, o := freezable(t)
	file := filepath.Join(root.Dir(), libDir, "liba.so.1")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := pinRecords(t, root)
	refused := func(why string) {
		t.Helper()
		if _, err := Freeze(t.Context(), o); !errors.Is(err, ErrFreeze) || !strings.Contains(err.Error(), why) {
			t.Errorf("the error is %v, not %q", err, why)
		}
		if have := pinRecords(t, root); have != before {
			t.Errorf("recorded is %s, and was %s", have, before)
		}
	}
	damaged := append([]byte(nil), whole...)
	damaged[len(damaged)-1]++
	if err := errors.Join(os.Chmod(file, 0o755), os.WriteFile(file, damaged, 0o755)); err != nil { // the tree's file, too
		t.Fatal(err)
	}
	refused("to liba1=1: which is damaged")
	if err := errors.Join(os.WriteFile(file, whole, 0o755), root.WriteFile("/"+libDir+"liba.so.1", damaged, 0o755)); err != nil {
		t.Fatal(err)
	}
	refused("is not what the last sync has seen: run hashpkg sync before")
}

// TestFreezeThatIsLeft has a program that cannot be replaced: what it was frozen to before stays.
func TestFreezeThatIsLeft(t *testing.T) {
	testneed.Root(t)
	root, o := freezable(t)
	if _, err := Freeze(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	dpkgInstall(t, root, libLoader, libA("2"), tool)
	syncRoot(t, root, false)
	file := filepath.Join(root.Dir(), "usr/bin/tool")
	if err := unix.Mount(file, file, "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })
	o.Refresh = true
	version := func() string {
		pins, err := root.Pins()
		if err != nil || len(pins) != 1 {
			t.Fatalf("the pins are %+v (%v)", pins, err)
		}
		return pins[0].Version
	}
	if _, err := Freeze(t.Context(), o); !errors.Is(err, ErrFreeze) || !strings.Contains(err.Error(), "/usr/bin/tool: it cannot be replaced") || version() != "1" {
		t.Errorf("it is frozen to %s: %v", version(), err)
	}
	if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if result, err := Freeze(t.Context(), o); err != nil || len(result.Programs) != 1 || len(result.Frozen) != 1 || version() != "2" {
		t.Errorf("it is frozen to %s: %+v %v", version(), result, err)
	}
}

// TestFreezeUnsafePrefix has a prefix that others may write to: nothing is frozen, and what is
// frozen can be thawed.
func TestFreezeUnsafePrefix(t *testing.T) {
	testneed.Root(t)
	root, o := freezable(t)
	if _, err := Freeze(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root.Dir(), "var"), 0o777); err != nil {
		t.Fatal(err)
	}
	o.Refresh = true
	var unsafe *sysroot.UnsafeError
	if _, err := Freeze(t.Context(), o); !errors.As(err, &unsafe) {
		t.Errorf("frozen: %v", err)
	}
	if result, err := Thaw(t.Context(), o); err != nil || len(result.Programs) != 1 || len(result.Warnings) != 1 {
		t.Errorf("thawed: %+v %v", result, err)
	}
	if b, err := root.ReadFile("/usr/bin/tool", 1<<20); err != nil || string(b) != string(toolBytes) {
		t.Errorf("thawed, it has not its packaged bytes (%v)", err)
	}
	if pins, err := root.Pins(); err != nil || len(pins) != 0 {
		t.Errorf("thawed, there is %v (%v)", pins, err)
	}
}

// TestFreezeTakesPins freezes a program that follows a pin: the pinned file is frozen, and
// thawed the program follows the pin.
func TestFreezeTakesPins(t *testing.T) {
	root, pin := pinnable(t)
	if _, err := AddPins(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	o := FreezeOptions{Root: root, Names: []string{"/usr/bin/tool"}, Rewrite: pin.Rewrite}
	result, err := Freeze(t.Context(), o)
	if err != nil || len(result.Frozen) != 1 || result.Frozen[0].Files[0].Package != "liba1=1" || len(result.Frozen[0].Behind) != 1 {
		t.Fatalf("%+v %v", result, err)
	}
	if listed, err := ListPins(root); err != nil || len(listed) != 1 || len(listed[0].Programs) != 0 {
		t.Errorf("the pins are %+v (%v)", listed, err)
	}
	pin.Specs = []string{"liba1=2"}
	if _, err := AddPins(t.Context(), pin); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), "it is frozen; run hashpkg thaw /usr/bin/tool before") {
		t.Errorf("pinned: %v", err)
	}
	thawed, err := Thaw(t.Context(), o)
	if err != nil || len(thawed.Programs) != 1 || len(thawed.Programs[0].Pins) != 1 || thawed.Programs[0].Edits[0].Kind == record.EditNeeded {
		t.Errorf("thawed: %+v %v", thawed, err)
	}
}

// TestThawCutOff has a thaw that has only got to its record, or to that of the packaged bytes:
// the next sync gives the program these, and they stay.
func TestThawCutOff(t *testing.T) {
	for _, restored := range []bool{false, true} {
		root, o := freezable(t)
		if _, err := Freeze(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := root.SetPins(nil); err != nil {
			t.Fatal(err)
		}
		keys, err := root.EditedPackages()
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		if restored {
			edits, err := root.Edits(keys[0])
			if err != nil {
				t.Fatal(err)
			}
			edits.Files[0].Restored = true
			if err := root.SetEdits([]*record.PackageEdits{edits}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			if i == 1 {
				dpkgInstall(t, root, libLoader, libA("2"), tool)
			}
			syncRoot(t, root, false)
			if b, err := root.ReadFile("/usr/bin/tool", 1<<20); err != nil || !bytes.Equal(b, toolBytes) {
				t.Errorf("restored: %v: after sync %d it has not its packaged bytes (%v)", restored, i, err)
			}
		}
	}
}
