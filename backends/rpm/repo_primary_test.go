package rpm

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// readPrimary reads an index that is not packed.
func readPrimary(document []byte) (all []*pkginfo.Listed, err error) {
	part := &backends.Part{Name: "primary", Size: int64(len(document)), Unpacked: -1}
	err = Format{}.ReadIndex(part, bytes.NewReader(document), func(l *pkginfo.Listed) error {
		all = append(all, l)
		return nil
	})
	return all, err
}

// BenchmarkPrimary reads an index of 60,000 packages: its XML alone, all of it, and
// its XML with encoding/xml.
func BenchmarkPrimary(b *testing.B) {
	document := generatedPrimary(60000)
	b.Run("xml", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		for b.Loop() {
			x := newXMLReader(bytes.NewReader(document), "test", xmlWindow)
			for {
				if _, err := x.next(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("index", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			part := &backends.Part{Size: int64(len(document)), Unpacked: -1}
			if err := (Format{}).ReadIndex(part, bytes.NewReader(document), func(*pkginfo.Listed) error { n++; return nil }); err != nil || n != 60000 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("encoding", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		for b.Loop() {
			d := xml.NewDecoder(bytes.NewReader(document))
			for {
				if _, err := d.RawToken(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// onePackage is an index of one package, with changes, each a text and what it becomes.
func onePackage(changes ...string) []byte {
	text := primaryXML([]conformance.RepositoryPackage{{
		Name: "tool", Version: "1:2.3-4.fc41", Architecture: "x86_64", Summary: "Summary", Path: "Packages/t/tool.rpm", Content: "x",
		Requires: []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: "lib", Operator: ">=", Version: "1"}}}},
	}})
	return []byte(strings.NewReplacer(changes...).Replace(text))
}

func TestPrimary(t *testing.T) {
	all, err := readPrimary(onePackage())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	l := all[0]
	got := fmt.Sprintf("%s %s %s %s %q %s %d %d %v %v %v", l.Name, l.Version, l.Architecture, l.Source, l.Summary, l.Path, l.Size, l.InstalledSize, l.Requires, l.Provides, l.Files)
	if want := `tool 1:2.3-4.fc41 x86_64 source "Summary" Packages/t/tool.rpm 1 1000 [lib >= 1] [] [/usr/bin/tool]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for what, changes := range map[string][]string{
		"source package": {"x86_64", "src"},
		"no sources":     {"x86_64", "nosrc"},
		"module":         {"4.fc41", "4.module_el9+12+abc"},
		"module of 8":    {"4.fc41", "4.module+el8.1.0+3366+6dfb954c"},
		"other type":     {`type="rpm"`, `type="deb"`},
	} {
		if all, err := readPrimary(onePackage(changes...)); err != nil || len(all) != 0 {
			t.Errorf("%s: %d packages, %v", what, len(all), err)
		}
	}
	for what, tc := range map[string]struct {
		changes []string
		get     func(l *pkginfo.Listed) string
		want    string
	}{
		"no epoch":       {[]string{`epoch="1" ver="2.3"`, `ver="2.3"`}, func(l *pkginfo.Listed) string { return l.Version }, "2.3-4.fc41"},
		"epoch 0":        {[]string{`epoch="1" ver="2.3"`, `epoch="0" ver="2.3"`}, func(l *pkginfo.Listed) string { return l.Version }, "2.3-4.fc41"},
		"dot path":       {[]string{`href="Packages`, `href="./Packages`}, func(l *pkginfo.Listed) string { return l.Path }, "Packages/t/tool.rpm"},
		"base":           {[]string{"<location ", `<location xml:base="https://cdn.example/r/" `}, func(l *pkginfo.Listed) string { return l.Path }, "https://cdn.example/r/Packages/t/tool.rpm"},
		"two lines":      {[]string{"<summary>Summary", "<summary>First\nsecond"}, func(l *pkginfo.Listed) string { return l.Summary }, "First"},
		"long summary":   {[]string{"<summary>Summary", "<summary>" + strings.Repeat("ü", maxListedText)}, func(l *pkginfo.Listed) string { return l.Summary }, strings.Repeat("ü", maxListedText/2)},
		"directory":      {[]string{"<file>", `<file type="dir">`}, func(l *pkginfo.Listed) string { return strings.Join(l.Files, " ") }, "/usr/bin/tool"},
		"rpmlib":         {[]string{`name="lib"`, `name="rpmlib(Future)"`}, func(l *pkginfo.Listed) string { return fmt.Sprint(l.Requires) }, "[]"},
		"unknown":        {[]string{"<format>", "<new a='1'><name>x</name></new><format><rpm:entry name='no'/><rpm:new><rpm:entry name='no'/></rpm:new>"}, func(l *pkginfo.Listed) string { return l.Name + fmt.Sprint(l.Requires) }, "tool[lib >= 1]"},
		"a comment":      {[]string{"<name>to", "<name>to<!-- x -->"}, func(l *pkginfo.Listed) string { return l.Name }, "tool"},
		"no installed":   {[]string{`installed="1000"`, ""}, func(l *pkginfo.Listed) string { return fmt.Sprint(l.InstalledSize) }, "0"},
		"no source":      {[]string{"source-1-1.src.rpm", ""}, func(l *pkginfo.Listed) string { return l.Source }, ""},
		"for a script":   {[]string{`name="lib"`, `name="lib" pre="1"`}, func(l *pkginfo.Listed) string { return fmt.Sprint(l.Requires, l.ScriptRequires) }, "[] [lib >= 1]"},
		"not only":       {[]string{`<rpm:requires>`, `<rpm:requires><rpm:entry name="lib" flags="GE" epoch="0" ver="1" pre="1"/>`}, func(l *pkginfo.Listed) string { return fmt.Sprint(l.ScriptRequires) }, "[]"},
		"double require": {[]string{`<rpm:requires>`, `<rpm:requires><rpm:entry name="lib" flags="GE" epoch="0" ver="1" pre="1"/>`}, func(l *pkginfo.Listed) string { return fmt.Sprint(l.Requires) }, "[lib >= 1]"},
	} {
		all, err := readPrimary(onePackage(tc.changes...))
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %d packages, %v", what, len(all), err)
		} else if got := tc.get(all[0]); got != tc.want {
			t.Errorf("%s: %q, want %q", what, got, tc.want)
		}
	}
}

func TestPrimaryRefused(t *testing.T) {
	for what, changes := range map[string][]string{
		"name":            {"<name>tool", "<name>../tool"},
		"no name":         {"<name>tool</name>", ""},
		"version":         {`ver="2.3"`, `ver="2/3"`},
		"no version":      {`ver="2.3"`, ``},
		"release":         {`rel="4.fc41"`, `rel="4-5"`},
		"no release":      {`rel="4.fc41"`, ``},
		"epoch":           {`epoch="1" ver="2.3"`, `epoch="x" ver="2.3"`},
		"large epoch":     {`epoch="1" ver="2.3"`, `epoch="99999999999" ver="2.3"`},
		"architecture":    {"<arch>x86_64", "<arch>x/y"},
		"sha1":            {`checksum type="sha256"`, `checksum type="sha"`},
		"short digest":    {`pkgid="YES">`, `pkgid="YES">0`},
		"upper digest":    {`pkgid="YES">2`, `pkgid="YES">A`},
		"no checksum":     {"checksum", "other"},
		"up":              {"Packages/t/", "Packages/../../"},
		"absolute":        {"Packages/t/", "/"},
		"backslash":       {"Packages/t/", "Packages\\"},
		"query":           {"tool.rpm", "tool.rpm?x"},
		"fragment":        {"tool.rpm", "tool.rpm#x"},
		"base of a file":  {"<location ", `<location xml:base="file:///etc" `},
		"base of nothing": {"<location ", `<location xml:base="https://" `},
		"base with query": {"<location ", `<location xml:base="https://x/?a=" `},
		"no location":     {"location", "other"},
		"size":            {`package="1"`, `package="-1"`},
		"large size":      {`package="1"`, `package="99999999999999999999"`},
		"no size":         {`package="1"`, `package="0"`},
		"installed":       {`installed="1000"`, `installed="x"`},
		"relative file":   {"<file>/", "<file>"},
		"empty file":      {"<file>/usr/bin/tool", "<file>"},
		"long file":       {"<file>/", "<file>/" + strings.Repeat("x", maxListedText)},
		"comparison":      {`flags="GE"`, `flags="NE"`},
		"empty relation":  {`name="lib"`, `name=""`},
		"long relation":   {`name="lib"`, `name="` + strings.Repeat("x", maxRelation+1) + `"`},
		"many relations":  {"<rpm:requires>", "<rpm:requires>" + strings.Repeat(`<rpm:entry name="a"/><rpm:entry name="b"/>`, maxListedRelations/2)},
		"many files":      {"<file>", strings.Repeat("<file>/a</file>", maxListedFiles) + "<file>"},
		"many bytes":      {"<rpm:requires>", "<rpm:requires>" + strings.Repeat(`<rpm:entry name="`+strings.Repeat("x", maxRelation)+`"/>`, maxListedBytes/maxRelation)},
		"other element":   {"metadata", "html"},
		"entity":          {"<metadata", `<!DOCTYPE x SYSTEM "file:///etc/passwd"><metadata`},
		"not nested":      {"</format>", ""},
		"more behind":     {"</metadata>", "</metadata><metadata/>"},
		"control":         {"<summary>", "<summary>\x1b[2J"},
		"escaped control": {"<summary>", "<summary>&#27;[2J"},
		"not UTF-8":       {"<summary>", "<summary>\xff"},
	} {
		all, err := readPrimary(onePackage(changes...))
		var e *FormatError
		if !errors.As(err, &e) {
			t.Errorf("%s: %d packages, %v", what, len(all), err)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", what, len(err.Error()))
		}
	}
}

// TestPrimaryPacked has each compression, what is not the length that the description
// says, and what is cut.
func TestPrimaryPacked(t *testing.T) {
	document := onePackage()
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd, testdeb.Bzip2} {
		packed, err := testdeb.Compress(document, c)
		if err != nil {
			t.Fatal(err)
		}
		read := func(b []byte, unpacked int64) (int, error) {
			n := 0
			part := &backends.Part{Size: int64(len(packed)), Unpacked: unpacked}
			err := Format{}.ReadIndex(part, bytes.NewReader(b), func(*pkginfo.Listed) error { n++; return nil })
			return n, err
		}
		for _, size := range []int64{int64(len(document)), -1} {
			if n, err := read(packed, size); n != 1 || err != nil {
				t.Errorf("%s of %d bytes: %d packages, %v", c, size, n, err)
			}
		}
		if _, err := read(packed, int64(len(document))-1); err == nil || !strings.Contains(err.Error(), "longer") {
			t.Errorf("%s is longer than it should be: %v", c, err)
		}
		for n := range len(packed) - 1 { // the last byte of an index that is not packed is the end of a line
			if _, err := read(packed[:n], -1); err == nil {
				t.Errorf("%d of %d bytes of %s are an index", n, len(packed), c)
			}
		}
	}
	for _, other := range []string{"\x00ZCK1 and so on", "\x7fELF", "PK\x03\x04", "{}"} {
		if _, err := readPrimary([]byte(other)); err == nil {
			t.Errorf("%q is an index", other)
		}
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add(onePackage())
	f.Add(onePackage("<location ", `<location xml:base="https://cdn.example/r/" `))
	f.Add(generatedPrimary(2))
	f.Fuzz(func(t *testing.T, document []byte) {
		all, err := readPrimary(document)
		var e *FormatError
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%v", err)
		}
		for _, l := range all {
			if err := checkNames(l.Name, "1", "1", l.Architecture); err != nil || l.Digest == "" || l.Size <= 0 {
				t.Errorf("%+v", l)
			}
			path := strings.TrimPrefix(strings.TrimPrefix(l.Path, "https://"), "http://")
			if path == l.Path && !fs.ValidPath(path) {
				t.Errorf("%s is at %q", l.Name, l.Path)
			}
			for _, r := range append(append(l.Requires, l.Recommends...), l.ScriptRequires...) {
				for _, c := range r.Alternatives {
					if c.Name == "" {
						t.Errorf("%s requires %+v", l.Name, r)
					}
				}
			}
		}
	})
}
