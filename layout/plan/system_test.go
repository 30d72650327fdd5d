package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
)

// systemPkg returns the draft of a package as a sync has it.
func systemPkg(m *record.Manifest, shared string) *record.Manifest {
	m.Origin, m.Requires, m.Package = record.OriginSystem, nil, record.PackageFile{}
	for i := range m.Files {
		m.Files[i].Shared = shared
	}
	return m
}

// syncer plays a package manager and the store: it plans, and remembers what is on
// disk then.
type syncer struct {
	disk       map[string][]*record.Manifest
	generation *record.Generation
	installed  map[string]bool // trees whose packages stay as they are
	elsewhere  map[string]bool // places at which the loader does not look first
}

func (s *syncer) sync(t *testing.T, packages ...*record.Manifest) *SystemPlan {
	t.Helper()
	plan, err := MakeSystem(SystemInput{
		Generation: s.generation, ToRoot: "../..", Packages: packages,
		Stays:    func(t *record.Tree) bool { return s.installed[t.Path()] },
		Occupied: func(name string) ([]*record.Manifest, error) { return s.disk[name], nil },
		Loads:    func(t *record.Tree, link string) bool { return !s.elsewhere[t.Places[link]] },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan.Trees {
		if !p.Present {
			s.disk[p.Name] = append(s.disk[p.Name], p.Manifest)
		}
	}
	if plan.Generation != nil {
		s.generation = plan.Generation
	}
	return plan
}

func newSyncer(trees ...record.Tree) *syncer {
	return &syncer{disk: map[string][]*record.Manifest{}, generation: newGeneration(trees...), installed: map[string]bool{}, elsewhere: map[string]bool{}}
}

func farmOf(g *record.Generation) map[string]string {
	links := map[string]string{}
	for _, l := range farm.Links(g) {
		links[l.Path] = l.Target
	}
	return links
}

func TestSystemFarm(t *testing.T) {
	s := newSyncer(tree("beside", "1", "bin/tool", "lib64/libonig.so.5", "lib64/libown.so.1"))
	s.sync(t, systemPkg(onig("6.9"), record.SharedLink), systemPkg(libc("2.36"), record.SharedLink))
	got := farmOf(s.generation)
	if paths := farm.Paths(s.generation); len(paths) != len(got) {
		t.Errorf("the farm's paths are %v, and its links %v", paths, got)
	}
	for path, want := range map[string]string{
		"lib64/libonig.so.5": "../../../../../../usr/lib/x86_64-linux-gnu/libonig.so.5",
		"bin/tool":           "../../../../beside/1/bin/tool",
		"default/libonig5":   "../../../../libonig5/6.9",
		"lib64/libc.so.6":    "", // the loader family is in no farm
		"lib64/libown.so.1":  "", // and what was installed beside the system in no program's way
	} {
		if got[path] != want {
			t.Errorf("%s leads to %q, want %q", path, got[path], want)
		}
	}
	s.generation.Trees = slices.DeleteFunc(s.generation.Trees, func(t record.Tree) bool { return t.Origin == record.OriginSystem })
	got = farmOf(s.generation)
	if got["lib64/libonig.so.5"] != "../../../../beside/1/lib64/libonig.so.5" {
		t.Errorf("without system trees the farm is %v", got)
	}
}

// What the loader finds elsewhere, such as in /usr/local/lib, is not in the farm.
func TestSystemFarmFollowsTheLoader(t *testing.T) {
	s := newSyncer()
	s.elsewhere["/usr/lib/x86_64-linux-gnu/libonig.so.5"] = true
	s.sync(t, systemPkg(onig("6.9"), record.SharedLink))
	if l := farmOf(s.generation)["lib64/libonig.so.5"]; l != "" {
		t.Errorf("the farm has it: %s", l)
	}
	s.installed["libonig5/6.9"] = true
	s.elsewhere = map[string]bool{}
	if plan := s.sync(t); plan.Generation == nil {
		t.Error("that the loader finds it now changes nothing")
	}
	if l := farmOf(s.generation)["lib64/libonig.so.5"]; l == "" {
		t.Error("the farm does not have it")
	}
}

// A library that asks where it was found is in no farm, and neither are its builds for
// certain processors; those beside it are.
func TestSystemFarmWithoutAskers(t *testing.T) {
	const v3 = libDir + "glibc-hwcaps/x86-64-v3/"
	s := newSyncer()
	s.sync(t, systemPkg(pkg("libs", "1", nil,
		facts{path: libDir + "libplain.so.1", soname: "libplain.so.1"},
		facts{path: v3 + "libplain.so.1", soname: "libplain.so.1"},
		facts{path: libDir + "libasks.so.1", soname: "libasks.so.1", asks: true},
		facts{path: v3 + "libasks.so.1", soname: "libasks.so.1"},
		facts{path: libDir + "libfast.so.1", soname: "libfast.so.1"},
		facts{path: v3 + "libfast.so.1", soname: "libfast.so.1", asks: true},
	), record.SharedLink))
	check := func(what string) {
		t.Helper()
		tree := s.generation.Trees[0]
		if want := []string{"lib64/glibc-hwcaps/x86-64-v3/libplain.so.1", "lib64/libplain.so.1"}; !slices.Equal(tree.Links, want) {
			t.Errorf("%s: the farm has %q, want %q", what, tree.Links, want)
		}
		want := []string{"lib64/glibc-hwcaps/x86-64-v3/libasks.so.1", "lib64/glibc-hwcaps/x86-64-v3/libfast.so.1", "lib64/libasks.so.1", "lib64/libfast.so.1"}
		if !slices.Equal(tree.AskWhere, want) || len(tree.Places) != 6 {
			t.Errorf("%s: %q ask where they are, want %q, of %v", what, tree.AskWhere, want, tree.Places)
		}
	}
	check("a first sync")
	s.installed["libs/1"] = true
	s.elsewhere["/"+libDir+"libnone.so.1"] = true
	s.sync(t)
	check("a sync of what stays")
}

func TestSystemGenerations(t *testing.T) {
	s := newSyncer(tree("beside", "1"))
	specs := func() string {
		var out []string
		for i := range s.generation.Trees {
			out = append(out, s.generation.Trees[i].Path())
		}
		return strings.Join(out, " ")
	}
	check := func(what string, plan *SystemPlan, want string, gone ...string) {
		t.Helper()
		if got := specs(); got != want {
			t.Errorf("%s: the generation has %s, want %s", what, got, want)
		}
		if !slices.Equal(plan.Gone, gone) {
			t.Errorf("%s: gone are %q, want %q", what, plan.Gone, gone)
		}
	}
	check("first", s.sync(t, systemPkg(onig("6.9"), record.SharedLink)), "beside/1 libonig5/6.9")
	s.installed["libonig5/6.9"] = true
	if plan := s.sync(t); plan.Generation != nil {
		t.Error("a sync with nothing new makes a generation")
	}
	if plan := s.sync(t, systemPkg(onig("6.9"), record.SharedLink)); plan.Generation != nil || !plan.Trees[0].Present {
		t.Error("the same package again makes a generation")
	}
	s.installed = map[string]bool{}
	check("upgraded", s.sync(t, systemPkg(onig("6.10"), record.SharedLink)), "beside/1 libonig5/6.10", "libonig5=6.9")
	check("downgraded", s.sync(t, systemPkg(onig("6.9"), record.SharedLink)), "beside/1 libonig5/6.9", "libonig5=6.10")
	rebuilt := systemPkg(onig("6.9"), record.SharedLink)
	rebuilt.Files[0].Object = digest.Of([]byte("other bytes"))
	plan := s.sync(t, rebuilt)
	check("rebuilt", plan, "beside/1 libonig5/6.9@"+plan.Trees[0].Identity.Short(), "libonig5=6.9")
	check("removed", s.sync(t), "beside/1", "libonig5=6.9")
}

// The drafts that a sync has made stay as they were; the plan has the manifests.
func TestSystemPlanLeavesItsInput(t *testing.T) {
	s := newSyncer()
	s.sync(t, systemPkg(onig("6.9"), record.SharedLink))
	before, draft := systemPkg(onig("6.9"), record.SharedLink), systemPkg(onig("6.9"), record.SharedLink)
	before.Files[0].Object, draft.Files[0].Object = digest.Of([]byte("rebuilt")), digest.Of([]byte("rebuilt"))
	planned := s.sync(t, draft).Trees[0]
	if diff := cmp.Diff(before, draft, cmpopts.IgnoreUnexported(record.Manifest{})); diff != "" {
		t.Errorf("the draft is another one (-before +after):\n%s", diff)
	}
	m := planned.Manifest
	if m.Tree != planned.Tree || m.Identity != planned.Identity || m.Identity.IsZero() || m.Package.Digest.IsZero() || len(m.Links) == 0 {
		t.Errorf("the plan's manifest lacks something: %+v", m)
	}
}

func TestSystemTreesAnswerNoPrivateProgram(t *testing.T) {
	w := newWorld()
	s := newSyncer()
	s.generation = w.generation
	s.sync(t, systemPkg(libjq("1.6"), record.SharedLink), systemPkg(onig("6.9"), record.SharedLink), systemPkg(libc("2.36", "GLIBC_2.34"), record.SharedLink))
	w.generation = s.generation
	plan, err := Make(Input{
		Prefix: layout.DefaultPrefix, Generation: w.generation, Command: []*record.Manifest{jq("1.6", "GLIBC_2.34")},
		Installed: func(tree *record.Tree) (*record.Manifest, error) {
			t.Errorf("the tree %s is looked at", tree.Path())
			return s.disk[tree.Name][0], nil
		},
		Occupied: func(string) ([]*record.Manifest, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Problems) == 0 {
		t.Error("jq is bound to what the package manager may replace")
	}
}

func TestIndexHasSystemTrees(t *testing.T) {
	s := newSyncer(tree("beside", "1"))
	s.sync(t, systemPkg(onig("6.9"), record.SharedCopy))
	text, err := s.generation.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := record.DecodeIndex(s.generation.EncodeIndex(text), text)
	if err != nil {
		t.Fatal(err)
	}
	if !record.SameTrees(got, s.generation) || got.ToRoot != "../.." || got.Trees[1].Places["lib64/libonig.so.5"] == "" {
		t.Errorf("the index holds %+v", got)
	}
}
