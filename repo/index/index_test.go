package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testindex"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/index"
)

// build returns the bytes of the index of packages.
func build(tb testing.TB, packages []*pkginfo.Listed) []byte {
	tb.Helper()
	var b index.Builder
	for _, p := range packages {
		if err := b.Add(p); err != nil {
			tb.Fatal(err)
		}
	}
	var out bytes.Buffer
	n, err := b.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		tb.Fatalf("%d bytes of %d are written: %v", n, out.Len(), err)
	}
	return out.Bytes()
}

func open(tb testing.TB, packages []*pkginfo.Listed) *index.Index {
	tb.Helper()
	x, err := index.Open(build(tb, packages))
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

// checkEqual checks that what is in an index is what went in.
func checkEqual(t *testing.T, packages []*pkginfo.Listed) {
	t.Helper()
	x := open(t, packages)
	if x.Len() != len(packages) {
		t.Fatalf("%d packages of %d", x.Len(), len(packages))
	}
	i := 0
	for p, err := range x.All() {
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(packages[i], p) {
			t.Fatalf("package %d (-went in +came out):\n%s", i, cmp.Diff(packages[i], p))
		}
		i++
	}
	if i != len(packages) {
		t.Fatalf("%d packages of %d", i, len(packages))
	}

	named, offered := map[string][]*pkginfo.Listed{}, map[string][]*pkginfo.Listed{}
	for _, p := range packages {
		named[p.Name] = append(named[p.Name], p)
		offers := map[string]bool{}
		for _, c := range p.Provides {
			offers[c.Name] = true
		}
		for _, path := range p.Files {
			offers[path] = true
		}
		for name := range offers {
			offered[name] = append(offered[name], p)
		}
	}
	for name, want := range named {
		if got, err := x.Named(name); err != nil || !reflect.DeepEqual(want, got) {
			t.Fatalf("named %q: %v\n%s", name, err, cmp.Diff(want, got))
		}
	}
	for name, want := range offered {
		if got, err := x.Providing(name); err != nil || !reflect.DeepEqual(want, got) {
			t.Fatalf("providing %q: %v\n%s", name, err, cmp.Diff(want, got))
		}
	}
	for _, name := range []string{"", "no such", "zzz~", "\x00"} {
		if got, err := x.Named(name); err != nil || len(got) != len(named[name]) {
			t.Errorf("named %q: %v, %v", name, got, err)
		}
		if got, err := x.Providing(name); err != nil || len(got) != len(offered[name]) {
			t.Errorf("providing %q: %v, %v", name, got, err)
		}
	}
	all, err := x.Names("", len(packages))
	if want := slices.Sorted(maps.Keys(named)); err != nil || !slices.Equal(all, want) {
		t.Errorf("names: %v\n%s", err, cmp.Diff(want, all))
	}
}

// TestDebian has every package of a release go in and come out.
func TestDebian(t *testing.T) {
	checkEqual(t, testindex.Debian(t, "bookworm").Packages)
}

// TestRandom has packages with all that an index keeps, many of one name and with the
// same relations.
func TestRandom(t *testing.T) {
	for seed := range uint64(300) {
		checkEqual(t, randomPackages(rand.New(rand.NewPCG(seed, 1))))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestEmpty(t *testing.T) {
	checkEqual(t, nil)
	if hits, err := open(t, nil).Search([]string{"a"}); hits != nil || err != nil {
		t.Errorf("%v, %v", hits, err)
	}
}

// randomPackages returns packages out of a few words, so that these meet.
func randomPackages(r *rand.Rand) []*pkginfo.Listed {
	word := func() string {
		words := []string{"", "a", "b", "lib", "libé", "LIB", "x\x00y", "a-b", "1:2~3", ">=", strings.Repeat("long", 100), "/usr/bin/a", "amd64"}
		return words[r.IntN(len(words))] + words[r.IntN(len(words))]
	}
	relations := func() (all []pkginfo.Relation) {
		for range r.IntN(4) {
			relation := pkginfo.Relation{Text: word()}
			for range r.IntN(3) {
				relation.Alternatives = append(relation.Alternatives, pkginfo.Constraint{Name: word(), Architecture: word(), Operator: word(), Version: word()})
			}
			all = append(all, relation)
		}
		return all
	}
	var all []*pkginfo.Listed
	for range r.IntN(40) {
		p := &pkginfo.Listed{
			Package: pkginfo.Package{
				Format: pkginfo.Format(word()), Name: word(), Version: word(), Architecture: word(), Source: word(), Summary: word(), MultiArch: word(),
				Requires: relations(), Recommends: relations(), Conflicts: relations(), Replaces: relations(),
			},
			ScriptRequires: relations(), Priority: word(), Essential: r.IntN(2) == 0,
			Path: word(), Size: int64(r.Uint64()), InstalledSize: r.Int64N(1000),
		}
		switch r.IntN(5) {
		case 0:
			p.Digest = fmt.Sprintf("sha256:%064x", r.Uint64())
		case 1:
			p.Digest = fmt.Sprintf("sha512:%0128x", r.Uint64())
		case 2: // which is not packed
			p.Digest = fmt.Sprintf("sha256:%064X", r.Uint64())
		case 3:
			p.Digest = fmt.Sprintf("sha256:%063xg", r.Uint64())
		default:
			p.Digest = word()
		}
		for range r.IntN(4) {
			p.Provides = append(p.Provides, pkginfo.Capability{Name: word(), Version: word()})
			p.Files = append(p.Files, word())
		}
		all = append(all, p)
	}
	return all
}

// TestTooLarge has a package of which an index will not take, or give back, so much.
func TestTooLarge(t *testing.T) {
	var b index.Builder
	p := named("large", "")
	p.Files = []string{strings.Repeat("x", 17<<20)}
	if err := b.Add(p); err == nil || !strings.Contains(err.Error(), "index large=1") {
		t.Errorf("%v", err)
	}
	p.Files = []string{strings.Repeat("x", 15<<20)}
	checkEqual(t, []*pkginfo.Listed{p})
}

func named(name, summary string, files ...string) *pkginfo.Listed {
	return &pkginfo.Listed{Package: pkginfo.Package{Name: name, Version: "1", Summary: summary}, Files: files}
}

// TestSearch has a package for each rank.
func TestSearch(t *testing.T) {
	brings := named("tools", "many things")
	brings.Files = []string{"/usr/bin/jqplay", "/etc/json"}
	brings.Provides = []pkginfo.Capability{{Name: "libjson.so.1()(64bit)"}, {Name: "libjson.so.1(V1)(64bit)"}}
	x := open(t, []*pkginfo.Listed{
		named("jq", "lightweight and flexible JSON processor"),
		named("jq", "another version, of which nobody asks"),
		named("jq-doc", "Documentation"),
		named("python3-jq", "Python bindings"),
		named("libjq1", "JSON Processor - library"),
		brings,
		named("other", "what uses jq and more"),
		named("not-this", "seqjqs"),
		named("Mixed", "Case"),
	})
	for _, tc := range []struct {
		words string
		want  []index.Hit
	}{
		{"jq", []index.Hit{{"jq", index.Exact}, {"jq-doc", index.Prefix}, {"python3-jq", index.NamePart}, {"libjq1", index.InName}, {"tools", index.Brings}, {"other", index.InSummary}}},
		{"JQ json", []index.Hit{{"jq", index.InSummary}, {"libjq1", index.InName + index.InSummary}}},
		{"libjson", []index.Hit{{"tools", index.Brings}}},
		{"processo", []index.Hit{{"jq", index.InSummary}, {"libjq1", index.InSummary}}},
		{"rocessor", nil},
		{"json nothing", nil},
		{"mixed case", []index.Hit{{"Mixed", index.InSummary}}},
		{"another", nil},
		{"", nil},
		{"\x01", nil},
	} {
		got, err := x.Search([]string{tc.words})
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tc.words, err, diff)
		}
	}
}

func TestNames(t *testing.T) {
	x := open(t, []*pkginfo.Listed{named("b", ""), named("ab", ""), named("ac", ""), named("a", ""), named("ab", "")})
	for _, tc := range []struct {
		prefix string
		limit  int
		want   string
	}{
		{"a", 9, "a ab ac"}, {"a", 2, "a ab"}, {"", 9, "a ab ac b"}, {"ab", 9, "ab"}, {"c", 9, ""}, {"a", 0, ""}, {"aa", 9, ""},
	} {
		got, err := x.Names(tc.prefix, tc.limit)
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%q: %v, %v", tc.prefix, got, err)
		}
	}
}

