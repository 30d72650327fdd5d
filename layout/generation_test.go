package layout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

var debOrders = pkginfo.Orders{deb.Name: deb.Format{}.Order()}

func tree(name, version string, links ...string) Tree {
	return Tree{
		Name: name, Version: version, Architecture: "amd64", Format: deb.Name, Origin: OriginPrivate,
		Tree: version, Identity: digest.Of([]byte(name + version)), Since: 1, Links: links,
	}
}

func newGeneration(trees ...Tree) *Generation {
	g := &Generation{Layout: FormatVersion, ID: 1, Architecture: "x86_64-linux-gnu", Time: time.Unix(1700000000, 0).UTC(), Orders: debOrders}
	g.Add(DefaultHighest, trees...)
	return g
}

func defaults(g *Generation) []string {
	var out []string
	for i := range g.Trees {
		if g.Trees[i].Default {
			out = append(out, g.Trees[i].Spec())
		}
	}
	return out
}

func TestDefaults(t *testing.T) {
	g := newGeneration(tree("jq", "1.10"), tree("jq", "1.9"), tree("libjq1", "1"))
	check := func(what string, want ...string) {
		t.Helper()
		if got := defaults(g); !slices.Equal(got, want) {
			t.Errorf("%s: defaults are %q, want %q", what, got, want)
		}
	}
	check("the highest", "jq=1.10", "libjq1=1")
	if !g.Use("jq", "1.9") || g.Use("jq", "1.9") {
		t.Error("use does not say what it changed")
	}
	check("chosen", "jq=1.9", "libjq1=1")
	g.Add(DefaultHighest, tree("jq", "2"))
	check("a choice stays", "jq=1.9", "libjq1=1")
	g.Remove(func(t *Tree) bool { return t.Version == "1.9" })
	check("the chosen one goes", "jq=2", "libjq1=1")
	g.Add(DefaultKeep, tree("jq", "3"))
	check("held", "jq=2", "libjq1=1")
	g.Add(DefaultThis, tree("jq", "0.5"), tree("jq", "0.4"))
	if paths := map[string]bool{"jq/0.5": true, "jq/0.4": true}; !g.UseAll(paths) || g.UseAll(paths) {
		t.Error("UseAll does not say what it changed")
	}
	check("installed as the default", "jq=0.5", "libjq1=1")
	if !g.UseHighest("jq") {
		t.Error("the choice was not given back")
	}
	check("highest again", "jq=3", "libjq1=1")
	forAll := tree("libjq1", "1.5")
	forAll.Architecture = "all"
	g.Add(DefaultHighest, forAll)
	check("for every architecture is for the own", "jq=3", "libjq1=1.5")
	g.Remove(func(t *Tree) bool { return t.Version == "1.5" })
	i386 := tree("libjq1", "2")
	i386.Architecture, i386.Tree = "i386", "2@i386"
	g.Add(DefaultHighest, i386)
	check("another architecture does not compete", "jq=3", "libjq1=1", "libjq1=2")
}

func TestFarmConflicts(t *testing.T) {
	g := newGeneration(tree("mawk", "1", "bin/awk"), tree("gawk", "5", "bin/awk", "bin/gawk"))
	target := func() string {
		for _, l := range g.Farm() {
			if l.Path == "bin/awk" {
				return l.Target
			}
		}
		return ""
	}
	if got := target(); got != "../../../../gawk/5/bin/awk" {
		t.Errorf("awk leads to %s; the first by name should have it", got)
	}
	want := []Conflict{{Link: "bin/awk", Winner: "gawk=5", Losers: []string{"mawk=1"}}}
	for _, of := range []string{"mawk/1", "gawk/5"} {
		if diff := cmp.Diff(want, g.Conflicts(map[string]bool{of: true})); diff != "" {
			t.Errorf("%s: %s", of, diff)
		}
	}
	if got := g.Conflicts(map[string]bool{"other/1": true}); got != nil {
		t.Errorf("conflicts of a package that has none: %v", got)
	}
	g.Use("mawk", "1")
	if got := target(); got != "../../../../mawk/1/bin/awk" {
		t.Errorf("awk leads to %s; mawk was chosen", got)
	}
}

// TestFarmChanges applies the changes between random generations to one's farm
// and expects the other's.
func TestFarmChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	next := func() *Generation {
		g := newGeneration()
		for i := range 12 {
			if random.IntN(3) > 0 {
				links := []string{fmt.Sprintf("bin/p%d", i), fmt.Sprintf("bin/shared%d", i%3)}
				g.Add(DefaultHighest, tree(fmt.Sprintf("p%d", i), fmt.Sprint(random.IntN(3)), links...))
			}
		}
		return g
	}
	before := &Generation{}
	for i := range 50 {
		after := next()
		if name := fmt.Sprintf("p%d", i%12); i%3 == 0 && len(after.Find(name, "")) > 0 {
			after.Use(name, after.Find(name, "")[0].Tree)
		}
		farm := map[string]string{}
		for _, l := range before.Farm() {
			farm[l.Path] = l.Target
		}
		gone, made := after.FarmChanges(before)
		for _, l := range gone {
			if farm[l.Path] != l.Target {
				t.Fatalf("%s -> %s is to go, and is not there", l.Path, l.Target)
			}
			delete(farm, l.Path)
		}
		for _, l := range made {
			if _, there := farm[l.Path]; there {
				t.Fatalf("%s is to be made, and is there", l.Path)
			}
			farm[l.Path] = l.Target
		}
		want := map[string]string{}
		for _, l := range after.Farm() {
			want[l.Path] = l.Target
		}
		if diff := cmp.Diff(want, farm); diff != "" {
			t.Fatal(diff)
		}
		before = after
	}
}

func indexed(t testing.TB) (*Generation, []byte, []byte) {
	a, b := tree("jq", "1.6", "bin/jq"), tree("libjq1", "1.6", "lib64/libjq.so.1")
	a.Chosen, b.Inner, b.Provides = true, []string{"libinner.so"}, []pkginfo.Capability{{Name: "x", Version: "1"}, {Name: "y"}}
	g := newGeneration(a, b, tree("held", "1"))
	g.Parent = 7
	record, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return g, record, g.EncodeIndex(record)
}

func TestIndex(t *testing.T) {
	g, record, index := indexed(t)
	g.Orders = nil // no part of the record
	for what, decode := range map[string]func() (*Generation, error){
		"record": func() (*Generation, error) { return DecodeGeneration(record) },
		"index":  func() (*Generation, error) { return DecodeIndex(index, record) },
	} {
		got, err := decode()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(g, got); diff != "" {
			t.Errorf("%s (-want +have):\n%s", what, diff)
		}
	}
	if _, err := DecodeIndex(index, append(record, ' ')); err == nil {
		t.Error("an index of another record is accepted")
	}
	for n := range index {
		if _, err := DecodeIndex(index[:n], record); err == nil {
			t.Errorf("an index cut at %d is accepted", n)
		}
	}
}

func FuzzDecodeIndex(f *testing.F) {
	_, record, index := indexed(f)
	f.Add(index)
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := DecodeIndex(b, record); err == nil {
			if again, err := DecodeIndex(g.EncodeIndex(record), record); err != nil || !cmp.Equal(g, again) {
				t.Errorf("does not survive being written again: %v", err)
			}
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	m := jq("1.6", "GLIBC_2.34")
	m.Tree = "1.6"
	b, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			return
		}
		for i := range m.Files { // must end, and stay inside
			m.Resolve(m.Files[i].Path)
		}
		if _, err := m.Encode(); err != nil {
			t.Error(err)
		}
	})
}
