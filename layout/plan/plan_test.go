package plan

import (
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const libDir = "usr/lib/x86_64-linux-gnu/"

// facts is an amd64 ELF file in short: name is its path, the rest what it says.
type facts struct {
	path, soname, runpath string
	needed                []string
	wants                 map[string]string // file -> version
	offers                []string
	opens, asks           bool
	program               bool // as is what stands in a bin directory
}

func (e facts) file() record.File {
	info := &elfedit.Info{
		Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64, Type: elf.ET_DYN,
		HasDynamic: true, Soname: e.soname, Needed: e.needed, RunPath: e.runpath, HasRunPath: e.runpath != "", ImportsOpen: e.opens, AsksWhere: e.asks,
	}
	if e.program || strings.Contains(e.path, "bin/") {
		info.Interpreter, info.PIE = "/lib64/ld-linux-x86-64.so.2", true
	}
	for f, v := range e.wants {
		info.VersionNeeds = append(info.VersionNeeds, elfedit.VersionNeed{File: f, Versions: []elfedit.VersionRef{{Name: v}}})
	}
	for _, v := range e.offers {
		info.VersionDefs = append(info.VersionDefs, elfedit.VersionDef{Name: v})
	}
	d := digest.Of([]byte(e.path + e.soname))
	return record.File{Path: e.path, Type: record.TypeFile, Mode: 0o755, Object: d, Source: d, ELF: info}
}

// pkg returns the draft of a package that somebody named; requires are "name op version" or "name".
func pkg(name, version string, requires []string, files ...facts) *record.Manifest {
	m := &record.Manifest{
		Layout: layout.FormatVersion, Name: name, Version: version, Architecture: "amd64", Format: deb.Name, Origin: record.OriginPrivate,
		Package: record.PackageFile{File: name + ".deb", Digest: digest.Of([]byte(name + version))},
	}
	m.Named.Asked = true
	for _, r := range requires {
		c := pkginfo.Constraint{Name: r}
		if f := strings.Fields(r); len(f) == 3 {
			c = pkginfo.Constraint{Name: f[0], Operator: f[1], Version: f[2]}
		}
		m.Requires = append(m.Requires, pkginfo.Relation{Alternatives: []pkginfo.Constraint{c}})
	}
	for _, f := range files {
		m.Files = append(m.Files, f.file())
	}
	slices.SortFunc(m.Files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	m.Index()
	return m
}

func libc(version string, offers ...string) *record.Manifest {
	return pkg("libc6", version, nil,
		facts{path: libDir + "ld-linux-x86-64.so.2", soname: "ld-linux-x86-64.so.2"},
		facts{path: libDir + "libc.so.6", soname: "libc.so.6", needed: []string{"ld-linux-x86-64.so.2"}, offers: offers},
		facts{path: libDir + "libm.so.6", soname: "libm.so.6", needed: []string{"libc.so.6"}},
	)
}

func onig(version string) *record.Manifest {
	return pkg("libonig5", version, []string{"libc6"}, facts{path: libDir + "libonig.so.5." + version, soname: "libonig.so.5", needed: []string{"libc.so.6"}})
}

func libjq(version string) *record.Manifest {
	return pkg("libjq1", version, []string{"libonig5", "libc6"},
		facts{path: libDir + "libjq.so.1.0.4", soname: "libjq.so.1", needed: []string{"libm.so.6", "libonig.so.5", "libc.so.6"}})
}

func jq(version string, wants string) *record.Manifest {
	return pkg("jq", version, []string{"libjq1 = " + version, "libc6"},
		facts{path: "usr/bin/jq", needed: []string{"libjq.so.1", "libc.so.6"}, wants: map[string]string{"libc.so.6": wants}})
}

// world is a root as the planner sees it: what is installed there so far.
type world struct {
	generation *record.Generation
	manifests  map[string]*record.Manifest
	system     map[string]*ldso.Object // by soname and by path
	editor     Editor
	fileSize   func(string) (int64, bool)
	change     func(*Input) // nil for none
	symbols    func([]SymbolsRequest) ([]Symbols, error)
	linkages   kept     // nil for none
	unreadable string   // the base name of a file whose symbols cannot be read
	lost       []string // trees whose manifests are, at a rebind
}

func newWorld() *world {
	return &world{
		generation: &record.Generation{Layout: layout.FormatVersion, Architecture: "x86_64-linux-gnu", Orders: debOrders},
		manifests:  map[string]*record.Manifest{},
	}
}

func (w *world) Find(name string, _ []*ldso.Object) (*ldso.Object, error) {
	if o := w.system[name]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
}

// addSystem gives the root libraries of its own.
func (w *world) addSystem(packages ...*record.Manifest) {
	w.system = map[string]*ldso.Object{}
	for _, m := range packages {
		for i := range m.Files {
			f := &m.Files[i]
			o := &ldso.Object{Path: "/" + f.Path, ID: f.Path, Info: f.ELF}
			w.system[f.ELF.Soname], w.system["/"+f.Path] = o, o
		}
	}
	w.system["/lib64/ld-linux-x86-64.so.2"] = w.system["ld-linux-x86-64.so.2"]
}

func (w *world) plan(t *testing.T, command ...*record.Manifest) *Plan {
	t.Helper()
	in := Input{
		Prefix: layout.DefaultPrefix, Generation: w.generation, Orders: debOrders, Command: command, Edit: w.editor, FileSize: w.fileSize, Symbols: w.symbols,
		Installed: func(tree *record.Tree) (*record.Manifest, error) {
			if m := w.manifests[tree.Path()]; m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("no manifest %s", tree.Path())
		},
		Occupied: func(name string) ([]*record.Manifest, error) {
			var out []*record.Manifest
			for _, m := range w.manifests {
				if m.Name == name {
					out = append(out, m)
				}
			}
			slices.SortFunc(out, func(a, b *record.Manifest) int { return strings.Compare(a.Tree, b.Tree) })
			return out, nil
		},
	}
	if w.linkages != nil {
		in.Linkages = w.linkages
	}
	if w.system != nil {
		in.System = func(*elfedit.Info) (ldso.Finder, error) { return w, nil }
	}
	if w.change != nil {
		w.change(&in)
	}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// install plans and takes the plan as done. A second plan of the same must find
// nothing to do.
func (w *world) install(t *testing.T, command func() []*record.Manifest) *Plan {
	t.Helper()
	plan := w.plan(t, command()...)
	if len(plan.Problems) > 0 {
		t.Fatalf("problems: %+v", plan.Problems)
	}
	for _, tree := range plan.Trees {
		w.manifests[layout.TreePath(tree.Name, tree.Tree)] = tree.Manifest
	}
	if plan.Generation != nil {
		next := plan.Generation.Next(w.generation.ID+1, plan.Generation.Time)
		for i := range next.Trees {
			if next.Trees[i].Since == 0 {
				next.Trees[i].Since = next.ID
			}
		}
		w.generation = next
	}
	again := w.plan(t, command()...)
	if again.Generation != nil {
		t.Errorf("a second install of the same would change the generation: %+v", again.Trees)
	}
	return plan
}

func edits(t *testing.T, plan *Plan, name, file string) []record.EditRecord {
	t.Helper()
	for _, tree := range plan.Trees {
		if tree.Name != name {
			continue
		}
		for _, e := range tree.Edits {
			if e.File == file {
				return e.Edits
			}
		}
	}
	return nil
}

func TestProgramIsBoundToTheCommandsPackages(t *testing.T) {
	w := newWorld()
	plan := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
	})
	lib := func(tree, file string) string { return "/var/sys/" + tree + "/" + libDir + file }
	want := []record.EditRecord{
		{Kind: record.EditInterpreter, From: []string{"/lib64/ld-linux-x86-64.so.2"}, To: []string{lib("libc6/2.36", "ld-linux-x86-64.so.2")}},
		{
			Kind: record.EditNeeded, From: []string{"libjq.so.1", "libc.so.6", "libm.so.6", "libonig.so.5", "ld-linux-x86-64.so.2", ""},
			To: []string{
				lib("libjq1/1.6", "libjq.so.1.0.4"), lib("libc6/2.36", "libc.so.6"), lib("libc6/2.36", "libm.so.6"), lib("libonig5/6.9", "libonig.so.5.6.9"),
				lib("libc6/2.36", "ld-linux-x86-64.so.2"), "libjq.so.1", // which no library needs
			},
		},
	}
	if diff := cmp.Diff(want, edits(t, plan, "jq", "usr/bin/jq")); diff != "" {
		t.Errorf("edits of jq (-want +have):\n%s", diff)
	}
	wantLib := []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/var/sys/libc6/2.36/lib64:/var/sys/libonig5/6.9/lib64"}}}
	if diff := cmp.Diff(wantLib, edits(t, plan, "libjq1", libDir+"libjq.so.1.0.4")); diff != "" {
		t.Errorf("edits of libjq (-want +have):\n%s", diff)
	}
	if len(plan.Warnings) > 0 {
		t.Errorf("warnings: %q", plan.Warnings)
	}
	farm := farm.Links(w.generation)
	var links []string
	for _, l := range farm {
		links = append(links, l.Path+" -> "+l.Target)
	}
	for _, l := range []string{
		"bin/jq -> ../../../../jq/1.6/bin/jq",
		"default/jq -> ../../../../jq/1.6",
		"lib64/libjq.so.1 -> ../../../../libjq1/1.6/lib64/libjq.so.1",
	} {
		if !slices.Contains(links, l) {
			t.Errorf("the farm has no %q; it has %q", l, links)
		}
	}
}

func TestRelationsNarrowTheCandidates(t *testing.T) {
	w := newWorld()
	w.install(t, func() []*record.Manifest {
		return []*record.Manifest{libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
	})
	w.install(t, func() []*record.Manifest { return []*record.Manifest{libjq("1.7"), onig("7.0")} })
	plan := w.install(t, func() []*record.Manifest { return []*record.Manifest{jq("1.6", "GLIBC_2.34")} })
	to := edits(t, plan, "jq", "usr/bin/jq")[1].To
	if !strings.Contains(to[0], "libjq1/1.6/") {
		t.Errorf("jq 1.6 is bound to %s, and wants libjq1 (= 1.6)", to[0])
	}
	if !strings.Contains(strings.Join(to, " "), "libonig5/7.0/") {
		t.Errorf("jq 1.6 is bound to %q; the default libonig5 is 7.0", to)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		command []*record.Manifest
		want    []string // parts of the first message
	}{
		{
			"library",
			[]*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), libc("2.36", "GLIBC_2.34")},
			[]string{libDir + "libjq.so.1.0.4 of libjq1=1.6 needs libonig.so.5", `its relation "libonig5"`},
		},
		{
			"symbol version",
			[]*record.Manifest{jq("1.6", "GLIBC_2.38"), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")},
			[]string{"usr/bin/jq of jq=1.6", "GLIBC_2.38", "libc6=2.36", `its relation "libc6"`},
		},
		{
			"relation",
			[]*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.7"), onig("6.9"), libc("2.36", "GLIBC_2.34")},
			[]string{"needs libjq.so.1", "libjq1=1.7 has it, but jq=1.6 requires libjq1 (= 1.6)"},
		},
		{
			"C library",
			[]*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9")},
			[]string{"ld-linux-x86-64.so.2", `its relation "libc6"`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := newWorld().plan(t, tc.command...)
			if len(plan.Problems) == 0 {
				t.Fatal("no problem")
			}
			if plan.Generation != nil {
				t.Error("a plan with problems has a generation")
			}
			all := (&ProblemsError{Problems: plan.Problems}).Error()
			for _, part := range tc.want {
				if !strings.Contains(all, part) {
					t.Errorf("the message has no %q:\n%s", part, all)
				}
			}
		})
	}
}

func TestOneCLibraryInAProcess(t *testing.T) {
	w := newWorld()
	w.install(t, func() []*record.Manifest { return []*record.Manifest{libc("2.41", "GLIBC_2.34", "GLIBC_2.38")} })
	plan := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
	})
	for _, e := range edits(t, plan, "jq", "usr/bin/jq") {
		for _, p := range e.To {
			if strings.Contains(p, "libc6/") && !strings.Contains(p, "libc6/2.36/") {
				t.Errorf("%s: %s is not of the command's C library", e.Kind, p)
			}
		}
	}
}

