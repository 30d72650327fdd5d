package plan

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

const (
	muslDir    = "usr/lib/x86_64-linux-musl/"
	muslInterp = "/lib/ld-musl-x86_64.so.1"
)

// ofMusl is pkg for files of musl: all that need something, and programs.
func ofMusl(name, version string, requires []string, files ...facts) *record.Manifest {
	m := pkg(name, version, requires, files...)
	for i := range m.Files {
		e := m.Files[i].ELF
		e.Musl = e.Interpreter != "" || slices.Contains(e.Needed, "libc.so")
		if e.Interpreter != "" {
			e.Interpreter = muslInterp
		}
	}
	return m
}

func musl() *record.Manifest {
	m := pkg("musl", "1.2", nil, facts{path: muslDir + "libc.so"})
	m.Files[0].ELF.Musl = true
	m.Files = append(m.Files, record.File{Path: "usr/lib/ld-musl-x86_64.so.1", Type: record.TypeSymlink, Mode: 0o777, Target: "x86_64-linux-musl/libc.so"})
	m.Index()
	return m
}

func muslLibrary(name, version string, needed ...string) *record.Manifest {
	return ofMusl("lib"+name, version, []string{"musl"}, facts{path: muslDir + "lib" + name + ".so.1", soname: "lib" + name + ".so.1", needed: append(needed, "libc.so")})
}

var shelfName = regexp.MustCompile(`closures/[0-9a-f]{32}`)

// boundTo says in a few lines how a program of a plan is bound.
func boundTo(t *testing.T, plan *Plan, name, file string) string {
	t.Helper()
	out := ""
	for _, e := range edits(t, plan, name, file) {
		for _, to := range e.To {
			for _, dir := range strings.Split(to, ":") {
				out += e.Kind + " " + dir + "\n"
			}
		}
	}
	for _, tree := range plan.Trees {
		for _, l := range tree.Links {
			if tree.Name == name && isShelf(l.Path) {
				out += fmt.Sprintf("link %s -> %s\n", l.Path, l.Target)
			}
		}
	}
	return shelfName.ReplaceAllString(strings.ReplaceAll(out, "/var/sys/", "@/"), "closures/SHELF")
}

