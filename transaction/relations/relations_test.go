package relations

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestLoading has names stand for what they stand for in the process, whatever a library
// by itself would get.
func TestLoading(t *testing.T) {
	tree := func(name string, files ...record.HeldFile) *record.Holding {
		return &record.Holding{Name: name, Dir: "1", Version: "1", Binaries: files}
	}
	one := tree("one", record.HeldFile{Path: "lib/one.so", Soname: "one.so", Needed: []string{"two.so", "gone.so"}})
	two := tree("two", record.HeldFile{Path: "lib/two.so", Soname: "two.so", Needed: []string{"one.so"}})
	bound := tree("bound", record.HeldFile{Path: "lib/b.so", Soname: "b.so"})
	prog := tree("prog", record.HeldFile{Path: "bin/prog", Program: true, Needed: []string{"one.so"}})
	r := &Relations{byPath: map[string]*record.Holding{}, located: map[string]File{}}
	for _, h := range []*record.Holding{one, two, bound, prog} {
		r.byPath[h.Path()] = h
	}
	l := r.newLoading(File{prog, "bin/prog"}, "prog/1", prog.Binaries[0].Needed, []record.Need{
		{Soname: "one.so", Path: "/var/sys/one/1/lib/one.so"}, {Soname: "two.so", Path: "/elsewhere/two/1/lib/two.so"}, {Soname: "b.so", Path: "/var/sys/bound/1/lib/b.so"},
	})
	var have []string
	l.needs(func(by File, name string, answer File) bool {
		have = append(have, by.Tree.Name+" "+name+" "+answer.Tree.Name)
		return true
	})
	want := []string{"prog one.so one", "one two.so two", "two one.so one", "prog b.so bound"} // the last is bound only
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestAnswer chooses who satisfies a relation.
func TestAnswer(t *testing.T) {
	tree := func(name, version, release string, isDefault bool) *record.Tree {
		return &record.Tree{Name: name, Version: version, Dir: version, Format: deb.Name, Default: isDefault, Named: record.Named{Release: release}}
	}
	by := tree("by", "1", "trixie", true)
	offers := []offer{
		{tree("lib", "1", "bookworm", false), "1", true},
		{tree("lib", "2", "trixie", false), "2", true},
		{tree("lib", "3", "sid", true), "3", true},
		{tree("virtual", "9", "trixie", true), "", false},
	}
	r := &Relations{generation: &record.Generation{Orders: pkginfo.Orders{deb.Name: deb.Format{}.Order()}}}
	for _, tt := range []struct {
		want   pkginfo.Constraint
		answer string
	}{
		{pkginfo.Constraint{Name: "lib"}, "lib/2"},
		{pkginfo.Constraint{Name: "lib", Operator: ">=", Version: "3"}, "lib/3"},
		{pkginfo.Constraint{Name: "lib", Operator: "<", Version: "2"}, "lib/1"},
		{pkginfo.Constraint{Name: "lib", Operator: ">", Version: "3"}, ""},
	} {
		have := ""
		if t := r.answer(by, tt.want, offers); t != nil {
			have = t.Path()
		}
		if have != tt.answer {
			t.Errorf("%s is satisfied by %q, want %q", constraintText(tt.want), have, tt.answer)
		}
	}
}

func TestIsHash(t *testing.T) {
	for text, want := range map[string]bool{"d644dc4d": true, "d644dc4": false, "D644DC4D": false, "libjq.so.1": false, "": false} {
		if isHash(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestNamespace(t *testing.T) {
	for id, want := range map[string]string{"debian": "debian", "opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse", "rhel": "redhat", "": ""} {
		if have := namespace(id); have != want {
			t.Errorf("%s is %q, want %q", id, have, want)
		}
	}
}