func TestSystemCLibraryStays(t *testing.T) {
	w := newWorld()
	w.addSystem(libc("2.36", "GLIBC_2.34"), onig("6.9"))
	w.install(t, func() []*record.Manifest { return []*record.Manifest{onig("7.0")} }) // another tree: the root's own comes first
	plan := w.install(t, func() []*record.Manifest { return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6")} })
	want := []record.EditRecord{{
		Kind: record.EditNeeded, From: []string{"libjq.so.1", "libc.so.6", "libm.so.6", "libonig.so.5", "ld-linux-x86-64.so.2", ""},
		To: []string{"/var/sys/libjq1/1.6/" + libDir + "libjq.so.1.0.4", "libc.so.6", "libm.so.6", "libonig.so.5", "/lib64/ld-linux-x86-64.so.2", "libjq.so.1"},
	}}
	if diff := cmp.Diff(want, edits(t, plan, "jq", "usr/bin/jq")); diff != "" {
		t.Errorf("edits (-want +have):\n%s", diff)
	}

	// A program that wants a newer C library than the root's goes private.
	w.install(t, func() []*record.Manifest { return []*record.Manifest{libc("2.41", "GLIBC_2.34", "GLIBC_2.38")} })
	newer := w.install(t, func() []*record.Manifest { return []*record.Manifest{jq("1.8", "GLIBC_2.38"), libjq("1.8")} })
	if got := edits(t, newer, "jq", "usr/bin/jq")[0]; got.Kind != record.EditInterpreter || !strings.HasPrefix(got.To[0], "/var/sys/libc6/2.41/") {
		t.Errorf("the interpreter is edited as %+v, want that of libc6 2.41", got)
	}
}

func TestAnotherBindingStandsBeside(t *testing.T) {
	w := newWorld()
	first := func() []*record.Manifest {
		return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
	}
	w.install(t, first)
	second := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("7.0")}
	})
	for _, tree := range second.Trees {
		switch tree.Name {
		case "jq", "libjq1":
			if !strings.HasPrefix(tree.Tree, "1.6@") || len(tree.Tree) != len("1.6@")+8 {
				t.Errorf("%s stands at %s, want 1.6@ and eight digits", tree.Name, tree.Tree)
			}
		case "libonig5":
			if tree.Tree != "7.0" {
				t.Errorf("libonig5 stands at %s", tree.Tree)
			}
		}
	}
	plan := w.plan(t, first()...)
	if plan.Generation != nil {
		t.Errorf("the first command again is not a no-op: %+v", plan.Trees)
	}
}

