package see_test

import (
	"crypto/sha256"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/see"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	arch = "x86_64-linux-gnu"
	lib  = "usr/lib/x86_64-linux-gnu/"
)

var orders = pkginfo.Orders{"deb": deb.Format{}.Order()}

// pkg returns a package with files: "PATH" of data, "PATH=SONAME" of a library, "PATH=" of a program, "PATH/" of a
// directory and "PATH@" of a link.
func pkg(name, version, requires string, files ...string) closure.Package {
	p := closure.Package{
		Name: name, Version: version, Architecture: "amd64", Kind: "deb", Tree: version, Asked: true, Default: true, Chosen: true, OnHold: true,
		Identity: digest.Of([]byte(name + version)),
		From:     closure.Distributed{File: name + ".deb", Size: 1, BLAKE3: digest.Of([]byte(name))},
	}
	for _, r := range strings.Fields(requires) {
		var relation pkginfo.Relation
		for _, a := range strings.Split(r, "|") {
			name, bound, is := strings.Cut(a, ">=")
			c := pkginfo.Constraint{Name: name}
			if is {
				c.Operator, c.Version = ">=", bound
			}
			relation.Alternatives = append(relation.Alternatives, c)
		}
		p.Requires = append(p.Requires, relation)
	}
	for _, text := range files {
		at, soname, isCode := strings.Cut(text, "=")
		f := closure.File{Path: strings.TrimRight(at, "/@"), Type: record.TypeFile, Mode: 0o644, Kind: closure.Data}
		switch {
		case strings.HasSuffix(at, "/"):
			f.Type, f.Kind = record.TypeDirectory, ""
		case strings.HasSuffix(at, "@"):
			f.Type, f.Kind, f.Target = record.TypeSymlink, "", "x"
		case isCode && soname == "":
			f.Kind = closure.Program
		case isCode:
			f.Kind, f.Soname = closure.Library, soname
		}
		if f.Type == record.TypeFile {
			f.BLAKE3, f.SHA256, f.Size = digest.Of([]byte(at)), sha256.Sum256([]byte(at)), 1
		}
		p.Files = append(p.Files, f)
	}
	return p
}

func manifest(packages ...closure.Package) *closure.Manifest {
	return &closure.Manifest{
		Format: closure.Format, Names: []string{}, Prefix: "/var/sys", Mirrors: []string{"https://example.org/{blake3}"},
		Architectures: map[string][]closure.Package{arch: packages},
	}
}

func entry(name, host string) closure.See {
	return closure.See{Name: name, URL: "https://" + host + "/x.closure", Signer: host + "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"}
}

// asking returns a manifest of jq, which needs libx.so.1.
func asking(entries ...closure.See) *closure.Manifest {
	m := manifest(
		pkg("libc6", "2.36", "", lib+"libc.so.6=libc.so.6", lib+"ld-linux-x86-64.so.2=ld-linux-x86-64.so.2"),
		pkg("liby1", "1", "libc6", lib+"liby.so.1=liby.so.1", lib+"liby.so@", "usr/share/y/", "usr/share/y/data"),
		pkg("jq", "1", "libx1 liby1", "usr/bin/jq=", "usr/libexec/jq/helper=", "usr/share/doc/jq/copyright", "usr/share/jq@"),
	)
	m.See = entries
	return m
}

func specs(m *closure.Manifest) string {
	var all []string
	for _, p := range m.Architectures[arch] {
		all = append(all, p.Spec())
	}
	return strings.Join(all, " ")
}

// TestResolve takes the package with the name, and what this requires that nobody has.
func TestResolve(t *testing.T) {
	libx := pkg("libx1", "2", "libc6>=2 zlib1g libq|libz-compat none", lib+"libx.so.1.2=libx.so.1", "usr/share/doc/libx1/copyright")
	third := manifest(
		pkg("libc6", "2.37", "", lib+"libc.so.6=libc.so.6"),
		libx, pkg("zlib1g", "1", "deep", lib+"libz.so.1=libz.so.1"), pkg("zlib1g", "1.2", "deep", lib+"libz.so.1=libz.so.1"), pkg("deep", "1", ""),
		pkg("libz-compat", "1", ""), pkg("more", "1", ""),
	)
	libx.Files[0].Kind, libx.Files[0].OnDemand = closure.Plugin, true
	m := asking(entry("libx.so.1", "a"))
	whole, err := see.Resolve(m, arch, orders, []*closure.Manifest{third})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := specs(whole), "libc6=2.36 liby1=1 jq=1 libx1=2 zlib1g=1.2 libz-compat=1 deep=1"; got != want {
		t.Errorf("it has %s, want %s", got, want)
	}
	p := whole.Architectures[arch][3]
	if p.Asked || p.Default || p.Chosen || p.OnHold || !p.Identity.IsZero() || p.By != m.See[0].Picker() || !slices.Equal(p.Files[0].From, third.Mirrors) {
		t.Errorf("it has %+v", p)
	}
	if f := &p.Files[0]; f.Kind != closure.Library || f.OnDemand {
		t.Errorf("what it was taken for is a %s", f.Kind)
	}
	if len(whole.See) > 0 || libx.Files[0].From != nil || whole.Architectures[arch][2].Identity.IsZero() {
		t.Error("something else is not as it was")
	}
}

