package deb_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pault.ag/go/debian/control"
	"pault.ag/go/debian/dependency"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// readIndex returns what an index has.
func readIndex(part *backends.Part, r io.Reader) (all []*pkginfo.Listed, err error) {
	err = deb.Format{}.ReadIndex(part, r, func(l *pkginfo.Listed) error {
		all = append(all, l)
		return nil
	})
	return all, err
}

// plainPart is an index that is not packed.
func plainPart() *backends.Part { return &backends.Part{Paths: []string{"Packages"}, Unpacked: -1} }

const (
	sum256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	sum512 = "f7fbba6e0636f890e56fbbf3283e524c6fa3204ae298382d624741d0dc6638326e282c41be5e4254d8820772c5518a2c5a8c0c7f7eda19594a7eb539453e1ed7"

	minimalListed = "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 1\nSHA256: " + sum256 + "\n"
)

// TestReadIndex reads all that an index may say of a package, and one that says little.
func TestReadIndex(t *testing.T) {
	index := "\n\n" + `Package: libfoo1
Source: foo (2:1.0-2)
Version: 2:1.0-3
Architecture: amd64
Multi-Arch: same
Essential: yes
priority: required
Installed-Size: 3
Maintainer: A Tester <tester@example.org>
Pre-Depends: dpkg (>= 1.17.14)
Depends: libc6 (>= 2.36), awk | mawk (<< 2),
 perl:any, debconf (>= 0.5) | debconf-2.0, dpkg
Recommends: bar | baz
Provides: libfoo, foo-abi (= 3)
Conflicts: libbar
Breaks: baz (< 2)
Replaces: baz (<< 2)
Description: does foo
 long text
 .
  Size: indented
Tag: a::b,
 c::d
Filename: ./pool/main/f/foo/libfoo1_1.0-3_amd64.deb
Size: 1234
SHA256: ` + strings.ToUpper(sum256) + "\nSHA512: " + strings.ToUpper(sum512) + "\n\n\n" + strings.TrimSuffix(minimalListed, "\n")
	one := func(text, name, operator, version string) pkginfo.Relation {
		return pkginfo.Relation{Text: text, Alternatives: []pkginfo.Constraint{{Name: name, Operator: operator, Version: version}}}
	}
	want := []*pkginfo.Listed{
		{
			Package: pkginfo.Package{
				Format: deb.Name, Name: "libfoo1", Version: "2:1.0-3", Architecture: "amd64", Source: "foo", Summary: "does foo", MultiArch: "same",
				Requires: []pkginfo.Relation{
					one("libc6 (>= 2.36)", "libc6", ">=", "2.36"),
					{Text: "awk | mawk (<< 2)", Alternatives: []pkginfo.Constraint{{Name: "awk"}, {Name: "mawk", Operator: "<", Version: "2"}}},
					{Text: "perl:any", Alternatives: []pkginfo.Constraint{{Name: "perl", Architecture: "any"}}},
				},
				Recommends: []pkginfo.Relation{{Text: "bar | baz", Alternatives: []pkginfo.Constraint{{Name: "bar"}, {Name: "baz"}}}},
				Provides:   []pkginfo.Capability{{Name: "libfoo"}, {Name: "foo-abi", Version: "3"}},
				Conflicts:  []pkginfo.Relation{one("libbar", "libbar", "", ""), one("baz (< 2)", "baz", "<=", "2")},
				Replaces:   []pkginfo.Relation{one("baz (<< 2)", "baz", "<", "2")},
			},
			ScriptRequires: []pkginfo.Relation{
				one("dpkg (>= 1.17.14)", "dpkg", ">=", "1.17.14"),
				{Text: "debconf (>= 0.5) | debconf-2.0", Alternatives: []pkginfo.Constraint{{Name: "debconf", Operator: ">=", Version: "0.5"}, {Name: "debconf-2.0"}}},
				one("dpkg", "dpkg", "", ""),
			},
			Priority: "required", Essential: true,
			Path: "pool/main/f/foo/libfoo1_1.0-3_amd64.deb", Size: 1234, Digest: "sha512:" + sum512, InstalledSize: 3072,
		},
		{Package: pkginfo.Package{Format: deb.Name, Name: "a", Version: "1", Architecture: "all"}, Path: "a.deb", Size: 1, Digest: "sha256:" + sum256},
	}
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(index), "in pieces": iotest.OneByteReader(strings.NewReader(index)), "with the end": iotest.DataErrReader(strings.NewReader(index)),
	} {
		got, err := readIndex(plainPart(), r)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, (-want +got)\n%s", name, err, diff)
		}
	}
	stop := errors.New("stop")
	if err := (deb.Format{}).ReadIndex(plainPart(), strings.NewReader(index), func(*pkginfo.Listed) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of the receiver is lost: %v", err)
	}
	if got, err := readIndex(plainPart(), strings.NewReader("")); err != nil || got != nil {
		t.Errorf("of an empty index: %v, %v", got, err)
	}
}

