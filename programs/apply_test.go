package programs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs/inplace"
	"github.com/hashpkg/hashpkg/sysroot"
)

const fullPath = "/var/sys/current-system/lib64"

func tool(name string) *Program { return &Program{Package: pkgOf("tool"), Path: "/usr/bin/" + name} }

// TestEditAndRestore edits a program, and gives it its packaged bytes back.
func TestEditAndRestore(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/tool": packaged})
	host := filepath.Join(root.Dir(), "usr/bin/tool")
	then := time.Unix(1e9, 5)
	if err := errors.Join(os.Chmod(host, 0o755|os.ModeSetuid), os.Chtimes(host, then, then)); err != nil {
		t.Fatal(err)
	}
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"))
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Edited}, states(apply(t, root, records, decisions))); diff != "" {
		t.Fatal(diff)
	}
	edited := read(t, root, "usr/bin/tool")
	if p := inspect(t, edited).RunPath; p != fullPath {
		t.Errorf("it searches %q", p)
	}
	files := edits(t, root, "tool")
	if len(files) != 1 || len(files[0].Applied) != 1 || files[0].Applied[0].Object != digest.Of(edited) || files[0].Source != digest.Of(packaged) {
		t.Errorf("the record has %+v", files)
	}
	e, err := root.Edits(pkgOf("tool").Key)
	if err != nil || e.Package != "tool" {
		t.Errorf("the record is of %q (%v)", e.Package, err)
	}
	if class, _ := Prove(e, "/usr/bin/tool", "", edited); class != Proved {
		t.Errorf("it is %d", class)
	}

	records, decisions = planned(t, root, root, rewriteAll(), tool("tool"))
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Unchanged}, states(apply(t, root, records, decisions))); diff != "" {
		t.Errorf("again: %s", diff)
	}

	decisions = PlanRestore(root, records, func(pkg, path string) bool { return pkg == "tool" })
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Restored}, states(apply(t, root, records, decisions))); diff != "" {
		t.Fatal(diff)
	}
	if !bytes.Equal(read(t, root, "usr/bin/tool"), packaged) {
		t.Error("the bytes are not the packaged ones")
	}
	info, err := os.Stat(host)
	if err != nil || info.Mode() != 0o755|os.ModeSetuid || !info.ModTime().Equal(then) {
		t.Errorf("it has the mode %v and the time %v (%v)", info.Mode(), info.ModTime(), err)
	}
	if files := edits(t, root, "tool"); len(files) != 1 || !files[0].Restored || len(files[0].Applied) > 0 {
		t.Errorf("the record has %+v", files)
	}
	records, decisions = planned(t, root, root, rewriteAll(), tool("tool"))
	if len(decisions) != 1 || !decisions[0].Keep || decisions[0].Changes() {
		t.Errorf("a sync edits it again: %+v", decisions)
	}
	if err := records.Prune(root, Expected(decisions)); err != nil || len(edits(t, root, "tool")) != 1 {
		t.Errorf("that it was restored is forgotten (%v)", err)
	}
	// Its package brings other bytes.
	other := bytes.Replace(packaged, []byte("GCC: ("), []byte("GCC: ["), 1)
	if err := os.WriteFile(host, other, 0o755); err != nil {
		t.Fatal(err)
	}
	records, decisions = planned(t, root, root, rewriteAll(), tool("tool"))
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Edited}, states(apply(t, root, records, decisions))); diff != "" {
		t.Error(diff)
	}
}

// TestRestoreRecorded has a program restored whose package has brought it again.
func TestRestoreRecorded(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/tool": packaged})
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"))
	apply(t, root, records, decisions)
	host := filepath.Join(root.Dir(), "usr/bin/tool")
	all := func(string, string) bool { return true }
	if err := os.WriteFile(host, packaged, 0o755); err != nil {
		t.Fatal(err)
	}
	decisions = PlanRestore(root, records, all)
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Unchanged}, states(apply(t, root, records, decisions))); diff != "" {
		t.Error(diff)
	}
	if files := edits(t, root, "tool"); len(files) != 1 || !files[0].Restored {
		t.Errorf("what was asked for is not kept: %+v", files)
	}
	for what, change := range map[string]func() error{
		string(neither): func() error { return os.WriteFile(host, []byte("x"), 0o755) },
		string(notRegular): func() error {
			return os.Symlink("other", host)
		},
	} {
		_ = os.Remove(host)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		outcomes := apply(t, root, records, PlanRestore(root, records, all))
		if len(outcomes) != 1 || outcomes[0].State != Left || string(outcomes[0].Reason) != what {
			t.Errorf("%s: %+v", what, outcomes)
		}
	}
	_ = os.Remove(host)
	if decisions := PlanRestore(root, records, all); len(decisions) > 0 {
		t.Errorf("a program that is gone: %+v", decisions[0])
	}
}

