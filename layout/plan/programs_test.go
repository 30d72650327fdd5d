package plan

import (
	"debug/elf"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
)

// works and lacks are programs; the latter needs a library that no package has.
func works(path string) facts {
	return facts{path: path, program: true, needed: []string{"libc.so.6"}}
}

func lacks(path string) facts {
	return facts{path: path, program: true, needed: []string{"libc.so.6", "libnone.so.1"}}
}

// said is what a plan refuses, by file, and what it warns of.
func said(plan *Plan) (lines []string) {
	for _, p := range plan.Problems {
		lines = append(lines, "refused "+p.File)
	}
	for _, w := range plan.Warnings {
		lines = append(lines, "warning "+w)
	}
	return lines
}

func TestProgramsThatWouldNotStart(t *testing.T) {
	const missing = " of app=1 needs libnone.so.1, and no package provides it; add the package that has it to the command"
	isDependency := func(m *record.Manifest) *record.Manifest {
		m.Named.Asked = false
		return m
	}
	script := func(m *record.Manifest, path string) *record.Manifest {
		m.Files = append([]record.File{{Path: path, Type: record.TypeFile, Mode: 0o755}}, m.Files...)
		m.Index()
		return m
	}
	for _, tt := range []struct {
		name     string
		packages []*record.Manifest
		change   func(*Input)
		want     []string
	}{
		{
			"the only command",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/bin/app"))},
			nil,
			[]string{"refused usr/bin/app"},
		},
		{
			"the only command, beside a script",
			[]*record.Manifest{script(pkg("app", "1", nil, lacks("usr/bin/tool")), "usr/bin/app")},
			nil,
			[]string{"refused usr/bin/tool"},
		},
		{
			"the command of the package's name",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/bin/app"), works("usr/bin/other"))},
			nil,
			[]string{"refused usr/bin/app"},
		},
		{
			"one of several",
			[]*record.Manifest{pkg("app", "1", nil, works("usr/bin/a"), lacks("usr/sbin/b"), works("usr/games/c"))},
			nil,
			[]string{"warning app=1: 1 of its 3 programs will not start: usr/sbin/b; missing: libnone.so.1"},
		},
		{
			"one of several, which is wanted",
			[]*record.Manifest{pkg("app", "1", nil, works("usr/bin/a"), lacks("usr/sbin/b"), works("usr/games/c"))},
			func(in *Input) { in.Program = "b" },
			[]string{"refused usr/sbin/b"},
		},
		{
			"not the one that is wanted",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/bin/app"), works("usr/bin/b"))},
			func(in *Input) { in.Program = "b" },
			[]string{"warning app=1: 1 of its 2 programs will not start: usr/bin/app; missing: libnone.so.1"},
		},
		{
			"all",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/bin/a"), lacks("usr/bin/b"))},
			nil,
			[]string{"refused usr/bin/a", "refused usr/bin/b"},
		},
		{
			"all, and they may",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/bin/a"), lacks("usr/bin/b"))},
			func(in *Input) { in.AllowMissing = true },
			[]string{"warning usr/bin/a" + missing + " (and 1 more)"},
		},
		{
			"programs elsewhere",
			[]*record.Manifest{pkg("app", "1", nil, works("usr/bin/app"), lacks("usr/lib/app/method"), lacks("usr/libexec/helper"))},
			nil,
			[]string{"warning app=1: 2 of its 3 programs will not start: usr/lib/app/method, usr/libexec/helper; missing: libnone.so.1"},
		},
		{
			"programs elsewhere only",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/lib/app/a"), lacks("usr/lib/app/b"))},
			nil,
			[]string{"warning app=1: 2 of its 2 programs will not start: usr/lib/app/a, usr/lib/app/b; missing: libnone.so.1"},
		},
		{
			"the only program, elsewhere",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/lib/app/method"))},
			nil,
			[]string{"refused usr/lib/app/method"},
		},
		{
			"the only program is data",
			[]*record.Manifest{pkg("app", "1", nil, lacks("usr/share/app/testdata/a"))},
			nil,
			[]string{"warning app=1: its only program will not start: usr/share/app/testdata/a; missing: libnone.so.1"},
		},
		{
			"of a package that another needs",
			[]*record.Manifest{
				pkg("app", "1", nil, works("usr/bin/app")), isDependency(pkg("tools", "2", nil, lacks("usr/bin/tool"))),
				isDependency(pkg("libx", "3", nil, facts{path: libDir + "libx.so.1", soname: "libx.so.1", needed: []string{"libnone.so.1"}})),
			},
			nil,
			[]string{
				"warning " + libDir + "libx.so.1 of libx=3 needs libnone.so.1, and no package provides it; add the package that has it to the command",
				"warning tools=2: its only program will not start: usr/bin/tool; missing: libnone.so.1",
			},
		},
		{
			"for a library that another needs",
			[]*record.Manifest{
				pkg("app", "1", nil, facts{path: "usr/bin/app", needed: []string{"libx.so.1"}}),
				isDependency(pkg("libx", "3", nil, facts{path: libDir + "libx.so.1", soname: "libx.so.1", needed: []string{"libnone.so.1"}})),
			},
			nil,
			[]string{
				"refused " + libDir + "libx.so.1",
				"warning " + libDir + "libx.so.1 of libx=3 needs libnone.so.1, and no package provides it; add the package that has it to the command",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			if tt.change != nil {
				w.change = tt.change
			}
			plan := w.plan(t, append(tt.packages, libc("2.36"))...)
			if diff := cmp.Diff(tt.want, said(plan)); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
			if refuses := len(plan.Problems) > 0; refuses == (plan.Generation != nil) {
				t.Errorf("problems: %v, and the generation is %v", refuses, plan.Generation)
			}
		})
	}
}