// TestReadIndexPacked reads an index in each compression, by the name that its paths
// have, whole and damaged.
func TestReadIndexPacked(t *testing.T) {
	text := strings.Repeat(minimalListed+"\n", 1000)
	for c, end := range map[testdeb.Compression]string{
		testdeb.None: "", testdeb.Gzip: ".gz", testdeb.Xz: ".xz", testdeb.Zstd: ".zst", testdeb.Bzip2: ".bz2", testdeb.Lz4: ".lz4",
	} {
		t.Run(string(c), func(t *testing.T) {
			if c == testdeb.Bzip2 {
				testneed.Programs(t, "bzip2")
			}
			b := compress(t, []byte(text), c)
			part := backends.Part{
				Paths: []string{"main/binary-amd64/by-hash/SHA256/" + sum256, "main/binary-amd64/Packages" + end},
				Size:  int64(len(b)), Unpacked: int64(len(text)),
			}
			source := bytes.NewReader(b)
			if all, err := readIndex(&part, source); err != nil || len(all) != 1000 || source.Len() != 0 {
				t.Errorf("%d packages, %d bytes left, %v", len(all), source.Len(), err)
			}
			if _, err := readIndex(&part, bytes.NewReader(b[:len(b)-20])); err == nil {
				t.Error("one that was cut off is taken for a whole one")
			}
			if isJoined := c != testdeb.None && c != testdeb.Lz4; isJoined { // as Ubuntu packs them
				two := part
				two.Size, two.Unpacked = 2*part.Size, 2*part.Unpacked
				if all, err := readIndex(&two, bytes.NewReader(slices.Concat(b, b))); err != nil || len(all) != 2000 {
					t.Errorf("%d packages in two streams, %v", len(all), err)
				}
			}
			source = bytes.NewReader(append(bytes.Clone(b), "more"...))
			if _, err := readIndex(&part, iotest.OneByteReader(source)); err == nil && source.Len() > 0 {
				t.Errorf("%d bytes behind it are in no digest", source.Len())
			}
			for _, wrong := range []int64{int64(len(text)) - 1, int64(len(text)) + 1, 0} {
				other := part
				other.Unpacked = wrong
				if _, err := readIndex(&other, bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "Release file says") {
					t.Errorf("with the size %d: %v", wrong, err)
				}
			}
		})
	}
	if _, err := readIndex(&backends.Part{Paths: []string{"by-hash/SHA256/0", "Contents.gz"}}, strings.NewReader("")); err == nil {
		t.Error("without a name the compression is guessed")
	}
}

