package view_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
)

// TestOrder: closures of the same trees have one view, unless they would not see the same.
func TestOrder(t *testing.T) {
	same := tree("same", "usr/share/common/x", "usr/share/link -> y")
	twin := tree("twin", "usr/share/common/x", "usr/share/link -> y", "usr/share/doc/same/README")
	twin.Lookup("usr/share/common/x").Source = same.Lookup("usr/share/common/x").Source
	tests := []struct {
		name  string
		trees []*record.Manifest
		want  []string // for a closure that has them in the opposite order
	}{
		{"nothing in common", []*record.Manifest{tree("b", "usr/bin/b"), tree("a", "usr/bin/a"), tree("c", "usr/bin/c")}, []string{"a", "b", "c"}},
		{"the same file and link, other documentation", []*record.Manifest{same, twin, tree("doc", "usr/share/doc/same/README")}, []string{"doc", "same", "twin"}},
		{"another file", []*record.Manifest{tree("a", "usr/bin/x"), tree("b", "usr/bin/b"), rebuilt("c", "usr/bin/x")}, []string{"c", "a", "b"}},
		{"another link", []*record.Manifest{tree("a", "usr/bin/x -> a"), tree("b", "usr/bin/x -> b")}, []string{"b", "a"}},
		{"a file in place of a link", []*record.Manifest{tree("a", "usr/bin/x -> a"), tree("b", "usr/bin/x")}, []string{"b", "a"}},
		{"a link in place of a directory", []*record.Manifest{tree("a", "usr/share/x -> y"), tree("b", "usr/share/x/deep/er"), tree("c", "usr/share/x/file")}, []string{"c", "b", "a"}},
		{"the same link, of which one leads to a library", []*record.Manifest{
			tree("a", "usr/lib/lua/x.so -> ../x86_64-linux-gnu/libx.so.1"), tree("z", "usr/lib/lua/x.so -> ../x86_64-linux-gnu/libx.so.1", lib+"libx.so.1 so"),
		}, []string{"z", "a"}},
		{"libraries, which linkers see", []*record.Manifest{tree("a", lib+"libx.so.1 so"), tree("b", lib+"libx.so.1 so")}, []string{"b", "a"}},
	}
	for _, test := range tests {
		rivals := view.RivalsAmong(append([]*record.Manifest{rebuilt("else", "usr/bin/b", "usr/share/common/x")}, test.trees...))
		var names []string
		turned := slices.Clone(test.trees)
		slices.Reverse(turned)
		for _, m := range rivals.Order(turned) {
			names = append(names, m.Name)
		}
		if diff := cmp.Diff(test.want, names); diff != "" {
			t.Errorf("%s: (-want +have)\n%s", test.name, diff)
		}
	}
}

// rebuilt is tree, with files that no other tree has.
func rebuilt(name string, files ...string) *record.Manifest {
	m := tree(name, files...)
	for i := range m.Files {
		m.Files[i].Source = m.Files[i].Object
	}
	return m
}