// TestOpen has files that are no index of this hashpkg.
func TestOpen(t *testing.T) {
	good := build(t, []*pkginfo.Listed{named("a", "b", "/c")})
	for name, tc := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"empty":         {func([]byte) []byte { return nil }, index.ErrDamaged},
		"magic":         {func(b []byte) []byte { b[0]++; return b }, index.ErrDamaged},
		"cut off":       {func(b []byte) []byte { return b[:len(b)-1] }, index.ErrDamaged},
		"other version": {func(b []byte) []byte { b[16]++; return b }, index.ErrVersion},
		"other number":  {func(b []byte) []byte { b[20]++; return b }, index.ErrDamaged},
	} {
		if _, err := index.Open(tc.change(bytes.Clone(good))); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// useAll asks an index all that it can be asked, of the names in it and of others.
func useAll(x *index.Index) (errs []error) {
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, err := range x.All() {
		note(err)
	}
	words := []string{"", "a", "lib", "/usr/bin/a", "alib", "b"}
	all, err := x.Names("", 100)
	note(err)
	for _, name := range append(words, all...) {
		_, err := x.Named(name)
		note(err)
		_, err = x.Providing(name)
		note(err)
		_, err = x.Names(name, 10)
		note(err)
		_, err = x.Search([]string{name})
		note(err)
	}
	return errs
}

// TestDamage changes each byte of a file in several ways: what comes of it is an error
// that says so, or an answer.
func TestDamage(t *testing.T) {
	good := build(t, randomPackages(rand.New(rand.NewPCG(7, 1)))[:2])
	refused := 0
	for i := range good {
		for _, to := range []byte{0, 1, 0x7f, 0x80, 0xff, good[i] + 1} {
			b := bytes.Clone(good)
			b[i] = to
			x, err := index.Open(b)
			if err != nil {
				if !errors.Is(err, index.ErrDamaged) && !errors.Is(err, index.ErrVersion) {
					t.Fatalf("byte %d is %d: %v", i, to, err)
				}
				refused++
				continue
			}
			for _, err := range useAll(x) {
				if !errors.Is(err, index.ErrDamaged) {
					t.Fatalf("byte %d is %d: %v", i, to, err)
				}
				refused++
			}
		}
	}
	if refused < len(good) {
		t.Errorf("%d errors for %d bytes", refused, len(good))
	}
}

// FuzzIndex has files that somebody has made: no answer may panic, or take long.
func FuzzIndex(f *testing.F) {
	for seed := range uint64(4) {
		packages := randomPackages(rand.New(rand.NewPCG(seed, 2)))
		f.Add(build(f, packages[:min(len(packages), 3)])) // small files are changed where it matters
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := index.Open(data)
		if err != nil {
			return
		}
		for _, err := range useAll(x) {
			if !errors.Is(err, index.ErrDamaged) {
				t.Error(err)
			}
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	packages := testindex.Debian(b, "bookworm").Packages
	for b.Loop() {
		b.SetBytes(int64(len(build(b, packages))))
	}
}

func BenchmarkNamed(b *testing.B) {
	x := open(b, testindex.Debian(b, "bookworm").Packages)
	for b.Loop() {
		if p, err := x.Named("libc6"); err != nil || len(p) != 1 {
			b.Fatal(p, err)
		}
	}
}

func BenchmarkProviding(b *testing.B) {
	x := open(b, testindex.Debian(b, "bookworm").Packages)
	for b.Loop() {
		if p, err := x.Providing("mail-transport-agent"); err != nil || len(p) == 0 {
			b.Fatal(p, err)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	x := open(b, testindex.Debian(b, "bookworm").Packages)
	for _, words := range []string{"jq", "json processor", "e", "nothing-has-this", "lib"} {
		b.Run(strings.ReplaceAll(words, " ", "+"), func(b *testing.B) {
			hits := 0
			for b.Loop() {
				found, err := x.Search([]string{words})
				if err != nil {
					b.Fatal(err)
				}
				hits = len(found)
			}
			b.ReportMetric(float64(hits), "hits")
		})
	}
}

func BenchmarkNames(b *testing.B) {
	x := open(b, testindex.Debian(b, "bookworm").Packages)
	for b.Loop() {
		if all, err := x.Names("libj", 1000); err != nil || len(all) < 100 {
			b.Fatal(len(all), err)
		}
	}
}