// TestReadIndexRefuses has what is wrong with one package, the third, and where.
func TestReadIndexRefuses(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(minimalListed, from, to, 1) }
	for name, test := range map[string]struct{ paragraph, want string }{
		"name":                      {change(": a\n", ": ../x\n"), `line 15: the package name "../x"`},
		"no name":                   {change("Package: a\n", ""), "line 15: the field Package is missing"},
		"no version":                {change("Version: 1\n", ""), `line 15 ("a"): the field Version is missing`},
		"version":                   {change(": 1\n", ": 1/2\n"), `the version "1/2"`},
		"architecture":              {change(": all\n", ": ../all\n"), `the architecture "../all"`},
		"field twice":               {minimalListed + "VERSION: 1\n", `line 21 ("a"): the field Version is there twice`},
		"field":                     {minimalListed + "Version\n", `line 21 ("a"): "Version" is not a field`},
		"comment":                   {minimalListed + "# x: y\n", `line 21 ("a"): "# x: y" is not a field`},
		"continues nothing":         {" x\n" + minimalListed, `line 15: " x" is not a field`},
		"space":                     {minimalListed + "Description: x\n y\n \nSection: x\n", `line 23 ("a"): it has nothing but space`},
		"space at the end":          {minimalListed + "Description: x\n\t", `line 22 ("a"): it has nothing but space`},
		"NUL":                       {minimalListed + "Description: x\n\x00\n", "line 22: it has a NUL"},
		"Filename above":            {change("a.deb", "../a.deb"), `line 18 ("a"): the field Filename`},
		"Filename aside":            {change("a.deb", "pool/../../a.deb"), "the field Filename"},
		"Filename absolute":         {change("a.deb", "/etc/passwd"), "the field Filename"},
		"Filename absolute, hidden": {change("a.deb", ".//etc/passwd/.."), "the field Filename"},
		"Filename of two words":     {change("a.deb", "a b.deb"), "the field Filename"},
		"Filename address":          {change("a.deb", "file:///etc/passwd"), "the field Filename"},
		"Filename directory":        {change("a.deb", "pool/"), "the field Filename"},
		"Filename nothing":          {change("a.deb", "./"), "the field Filename"},
		"no Filename":               {change("Filename: a.deb\n", ""), "the field Filename"},
		"no Size":                   {change("Size: 1\n", ""), "the field Size"},
		"negative Size":             {change("Size: 1\n", "Size: -1\n"), `line 19 ("a"): the field Size: "-1"`},
		"absurd Size":               {change("Size: 1\n", "Size: 4000000000000000000\n"), "the field Size"},
		"larger than a deb":         {change("Size: 1\n", "Size: 100000000000\n"), "the field Size"},
		"absurd Installed-Size":     {minimalListed + "Installed-Size: 9000000000000000000\n", "the field Installed-Size"},
		"no Installed-Size":         {minimalListed + "Installed-Size: many\n", "the field Installed-Size"},
		"no digest":                 {change("SHA256: "+sum256, "MD5sum: 0123456789abcdef0123456789abcdef"), "no SHA-512 and no SHA-256"},
		"short digest":              {change(sum256, sum256[1:]), "the field SHA256"},
		"no hexadecimal digits":     {change(sum256, "x"+sum256[1:]), "the field SHA256"},
		"bad digest beside a good":  {minimalListed + "SHA512: " + sum256 + "\n", "the field SHA512"},
		"Multi-Arch":                {minimalListed + "Multi-Arch: some\n", "unknown value"},
		"Depends":                   {minimalListed + "Depends: a (== 1)\n", `the field Depends: "a (== 1)"`},
		"Recommends":                {minimalListed + "Recommends: a,,b\n", "the field Recommends"},
		"Provides":                  {minimalListed + "Provides: a | b\n", "the field Provides"},
		"long relation":             {minimalListed + "Depends: " + strings.Repeat("a|", 40000) + "a\n", "the field Depends"},
		"long":                      {minimalListed + "Depends: " + strings.Repeat("a,", 1<<20) + "a\n", "line 15: the paragraph has more than"},
	} {
		t.Run(name, func(t *testing.T) {
			index := minimalListed + "\n" + minimalListed + "\n" + test.paragraph + "\n" + minimalListed
			all, err := readIndex(plainPart(), strings.NewReader(index))
			if err == nil || len(all) != 2 || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 1000 {
				t.Errorf("%d packages, %v, want %q", len(all), err, test.want)
			}
		})
	}
	for _, good := range []string{
		change("a.deb", "./pool//a~1+b%3a.deb"), change("a.deb", "..a/b..deb"), minimalListed + "Tag: x\nTag: y\n", minimalListed + "Multi-Arch: no\n",
		minimalListed + "Installed-Size: 0\n", minimalListed + "Depends:\n", change("a.deb\n", "a.deb \t\n"),
	} {
		if all, err := readIndex(plainPart(), strings.NewReader(good)); err != nil || len(all) != 1 {
			t.Errorf("%q: %d packages, %v", good, len(all), err)
		}
	}
}

