package farm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// offering returns a tree with a command that it offers under another name as well.
func offering(name, version, path string, priority int) record.Tree {
	t := tree(name, version, "bin/"+path, "bin/editor")
	t.Offers = []record.Offer{{Name: "editor", Link: "bin/editor", Path: "/usr/bin/" + path, Target: "usr/bin/" + path, Priority: priority}}
	return t
}

func TestFarmAlternatives(t *testing.T) {
	vim := offering("vim", "9", "vim.basic", 30)
	vim.Offers = append(vim.Offers, record.Offer{Name: "editor", Link: "bin/editor", Path: "/usr/bin/vim.tiny", Target: "usr/bin/vim.tiny", Priority: 10})
	g := newGeneration(vim, offering("nano", "7", "nano", 40), offering("zile", "2", "zile", 40), tree("zz", "1"))
	check := func(what, want string) {
		t.Helper()
		for _, l := range Links(g) {
			if l.Path == "bin/editor" && l.Target != "../../../../"+want {
				t.Errorf("%s: it leads to %s, not to %s", what, l.Target, want)
			}
		}
	}
	check("the highest priority, and the first by name", "nano/7/usr/bin/nano")
	want := []Conflict{{Link: "bin/editor", Winner: "nano=7", Losers: []string{"vim=9", "zile=2"}}}
	if diff := cmp.Diff(want, Conflicts(g, map[string]bool{"vim/9": true})); diff != "" {
		t.Error(diff)
	}
	g.Use("zile", "2")
	check("a version was chosen of a package, and that says nothing", "nano/7/usr/bin/nano")
	g.Choose("editor", "vim")
	check("a package was chosen", "vim/9/usr/bin/vim.basic")
	g.Choose("editor", "/usr/bin/vim.tiny")
	check("a file was chosen", "vim/9/usr/bin/vim.tiny")
	g.Choose("editor", "emacs")
	check("what was chosen is not there", "nano/7/usr/bin/nano")
	g.Add(record.DefaultHighest, tree("real", "1", "bin/editor"))
	check("a package has a file of that name", "real/1/bin/editor")
	g.Choose("editor", "vim")
	check("and another was chosen", "vim/9/usr/bin/vim.basic")
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
				tree := tree(fmt.Sprintf("p%d", i), fmt.Sprint(random.IntN(3)), links...)
				if i%2 == 0 {
					tree.Links = append(tree.Links, "bin/editor")
					tree.Offers = []record.Offer{{Name: "editor", Link: "bin/editor", Path: links[0], Target: links[0], Priority: random.IntN(3)}}
				}
				g.Add(record.DefaultHighest, tree)
			}
		}
		g.Choose("editor", []string{"", "p2", "bin/p4"}[random.IntN(3)])
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

// TestViewAlias: what was linked in a view finds its libraries after an upgrade, of the
// release that it is of.
// TestFollowedLink has the link by which packed programs search in generations with trees of the system only,
// and there from the first to the last of them.
func TestFollowedLink(t *testing.T) {
	private := newGeneration(tree("jq", "1", "bin/jq", "lib64/libjq.so.1"))
	of := tree("libz", "1", "lib64/libz.so.1")
	of.Origin = record.OriginSystem
	followed := newGeneration(tree("jq", "1", "bin/jq", "lib64/libjq.so.1"), of)
	link := Link{layout.FollowedLink, "."}
	for _, c := range []struct {
		what       string
		g, before  *record.Generation
		gone, made bool
	}{
		{"private only", private, &record.Generation{}, false, false},
		{"from nothing", followed, &record.Generation{}, false, true},
		{"from private only", followed, private, false, true},
		{"the same", followed, followed, false, false},
		{"back to private only", private, followed, true, false},
	} {
		gone, made := Changes(c.g, c.before)
		if slices.Contains(gone, link) != c.gone || slices.Contains(made, link) != c.made {
			t.Errorf("%s: gone %v, made %v", c.what, gone, made)
		}
	}
	if Paths(private)[layout.FollowedLink] || !Paths(followed)[layout.FollowedLink] {
		t.Error("the generations' names do not say which has the link")
	}
}

func TestViewAlias(t *testing.T) {
	seeing := func(version, view, release string) record.Tree {
		g := tree("gcc", version)
		g.View, g.Release = view, release
		return g
	}
	g := newGeneration(seeing("12", "a", "bookworm"), seeing("14.1", "b", "trixie"), seeing("14.2", "c", "trixie"), seeing("15", "d", "http://example.org/x"))
	aliases := func() map[string]string {
		found := map[string]string{}
		for _, l := range Links(g) {
			if to, ok := strings.CutPrefix(l.Target, "../../../../../.hashpkg/views/"); ok && strings.Contains(l.Path, "@") {
				found[l.Path] = to
			}
		}
		return found
	}
	want := map[string]string{"view/gcc/@bookworm": "a", "view/gcc/@trixie": "c", "view/gcc/@": "d"}
	if diff := cmp.Diff(want, aliases()); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	g.Use("gcc", "14.1")
	want["view/gcc/@trixie"] = "b"
	if diff := cmp.Diff(want, aliases()); diff != "" {
		t.Errorf("another version was chosen (-want +have)\n%s", diff)
	}
}