func text(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestMuslPrograms(t *testing.T) {
	change := func(m *record.Manifest, change func(f *record.File)) *record.Manifest {
		change(&m.Files[0])
		return m
	}
	program := func(needed ...string) *record.Manifest {
		return ofMusl("p", "1", []string{"musl", "liba = 1"}, facts{path: "usr/bin/p", needed: append(needed, "libc.so")})
	}
	for _, tt := range []struct {
		name    string
		command []*record.Manifest
		system  []*record.Manifest
		want    string
	}{
		{
			name:    "the closure by names in the loader's order",
			command: []*record.Manifest{musl(), program("liba.so.1", "libb.so.1"), muslLibrary("a", "1", "libd.so.1"), muslLibrary("b", "1"), muslLibrary("d", "1")},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1",
				"needed liba.so.1", "needed libb.so.1", "needed libc.so", "needed libd.so.1",
				"runpath @/p/1/closures/SHELF",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1",
				"link closures/SHELF/libb.so.1 -> ../../../../libb/1/"+muslDir+"libb.so.1",
				"link closures/SHELF/libd.so.1 -> ../../../../libd/1/"+muslDir+"libd.so.1"),
		},
		{
			name:    "the package that the relations name, of two that have the library",
			command: []*record.Manifest{musl(), program("liba.so.1"), muslLibrary("a", "1"), muslLibrary("a", "2")},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1", "runpath @/p/1/closures/SHELF",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1"),
		},
		{
			name:    "on the root's own musl, whose libraries are found as ever",
			command: []*record.Manifest{program("libb.so.1", "liba.so.1"), muslLibrary("a", "1", "libd.so.1")},
			system:  []*record.Manifest{musl(), muslLibrary("b", "1", "libe.so.1"), muslLibrary("d", "1"), muslLibrary("e", "1")},
			want: text("needed libb.so.1", "needed liba.so.1", "needed libc.so", "needed libd.so.1", "runpath @/p/1/closures/SHELF",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1"),
		},
		{
			name:    "nothing to say where all is the root's",
			command: []*record.Manifest{program("liba.so.1")},
			system:  []*record.Manifest{musl(), muslLibrary("a", "1")},
		},
		{
			name: "a library that asks where it is is found there",
			command: []*record.Manifest{
				musl(), program("liba.so.1", "libb.so.1"), muslLibrary("a", "1"),
				change(muslLibrary("b", "1"), func(f *record.File) { f.ELF.AsksWhere, f.ELF.ImportsWhere = true, true }),
			},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1",
				"runpath @/p/1/closures/SHELF", "runpath @/libb/1/usr/lib/x86_64-linux-musl",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1"),
		},
		{
			name: "and so are all where the program asks, but for one that another directory hides",
			command: []*record.Manifest{
				musl(), change(program("libx.so.1", "liba.so.1"), func(f *record.File) { f.ELF.ImportsWhere, f.ELF.AsksWhere = true, true }), muslLibrary("a", "1"),
				ofMusl("libx", "1", nil, facts{path: muslDir + "libx.so.1", soname: "libx.so.1", needed: []string{"libc.so"}},
					facts{path: muslDir + "liba.so.1", soname: "libother.so.1", needed: []string{"libc.so"}}),
			},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1",
				"runpath @/p/1/closures/SHELF", "runpath @/libx/1/usr/lib/x86_64-linux-musl",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1"),
		},
		{
			name: "what the author's path has is found on the shelf, and the path stays for dlopen",
			command: []*record.Manifest{musl(), ofMusl("p", "1", nil,
				facts{path: "usr/bin/p", needed: []string{"libown.so", "libc.so"}, runpath: "$ORIGIN/../lib/p"},
				facts{path: "usr/lib/p/libown.so", needed: []string{"libc.so"}})},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1", "runpath @/p/1/closures/SHELF", "runpath @/p/1/usr/lib/p",
				"link closures/SHELF/libown.so -> ../../usr/lib/p/libown.so"),
		},
		{
			name: "a program searches for what its libraries open",
			command: []*record.Manifest{
				musl(), program("liba.so.1"), muslLibrary("plugin", "1"),
				ofMusl("liba", "1", []string{"libplugin"}, facts{path: muslDir + "liba.so.1", soname: "liba.so.1", needed: []string{"libc.so"}, opens: true},
					facts{path: muslDir + "liba-extra.so.1", soname: "liba-extra.so.1", needed: []string{"libc.so"}}),
			},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1", "runpath @/p/1/closures/SHELF", "runpath @/liba/1/lib/x86_64-linux-musl",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1"),
		},
		{
			name: "of two libraries by one name, the one that is needed by a path",
			command: []*record.Manifest{
				musl(), muslLibrary("a", "1"), muslLibrary("b", "1", "liba.so.1"),
				ofMusl("p", "1", nil, facts{path: "usr/bin/p", needed: []string{"/usr/lib/p/liba.so.1", "libb.so.1", "libc.so"}},
					facts{path: "usr/lib/p/liba.so.1", soname: "liba.so.1", needed: []string{"libc.so"}}),
			},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1",
				"needed @/p/1/usr/lib/p/liba.so.1", "needed libb.so.1", "needed libc.so", "needed liba.so.1",
				"runpath @/p/1/closures/SHELF",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1",
				"link closures/SHELF/libb.so.1 -> ../../../../libb/1/"+muslDir+"libb.so.1"),
		},
		{
			name: "one that is needed by a path, and by its soname",
			command: []*record.Manifest{musl(), ofMusl("p", "1", nil, facts{path: "usr/bin/p", needed: []string{"/usr/lib/p/libown.so", "libc.so"}},
				facts{path: "usr/lib/p/libown.so", soname: "libown.so.1", needed: []string{"libc.so"}})},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1", "needed @/p/1/usr/lib/p/libown.so", "needed libc.so",
				"runpath @/p/1/closures/SHELF",
				"link closures/SHELF/libown.so.1 -> ../../usr/lib/p/libown.so"),
		},
		{
			name: "no room for the list",
			command: []*record.Manifest{
				musl(), muslLibrary("a", "1", "libb.so.1", "libd.so.1"), muslLibrary("b", "1"), muslLibrary("d", "1"),
				change(program("liba.so.1"), func(f *record.File) { f.ELF.DynamicRelRO, f.ELF.DynamicRoom = true, 2 }),
			},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1",
				"needed @/p/1/closures/SHELF.so", "needed liba.so.1", "needed libc.so",
				"runpath @/p/1/closures/SHELF",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1",
				"link closures/SHELF/libb.so.1 -> ../../../../libb/1/"+muslDir+"libb.so.1",
				"link closures/SHELF/libd.so.1 -> ../../../../libd/1/"+muslDir+"libd.so.1"),
		},
		{
			name: "a library of glibc by that name is none, and one of no C library is",
			command: []*record.Manifest{
				musl(), libc("2.36"), program("liba.so.1", "libz.so.1"), muslLibrary("a", "1"),
				pkg("aa", "1", nil, facts{path: libDir + "liba.so.1", soname: "liba.so.1", needed: []string{"libc.so.6"}}),
				pkg("libz", "1", nil, facts{path: libDir + "libz.so.1", soname: "libz.so.1"}),
			},
			want: text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1", "runpath @/p/1/closures/SHELF",
				"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1",
				"link closures/SHELF/libz.so.1 -> ../../../../libz/1/"+libDir+"libz.so.1"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			if tt.system != nil {
				for _, m := range tt.system {
					m.Files = slices.DeleteFunc(m.Files, func(f record.File) bool { return f.ELF == nil })
				}
				w.addSystem(tt.system...)
				w.system[muslInterp], w.system["libc.so"] = w.system["/"+muslDir+"libc.so"], w.system["/"+muslDir+"libc.so"]
			}
			plan := w.install(t, func() []*record.Manifest { return tt.command })
			if diff := cmp.Diff(tt.want, boundTo(t, plan, "p", "usr/bin/p")); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
			for _, tree := range w.generation.Trees {
				if i := slices.IndexFunc(tree.Links, isShelf); i >= 0 {
					t.Errorf("the farm has %s of %s", tree.Links[i], tree.Name)
				}
			}
		})
	}
}

