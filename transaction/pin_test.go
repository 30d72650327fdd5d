package transaction

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
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
		if _, err := AddPins(t.Context(), pin); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), "/usr/bin/tool: cannot be replaced") {
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
