package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// scripted has a package be configured by a script.
func scripted(m *record.Manifest, postinst string) *record.Manifest {
	m.Control = &record.Control{Scripts: map[string][]byte{"postinst": []byte(postinst)}}
	return m
}

// withDir adds an empty directory to a package.
func withDir(m *record.Manifest, dir string) *record.Manifest {
	m.Files = append(m.Files, record.File{Path: dir, Type: record.TypeDirectory, Mode: 0o755})
	m.Index()
	return m
}

// TestComputedNeeds: what only scripts compute is what programs and scripts name, or what their own
// package's scripts do, and neither the root nor a package has.
func TestComputedNeeds(t *testing.T) {
	p := newWorld().planWithRoot(t, nil,
		scripted(with(naming(requiring(commandOf("tool", "certs", "far", "debconf", "uncalled"), either("helper", "other"), either("absent", "lacking")), "usr/bin/tool",
			"/etc/ssl/certs/all.crt", "/etc/ssl/private", "/etc/named", "/etc/plain/x", "/etc/had/b", "/etc/cron.d/tool"), "etc/had/a", "etc/shipped", "usr/share/tool/link -> /etc/linked/to/x"),
			"cp x /etc/tool.conf\nrm '/var/lib/tool/state' $D/etc/false /etc/shipped /etc/there; echo /etc/init.d/tool /etc/tool.conf. /etc/had; [ -e /etc/tested ]; absent\n"),
		scripted(pkg("certs", "1", nil), "ls /etc/ssl /etc/ssl/certs; echo >/etc/named; touch /etc/linked/to /etc/certs.conf"),
		withDir(pkg("far", "1", nil), "etc/plain"),
		pkg("other", "1", nil), libc("2.41"))
	var tool *record.Tree
	manifests := map[string]*record.Manifest{}
	for i := range p.Generation.Trees {
		if tr := &p.Generation.Trees[i]; tr.Name == "tool" {
			tool = tr
		}
	}
	for _, tr := range p.Trees {
		manifests[layout.TreePath(tr.Name, tr.Tree)] = tr.Manifest
	}
	needs, err := ComputedNeeds(p.Generation, []*record.Tree{tool}, func(t *record.Tree) (*record.Manifest, error) { return manifests[t.Path()], nil },
		func(name string) bool { return name != "/etc/there" }, func(name string) bool { return name == "debconf" })
	if err != nil {
		t.Fatal(err)
	}
	want := []ComputedNeed{{Files: []string{"/etc/linked/to/x", "/etc/named", "/etc/ssl/certs/all.crt", "/etc/tool.conf", "/var/lib/tool/state"}, Tools: []string{"absent"}}}
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestScriptTools: what a root lacks of what scripts expect of every system, is that of the release,
// or else another one's.
func TestScriptTools(t *testing.T) {
	tree := func(name, version, release string, isDefault bool, origin record.Origin) record.Tree {
		return record.Tree{Name: name, Version: version, Origin: origin, Default: isDefault, Named: record.Named{Release: release}}
	}
	g := &record.Generation{Trees: []record.Tree{
		tree("debianutils", "5", "", true, record.OriginPrivate),
		tree("diffutils", "1", "", true, record.OriginSystem),
		tree("dpkg", "1", "sid", true, record.OriginPrivate),
		tree("dpkg", "2", "trixie", false, record.OriginPrivate),
		tree("dpkg", "3", "trixie", true, record.OriginPrivate),
		tree("dpkg", "4", "trixie", false, record.OriginPrivate),
		tree("perl-base", "5", "trixie", true, record.OriginPrivate),
	}}
	trees, missing := ScriptTools(g, "trixie", func(file string) (int64, bool) { return 1, file == "/usr/bin/perl" })
	var have []string
	for _, tr := range trees {
		have = append(have, tr.Name+"="+tr.Version)
	}
	if diff := cmp.Diff([]string{"debianutils=5", "dpkg=3"}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"bsdutils", "diffutils", "hostname", "init-system-helpers", "mawk", "util-linux"}, missing); diff != "" {
		t.Errorf("missing (-want +have)\n%s", diff)
	}
}

// TestUnanswered: what scriptlets of rpms call is known, too, and only by names that a shell reads as
// such.
func TestUnanswered(t *testing.T) {
	m := requiring(pkg("app", "1", nil), either("tool"), either("late"), either("known"), either("uncalled"), either("/bin/sh"), either("$(reboot)"), either("a;b"), either("`c`"),
		either("-f"), either("lib.so.1()(64bit)"), either("perl-libs++_x.1"))
	m.Control = &record.Control{Scripts: map[string][]byte{
		"post":      []byte("#!/bin/sh\ntool; known; $(reboot); a;b; `c`; test -f x\n"),
		"posttrans": []byte("#!/bin/sh\nlate; lib.so.1()(64bit) perl-libs++_x.1\n"),
	}}
	have := Unanswered([]*record.Manifest{m}, func(name string) bool { return name == "known" })
	if diff := cmp.Diff([]string{"late", "perl-libs++_x.1", "tool"}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestOfferingOfFormats: a package that has a file answers for packages of its own format,
// whichever are asked about first.
func TestOfferingOfFormats(t *testing.T) {
	const file = "/usr/share/data/file"
	for _, first := range []int{0, 1} {
		s := newFamilySet(debOrders)
		var asking, having []*relative
		for _, format := range []pkginfo.Format{deb.Name, rpm.Name} {
			of := func(m *record.Manifest) *relative {
				m.Format = format
				m.Index()
				r := &relative{tree: &record.Tree{Name: m.Name, Version: "1", Format: format, Dir: string(format)}, m: m}
				s.add(r)
				return r
			}
			asking = append(asking, of(&record.Manifest{Name: "asking"}))
			having = append(having, of(&record.Manifest{Name: "having", Files: []record.File{{Path: file[1:], Type: record.TypeFile}}}))
		}
		for _, i := range []int{first, 1 - first} {
			if have := s.answering(asking[i], &record.Named{}, pkginfo.Constraint{Name: file}, nil); have != having[i] {
				t.Errorf("asked for %s, which is asked about in the order %d, it is %v", asking[i].tree.Format, first, have)
			}
		}
	}
}