// TestMuslApart has no program take a library of the other C library.
func TestMuslApart(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command []*record.Manifest
		missing string
	}{
		{
			name: "a program of musl", missing: "liba.so.1",
			command: []*record.Manifest{
				musl(), libc("2.36"), ofMusl("p", "1", nil, facts{path: "usr/bin/p", needed: []string{"liba.so.1", "libc.so"}}),
				pkg("liba", "1", nil, facts{path: libDir + "liba.so.1", soname: "liba.so.1", needed: []string{"libc.so.6"}}),
			},
		},
		{
			name: "a program of glibc", missing: "liba.so.1",
			command: []*record.Manifest{musl(), libc("2.36"), muslLibrary("a", "1"), pkg("p", "1", nil, facts{path: "usr/bin/p", needed: []string{"liba.so.1", "libc.so.6"}})},
		},
		{
			name: "a program of musl without musl", missing: muslInterp,
			command: []*record.Manifest{libc("2.36"), ofMusl("p", "1", nil, facts{path: "usr/bin/p", needed: []string{"libc.so"}})},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := newWorld().plan(t, tt.command...)
			var missing []string
			for _, p := range plan.Problems {
				missing = append(missing, p.Soname)
			}
			if diff := cmp.Diff([]string{tt.missing}, missing); diff != "" {
				t.Errorf("problems (-want +have)\n%s", diff)
			}
		})
	}
}

// TestMuslLater binds a program to a musl and libraries that are installed already, and
// anew to a newer library.
func TestMuslLater(t *testing.T) {
	w := newWorld()
	w.install(t, func() []*record.Manifest { return []*record.Manifest{musl(), muslLibrary("a", "1")} })
	if tree := w.generation.Find("musl", "1.2"); len(tree) != 1 || !slices.Equal(tree[0].Inner, []string{"libc.so"}) || slices.ContainsFunc(tree[0].Links, func(l string) bool { return strings.HasPrefix(l, "lib") }) {
		t.Errorf("the C library is in the generation as %+v", tree)
	}
	program := func() []*record.Manifest {
		return []*record.Manifest{ofMusl("p", "1", []string{"liba"}, facts{path: "usr/bin/p", needed: []string{"liba.so.1", "libc.so"}})}
	}
	plan := w.install(t, program)
	want := text("interpreter @/musl/1.2/lib/ld-musl-x86_64.so.1", "runpath @/p/1/closures/SHELF",
		"link closures/SHELF/liba.so.1 -> ../../../../liba/1/"+muslDir+"liba.so.1")
	if diff := cmp.Diff(want, boundTo(t, plan, "p", "usr/bin/p")); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	w.install(t, func() []*record.Manifest { return []*record.Manifest{muslLibrary("a", "2")} })
	rebind := func() *Plan {
		var tree *record.Tree
		for i := range w.generation.Trees {
			if t := &w.generation.Trees[i]; t.Name == "p" {
				tree = t
			}
		}
		w.change = func(in *Input) { in.Rebind = []*record.Tree{tree} }
		defer func() { w.change = nil }()
		return w.plan(t)
	}
	plan = rebind()
	want = strings.ReplaceAll(want, "liba/1", "liba/2")
	if have := boundTo(t, plan, "p", "usr/bin/p"); !strings.HasSuffix(have, "link closures/SHELF/liba.so.1 -> ../../../../liba/2/"+muslDir+"liba.so.1\n") {
		t.Errorf("bound anew\n%s, want\n%s", have, want)
	}
	for _, tree := range plan.Trees {
		w.manifests[layout.TreePath(tree.Name, tree.Tree)] = tree.Manifest
	}
	w.generation = plan.Generation.Next(w.generation.ID+1, plan.Generation.Time)
	if plan = rebind(); plan.Generation != nil {
		t.Errorf("it would be bound anew again: %+v", plan.Rebound)
	}
}

