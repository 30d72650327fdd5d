package graph_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
)

func knownTrees(trees ...string) func(string) bool {
	return func(tree string) bool {
		for _, t := range trees {
			if t == tree {
				return true
			}
		}
		return false
	}
}

func TestLeadsTo(t *testing.T) {
	known := knownTrees("jq/1.6", "libjq1/1.6", "libc6/2.36", "libc6/2.41", "libonig5/1%3a6.9@0123abcd")
	edited := func(kind string, to ...string) []record.File {
		return []record.File{{Path: "usr/bin/jq", Type: record.TypeFile, Edits: []record.EditRecord{{Kind: kind, To: to}}}}
	}
	symlink := func(at, target string) []record.File {
		return []record.File{{Path: at, Type: record.TypeSymlink, Target: target}}
	}
	for _, tt := range []struct {
		name  string
		files []record.File
		links []record.Link
		want  []string
	}{
		{name: "nothing"},
		{name: "interpreter", files: edited(record.EditInterpreter, "/var/sys/libc6/2.41/usr/lib64/ld.so.2"), want: []string{"libc6/2.41"}},
		{
			name:  "needed by path and by name",
			files: edited(record.EditNeeded, "/var/sys/libjq1/1.6/usr/lib/libjq.so.1", "libm.so.6", "/var/sys/libc6/2.36/usr/lib/libc.so.6"),
			want:  []string{"libc6/2.36", "libjq1/1.6"},
		},
		{
			name:  "search path",
			files: edited(record.EditRunPath, "$ORIGIN/../lib:/var/sys/libonig5/1%3a6.9@0123abcd/lib64:/var/sys/jq/default/lib64:/var/sys/current-system/lib64"),
			want:  []string{"libonig5/1%3a6.9@0123abcd"},
		},
		{name: "another prefix", files: edited(record.EditAdd, "/home/me/sys//libjq1/./1.6/lib64/libjq.so.1"), want: []string{"libjq1/1.6"}},
		{name: "its own tree", files: edited(record.EditRunPath, "/var/sys/jq/1.6/lib64")},
		{name: "a tree that is not there", files: edited(record.EditRunPath, "/var/sys/libjq1/1.5/lib64")},
		{
			name:  "need of a library that searches",
			files: []record.File{{Path: "usr/lib/x.so", Type: record.TypeFile, Needs: []record.Need{{Soname: "libjq.so.1", Path: "/var/sys/libjq1/1.6/usr/lib/libjq.so.1"}}}},
			want:  []string{"libjq1/1.6"},
		},
		{
			name: "built for its place",
			files: []record.File{{Path: "usr/bin/x", Type: record.TypeFile, ELF: &elfedit.Info{
				Interpreter: "/var/sys/libc6/2.36/ld.so", RunPath: "/var/sys/libc6/2.41/lib64", Needed: []string{"/var/sys/libjq1/1.6/lib64/libjq.so.1"},
			}}},
			want: []string{"libc6/2.36", "libc6/2.41", "libjq1/1.6"},
		},
		{name: "symlink into another tree", files: symlink("usr/lib/x", "../../../../libjq1/1.6/usr/lib/x"), want: []string{"libjq1/1.6"}},
		{name: "absolute symlink", files: symlink("usr/lib/x", "/var/sys/libjq1/1.6/x"), want: []string{"libjq1/1.6"}},
		{name: "symlink inside", files: symlink("usr/lib/libjq.so", "libjq1/1.6/x"), want: []string{"libjq1/1.6"}}, // too many rather than too few
		{name: "symlink out of everything", files: symlink("usr/x", "../../../../../../../../etc/x")},
		{name: "interface link", links: []record.Link{{Path: "lib64/libjq.so", Target: "../../../libjq1/1.6/usr/lib/libjq.so.1"}}, want: []string{"libjq1/1.6"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &record.Manifest{Name: "jq", Tree: "1.6", Files: tt.files, Links: tt.links}
			if diff := cmp.Diff(tt.want, graph.OfManifest(m, known)); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestEditedProgramsLeadTo(t *testing.T) {
	e := &record.PackageEdits{Files: []record.EditedFile{{Path: "/usr/bin/a", Applied: []record.AppliedEdit{
		{Edits: []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/var/sys/a/1/lib64:/var/sys/a/default/lib64"}}}},
		{Pins: []record.PinnedTree{{Library: "b", Tree: "2"}, {Library: "gone", Tree: "1"}}},
	}}, {Path: "/usr/bin/c", Restored: true}}}
	if diff := cmp.Diff([]string{"a/1", "b/2"}, graph.OfEdits(e, knownTrees("a/1", "b/2", "c/3"))); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

func TestReachable(t *testing.T) {
	leads := map[string][]string{"a/1": {"b/1", "c/1"}, "b/1": {"d/1"}, "d/1": {"b/1"}, "e/1": {"a/1"}, "f/1": {"f/1"}}
	for _, tt := range []struct {
		roots []string
		want  map[string]bool
	}{
		{nil, map[string]bool{}},
		{[]string{"c/1"}, map[string]bool{"c/1": true}},
		{[]string{"a/1"}, map[string]bool{"a/1": true, "b/1": true, "c/1": true, "d/1": true}},
		{[]string{"b/1", "b/1"}, map[string]bool{"b/1": true, "d/1": true}},
		{[]string{"f/1"}, map[string]bool{"f/1": true}},
	} {
		if diff := cmp.Diff(tt.want, graph.Reachable(tt.roots, leads)); diff != "" {
			t.Errorf("%q (-want +have)\n%s", tt.roots, diff)
		}
	}
}

func TestOldGenerations(t *testing.T) {
	ids := []int{2, 3, 5, 8, 9}
	for _, tt := range []struct {
		active, parent, keep int
		want                 []int
	}{
		{9, 8, 5, nil},
		{9, 8, 100, nil},
		{9, 8, 1, []int{2, 3, 5}},
		{9, 3, 1, []int{2, 5, 8}},
		{2, 0, 2, []int{3, 5}}, // rolled back
		{3, 1, 1, []int{2, 5, 8}},
	} {
		if diff := cmp.Diff(tt.want, graph.OldGenerations(ids, &record.Generation{ID: tt.active, Parent: tt.parent}, tt.keep)); diff != "" {
			t.Errorf("%+v (-want +have)\n%s", tt, diff)
		}
	}
}
