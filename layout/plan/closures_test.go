package plan

import (
	"debug/elf"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// tight returns jq with room for so many entries in its dynamic section.
func tight(room int) *record.Manifest {
	m := jq("1.6", "GLIBC_2.34")
	m.Files[0].ELF.DynamicRelRO, m.Files[0].ELF.DynamicRoom = true, room
	return m
}

// withOther adds a library that a package has, and that nothing needs.
func withOther(m *record.Manifest) *record.Manifest {
	m.Files = append(m.Files, facts{path: libDir + "libother.so.1", soname: "libother.so.1"}.file())
	m.Index()
	return m
}

func listOf(t *testing.T, plan *Plan, name, file string) record.EditRecord {
	t.Helper()
	for _, e := range edits(t, plan, name, file) {
		if e.Kind == record.EditNeeded {
			return e
		}
	}
	return record.EditRecord{}
}

// closureOf returns the closure object that a program's list has, and its place in it.
func closureOf(t *testing.T, plan *Plan, name, file string) (*record.File, int) {
	t.Helper()
	for at, n := range listOf(t, plan, name, file).To {
		for _, tree := range plan.Trees {
			inTree, ok := strings.CutPrefix(n, "/var/sys/"+tree.Name+"/"+tree.Tree+"/closures/")
			if !ok {
				continue
			}
			f := tree.Manifest.Lookup("closures/" + inTree)
			if f == nil {
				t.Fatalf("%s needs %s, which its tree does not have", file, n)
			}
			return f, at
		}
	}
	return nil, -1
}

// TestProgramWithoutRoom plans for programs whose dynamic section cannot hold the
// whole list: they list a closure object, which has it, and what they need themselves.
func TestProgramWithoutRoom(t *testing.T) {
	lib := func(tree, file string) string { return "/var/sys/" + tree + "/" + libDir + file }
	const object = "OBJECT"
	whole := []string{
		lib("libjq1/1.6", "libjq.so.1.0.4"), lib("libc6/2.36", "libc.so.6"), lib("libc6/2.36", "libm.so.6"), lib("libonig5/6.9", "libonig.so.5.6.9"),
		lib("libc6/2.36", "ld-linux-x86-64.so.2"), "libjq.so.1",
	}
	wholeFrom := []string{"libjq.so.1", "libc.so.6", "libm.so.6", "libonig.so.5", "ld-linux-x86-64.so.2", ""}
	change := func(room int, change func(*elfedit.Info)) *record.Manifest {
		m := tight(room)
		change(m.Files[0].ELF)
		return m
	}
	for _, tt := range []struct {
		name    string
		program *record.Manifest
		from    []string
		to      []string
	}{
		{"enough", tight(4), wholeFrom, whole},
		{"no RELRO", change(0, func(i *elfedit.Info) { i.DynamicRelRO = false }), wholeFrom, whole},
		{"too little by one", tight(3), slices.Concat([]string{""}, wholeFrom[:4]), slices.Concat([]string{object}, whole[:4])},
		{"for the object", tight(1), slices.Concat([]string{""}, wholeFrom[:2]), slices.Concat([]string{object}, whole[:2])},
		{"none", tight(0), wholeFrom, whole},
		{"none beside a search path", withOther(change(1, func(i *elfedit.Info) { i.ImportsOpen = true })), wholeFrom, whole},
		{
			"beside no search path, as all that could be opened is loaded", change(1, func(i *elfedit.Info) { i.ImportsOpen = true }),
			slices.Concat([]string{""}, wholeFrom[:2]), slices.Concat([]string{object}, whole[:2]),
		},
		{
			"of a search path that is there", change(1, func(i *elfedit.Info) { i.ImportsOpen, i.HasRunPath, i.RunPath = true, true, "/x" }),
			slices.Concat([]string{""}, wholeFrom[:2]), slices.Concat([]string{object}, whole[:2]),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			plan := w.install(t, func() []*record.Manifest {
				return []*record.Manifest{tt.program, libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
			})
			f, at := closureOf(t, plan, "jq", "usr/bin/jq")
			want := record.EditRecord{Kind: record.EditNeeded, From: tt.from, To: slices.Clone(tt.to)}
			if i := slices.Index(want.To, object); i >= 0 {
				if i != at {
					t.Fatalf("the object is at %d, want %d", at, i)
				}
				want.To[i] = "/var/sys/jq/1.6/" + f.Path
				if diff := cmp.Diff(whole, f.Closure.Needed); diff != "" {
					t.Errorf("the object (-want +have):\n%s", diff)
				}
				b, err := f.Closure.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				if d := digest.Of(b); f.Object != d || f.Source != d || f.Size != int64(len(b)) || path.Base(f.Path) != d.String()[:32]+".so" {
					t.Errorf("the object %s is recorded as %+v", d, f)
				}
			}
			if diff := cmp.Diff(want, listOf(t, plan, "jq", "usr/bin/jq")); diff != "" {
				t.Errorf("the list (-want +have):\n%s", diff)
			}
			for _, tree := range plan.Trees {
				if f := tree.Manifest.Lookup("usr/bin/jq"); f != nil && len(f.Needs) != 5 {
					t.Errorf("it is to load %+v, want five libraries", f.Needs)
				}
			}
		})
	}
}

// TestProgramThatSearches plans for programs with libraries of the root, which are listed by
// name. Where a program has a search path for what it may open, the names would be looked
// for there: they are left to a closure object, from the first on.
func TestProgramThatSearches(t *testing.T) {
	const object, loader, own = "OBJECT", "/lib64/ld-linux-x86-64.so.2", "/var/sys/libjq1/1.6/" + libDir + "libjq.so.1.0.4"
	for _, tt := range []struct {
		name    string
		program *record.Manifest
		needed  []string
		to      []string
		whole   []string // what the object needs
	}{
		{
			"nothing to open", jq("1.6", "GLIBC_2.34"),
			[]string{"libjq.so.1", "libc.so.6"},
			[]string{own, "libc.so.6", "libm.so.6", "libonig.so.5", loader, "libjq.so.1"},
			nil,
		},
		{
			"a path first", withOther(jq("1.6", "GLIBC_2.34")),
			[]string{"libjq.so.1", "libc.so.6"},
			[]string{object, own},
			[]string{own, "libc.so.6", "libm.so.6", "libonig.so.5", loader, "libjq.so.1"},
		},
		{
			"a name first", withOther(jq("1.6", "GLIBC_2.34")),
			[]string{"libc.so.6", "libjq.so.1"},
			[]string{object},
			[]string{"libc.so.6", own, loader, "libm.so.6", "libonig.so.5", "libjq.so.1"},
		},
		{
			"a sanitizer", withOther(jq("1.6", "GLIBC_2.34")),
			[]string{"libasan.so.8", "libc.so.6", "libjq.so.1"},
			[]string{"libasan.so.8", object},
			[]string{"libasan.so.8", "libc.so.6", own, loader, "libm.so.6", "libonig.so.5", "libjq.so.1"},
		},
		{
			"no room", withOther(tight(0)), []string{"libc.so.6", "libjq.so.1"}, // for the search path's own entry
			[]string{object}, []string{"libc.so.6", own, loader, "libm.so.6", "libonig.so.5", "libjq.so.1"},
		},
		{
			"no room for the object", withOther(tight(0)),
			[]string{"libjq.so.1"},
			[]string{own, "libm.so.6", "libonig.so.5", "libc.so.6", loader, "libjq.so.1"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.addSystem(libc("2.36", "GLIBC_2.34"), onig("6.9"), pkg("libasan8", "1", nil, facts{path: libDir + "libasan.so.8", soname: "libasan.so.8"}))
			info := tt.program.Files[0].ELF
			info.ImportsOpen, info.Needed = true, tt.needed
			plan := w.plan(t, tt.program, libjq("1.6"))
			have := listOf(t, plan, "jq", "usr/bin/jq").To
			f, at := closureOf(t, plan, "jq", "usr/bin/jq")
			var whole []string
			if f != nil {
				have = slices.Clone(have)
				have[at], whole = object, f.Closure.Needed
			}
			if diff := cmp.Diff(tt.to, have); diff != "" {
				t.Errorf("the list (-want +have):\n%s", diff)
			}
			if diff := cmp.Diff(tt.whole, whole); diff != "" {
				t.Errorf("the object (-want +have):\n%s", diff)
			}
		})
	}
}

// TestLibrariesOfTheRoot plans for programs with libraries of the root that need further ones. These have their place in the order
// by closure objects, and are not needed by the programs.
func TestLibrariesOfTheRoot(t *testing.T) {
	const loader, own = "/lib64/ld-linux-x86-64.so.2", "/var/sys/libjq1/1.6/" + libDir + "libjq.so.1.0.4"
	for _, tt := range []struct {
		name      string
		needed    []string
		want      []string
		auxiliary [][]string // of the objects that want has for "OBJECT", in turn
	}{
		{
			"between",
			[]string{"libfirst.so.1", "libjq.so.1"},
			[]string{"libfirst.so.1", own, "OBJECT", "libm.so.6", "libonig.so.5", "libc.so.6", loader, "libjq.so.1"},
			[][]string{{"libsecond.so.1", "libthird.so.1"}},
		},
		{
			"at two places",
			[]string{"libfirst.so.1", "libjq.so.1", "libdeep.so.1"},
			[]string{"libfirst.so.1", own, "libdeep.so.1", "OBJECT", "libm.so.6", "libonig.so.5", "libc.so.6", "OBJECT", loader, "libjq.so.1"},
			[][]string{{"libsecond.so.1", "libthird.so.1"}, {"libdeeper.so.1"}},
		},
		{
			"behind all others",
			[]string{"libjq.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libonig.so.5", "libdeep.so.1"},
			[]string{own, "libc.so.6", "libm.so.6", loader, "libonig.so.5", "libdeep.so.1", "libjq.so.1"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			lib := func(name string, needed ...string) facts {
				return facts{path: libDir + "lib" + name + ".so.1", soname: "lib" + name + ".so.1", needed: needed}
			}
			w.addSystem(libc("2.36", "GLIBC_2.34"), onig("6.9"), pkg("libs", "1", nil,
				lib("first", "libsecond.so.1", "libthird.so.1"), lib("second", "libc.so.6"), lib("third"), lib("deep", "libdeeper.so.1"), lib("deeper")))
			program := jq("1.6", "GLIBC_2.34")
			program.Files[0].ELF.Needed = tt.needed
			plan := w.plan(t, program, libjq("1.6"))
			have := slices.Clone(listOf(t, plan, "jq", "usr/bin/jq").To)
			var auxiliary [][]string
			for i, n := range have {
				if file, ok := strings.CutPrefix(n, "/var/sys/jq/1.6/closures/"); ok {
					f := plan.Trees[0].Manifest.Lookup("closures/" + file)
					if f == nil || f.Closure == nil || len(f.Closure.Needed) > 0 {
						t.Fatalf("%s is %+v, want an object with auxiliaries alone", n, f)
					}
					have[i], auxiliary = "OBJECT", append(auxiliary, f.Closure.Auxiliary)
				}
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Errorf("the list (-want +have):\n%s", diff)
			}
			if diff := cmp.Diff(tt.auxiliary, auxiliary); diff != "" {
				t.Errorf("the objects' auxiliaries (-want +have):\n%s", diff)
			}
		})
	}
}

// TestClosuresAreShared has two programs with one closure, and one with another.
func TestClosuresAreShared(t *testing.T) {
	w := newWorld()
	plan := w.install(t, func() []*record.Manifest {
		m := tight(1)
		again, more := m.Files[0], m.Files[0]
		again.Path, more.Path = "usr/bin/jq2", "usr/bin/jq3"
		info := *more.ELF
		info.Needed = []string{"libc.so.6", "libjq.so.1"}
		more.ELF = &info
		m.Files = append(m.Files, again, more)
		m.Index()
		return []*record.Manifest{m, libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
	})
	one, _ := closureOf(t, plan, "jq", "usr/bin/jq")
	two, _ := closureOf(t, plan, "jq", "usr/bin/jq2")
	three, _ := closureOf(t, plan, "jq", "usr/bin/jq3")
	if one == nil || one != two || three == nil || three == one {
		t.Errorf("the objects are %v, %v and %v, want the first two to be one", one, two, three)
	}
	objects := 0
	for _, f := range plan.Trees[0].Manifest.Files {
		if f.Closure != nil {
			objects++
		}
	}
	if objects != 2 {
		t.Errorf("the tree of %s has %d objects, want two", plan.Trees[0].Name, objects)
	}
}

func TestSanitizerComesFirst(t *testing.T) {
	w := newWorld()
	plan := w.install(t, func() []*record.Manifest {
		m := tight(1)
		m.Files[0].ELF.Needed = append([]string{"libasan.so.8"}, m.Files[0].ELF.Needed...)
		asan := pkg("libasan8", "1", nil, facts{path: libDir + "libasan.so.8.0.0", soname: "libasan.so.8"})
		return []*record.Manifest{m, asan, libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
	})
	f, at := closureOf(t, plan, "jq", "usr/bin/jq")
	list := listOf(t, plan, "jq", "usr/bin/jq").To
	if at != 1 || !strings.HasSuffix(list[0], "/libasan.so.8.0.0") || f.Closure.Needed[0] != list[0] {
		t.Errorf("the list is %q, want the runtime first and the object after it", list)
	}
}

// TestNoClosures plans for a machine that closure objects cannot be made for.
func TestNoClosures(t *testing.T) {
	p := &planner{lists: map[*record.File][]*elfedit.Closure{}, in: Input{Prefix: "/var/sys"}}
	f := &record.File{ELF: &elfedit.Info{Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_MIPS}}
	whole := []ldso.Listed{{Name: "a"}, {Name: "b"}}
	if have := p.shortList(&candidate{m: &record.Manifest{}}, f, &resolution{}, whole, 1, false); len(have) != 2 || len(p.lists) > 0 {
		t.Errorf("the list is %v, want the whole one", have)
	}
}

// TestRefusedProgramHasNoClosure: what no program needs is not in the tree.
func TestRefusedProgramHasNoClosure(t *testing.T) {
	w := newWorld()
	w.editor = &fakeEditor{refuse: map[string]string{"usr/bin/jq": "it is full"}}
	plan := w.plan(t, tight(1), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34"))
	for _, tree := range plan.Trees {
		for _, f := range tree.Manifest.Files {
			if f.Closure != nil {
				t.Errorf("%s of %s is there for nobody", f.Path, tree.Name)
			}
		}
	}
}
