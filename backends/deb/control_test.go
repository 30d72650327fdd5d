package deb_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const minimal = "Package: a\nVersion: 1\nArchitecture: all\n"

// TestControl has control files that dpkg does or does not take.
func TestControl(t *testing.T) {
	testneed.Programs(t, "dpkg")
	const pathElement = "it becomes part of a path"
	var cases []verdicts
	add := func(control, want, stricter string) {
		cases = append(cases, verdicts{
			name: control, deb: testdeb.Deb(t, testdeb.Package{Control: control, Compression: testdeb.None}),
			want: want, stricter: stricter,
		})
	}

	add(minimal, "", "")
	add(minimal+"\n\n", "", "")
	add("\n"+minimal, "", "")
	add("package: a\nVERSION: 1\narchitecture: all\n", "", "")
	add("Package: a\r\nVersion: 1\r\nArchitecture: all\r\n", "", "")
	add(minimal+"Foo : x\n", "", "")
	add(minimal+"Foo:\n .\n y\n", "", "")
	add(minimal+"\nPackage: b\n", "second paragraph", "")
	add(minimal+"#c\n", "is not a field", "")
	add(minimal+"Version: 2\n", "is there twice", "")
	add(minimal+"version: 2\n", "is there twice", "")
	add(" x\n"+minimal, "continues no field", "")
	add(minimal+"foo\n", "is not a field", "")
	add(minimal+"fo o: x\n", "is not a field", "")
	add(minimal+": x\n", "is not a field", "")
	add(minimal+"-a: x\n", "is not a field", "")
	add(minimal+"X: x\n", "is not a field", "")
	add(minimal+"Foo: a\n \n b\n", "nothing but space", "")
	add(minimal+"Foo: x", "last line has no end", "")
	add(minimal+"Foo: a\x00b\n", "NUL", "dpkg cuts the value")
	add("-----BEGIN PGP SIGNED MESSAGE-----\n\n"+minimal, "is not a field", "")
	add("\n", "it is empty", "")

	add("Version: 1\nArchitecture: all\n", "Package is missing", "")
	add("Package: a\nArchitecture: all\n", "Version is missing", "")
	add("Package: a\nVersion: 1\n", "Architecture is missing", "trees are named by it")
	for name, stricter := range map[string]string{
		"../x": "", "a/b": "", ".hashpkg": "", "-a": "", "a b": "", "ä": "", "a$b": "", "A": pathElement, "a_b": pathElement,
	} {
		add("Package: "+name+"\nVersion: 1\nArchitecture: all\n", "package name", stricter)
	}
	for _, name := range []string{"0ad", "g++", "a.b-c", "current-system"} {
		add("Package: "+name+"\nVersion: 1\nArchitecture: all\n", "", "")
	}
	for version, stricter := range map[string]string{
		"1/2": "", "1$2": "", "1 2": "", "v1": "", "1-": "", "a:1": "", ":1": "", "1:": "", "-1": "", "1:-1": "", "1_2": "",
		"2147483648:1": "", "-1:1": "", "1\n 2": "", "1ä": "", "+1:1": pathElement,
	} {
		add("Package: a\nVersion: "+version+"\nArchitecture: all\n", "the version", stricter)
	}
	for _, version := range []string{"1:2.3-4", "0:1", "1~rc1+b2", "2:1:3-4", "1-2-3", "2147483647:0"} {
		add("Package: a\nVersion: "+version+"\nArchitecture: all\n", "", "")
	}
	add("Package: a\nVersion: 1\nArchitecture: a b\n", "the architecture", pathElement)
	add("Package: a\nVersion: 1\nArchitecture: ../x\n", "the architecture", pathElement)
	add(minimal+"Multi-Arch: some\n", "unknown value", "")

	for _, good := range []string{
		"a", "a, b|c", "a(>=1)|b", "a (1)", "a (< 1)", "a (> 1)", "a:any (>= 1:2~3)", "a (>= 1 )", "A_b", "a\n , b",
	} {
		add(minimal+"Depends: "+good+"\n", "", "")
	}
	for _, bad := range []string{
		"a b", "a (>> 1", "a | | b", "a,,b", "a,", ",a", "a |", "${x}", "a [amd64]", "a <x>", "a:b:c", "a:", "ä",
		"a (== 1)", "a (>= x)", "a (>= )", "a ()", "a\n b", "a (>=1) (<=2)", "a (>= 1) b", "(>= 1)", "a (>= 1))",
	} {
		add(minimal+"Depends: "+bad+"\n", "the field Depends", "")
	}
	add(minimal+"Provides: a (= 1), b (>= 1)\n", "", "")
	add(minimal+"Provides: a | b\n", "has alternatives", "")

	runVerdicts(t, cases, unpackVerdict)
}