// TestCommandOfAnotherPackageWouldNotStart names a package whose command is a link to
// what other packages have, which nobody named.
func TestCommandOfAnotherPackageWouldNotStart(t *testing.T) {
	link := func(name, path, target string) *record.Manifest {
		m := pkg(name, "1", nil)
		m.Files = []record.File{{Path: path, Type: record.TypeSymlink, Target: target}}
		m.Index()
		return m
	}
	first, second := link("cc", "usr/bin/cc", "cc-14"), link("cc-14", "usr/bin/cc-14", "/usr/bin/real-cc-14")
	third := pkg("real-cc-14", "1", nil, lacks("usr/bin/real-cc-14"), works("usr/bin/real-cc-tool"))
	second.Named.Asked, third.Named.Asked = false, false
	plan := newWorld().plan(t, first, second, third, libc("2.36"))
	want := []string{
		"refused usr/bin/real-cc-14",
		"warning real-cc-14=1: 1 of its 2 programs will not start: usr/bin/real-cc-14; missing: libnone.so.1",
	}
	if diff := cmp.Diff(want, said(plan)); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

// TestForeignFiles has files for other systems and machines: nothing is said of them, and
// nothing is done to them.
func TestForeignFiles(t *testing.T) {
	m := pkg("app", "1", nil, works("usr/bin/app"), lacks("usr/lib/app/freebsd"), lacks("usr/lib/app/arm"), lacks("usr/lib/app/bpf"), lacks("usr/lib/app/i386"),
		facts{path: libDir + "libc.so.7", soname: "libc.so.7", needed: []string{"libnone.so.1"}})
	set := func(file string, change func(*record.File)) {
		change(m.Lookup(file))
	}
	set("usr/lib/app/freebsd", func(f *record.File) { f.ELF.OSABI = elf.ELFOSABI_FREEBSD })
	set(libDir+"libc.so.7", func(f *record.File) { f.ELF.OSABI = elf.ELFOSABI_FREEBSD })
	set("usr/lib/app/arm", func(f *record.File) { f.ELF.Machine = elf.EM_AARCH64 })
	set("usr/lib/app/bpf", func(f *record.File) { f.ELF.Machine = elf.EM_BPF })
	set("usr/lib/app/i386", func(f *record.File) { f.ELF.Machine, f.ELF.Class = elf.EM_386, elf.ELFCLASS32 })
	plan := newWorld().plan(t, m, libc("2.36"))
	want := []string{"warning app=1: 1 of its 2 programs will not start: usr/lib/app/i386; missing: /lib64/ld-linux-x86-64.so.2, libc.so.6, libnone.so.1"}
	if diff := cmp.Diff(want, said(plan)); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	for _, l := range plan.Trees[0].Links {
		if strings.Contains(l.Path, "libc.so.7") {
			t.Errorf("the tree offers %s", l.Path)
		}
	}
	// In an arm64 root, and of a package for arm64, it is one like others.
	arm := pkg("tool", "1", nil, lacks("usr/bin/tool"))
	arm.Architecture = "arm64"
	arm.Files[0].ELF.Machine = elf.EM_AARCH64
	if plan := newWorld().plan(t, arm); len(plan.Problems) == 0 {
		t.Errorf("a program for the package's own architecture is not looked at: %q", said(plan))
	}
}

// TestManyThatWouldNotStart has more of them than a person reads.
func TestManyThatWouldNotStart(t *testing.T) {
	files := []facts{works("usr/bin/a")}
	for i := range 14 {
		files = append(files, facts{path: fmt.Sprintf("usr/libexec/%02d", i), program: true, needed: []string{fmt.Sprintf("libnone.so.%d", i%3)}})
	}
	plan := newWorld().plan(t, pkg("app", "1", nil, files...), libc("2.36"))
	if len(plan.Warnings) != 1 || !strings.HasPrefix(plan.Warnings[0], "app=1: 14 of its 15 programs will not start: usr/libexec/00, ") ||
		!strings.HasSuffix(plan.Warnings[0], ", usr/libexec/04 and 9 more; missing: libnone.so.0, libnone.so.1, libnone.so.2") {
		t.Errorf("warnings: %q", plan.Warnings)
	}
}

// TestProgramsThatCannotBeEdited has commands that the editor refuses.
func TestProgramsThatCannotBeEdited(t *testing.T) {
	const why = " of app=1 cannot be edited to load its libraries from their trees: it is full"
	for _, tt := range []struct {
		name     string
		full     []string
		programs []facts
		allow    bool
		want     []string
	}{
		{"the only one", []string{"a"}, []facts{works("usr/bin/a")}, false, []string{"refused usr/bin/a"}},
		{"the only one, and it may", []string{"a"}, []facts{works("usr/bin/a")}, true, []string{"warning usr/bin/a" + why}},
		{"one of two", []string{"a"}, []facts{works("usr/bin/a"), works("usr/bin/b")}, false, []string{"warning usr/bin/a" + why + "; it will not start"}},
		{"the package's", []string{"app"}, []facts{works("usr/bin/app"), works("usr/bin/b")}, false, []string{"refused usr/bin/app"}},
		{"beside one that lacks a library", []string{"a"}, []facts{works("usr/bin/a"), lacks("usr/bin/b")}, false, []string{
			"refused usr/bin/a", "refused usr/bin/b", "warning app=1: 1 of its 2 programs will not start: usr/bin/b; missing: libnone.so.1",
		}},
		{"elsewhere", []string{"t"}, []facts{works("usr/bin/a"), works("usr/lib/app/t")}, false, []string{"warning usr/lib/app/t" + why + "; it will not start"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.editor = fullFor(tt.full)
			w.change = func(in *Input) { in.AllowMissing = tt.allow }
			plan := w.plan(t, pkg("app", "1", nil, tt.programs...), libc("2.36"))
			if diff := cmp.Diff(tt.want, said(plan)); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
			for _, tree := range plan.Trees {
				for _, e := range tree.Edits {
					for _, full := range tt.full {
						if strings.HasSuffix(e.File, "/"+full) {
							t.Errorf("%s is edited: %+v", e.File, e.Edits)
						}
					}
				}
			}
		})
	}
}

// fullFor refuses the edits of files with these names.
type fullFor []string

func (names fullFor) Edit(requests []EditRequest) ([]EditResult, error) {
	results := make([]EditResult, len(requests))
	for i, r := range requests {
		for _, name := range names {
			if strings.HasSuffix(r.File.Path, "/"+name) {
				results[i].Refused = "it is full"
			}
		}
	}
	return results, nil
}
