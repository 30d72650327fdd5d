package verify

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// TestBindings has a program that is bound to a library whose tree is there, is not, and
// has a record that cannot be read: which is no reason to say that it is not there.
func TestBindings(t *testing.T) {
	root := newRoot(t)
	install(t, root)
	s := root.Store()
	a, err := s.Manifest("a", "1")
	if err != nil {
		t.Fatal(err)
	}
	var to *record.File
	for i := range a.Files {
		if a.Files[i].Type == record.TypeFile {
			to = &a.Files[i]
		}
	}
	place := func(file string) string { return root.Prefix() + "/a/1/" + file }
	record1 := s.Path(layout.ManifestPath("a", "1"))
	for _, tt := range []struct {
		name, bound string
		object      digest.Digest
		change      func() error
		want        string
	}{
		{"as it is", place(to.Path), to.Object, nil, ""},
		{"another digest", place(to.Path), digest.Of([]byte("x")), nil, "and there it is " + to.Object.String()},
		{"no such file", place("usr/lib/none"), to.Object, nil, "and its tree has no such file"},
		{"a record that cannot be read", place(to.Path), to.Object, func() error { return os.WriteFile(record1, []byte("{"), 0o644) }, "and what is known of its tree cannot be read: "},
		{"no such tree", place(to.Path), to.Object, func() error { return os.Remove(record1) }, "and there is no such tree"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				if err := tt.change(); err != nil {
					t.Fatal(err)
				}
			}
			m := &record.Manifest{Name: "prog", Version: "1", Tree: "1", Files: []record.File{{
				Path: "usr/bin/prog", Edits: []record.EditRecord{{Kind: record.EditNote, To: []string{fmt.Sprintf("%s  %s", tt.object, tt.bound)}}},
			}}}
			r := &reader{root: root, store: s, manifests: map[string]*record.Manifest{}, others: map[string]otherManifest{}}
			damaged := Bindings(s, root.Prefix(), m, r.manifest)
			if (tt.want != "") != (len(damaged) == 1) || tt.want != "" && !strings.Contains(damaged[0].What, tt.want) {
				t.Errorf("%+v, want %q", damaged, tt.want)
			}
			first, _ := r.manifest("a/1")
			if again, _ := r.manifest("a/1"); first != again {
				t.Error("a manifest is read again")
			}
		})
	}
}
