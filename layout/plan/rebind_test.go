package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// rebind plans to bind anew the packages with these names, or all, and says what changes
// for whom.
func (w *world) rebind(t *testing.T, names ...string) (*Plan, []string) {
	t.Helper()
	w.change = func(in *Input) {
		for i := range in.Generation.Trees {
			if tree := &in.Generation.Trees[i]; len(names) == 0 || slices.Contains(names, tree.Name) {
				in.Rebind = append(in.Rebind, tree)
			}
		}
		if len(w.lost) > 0 {
			in.Gone = func(tree *record.Tree) bool { return slices.Contains(w.lost, tree.Path()) }
		}
	}
	defer func() { w.change = nil }()
	plan := w.plan(t)
	said := []string{}
	for _, r := range plan.Rebound {
		for _, b := range r.Changes {
			said = append(said, fmt.Sprintf("%s %s: %s from %s -> %s", r.Name, r.Version, strings.Join(b.Sonames, " "), b.Before, b.After))
		}
	}
	return plan, said
}

// take makes the plan's generation the active one.
func (w *world) take(t *testing.T, plan *Plan) {
	t.Helper()
	if len(plan.Problems) > 0 || plan.Generation == nil {
		t.Fatalf("nothing to take: %+v", plan.Problems)
	}
	for _, tree := range plan.Trees {
		w.manifests[layout.TreePath(tree.Name, tree.Tree)] = tree.Manifest
	}
	next := plan.Generation.Next(w.generation.ID+1, plan.Generation.Time)
	for i := range next.Trees {
		if next.Trees[i].Since == 0 {
			next.Trees[i].Since = next.ID
		}
	}
	w.generation = next
}

func (w *world) installAll(t *testing.T, command ...*record.Manifest) {
	t.Helper()
	w.install(t, func() []*record.Manifest { return command })
}

// of says that a package came from a release.
func of(release string, m *record.Manifest) *record.Manifest {
	m.Named.Release = release
	return m
}

func tool(version string) *record.Manifest {
	return pkg("tool", version, []string{"libonig5", "libc6"}, facts{path: "usr/bin/tool", needed: []string{"libonig.so.5", "libc.so.6"}})
}

func paths(g *record.Generation) (list []string) {
	for i := range g.Trees {
		list = append(list, g.Trees[i].Path())
	}
	return list
}

func TestRebindChoosesAmongVersions(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tool  string // its release, and that of the library that it is bound to
		later []*record.Manifest
		set   func(*record.Generation)
		want  []string
	}{
		{"nothing came", "", nil, nil, nil},
		{"a higher version", "", []*record.Manifest{onig("6.10")}, nil, []string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}},
		{"a lower version", "", []*record.Manifest{onig("6.8")}, nil, nil},
		{"one of another release", "trixie", []*record.Manifest{of("sid", onig("7.0"))}, nil, nil},
		{
			"one of no release, and one of another", "trixie",
			[]*record.Manifest{of("sid", onig("7.0")), onig("6.10")},
			nil,
			[]string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"},
		},
		{"one of its release", "trixie", []*record.Manifest{of("trixie", onig("6.10"))}, nil, []string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}},
		{"the lower is chosen", "", []*record.Manifest{onig("6.10")}, func(g *record.Generation) { g.Use("libonig5", "6.9") }, nil},
		{"the higher is held", "", []*record.Manifest{onig("6.10")}, func(g *record.Generation) {
			for i := range g.Trees {
				g.Trees[i].Held = g.Trees[i].Version == "6.10"
			}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.installAll(t, of(tt.tool, tool("1")), of(tt.tool, onig("6.9")), of(tt.tool, libc("2.36")))
			for _, m := range tt.later {
				w.installAll(t, m)
			}
			if tt.set != nil {
				tt.set(w.generation)
			}
			plan, said := w.rebind(t)
			if diff := cmp.Diff(append([]string{}, tt.want...), said); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
			if (plan.Generation != nil) != (len(tt.want) > 0) || len(plan.Problems) > 0 {
				t.Errorf("generation %v, problems %v", plan.Generation, plan.Problems)
			}
			if plan.Generation == nil {
				return
			}
			w.take(t, plan)
			if _, said := w.rebind(t); len(said) > 0 {
				t.Errorf("a second time it would change %q", said)
			}
		})
	}
}

