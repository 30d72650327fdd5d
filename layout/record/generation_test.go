package record

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

var debOrders = pkginfo.Orders{deb.Name: deb.Format{}.Order()}

func tree(name, version string, links ...string) Tree {
	return Tree{
		Name: name, Version: version, Architecture: "amd64", Format: deb.Name, Origin: OriginPrivate,
		Dir: version, Identity: digest.Of([]byte(name + version)), Since: 1, Links: links,
	}
}

func newGeneration(trees ...Tree) *Generation {
	g := &Generation{Layout: layout.FormatVersion, ID: 1, Architecture: "x86_64-linux-gnu", Time: time.Unix(1700000000, 0).UTC(), Orders: debOrders}
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
	i386.Architecture, i386.Dir = "i386", "2@i386"
	g.Add(DefaultHighest, i386)
	check("another architecture does not compete", "jq=3", "libjq1=1", "libjq1=2")
}

func indexed(t testing.TB) (*Generation, []byte, []byte) {
	a, b := tree("jq", "1.6", "bin/jq"), tree("libjq1", "1.6", "lib64/libjq.so.1")
	a.Named = Named{Release: "trixie", Others: "sid bookworm", Asked: true}
	b.Named = Named{OnHold: true, Until: time.Unix(1700000000, 0).UTC(), By: Picker{URL: "https://example.org/x", Signer: "a+1+b"}}
	a.Chosen, b.AskWhere, b.Inner, b.Provides = true, []string{"lib64/libasks.so.1"}, []string{"libinner.so"}, []pkginfo.Capability{{Name: "x", Version: "1"}, {Name: "y"}}
	a.Offers = []Offer{{Name: "query", Link: "bin/query", Path: "/usr/bin/jq", Target: "usr/bin/jq", Priority: -5}, {Name: "q", Link: "sbin/q", Path: "/usr/bin/jq", Target: "bin/jq", Priority: 1711}}
	g := newGeneration(a, b, tree("held", "1"))
	g.Alternatives = map[string]string{"query": "jq", "editor": "/usr/bin/nano"}
	g.Parent, g.Run, g.Orders = 7, "apt-get 1 2 3", nil // orders are no part of the record
	g.History = &History{Cause: Cause{"hashpkg use jq=1.6", "alice"}, Restored: 3, Undone: 5, Changes: []PackageChange{
		{Name: "jq", Origin: OriginPrivate, Before: "1.7", After: "1.6"},
		{Name: "libjq1", Origin: OriginSystem, Architecture: "i386", Added: []string{"2", "3"}, Removed: []string{"1"}, Remade: []string{"4"}, Held: []string{"2"}, Unheld: []string{"3"}},
	}}
	record, index := encoded(t, g)
	return g, record, index
}

func encoded(t testing.TB, g *Generation) (record, index []byte) {
	t.Helper()
	record, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return record, g.EncodeIndex(record)
}

// TestPickers: a tree is a picker's while nobody else has named it.
func TestPickers(t *testing.T) {
	a, b := Picker{URL: "https://a", Signer: "a+1+x"}, Picker{URL: "https://b", Signer: "b+1+x"}
	for _, c := range []struct{ was, comes, want Picker }{
		{a, a, a}, {a, b, b}, {a, Picker{}, Picker{}}, {Picker{}, a, Picker{}},
	} {
		n := Named{By: c.was}
		if changed := n.Merge(Named{By: c.comes}); n.By != c.want || changed != (c.was != c.want) {
			t.Errorf("what %q picked and %q picks is of %q (changed: %v), want %q", c.was.Name(), c.comes.Name(), n.By.Name(), changed, c.want.Name())
		}
	}
}

func TestReleases(t *testing.T) {
	n := Named{}
	for _, step := range []struct {
		release, want string
		changed       bool
	}{
		{"", ":", false},
		{"sid", "sid:", true},
		{"trixie", "trixie:sid", true},
		{"trixie", "trixie:sid", false},
		{"", "trixie:sid", false},
		{"bookworm", "bookworm:trixie sid", true},
		{"sid", "sid:bookworm trixie", true},
	} {
		if changed := n.Merge(Named{Release: step.release}); changed != step.changed || n.Release+":"+n.Others != step.want {
			t.Errorf("from %q: it is of %s:%s (changed: %v), want %s", step.release, n.Release, n.Others, changed, step.want)
		}
	}
	for release, want := range map[string]bool{"": false, "sid": true, "trixie": true, "bullseye": false} {
		if o := (Named{Release: release}); n.Shares(&o) != want || o.Shares(&n) != want {
			t.Errorf("with %q it shares a release: %v", release, !want)
		}
	}
	none := Named{}
	if !none.Shares(&Named{}) || none.Shares(&Named{Release: "sid", Others: "trixie"}) {
		t.Error("what came from no release shares it with others of none, and of none only")
	}
}