func TestAnotherBuildIsRefused(t *testing.T) {
	w := newWorld()
	w.install(t, func() []*record.Manifest { return []*record.Manifest{onig("6.9"), libc("2.36")} })
	other := onig("6.9")
	other.Package.Digest = digest.Of([]byte("another build"))
	plan := w.plan(t, other)
	if len(plan.Problems) != 1 {
		t.Fatalf("problems: %+v", plan.Problems)
	}
	for _, d := range []digest.Digest{other.Package.Digest, onig("6.9").Package.Digest} {
		if !strings.Contains(plan.Problems[0].Message, d.String()) {
			t.Errorf("the message does not name %s: %s", d, plan.Problems[0].Message)
		}
	}
}

func TestAuthorsSearchPathIsKept(t *testing.T) {
	w := newWorld()
	plan := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{
			libc("2.36"),
			pkg("app", "1", nil,
				facts{path: "usr/lib/app/libpart.so", soname: "libpart.so", needed: []string{"libc.so.6"}},
				facts{path: "usr/bin/app", runpath: "$ORIGIN/../lib/app:/usr/lib/shared", needed: []string{"libpart.so", "libshared.so"}}),
			pkg("shared", "2", nil, facts{path: "usr/lib/shared/libshared.so", soname: "libshared.so"}),
		}
	})
	got := edits(t, plan, "app", "usr/bin/app")
	want := "/var/sys/app/1/usr/lib/app:/var/sys/shared/2/usr/lib/shared"
	if last := got[len(got)-1]; last.Kind != record.EditRunPath || last.To[0] != want {
		t.Errorf("the search path is %+v, want %s", last, want)
	}
	if to := got[1].To; to[0] != "/var/sys/app/1/usr/lib/app/libpart.so" || path.Dir(to[1]) != "/var/sys/shared/2/usr/lib/shared" {
		t.Errorf("bound to %q", to)
	}
}

