package programs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

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
