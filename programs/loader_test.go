package programs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout/record"
)

func TestParseList(t *testing.T) {
	const text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => /var/sys/current-system/lib64/libz.so.1 (0x00007f00)\n" +
		"\tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n\t/opt/a b/libx.so (0x00007f02)\n"
	want := []string{"/var/sys/current-system/lib64/libz.so.1", "/lib64/ld-linux-x86-64.so.2", "/opt/a b/libx.so"}
	if diff := cmp.Diff(want, parseList(text)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestAskLoader asks the loader of this machine.
func TestAskLoader(t *testing.T) {
	packaged := program(t) // libfoo.so.1 is not there
	dir := t.TempDir()
	file := filepath.Join(dir, "tool")
	if err := os.WriteFile(file, packaged, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &Decision{Facts: Facts{Info: inspect(t, packaged)}, Desired: &record.AppliedEdit{}}
	if err := askLoader(t.Context(), d, file, file); !errors.Is(err, errDisagrees) || !strings.Contains(err.Error(), "does not load the edited program") {
		t.Errorf("a program that lacks a library: %v", err)
	}
	self := &Decision{Facts: Facts{Info: inspect(t, packaged)}, Desired: &record.AppliedEdit{}}
	if err := askLoader(t.Context(), self, "/bin/sh", "/bin/sh"); err != nil {
		t.Errorf("the same program: %v", err)
	}
	self.Info.Interpreter = filepath.Join(dir, "no-loader")
	if err := askLoader(t.Context(), self, "/bin/sh", "/bin/sh"); err != nil {
		t.Errorf("a loader that is not there: %v", err)
	}
	testneed.Root(t)
	loader := filepath.Join(dir, "ld-linux.so.2")
	if err := errors.Join(os.WriteFile(loader, []byte("#!/bin/sh\ntouch "+dir+"/ran\n"), 0o755), os.Chown(loader, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	self.Info.Interpreter = loader
	if err := askLoader(t.Context(), self, "/bin/sh", "/bin/sh"); !errors.Is(err, errDisagrees) || !strings.Contains(err.Error(), "others than root") {
		t.Errorf("a loader of nobody's: %v", err)
	}
	if _, err := os.Stat(dir + "/ran"); err == nil {
		t.Error("it was run")
	}
}

// TestLoaderDisagrees has a loader that says what it likes.
func TestLoaderDisagrees(t *testing.T) {
	dir := t.TempDir()
	loader := filepath.Join(dir, "ld-linux.so.2")
	const text = `#!/bin/sh
case $2 in
edited) echo " libx.so => /bin/sh (0x1)" ;;
current) echo " libx.so => /bin/cat (0x1)" ;;
alike) echo " libx.so => /bin/sh (0x2)" ;;
fails) echo "no libx.so" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(loader, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/bin/sh", &st); err != nil {
		t.Fatal(err)
	}
	sh := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	old := &record.AppliedEdit{}
	pinned := &record.AppliedEdit{Pins: []record.PinnedTree{{Library: "x", Tree: "1"}}}
	for _, tt := range []struct {
		name, current, edited string
		loads                 []string
		has, desired          *record.AppliedEdit
		want                  string
	}{
		{"as the model says", "current", "edited", []string{sh}, nil, old, ""},
		{"as the program loads now", "alike", "edited", nil, nil, old, ""},
		{"other libraries", "current", "edited", nil, nil, old, "would find other libraries"},
		{"other libraries, by a pin", "current", "edited", nil, nil, pinned, ""},
		{"does not load", "current", "fails", nil, nil, old, "does not load the edited program: no libx.so"},
		{"does not load, by a pin", "current", "fails", nil, nil, pinned, "does not load the edited program: no libx.so"},
		{"does not load now", "fails", "edited", nil, nil, old, "does not load the program as it is: no libx.so"},
		{"does not load now, by an edit that was forced", "fails", "edited", nil, old, old, ""},
	} {
		d := &Decision{Facts: Facts{Info: &elfedit.Info{Interpreter: loader}, Current: tt.has}, Desired: tt.desired, Loads: tt.loads}
		err := askLoader(t.Context(), d, tt.current, tt.edited)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, errDisagrees) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
