package choose_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testindex"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/choose"
)

// debs returns packages of lines such as "a=1 Depends: b (>= 1); Multi-Arch: foreign".
func debs(tb testing.TB, text string) []*pkginfo.Listed {
	tb.Helper()
	var control strings.Builder
	for line := range strings.Lines(text) {
		spec, fields, _ := strings.Cut(strings.TrimSpace(line), " ")
		if spec == "" {
			continue
		}
		name, version, _ := strings.Cut(spec, "=")
		fmt.Fprintf(&control, "Package: %s\nVersion: %s\nFilename: %s.deb\nSize: 1\nSHA256: %064d\n", name, version, name, 0)
		if !strings.Contains(fields, "Architecture: ") {
			control.WriteString("Architecture: amd64\n")
		}
		for field := range strings.SplitSeq(fields, "; ") {
			if field != "" {
				control.WriteString(field + "\n")
			}
		}
		control.WriteString("\n")
	}
	return testindex.Parse(tb, control.String())
}

// describe returns a choice as text.
func describe(c *choose.Choice) string {
	var all []string
	for _, p := range c.Packages {
		s := p.Spec()
		if p.Architecture != "amd64" && p.Architecture != "x86_64" {
			s = p.Name + ":" + p.Architecture + "=" + p.Version
		}
		all = append(all, s)
	}
	for _, s := range c.Skipped {
		all = append(all, fmt.Sprintf("[%s: %s]", s.Relation, s.Reason))
	}
	for _, u := range c.Unresolved {
		all = append(all, fmt.Sprintf("[%s]", u))
	}
	return strings.Join(all, " ")
}

// parseRequests reads "NAME:ARCH=VERSION/SOURCE", with spaces between them.
func parseRequests(text string) []choose.Request {
	var all []choose.Request
	for word := range strings.FieldsSeq(text) {
		var r choose.Request
		if !strings.HasPrefix(word, "/") {
			word, r.Source, _ = strings.Cut(word, "/")
		}
		word, r.Version, _ = strings.Cut(word, "=")
		r.Name, r.Architecture, _ = strings.Cut(word, ":")
		all = append(all, r)
	}
	return all
}

