package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// kept keeps linkages, and goes through their file each time.
type kept map[digest.Digest][]byte

func (k kept) Find(identity digest.Digest) *record.Linkage {
	if b, ok := k[identity]; ok {
		list, err := record.DecodeLinkages(b)
		if err != nil {
			panic(err)
		}
		return list[0]
	}
	return nil
}

func (k kept) Add(l *record.Linkage) { k[l.Identity] = record.EncodeLinkages([]*record.Linkage{l}) }

// TestKnownTreesAreNotRead has what is known of installed trees serve in place of their files, and where nothing
// leads to or from them, of their manifests.
func TestKnownTreesAreNotRead(t *testing.T) {
	w := newSelfWorld(named{"liba.so.1": "+a +b", "rival": "b", "alone": "+c", "libalone.so.1": "+b +d"})
	w.linkages = kept{}
	w.installAll(t, libc("2.36"), lib("liba"), lib("libmid", "liba"), prog("prog", "libmid"))
	symbols := w.symbols
	w.symbols = func(requests []SymbolsRequest) ([]Symbols, error) {
		for _, r := range requests {
			if r.Installed {
				t.Errorf("%s is read", r.File.Path)
			}
		}
		return symbols(requests)
	}
	plan := w.install(t, func() []*record.Manifest { return []*record.Manifest{prog("rival", "libmid", "liba")} })
	if diff := cmp.Diff([]string{"liba: 1 not [b]"}, left(plan)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}

	w.change = func(in *Input) {
		in.Installed = func(tree *record.Tree) (*record.Manifest, error) {
			t.Errorf("the manifest of %s is read", tree.Path())
			return w.manifests[tree.Path()], nil
		}
	}
	alone := pkg("libalone", "1", nil, facts{path: libDir + "libalone.so.1", soname: "libalone.so.1"})
	alone.Binding.Prelocate = record.PrelocateOn
	if diff := cmp.Diff([]string{"libalone: 1 not [b]"}, left(w.plan(t, alone))); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestWhatCannotBeReadAnswersAll has a tree of which an object is damaged, or the manifest, and a library of the root.
func TestWhatCannotBeReadAnswersAll(t *testing.T) {
	for _, tt := range []struct {
		name  string
		known bool
		spoil func(w *world)
		want  string
	}{
		{"nothing", false, func(*world) {}, "liba: 2 not [], prog: 1 not []"},
		{"an object", false, func(w *world) { w.unreadable = "libold.so.1" }, "liba: 0 not [a b], prog: 1 not []"},
		{"an object that is known", true, func(w *world) { w.unreadable = "libold.so.1" }, "liba: 2 not [], prog: 1 not []"},
		{"a manifest", false, func(w *world) { delete(w.manifests, "libold/1") }, "liba: 0 not [a b], prog: 1 not []"},
		{"a manifest that is known", true, func(w *world) { delete(w.manifests, "libold/1") }, "liba: 2 not [], prog: 1 not []"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newSelfWorld(named{"liba.so.1": "+a +b", "prog": "+p", "libold.so.1": "old"})
			if tt.known {
				w.linkages = kept{}
			}
			w.installAll(t, libc("2.36"), lib("libold"))
			tt.spoil(w)
			plan := w.plan(t, lib("liba"), prog("prog", "liba"))
			if have := strings.Join(left(plan), ", "); have != tt.want {
				t.Errorf("bound is %s, not %s", have, tt.want)
			}
			warned := strings.Contains(strings.Join(plan.Warnings, "\n"), "hashpkg verify --repair")
			if want := !strings.Contains(tt.want, "liba: 2"); warned != want {
				t.Errorf("warned is %q", plan.Warnings)
			}
		})
	}
}

// TestWhatIsBoundMeetsWhatCannotBeRead has libraries that are bound to themselves when something is damaged.
func TestWhatIsBoundMeetsWhatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		known bool
		spoil func(w *world)
		trees string
	}{
		{"an object of a tree that nobody brings together with it", false, func(w *world) { w.unreadable = "libold.so.1" }, "third"},
		{"an object of a tree that comes into the process", false, func(w *world) { w.unreadable = "libnear.so.1" }, "liba@ third"},
		{"the same, known", true, func(w *world) { w.unreadable = "libnear.so.1" }, "third"},
		{"a manifest: that tree may load what comes", false, func(w *world) { delete(w.manifests, "libold/1") }, "liba@ third"},
		{"the same, known", true, func(w *world) { delete(w.manifests, "libold/1") }, "third"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newSelfWorld(named{"liba.so.1": "+a +b"})
			if tt.known {
				w.linkages = kept{}
			}
			w.installAll(t, libc("2.36"), lib("libold"), lib("libnear"), lib("liba"), prog("prog", "liba"))
			tt.spoil(w)
			plan := w.plan(t, prog("third", "liba", "libnear"))
			var trees []string
			for _, planned := range plan.Trees {
				trees = append(trees, planned.Name+map[bool]string{true: "@"}[planned.Anew])
			}
			if have := strings.Join(trees, " "); have != tt.trees {
				t.Errorf("trees are %s, not %s", have, tt.trees)
			}
			if have := strings.Join(left(plan), ", "); strings.Contains(tt.trees, "liba@") != (have == "liba: 0 not [a b]") {
				t.Errorf("bound is %s", have)
			}
		})
	}
}

// TestALostTreeStaysAtARebind has a tree stay of which the manifest is lost: libraries that are bound anew are
// bound to nothing that it may answer.
func TestALostTreeStaysAtARebind(t *testing.T) {
	for _, known := range []bool{true, false} {
		w := newSelfWorld(named{"libplugin.so.1": "b"})
		if known {
			w.linkages = kept{}
		}
		w.installAll(t, libc("2.36"), onig("6.9"), lib("libplugin"))
		user := lib("liba")
		user.Requires = append(user.Requires, pkg("x", "1", []string{"libonig5"}).Requires...)
		user.Files[0].ELF.Needed = append(user.Files[0].ELF.Needed, "libonig.so.5")
		w.installAll(t, user)
		w.installAll(t, onig("6.10"))
		again := newSelfWorld(named{"liba.so.1": "+a +b", "libplugin.so.1": "b"})
		w.editor, w.symbols = again.editor, again.symbols
		if known {
			delete(w.linkages, w.manifests["liba/1"].Identity) // which had other symbols
		}
		lost := w.manifests["libplugin/1"]
		delete(w.manifests, layout.TreePath(lost.Name, lost.Tree))
		w.lost = []string{"libplugin/1"}
		plan, _ := w.rebind(t, "liba")
		if !slices.ContainsFunc(plan.Trees, func(planned PlannedTree) bool { return planned.Name == "liba" }) {
			t.Fatalf("liba is not bound anew: %+v", plan)
		}
		want := "liba: 1 not [b]"
		if !known {
			want = "liba: 0 not [a b]"
		}
		if have := strings.Join(left(plan), ", "); have != want {
			t.Errorf("bound is %q, not %q", have, want)
		}
	}
}
