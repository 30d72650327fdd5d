package query

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/store"
)

// check compares an error with its text, "" for none, and with what it wraps.
func check(t *testing.T, what string, err error, text string, wraps error) {
	t.Helper()
	if text == "" && err != nil || text != "" && (err == nil || err.Error() != text || !errors.Is(err, wraps)) {
		t.Errorf("%s: the error is %v, want %s", what, err, text)
	}
}

func TestParseSpec(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Spec
		err  string
	}{
		{"jq", Spec{"jq", ""}, ""},
		{"jq=1.6", Spec{"jq", "1.6"}, ""},
		{"jq=1:1.6=x", Spec{"jq", "1:1.6=x"}, ""},
		{"", Spec{}, `"": not NAME or NAME=VERSION`},
		{"=1.6", Spec{}, `"=1.6": not NAME or NAME=VERSION`},
		{"jq=", Spec{}, `"jq=": not NAME or NAME=VERSION`},
		{"=", Spec{}, `"=": not NAME or NAME=VERSION`},
	} {
		spec, err := ParseSpec(tt.text)
		check(t, tt.text, err, tt.err, ErrSpec)
		if spec != tt.want || err == nil && spec.String() != tt.text {
			t.Errorf("%q is %q and %q, as text %s", tt.text, spec.Name, spec.Version, spec)
		}
	}
}

func tree(name, version, dir, arch string) record.Tree {
	return record.Tree{
		Name: name, Version: version, Dir: dir, Architecture: arch, Format: deb.Name, Origin: record.OriginPrivate,
		Identity: digest.Of([]byte(name + dir)), Since: 1,
	}
}

func TestGeneration(t *testing.T) {
	g := &record.Generation{Architecture: "x86_64-linux-gnu", Orders: pkginfo.Orders{deb.Name: deb.Format{}.Order()}}
	g.SetTrees([]record.Tree{
		tree("jq", "1.6", "1.6", "amd64"), tree("jq", "1.10", "1.10", "amd64"), tree("jq", "1.6", "1.6@12345678", "amd64"),
		tree("epoch", "2:1", "2%3a1@12345678", "amd64"), tree("epoch", "2:1", "2%3a1@22222222", "amd64"),
		tree("awk", "1", "1", "amd64"), tree("two", "1", "1@11111111", "amd64"), tree("two", "1", "1@i386", "i386"),
	})
	g.Use("jq", "1.6@12345678")
	for _, tt := range []struct {
		spec     Spec
		all      []string
		allErr   string
		one      string
		oneErr   string
		oneWraps error
		best     string
	}{
		{Spec{"awk", ""}, []string{"awk/1"}, "", "awk/1", "", nil, "awk/1"},
		{Spec{"awk", "1"}, []string{"awk/1"}, "", "awk/1", "", nil, "awk/1"},
		{
			Spec{"jq", ""},
			[]string{"jq/1.6", "jq/1.6@12345678", "jq/1.10"},
			"",
			"", "several trees have that version: jq: name one of jq=1.6, jq=1.6@12345678, jq=1.10", ErrAmbiguous, "jq/1.6@12345678",
		},
		{Spec{"jq", "1.6"}, []string{"jq/1.6", "jq/1.6@12345678"}, "", "jq/1.6", "", nil, "jq/1.6"},
		{Spec{"epoch", "2:1@12345678"}, []string{"epoch/2%3a1@12345678"}, "", "epoch/2%3a1@12345678", "", nil, "epoch/2%3a1@12345678"},
		{
			Spec{"epoch", ""},
			[]string{"epoch/2%3a1@12345678", "epoch/2%3a1@22222222"},
			"",
			"", "several trees have that version: epoch: name one of epoch=2:1@12345678, epoch=2:1@22222222", ErrAmbiguous, "epoch/2%3a1@22222222",
		},
		{Spec{"jq", "1.6@12345678"}, []string{"jq/1.6@12345678"}, "", "jq/1.6@12345678", "", nil, "jq/1.6@12345678"},
		{
			Spec{"two", "1"},
			[]string{"two/1@11111111", "two/1@i386"},
			"",
			"", "several trees have that version: two=1: name one of two=1@11111111, two=1@i386", ErrAmbiguous, "two/1@11111111",
		},
		{Spec{"sed", ""}, nil, "not installed: sed; hashpkg list shows what is", "", "", nil, ""},
		{Spec{"sed", "1"}, nil, "not installed: sed; hashpkg list shows what is", "", "", nil, ""},
		{Spec{"jq", "2"}, nil, "not installed: jq=2; the installed versions are 1.6, 1.10", "", "", nil, ""},
	} {
		if tt.allErr != "" {
			tt.oneErr, tt.oneWraps = tt.allErr, ErrNotInstalled
		}
		all, err := All(g, tt.spec)
		check(t, "All "+tt.spec.String(), err, tt.allErr, ErrNotInstalled)
		var paths []string
		for _, f := range all {
			paths = append(paths, f.Path())
		}
		if !slices.Equal(paths, tt.all) {
			t.Errorf("All %s: %q, want %q", tt.spec, paths, tt.all)
		}
		path := func(f *record.Tree) string {
			if f == nil {
				return ""
			}
			return f.Path()
		}
		one, err := One(g, tt.spec)
		check(t, "One "+tt.spec.String(), err, tt.oneErr, tt.oneWraps)
		if path(one) != tt.one {
			t.Errorf("One %s: %q, want %q", tt.spec, path(one), tt.one)
		}
		best, err := Best(g, tt.spec)
		check(t, "Best "+tt.spec.String(), err, tt.allErr, ErrNotInstalled)
		if path(best) != tt.best {
			t.Errorf("Best %s: %q, want %q", tt.spec, path(best), tt.best)
		}
	}
	// Without a default, all of which are held, the newest is the best.
	g.SetTrees(slices.DeleteFunc(slices.Clone(g.Trees), func(t record.Tree) bool { return t.Name != "jq" }))
	for i := range g.Trees {
		g.Trees[i].Held, g.Trees[i].Chosen, g.Trees[i].Default = true, false, false
	}
	if best, err := Best(g, Spec{Name: "jq"}); err != nil || best.Version != "1.10" {
		t.Errorf("of held ones the best is %+v, %v", best, err)
	}
}