// TestMuslSearched: that a shelf has another name is no reason to bind a program anew.
func TestMuslSearched(t *testing.T) {
	p := &planner{trees: map[string]*record.Tree{"p/1": {}, "liba/1": {}}}
	have := p.searched([]record.EditRecord{{Kind: record.EditRunPath, To: []string{"/var/sys/p/1/closures/0123:/var/sys/liba/1/lib64:/opt/lib"}}})
	if diff := cmp.Diff([]string{"liba/1/lib64", "/opt/lib"}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestMuslOfSystem has no C library in a system's farm, and its libraries apart.
func TestMuslOfSystem(t *testing.T) {
	packages := []*record.Manifest{musl(), muslLibrary("a", "1"), libc("2.36")}
	for _, m := range packages {
		m.Origin = record.OriginSystem
	}
	plan, err := MakeSystem(SystemInput{
		Generation: newGeneration(), Packages: packages, Stays: func(*record.Tree) bool { return true },
		Occupied: func(string) ([]*record.Manifest, error) { return nil, nil },
		Loads:    func(*record.Tree, string) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	var links []string
	for _, tree := range plan.Generation.Trees {
		links = append(links, tree.Links...)
	}
	if diff := cmp.Diff([]string{"lib/x86_64-linux-musl/liba.so.1"}, links); diff != "" {
		t.Errorf("the farm (-want +have)\n%s", diff)
	}
}

// TestMuslLoads has the loader's model load a program as it was planned: each library
// once, in the order in which it would be loaded without edits.
func TestMuslLoads(t *testing.T) {
	w := newWorld()
	plan := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{
			musl(),
			ofMusl("p", "1", nil, facts{path: "usr/bin/p", needed: []string{"liba.so.1", "libb.so.1", "libc.so"}}),
			muslLibrary("a", "1", "libd.so.1", "libe.so.1"), muslLibrary("b", "1", "libe.so.1", "liba.so.1"), muslLibrary("d", "1", "libe.so.1"), muslLibrary("e", "1", "liba.so.1"),
		}
	})
	files := map[string]*ldso.Object{}
	for _, tree := range plan.Trees {
		for i := range tree.Manifest.Files {
			f := &tree.Manifest.Files[i]
			if f.ELF == nil {
				continue
			}
			info := *f.ELF
			for _, e := range f.Edits {
				switch e.Kind {
				case record.EditInterpreter:
					info.Interpreter = e.To[0]
				case record.EditNeeded:
					info.Needed = e.To
				case record.EditRunPath:
					info.RunPath, info.HasRunPath = e.To[0], true
				}
			}
			place := "/var/sys/" + tree.Name + "/" + tree.Tree + "/" + f.Path
			files[place] = &ldso.Object{Path: place, ID: place, Info: &info}
		}
	}
	for _, tree := range plan.Trees {
		for _, l := range tree.Links {
			dir := "/var/sys/" + tree.Name + "/" + tree.Tree + "/"
			o := files["/var/sys/"+strings.TrimPrefix(l.File(), "../../")]
			if own := files[dir+l.File()]; own != nil {
				o = own
			}
			if o != nil {
				files[dir+l.Path] = &ldso.Object{Path: dir + l.Path, ID: o.ID, Info: o.Info}
			}
		}
	}
	program := files["/var/sys/p/1/usr/bin/p"]
	root, err := ldso.NewRoot(muslFiles(files), program.Info, ldso.Options{})
	if err != nil {
		t.Fatal(err)
	}
	closure, err := ldso.Load(program, root)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, o := range closure.Objects[1:] {
		have = append(have, strings.TrimPrefix(o.ID, "/var/sys/"))
	}
	want := []string{"liba/1/" + muslDir + "liba.so.1", "libb/1/" + muslDir + "libb.so.1", "musl/1.2/" + muslDir + "libc.so", "libd/1/" + muslDir + "libd.so.1", "libe/1/" + muslDir + "libe.so.1"}
	if diff := cmp.Diff(want, have); diff != "" || len(closure.Missing) > 0 {
		t.Errorf("(-want +have)\n%s%v", diff, closure.Missing)
	}
}

// muslFiles are a root that has files by these paths.
type muslFiles map[string]*ldso.Object

func (f muslFiles) Inspect(name string) (*ldso.Object, error) {
	if o := f[name]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

func (f muslFiles) ReadFile(name string) ([]byte, error) { return nil, fs.ErrNotExist }