func TestMake(t *testing.T) {
	for name, tc := range map[string]struct {
		packages string
		ask      string
		change   func(*choose.Options)
		want     string
	}{
		"what is needed": {
			packages: "a=1 Depends: b, c\nb=1 Depends: d\nc=1 Depends: d, a\nd=1\nother=1",
			ask:      "a", want: "a=1 b=1 c=1 d=1",
		},
		"requests first": {
			packages: "a=1 Depends: b\nb=1\nc=1 Depends: b",
			ask:      "c a", want: "c=1 a=1 b=1",
		},
		"the highest version": {
			packages: "a=1.9\na=1.10\na=1:0.5 Depends: b\nb=1~rc1\nb=1",
			ask:      "a", want: "a=1:0.5 b=1",
		},
		"a version that is named": {
			packages: "a=1 Depends: b (<< 2)\na=2\nb=1\nb=1.5\nb=2",
			ask:      "a=1", want: "a=1 b=1.5",
		},
		"two versions that are named": {
			packages: "a=1\na=2", ask: "a=1 a=2", want: "a=1 a=2",
		},
		"the first alternative": {
			packages: "a=1 Depends: x | b | c\nb=1\nc=1",
			ask:      "a", want: "a=1 b=1",
		},
		"an alternative that another package needs": {
			packages: "a=1 Depends: b | c, d\nb=1\nc=1\nd=1 Depends: c",
			ask:      "a", want: "a=1 d=1 c=1",
		},
		"an alternative that was asked for": {
			packages: "a=1 Depends: b | c\nb=1\nc=1", ask: "a c", want: "a=1 c=1",
		},
		"an alternative of another version": {
			packages: "a=1 Depends: b (>= 2) | c\nb=1\nc=1", ask: "a b", want: "a=1 b=1 c=1",
		},
		"an alternative whose package has other needs": {
			packages: "a=1 Depends: b | c, d | e\nb=1 Depends: e\nc=1\nd=1\ne=1",
			ask:      "a", want: "a=1 b=1 e=1",
		},
		"an alternative that lacks nothing": {
			packages: "a=1 Depends: b | c | d\nb=1 Depends: x\nc=1 Depends: b\nd=1 Depends: e\ne=1 Depends: d",
			ask:      "a", want: "a=1 d=1 e=1",
		},
		"an alternative in a circle that lacks something": {
			packages: "a=1 Depends: b | f\nb=1 Depends: c\nc=1 Depends: b, d\nd=1 Depends: c, x\nf=1",
			ask:      "a", want: "a=1 f=1",
		},
		"a version that lacks nothing": {
			packages: "a=1 Depends: b\nb=1\nb=2 Depends: x", ask: "a", want: "a=1 b=1",
		},
		"a provider that lacks nothing": {
			packages: "a=1 Depends: v\nv=1 Depends: x\np=1 Provides: v; Depends: x\nq=1 Provides: v", ask: "a", want: "a=1 q=1",
		},
		"all lack something": {
			packages: "a=1 Depends: v\nv=1 Depends: x\np=1 Provides: v; Depends: x", ask: "a", want: "a=1 v=1 [v=1 requires x, and nothing is or provides it]",
		},
		"a name before those that provide it": {
			packages: "a=1 Depends: v\naa=1 Provides: v; Priority: required\nv=1",
			ask:      "a", want: "a=1 v=1",
		},
		"the provider of the highest priority": {
			packages: "a=1 Depends: v\np=1 Provides: v; Priority: extra\nq=1 Provides: v; Priority: optional\nr=1 Provides: v\nz=1 Provides: v; Priority: important",
			ask:      "a", want: "a=1 z=1",
		},
		"the first provider": {
			packages: "a=1 Depends: v\nq=1 Provides: v\np=1 Provides: v", ask: "a", want: "a=1 p=1",
		},
		"a provider that is chosen": {
			packages: "a=1 Depends: v, q\nq=1 Provides: v\np=1 Provides: v", ask: "a", want: "a=1 q=1",
		},
		"a provider of an old version": {
			packages: "a=1 Depends: v\np=1 Provides: v\np=2\nq=1 Provides: v", ask: "a p", want: "a=1 p=2 q=1",
		},
		"a provided version": {
			packages: "a=1 Depends: v (>= 2)\np=9 Provides: v\nq=9 Provides: v (= 1)\nr=1 Provides: v (= 2)\nv=1",
			ask:      "a", want: "a=1 r=1",
		},
		"a virtual package that is asked for": {
			packages: "p=1 Provides: v\np=2 Provides: v", ask: "v", want: "p=2",
		},
		"what provides itself": {
			packages: "a=1 Depends: v; Provides: v\nb=1 Provides: v", ask: "a", want: "a=1",
		},
		"a version that all allow": {
			packages: "a=1 Depends: b, c\nb=1\nb=2 Depends: d\nb=3\nc=1 Depends: b (<< 3)\nd=1",
			ask:      "a", want: "a=1 b=2 c=1 d=1",
		},
		"two versions that are demanded": {
			packages: "a=1 Depends: b (>= 2), c\nb=1\nb=2\nc=1 Depends: b (<< 2)",
			ask:      "a", want: "a=1 b=2 c=1 b=1",
		},
		"a version that is named, and another that is demanded": {
			packages: "a=1 Depends: b (<< 2)\nb=1\nb=2", ask: "b=2 a", want: "b=2 a=1 b=1",
		},
		"a version that is asked for by no version": {
			packages: "a=1 Depends: b (<< 2)\nb=1\nb=2", ask: "b a", want: "b=1 a=1",
		},
		"tools of scripts": {
			packages: "a=1 Depends: debconf (>= 0.5) | debconf-2.0, adduser, b\nadduser=1 Depends: passwd\ndebconf=1 Provides: debconf-2.0\nb=1 Depends: adduser",
			ask:      "a", want: "a=1 b=1 [debconf (>= 0.5) | debconf-2.0: only maintainer scripts need it, which install does not run] [adduser: only maintainer scripts need it, which install does not run]",
		},
		"a tool of scripts that is asked for": {
			packages: "a=1 Depends: adduser\nadduser=1 Depends: passwd\npasswd=1", ask: "a adduser", want: "a=1 adduser=1 passwd=1",
		},
		"a tool that a package of its source needs": {
			packages: "a=1 Depends: dpkg-dev, dpkg\ndpkg-dev=1 Depends: dpkg; Source: dpkg (1)\ndpkg=1", ask: "a", want: "a=1 dpkg-dev=1 dpkg=1",
		},
		"another build of a library": {
			packages: "a=1 Depends: b, lib (>= 1)\nb=1 Depends: extra\nlib=1 Depends: data\ndata=1\nextra=1 Provides: lib (= 1); Conflicts: lib",
			ask:      "a", want: "a=1 b=1 extra=1",
		},
		"another build that the library excludes": {
			packages: "a=1 Depends: b, lib\nb=1 Depends: extra\nlib=1 Conflicts: extra\nextra=1 Provides: lib", ask: "a", want: "a=1 b=1 extra=1",
		},
		"another build of a library that was asked for": {
			packages: "a=1 Depends: b, lib\nb=1 Depends: extra\nlib=1\nextra=1 Provides: lib; Conflicts: lib", ask: "a lib", want: "a=1 lib=1 b=1 extra=1",
		},
		"another build that is not enough": {
			packages: "a=1 Depends: b, lib (>= 1)\nb=1 Depends: extra\nlib=1\nextra=1 Provides: lib; Conflicts: lib", ask: "a", want: "a=1 b=1 lib=1 extra=1",
		},
		"another build beside it": {
			packages: "a=1 Depends: b, lib\nb=1 Depends: extra\nlib=1\nextra=1 Provides: lib", ask: "a", want: "a=1 b=1 lib=1 extra=1",
		},
		"what is in nobody's way": {
			packages: "a=1 Depends: b, lib\nb=1 Depends: extra\nlib=1\nextra=1 Provides: lib; Conflicts: lib (<< 1)", ask: "a", want: "a=1 b=1 lib=1 extra=1",
		},
		"recommended": {
			packages: "a=1 Depends: b; Recommends: c | d, e, x\nb=1 Recommends: f\nc=1\nd=1\ne=1 Depends: d\nf=1",
			ask:      "a", want: "a=1 b=1 c=1 e=1 d=1 f=1 [x: it is recommended, and not there]",
			change: func(o *choose.Options) { o.Recommends = true },
		},
		"not recommended": {
			packages: "a=1 Recommends: b\nb=1", ask: "a", want: "a=1",
		},
		"what the root has": {
			packages: "a=1 Depends: b (>= 1), c | d\nb=1\nc=1\nd=1",
			ask:      "a", want: "a=1 [b (>= 1): the system has it] [c | d: the system has it]",
			change: func(o *choose.Options) {
				o.Satisfied = func(c pkginfo.Constraint) bool {
					return c == pkginfo.Constraint{Name: "b", Operator: ">=", Version: "1"} || c.Name == "d"
				}
			},
		},
		"what nobody says": {
			packages: "a=1 Depends: b\nb=1\nunsaid=1 Depends: c\nc=1", ask: "a", want: "a=1 b=1 unsaid=1 c=1", change: unsaid("unsaid"),
		},
		"what nobody says, and is not there": {packages: "a=1 Depends: b\nb=1", ask: "a", want: "a=1 b=1", change: unsaid("unsaid")},
		"nothing answers": {
			packages: "a=1 Depends: b (>= 2), x | y\nb=1 Provides: x (= 1)\nc=1 Depends: x | y",
			ask:      "a c", want: "a=1 c=1 b=1 [a=1 requires b (>= 2), and there is b=1 (amd64, in main)]",
		},
		"nothing is there": {
			packages: "a=1 Depends: b, b:i386\nc=1 Depends: b", ask: "a c",
			want: "a=1 c=1 [a=1 requires b, and nothing is or provides it] [a=1 requires b:i386, and nothing is or provides it]",
		},

		"its own architecture": {
			packages: "a=1 Architecture: i386; Depends: b, c, d\nb=1\nb=1 Architecture: i386\nc=1 Architecture: all; Depends: b\nd=1 Multi-Arch: foreign\nd=1 Multi-Arch: foreign; Architecture: i386",
			ask:      "a:i386", want: "a:i386=1 b:i386=1 d=1 [a=1 requires c, and there is c=1 (all, in main)]",
			change: foreign,
		},
		"a foreign package for all": {
			packages: "a=1 Architecture: i386; Depends: c\nb=1\nb=1 Architecture: i386\nc=1 Architecture: all; Multi-Arch: foreign; Depends: b",
			ask:      "a:i386", want: "a:i386=1 c:all=1 b=1",
			change: foreign,
		},
		"any architecture": {
			packages: "a=1 Architecture: i386; Depends: p:any, q:any\np=1 Multi-Arch: allowed\nq=1",
			ask:      "a:i386", want: "a:i386=1 p=1 [a=1 requires q:any, and there is q=1 (amd64, in main)]",
			change: foreign,
		},
		"an architecture that is named": {
			packages: "a=1 Depends: b:i386, c:amd64\nb=1\nb=1 Architecture: i386\nc=1 Architecture: all",
			ask:      "a", want: "a=1 b:i386=1 c:all=1",
			change: foreign,
		},
		"the same of both": {
			packages: "a=1 Depends: b\na=1 Architecture: i386; Depends: b\nb=1 Multi-Arch: same\nb=1 Architecture: i386; Multi-Arch: same",
			ask:      "a:amd64 a:i386", want: "a=1 a:i386=1 b=1 b:i386=1",
			change: foreign,
		},
		"a foreign one where there is no other": {
			packages: "a=1 Architecture: i386\nb=1 Architecture: i386\nb=0.5", ask: "a b", want: "a:i386=1 b=0.5",
			change: foreign,
		},
		"one that the root cannot run": {
			packages: "a=1 Depends: b | c\nb=1 Architecture: arm64\nc=1", ask: "a", want: "a=1 c=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			options := debianOptions()
			if tc.change != nil {
				tc.change(&options)
			}
			choice, err := choose.Make(pool{newSource(t, "main", debs(t, tc.packages))}, parseRequests(tc.ask), options)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(choice); got != tc.want {
				t.Errorf("it is\n%s, not\n%s", got, tc.want)
			}
		})
	}
}