// TestRebindKeepsTheRootsCLibrary has a private C library that came for another program.
func TestRebindKeepsTheRootsCLibrary(t *testing.T) {
	w := newWorld()
	roots := libc("2.41")
	w.system = map[string]*ldso.Object{}
	for i := range roots.Files {
		f := &roots.Files[i]
		o := &ldso.Object{Path: "/" + f.Path, ID: "/" + f.Path, Info: f.ELF}
		w.system[f.ELF.Soname], w.system["/lib64/"+f.ELF.Soname] = o, o
	}
	w.installAll(t, tool("1"), onig("6.9"))
	w.installAll(t, libc("2.42"))
	w.installAll(t, onig("6.10"))
	_, said := w.rebind(t, "tool")
	if diff := cmp.Diff([]string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}, said); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestRebindFollowsWhatIsSearched has a library that a relation alone names: the C library
// opens it by itself.
func TestRebindFollowsWhatIsSearched(t *testing.T) {
	unwinder := func(version string) *record.Manifest {
		return pkg("libgcc-s1", version, nil, facts{path: libDir + "libgcc_s.so.1", soname: "libgcc_s.so.1", needed: []string{"libc.so.6"}})
	}
	w := newWorld()
	c := libc("2.36")
	c.Requires = pkg("x", "1", []string{"libgcc-s1"}).Requires
	w.installAll(t, tool("1"), onig("6.9"), c, unwinder("12"))
	w.installAll(t, unwinder("13"))
	plan, said := w.rebind(t, "libc6")
	if want := []string{"libc6 2.36:  from libgcc-s1=12 -> libgcc-s1=13"}; !slices.Equal(said, want) {
		t.Fatalf("have %q, want %q", said, want)
	}
	_, all := w.rebind(t)
	for _, want := range []string{
		"tool 1: ld-linux-x86-64.so.2 libc.so.6 from libc6=2.36 -> libc6=2.36", "libgcc-s1 13: libc.so.6 from libc6=2.36 -> libc6=2.36",
	} {
		if !slices.Contains(all, want) {
			t.Errorf("%q has no %q", all, want)
		}
	}
	if have := plan.Trees[0].Edits; len(have) == 0 || !strings.Contains(have[0].Edits[0].To[0], "libgcc-s1/13/") {
		t.Errorf("the edits are %+v", have)
	}
}