func TestDriverIsTheMachines(t *testing.T) {
	command := func() []*record.Manifest {
		return []*record.Manifest{
			libc("2.36"),
			pkg("app", "1", nil, facts{path: "usr/bin/app", needed: []string{"libGL.so.1"}}),
			pkg("libgl1", "1", nil, facts{path: libDir + "libGL.so.1", soname: "libGL.so.1"}),
		}
	}
	needed := func(w *world) []string {
		for _, e := range edits(t, w.install(t, command), "app", "usr/bin/app") {
			if e.Kind == record.EditNeeded {
				return e.To
			}
		}
		return nil
	}
	if got := needed(newWorld()); len(got) != 2 || got[0] != "/var/sys/libgl1/1/"+libDir+"libGL.so.1" || got[1] != "libGL.so.1" {
		t.Errorf("without a driver the program needs %q", got)
	}
	w := newWorld()
	gl := command()[2].Files[0]
	w.system = map[string]*ldso.Object{"libGL.so.1": {Path: "/" + gl.Path, ID: "gl", Info: gl.ELF}}
	if got := needed(w); len(got) != 1 || got[0] != "libGL.so.1" {
		t.Errorf("with a driver the program needs %q, want the bare name", got)
	}
}

func TestLibraryOfAlternatives(t *testing.T) {
	w := newWorld()
	plan := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{
			libc("2.36"),
			pkg("app", "1", nil, facts{path: "usr/bin/app", needed: []string{"libblas.so.3"}}),
			pkg("libblas3", "3.11", nil, facts{path: libDir + "blas/libblas.so.3.11.0", soname: "libblas.so.3"}),
		}
	})
	if to := edits(t, plan, "app", "usr/bin/app")[1].To; to[0] != "/var/sys/libblas3/3.11/"+libDir+"blas/libblas.so.3.11.0" {
		t.Errorf("bound to %q", to)
	}
}