func TestStored(t *testing.T) {
	top := t.TempDir()
	dir, err := beneath.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, m := range []record.Manifest{
		{Name: "jq", Version: "1.6", Tree: "1.6", Origin: record.OriginPrivate},
		{Name: "jq", Version: "1.6", Tree: "1.6@12345678", Origin: record.OriginSystem},
		{Name: "jq", Version: "1.7", Tree: "1.7", Origin: record.OriginPrivate},
		{Name: "two", Version: "1", Tree: "1", Origin: record.OriginPrivate},
		{Name: "two", Version: "1", Tree: "1@12345678", Origin: record.OriginPrivate},
		{Name: "three", Version: "1", Tree: "1@11111111", Origin: record.OriginPrivate},
		{Name: "three", Version: "1", Tree: "1@22222222", Origin: record.OriginPrivate},
	} {
		m.Layout, m.Architecture, m.Format = layout.FormatVersion, "amd64", deb.Name
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(top, layout.ManifestPath(m.Name, m.Tree))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	s := store.New(dir)
	for _, tt := range []struct {
		spec       Spec
		want, text string
		wraps      error
	}{
		{Spec{"jq", "1.7"}, "1.7", "", nil},
		{Spec{"jq", "1.6"}, "1.6@12345678", "", nil}, // the distribution's own
		{Spec{"jq", "1.6@12345678"}, "1.6@12345678", "", nil},
		{Spec{"two", "1"}, "1", "", nil},
		{Spec{"two", "1@12345678"}, "1@12345678", "", nil},
		{Spec{"three", "1"}, "", "several trees have that version: three=1: name one of three=1@11111111, three=1@22222222", ErrAmbiguous},
		{Spec{"awk", "1"}, "", "awk is not in the store; hashpkg install brings it", ErrNotStored},
		{Spec{"jq", "2"}, "", "jq=2 is not in the store, which has the versions 1.6, 1.7", ErrNotStored},
	} {
		m, err := Stored(s, tt.spec)
		check(t, tt.spec.String(), err, tt.text, tt.wraps)
		if m != nil && m.Tree != tt.want || m == nil && tt.want != "" {
			t.Errorf("%s: %+v, want %s", tt.spec, m, tt.want)
		}
	}
}
