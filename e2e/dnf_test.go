package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// dnfScript asks dnf what it would install into an empty root, without what is only
// recommended. It reads a line for each question, and prints one for each: packages, or its
// problem. A question is a name; that in a list, of which what obsoletes it is not to come
// in its place; or the packages that are to be installed as they are, below "all". dnf 4
// knows of all files.
const dnfScript = `
import dnf, json, os, sys
base = dnf.Base()
conf = base.conf
top, repository = sys.argv[1:]
conf.installroot, conf.cachedir, conf.persistdir, conf.logdir = top + "/root", top + "/cache", top + "/persist", top + "/log"
os.mkdir(conf.logdir)
conf.install_weak_deps, conf.plugins, conf.best = False, False, False
conf.substitutions.update(arch="x86_64", basearch="x86_64", releasever="1")
base.repos.add_new_repo("random", conf, baseurl=["file://" + repository])
base.fill_sack(load_system_repo=False)
ident = lambda p: "%s=%s (%s)" % (p.name, (str(p.epoch) + ":" if p.epoch else "") + p.version + "-" + p.release, p.arch)
every = {ident(p): p for p in base.sack.query()}
for line in sys.stdin:
    question = json.loads(line)
    base.reset(goal=True)
    try:
        conf.obsoletes = isinstance(question, str)
        if isinstance(question, dict):
            for p in question["all"]:
                base.package_install(every[p])
        else:
            base.install(question if isinstance(question, str) else question[0])
        base.resolve()
        answer = {"packages": sorted(ident(p) for p in base.transaction.install_set)}
    except dnf.exceptions.Error as e:
        answer = {"packages": [], "problem": str(e) or "none"}
    print(json.dumps(answer), flush=True)
`

// judgement is what dnf says to a question.
type judgement struct {
	Packages []string
	Problem  string
}

// askDNF puts questions to dnf about the packages of a repository.
func askDNF(t *testing.T, repository string, questions []any) []judgement {
	t.Helper()
	var in bytes.Buffer
	for _, q := range questions {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", dnfScript, t.TempDir(), repository)
	cmd.Stdin = &in
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dnf: %v: %s", err, stderr.Bytes())
	}
	var all []judgement
	for line := range bytes.Lines(out) {
		var j judgement
		if err := json.Unmarshal(line, &j); err != nil {
			t.Fatal(err)
		}
		all = append(all, j)
	}
	if len(all) != len(questions) {
		t.Fatalf("dnf has %d answers to %d questions: %s", len(all), len(questions), stderr.Bytes())
	}
	return all
}

// maker makes random packages that need each other in the ways that rpm has.
type rpmMaker struct {
	*rand.Rand
	names int
}

func (m *rpmMaker) name() string { return fmt.Sprintf("p%03d", m.IntN(m.names)) }

// evr returns a version with an epoch or release, or without.
func (m *rpmMaker) evr() string {
	s := fmt.Sprint(1 + m.IntN(4))
	if m.IntN(3) == 0 {
		s = "1:" + s
	}
	if m.IntN(3) == 0 {
		s += "-1"
	}
	return s
}

// one returns a simple requirement.
func (m *rpmMaker) one() string {
	switch m.IntN(12) {
	case 0:
		return m.name() + " >= " + m.evr()
	case 1:
		return m.name() + " <= " + m.evr()
	case 2, 3:
		return fmt.Sprintf("virtual%d", m.IntN(m.names/6))
	case 4:
		return fmt.Sprintf("virtual%d %s %s", m.IntN(m.names/6), []string{"<", "<=", "=", ">=", ">"}[m.IntN(5)], strings.TrimPrefix(m.evr(), "1:"))
	case 5, 6:
		return "/usr/bin/" + m.name()
	case 7, 8:
		return "/usr/share/" + m.name() + "/data"
	case 9:
		return fmt.Sprintf("/usr/lib/shared%d", m.IntN(m.names/6))
	case 10:
		return m.name() + "(x86-64)"
	}
	return m.name()
}

