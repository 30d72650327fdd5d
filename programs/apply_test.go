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
	if os.Geteuid() != 0 {
		unmet(t, "needs root")
	}
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/busy": packaged, "usr/bin/tool": packaged, "usr/bin/linked": packaged})
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
		outcomes, err := Apply(t.Context(), root, records, decisions)
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
	store := &watched{RecordStore: root, before: func(n int) error {
		if n > 1 {
			return nil
		}
		return os.WriteFile(filepath.Join(root.Dir(), "usr/bin/tool"), other, 0o755)
	}}
	records, decisions := planned(t, root, store, rewriteAll(), tool("tool"), tool("other"))
	outcomes := apply(t, root, records, decisions)
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Failed, "/usr/bin/other": Edited}, states(outcomes)); diff != "" {
		t.Fatal(diff)
	}
	if !errors.Is(outcomes[0].Err, inplace.ErrChanged) || !outcomes[0].LookAgain {
		t.Errorf("%+v", outcomes[0])
	}
	if !bytes.Equal(read(t, root, "usr/bin/tool"), other) {
		t.Error("what others wrote is lost")
	}
	if err := records.Prune(root, outcomes); err != nil || len(edits(t, root, "tool")) != 2 {
		t.Errorf("the record of what may have been edited is gone (%v)", err)
	}
	// The next run edits it, and what nobody needs of the record is gone.
	records, decisions = planned(t, root, root, rewriteAll(), tool("tool"), tool("other"))
	outcomes = apply(t, root, records, decisions)
	if err := records.Prune(root, outcomes); err != nil {
		t.Fatal(err)
	}
	for _, f := range edits(t, root, "tool") {
		if len(f.Applied) != 1 {
			t.Errorf("%s has the edits %+v", f.Path, f.Applied)
		}
	}
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Edited, "/usr/bin/other": Unchanged}, states(outcomes)); diff != "" {
		t.Error(diff)
	}
}

func TestInterrupted(t *testing.T) {
	root := newRoot(t, map[string][]byte{"usr/bin/tool": program(t)})
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	outcomes, err := Apply(ctx, root, records, decisions)
	if !errors.Is(err, ErrInterrupted) || outcomes[0].State != Failed {
		t.Errorf("%v %+v", err, outcomes)
	}
}

// TestSealed has programs whose bytes are known to somebody else.
func TestSealed(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{
		"usr/bin/tool": packaged, "usr/bin/.tool.hmac": nil, "usr/bin/sshd": packaged, "usr/bin/fipscheck/sshd.hmac": nil, "usr/bin/free": packaged,
	})
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"), tool("sshd"), tool("free"))
	outcomes := apply(t, root, records, decisions)
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Left, "/usr/bin/sshd": Left, "/usr/bin/free": Edited}, states(outcomes)); diff != "" {
		t.Error(diff)
	}
	if want := Reason("is compared with /usr/bin/fipscheck/sshd.hmac when it starts, which an edit would contradict"); outcomes[1].Reason != want {
		t.Errorf("it %s", outcomes[1].Reason)
	}
	ima := filepath.Join(root.Dir(), "usr/bin/free")
	if err := unix.Setxattr(ima, "security.ima", []byte{imaSignature, 2, 4}, 0); err != nil {
		t.Logf("no signature can be set: %v", err)
		return
	}
	// It was edited before it was signed: the signature is over these bytes, but the
	// packaged ones are what is wanted.
	_, decisions = planned(t, root, root, rewriteAll(), tool("free"))
	if d := decisions[0]; d.Desired != nil || !d.Changes() {
		t.Errorf("%+v", d)
	}
}

// TestAltered has a program that is not what its package brought.
func TestAltered(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/tool": packaged, "usr/bin/good": packaged})
	_, decisions := planned(t, root, root, rewriteAll(),
		&Program{Package: pkgOf("tool"), Path: "/usr/bin/tool", Digest: "md5:" + strings.Repeat("0", 32)},
		&Program{Package: pkgOf("tool"), Path: "/usr/bin/good", Digest: "unknown:0"}, tool("gone"))
	if len(decisions) != 2 || decisions[0].Left != "is not the file that its package brought" || decisions[1].Left != "" {
		t.Errorf("%+v", decisions)
	}
}

