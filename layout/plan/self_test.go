package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// named has the symbols of files, by the last element of their paths: "+NAME" for one that relocations of the file
// can be bound to as well. A version stands behind an @.
type named map[string]string

func (n named) symbols(name string) (exports, own []elfedit.Symbol) {
	for _, text := range strings.Fields(n[path.Base(name)]) {
		plain, isOwn := strings.CutPrefix(text, "+")
		of, version, _ := strings.Cut(plain, "@")
		exports = append(exports, elfedit.Symbol{Name: of, Version: version})
		if isOwn {
			own = append(own, elfedit.Symbol{Name: of, Version: version})
		}
	}
	return exports, own
}

// selfEditor binds files to themselves.
type selfEditor struct {
	fakeEditor
	named named
}

func (e *selfEditor) Edit(requests []EditRequest) ([]EditResult, error) {
	results, err := e.fakeEditor.Edit(requests)
	for i, r := range requests {
		_, own := e.named.symbols(r.File.Path)
		if r.Taken == nil || len(own) == 0 {
			continue
		}
		self := &record.EditRecord{Kind: record.EditSelf, To: []string{"1", ""}}
		for _, s := range own {
			if slices.Contains(r.Taken, SymbolOf(s)) {
				self.From = append(self.From, strings.TrimSuffix(s.Name+"@"+s.Version, "@"))
			}
		}
		self.To[1] = fmt.Sprint(len(own) - len(self.From))
		results[i].Self, results[i].Patch = self, patchOf(r.File.Path, append(slices.Clone(r.Edits), *self))
	}
	return results, err
}

func newSelfWorld(n named) *world {
	w := newWorld()
	w.editor = &selfEditor{named: n}
	w.symbols = func(requests []SymbolsRequest) ([]Symbols, error) {
		var list []Symbols
		for _, r := range requests {
			name := r.Path
			if r.File != nil {
				name = r.File.Path
			}
			exports, own := n.symbols(name)
			if w.unreadable != "" && path.Base(name) == w.unreadable {
				list = append(list, Symbols{Unread: name + " is damaged; run hashpkg verify --repair"})
				continue
			}
			s := Symbols{Exports: SymbolsOf(exports)}
			if r.Own {
				s.Own = SymbolsOf(own)
			}
			list = append(list, s)
		}
		return list, nil
	}
	return w
}

func lib(name string, needs ...string) *record.Manifest {
	requires, needed := []string{"libc6"}, []string{"libc.so.6"}
	for _, n := range needs {
		requires, needed = append(requires, n), append(needed, n+".so.1")
	}
	m := pkg(name, "1", requires, facts{path: libDir + name + ".so.1", soname: name + ".so.1", needed: needed})
	m.Binding.Prelocate = record.PrelocateOn
	return m
}

func prog(name string, needs ...string) *record.Manifest {
	m := lib(name, needs...)
	m.Files[0] = facts{path: "usr/bin/" + name, needed: m.Files[0].ELF.Needed, opens: true}.file()
	m.Index()
	return m
}

// left returns, by tree, which symbols of their own the libraries of a plan's trees are not bound to.
func left(plan *Plan) (list []string) {
	for _, t := range plan.Trees {
		for i := range t.Manifest.Files {
			if r := self(&t.Manifest.Files[i]); r != nil {
				list = append(list, fmt.Sprintf("%s: %s not %v", t.Name, r.To[1], r.From))
			}
		}
	}
	return list
}