// TestTwoParties: each picks its own, and what one picks another one does not.
func TestTwoParties(t *testing.T) {
	x := manifest(pkg("libx1", "2", "zlib1g", lib+"libx.so.1=libx.so.1"), pkg("zlib1g", "1", "", lib+"libz.so.1=libz.so.1"))
	z := manifest(pkg("zlib1g", "3", "", lib+"libz.so.1=libz.so.1"))
	whole, err := see.Resolve(asking(entry("libx.so.1", "a"), entry("zlib1g", "b")), arch, orders, []*closure.Manifest{x, z})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := specs(whole), "libc6=2.36 liby1=1 jq=1 libx1=2 zlib1g=3"; got != want {
		t.Errorf("it has %s, want %s", got, want)
	}
	z.Architectures[arch][0].Files = append(z.Architectures[arch][0].Files, pkg("", "", "", lib+"libx.so.1=libx.so.1").Files...)
	if _, err := see.Resolve(asking(entry("libx.so.1", "a"), entry("zlib1g", "b")), arch, orders, []*closure.Manifest{x, z}); !errors.Is(err, see.ErrRefused) {
		t.Errorf("error %v", err)
	}
}

// attacks are packages that third parties pick besides, or in place of, the one with libx.so.1, and what of them is said.
var attacks = map[string]struct {
	packages []closure.Package
	want     string
}{
	"the C library":         {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", lib+"other/libc.so.6=libc.so.6")}, "C library"},
	"a loader":              {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", lib+"ld-linux-aarch64.so.1@")}, "C library"},
	"musl":                  {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/lib/ld-musl-x86_64.so.1=")}, "C library"},
	"another soname":        {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", lib+"inner.so=liby.so.1")}, "liby.so.1, which is of liby1=1"},
	"a library's name":      {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/lib/liby.so@")}, "liby.so, which is of liby1=1"},
	"a program's name":      {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/sbin/jq")}, "jq, which is of jq=1"},
	"a helper's name":       {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/libexec/x/helper=")}, "helper, which is of jq=1"},
	"a path":                {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/share/doc/jq/copyright")}, "usr/share/doc/jq/copyright, which is of jq=1"},
	"a program's path":      {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/bin/jq=")}, "jq, which is of jq=1"},
	"a directory's path":    {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/share/y@")}, "usr/share/y, which is of liby1=1"},
	"below a link":          {[]closure.Package{pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/share/jq/data")}, "usr/share/jq/data, which is of jq=1"},
	"a package's name":      {[]closure.Package{pkg("jq", "2", "", lib+"libx.so.1=libx.so.1")}, "the name jq, which is of jq=1"},
	"a chain to a soname":   {[]closure.Package{pkg("libx1", "2", "good", lib+"libx.so.1=libx.so.1"), pkg("good", "1", "evil"), pkg("evil", "1", "", "usr/lib/evil/liby.so.1=liby.so.1")}, "evil=1 has liby.so.1, which is of liby1=1"},
	"a chain to libc":       {[]closure.Package{pkg("libx1", "2", "libc6>=2.38", lib+"libx.so.1=libx.so.1"), pkg("libc6", "2.38", "", lib+"libc.so.6=libc.so.6")}, "the C library is not left to others; libx1=2 requires libc6 (>= 2.38)"},
	"a newer one of theirs": {[]closure.Package{pkg("libx1", "2", "liby1>=2", lib+"libx.so.1=libx.so.1"), pkg("liby1", "2", "")}, "liby1=2 has the name liby1"},
}

// TestAttacks: a third party picks what it was asked for, and nothing that somebody has already. What it claims is
// refused, and so is what was unpacked and its manifest did not say.
func TestAttacks(t *testing.T) {
	provider := pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1")
	provider.Provides = []pkginfo.Capability{{Name: "jq"}}
	alternative := pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/bin/evil=")
	alternative.Alternatives = []pkginfo.Alternative{{Name: "x", Link: "/usr/bin/y", Path: "/usr/bin/evil", Slaves: []pkginfo.Slave{{Name: "jq", Link: "/bin/jq", Path: "/usr/bin/evil"}}}}
	all := map[string]struct {
		packages []closure.Package
		want     string
	}{
		"a provided name": {[]closure.Package{provider}, "the name jq among what it provides"},
		"an alternative":  {[]closure.Package{alternative}, "jq, which is of jq=1"},
	}
	for name, a := range attacks {
		all[name] = a
	}
	list := []closure.See{entry("libx.so.1", "a")}
	for name, a := range all {
		t.Run(name, func(t *testing.T) {
			_, err := see.Resolve(asking(list...), arch, orders, []*closure.Manifest{manifest(a.packages...)})
			if !errors.Is(err, see.ErrRefused) || !strings.Contains(err.Error(), a.want) {
				t.Errorf("what is claimed: error %v, want one about %q", err, a.want)
			}
			err = see.Check(list, trees(asking().Architectures[arch]...), map[record.Picker][]*record.Manifest{list[0].Picker(): trees(a.packages...)})
			want, _, _ := strings.Cut(a.want, "; ")
			if !errors.Is(err, see.ErrRefused) || !strings.Contains(err.Error(), want) {
				t.Errorf("what was unpacked: error %v, want one about %q", err, want)
			}
		})
	}
}

// TestRefused has third parties of which nothing is taken.
func TestRefused(t *testing.T) {
	libx := pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1")
	deep := manifest(libx)
	deep.See = []closure.See{entry("libq.so.1", "b")}
	elsewhere := manifest(libx)
	elsewhere.Prefix = "/opt"
	other := manifest(libx)
	other.Architectures["aarch64-linux-gnu"] = other.Architectures[arch]
	delete(other.Architectures, arch)
	for name, c := range map[string]struct {
		m    *closure.Manifest
		want string
	}{
		"a see inside a see":   {deep, "it leaves the choice of libq.so.1 to others itself"},
		"another prefix":       {elsewhere, "/opt"},
		"another architecture": {other, "nothing for " + arch},
		"nothing of the name":  {manifest(pkg("libx.so.1", "1", "", "usr/lib/libx.so.1")), "0 of its packages have libx.so.1"},
		"two of the name":      {manifest(libx, pkg("libx1", "3", "", lib+"libx.so.1=libx.so.1")), "2 of its packages have libx.so.1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := see.Resolve(asking(entry("libx.so.1", "a")), arch, orders, []*closure.Manifest{c.m})
			if !errors.Is(err, see.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

// trees returns planned trees of packages, with what is found in their bytes.
func trees(packages ...closure.Package) (all []*record.Manifest) {
	for i := range packages {
		p := &packages[i]
		m := p.Draft()
		for j := range p.Files {
			if f := &p.Files[j]; f.Kind == closure.Program || f.Kind == closure.Library {
				m.Lookup(f.Path).ELF = &elfedit.Info{Soname: f.Soname}
			}
			if f := &p.Files[j]; path.Base(f.Path) == "jq" && f.Kind == closure.Program {
				m.Lookup(f.Path).ELF.Needed = []string{"libx.so.1"}
			}
		}
		all = append(all, m)
	}
	return all
}

// TestCheck: what was unpacked has the name, and somebody needs it.
func TestCheck(t *testing.T) {
	own := trees(asking().Architectures[arch]...)
	list := []closure.See{entry("libx.so.1", "a")}
	by := list[0].Picker()
	good := trees(pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1"))
	if err := see.Check(list, own, map[record.Picker][]*record.Manifest{by: good}); err != nil {
		t.Error(err)
	}
	if err := see.Check(list, own, map[record.Picker][]*record.Manifest{by: trees(pkg("libx1", "2", "", lib+"libx.so.1=libx.so.2"))}); !errors.Is(err, see.ErrRefused) || !strings.Contains(err.Error(), "does not have libx.so.1") {
		t.Errorf("another soname: error %v", err)
	}
	needless := []closure.See{entry("libq.so.1", "a")}
	if err := see.Check(needless, own, map[record.Picker][]*record.Manifest{by: trees(pkg("libq1", "2", "", lib+"libq.so.1=libq.so.1"))}); !errors.Is(err, see.ErrRefused) || !strings.Contains(err.Error(), "nothing needs libq.so.1") {
		t.Errorf("what nobody loads: error %v", err)
	}
	if err := see.Check([]closure.See{entry("liby1-data", "a")}, trees(pkg("jq", "1", "liby1-data", "usr/bin/jq=")), map[record.Picker][]*record.Manifest{by: trees(pkg("liby1-data", "2", ""))}); err != nil {
		t.Errorf("what is required by its name: %v", err)
	}
	musl := trees(pkg("libx1", "2", "", lib+"libx.so.1=libx.so.1", "usr/lib/x"))
	musl[0].Lookup("usr/lib/x").ELF = &elfedit.Info{Musl: true, Type: 3}
	if err := see.Check(list, own, map[record.Picker][]*record.Manifest{by: musl}); !errors.Is(err, see.ErrRefused) || !strings.Contains(err.Error(), "C library") {
		t.Errorf("a C library under another name: error %v", err)
	}
}