func TestCommandOfAnotherPackage(t *testing.T) {
	w := newWorld()
	link := pkg("python3", "3.11", []string{"python3-minimal"})
	link.Files = []record.File{{Path: "usr/bin/python3", Type: record.TypeSymlink, Target: "python3.11"}}
	link.Index()
	plan := w.install(t, func() []*record.Manifest {
		m := *link
		return []*record.Manifest{&m, libc("2.36"), pkg("python3-minimal", "3.11.2", nil, facts{path: "usr/bin/python3.11"})}
	})
	for _, tree := range plan.Trees {
		if tree.Name != "python3" {
			continue
		}
		want := []record.Link{{Path: "bin/python3", Target: "../../../python3-minimal/3.11.2/usr/bin/python3.11"}}
		if diff := cmp.Diff(want, tree.Links); diff != "" {
			t.Error(diff)
		}
	}
}

// planned returns a package's tree in a plan.
func planned(plan *Plan, name string) PlannedTree {
	return plan.Trees[slices.IndexFunc(plan.Trees, func(t PlannedTree) bool { return t.Name == name })]
}

// TestCommandOfAnAlternative has a package whose command has its usual name from an
// alternative only.
func TestCommandOfAnAlternative(t *testing.T) {
	offer := func(link, path string, priority int) pkginfo.Alternative {
		return pkginfo.Alternative{Name: link[strings.LastIndex(link, "/")+1:], Link: link, Path: path, Priority: priority}
	}
	php := func() *record.Manifest {
		m := pkg("php8.4", "8.4", nil, facts{path: "usr/bin/php8.4"}, facts{path: "usr/bin/phpdbg"}, facts{path: "usr/bin/real"}, facts{path: "usr/lib/php/tool"})
		m.Alternatives = []pkginfo.Alternative{
			offer("/usr/bin/php", "/usr/bin/phpdbg", 10), offer("/usr/bin/php", "/usr/bin/php8.4", 84),
			offer("/usr/bin/real", "/usr/bin/php8.4", 84), offer("/usr/bin/missing", "/usr/bin/nothing", 84),
			offer("/usr/share/php", "/usr/bin/php8.4", 84), offer("/sbin/tool", "/usr/lib/php/tool", 5), offer("/usr/bin/lib", "/usr/lib/php", 5),
			offer("/..", "/usr/bin/php8.4", 1), offer("/usr/bin/out", "/../../etc/passwd", 1),
		}
		return m
	}
	command := func() []*record.Manifest { return []*record.Manifest{php(), libc("2.36")} }
	w := newWorld()
	plan := w.install(t, command)
	tree := planned(plan, "php8.4")
	want := []record.Link{
		{Path: "bin/php", Target: "../usr/bin/php8.4"},
		{Path: "bin/php8.4", Target: "../usr/bin/php8.4"},
		{Path: "bin/phpdbg", Target: "../usr/bin/phpdbg"},
		{Path: "bin/real", Target: "../usr/bin/real"},
		{Path: "sbin/tool", Target: "../usr/lib/php/tool"},
	}
	if diff := cmp.Diff(want, tree.Links); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wantOffers := []record.Offer{
		{Name: "php", Link: "bin/php", Path: "/usr/bin/php8.4", Target: "usr/bin/php8.4", Priority: 84},
		{Name: "php", Link: "bin/php", Path: "/usr/bin/phpdbg", Target: "usr/bin/phpdbg", Priority: 10},
		{Name: "tool", Link: "sbin/tool", Path: "/usr/lib/php/tool", Target: "usr/lib/php/tool", Priority: 5},
	}
	if diff := cmp.Diff(wantOffers, w.generation.DefaultOf("php8.4").Offers); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// The identity says nothing of it. A tree of a hashpkg that did not know of it
	// stays as it is.
	older := newWorld()
	before := older.install(t, func() []*record.Manifest {
		m := php()
		m.Alternatives = nil
		return []*record.Manifest{m, libc("2.36")}
	})
	if planned(before, "php8.4").Identity != tree.Identity {
		t.Errorf("the identity is %s, and without alternatives %s", tree.Identity, planned(before, "php8.4").Identity)
	}
	again := older.install(t, command)
	if tree := planned(again, "php8.4"); again.Generation != nil || !tree.Present || len(tree.Links) != 3 || len(tree.Alternatives) > 0 {
		t.Errorf("with a newer hashpkg it is %+v", tree)
	}
}