func foreign(o *choose.Options) { o.Architectures = []string{"amd64", "i386"} }

// TestSources has one package in several sources.
func TestSources(t *testing.T) {
	from := pool{
		newSource(t, "main", debs(t, "a=1 Depends: b\nb=1\nc=1")),
		newSource(t, "updates", debs(t, "a=2 Depends: b\nb=2\nc=1")),
	}
	for ask, want := range map[string]string{
		"a":         "a=2/updates b=2/updates",
		"a/main":    "a=1/main b=2/updates",
		"a=1":       "a=1/main b=2/updates",
		"c":         "c=1/main",
		"c/updates": "c=1/updates",
		"a b/main":  "a=2/updates b=1/main",
		"b/main a":  "b=1/main a=2/updates",
	} {
		choice, err := choose.Make(from, parseRequests(ask), debianOptions())
		if err != nil {
			t.Errorf("%s: %v", ask, err)
			continue
		}
		var all []string
		for _, p := range choice.Packages {
			all = append(all, p.Spec()+"/"+p.Source)
		}
		if got := strings.Join(all, " "); got != want {
			t.Errorf("%s: it is %s, not %s", ask, got, want)
		}
	}
}

func TestNotFound(t *testing.T) {
	from := pool{newSource(t, "main", debs(t, "a=1\na=2\np=1 Provides: v, a (= 3)\nq=1 Provides: v\nq=2 Provides: v\nr=1 Architecture: arm64"))}
	for ask, want := range map[string]string{
		"x":       "find x: no package has this name, or provides it",
		"a=3":     "find a=3: there is a=1 (amd64, in main), a=2 (amd64, in main)",
		"a/other": "find a/other: there is a=1 (amd64, in main), a=2 (amd64, in main)",
		"a:i386":  "find a:i386: there is a=1 (amd64, in main), a=2 (amd64, in main)",
		"v":       "find v: several packages provide it; name one of p, q",
		"r":       "find r: no package has this name, or provides it",
		"x a y":   "find x: no package has this name, or provides it\nfind y: no package has this name, or provides it",
	} {
		_, err := choose.Make(from, parseRequests(ask), debianOptions())
		var notFound *choose.NotFoundError
		if !errors.As(err, &notFound) || err.Error() != want {
			t.Errorf("%s: the error is %v, not %s", ask, err, want)
		}
	}
}