// repeated reads one text again and again.
type repeated struct {
	text string
	left int64
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	r.left -= int64(n)
	return n, nil
}

// TestReadIndexBombs has indexes that are much larger than they look: they are refused
// without much memory.
func TestReadIndexBombs(t *testing.T) {
	bomb := func(text string, size int64) []byte {
		b, err := testdeb.CompressFrom(&repeated{text: text, left: size}, testdeb.Zstd)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	packed := &backends.Part{Paths: []string{"Packages.zst"}, Unpacked: -1}
	known := &backends.Part{Paths: []string{"Packages.zst"}, Unpacked: 1 << 20}
	huge := &backends.Part{Paths: []string{"Packages.zst"}, Unpacked: 10 << 30}
	newlines := strings.Repeat("\n", 1<<16)
	for name, test := range map[string]struct {
		part *backends.Part
		r    io.Reader
		want string
	}{
		"one paragraph":          {packed, bytes.NewReader(bomb("a: b\n", 256<<20)), "the paragraph has more than"},
		"more than Release says": {known, bytes.NewReader(bomb(minimalListed+"\n", 256<<20)), "Release file says"},
		"empty lines":            {plainPart(), &repeated{text: newlines, left: 10 << 30}, "the index has more than"},
		"packages":               {plainPart(), &repeated{text: minimalListed + "\n", left: 10 << 30}, "packages, a fixed limit"},
		"said to be huge":        {huge, strings.NewReader(""), "fixed limit"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err := deb.Format{}.ReadIndex(test.part, test.r, func(*pkginfo.Listed) error { return nil })
			runtime.GC()
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
				t.Errorf("the memory has grown by %d MiB", grown>>20)
			}
		})
	}
}

// debianLists returns the directory of apt's lists for a suite of Debian.
func debianLists(t testing.TB, suite string) (dir, config string) {
	t.Helper()
	testneed.Network(t)
	o := archive.Options{Suite: suite, Arch: "amd64"}
	if strings.HasSuffix(suite, "-security") {
		o.Mirror = archive.DefaultMirror + "-security"
	}
	r, err := archive.Describe(context.Background(), o)
	if err != nil {
		testneed.Unmet(t, err)
	}
	return filepath.Join(r.Dir, ".apt/state/lists"), filepath.Join(r.Dir, ".apt/apt.conf")
}