// TestAlternativeOfAnotherPackage has the alternative cc of a package whose gcc is a link
// to another package's file.
func TestAlternativeOfAnotherPackage(t *testing.T) {
	gcc := func(offers ...pkginfo.Alternative) []*record.Manifest {
		link := pkg("gcc", "14", []string{"gcc-14"})
		link.Files = []record.File{{Path: "usr/bin/gcc", Type: record.TypeSymlink, Target: "gcc-14"}}
		link.Index()
		link.Alternatives = offers
		return []*record.Manifest{link, libc("2.36"), pkg("gcc-14", "14.2", nil, facts{path: "usr/bin/gcc-14"})}
	}
	cc := pkginfo.Alternative{Name: "cc", Link: "/usr/bin/cc", Path: "/usr/bin/gcc", Priority: 20}
	plan := newWorld().install(t, func() []*record.Manifest { return gcc(cc) })
	want := []record.Link{{Path: "bin/cc", Target: "../bin/gcc"}, {Path: "bin/gcc", Target: "../../../gcc-14/14.2/usr/bin/gcc-14"}}
	if diff := cmp.Diff(want, planned(plan, "gcc").Links); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if without := newWorld().install(t, func() []*record.Manifest { return gcc() }); planned(without, "gcc").Identity != planned(plan, "gcc").Identity {
		t.Error("the identity is another one with an alternative")
	}
}

