package rpm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// relationsSpec has relations of all kinds, and files that an index lists and that it
// does not.
const relationsSpec = `
Name: related
Version: 1.2~rc1
Release: 3^git1
Epoch: 7
Summary: A package & more <"'> ü
License: MIT
AutoReqProv: no
Requires: libz.so.1()(64bit), zlib >= 1:1.2, bash < 9, dash <= 0:1, x > 2-3, y = 4:5-6, /usr/bin/perl
Requires: (a or b >= 2), (c and d), (e if f else g), ((h with h < 3) or i), (v >= 1 with v < 2)
Requires(post): /bin/sh, script-tool >= 2
Requires: /bin/sh
Requires(preun): removal-tool
Provides: thing = 4, other, bundled(x) = 1, ep = 3:1-2
Conflicts: old < 2, (m or n)
Obsoletes: older <= 1.9-1
Recommends: nice, (o or p = 1)
Suggests: nicer
Supplements: (q and r)
Enhances: s
%description
Text
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/usr/share/related
touch %{buildroot}/usr/bin/tool %{buildroot}/etc/x.conf %{buildroot}/usr/share/related/y %{buildroot}/etc/ghost "%{buildroot}/usr/bin/a b&c"
%files
/usr/bin/*
/etc/x.conf
/usr/share/related
%ghost /etc/ghost
`

// buildRelated builds the package of relationsSpec.
func buildRelated(t testing.TB, dir string) {
	t.Helper()
	top := t.TempDir()
	spec := filepath.Join(top, "related.spec")
	if err := os.WriteFile(spec, []byte(relationsSpec), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_dbpath "+top+"/db",
		"--define", "_rpmdir "+dir, "--define", "_rpmfilename %%{NAME}.rpm", "--define", "debug_package %{nil}", spec)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, output)
	}
}

// realRepository makes a repository of packages that others have built, and of one with
// all relations, by createrepo_c.
func realRepository(t testing.TB, options ...string) string {
	t.Helper()
	testneed.Programs(t, "createrepo_c", "rpmbuild")
	dir := t.TempDir()
	files, err := filepath.Glob("../../testdata/rpms/*.rpm")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, testrpm.CentOS("../..")...) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		writeInto(t, dir, "Packages/"+filepath.Base(file), string(b))
	}
	buildRelated(t, filepath.Join(dir, "Packages"))
	cmd := exec.Command("createrepo_c", append([]string{"--quiet", "--no-database", dir}, options...)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	return dir
}