// TestChain asks why a package was chosen.
func TestChain(t *testing.T) {
	choice, err := choose.Make(pool{newSource(t, "main", debs(t, "a=1 Depends: b\nb=1 Depends: x | c\nc=1"))}, parseRequests("a"), debianOptions())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range choice.Packages[2].Chain() {
		got = append(got, fmt.Sprintf("%s for %q", c.Name, c.Relation.Text))
	}
	if want := []string{`c for "x | c"`, `b for "b"`, `a for ""`}; !slices.Equal(got, want) {
		t.Errorf("it is %q, not %q", got, want)
	}
}

// brokenPool has an index that cannot be read.
type brokenPool struct{ pool }

func (p brokenPool) Named(name string) ([]choose.Package, error) {
	if name == "b" {
		return nil, errBroken
	}
	return p.pool.Named(name)
}

var errBroken = errors.New("the disk fails")

func TestBrokenPool(t *testing.T) {
	from := brokenPool{pool{newSource(t, "main", debs(t, "a=1 Depends: b | c\nc=1"))}}
	for _, ask := range []string{"a", "b", "x b"} {
		if choice, err := choose.Make(from, parseRequests(ask), debianOptions()); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v, %v", ask, choice, err)
		}
	}
}

// rpms returns packages of lines such as "a=1 Requires: b >= 1, (c if d); Provides: e".
func rpms(tb testing.TB, text string) []*pkginfo.Listed {
	tb.Helper()
	var all []*pkginfo.Listed
	for line := range strings.Lines(text) {
		spec, fields, _ := strings.Cut(strings.TrimSpace(line), " ")
		if spec == "" {
			continue
		}
		p := &pkginfo.Listed{Package: pkginfo.Package{Format: rpm.Name, Architecture: "x86_64"}}
		p.Name, p.Version, _ = strings.Cut(spec, "=")
		for field := range strings.SplitSeq(fields, "; ") {
			name, value, _ := strings.Cut(field, ": ")
			for one := range strings.SplitSeq(value, ", ") {
				words := append(strings.Fields(one), "", "", "")
				relation := pkginfo.Relation{Text: one}
				if !strings.HasPrefix(one, "(") {
					relation.Alternatives = []pkginfo.Constraint{{Name: words[0], Operator: words[1], Version: words[2]}}
				}
				switch name {
				case "":
				case "Arch":
					p.Architecture = one
				case "Requires":
					p.Requires = append(p.Requires, relation)
				case "Pre":
					p.ScriptRequires = append(p.ScriptRequires, relation)
				case "Provides":
					p.Provides = append(p.Provides, pkginfo.Capability{Name: words[0], Version: words[2]})
				case "Obsoletes":
					p.Replaces = append(p.Replaces, relation)
				case "Files":
					p.Files = append(p.Files, one)
				default:
					tb.Fatalf("the field %q", name)
				}
			}
		}
		all = append(all, p)
	}
	return all
}