// aptIndex opens the one index in a directory of lists.
func aptIndex(t testing.TB, dir string) *os.File {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_Packages*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestReadIndexAsApt compares every package of Debian's releases with what apt says of
// it, as go-debian reads that.
func TestReadIndexAsApt(t *testing.T) {
	testneed.Programs(t, "apt-cache")
	for _, suite := range []string{"bookworm", "trixie", "sid"} {
		t.Run(suite, func(t *testing.T) {
			dir, config := debianLists(t, suite)
			f := aptIndex(t, dir)
			_, name, _ := strings.Cut(filepath.Base(f.Name()), "_binary-amd64_")
			part := &backends.Part{Paths: []string{name}, Unpacked: -1}
			all, err := readIndex(part, f)
			if err != nil {
				t.Fatal(err)
			}
			mine := map[string]*pkginfo.Listed{}
			for _, l := range all {
				mine[l.Spec()+" "+l.Architecture] = l
			}
			if len(mine) != len(all) || len(all) < 50_000 {
				t.Fatalf("%d packages, of which %d are different", len(all), len(mine))
			}
			seen, scripts, names := 0, 0, map[string]bool{}
			for _, l := range all {
				names[l.Name] = true
			}
			eachAvailable(t, config, func(values map[string]string) {
				seen++
				l := mine[values["Package"]+"="+values["Version"]+" "+values["Architecture"]]
				if l == nil {
					t.Fatalf("%s %s is missing", values["Package"], values["Version"])
				}
				want, err := judgeListed(values)
				if err != nil {
					t.Fatalf("%s: %v", values["Package"], err)
				}
				scripts += len(l.ScriptRequires)
				l.Requires, l.ScriptRequires = slices.Concat(l.Requires, l.ScriptRequires), nil
				for _, p := range []*pkginfo.Listed{want, l} {
					slices.SortFunc(p.Requires, func(a, b pkginfo.Relation) int { return strings.Compare(a.Text, b.Text) })
				}
				if !reflect.DeepEqual(want, l) { // faster than cmp.Diff, which says what it is
					t.Fatalf("%s (-want +got)\n%s", values["Package"], cmp.Diff(want, l))
				}
			})
			if seen != len(names) { // apt shows one version of each
				t.Errorf("apt has %d packages, the index %d names", seen, len(names))
			}
			t.Logf("%d packages, %d compared, %d relations of scripts", len(all), seen, scripts)
		})
	}
}

// eachAvailable calls do with the fields of each package that apt knows.
func eachAvailable(t *testing.T, config string, do func(map[string]string)) {
	t.Helper()
	cmd := exec.Command("apt-cache", "dumpavail")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+config, "LC_ALL=C")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := io.Copy(io.Discard, out); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	r, err := control.NewParagraphReader(bufio.NewReaderSize(out, 1<<20), nil)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range p.Values {
			p.Values[name] = strings.TrimSuffix(value, "\n")
		}
		do(p.Values)
	}
}

// judgeListed makes a package of fields in another way than the format does.
func judgeListed(v map[string]string) (*pkginfo.Listed, error) {
	l := &pkginfo.Listed{Package: pkginfo.Package{
		Format: deb.Name, Name: v["Package"], Version: v["Version"], Architecture: v["Architecture"],
		Source:    strings.Split(v["Source"]+" ", " ")[0],
		Summary:   strings.Split(v["Description"], "\n")[0],
		MultiArch: strings.Replace(v["Multi-Arch"], "no", "", 1),
	}}
	l.Priority, l.Essential, l.Path = v["Priority"], v["Essential"] == "yes", v["Filename"]
	for _, f := range []struct {
		name string
		to   *[]pkginfo.Relation
	}{
		{"Pre-Depends", &l.Requires},
		{"Depends", &l.Requires},
		{"Recommends", &l.Recommends},
		{"Conflicts", &l.Conflicts},
		{"Breaks", &l.Conflicts},
		{"Replaces", &l.Replaces},
	} {
		relations, err := judgeRelations(v[f.name])
		if err != nil {
			return nil, err
		}
		*f.to = append(*f.to, relations...)
	}
	provides, err := judgeRelations(v["Provides"])
	if err != nil {
		return nil, err
	}
	for _, r := range provides {
		l.Provides = append(l.Provides, pkginfo.Capability{Name: r.Alternatives[0].Name, Version: r.Alternatives[0].Version})
	}
	if l.Size, err = strconv.ParseInt(v["Size"], 10, 64); err != nil {
		return nil, err
	}
	if s := v["Installed-Size"]; s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, err
		}
		l.InstalledSize = n * 1024
	}
	switch {
	case v["SHA512"] != "":
		l.Digest = "sha512:" + v["SHA512"]
	default:
		l.Digest = "sha256:" + v["SHA256"]
	}
	return l, nil
}