// requirement returns one that may be rich.
func (m *rpmMaker) requirement() string {
	switch m.IntN(16) {
	case 0:
		return fmt.Sprintf("(%s or %s)", m.one(), m.one())
	case 1:
		return fmt.Sprintf("(%s and %s)", m.one(), m.one())
	case 2:
		return fmt.Sprintf("(%s if %s)", m.one(), m.one())
	case 3:
		return fmt.Sprintf("(%s if %s else %s)", m.name(), m.one(), m.name())
	case 4:
		v, low := m.IntN(m.names/6), 1+m.IntN(2)
		return fmt.Sprintf("(virtual%d >= %d with virtual%[1]d < %[3]d)", v, low, low+1+m.IntN(2))
	case 5:
		return fmt.Sprintf("(virtual%d without %s)", m.IntN(m.names/6), m.name())
	}
	return m.one()
}

// packages returns all packages of one name: of several versions, or architectures.
func (m *rpmMaker) packages(name string) []testrpm.Package {
	var all []testrpm.Package
	epoch := []string{"", "", "", "1"}[m.IntN(4)]
	for version := range 1 + m.IntN(5)/3 {
		p := testrpm.Package{Name: name, Version: fmt.Sprint(version + 1), Epoch: epoch, Arch: []string{"x86_64", "x86_64", "x86_64", "noarch"}[m.IntN(4)]}
		if m.IntN(3) > 0 {
			p.Files = append(p.Files, testrpm.File{Path: "/usr/bin/" + name, Mode: 0o755, Content: name})
		}
		if m.IntN(3) > 0 {
			p.Files = append(p.Files, testrpm.File{Path: "/usr/share/" + name + "/data", Content: name})
		}
		if m.IntN(8) == 0 {
			p.Files = append(p.Files, testrpm.File{Path: fmt.Sprintf("/usr/lib/shared%d", m.IntN(m.names/6)), Content: name})
		}
		if m.IntN(3) == 0 {
			p.Provides = append(p.Provides, fmt.Sprintf("virtual%d = %d", m.IntN(m.names/6), 1+m.IntN(3)))
		}
		if m.IntN(6) == 0 {
			p.Provides = append(p.Provides, fmt.Sprintf("virtual%d", m.IntN(m.names/6)))
		}
		if p.Arch == "x86_64" {
			p.Provides = append(p.Provides, name+"(x86-64)")
		}
		switch m.IntN(12) {
		case 0: // it has another name now
			old := m.name()
			p.Obsoletes, p.Provides = append(p.Obsoletes, old+" < 9:0"), append(p.Provides, old+" = 9:0")
		case 1:
			p.Obsoletes = append(p.Obsoletes, m.name()+" < "+m.evr())
		case 2:
			p.Conflicts = append(p.Conflicts, m.name()+" < "+m.evr())
		}
		for range m.IntN(4) * m.IntN(2) {
			p.Requires = append(p.Requires, m.requirement())
		}
		all = append(all, p)
		if p.Arch == "x86_64" && m.IntN(4) == 0 {
			p.Arch, p.Provides = "i686", slices.DeleteFunc(slices.Clone(p.Provides), func(s string) bool { return strings.HasSuffix(s, "(x86-64)") })
			all = append(all, p)
		}
	}
	return all
}

