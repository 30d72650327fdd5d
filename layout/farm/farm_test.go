package farm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

func TestFarmConflicts(t *testing.T) {
	g := newGeneration(tree("mawk", "1", "bin/awk"), tree("gawk", "5", "bin/awk", "bin/gawk"))
	target := func() string {
		for _, l := range Links(g) {
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
		if diff := cmp.Diff(want, Conflicts(g, map[string]bool{of: true})); diff != "" {
			t.Errorf("%s: %s", of, diff)
		}
	}
	if got := Conflicts(g, map[string]bool{"other/1": true}); got != nil {
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
	next := func() *record.Generation {
		g := newGeneration()
		for i := range 12 {
			if random.IntN(3) > 0 {
				links := []string{fmt.Sprintf("bin/p%d", i), fmt.Sprintf("bin/shared%d", i%3)}
				g.Add(record.DefaultHighest, tree(fmt.Sprintf("p%d", i), fmt.Sprint(random.IntN(3)), links...))
			}
		}
		return g
	}
	before := &record.Generation{}
	for i := range 50 {
		after := next()
		if name := fmt.Sprintf("p%d", i%12); i%3 == 0 && len(after.Find(name, "")) > 0 {
			after.Use(name, after.Find(name, "")[0].Dir)
		}
		farmed := map[string]string{}
		for _, l := range Links(before) {
			farmed[l.Path] = l.Target
		}
		gone, made := Changes(after, before)
		for _, l := range gone {
			if farmed[l.Path] != l.Target {
				t.Fatalf("%s -> %s is to go, and is not there", l.Path, l.Target)
			}
			delete(farmed, l.Path)
		}
		for _, l := range made {
			if _, there := farmed[l.Path]; there {
				t.Fatalf("%s is to be made, and is there", l.Path)
			}
			farmed[l.Path] = l.Target
		}
		want := map[string]string{}
		for _, l := range Links(after) {
			want[l.Path] = l.Target
		}
		if diff := cmp.Diff(want, farmed); diff != "" {
			t.Fatal(diff)
		}
		before = after
	}
}

func tree(name, version string, links ...string) record.Tree {
	return record.Tree{
		Name: name, Version: version, Architecture: "amd64", Format: deb.Name, Origin: record.OriginPrivate,
		Dir: version, Identity: digest.Of([]byte(name + version)), Since: 1, Links: links,
	}
}

func newGeneration(trees ...record.Tree) *record.Generation {
	g := &record.Generation{Layout: layout.FormatVersion, ID: 1, Architecture: "x86_64-linux-gnu", Time: time.Unix(1700000000, 0).UTC(), Orders: debOrders}
	g.Add(record.DefaultHighest, trees...)
	return g
}