// judgeRelations reads relations as go-debian does. It does not know how they were
// written beyond their words.
func judgeRelations(value string) ([]pkginfo.Relation, error) {
	if value == "" {
		return nil, nil
	}
	d, err := dependency.Parse(value)
	if err != nil {
		return nil, err
	}
	texts := strings.Split(strings.Join(strings.Fields(value), " "), ",")
	if len(texts) != len(d.Relations) {
		return nil, fmt.Errorf("%d relations in %q", len(d.Relations), value)
	}
	var all []pkginfo.Relation
	for i, r := range d.Relations {
		relation := pkginfo.Relation{Text: strings.TrimSpace(texts[i])}
		for _, p := range r.Possibilities {
			c := pkginfo.Constraint{Name: p.Name}
			if p.Arch != nil {
				c.Architecture = p.Arch.String()
			}
			if p.Version != nil {
				c.Operator, c.Version = p.Version.Operator, p.Version.Number
				if c.Operator == "<<" || c.Operator == ">>" {
					c.Operator = c.Operator[:1]
				}
			}
			relation.Alternatives = append(relation.Alternatives, c)
		}
		all = append(all, relation)
	}
	return all, nil
}

// obsoleteOperator is "<" or ">", which dpkg takes for "<=" or ">=".
var obsoleteOperator = regexp.MustCompile(`\(\s*[<>][^<>=]`)

// FuzzReadIndex looks for crashes, for indexes that read differently in pieces, and for
// names and paths that lead elsewhere.
func FuzzReadIndex(f *testing.F) {
	f.Add(minimalListed)
	f.Add(minimalListed + "\n\n" + minimalListed + "Depends: a:any (>= 1:2~3) | b, c\n d\nProvides: e (= 1)\nDescription: x\n y\n")
	f.Add("Package: ../x\n\x00")
	f.Add(minimalListed + "Depends: a (>1), b (< 2)\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readIndex(plainPart(), strings.NewReader(text))
		pieces, err2 := readIndex(plainPart(), iotest.HalfReader(strings.NewReader(text)))
		if fmt.Sprint(err) != fmt.Sprint(err2) || len(all) != len(pieces) {
			t.Errorf("at once %d packages, %v; in pieces %d, %v", len(all), err, len(pieces), err2)
		}
		for _, l := range all {
			if strings.ContainsAny(l.Name+l.Version+l.Architecture, "/$\n\x00 ") || strings.HasPrefix(l.Name, ".") {
				t.Errorf("accepted: %q %q %q", l.Name, l.Version, l.Architecture)
			}
			if !filepath.IsLocal(l.Path) || strings.ContainsAny(l.Path, "\n\x00 ") || l.Size < 0 || l.InstalledSize < 0 {
				t.Errorf("accepted: %q, %d bytes, %d installed", l.Path, l.Size, l.InstalledSize)
			}
			if n := len(l.Digest); n != len("sha256:")+64 && n != len("sha512:")+128 {
				t.Errorf("accepted: digest %q", l.Digest)
			}
			for _, r := range slices.Concat(l.Requires, l.ScriptRequires) {
				if obsoleteOperator.MatchString(r.Text) {
					continue // go-debian does not know it
				}
				if want, err := judgeRelations(r.Text); err != nil || len(want) != 1 || len(want[0].Alternatives) != len(r.Alternatives) {
					t.Errorf("%q: %v, and go-debian says %v, %v", r.Text, r.Alternatives, want, err)
				}
			}
		}
	})
}

// BenchmarkReadIndex reads all of Debian's stable release.
func BenchmarkReadIndex(b *testing.B) {
	dir, _ := debianLists(b, "bookworm")
	f := aptIndex(b, dir)
	_, name, _ := strings.Cut(filepath.Base(f.Name()), "_binary-amd64_")
	packed, err := io.ReadAll(f)
	if err != nil {
		b.Fatal(err)
	}
	part := &backends.Part{Paths: []string{name}, Unpacked: -1}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		err := deb.Format{}.ReadIndex(part, bytes.NewReader(packed), func(*pkginfo.Listed) error { n++; return nil })
		if err != nil || n < 50_000 {
			b.Fatal(n, err)
		}
	}
}