// chosenBy returns what hashpkg would install, or what it says.
func (s *shop) chosenBy(name string) (packages []string, says string) {
	s.t.Helper()
	cmd := s.command("--json", "install", "--dry-run", "--from", "random", name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, strings.TrimSpace(stderr.String())
	}
	var chosen struct {
		Packages []struct{ Name, Version, Architecture string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &chosen); err != nil {
		s.t.Fatalf("%v: %s", err, stdout.Bytes())
	}
	for _, p := range chosen.Packages {
		packages = append(packages, fmt.Sprintf("%s=%s (%s)", p.Name, p.Version, p.Architecture))
	}
	slices.Sort(packages)
	return packages, ""
}

// TestNamesAgainstDNF makes repositories of packages that need each other in many ways,
// and compares for each name what is chosen with what dnf would install.
func TestNamesAgainstDNF(t *testing.T) {
	testneed.Programs(t, "dnf", "createrepo_c")
	testneed.Time(t)
	rules := map[string]int{}
	for seed := range uint64(3) {
		m := &rpmMaker{rand.New(rand.NewPCG(seed, 7)), 120}
		dir := t.TempDir()
		byID := map[string]testrpm.Package{}
		for number := range m.names {
			for _, p := range m.packages(fmt.Sprintf("p%03d", number)) {
				file := fmt.Sprintf("%s-%s.%s.rpm", p.Name, p.Version, p.Arch)
				if err := os.WriteFile(filepath.Join(dir, file), testrpm.RPM(t, p), 0o644); err != nil {
					t.Fatal(err)
				}
				evr := p.Version + "-1"
				if p.Epoch != "" {
					evr = p.Epoch + ":" + evr
				}
				byID[fmt.Sprintf("%s=%s (%s)", p.Name, evr, p.Arch)] = p
			}
		}
		if out, err := exec.CommandContext(t.Context(), "createrepo_c", "--quiet", "--no-database", dir).CombinedOutput(); err != nil {
			t.Fatalf("createrepo_c: %v: %s", err, out)
		}
		t.Logf("seed %d: %d packages", seed, len(byID))
		s := &shop{t: t, root: t.TempDir(), server: testrepo.Serve(t, nil)}
		s.sources("random.repo", "[random]\nname=random\nbaseurl=file://"+dir+"\ngpgcheck=0\nrepo_gpgcheck=0\n")
		s.mustRun("update")

		var names, asIs, again []any
		choices := make([]choiceOf, m.names)
		for number := range choices {
			c := &choices[number]
			c.name = fmt.Sprintf("p%03d", number)
			c.ours, c.says = s.chosenBy(c.name)
			names, asIs, again = append(names, c.name), append(asIs, []string{c.name}), append(again, map[string][]string{"all": append([]string{}, c.ours...)})
		}
		for i, answer := range askDNF(t, dir, slices.Concat(names, asIs, again)) {
			c := &choices[i%m.names]
			*[]*judgement{&c.theirs, &c.asIs, &c.again}[i/m.names] = answer
		}
		for _, c := range choices {
			rule, ok := c.explain(byID)
			rules[rule]++
			if !ok {
				t.Errorf("seed %d, %s: %s: ours are %v %s\ndnf has %+v\nwithout obsoletes %+v\nof ours it makes %+v", seed, c.name, rule, c.ours, c.says, c.theirs, c.asIs, c.again)
			}
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		t.Logf("%3d: %s", rules[rule], rule)
	}
	if rules["the same"] < 150 || rules[byCondition] > 6 || rules["both refuse"] == 0 {
		t.Error("the repositories are not what they should be, or too many choices are others")
	}
}

// byCondition is a rule that is a weakness: nothing that is chosen is taken back because
// it makes a condition true.
const byCondition = "a condition came true by what was chosen, and leads to what is missing"

// choiceOf is what was chosen for a name.
type choiceOf struct {
	name                string
	ours                []string
	says                string
	theirs, asIs, again judgement
}

// explain returns the rule by which the choice is as it should be, or false.
func (c *choiceOf) explain(packages map[string]testrpm.Package) (rule string, ok bool) {
	hasCondition := func(ids []string) bool {
		return slices.ContainsFunc(ids, func(id string) bool {
			return slices.ContainsFunc(packages[id].Requires, func(r string) bool { return strings.Contains(r, " if ") })
		})
	}
	// What dnf says of packages that cannot be installed together.
	isExclusive := func(problem string) bool {
		return strings.Contains(problem, " conflicts with ") || strings.Contains(problem, " obsoletes ") || strings.Contains(problem, "cannot install both ")
	}
	isMissing := strings.Contains(c.again.Problem, "nothing provides ") || strings.Contains(c.again.Problem, " requires ")
	switch {
	case c.says != "" && c.asIs.Problem != "" && c.theirs.Problem == "":
		return "dnf takes what obsoletes it without its name", !slices.ContainsFunc(c.theirs.Packages, func(id string) bool { return packages[id].Name == c.name })
	case c.says != "" && c.asIs.Problem != "":
		return "both refuse", true
	case c.says != "":
		return byCondition, strings.Contains(c.says, " if ") || hasCondition(c.asIs.Packages)
	case slices.Equal(c.ours, c.theirs.Packages), slices.Equal(c.ours, c.asIs.Packages):
		return "the same", true
	case c.again.Problem == "" && slices.Equal(c.ours, c.again.Packages):
		return "whole, with other providers", true
	case isExclusive(c.again.Problem):
		return "packages stand side by side that dnf would not install together", !isMissing
	case c.again.Problem != "":
		return "not whole", false
	}
	return "dnf adds to it", false
}