// TestRebindLeavesOthersAsTheyAre has two programs of one library, which is bound anew for
// one of them.
func TestRebindLeavesOthersAsTheyAre(t *testing.T) {
	w := newWorld()
	other := pkg("other", "1", []string{"libjq1"}, facts{path: "usr/bin/other", needed: []string{"libjq.so.1", "libc.so.6"}})
	w.installAll(t, jq("1.6", "GLIBC_2.34"), other, libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34"))
	w.generation.Use("libjq1", "1.6")
	w.installAll(t, onig("6.10"))
	plan, said := w.rebind(t, "jq", "libjq1")
	if diff := cmp.Diff([]string{
		"jq 1.6: libonig.so.5 from libonig5=6.9 -> libonig5=6.10",
		"jq 1.6: libjq.so.1 from libjq1=1.6 -> libjq1=1.6",
		"libjq1 1.6: libonig.so.5 from libonig5=6.9 -> libonig5=6.10",
	}, said); diff != "" {
		t.Fatalf("(-want +have)\n%s", diff)
	}
	jqTree, libTree := plan.Trees[0].Tree, plan.Trees[1].Tree
	w.take(t, plan)
	want := []string{"jq/" + jqTree, "libc6/2.36", "libjq1/1.6", "libjq1/" + libTree, "libonig5/6.9", "libonig5/6.10", "other/1"}
	if diff := cmp.Diff(want, paths(w.generation)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	for _, tree := range w.generation.Find("libjq1", "") {
		if isNew := tree.Dir == libTree; tree.Default != isNew || tree.Chosen != isNew {
			t.Errorf("%s is the default: %v, chosen: %v", tree.Path(), tree.Default, tree.Chosen)
		}
	}
	// Then the other one: the tree that is there already is what it comes to, and the old one goes.
	plan, _ = w.rebind(t)
	w.take(t, plan)
	for _, tree := range paths(w.generation) {
		if tree == "libjq1/1.6" || tree == "other/1" {
			t.Errorf("the generation has %s still", tree)
		}
	}
	if _, said := w.rebind(t); len(said) > 0 {
		t.Errorf("a third time it would change %q", said)
	}
}

// TestRebindRefusesWhatWouldNotStart has libraries go that programs are bound to.
func TestRebindRefusesWhatWouldNotStart(t *testing.T) {
	w := newWorld()
	w.installAll(t, tool("1"), onig("6.9"), libc("2.36"))
	never := pkg("never", "1", nil, facts{path: "usr/bin/never", needed: []string{"libmissing.so.1"}})
	never.Named.Asked = false // it does not start, and is installed
	w.installAll(t, never)
	w.generation.Remove(func(tree *record.Tree) bool { return tree.Name == "libonig5" })
	plan, _ := w.rebind(t)
	if len(plan.Problems) != 1 || plan.Problems[0].Package != "tool=1" || plan.Problems[0].Soname != "libonig.so.5" || plan.Generation != nil {
		t.Fatalf("the problems are %+v", plan.Problems)
	}
	if text := (&ProblemsError{Problems: plan.Problems, Rebind: true}).Error(); strings.Contains(text, "allow-missing") || !strings.HasPrefix(text, "nothing was bound anew") {
		t.Errorf("it says %q", text)
	}
}

// TestRebindRefusesMissingVersions has the library go that has a version which one of two
// programs wants; the other one never started.
func TestRebindRefusesMissingVersions(t *testing.T) {
	versioned := func(version string, offers ...string) *record.Manifest {
		return pkg("libonig5", version, nil, facts{path: libDir + "libonig.so.5." + version, soname: "libonig.so.5", needed: []string{"libc.so.6"}, offers: offers})
	}
	w := newWorld()
	w.installAll(t, pkg("tool", "1", nil,
		facts{path: "usr/bin/tool", needed: []string{"libonig.so.5", "libc.so.6"}, wants: map[string]string{"libonig.so.5": "ONIG_1"}},
		facts{path: "usr/bin/never", needed: []string{"libonig.so.5", "libmissing.so.1"}},
	), versioned("6.9", "ONIG_1"), libc("2.36"))
	w.installAll(t, versioned("6.10", "ONIG_2"))
	if plan, said := w.rebind(t); len(said) > 0 || len(plan.Problems) > 0 {
		t.Errorf("it would change %q, with the problems %+v", said, plan.Problems)
	}
	w.generation.Remove(func(tree *record.Tree) bool { return tree.Version == "6.9" })
	plan, _ := w.rebind(t)
	if len(plan.Problems) != 1 || plan.Problems[0].File != "usr/bin/tool" || plan.Problems[0].Version != "ONIG_1" {
		t.Errorf("the problems are %+v", plan.Problems)
	}
}

// TestRebindKeepsHowProgramsAreLaunched has a program that sees a view.
func TestRebindKeepsHowProgramsAreLaunched(t *testing.T) {
	w := newWorld()
	w.fileSize = func(string) (int64, bool) { return 0, false }
	m := tool("1")
	m.Files = append(m.Files, record.File{Path: "usr/share/tool/data", Type: record.TypeFile, Mode: 0o644})
	m.Index()
	w.installAll(t, m, onig("6.9"), libc("2.36"))
	before := w.generation.Find("tool", "")[0]
	if before.View == "" {
		t.Fatal("it sees no view")
	}
	w.installAll(t, onig("6.10"))
	plan, _ := w.rebind(t)
	w.take(t, plan)
	after := w.generation.Find("tool", "")
	if len(after) != 1 || after[0].View == "" || !slices.Equal(after[0].Links, before.Links) || !after[0].Asked {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
	f := w.manifests[after[0].Path()].Lookup("bin/tool")
	if f == nil || f.Launches != "/usr/bin/tool" || f.Object == w.manifests[before.Path()].Lookup("bin/tool").Object {
		t.Errorf("its launcher is %+v", f)
	}
}

// TestRebindKeepsCommandsOfOthers has a command that is a link to another package's file, which
// no relation names.
func TestRebindKeepsCommandsOfOthers(t *testing.T) {
	w := newWorld()
	m := tool("1")
	m.Files = append(m.Files, record.File{Path: "usr/bin/toolaux", Type: record.TypeSymlink, Mode: 0o777, Target: "aux", PackageTarget: "aux"})
	m.Index()
	aux := pkg("aux", "1", nil, facts{path: "usr/bin/aux", needed: []string{"libc.so.6"}})
	w.installAll(t, m, aux, onig("6.9"), libc("2.36"))
	w.installAll(t, onig("6.10"))
	plan, _ := w.rebind(t, "tool", "libonig5")
	if len(plan.Trees) != 1 {
		t.Fatalf("%d trees, problems %v", len(plan.Trees), plan.Problems)
	}
	const want = "../../../aux/1/usr/bin/aux"
	for _, l := range plan.Trees[0].Links {
		if l.Path == "bin/toolaux" && l.Target != want {
			t.Errorf("it leads to %s, and not to %s", l.Target, want)
		}
	}
	if !slices.ContainsFunc(plan.Trees[0].Links, func(l record.Link) bool { return l.Path == "bin/toolaux" }) {
		t.Errorf("the command is not in %v", plan.Trees[0].Links)
	}
}

// TestRebindToTheSamePackage has two trees of one package file, of which the later one finds
// libraries otherwise: nothing is bound anew for that.
func TestRebindToTheSamePackage(t *testing.T) {
	w := newWorld()
	w.installAll(t, tool("1"), onig("6.9"), libc("2.36"))
	again := onig("6.9")
	again.Binding = record.Binding{RunPath: record.RunPathFull}
	w.installAll(t, again)
	if n := len(paths(w.generation)); n != 4 {
		t.Fatalf("%d trees: %v", n, paths(w.generation))
	}
	if plan, said := w.rebind(t); plan.Generation != nil || len(said) > 0 {
		t.Errorf("it says %v", said)
	}
	w.installAll(t, onig("6.10"))
	if _, said := w.rebind(t); !slices.Equal(said, []string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}) {
		t.Errorf("after a higher version came it says %v", said)
	}
}

// TestRebindLeavesWhatIsBroken has programs one of which loads a library of the root that
// is gone.
func TestRebindLeavesWhatIsBroken(t *testing.T) {
	broken := func(t *testing.T) *world {
		w := newWorld()
		roots := pkg("root", "1", nil, facts{path: libDir + "libgone.so.1", soname: "libgone.so.1", needed: []string{"libc.so.6"}, offers: []string{"GONE_1"}})
		w.addSystem(roots)
		w.installAll(t, tool("1"), onig("6.9"), libc("2.36"), pkg("broken", "1", []string{"libonig5", "libc6"},
			facts{path: "usr/bin/broken", needed: []string{"libonig.so.5", "libgone.so.1", "libc.so.6"}, wants: map[string]string{"libgone.so.1": "GONE_1"}}))
		w.installAll(t, onig("6.10"))
		return w
	}
	tools := []string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}
	for _, tt := range []struct {
		name    string
		breakIt func(*world)
		left    []string
		want    []string
	}{
		{"nothing is broken", func(*world) {}, nil, append([]string{"broken 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}, tools...)},
		{"a library of the root is gone", func(w *world) { delete(w.system, "libgone.so.1") }, []string{"broken/1"}, tools},
		{"it has another symbol version", func(w *world) {
			w.addSystem(pkg("root", "2", nil, facts{path: libDir + "libgone.so.1", soname: "libgone.so.1", needed: []string{"libc.so.6"}, offers: []string{"GONE_2"}}))
		}, []string{"broken/1"}, tools},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := broken(t)
			tt.breakIt(w)
			plan, said := w.rebind(t)
			var left []string
			for _, l := range plan.Left {
				left = append(left, l.Tree)
			}
			if diff := cmp.Diff(tt.left, left); diff != "" {
				t.Errorf("left (-want +have)\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, said); diff != "" {
				t.Errorf("rebound (-want +have)\n%s", diff)
			}
			w.take(t, plan)
		})
	}
}

// TestRebindRefusesWhatStillStarts has a program that works and would not: the library
// that takes the place needs one that nobody has.
func TestRebindRefusesWhatStillStarts(t *testing.T) {
	w := newWorld()
	w.installAll(t, tool("1"), onig("6.9"), libc("2.36"))
	w.change = func(in *Input) { in.AllowMissing = true }
	w.installAll(t, pkg("libonig5", "6.10", []string{"libc6"}, facts{path: libDir + "libonig.so.5.6.10", soname: "libonig.so.5", needed: []string{"libnothing.so.0", "libc.so.6"}}))
	plan, _ := w.rebind(t, "tool")
	if len(plan.Problems) != 1 || len(plan.Left) > 0 {
		t.Errorf("problems %v, left %v", plan.Problems, plan.Left)
	}
}