func TestNoLoaderFamilyInTheFarm(t *testing.T) {
	w := newWorld()
	w.install(t, func() []*record.Manifest {
		return []*record.Manifest{libc("2.36"), jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9")}
	})
	for _, l := range farm.Links(w.generation) {
		if strings.HasPrefix(l.Path, "lib64/libc.") || strings.HasPrefix(l.Path, "lib64/ld-") || strings.HasPrefix(l.Path, "lib64/libm.") {
			t.Errorf("the farm has %s", l.Path)
		}
	}
	// It answers later packages all the same.
	plan := w.install(t, func() []*record.Manifest {
		return []*record.Manifest{pkg("tool", "1", nil, facts{path: "usr/bin/tool", needed: []string{"libm.so.6"}})}
	})
	if to := edits(t, plan, "tool", "usr/bin/tool")[0].To[0]; !strings.HasPrefix(to, "/var/sys/libc6/2.36/") {
		t.Errorf("the interpreter is %s", to)
	}
}

func TestLibrariesThatLackOne(t *testing.T) {
	alone := newWorld().plan(t, libc("2.36"), libjq("1.6")) // without libonig5
	if len(alone.Problems) == 0 {
		t.Error("a package whose only library cannot be loaded is accepted")
	}
	both := pkg("libs", "1", nil,
		facts{path: libDir + "liba.so.1", soname: "liba.so.1", needed: []string{"libc.so.6"}},
		facts{path: libDir + "libb.so.1", soname: "libb.so.1", needed: []string{"libmissing.so.1"}})
	plan := newWorld().plan(t, libc("2.36"), both)
	if len(plan.Problems) > 0 {
		t.Errorf("problems: %+v", plan.Problems)
	}
	bare := both.Clone()
	bare.Lookup(libDir + "liba.so.1").ELF = &elfedit.Info{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64, Type: elf.ET_DYN, HasDynamic: true, Soname: "liba.so.1"}
	if plan := newWorld().plan(t, libc("2.36"), bare); len(plan.Problems) > 0 {
		t.Errorf("beside one that needs nothing: %+v", plan.Problems)
	}
	if !slices.ContainsFunc(plan.Warnings, func(w string) bool { return strings.Contains(w, "libb.so.1 of libs=1 needs libmissing.so.1") }) {
		t.Errorf("warnings: %q", plan.Warnings)
	}
}

// TestReleasesInOneCommand installs the same programs of two releases in one command.
// Each has the libraries and the C library of its own release, as if it was installed by
// itself.
func TestReleasesInOneCommand(t *testing.T) {
	of := func(release string, packages ...*record.Manifest) []*record.Manifest {
		for _, m := range packages {
			m.Named.Release = release
		}
		return packages
	}
	older := func() []*record.Manifest {
		return of("older", jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.8"), libc("2.36", "GLIBC_2.34"))
	}
	newer := func() []*record.Manifest {
		return of("newer", jq("1.7", "GLIBC_2.34"), libjq("1.7"), onig("6.9"), libc("2.41", "GLIBC_2.34"))
	}
	identities := func(commands ...func() []*record.Manifest) map[string]digest.Digest {
		of := map[string]digest.Digest{}
		for _, command := range commands {
			for _, tree := range newWorld().install(t, command).Trees {
				of[tree.Name+"="+tree.Version] = tree.Identity
			}
		}
		return of
	}
	together := func() []*record.Manifest { return slices.Concat(older(), newer()) }
	if diff := cmp.Diff(identities(older, newer), identities(together)); diff != "" {
		t.Errorf("trees (-each by itself +together):\n%s", diff)
	}
}