// listDirectory lists a repository that nobody has signed.
func listDirectory(t testing.TB, dir string) *backends.Listing {
	t.Helper()
	l, err := Format{}.List(t.Context(), openRoot(t, t.TempDir()), backends.ListRequest{
		Source: &backends.Source{Format: Name, Name: "test", URLs: []string{"file://" + dir}, Unsigned: true},
		Get:    getFrom(dir, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// readParts reads all packages of a listing.
func readParts(t testing.TB, dir string, l *backends.Listing) (all []*pkginfo.Listed) {
	t.Helper()
	for i := range l.Parts {
		b, err := os.ReadFile(filepath.Join(dir, l.Parts[i].Paths[0]))
		if err != nil {
			t.Fatal(err)
		}
		if !hasDigest(b, l.Parts[i].Digest) || int64(len(b)) != l.Parts[i].Size {
			t.Errorf("%s has another digest or size", l.Parts[i].Paths[0])
		}
		err = Format{}.ReadIndex(&l.Parts[i], bytes.NewReader(b), func(p *pkginfo.Listed) error {
			all = append(all, p)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// solvables returns what libsolv makes of an index: for each package the values by
// their keys.
func solvables(t testing.TB, dir string) (all []map[string][]string) {
	t.Helper()
	testneed.Programs(t, "rpmmd2solv", "dumpsolv", "sh")
	script := `set -e; cd "$1"; f=$(ls repodata/*primary.xml*); case $f in *.gz) zcat "$f";; *.xz) xzcat "$f";; *.bz2) bzcat "$f";; *.zst) zstdcat "$f";; *) cat "$f";; esac | rpmmd2solv >"$2"; dumpsolv "$2"`
	out, err := exec.Command("sh", "-c", script, "sh", dir, filepath.Join(t.TempDir(), "solv")).Output()
	if err != nil {
		t.Fatal(err)
	}
	var values map[string][]string
	key := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "solvable ") && strings.HasSuffix(line, "):"):
			values = map[string][]string{}
			all, key = append(all, values), ""
		case values == nil:
		case strings.HasPrefix(line, "solvable:"):
			name, value, isOne := strings.Cut(strings.TrimPrefix(line, "solvable:"), ": ")
			key = strings.TrimSuffix(name, ":")
			if isOne {
				values[key] = []string{value}
			}
		case strings.HasPrefix(line, "  ") && key != "" && key != "description":
			values[key] = append(values[key], line[2:])
		}
	}
	return all
}

// isRich is for lines of dumpsolv.
var isRich = regexp.MustCompile(` (\||&|\+|IF|ELSE|UNLESS) `)

// simpleLines returns sorted lines of libsolv for simple relations, in rpm's notation,
// each once, and how many others there are.
func simpleLines(lines []string) (simple []string, richOnes int) {
	for _, line := range lines {
		line = strings.NewReplacer(" << ", " < ", " >> ", " > ").Replace(line)
		switch {
		case line == "solvable:prereqmarker" || line == "solvable:filemarker":
		case isRich.MatchString(line):
			richOnes++
		default:
			simple = append(simple, line)
		}
	}
	return unique(simple), richOnes
}

func unique(all []string) []string {
	all = slices.Clone(all)
	sort.Strings(all)
	return slices.Compact(all)
}

func texts(all []pkginfo.Relation) (lines []string) {
	for _, r := range all {
		if !strings.HasPrefix(r.Text, "(") {
			lines = append(lines, r.Text)
		}
	}
	return unique(lines)
}

func capabilities(l *pkginfo.Listed) []string {
	lines := []string{l.Name + " = " + l.Version}
	for _, c := range l.Provides {
		if c.Version != "" {
			lines = append(lines, c.Name+" = "+c.Version)
		} else {
			lines = append(lines, c.Name)
		}
	}
	return unique(lines)
}

// TestRepositoryAgainstLibsolv compares each field of each package with what libsolv
// reads of the same index, in each compression that createrepo_c has.
func TestRepositoryAgainstLibsolv(t *testing.T) {
	for _, options := range [][]string{{"--general-compress-type=gz"}, {"--general-compress-type=xz"}, {"--general-compress-type=bz2"}, {"--checksum=sha512"}} {
		t.Run(options[0], func(t *testing.T) {
			dir := realRepository(t, options...)
			all, judged := readParts(t, dir, listDirectory(t, dir)), solvables(t, dir)
			if len(all) != len(judged) || len(all) < 5 {
				t.Fatalf("there are %d packages, and for libsolv %d", len(all), len(judged))
			}
			for i, l := range all {
				compareSolvable(t, l, judged[i])
			}
		})
	}
}

func compareSolvable(t *testing.T, l *pkginfo.Listed, s map[string][]string) {
	t.Helper()
	one := func(key string) string { return strings.Join(s[key], "\n") }
	kind, sum, _ := strings.Cut(l.Digest, ":")
	for what, values := range map[string][2]string{
		"name":         {l.Name, one("name")},
		"version":      {l.Version, one("evr")},
		"architecture": {l.Architecture, one("arch")},
		"summary":      {l.Summary, one("summary")},
		"digest":       {sum + " (" + kind + ")", one("checksum")},
		"size":         {fmt.Sprint(l.Size), one("downloadsize")},
		"installed":    {fmt.Sprint(l.InstalledSize), one("installsize")},
	} {
		if values[0] != values[1] {
			t.Errorf("%s has the %s %q, and for libsolv %q", l.Spec(), what, values[0], values[1])
		}
	}
	if source := one("sourcename"); source != "(void)" && l.Source != source || source == "(void)" && l.Source != l.Name {
		t.Errorf("%s is of %q, and for libsolv of %q", l.Spec(), l.Source, source)
	}
	for what, lines := range map[string][2][]string{
		"requires":   {texts(append(slices.Clone(l.Requires), l.ScriptRequires...)), s["requires"]},
		"recommends": {texts(l.Recommends), s["recommends"]},
		"conflicts":  {texts(l.Conflicts), s["conflicts"]},
		"obsoletes":  {texts(l.Replaces), s["obsoletes"]},
		"provides":   {capabilities(l), s["provides"]},
		"files":      {unique(l.Files), s["filelist"]},
	} {
		got := lines[0]
		want, richOnes := simpleLines(lines[1])
		if n := map[string]int{"requires": len(l.Requires) + len(l.ScriptRequires), "recommends": len(l.Recommends), "conflicts": len(l.Conflicts)}[what]; l.Name == "related" && n > 0 && n != len(got)+richOnes {
			t.Errorf("%s of %s: %d relations, and for libsolv %d rich ones beside %d others", what, l.Name, n, richOnes, len(got))
		}
		if what == "provides" { // libsolv adds the files that any package requires
			want = slices.DeleteFunc(want, func(s string) bool { return slices.Contains(l.Files, s) && !slices.Contains(got, s) })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s: %s", l.Spec(), what, cmp.Diff(got, want))
		}
	}
}

// TestRepositoryAgainstPackages compares what an index says of packages with what they
// say of themselves.
func TestRepositoryAgainstPackages(t *testing.T) {
	dir := realRepository(t)
	seen, isRelated := 0, false
	for _, l := range readParts(t, dir, listDirectory(t, dir)) {
		if l.Name == "related" {
			isRelated = true
			if got := strings.Join(texts(l.ScriptRequires), ", "); got != "script-tool >= 2" {
				t.Errorf("only its scripts need %s", got)
			}
			for text, alternatives := range map[string]int{"(a or b >= 2)": 2, "(c and d)": 0, "(v >= 1 with v < 2)": 0, "/bin/sh": 1, "removal-tool": 1} {
				i := slices.IndexFunc(l.Requires, func(r pkginfo.Relation) bool { return r.Text == text })
				if i < 0 || len(l.Requires[i].Alternatives) != alternatives {
					t.Errorf("it does not require %s with %d alternatives: %v", text, alternatives, l.Requires)
				}
			}
		}
		b, err := os.ReadFile(filepath.Join(dir, l.Path))
		if err != nil {
			t.Error(err)
			continue
		}
		if int64(len(b)) != l.Size || !hasDigest(b, l.Digest) {
			t.Errorf("%s has another size or digest than its file", l.Spec())
		}
		r, err := NewReader(bytes.NewReader(b), nil)
		if err != nil {
			t.Errorf("%s: %v", l.Path, err)
			continue
		}
		p := r.Package()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		seen++
		if p.Name != l.Name || p.Architecture != l.Architecture || p.Source != l.Source || p.Summary != l.Summary || compareVersions(p.Version, l.Version) != 0 {
			t.Errorf("it lists %s %s %s %s %q, and the package is %s %s %s %s %q",
				l.Name, l.Version, l.Architecture, l.Source, l.Summary, p.Name, p.Version, p.Architecture, p.Source, p.Summary)
		}
		if got, want := capabilities(l), capabilities(&pkginfo.Listed{Package: *p}); !slices.Equal(got, want) {
			t.Errorf("%s provides\n%q, and itself\n%q", l.Spec(), got, want)
		}
		own := texts(p.Requires)
		for _, text := range texts(l.Requires) { // createrepo_c leaves out what the package has itself
			if !slices.Contains(own, text) && text != "dash <= 1" { // which is "dash <= 0:1" in the package
				t.Errorf("%s requires %s, and itself does not", l.Spec(), text)
			}
		}
	}
	if seen < 5 || !isRelated {
		t.Errorf("only %d packages were compared, or not the one with all relations", seen)
	}
}

// TestFilesAgainstRPM compares what filelists.xml of createrepo_c has, and which of it is
// in primary.xml, with what rpm says that packages have.
func TestFilesAgainstRPM(t *testing.T) {
	testneed.Programs(t, "rpm")
	dir := realRepository(t)
	l := listDirectory(t, dir)
	if l.Files == nil {
		t.Fatal("there is no index of all files")
	}
	packed, err := os.ReadFile(filepath.Join(dir, l.Files.Paths[0]))
	if err != nil {
		t.Fatal(err)
	}
	wanted, ofDigest := map[string]bool{}, map[string][]string{}
	listed := readParts(t, dir, l)
	for _, p := range listed {
		out, err := exec.Command("rpm", "-qp", "--nosignature", "--qf", "[%{FILENAMES}\n]", filepath.Join(dir, p.Path)).Output()
		if err != nil {
			t.Fatalf("%s: %v", p.Path, err)
		}
		_, digest, _ := strings.Cut(p.Digest, ":")
		ofDigest[digest] = unique(strings.Fields(strings.ReplaceAll(string(out), " ", "\x00")))
		for i, path := range ofDigest[digest] {
			path = strings.ReplaceAll(path, "\x00", " ")
			ofDigest[digest][i], wanted[path] = path, true
		}
	}
	got := map[string][]string{}
	err = Format{}.ReadFiles(l.Files, bytes.NewReader(packed), wanted, func(_, digest, path string) error {
		got[digest] = append(got[digest], path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	others := 0
	for _, p := range listed {
		_, digest, _ := strings.Cut(p.Digest, ":")
		if all := unique(got[digest]); !slices.Equal(all, ofDigest[digest]) {
			t.Errorf("%s: %s", p.Spec(), cmp.Diff(all, ofDigest[digest]))
		}
		for _, path := range ofDigest[digest] {
			isListed := slices.Contains(p.Files, path)
			if isListed != (Format{}).IsListed(path) {
				t.Errorf("%s: %s is in primary.xml: %v", p.Spec(), path, isListed)
			}
			if !isListed {
				others++
			}
		}
	}
	if others == 0 {
		t.Error("all files are in primary.xml")
	}
}
