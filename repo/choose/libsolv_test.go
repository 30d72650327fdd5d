package choose_test

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/choose"
)

// primary is what createrepo_c writes of packages.
type primary struct {
	Packages []struct {
		Name    string `xml:"name"`
		Arch    string `xml:"arch"`
		Version struct {
			Epoch string `xml:"epoch,attr"`
			Ver   string `xml:"ver,attr"`
			Rel   string `xml:"rel,attr"`
		} `xml:"version"`
		Provides []entry  `xml:"format>provides>entry"`
		Requires []entry  `xml:"format>requires>entry"`
		Files    []string `xml:"format>file"`
	} `xml:"package"`
}

type entry struct {
	Name  string `xml:"name,attr"`
	Flags string `xml:"flags,attr"`
	Ver   string `xml:"ver,attr"`
	Rel   string `xml:"rel,attr"`
	Pre   string `xml:"pre,attr"`
}

func (e entry) constraint() pkginfo.Constraint {
	c := pkginfo.Constraint{Name: e.Name, Version: e.Ver}
	c.Operator = map[string]string{"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}[e.Flags]
	if e.Rel != "" {
		c.Version += "-" + e.Rel
	}
	return c
}

// readPrimary returns the packages of a repository that createrepo_c has made.
func readPrimary(t *testing.T, file string) (all []*pkginfo.Listed) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	var repository primary
	if err := xml.Unmarshal(text, &repository); err != nil {
		t.Fatal(err)
	}
	for _, p := range repository.Packages {
		l := &pkginfo.Listed{Package: pkginfo.Package{Format: rpm.Name, Name: p.Name, Architecture: p.Arch, Version: p.Version.Ver + "-" + p.Version.Rel}, Files: p.Files}
		for _, e := range p.Provides {
			c := e.constraint()
			l.Provides = append(l.Provides, pkginfo.Capability{Name: c.Name, Version: c.Version})
		}
		for _, e := range p.Requires {
			r := pkginfo.Relation{Text: e.Name}
			if !strings.HasPrefix(e.Name, "(") {
				r.Alternatives = []pkginfo.Constraint{e.constraint()}
			}
			if e.Pre == "1" {
				l.ScriptRequires = append(l.ScriptRequires, r)
			} else {
				l.Requires = append(l.Requires, r)
			}
		}
		all = append(all, l)
	}
	return all
}

// scriptPre is the flag of a relation that a script has before the package is installed
// (rpm: RPMSENSE_SCRIPT_PRE), requireFlags the tag with the flags.
const (
	scriptPre    = 1 << 9
	requireFlags = 1048
)

// randomRPM returns a package that needs some of what others may be.
func randomRPM(r *rand.Rand, number, version int) testrpm.Package {
	letter := func() string { return string(rune('a' + r.IntN(16))) }
	one := func() string {
		switch r.IntN(6) {
		case 0:
			return fmt.Sprintf("%s >= %d", letter(), 1+r.IntN(2))
		case 1:
			return fmt.Sprintf("v%d", r.IntN(4))
		case 2:
			return fmt.Sprintf("v%d >= %d", r.IntN(4), 1+r.IntN(2))
		case 3:
			return "/usr/bin/" + letter()
		}
		return letter()
	}
	p := testrpm.Package{Name: string(rune('a' + number)), Version: fmt.Sprint(version)}
	p.Provides = []string{fmt.Sprintf("%s = %d-1", p.Name, version)}
	if r.IntN(3) > 0 {
		p.Files = []testrpm.File{testrpm.Dir("/usr/bin"), {Path: "/usr/bin/" + p.Name, Mode: 0o755}}
	}
	if r.IntN(2) == 0 {
		p.Provides = append(p.Provides, fmt.Sprintf("v%d = %d", r.IntN(4), 1+r.IntN(3)))
	}
	for range r.IntN(3) {
		switch r.IntN(8) {
		case 0:
			p.Requires = append(p.Requires, fmt.Sprintf("(%s or %s)", one(), one()))
		case 1:
			p.Requires = append(p.Requires, fmt.Sprintf("(%s and %s)", one(), one()))
		case 2:
			p.Requires = append(p.Requires, fmt.Sprintf("(%s if %s)", letter(), one()))
		case 3:
			p.Requires = append(p.Requires, fmt.Sprintf("(v%[1]d >= %[2]d with v%[1]d < %[3]d)", r.IntN(4), 1+r.IntN(2), 2+r.IntN(3)))
		case 4:
			p.Requires = append(p.Requires, fmt.Sprintf("(v%d without %s)", r.IntN(4), letter()))
		default:
			p.Requires = append(p.Requires, one())
		}
	}
	if r.IntN(12) == 0 {
		scripts := len(p.Requires)
		p.Requires = append(p.Requires, letter())
		p.Edit = func(h *testrpm.Header) {
			flags := h.Get(requireFlags)
			at := flags.Data[4*scripts:]
			binary.BigEndian.PutUint32(at, binary.BigEndian.Uint32(at)|scriptPre)
		}
	}
	return p
}