func rpmOptions() choose.Options {
	return choose.Options{
		Orders:        pkginfo.Orders{rpm.Name: rpm.Format{}.Order()},
		Architectures: []string{"x86_64", "i686"}, All: "noarch", Obsoletes: true,
	}
}

func TestMakeOfRPM(t *testing.T) {
	for name, tc := range map[string]struct{ packages, ask, want string }{
		"sonames and files": {
			"a=1 Requires: libb.so.1()(64bit), /usr/bin/c\nb=1 Provides: libb.so.1()(64bit)\nb32=1 Provides: libb.so.1; Arch: i686\nc=1 Files: /usr/bin/c", "a", "a=1 b=1 c=1",
		},
		"a file that is asked for":      {"c=1 Files: /usr/bin/c", "/usr/bin/c", "c=1"},
		"a version without its release": {"a=1.0-1 Requires: b = 2\nb=2-1\nb=2-2\nb=3-1\na=1.1-1", "a=1.0", "a=1.0-1 b=2-2"},
		"its own architecture first":    {"a=1 Requires: b\nb=2 Arch: i686\nb=1\nb=1 Arch: i686", "a", "a=1 b=1"},
		"one of all architectures":      {"a=1 Arch: i686; Requires: b\nb=1 Arch: noarch", "a", "a:i686=1 b:noarch=1"},
		"for scripts":                   {"a=1 Pre: b, c; Requires: c\nb=1\nc=1", "a", "a=1 c=1 [b: only maintainer scripts need it, which install does not run]"},

		"all of":          {"a=1 Requires: (b and c >= 1)\nb=1\nc=1\nc=0.5", "a", "a=1 b=1 c=1"},
		"one that is two": {"a=1 Requires: (v >= 1 with v < 2)\np=1 Provides: v = 2\nq=1 Provides: v = 1.5\nr=1 Provides: v = 0.5", "a", "a=1 q=1"},
		"two that are not one": {
			"a=1 Requires: p, r, (v >= 1 with v < 2)\np=1 Provides: v = 2\nq=1 Provides: v = 1.5\nr=1 Provides: v = 0.5", "a", "a=1 p=1 r=1 q=1",
		},
		"three with":                      {"a=1 Requires: (v with w with x)\np=1 Provides: v, w\nq=1 Provides: v, w, x", "a", "a=1 q=1"},
		"one without":                     {"a=1 Requires: (v without w)\np=1 Provides: v, w\nq=1 Provides: v", "a", "a=1 q=1"},
		"if it is there":                  {"a=1 Requires: (b if c), d\nb=1\nc=1\nd=1 Requires: c", "a", "a=1 d=1 c=1 b=1"},
		"if it is not there":              {"a=1 Requires: (b if c)\nb=1\nc=1", "a", "a=1"},
		"else":                            {"a=1 Requires: (b if c else d)\nb=1\nc=1\nd=1", "a", "a=1 d=1"},
		"else what it is about":           {"a=1 Requires: (b if c else c)\nb=1\nc=1", "a", "a=1 c=1 b=1"},
		"else what it is about, and none": {"a=1 Requires: (b if c else c)\nc=1", "a", "a=1 c=1 [a=1 requires (b if c else c), and there is c=1 (x86_64, in main)]"},
		"unless":                          {"a=1 Requires: (b unless c)\nb=1\nc=1", "a", "a=1 b=1"},
		"unless it is there":              {"a=1 Requires: (b unless c else d)\nb=1\nc=1\nd=1", "a c", "a=1 c=1 d=1"},
		"in each other":                   {"a=1 Requires: ((b or c) and (d if (b or x)))\nb=1\nc=1\nd=1", "a", "a=1 b=1 d=1"},
		"or all of":                       {"a=1 Requires: (x or (b and c))\nb=1\nc=1", "a", "a=1 b=1 c=1"},
		"names with parentheses": {
			"a=1 Requires: (python3dist(b) >= 1 with python3dist(b) < 2)\nb=1 Provides: python3dist(b) = 1.1\nb=2 Provides: python3dist(b) = 2", "a", "a=1 b=1",
		},
		"a new name":                   {"old=1\nnew=2 Provides: old = 2; Obsoletes: old < 2", "old", "new=2"},
		"a new name, for another":      {"a=1 Requires: old\nold=1\nnew=2 Provides: old = 2; Obsoletes: old < 2", "a", "a=1 new=2"},
		"a new name, the old version":  {"a=1 Requires: old < 2\nold=1\nnew=2 Provides: old = 2; Obsoletes: old < 2", "a old=1", "a=1 old=1"},
		"a new name, and a newer one":  {"old=1\nold=3\nnew=2 Provides: old = 2; Obsoletes: old < 2", "old", "old=3"},
		"a new name that lacks":        {"a=1 Requires: old\nold=1\nnew=2 Provides: old = 2; Obsoletes: old < 2; Requires: x", "a old", "a=1 old=1"},
		"obsolete, without a new name": {"a=1 Requires: old\nold=1\nnew=2 Obsoletes: old < 2", "a", "a=1 old=1"},
		"each in place of the other":   {"b=1 Provides: c; Obsoletes: c\nc=1 Provides: b; Obsoletes: b", "c b", "c=1 b=1"},
		"a provider that is obsolete":  {"a=1 Requires: v\nb=1 Provides: v\nc=2 Provides: v, b = 2; Obsoletes: b < 2", "a", "a=1 c=2"},

		"without a version": {"a=1 Requires: v >= 2, (w >= 2 with w < 3)\nb=1 Provides: v\nc=1 Provides: w", "a", "a=1 b=1 c=1"},

		"one that cannot be read": {"a=1 Requires: (b or), (b xor c)\nb=1", "a", "a=1 [a=1 requires (b or), and nothing is or provides it] [a=1 requires (b xor c), and nothing is or provides it]"},
	} {
		t.Run(name, func(t *testing.T) {
			choice, err := choose.Make(pool{newSource(t, "main", rpms(t, tc.packages))}, parseRequests(tc.ask), rpmOptions())
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(choice); got != tc.want {
				t.Errorf("it is\n%s, not\n%s", got, tc.want)
			}
		})
	}
}

