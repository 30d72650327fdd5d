package plan

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// with adds files that are not ELF to a package: "path", "path -> target" or "path #!interpreter".
func with(m *record.Manifest, files ...string) *record.Manifest {
	for _, text := range files {
		d := digest.Of([]byte(text))
		f := record.File{Path: text, Type: record.TypeFile, Mode: 0o644, Object: d, Source: d, Size: int64(len(text))}
		if p, target, ok := strings.Cut(text, " -> "); ok {
			f = record.File{Path: p, Type: record.TypeSymlink, Mode: 0o777, Target: target}
		}
		if p, interpreter, ok := strings.Cut(text, " #!"); ok {
			f.Path, f.Script, f.Mode = p, interpreter, 0o755
		}
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	m.Index()
	return m
}

// naming has a file of a package hold paths.
func naming(m *record.Manifest, file string, names ...string) *record.Manifest {
	m.Lookup(file).Names = names
	return m
}

// setuid gives a file of a package the bit.
func setuid(m *record.Manifest, file string) *record.Manifest {
	m.Lookup(file).Mode |= 0o4000
	return m
}

// planWithRoot plans with a root that has files, by their sizes.
func (w *world) planWithRoot(t *testing.T, root map[string]int64, command ...*record.Manifest) *Plan {
	t.Helper()
	w.fileSize = func(name string) (int64, bool) {
		size, ok := root[name]
		return size, ok
	}
	p := w.plan(t, command...)
	for _, problem := range p.Problems {
		t.Errorf("problem: %s", problem.Message)
	}
	return p
}

// launchersOf returns why the programs of a plan's packages need a view, by the tree and
// the name.
func launchersOf(p *Plan) map[string]string {
	found := map[string]string{}
	for _, t := range p.Trees {
		for _, l := range t.Launchers {
			found[t.Name+" "+l.Path] = l.Why
		}
	}
	return found
}

// alternative has a package register a link.
func alternative(m *record.Manifest, link, to string) *record.Manifest {
	m.Alternatives = append(m.Alternatives, pkginfo.Alternative{Name: path.Base(link), Link: link, Path: to, Priority: 1})
	return m
}

// nothing is what a root has that has nothing.
func nothing(string) (int64, bool) { return 0, false }

func commandOf(name string, requires ...string) *record.Manifest {
	return pkg(name, "1", append(requires, "libc6"), facts{path: "usr/bin/" + name, needed: []string{"libc.so.6"}})
}

func TestWhichProgramsNeedAView(t *testing.T) {
	for _, tt := range []struct {
		name     string
		packages []*record.Manifest
		root     map[string]int64
		want     map[string]string
	}{
		{name: "libraries only", packages: []*record.Manifest{commandOf("jq")}, want: map[string]string{}},
		{
			name:     "documentation and translations are no need",
			packages: []*record.Manifest{with(commandOf("jq"), "usr/share/doc/jq/README", "usr/share/man/man1/jq.1.gz", "usr/share/locale/de/LC_MESSAGES/jq.mo")},
			want:     map[string]string{},
		},
		{
			name: "locales and character sets, which the C library looks for, are no need",
			packages: []*record.Manifest{
				naming(commandOf("jq", "libc-more"), "usr/bin/jq", "/usr/lib/locale", "/"+libDir+"gconv"),
				with(pkg("libc-bin", "1", nil), "usr/lib/locale/C.utf8/LC_CTYPE"),
				with(pkg("libc-more", "1", nil), libDir+"gconv/EUC-KR.so", libDir+"gconv/gconv-modules.d/more.conf"),
			},
			want: map[string]string{},
		},
		{
			name:     "data of its own",
			packages: []*record.Manifest{with(commandOf("vim"), "usr/share/vim/vim91/defaults.vim")},
			want:     map[string]string{"vim bin/vim": "vim has /usr/share/vim/vim91/defaults.vim"},
		},
		{
			name:     "what editors have for its files",
			packages: []*record.Manifest{with(commandOf("ninja"), "usr/share/emacs/site-lisp/ninja-mode.el", "usr/share/vim/addons/syntax/ninja.vim", "usr/share/vim/registry/ninja.yaml")},
			want:     map[string]string{},
		},
		{
			name:     "data that the root has too",
			packages: []*record.Manifest{with(commandOf("vim"), "usr/share/vim/x")},
			root:     map[string]int64{"/usr/share/vim/x": int64(len("usr/share/vim/x"))},
			want:     map[string]string{},
		},
		{
			name:     "data that the root has of another version",
			packages: []*record.Manifest{with(commandOf("file"), "usr/lib/file/magic.mgc")},
			root:     map[string]int64{"/usr/lib/file/magic.mgc": 7},
			want:     map[string]string{"file bin/file": "file has /usr/lib/file/magic.mgc"},
		},
		{
			name:     "data of a package of the very version",
			packages: []*record.Manifest{commandOf("vim", "vim-runtime = 2"), with(pkg("vim-runtime", "2", nil), "usr/share/vim/vim91/defaults.vim")},
			want:     map[string]string{"vim bin/vim": "vim-runtime has /usr/share/vim/vim91/defaults.vim"},
		},
		{
			name:     "data of a package that it merely needs, and does not name",
			packages: []*record.Manifest{commandOf("ed", "dict"), with(pkg("dict", "2", nil), "usr/share/dict/words")},
			want:     map[string]string{},
		},
		{
			name: "data of a package that it needs and names",
			packages: []*record.Manifest{
				naming(commandOf("look", "dict"), "usr/bin/look", "/usr/share/dict/words"), with(pkg("dict", "2", nil), "usr/share/dict/words"),
			},
			want: map[string]string{"look bin/look": "it names /usr/share/dict/words, which dict has"},
		},
		{
			name: "a directory that it names",
			packages: []*record.Manifest{
				naming(commandOf("look", "dict"), "usr/bin/look", "/usr/share/dict"), with(pkg("dict", "2", nil), "usr/share/dict/words"),
			},
			want: map[string]string{"look bin/look": "it names /usr/share/dict, which dict has"},
		},
		{
			name: "data that one of its libraries names",
			packages: []*record.Manifest{
				pkg("jq", "1", []string{"libjq1", "dict", "libc6"}, facts{path: "usr/bin/jq", needed: []string{"libjq.so.1", "libc.so.6"}}),
				naming(libjq("1"), libDir+"libjq.so.1.0.4", "/usr/share/dict/words"), onig("6"), with(pkg("dict", "2", nil), "usr/share/dict/words"),
			},
			want: map[string]string{"jq bin/jq": "libjq.so.1.0.4 names /usr/share/dict/words, which dict has"},
		},
		{
			name: "data of a package that it does not need",
			packages: []*record.Manifest{
				naming(commandOf("look"), "usr/bin/look", "/usr/share/dict/words"), with(pkg("dict", "2", nil), "usr/share/dict/words"),
			},
			want: map[string]string{},
		},
		{
			name: "a directory that it looks in, where another package has modules",
			packages: []*record.Manifest{
				naming(commandOf("lua"), "usr/bin/lua", "/usr/share/lua/5.4"), with(pkg("lua-json", "2", nil), "usr/share/lua/5.4/json/init.lua"),
			},
			want: map[string]string{"lua bin/lua": "it looks in /usr/share/lua/5.4, where lua-json has files"},
		},
		{
			name: "descriptions of terminals, where its release has them",
			packages: []*record.Manifest{
				naming(commandOf("less"), "usr/bin/less", "/usr/share/terminfo"), with(pkg("ncurses-base", "6", nil), "usr/lib/terminfo/x/xterm"),
			},
			want: map[string]string{"less bin/less": "it looks in /usr/lib/terminfo, where ncurses-base has files"},
		},
		{
			name: "descriptions of terminals, where later releases have them",
			packages: []*record.Manifest{
				naming(commandOf("less"), "usr/bin/less", "/usr/share/terminfo"), with(pkg("ncurses-base", "6", nil), "usr/share/terminfo/x/xterm"),
			},
			want: map[string]string{"less bin/less": "it looks in /usr/share/terminfo, where ncurses-base has files"},
		},
		{
			name: "a catalog that its library reads, and where what it lists stands",
			packages: []*record.Manifest{
				pkg("jq", "1", []string{"libjq1", "libc6"}, facts{path: "usr/bin/jq", needed: []string{"libjq.so.1", "libc.so.6"}}),
				naming(libjq("1"), libDir+"libjq.so.1.0.4", "/etc/xml/catalog"), onig("6"), with(pkg("codes", "1", nil), "usr/share/xml/codes/x.xml"),
				with(pkg("book", "2", []string{"xml-core"}), "usr/share/xml/book/b.xml"),
			},
			want: map[string]string{"jq bin/jq": "it looks in /usr/share/xml, where book has files"},
		},
		{
			name: "a script that shells read",
			packages: []*record.Manifest{
				with(pkg("gettext", "1", nil), "usr/bin/gettext.sh #!/bin/sh", "usr/bin/gettext2 #!/bin/sh", "usr/share/gettext/data"),
			},
			want: map[string]string{"gettext bin/gettext2": "gettext has /usr/share/gettext/data"},
		},
		{
			name: "no catalog is read",
			packages: []*record.Manifest{
				commandOf("jq"), with(pkg("book", "2", []string{"xml-core"}), "usr/share/xml/book/b.xml"),
			},
			want: map[string]string{},
		},
		{
			name: "a directory that its library looks in, where another package has plugins",
			packages: []*record.Manifest{
				pkg("jq", "1", []string{"libjq1", "libc6"}, facts{path: "usr/bin/jq", needed: []string{"libjq.so.1", "libc.so.6"}}),
				naming(libjq("1"), libDir+"libjq.so.1.0.4", "/"+libDir+"jq"), onig("6"), pkg("libjq-more", "2", []string{"libc6"}, facts{path: libDir + "jq/more.so"}),
			},
			want: map[string]string{"jq bin/jq": "it looks in /" + libDir + "jq, where libjq-more has files"},
		},
		{
			name: "a directory in which its library has plugins, and another package, too",
			packages: []*record.Manifest{
				pkg("jq", "1", []string{"libjq1", "libc6"}, facts{path: "usr/bin/jq", needed: []string{"libjq.so.1", "libc.so.6"}}),
				pkg("libjq1", "1", []string{"libc6"}, facts{path: libDir + "libjq.so.1", soname: "libjq.so.1", needed: []string{"libc.so.6"}}, facts{path: libDir + "jq/core.so"}),
				onig("6"), pkg("libjq-more", "2", []string{"libc6"}, facts{path: libDir + "jq/more.so"}),
			},
			want: map[string]string{"jq bin/jq": "it looks in /" + libDir + "jq, where libjq-more has files"},
		},
		{
			name: "an alternative that leads to another package's program outside of bin",
			packages: []*record.Manifest{
				alternative(commandOf("guile", "guile-libs"), "/usr/bin/scheme", "/usr/lib/guile/bin/guile"),
				with(pkg("guile-libs", "1", nil, facts{path: "usr/lib/guile/bin/guile", needed: []string{"libc.so.6"}}), "usr/share/guile/x"),
			},
			want: map[string]string{"guile bin/scheme": "guile-libs has /usr/lib/guile/bin/guile"},
		},
		{
			name: "directories that are nobody's in particular",
			packages: []*record.Manifest{
				naming(commandOf("xterm"), "usr/bin/xterm", "/usr/share/fonts", "/"+path.Clean(libDir)), with(pkg("fonts", "2", nil), "usr/share/fonts/x.ttf", libDir+"x/y"),
			},
			want: map[string]string{},
		},
		{
			name:     "a program with rights of its own",
			packages: []*record.Manifest{setuid(with(commandOf("ping"), "usr/share/ping/data"), "usr/bin/ping")},
			want:     map[string]string{},
		},
		{
			name: "a script whose interpreter is in the closure",
			packages: []*record.Manifest{
				with(pkg("ack", "3", []string{"perl"}), "usr/bin/ack #!/usr/bin/perl"), commandOf("perl"),
			},
			want: map[string]string{"ack bin/ack": "its interpreter /usr/bin/perl is that of perl"},
		},
		{
			name:     "a script of the root's shell",
			packages: []*record.Manifest{with(pkg("which", "3", nil), "usr/bin/which #!/bin/sh")},
			want:     map[string]string{},
		},
		{
			name: "a link to another package's program",
			packages: []*record.Manifest{
				with(pkg("python3", "3", []string{"python3.13"}), "usr/bin/python3 -> python3.13"),
				with(commandOf("python3.13"), "usr/lib/python3.13/os.py"),
			},
			want: map[string]string{
				"python3 bin/python3": "python3.13 has /usr/lib/python3.13/os.py", "python3.13 bin/python3.13": "python3.13 has /usr/lib/python3.13/os.py",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newWorld().planWithRoot(t, tt.root, append(tt.packages, libc("2.41"))...)
			if diff := cmp.Diff(tt.want, launchersOf(p)); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

// TestLauncherTakesTheLinksPlace checks that the tree's interface has one file of that
// name, that the farm offers it, and that it is part of the tree's identity.
func TestLauncherTakesTheLinksPlace(t *testing.T) {
	p := newWorld().planWithRoot(t, nil, with(commandOf("vim"), "usr/share/vim/vim91/defaults.vim"), libc("2.41"))
	m := p.Trees[slices.IndexFunc(p.Trees, func(t PlannedTree) bool { return t.Name == "vim" })].Manifest
	f := m.Lookup("bin/vim")
	if f == nil || f.Launches != "/usr/bin/vim" || f.Mode != 0o755 || f.Size == 0 {
		t.Errorf("the launcher is %+v", f)
	}
	if slices.ContainsFunc(m.Links, func(l record.Link) bool { return l.Path == "bin/vim" }) {
		t.Error("there is a link, too")
	}
	g := p.Generation
	i := slices.IndexFunc(g.Trees, func(t record.Tree) bool { return t.Name == "vim" })
	if !slices.Contains(g.Trees[i].Links, "bin/vim") || len(p.Views) != 1 || g.Trees[i].View != view.Dir(p.Views[0].Identity) {
		t.Errorf("the generation has %+v, and the plan the views %+v", g.Trees[i], p.Views)
	}
	plain := newWorld().planWithRoot(t, map[string]int64{"/usr/share/vim/vim91/defaults.vim": int64(len("usr/share/vim/vim91/defaults.vim"))},
		with(commandOf("vim"), "usr/share/vim/vim91/defaults.vim"), libc("2.41"))
	if plain.Generation.Trees[i].Identity == g.Trees[i].Identity || plain.Generation.Trees[i].View != "" {
		t.Error("a tree without launchers is the same")
	}
}

// paths returns the paths of a view's files.
func viewPaths(v *record.Manifest) []string {
	var paths []string
	for _, f := range v.Files {
		if strings.HasPrefix(f.Path, "usr/lib/extension-release.d/") {
			continue // each view has it
		}
		paths = append(paths, f.Path)
	}
	return paths
}

func TestWhatAViewHas(t *testing.T) {
	python := func() []*record.Manifest {
		return []*record.Manifest{
			with(pkg("python3", "3.13", []string{"python3.13"}), "usr/bin/python3 -> python3.13"),
			with(pkg("python3.13", "3.13.5", []string{"libpython", "libc6"}, facts{path: "usr/bin/python3.13", needed: []string{"libpython3.so.1"}}),
				"usr/lib/python3.13/os.py", "usr/share/doc/python3.13/README", "etc/python3.13/site.py"),
			pkg("libpython", "3.13.5", []string{"libc6"}, facts{path: libDir + "libpython3.so.1", soname: "libpython3.so.1", needed: []string{"libc.so.6"}}),
			libc("2.41"),
		}
	}
	requests := with(pkg("python3-requests", "2", []string{"python3", "ca"}), libDir+"python3.13/requests.py")
	ca := with(pkg("ca", "1", nil), "usr/share/ca/root.pem")
	blender := with(pkg("blender", "4", []string{"python3"}), "usr/share/blender/x.py")
	p := newWorld().planWithRoot(t, nil, append(python(), requests, ca, blender)...)
	var of *record.Tree
	for i := range p.Generation.Trees {
		if tr := &p.Generation.Trees[i]; tr.Name == "python3.13" {
			of = tr
		}
	}
	i := slices.IndexFunc(p.Views, func(v PlannedView) bool { return view.Dir(v.Identity) == of.View })
	if i < 0 {
		t.Fatalf("python3.13 has the view %q, which is not planned", of.View)
	}
	v := view.Merge(p.Views[i].Parts)
	if v.Identity != p.Views[i].Identity {
		t.Error("the merged view has another identity than the planned one")
	}
	// The package that adds a module is there with what it needs, and the one that only
	// uses Python is not.
	want := []string{"usr/bin/python3", "usr/bin/python3.13", "usr/lib/python3.13/os.py", libDir + "python3.13/requests.py", "usr/share/ca/root.pem"}
	if diff := cmp.Diff(want, viewPaths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if slices.Contains(v.Merged, "libpython/3.13.5") {
		t.Error("it is merged from a package of libraries only")
	}
	for _, f := range v.Files {
		if f.Type == record.TypeFile && (f.ELF != nil || f.Edits != nil || f.Object != f.Source) {
			t.Errorf("%+v is not a plain file", f)
		}
	}

	// Without the module the view is another one, and the tree the same.
	without := newWorld().planWithRoot(t, nil, python()...)
	for i := range without.Generation.Trees {
		if o := &without.Generation.Trees[i]; o.Name == "python3.13" && (o.View == of.View || o.Identity != of.Identity) {
			t.Errorf("without the module it is %+v, and with it %+v", o, of)
		}
	}
}

// TestModules: a view has what other packages of the release bring into directories that
// the program looks in, or its libraries, or the program that a command leads to.
func TestModules(t *testing.T) {
	of := func(release string, m *record.Manifest) *record.Manifest {
		m.Named.Release = release
		return m
	}
	command := []*record.Manifest{
		of("trixie", with(pkg("ruby", "1", []string{"ruby3"}), "usr/bin/ruby -> ruby3")),
		of("trixie", pkg("ruby3", "3.3", []string{"libruby", "libc6"}, facts{path: "usr/bin/ruby3", needed: []string{"libruby.so.3"}})),
		of("trixie", naming(pkg("libruby", "3.3", []string{"libc6"}, facts{path: libDir + "libruby.so.3", soname: "libruby.so.3", needed: []string{"libc.so.6"}}), libDir+"libruby.so.3", "/usr/lib/ruby/vendor_ruby")),
		of("trixie", with(pkg("ruby-nokogiri", "1", []string{"racc"}), "usr/lib/ruby/vendor_ruby/nokogiri.rb")),
		of("trixie", with(pkg("racc", "1", nil), "usr/share/racc/grammar")),
		of("sid", with(pkg("ruby-rack", "2", nil), "usr/lib/ruby/vendor_ruby/rack.rb")),
		of("sid", with(pkg("ruby-same", "2", nil), "usr/lib/ruby/vendor_ruby/same.rb")),
		libc("2.41"),
	}
	command[6].Named.Others = "bookworm trixie" // which have the very same package
	p := newWorld().planWithRoot(t, nil, command...)
	for _, tr := range p.Generation.Trees {
		i := slices.IndexFunc(p.Views, func(v PlannedView) bool { return view.Dir(v.Identity) == tr.View })
		if !slices.Contains([]string{"ruby", "ruby3"}, tr.Name) {
			continue
		}
		if i < 0 {
			t.Errorf("%s has no view", tr.Name)
			continue
		}
		want := []string{"usr/bin/ruby3", "usr/lib/ruby/vendor_ruby/nokogiri.rb", "usr/lib/ruby/vendor_ruby/same.rb", "usr/share/racc/grammar"}
		if tr.Name == "ruby" {
			want = append([]string{"usr/bin/ruby"}, want...)
		}
		if diff := cmp.Diff(want, viewPaths(view.Merge(p.Views[i].Parts))); diff != "" {
			t.Errorf("%s (-want +have)\n%s", tr.Name, diff)
		}
	}
}

// TestModuleOfSeveralReleases: a module that is the very same in two releases is seen by the
// programs of both, each with what its own release has.
func TestModuleOfSeveralReleases(t *testing.T) {
	of := func(release, others string, m *record.Manifest) *record.Manifest {
		m.Named.Release, m.Named.Others = release, others
		return m
	}
	perl := func(release, version string) *record.Manifest {
		return of(release, "", with(pkg("perl", version, nil), "usr/bin/perl"+version+" #!/bin/sh", "usr/share/perl5/Core"+version+".pm"))
	}
	command := []*record.Manifest{
		perl("trixie", "5.40"), perl("sid", "5.42"), of("trixie", "sid", with(pkg("json", "4", []string{"perl"}), "usr/share/perl5/JSON.pm")),
		of("trixie", "", with(pkg("tool", "1", []string{"json"}), "usr/bin/tool #!/bin/sh", "usr/share/tool/data")), libc("2.41"),
	}
	p := newWorld().planWithRoot(t, nil, command...)
	want := map[string][]string{
		"perl 5.40": {"usr/bin/perl5.40", "usr/share/perl5/Core5.40.pm", "usr/share/perl5/JSON.pm"},
		"perl 5.42": {"usr/bin/perl5.42", "usr/share/perl5/Core5.42.pm", "usr/share/perl5/JSON.pm"},
		"tool 1":    {"usr/bin/perl5.40", "usr/bin/tool", "usr/share/perl5/Core5.40.pm", "usr/share/perl5/JSON.pm", "usr/share/tool/data"},
	}
	for _, tr := range p.Generation.Trees {
		i := slices.IndexFunc(p.Views, func(v PlannedView) bool { return view.Dir(v.Identity) == tr.View })
		expected := want[tr.Name+" "+tr.Version]
		if expected == nil {
			continue
		}
		if i < 0 {
			t.Errorf("%s=%s has no view", tr.Name, tr.Version)
			continue
		}
		if diff := cmp.Diff(expected, viewPaths(view.Merge(p.Views[i].Parts))); diff != "" {
			t.Errorf("%s=%s (-want +have)\n%s", tr.Name, tr.Version, diff)
		}
	}
}

// TestInterpretersOfScripts: a view has the interpreters of its scripts that are found as
// defaults, though the package asks for none, because each system has one.
func TestInterpretersOfScripts(t *testing.T) {
	p := newWorld().planWithRoot(t, nil,
		with(pkg("bats", "1", nil), "usr/bin/bats #!/usr/bin/bash", "usr/lib/bats/exec #!/bin/zsh", "usr/lib/bats/common"),
		with(pkg("bash", "5", []string{"base"}), "usr/bin/bash #!x", "usr/share/bash/data"), with(pkg("base", "1", nil), "usr/share/base/data"),
		with(pkg("fish", "4", nil), "usr/bin/fish #!x", "usr/share/fish/data"), libc("2.41"))
	for _, tr := range p.Generation.Trees {
		if tr.Name != "bats" {
			continue
		}
		i := slices.IndexFunc(p.Views, func(v PlannedView) bool { return view.Dir(v.Identity) == tr.View })
		want := []string{"usr/bin/bash", "usr/bin/bats", "usr/lib/bats/common", "usr/lib/bats/exec", "usr/share/base/data", "usr/share/bash/data"}
		if i < 0 {
			t.Fatal("it has no view")
		}
		if diff := cmp.Diff(want, viewPaths(view.Merge(p.Views[i].Parts))); diff != "" {
			t.Errorf("(-want +have)\n%s", diff)
		}
	}
}

// TestOneVersionInAView: of a package of which two releases have a version, a view has that of its own
// release, whichever is the default: the interpreter of its scripts, and what else leads to both.
func TestOneVersionInAView(t *testing.T) {
	of := func(release string, m *record.Manifest) *record.Manifest {
		m.Named.Release = release
		return m
	}
	w := newWorld()
	keep := func(p *Plan) {
		w.generation = p.Generation
		for _, tr := range p.Trees {
			w.manifests[layout.TreePath(tr.Name, tr.Tree)] = tr.Manifest
		}
	}
	keep(w.planWithRoot(t, nil, of("sid", with(pkg("bash", "6", nil), "usr/bin/bash #!x", "usr/share/bash/6")), of("sid", with(pkg("data", "2", nil), "usr/share/data/2")),
		of("sid", with(pkg("extra", "2", []string{"data"}), "usr/share/extra/x")), libc("2.41")))
	p := w.planWithRoot(t, nil, of("trixie", with(pkg("bats", "1", []string{"extra", "data"}), "usr/bin/bats #!/usr/bin/bash", "usr/lib/bats/common")),
		of("trixie", with(pkg("bash", "5", nil), "usr/bin/bash #!x", "usr/share/bash/5")), of("trixie", with(pkg("data", "1", nil), "usr/share/data/1")))
	if p.Generation.DefaultOf("bash").Version != "6" || p.Generation.DefaultOf("data").Version != "2" {
		t.Fatal("the newest are not the defaults")
	}
	for _, tr := range p.Generation.Trees {
		if tr.Name != "bats" {
			continue
		}
		i := slices.IndexFunc(p.Views, func(v PlannedView) bool { return view.Dir(v.Identity) == tr.View })
		want := []string{"usr/bin/bash", "usr/bin/bats", "usr/lib/bats/common", "usr/share/bash/5", "usr/share/data/1", "usr/share/extra/x"}
		if i < 0 {
			t.Fatal("it has no view")
		}
		if diff := cmp.Diff(want, viewPaths(view.Merge(p.Views[i].Parts))); diff != "" {
			t.Errorf("(-want +have)\n%s", diff)
		}
	}
}

// TestModulesComeLater: a program that has no view is told of when modules come, and has one
// when it is installed again.
func TestModulesComeLater(t *testing.T) {
	lua := func() *record.Manifest { return naming(commandOf("lua"), "usr/bin/lua", "/usr/share/lua/5.4") }
	lpeg := func() *record.Manifest { return with(pkg("lua-lpeg", "1", nil), "usr/share/lua/5.4/re.lua") }
	w := newWorld()
	keep := func(p *Plan) {
		w.generation = p.Generation
		for _, tr := range p.Trees {
			w.manifests[layout.TreePath(tr.Name, tr.Tree)] = tr.Manifest
		}
	}
	keep(w.planWithRoot(t, nil, lua(), commandOf("jq"), libc("2.41")))
	p := w.planWithRoot(t, nil, lpeg())
	want := []string{"the programs of lua=1 look for files where lua-lpeg=1 has some, and do not see them: install lua again"}
	if diff := cmp.Diff(want, p.Warnings); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	keep(p)
	p = w.planWithRoot(t, nil, lua())
	if len(launchersOf(p)) != 1 || p.Trees[0].Present {
		t.Errorf("installed again it is %+v", p.Trees[0])
	}
	keep(p)
	if p = w.planWithRoot(t, nil, with(pkg("lua-json", "1", nil), "usr/share/lua/5.4/json.lua")); p.Generation.DefaultOf("lua").View == "" {
		t.Error("it has no view")
	}
}

// TestConfNeeds: what a package may need in /etc is its own, and of its closure what its
// programs or libraries name.
func TestConfNeeds(t *testing.T) {
	p := newWorld().planWithRoot(t, nil,
		with(naming(commandOf("lynx", "lynx-common", "paper", "cron"), "usr/bin/lynx", "/etc/lynx/lynx.cfg", "/etc/paper"),
			"etc/lynx-own.cfg", "etc/cron.daily/lynx", "usr/share/lynx/linked -> /etc/lynx-linked.cfg", "etc/lynx-linked.cfg"),
		with(pkg("lynx-common", "1", nil), "etc/lynx/lynx.cfg", "etc/lynx/lynx.lss"),
		with(pkg("paper", "1", nil), "etc/paper/a", "etc/paper/sub/b", "etc/paper/there"),
		with(pkg("cron", "1", nil), "etc/crontab"), libc("2.41"))
	var lynx *record.Tree
	manifests := map[string]*record.Manifest{}
	for i := range p.Generation.Trees {
		if tr := &p.Generation.Trees[i]; tr.Name == "lynx" {
			lynx = tr
		}
	}
	for _, tr := range p.Trees {
		manifests[layout.TreePath(tr.Name, tr.Tree)] = tr.Manifest
	}
	have := func() map[string][]string {
		needs, err := ConfNeeds(p.Generation, []*record.Tree{lynx}, func(t *record.Tree) (*record.Manifest, error) { return manifests[t.Path()], nil }, func(name string) bool { return name != "/etc/paper/there" })
		if err != nil {
			t.Fatal(err)
		}
		have := map[string][]string{}
		for _, n := range needs[0] {
			have[n.Tree.Name] = n.Files
		}
		return have
	}
	want := map[string][]string{"lynx": {"/etc/lynx-own.cfg"}, "lynx-common": {"/etc/lynx/lynx.cfg"}, "paper": {"/etc/paper/a", "/etc/paper/sub/b"}}
	if diff := cmp.Diff(want, have()); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	lynx.View = "" // so that nothing stands for what links lead to
	want["lynx"] = []string{"/etc/lynx-linked.cfg", "/etc/lynx-own.cfg"}
	if diff := cmp.Diff(want, have()); diff != "" {
		t.Errorf("without a view (-want +have)\n%s", diff)
	}
}

func TestViewsOfAnotherGeneration(t *testing.T) {
	runtime := with(pkg("vim-runtime", "2", nil), "usr/share/vim/vim91/defaults.vim")
	addon := with(pkg("vim-addon", "1", []string{"vim"}), "usr/share/vim/vim91/plugin/x.vim")
	p := newWorld().planWithRoot(t, nil, commandOf("vim", "vim-runtime = 2"), runtime, addon, libc("2.41"))
	manifests := map[string]*record.Manifest{}
	for _, tr := range p.Trees {
		manifests[layout.TreePath(tr.Name, tr.Tree)] = tr.Manifest
	}
	read := func(t *record.Tree) (*record.Manifest, error) { return manifests[t.Path()], nil }
	hasView := func(t *record.Tree) bool { return t.View != "" }
	same := p.Generation.Next(2, p.Generation.Time)
	same.Orders = debOrders
	if views, err := Views(same, hasView, read, nothing); err != nil || len(views) != 1 || !slices.EqualFunc(same.Trees, p.Generation.Trees, func(a, b record.Tree) bool { return a.View == b.View }) {
		t.Errorf("the same trees have the views %v, error %v", views, err)
	}
	same.Remove(func(t *record.Tree) bool { return t.Name == "vim-addon" })
	views, err := Views(same, hasView, read, nothing)
	if err != nil || len(views) != 1 || views[0].Identity == p.Views[0].Identity {
		t.Fatalf("without the addon there are the views %v, error %v", views, err)
	}
	if diff := cmp.Diff([]string{"usr/bin/vim", "usr/share/vim/vim91/defaults.vim"}, viewPaths(view.Merge(views[0].Parts))); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestOddCommands has a command whose name no launcher can carry: it is installed as it was
// before there were any.
func TestOddCommands(t *testing.T) {
	odd := "usr/bin/a\nb"
	p := newWorld().planWithRoot(t, nil, with(pkg("odd", "1", nil), odd+" #!/bin/sh", "usr/bin/plain #!/bin/sh", "usr/share/odd/data"))
	if diff := cmp.Diff(map[string]string{"odd bin/plain": "odd has /usr/share/odd/data"}, launchersOf(p)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestNoLaunchers plans for places that there are no launchers for: the packages are
// installed as they were before there were any.
func TestNoLaunchers(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"another architecture": func(in *Input) { in.Generation.Architecture = "riscv64-linux-gnu" },
		"a long prefix":        func(in *Input) { in.Prefix = "/" + strings.Repeat("x", 600) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.change = change
			p := w.planWithRoot(t, nil, with(pkg("vim", "1", nil), "usr/bin/vim #!/bin/sh", "usr/share/vim/data"))
			if len(launchersOf(p)) > 0 || len(p.Views) > 0 || len(p.Trees) != 1 {
				t.Errorf("the plan has the trees %+v and the views %v", p.Trees, p.Views)
			}
		})
	}
}

// TestUnreadManifest has one manifest of a generation that cannot be read: what has a view
// keeps it, and what is new gets one.
func TestUnreadManifest(t *testing.T) {
	w := newWorld()
	p := w.planWithRoot(t, nil, with(commandOf("vim"), "usr/share/vim/data"), with(commandOf("ed"), "usr/share/ed/data"), pkg("lost", "1", nil), libc("2.41"))
	w.generation = p.Generation
	for _, tr := range p.Trees {
		if tr.Name != "lost" {
			w.manifests[layout.TreePath(tr.Name, tr.Tree)] = tr.Manifest
		}
	}
	before := map[string]string{}
	for _, tr := range w.generation.Trees {
		before[tr.Name] = tr.View
	}
	next := w.planWithRoot(t, nil, with(pkg("vim-addon", "1", []string{"vim"}), "usr/share/vim/addon"), with(pkg("nano", "1", nil), "usr/bin/nano #!/bin/sh", "usr/share/nano/data"))
	for _, tr := range next.Generation.Trees {
		switch {
		case tr.Name == "nano" && tr.View == "":
			t.Error("the new program has no view")
		case tr.Name != "nano" && tr.View != before[tr.Name]:
			t.Errorf("%s has the view %q, and had %q", tr.Name, tr.View, before[tr.Name])
		}
	}
	if len(next.Views) != 1 || !slices.ContainsFunc(next.Warnings, func(w string) bool { return strings.Contains(w, "hashpkg verify --repair") }) {
		t.Errorf("views %v, warnings %q", next.Views, next.Warnings)
	}
}