// TestElsewhere has a program that searches another prefix, and has no record in this
// one.
func TestElsewhere(t *testing.T) {
	packaged := program(t)
	_, edited, err := rewritten(packaged, []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/x:/srv/sys/current-system/lib64"}}})
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(t, map[string][]byte{"usr/bin/tool": edited})
	_, decisions := planned(t, root, root, rewriteAll(), &Program{Package: pkgOf("tool"), Path: "/usr/bin/tool", Digest: "md5:" + strings.Repeat("0", 32)})
	if decisions[0].Left == "" || decisions[0].Elsewhere != "/srv/sys" {
		t.Errorf("%+v", decisions[0])
	}
}

// TestMoved follows a program to which dpkg-divert gave another name.
func TestMoved(t *testing.T) {
	root := newRoot(t, map[string][]byte{"usr/bin/tool": program(t)})
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"))
	apply(t, root, records, decisions)
	if err := os.Rename(filepath.Join(root.Dir(), "usr/bin/tool"), filepath.Join(root.Dir(), "usr/bin/a.distrib")); err != nil {
		t.Fatal(err)
	}
	records, err := ReadRecords(root, []pkginfo.Key{pkgOf("tool").Key})
	if err != nil {
		t.Fatal(err)
	}
	records.FollowMoved(root, []*Program{tool("a.distrib")})
	decisions, err = Plan(t.Context(), root, records, []*Program{tool("a.distrib")}, rewriteAll())
	if err != nil {
		t.Fatal(err)
	}
	outcomes := apply(t, root, records, decisions)
	if diff := cmp.Diff(map[string]State{"/usr/bin/a.distrib": Unchanged}, states(outcomes)); diff != "" {
		t.Error(diff)
	}
	if err := records.Prune(root, outcomes); err != nil {
		t.Fatal(err)
	}
	if files := edits(t, root, "tool"); len(files) != 1 || files[0].Path != "/usr/bin/a.distrib" {
		t.Errorf("the record has %+v", files)
	}
}

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
	if err := askLoader(t.Context(), self, "/bin/sh", "/bin/ls"); !errors.Is(err, errDisagrees) {
		t.Logf("sh and ls load the same here: %v", err)
	}
	self.Info.Interpreter = filepath.Join(dir, "no-loader")
	if err := askLoader(t.Context(), self, "/bin/sh", "/bin/sh"); err != nil {
		t.Errorf("a loader that is not there: %v", err)
	}
	if os.Geteuid() != 0 {
		unmet(t, "needs root")
	}
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

func TestEnded(t *testing.T) {
	old, fresh := &record.AppliedEdit{Object: digest.Of([]byte("old"))}, &record.AppliedEdit{Object: digest.Of([]byte("new"))}
	for _, tt := range []struct {
		name     string
		state    State
		current  *record.AppliedEdit
		desired  *record.AppliedEdit
		restore  bool
		want     []record.AppliedEdit
		restored bool
		none     bool
	}{
		{name: "edited", state: Edited, desired: fresh, want: []record.AppliedEdit{*fresh}},
		{name: "edited again", state: Edited, current: old, desired: fresh, want: []record.AppliedEdit{*fresh}},
		{name: "given back", state: Restored, current: old, none: true},
		{name: "given back to somebody", state: Restored, current: old, restore: true, restored: true},
		{name: "left", state: Left, desired: fresh, none: true},
		{name: "left with its edit", state: Left, current: old, desired: fresh, want: []record.AppliedEdit{*old}},
		{name: "failed", state: Failed, current: old, desired: fresh, want: []record.AppliedEdit{*fresh, *old}},
	} {
		d := &Decision{Facts: Facts{Program: Program{Path: "/a"}, Current: tt.current}, Desired: tt.desired, Restore: tt.restore}
		f := ended(&Outcome{Decision: d, State: tt.state})
		if (f == nil) != tt.none {
			t.Errorf("%s: %+v", tt.name, f)
			continue
		}
		if f == nil {
			continue
		}
		if diff := cmp.Diff(tt.want, f.Applied); diff != "" || f.Restored != tt.restored {
			t.Errorf("%s: restored %t (-want +have)\n%s", tt.name, f.Restored, diff)
		}
	}
}

func TestProve(t *testing.T) {
	packaged := program(t)
	e, edited, err := rewritten(packaged, []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	patch, err := record.PackEdit(e)
	if err != nil {
		t.Fatal(err)
	}
	file := record.EditedFile{Path: "/a", Source: digest.Of(packaged), Applied: []record.AppliedEdit{{Object: digest.Of(edited), Patch: patch}}}
	const good, bad = "unknown:", "md5:00"
	damaged := file
	damaged.Source = digest.Of(edited)
	for _, tt := range []struct {
		name, path, digest string
		data               []byte
		file               record.EditedFile
		class              Class
		what               Reason
	}{
		{"edited", "/a", good, edited, file, Proved, ""},
		{"edited, of other bytes", "/a", bad, edited, file, Altered, "undoing its recorded edit does not give the packaged bytes"},
		{"edited, with a damaged record", "/a", good, edited, damaged, Altered, "undoing its recorded edit does not give the recorded bytes"},
		{"altered since", "/a", bad, []byte("x"), file, Altered, neither},
		{"altered", "/b", bad, []byte("x"), file, Altered, "is not what its package brought"},
		{"pristine", "/b", "md5:9dd4e461268c8034f5c8564e155c67a6", []byte("x"), file, Pristine, ""},
		{"of an unknown digest", "/b", good, []byte("x"), file, Unknown, ""},
	} {
		class, what := Prove(&record.PackageEdits{Files: []record.EditedFile{tt.file}}, tt.path, tt.digest, tt.data)
		if class != tt.class || what != tt.what {
			t.Errorf("%s: %d %q", tt.name, class, what)
		}
	}
}