func TestChoose(t *testing.T) {
	a := tree("vim", "9")
	a.Offers = []Offer{{Name: "editor", Link: "bin/editor", Path: "/usr/bin/vim.basic", Target: "usr/bin/vim.basic"}}
	g := newGeneration(a)
	isChosen := func() bool { return g.IsChosen(&g.Trees[0], &g.Trees[0].Offers[0]) }
	before := g.Next(2, time.Time{})
	for _, test := range []struct {
		choice          string
		changes, chosen bool
	}{{"vim", true, true}, {"vim", false, true}, {"/usr/bin/vim.basic", true, true}, {"nano", true, false}, {"", true, false}, {"", false, false}} {
		if changed := g.Choose("editor", test.choice); changed != test.changes || isChosen() != test.chosen {
			t.Errorf("choosing %q: changed %v, and it is chosen: %v", test.choice, changed, isChosen())
		}
		if len(before.Alternatives) > 0 {
			t.Fatal("the generation before has changed")
		}
		if SameTrees(g, before) == (test.choice != "") {
			t.Errorf("with the choice %q the generation is the same: %v", test.choice, SameTrees(g, before))
		}
	}
}

// TestHostileOffers has names that would lead out of the farm, or out of the tree.
func TestHostileOffers(t *testing.T) {
	for _, o := range []Offer{{Link: "../x", Target: "usr/bin/x"}, {Link: "x", Target: "usr/bin/x"}, {Link: "bin/x", Target: "../../x"}, {Link: "bin/x", Target: "/etc/x"}, {Link: "bin/x"}} {
		g := newGeneration(tree("a", "1"))
		g.Trees[0].Offers = []Offer{o}
		b, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeGeneration(b); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestIndex(t *testing.T) {
	g, _, _ := indexed(t)
	t.Run("with a history", func(t *testing.T) { testIndex(t, g) })
	g.History = nil
	t.Run("without", func(t *testing.T) { testIndex(t, g) })
	_, index := encoded(t, g)
	if !strings.HasPrefix(string(index), "hashpkg index 8\n") {
		t.Errorf("the index of a record without a history begins with %q", index[:20])
	}
}

func testIndex(t *testing.T, g *Generation) {
	record, index := encoded(t, g)
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
	if _, text, err := Reconstruct(index); err != nil || !slices.Equal(text, record) {
		t.Errorf("of the index alone comes %q (%v), want %q", text, err, record)
	}
	for i := range index { // whatever bit the disk has lost
		damaged := slices.Clone(index)
		damaged[i] ^= 1
		if _, text, err := Reconstruct(damaged); err == nil {
			t.Errorf("with another byte %d it is %q", i, text)
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
	m := jqManifest()
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

// jqManifest is a manifest with a little of everything.
func jqManifest() *Manifest {
	jq := File{
		Path: "usr/bin/jq", Type: TypeFile, Mode: 0o755, Object: digest.Of([]byte("jq")), Size: 2,
		ELF:   &elfedit.Info{Interpreter: "/lib64/ld-linux-x86-64.so.2", HasDynamic: true, Needed: []string{"libjq.so.1"}},
		Edits: []EditRecord{{Kind: EditNeeded, From: []string{"libjq.so.1"}, To: []string{"/var/sys/libjq1/1.6/usr/lib/libjq.so.1"}}},
	}
	m := &Manifest{
		Layout: layout.FormatVersion, Name: "jq", Version: "1.6", Tree: "1.6", Architecture: "amd64", Format: deb.Name, Origin: OriginPrivate,
		Files: []File{{Path: "usr", Type: TypeDirectory, Mode: 0o755}, jq}, Links: []Link{{Path: "bin/jq", Target: "../usr/bin/jq"}},
	}
	m.Index()
	return m
}

// The run of a package manager is one generation's, and not of what is made from it.
func TestNextIsOfNoRun(t *testing.T) {
	g := newGeneration()
	g.Run = "apt-get 1 2 3"
	if next := g.Next(2, g.Time); next.Run != "" || next.Parent != 1 {
		t.Errorf("Next gives run %q, parent %d", next.Run, next.Parent)
	}
}

func TestDiff(t *testing.T) {
	before := newGeneration(tree("jq", "1"), tree("gone", "1"), tree("held", "1"))
	held := tree("held", "1")
	held.OnHold = true
	aView := tree(".view", "abc")
	aView.Origin = OriginView
	after := newGeneration(tree("jq", "1"), tree("jq", "2"), held, aView)
	have := Diff(before, after)
	if diff := cmp.Diff([]Change{
		{Name: "gone", Change: "removed", Tree: "1"},
		{Name: "gone", Change: "default", Before: "1"},
		{Name: "held", Change: "hold", Tree: "1"},
		{Name: "jq", Change: "default", Tree: "2", Before: "1"},
		{Name: "jq", Change: "added", Tree: "2"},
	}, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	if line := have[2].String(); line != "  held 1: on hold" {
		t.Errorf("%q", line)
	}
	if back := Diff(after, before); !slices.ContainsFunc(back, func(c Change) bool { return c.String() == "  held 1: no longer on hold" }) {
		t.Errorf("back: %+v", back)
	}
}