// TestHardLinks edits programs that are one file.
func TestHardLinks(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/a": packaged})
	for _, name := range []string{"b", "c"} {
		if err := os.Link(filepath.Join(root.Dir(), "usr/bin/a"), filepath.Join(root.Dir(), "usr/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	// c is another package's, which has a tree: it gets other bytes.
	c := &Program{Package: pkgOf("other"), Path: "/usr/bin/c"}
	policy := rewriteAll()
	policy.Trees = map[pkginfo.Key]string{c.Package.Key: "other/1"}
	records, decisions := planned(t, root, root, policy, tool("a"), tool("b"), c)
	want := map[string]State{"/usr/bin/a": Edited, "/usr/bin/b": Edited, "/usr/bin/c": Edited}
	if diff := cmp.Diff(want, states(apply(t, root, records, decisions))); diff != "" {
		t.Fatal(diff)
	}
	var inodes []uint64
	for _, name := range []string{"a", "b", "c"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(root.Dir(), "usr/bin", name), &st); err != nil {
			t.Fatal(err)
		}
		inodes = append(inodes, st.Ino)
	}
	if inodes[0] != inodes[1] || inodes[0] == inodes[2] {
		t.Errorf("the files are %v", inodes)
	}
	if p := inspect(t, read(t, root, "usr/bin/b")).RunPath; p != fullPath {
		t.Errorf("b searches %s", p)
	}
	if p := inspect(t, read(t, root, "usr/bin/c")).RunPath; !strings.HasPrefix(p, "/var/sys/other/1/lib64:") {
		t.Errorf("c searches %s", p)
	}
	if files := edits(t, root, "tool"); len(files) != 2 {
		t.Errorf("the record has %+v", files)
	}
	records, _ = planned(t, root, root, policy, tool("a"), tool("b"), c)
	apply(t, root, records, PlanRestore(root, records, func(string, string) bool { return true }))
	for _, name := range []string{"a", "b", "c"} {
		if !bytes.Equal(read(t, root, "usr/bin/"+name), packaged) {
			t.Errorf("%s has not its packaged bytes", name)
		}
	}
}

func TestRounds(t *testing.T) {
	decision := func(path string, inode uint64, to string) *Decision {
		return &Decision{
			Facts:   Facts{Program: Program{Path: path}, File: FileID{Inode: inode}},
			Desired: &record.AppliedEdit{Object: digest.Of([]byte(to))}, Edit: elfedit.Edit{OldSize: 1, NewSize: 2},
		}
	}
	left := decision("/left", 3, "x")
	left.Left = "is left"
	var have []string
	for _, round := range rounds([]*Decision{decision("/a", 1, "x"), decision("/b", 1, "y"), decision("/c", 1, "x"), left, decision("/d", 2, "x"), decision("/e", 1, "y")}) {
		line := ""
		for _, f := range round {
			for _, d := range f.all() {
				line += d.Path
			}
			line += " "
		}
		have = append(have, line)
	}
	if diff := cmp.Diff([]string{"/a/c /d ", "/b/e "}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestMountedOver has something mounted over a program.
func TestMountedOver(t *testing.T) {
	testneed.Root(t)
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/busy": packaged, "usr/bin/tool": packaged})
	busy := filepath.Join(root.Dir(), "usr/bin/busy")
	if err := unix.Mount(busy, busy, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(busy, unix.MNT_DETACH) })
	records, decisions := planned(t, root, root, rewriteAll(), tool("busy"), tool("tool"))
	outcomes := apply(t, root, records, decisions)
	if diff := cmp.Diff(map[string]State{"/usr/bin/busy": Left, "/usr/bin/tool": Edited}, states(outcomes)); diff != "" {
		t.Fatal(diff)
	}
	if o := outcomes[0]; o.Reason != "cannot be replaced: something is mounted over it: device or resource busy" || !o.LookAgain {
		t.Errorf("%s %s (%t)", o.Path, o.Reason, o.LookAgain)
	}
	if files := edits(t, root, "tool"); len(files) != 1 || files[0].Path != "/usr/bin/tool" {
		t.Errorf("the record has %+v", files)
	}
	noLeftovers(t, root)
	if err := unix.Unmount(busy, 0); err != nil {
		t.Fatal(err)
	}
	records, decisions = planned(t, root, root, rewriteAll(), tool("busy"))
	if diff := cmp.Diff(map[string]State{"/usr/bin/busy": Edited}, states(apply(t, root, records, decisions))); diff != "" {
		t.Error(diff)
	}
}

func noLeftovers(t *testing.T, root *sysroot.Root) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(root.Dir(), "usr/bin/.*")); err != nil || len(left) > 0 {
		t.Errorf("left beside programs: %q (%v)", left, err)
	}
}

// watched is a store of records that calls before each time that some are written.
type watched struct {
	RecordStore
	before func(n int) error
	n      int
}

func (w *watched) SetEdits(edits []*record.PackageEdits) error {
	w.n++
	if err := w.before(w.n); err != nil {
		return err
	}
	return w.RecordStore.SetEdits(edits)
}

// TestRecordsFirst looks at the order of records and programs.
func TestRecordsFirst(t *testing.T) {
	packaged := program(t)
	full := errors.New("no room")
	for _, fails := range []bool{false, true} {
		root := newRoot(t, map[string][]byte{"usr/bin/tool": packaged})
		store := &watched{RecordStore: root, before: func(n int) error {
			if n == 1 && !bytes.Equal(read(t, root, "usr/bin/tool"), packaged) {
				t.Error("the program changes before its record is written")
			}
			noLeftovers(t, root)
			if fails {
				return full
			}
			return nil
		}}
		records, decisions := planned(t, root, store, rewriteAll(), tool("tool"))
		outcomes, err := Apply(t.Context(), root, records, decisions, false)
		switch {
		case store.n == 0:
			t.Error("no record was written")
		case !fails && err != nil:
			t.Error(err)
		case fails && (!errors.Is(err, full) || outcomes[0].State != Failed || !errors.Is(outcomes[0].Err, full)):
			t.Errorf("%v %+v", err, outcomes)
		case fails && !bytes.Equal(read(t, root, "usr/bin/tool"), packaged):
			t.Error("the program changed without a record")
		}
		noLeftovers(t, root)
	}
}

// TestChangedMeanwhile has others change programs after they were decided on.
func TestChangedMeanwhile(t *testing.T) {
	packaged := program(t)
	other := bytes.Replace(packaged, []byte("GCC: ("), []byte("GCC: ["), 1)
	root := newRoot(t, map[string][]byte{"usr/bin/tool": packaged, "usr/bin/other": packaged})
	linked := filepath.Join(root.Dir(), "usr/bin/linked")
	store := &watched{RecordStore: root, before: func(n int) error {
		if n > 1 {
			return nil
		}
		return errors.Join(os.WriteFile(filepath.Join(root.Dir(), "usr/bin/tool"), other, 0o755),
			os.Remove(linked), os.WriteFile(linked, other, 0o755))
	}}
	if err := os.Link(filepath.Join(root.Dir(), "usr/bin/other"), linked); err != nil {
		t.Fatal(err)
	}
	records, decisions := planned(t, root, store, rewriteAll(), tool("tool"), tool("other"), tool("linked"))
	outcomes := apply(t, root, records, decisions)
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Failed, "/usr/bin/other": Edited, "/usr/bin/linked": Failed}, states(outcomes)); diff != "" {
		t.Fatal(diff)
	}
	if !errors.Is(outcomes[0].Err, inplace.ErrChanged) || !outcomes[0].LookAgain {
		t.Errorf("%+v", outcomes[0])
	}
	if !bytes.Equal(read(t, root, "usr/bin/tool"), other) || !bytes.Equal(read(t, root, "usr/bin/linked"), other) {
		t.Error("what others wrote is lost")
	}
	if err := records.Prune(root, outcomes); err != nil || len(edits(t, root, "tool")) != 2 {
		t.Errorf("recorded is not what may have been edited, and that alone (%v): %+v", err, edits(t, root, "tool"))
	}
	// The next run edits it, and what nobody needs of the record is gone.
	records, decisions = planned(t, root, root, rewriteAll(), tool("tool"), tool("other"), tool("linked"))
	outcomes = apply(t, root, records, decisions)
	if err := records.Prune(root, outcomes); err != nil {
		t.Fatal(err)
	}
	for _, f := range edits(t, root, "tool") {
		if len(f.Applied) != 1 {
			t.Errorf("%s has the edits %+v", f.Path, f.Applied)
		}
	}
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Edited, "/usr/bin/other": Unchanged, "/usr/bin/linked": Edited}, states(outcomes)); diff != "" {
		t.Error(diff)
	}
}

func TestInterrupted(t *testing.T) {
	root := newRoot(t, map[string][]byte{"usr/bin/tool": program(t)})
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	outcomes, err := Apply(ctx, root, records, decisions, false)
	if !errors.Is(err, context.Canceled) || outcomes[0].State != Failed {
		t.Errorf("%v %+v", err, outcomes)
	}
}