func TestWhatIsBoundIsExclusive(t *testing.T) {
	for _, tt := range []struct {
		name    string
		symbols named
		before  []*record.Manifest
		want    string
	}{
		{"nothing else", named{"liba.so.1": "+a +b c"}, nil, "liba: 2 not []"},
		{"a program", named{"liba.so.1": "+a +b", "prog": "b"}, nil, "liba: 1 not [b]"},
		{"a library of the command", named{"liba.so.1": "+a +b", "libz.so.1": "a"}, nil, "liba: 1 not [a]"},
		{"one that was there", named{"liba.so.1": "+a +b", "libold.so.1": "a"}, []*record.Manifest{lib("libold")}, "liba: 1 not [a]"},
		{"another version", named{"liba.so.1": "+a@1 +b@1", "libz.so.1": "a@2 b@1"}, nil, "liba: 1 not [b@1]"},
		{"one has no version", named{"liba.so.1": "+a@1 +b", "libz.so.1": "a b@1"}, nil, "liba: 0 not [a@1 b]"},
		{"the C library", named{"liba.so.1": "+a +b", "libc.so.6": "a"}, nil, "liba: 1 not [a]"},
		{"the C library, in another version", named{"liba.so.1": "+a@1 +b@1", "libc.so.6": "a@2"}, nil, "liba: 1 not [a@1]"},
		{"a program's own", named{"prog": "+a +b", "libz.so.1": "a b"}, nil, "prog: 2 not []"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newSelfWorld(tt.symbols)
			w.installAll(t, append(tt.before, libc("2.36"))...)
			plan := w.install(t, func() []*record.Manifest {
				return []*record.Manifest{lib("liba"), lib("libz"), prog("prog", "liba")}
			})
			if diff := cmp.Diff([]string{tt.want}, left(plan)); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

// TestRivalsAreRecorded has the record say because of whom symbols are left out: of one that several
// files answer, the first.
func TestRivalsAreRecorded(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b +c +d@1 +e", "libold.so.1": "a b", "libz.so.1": "b d@1 c", "libc.so.6": "c", "prog": "c"})
	w.installAll(t, libc("2.36"), lib("libold"))
	plan := w.install(t, func() []*record.Manifest { return []*record.Manifest{lib("liba"), lib("libz"), prog("prog", "liba")} })
	i := slices.IndexFunc(plan.Trees, func(p PlannedTree) bool { return p.Name == "liba" })
	want := []record.Rival{{Provider: "libz=1", Path: libDir + "libz.so.1", Symbols: 3}, {Provider: "libold=1", Path: libDir + "libold.so.1", Symbols: 1}}
	f := &plan.Trees[i].Manifest.Files[0]
	if diff := cmp.Diff(&record.SelfBound{Bound: 1, Left: 4, Rivals: want}, f.SelfBound()); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestLibrariesOfTheRootTake has a program that runs on the root's C library.
func TestLibrariesOfTheRootTake(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b", "libm.so.6": "b", "libc.so.6": "c"})
	w.addSystem(libc("2.36"))
	a := pkg("liba", "1", nil, facts{path: libDir + "liba.so.1", soname: "liba.so.1", needed: []string{"libm.so.6", "libc.so.6"}})
	a.Binding.Prelocate = record.PrelocateOn
	plan := w.plan(t, a)
	if diff := cmp.Diff([]string{"liba: 1 not [b]"}, left(plan)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if r := self(&plan.Trees[0].Manifest.Files[0]).Rivals; len(r) != 1 || r[0].Provider != "" || path.Base(r[0].Path) != "libm.so.6" || r[0].Symbols != 1 {
		t.Errorf("the rivals are %+v", r)
	}

	first := pkg("liba", "1", nil, facts{path: libDir + "liba.so.1", soname: "liba.so.1", needed: []string{"libc.so.6"}})
	first.Binding.Prelocate = record.PrelocateOn
	w.installAll(t, first)
	later := w.plan(t, pkg("prog", "1", []string{"liba"}, facts{path: "usr/bin/prog", needed: []string{"libm.so.6", "liba.so.1", "libc.so.6"}}))
	if diff := cmp.Diff([]string{"liba: 1 not [b]"}, left(later)); diff != "" {
		t.Errorf("later: (-want +have)\n%s", diff)
	}
}

// TestAnotherVersionIsNoRival has two versions of a library, of which one is in a process.
func TestAnotherVersionIsNoRival(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a"})
	w.installAll(t, libc("2.36"), lib("liba"), prog("prog", "liba"))
	second := lib("liba")
	second.Version, second.Package.Digest[0] = "2", second.Package.Digest[0]+1
	plan := w.plan(t, second)
	if diff := cmp.Diff([]string{"liba: 1 not []"}, left(plan)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// bindings returns where the programs of a plan's trees find libraries.
func bindings(plan *Plan, name string) (list []string) {
	for _, t := range plan.Trees {
		for i := range t.Manifest.Files {
			for _, n := range t.Manifest.Files[i].Needs {
				if t.Name == name && !strings.Contains(n.Path, "/libc6/") {
					parts := strings.Split(n.Path, "/")
					list = append(list, parts[3]+" "+map[bool]string{true: "another", false: "the first"}[strings.Contains(parts[4], "@")])
				}
			}
		}
	}
	return list
}

// TestARivalGetsAnotherTree has packages come one after another.
func TestARivalGetsAnotherTree(t *testing.T) {
	symbols := named{"liba.so.1": "+a +b", "rival": "b", "librival.so.1": "a"}
	for _, tt := range []struct {
		name  string
		later []*record.Manifest
		trees string // of the plan
		left  string
		binds string
	}{
		{"a program that answers", []*record.Manifest{prog("rival", "libmid", "liba")}, "liba@ rival", "liba: 1 not [b]", "libmid the first, liba another"},
		{"one that is not prelocated", []*record.Manifest{plainly(prog("rival", "libmid", "liba"))}, "liba@ rival", "liba: 1 not [b]", "libmid the first, liba another"},
		{"one that loads it later only", []*record.Manifest{alsoNeeds(prog("rival"), "libmid")}, "liba@ libmid@ rival", "liba: 1 not [b]", ""},
		{"one that searches", []*record.Manifest{searches(prog("rival", "libmid"))}, "liba@ libmid@ rival", "liba: 1 not [b]", "libmid another, liba another"},
		{"one that does not load it", []*record.Manifest{prog("rival")}, "rival", "", ""},
		{"a library that answers, and nobody loads both", []*record.Manifest{lib("librival")}, "librival", "", ""},
		{"somebody does", []*record.Manifest{lib("librival"), prog("user", "librival", "libmid")}, "liba@ librival user", "liba: 1 not [a]", ""},
		{"nobody answers", []*record.Manifest{prog("other", "libmid")}, "other", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newSelfWorld(symbols)
			w.linkages = kept{} // of which TestKnownTreesAreNotRead has none be read
			first := w.install(t, func() []*record.Manifest {
				return []*record.Manifest{libc("2.36"), lib("liba"), lib("libmid", "liba"), prog("prog", "libmid")}
			})
			before := treeOf(t, first, "liba").Identity
			plan := w.install(t, func() []*record.Manifest { return clones(tt.later) })
			var trees []string
			for _, planned := range plan.Trees {
				name := planned.Name
				if strings.Contains(planned.Tree, "@") {
					name += "@"
				}
				trees = append(trees, name)
				if planned.Anew != strings.Contains(planned.Tree, "@") {
					t.Errorf("%s is anew: %v", name, planned.Anew)
				}
				if planned.Anew && planned.Default {
					t.Errorf("%s is the default", name)
				}
				if planned.Name == "liba" && planned.Identity != before {
					t.Errorf("what is bound makes another identity")
				}
			}
			if have := strings.Join(trees, " "); have != tt.trees {
				t.Errorf("trees are %s, not %s", have, tt.trees)
			}
			if have := strings.Join(left(plan), ", "); have != tt.left {
				t.Errorf("bound is %s, not %s", have, tt.left)
			}
			if have := strings.Join(bindings(plan, "rival"), ", "); have != tt.binds {
				t.Errorf("bound to %s, not %s", have, tt.binds)
			}
			if have := w.manifests[layout.TreePath("prog", "1")]; have == nil || !slices.ContainsFunc(w.generation.Trees, func(t record.Tree) bool { return t.Path() == "liba/1" }) {
				t.Error("what was there is gone")
			}
		})
	}
}

func clones(list []*record.Manifest) (copies []*record.Manifest) {
	for _, m := range list {
		m = m.Clone()
		m.Index()
		copies = append(copies, m)
	}
	return copies
}

func plainly(m *record.Manifest) *record.Manifest {
	m.Binding.Prelocate = ""
	return m
}

func searches(m *record.Manifest) *record.Manifest {
	m.Binding.Bind = record.BindRunPath
	return m
}

// alsoNeeds has a package depend on another one of which it lists nothing.
func alsoNeeds(m *record.Manifest, name string) *record.Manifest {
	m.Requires = append(m.Requires, pkg("x", "1", []string{name}).Requires...)
	return m
}

// TestWhoComesAfterARivalIsBoundToLess has the rival come first: there is one tree.
func TestWhoComesAfterARivalIsBoundToLess(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b", "rival": "b"})
	w.installAll(t, libc("2.36"), prog("rival"))
	w.install(t, func() []*record.Manifest { return []*record.Manifest{lib("liba"), prog("prog", "liba")} })
	plan := w.plan(t, alsoNeeds(prog("third", "liba"), "rival"))
	if len(plan.Trees) != 1 || plan.Trees[0].Name != "third" {
		t.Errorf("planned are %+v", plan.Trees)
	}
}

// TestABetterFittingTreeIsTaken has a third package take the tree that was made for the second, and
// the first keep what it has.
func TestABetterFittingTreeIsTaken(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b", "rival": "b", "other": "b"})
	w.installAll(t, libc("2.36"), lib("liba"), prog("prog", "liba"))
	second := w.install(t, func() []*record.Manifest { return []*record.Manifest{prog("rival", "liba")} })
	third := w.install(t, func() []*record.Manifest { return []*record.Manifest{prog("other", "liba")} })
	if a, b := bindings(second, "rival"), bindings(third, "other"); !slices.Equal(a, b) || a[0] != "liba another" {
		t.Errorf("the second is bound to %v, the third to %v", a, b)
	}
	if n := len(slices.DeleteFunc(paths(w.generation), func(p string) bool { return !strings.HasPrefix(p, "liba/") })); n != 2 {
		t.Errorf("there are %d trees of liba", n)
	}
}

// TestTwoTreesClash has a third program for which both trees of a library are bound to too much.
func TestTwoTreesClash(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b +c", "one": "a", "two": "b"})
	w.installAll(t, libc("2.36"), lib("liba"), prog("prog", "liba"))
	w.install(t, func() []*record.Manifest { return []*record.Manifest{prog("one", "liba")} })
	third := w.install(t, func() []*record.Manifest { return []*record.Manifest{prog("two", "liba")} })
	if diff := cmp.Diff([]string{"liba: 1 not [a b]"}, left(third)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestOnePackageOfTwoTreesIsTaken has both trees of a library clash in one process: its package is
// planned once.
func TestOnePackageOfTwoTreesIsTaken(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b +c", "one": "a", "two": "b"})
	w.installAll(t, libc("2.36"), lib("liba"), prog("prog", "liba"))
	w.installAll(t, prog("one", "liba"))
	plan := w.plan(t, searches(alsoNeeds(prog("two", "liba"), "one")))
	if have := strings.Join(left(plan), ", "); !strings.HasPrefix(have, "liba: 1 not [a b]") || strings.Count(have, "liba") != 1 {
		t.Errorf("bound is %s", have)
	}
}

// TestPrelocatedTreesStay has packages installed again, of which nothing is edited then.
func TestPrelocatedTreesStay(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b", "prog": "+p"})
	w.installAll(t, libc("2.36"), lib("liba"), prog("prog", "liba"))
	editor := &selfEditor{named: named{}}
	w.editor = editor
	plan := w.plan(t, lib("liba"), prog("prog", "liba"))
	if plan.Generation != nil || len(editor.asked) > 0 {
		t.Errorf("edited again are %q", editor.asked)
	}
	if diff := cmp.Diff([]string{"liba: 2 not []", "prog: 1 not []"}, left(plan)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestARebindTakesAnotherTree has a program that is bound anew to a library which answers what
// another one, that stays, is bound to.
func TestARebindTakesAnotherTree(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b", "libonig.so.5.6.10": "b"})
	of := func() *record.Manifest {
		m := pkg("prog", "1", []string{"liba", "libonig5", "libc6"}, facts{path: "usr/bin/prog", needed: []string{"libonig.so.5", "liba.so.1", "libc.so.6"}})
		m.Binding.Prelocate = record.PrelocateOn
		return m
	}
	w.installAll(t, libc("2.36"), onig("6.9"), lib("liba"), of())
	w.installAll(t, onig("6.10"))
	plan, _ := w.rebind(t, "prog")
	var trees []string
	for _, planned := range plan.Trees {
		trees = append(trees, planned.Name)
	}
	slices.Sort(trees)
	if have := strings.Join(trees, " "); have != "liba prog" {
		t.Fatalf("bound anew are %s", have)
	}
	if have := strings.Join(left(plan), ", "); have != "liba: 1 not [b]" {
		t.Errorf("bound is %s", have)
	}
}

// TestARebindLeavesWhatNeedsABrokenTree has a program that cannot be bound anew without another
// tree of a package that is broken, whether or not that one is to be bound anew as well: both stay, and the
// others are bound anew.
func TestARebindLeavesWhatNeedsABrokenTree(t *testing.T) {
	for _, tt := range []struct {
		ask        []string
		left, said []string
	}{
		{nil, []string{"liba/1", "prog/1"}, []string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}},
		{[]string{"prog", "tool"}, []string{"prog/1"}, []string{"tool 1: libonig.so.5 from libonig5=6.9 -> libonig5=6.10"}},
		{[]string{"prog"}, []string{"prog/1"}, []string{}},
	} {
		w := newSelfWorld(named{"liba.so.1": "+a +b", "libonig.so.5.6.10": "b"})
		w.addSystem(pkg("root", "1", nil, facts{path: libDir + "libgone.so.1", soname: "libgone.so.1", needed: []string{"libc.so.6"}}))
		of := pkg("prog", "1", []string{"liba", "libonig5", "libc6"}, facts{path: "usr/bin/prog", needed: []string{"libonig.so.5", "liba.so.1", "libc.so.6"}})
		of.Binding.Prelocate = record.PrelocateOn
		a := lib("liba")
		a.Files = append(a.Files, facts{path: "usr/bin/broken", needed: []string{"libgone.so.1", "libonig.so.5", "libc.so.6"}}.file())
		a.Requires = append(a.Requires, pkg("x", "1", []string{"libonig5"}).Requires...)
		a.Index()
		w.installAll(t, libc("2.36"), onig("6.9"), a, of, tool("1"))
		w.installAll(t, onig("6.10"))
		delete(w.system, "libgone.so.1")
		plan, said := w.rebind(t, tt.ask...)
		var left []string
		for _, l := range plan.Left {
			left = append(left, l.Tree)
			if !strings.Contains(l.Why, "libgone.so.1") {
				t.Errorf("it is not said why: %s", l.Why)
			}
		}
		slices.Sort(left)
		if diff := cmp.Diff(tt.left, left); diff != "" {
			t.Errorf("%q: left (-want +have)\n%s", tt.ask, diff)
		}
		if diff := cmp.Diff(tt.said, said); diff != "" {
			t.Errorf("%q: bound anew (-want +have)\n%s", tt.ask, diff)
		}
		if len(tt.said) > 0 {
			w.take(t, plan)
		}
	}
}

// TestATreeThatWasRemovedClashes has a library search a tree that the generation has not any more, and
// a program come that answers what is bound there. One that lists another tree of that library never
// loads it.
func TestATreeThatWasRemovedClashes(t *testing.T) {
	for _, tt := range []struct {
		rival *record.Manifest
		want  string
	}{
		{searches(prog("rival", "libmid")), "libmid rival"},
		{prog("rival", "libmid"), "rival"},
		{searches(prog("harmless", "libmid")), "harmless"},
	} {
		w := newSelfWorld(named{"liba.so.1": "+a +b", "libmid.so.1": "+m", "rival": "a"})
		w.installAll(t, libc("2.36"), lib("liba"), lib("libmid", "liba"), prog("prog", "libmid"))
		w.generation.Remove(func(t *record.Tree) bool { return t.Name == "liba" })
		second := lib("liba")
		second.Version = "2"
		w.installAll(t, second)
		plan := w.plan(t, tt.rival)
		var trees []string
		for _, planned := range plan.Trees {
			trees = append(trees, planned.Name)
		}
		slices.Sort(trees)
		// The new tree of libmid searches the second liba, which gets another tree as well.
		if have := strings.Join(slices.DeleteFunc(trees, func(name string) bool { return name == "liba" }), " "); have != tt.want {
			t.Errorf("%s: planned are %s, not %s", tt.rival.Name, have, tt.want)
		}
	}
}

// TestATreeThatWasRemovedAnswers has a tree that the generation has not any more answer what a
// library of a new tree, or of one that is there, could be bound to.
func TestATreeThatWasRemovedAnswers(t *testing.T) {
	before := func(first ...*record.Manifest) *world {
		w := newSelfWorld(named{"liba.so.1": "+a +b", "libold.so.1": "a"})
		w.installAll(t, append(first, libc("2.36"))...)
		w.installAll(t, lib("libold"), lib("libmid", "libold"))
		w.generation.Remove(func(t *record.Tree) bool { return t.Name == "libold" })
		w.installAll(t, pkg("libold", "2", []string{"libc6"}, facts{path: libDir + "libnew.so.1", soname: "libold.so.1", needed: []string{"libc.so.6"}}))
		return w
	}
	if diff := cmp.Diff([]string{"liba: 1 not [a]"}, left(before().plan(t, lib("liba")))); diff != "" {
		t.Errorf("a new tree: (-want +have)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"liba: 1 not [a]"}, left(before(lib("liba")).plan(t, prog("both", "liba", "libmid")))); diff != "" {
		t.Errorf("one that is there: (-want +have)\n%s", diff)
	}
}

// TestOthersDoNotPay has roots without prelocated trees: nobody is asked for symbols.
func TestOthersDoNotPay(t *testing.T) {
	w := newWorld()
	w.editor = &selfEditor{}
	w.symbols = func([]SymbolsRequest) ([]Symbols, error) {
		t.Error("symbols are read")
		return nil, nil
	}
	w.install(t, four)
}
