package plan

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// ofRelease has packages come from a release by name, the first one because somebody
// asked for it.
func ofRelease(release string, packages ...*record.Manifest) []*record.Manifest {
	for i, m := range packages {
		m.Named = record.Named{Release: release, Asked: i == 0}
	}
	return packages
}

// libfoo returns a package that has libfoo.so.1.
func libfoo(name string) *record.Manifest {
	return pkg(name, "1", []string{"libc6"}, facts{path: libDir + "libfoo.so.1", soname: "libfoo.so.1", needed: []string{"libc.so.6"}})
}

// app returns a program that loads libfoo.so.1 and requires packages.
func app(name string, requires ...string) *record.Manifest {
	return pkg(name, "1", append(requires, "libc6"), facts{path: "usr/bin/" + name, needed: []string{"libfoo.so.1", "libc.so.6"}})
}

// either returns the relation "a | b | ...".
func either(names ...string) pkginfo.Relation {
	r := pkginfo.Relation{Text: strings.Join(names, " | ")}
	for _, name := range names {
		r.Alternatives = append(r.Alternatives, pkginfo.Constraint{Name: name})
	}
	return r
}

func requiring(m *record.Manifest, relations ...pkginfo.Relation) *record.Manifest {
	m.Requires = append(m.Requires, relations...)
	return m
}

func TestRivals(t *testing.T) {
	data := func(name string, requires ...string) *record.Manifest { return pkg(name, "1", requires) }
	plain := func() *record.Manifest { return libfoo("libfoo1") }
	extra := func() *record.Manifest { return libfoo("libfoo-extra1") }
	at := func(m *record.Manifest, path string) *record.Manifest {
		m.Files[0].Path = path
		m.Index()
		return m
	}
	of32 := func(m *record.Manifest) *record.Manifest {
		m.Files[0].ELF.Class, m.Files[0].ELF.Machine, m.Files[0].ELF.Needed = elf.ELFCLASS32, elf.EM_386, nil
		return at(m, "usr/lib/i386-linux-gnu/libfoo.so.1")
	}
	both := "libfoo-extra1=1 and libfoo1=1 both have libfoo.so.1, and app=1 needs both of them"
	for name, tc := range map[string]struct {
		command []*record.Manifest
		want    string // in the problem; "" for none
	}{
		"both are required":              {ofRelease("r", app("app", "libfoo1", "libfoo-extra1"), plain(), extra(), libc("2.36")), both},
		"one by way of another":          {ofRelease("r", app("app", "libfoo1", "more"), data("more", "libfoo-extra1"), plain(), extra(), libc("2.36")), both},
		"of files":                       {ofRelease("", app("app", "libfoo1", "libfoo-extra1"), plain(), extra(), libc("2.36")), ""},
		"of two releases":                {slices.Concat(ofRelease("r", app("app", "libfoo1"), plain(), libc("2.36")), ofRelease("s", data("other", "libfoo-extra1"), extra())), ""},
		"each for another":               {ofRelease("r", app("app", "libfoo1"), app("other", "libfoo-extra1"), plain(), extra(), libc("2.36")), ""},
		"one or the other":               {ofRelease("r", requiring(app("app"), either("libfoo1", "libfoo-extra1")), data("other", "libfoo-extra1"), plain(), extra(), libc("2.36")), ""},
		"one that is needed anyway":      {ofRelease("r", requiring(app("app", "more"), either("libfoo1", "libfoo-extra1")), data("more", "libfoo-extra1"), plain(), extra(), libc("2.36")), ""},
		"two versions of one package":    {ofRelease("r", app("app", "libfoo1 = 1", "more"), data("more", "libfoo1 = 2"), plain(), pkg("libfoo1", "2", nil, facts{path: libDir + "libfoo.so.1", soname: "libfoo.so.1"}), libc("2.36")), ""},
		"one is of another architecture": {ofRelease("r", app("app", "libfoo1", "lib32foo1"), plain(), of32(libfoo("lib32foo1")), libc("2.36")), ""},
		"one is for better processors":   {ofRelease("r", app("app", "libfoo1", "libfoo-extra1"), plain(), at(extra(), libDir+"glibc-hwcaps/x86-64-v3/libfoo.so.1"), libc("2.36")), ""},
		"one is in a directory of its own": {
			ofRelease("r", app("app", "libfoo1", "libfoo-extra1"), plain(), at(extra(), libDir+"extra/libfoo.so.1"), libc("2.36")), "",
		},
		"one has another soname": {ofRelease("r", app("app", "libfoo1", "libbar1"), plain(), pkg("libbar1", "1", nil, facts{path: libDir + "libfoo-bar.so.1", soname: "libfoo-bar.so.1"}), libc("2.36")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan := newWorld().plan(t, tc.command...)
			if tc.want == "" {
				if len(plan.Problems) > 0 || plan.Generation == nil {
					t.Fatalf("problems: %+v", plan.Problems)
				}
				return
			}
			if len(plan.Problems) != 1 || plan.Generation != nil {
				t.Fatalf("problems: %+v", plan.Problems)
			}
			p := plan.Problems[0]
			if p.Package != "app=1" || p.Soname != "libfoo.so.1" || !strings.HasPrefix(p.Message, tc.want) || !strings.Contains(p.Message, "hashpkg download --deps") {
				t.Errorf("the problem is %+v", p)
			}
		})
	}
}

// TestRivalsEachForItsProgram has programs of one command that need different ones of two
// packages that have the same library. Each is bound to the one that it needs, as if it
// was installed by itself.
func TestRivalsEachForItsProgram(t *testing.T) {
	command := func() []*record.Manifest {
		return ofRelease("r", app("app", "libfoo1"), app("other", "libfoo-extra1"), libfoo("libfoo1"), libfoo("libfoo-extra1"), libc("2.36"))
	}
	plan := newWorld().install(t, command)
	for name, want := range map[string]string{"app": "/var/sys/libfoo1/1/", "other": "/var/sys/libfoo-extra1/1/"} {
		if got := edits(t, plan, name, "usr/bin/"+name); !slices.ContainsFunc(got, func(e record.EditRecord) bool {
			return slices.ContainsFunc(e.To, func(to string) bool { return strings.HasPrefix(to, want) })
		}) {
			t.Errorf("%s is bound to %+v, want one of %s", name, got, want)
		}
	}
}