// libsolv returns what libsolv would do for some jobs: the packages that it installs, and
// its problems.
func libsolv(t *testing.T, dir string, jobs ...string) (installs []string, problems string) {
	text := "repo main 0 solv main.solv\nsystem x86_64 rpm\nsolverflags ignorerecommended\n"
	for _, job := range jobs {
		text += "job " + job + "\n"
	}
	text += "result transaction,problems result\n"
	for name, text := range map[string]string{"case": text, "result": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "testsolv", "-r", "case")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("testsolv: %v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "install "):
			installs = append(installs, strings.TrimPrefix(line, "install "))
		case strings.Contains(line, " info "):
			problems += line + "\n"
		case !strings.HasPrefix(line, "problem "):
			t.Fatalf("testsolv says %q", line)
		}
	}
	slices.Sort(installs)
	return installs, problems
}

// TestLibsolv makes repositories of packages that need each other in many ways, and
// asks libsolv whether what is chosen is whole, and whether it would choose the same.
func TestLibsolv(t *testing.T) {
	testneed.Programs(t, "createrepo_c", "rpmmd2solv", "testsolv")
	rules := map[string]int{}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		for number := range 16 {
			for version := range 1 + r.IntN(5)/4 {
				file := fmt.Sprintf("%c-%d.rpm", 'a'+number, version+1)
				if err := os.WriteFile(filepath.Join(dir, file), testrpm.RPM(t, randomRPM(r, number, version+1)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if out, err := exec.CommandContext(t.Context(), "createrepo_c", "--quiet", "--simple-md-filenames", "--no-database", dir).CombinedOutput(); err != nil {
			t.Fatalf("createrepo_c: %v: %s", err, out)
		}
		file := filepath.Join(dir, "repodata/primary.xml.gz")
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", "gzip -dc repodata/primary.xml.gz | rpmmd2solv >main.solv")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("rpmmd2solv: %v: %s", err, out)
		}
		from := pool{newSource(t, "main", readPrimary(t, file))}
		for number := range 16 {
			name := string(rune('a' + number))
			rule, why := judge(t, dir, from, name)
			rules[rule]++
			if why != "" {
				t.Errorf("seed %d, %s: %s", seed, name, why)
			}
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		t.Logf("%3d: %s", rules[rule], rule)
	}
	if differ := rules["a condition came true by what was chosen, and leads to what is missing"]; differ > 2 {
		t.Errorf("%d choices miss something that libsolv finds", differ)
	}
	if rules["the same"] < 16 || rules["something is missing for both"] == 0 {
		t.Error("the repositories are not what they should be")
	}
}

// judge compares the choice for a name with libsolv's. It returns the rule by which they
// are as they should be, or why they are not.
func judge(t *testing.T, dir string, from pool, name string) (rule, why string) {
	choice, err := choose.Make(from, []choose.Request{{Name: name}}, rpmOptions())
	if err != nil {
		return "", err.Error()
	}
	theirs, problems := libsolv(t, dir, "install name "+name)
	var ours, jobs []string
	versions := map[string]int{}
	forScripts := false
	for _, c := range choice.Packages {
		id := fmt.Sprintf("%s-%s.%s@main", c.Name, c.Version, c.Architecture)
		ours = append(ours, id)
		jobs = append(jobs, "install pkg "+id)
		versions[c.Name]++
		forScripts = forScripts || len(c.ScriptRequires) > 0
	}
	slices.Sort(ours)
	two := slices.Max(slices.Collect(maps.Values(versions))) > 1

	switch {
	case len(choice.Unresolved) > 0 && problems != "":
		return "something is missing for both", ""
	case slices.ContainsFunc(choice.Unresolved, isConditional):
		return "a condition came true by what was chosen, and leads to what is missing", ""
	case len(choice.Unresolved) > 0:
		return "", fmt.Sprintf("%v, and libsolv chooses %v", choice.Unresolved, theirs)
	case two && problems != "":
		return "two versions stand side by side, which libsolv does not allow", ""
	case problems != "" && forScripts:
		return "libsolv has a problem with what scripts need", ""
	case problems != "":
		return "", fmt.Sprintf("libsolv finds problems, and %v was chosen: %s", ours, problems)
	case slices.Equal(ours, theirs):
		return "the same", ""
	case two:
		return "", fmt.Sprintf("%v, and libsolv needs no two versions: %v", ours, theirs)
	}
	whole, problems := libsolv(t, dir, jobs...)
	switch {
	case slices.Equal(whole, ours) && problems == "":
		return "whole, with other providers", ""
	case forScripts && problems == "" && !slices.ContainsFunc(ours, func(id string) bool { return !slices.Contains(whole, id) }):
		return "libsolv adds what scripts need", ""
	}
	return "", fmt.Sprintf("libsolv makes %v of %v: %s", whole, ours, problems)
}

// isConditional reports whether a relation came with a condition.
func isConditional(u choose.Unresolved) bool {
	return strings.Contains(u.Relation.Text, " if ") ||
		slices.ContainsFunc(u.By.Chain(), func(c *choose.Chosen) bool { return strings.Contains(c.Relation.Text, " if ") })
}