// FuzzRich has rich relations as packages may write them.
func FuzzRich(f *testing.F) {
	for _, text := range []string{"(b)", "(b or c)", "((b with c) and d)", "(b if c else d)", "(b unless (c or d))", "(b without c)", "(((", "(b >= 1 with b(x) < 2)", "(b and"} {
		f.Add(text)
	}
	packages := rpms(f, "b=1 Provides: b(x) = 1; Requires: c\nc=1\nd=1 Provides: c")
	f.Fuzz(func(t *testing.T, text string) {
		a := &pkginfo.Listed{Package: pkginfo.Package{Format: rpm.Name, Name: "a", Version: "1", Architecture: "x86_64", Requires: []pkginfo.Relation{{Text: text}}}}
		if _, err := choose.Make(pool{newSource(t, "main", append(packages[:len(packages):len(packages)], a))}, parseRequests("a"), rpmOptions()); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	release := testindex.Debian(b, "bookworm")
	from := pool{newSource(b, "bookworm", release.Packages)}
	for _, name := range []string{"jq", "ffmpeg", "gnome", "texlive-full"} {
		b.Run(name, func(b *testing.B) {
			chosen := 0
			for b.Loop() {
				choice, err := choose.Make(from, []choose.Request{{Name: name}}, debianOptions())
				if err != nil {
					b.Fatal(err)
				}
				chosen = len(choice.Packages)
			}
			b.ReportMetric(float64(chosen), "packages")
		})
	}
}

// unsaid has b require a package without a word.
func unsaid(name string) func(*choose.Options) {
	return func(o *choose.Options) {
		o.Unsaid = func(p *pkginfo.Package) []pkginfo.Relation {
			if p.Name != "b" {
				return nil
			}
			return []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: name}}, Text: name}}
		}
	}
}