// TestPackage reads everything that a package may say of itself.
func TestPackage(t *testing.T) {
	p, _, err := readAll(testdeb.Deb(t, testdeb.Package{
		Name: "libfoo1", Version: "2:1.0-3", Arch: "amd64", Source: "foo (2:1.0-2)", MultiArch: "same",
		PreDepends: "dpkg (>= 1.17.14)",
		Depends:    "libc6 (>= 2.36), awk | mawk (<< 2),\n perl:any",
		Provides:   "libfoo, foo-abi (= 3)",
		Conflicts:  "libbar", Breaks: "baz (< 2)", Replaces: "baz (<< 2)",
		Fields:    []testdeb.Field{{Name: "X-Empty", Value: ""}},
		Summary:   "does foo\n long text\n .\n  indented",
		Conffiles: "/etc/foo.conf\n/lib/foo/x\nremove-on-upgrade /etc/old\n",
		Triggers:  "# comment\ninterest-noawait /usr/lib\n\nactivate ldconfig\n",
		Shlibs:    "libfoo 1 libfoo1 (>= 1.0)\n",
		Scripts: map[string]string{
			"preinst": "#!/bin/sh\n", "postinst": "#!/bin/sh\ntrue\n", "postrm": "#!/bin/sh\nexit 0\n", "unheard-of": "x",
			"templates": "Template: foo/ask\nType: string\nDefault-de.UTF-8: x\nDescription: Ask?\n It asks - always.\nDescription-de.UTF-8: Fragen?\n Es fragt.\n\nTemplate: foo/more-de\nType: note\n",
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	one := func(text, name, operator, version string) pkginfo.Relation {
		return pkginfo.Relation{Text: text, Alternatives: []pkginfo.Constraint{{Name: name, Operator: operator, Version: version}}}
	}
	want := &pkginfo.Package{
		Format: deb.Name, Name: "libfoo1", Version: "2:1.0-3", Architecture: "amd64",
		Source: "foo", Summary: "does foo", MultiArch: "same",
		Requires: []pkginfo.Relation{
			one("dpkg (>= 1.17.14)", "dpkg", ">=", "1.17.14"),
			one("libc6 (>= 2.36)", "libc6", ">=", "2.36"),
			{Text: "awk | mawk (<< 2)", Alternatives: []pkginfo.Constraint{{Name: "awk"}, {Name: "mawk", Operator: "<", Version: "2"}}},
			{Text: "perl:any", Alternatives: []pkginfo.Constraint{{Name: "perl", Architecture: "any"}}},
		},
		Provides:  []pkginfo.Capability{{Name: "libfoo"}, {Name: "foo-abi", Version: "3"}},
		Conflicts: []pkginfo.Relation{one("libbar", "libbar", "", ""), one("baz (< 2)", "baz", "<=", "2")},
		Replaces:  []pkginfo.Relation{one("baz (<< 2)", "baz", "<", "2")},
		Fields: []pkginfo.Field{
			{Name: "Package", Value: "libfoo1"},
			{Name: "Source", Value: "foo (2:1.0-2)"},
			{Name: "Version", Value: "2:1.0-3"},
			{Name: "Architecture", Value: "amd64"},
			{Name: "Multi-Arch", Value: "same"},
			{Name: "Maintainer", Value: "A Tester <tester@example.org>"},
			{Name: "Pre-Depends", Value: "dpkg (>= 1.17.14)"},
			{Name: "Depends", Value: "libc6 (>= 2.36), awk | mawk (<< 2),\nperl:any"},
			{Name: "Provides", Value: "libfoo, foo-abi (= 3)"},
			{Name: "Conflicts", Value: "libbar"},
			{Name: "Breaks", Value: "baz (< 2)"},
			{Name: "Replaces", Value: "baz (<< 2)"},
			{Name: "X-Empty", Value: ""},
			{Name: "Description", Value: "does foo\nlong text\n\n indented"},
		},
		Scripts: []pkginfo.Script{
			{Name: "preinst", Body: "#!/bin/sh\n", Arguments: []string{"install"}},
			{Name: "postinst", Body: "#!/bin/sh\ntrue\n", Arguments: []string{"configure", ""}},
			{Name: "postrm", Body: "#!/bin/sh\nexit 0\n"},
		},
		Triggers:  []string{"interest-noawait /usr/lib", "activate ldconfig"},
		Conffiles: []string{"etc/foo.conf", "usr/lib/foo/x"},
		Shlibs:    []string{"libfoo 1 libfoo1 (>= 1.0)"},
		Templates: "Template: foo/ask\nType: string\nDescription: Ask?\n It asks - always.\n\nTemplate: foo/more-de\nType: note\n",
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestControlTar has what may be wrong with control.tar itself.
func TestControlTar(t *testing.T) {
	testneed.Programs(t, "dpkg-deb", "tar")
	control := testdeb.File{Path: "./control", Content: minimal}
	var cases []verdicts
	add := func(name, want, stricter string, files ...testdeb.File) {
		members, err := testdeb.Package{Compression: testdeb.None}.Members()
		if err != nil {
			t.Fatal(err)
		}
		members[1].Data = tarOf(t, files...)
		cases = append(cases, verdicts{name: name, deb: testdeb.Ar(members...), want: want, stricter: stricter})
	}
	add("good", "", "", testdeb.Dir("./"), control)
	add("no dot", "", "", testdeb.File{Path: "control", Content: minimal})
	add("no control", `no file "control"`, "", testdeb.Dir("./"))
	add("control is a directory", "is not a regular file", "", testdeb.Dir("./control"))
	add("control is a symlink", "is not a regular file", "control.tar has files", testdeb.File{Path: "./x", Content: minimal}, testdeb.Symlink("./control", "x"))
	add("control twice", "is there twice", "which one counts?", control, control)
	add("outside", "leaves the root", "", control, testdeb.File{Path: "../x", Content: "x"})
	add("large script", "fixed limit", "it would be held in memory", control, testdeb.File{Path: "./postinst", Content: string(make([]byte, 17<<20))})
	add("large", "fixed limit", "all of it has to be unpacked", control, testdeb.File{Path: "./md5sums", Content: string(make([]byte, 65<<20))})
	add("large md5sums", "", "", control, testdeb.File{Path: "./md5sums", Content: string(make([]byte, 20<<20))})
	add("relative conffile", "not an absolute path", "dpkg says so later", control, testdeb.File{Path: "./conffiles", Content: "etc/x\n"})
	runVerdicts(t, cases, dpkgVerdict)
}
