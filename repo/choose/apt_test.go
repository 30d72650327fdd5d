package choose_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testindex"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/choose"
	"github.com/hashpkg/hashpkg/repo/index"
)

// pool is the indexes of some sources.
type pool []source

type source struct {
	name  string
	index *index.Index
}

func (p pool) Named(name string) ([]choose.Package, error) {
	return p.all(func(x *index.Index) ([]*pkginfo.Listed, error) { return x.Named(name) })
}

func (p pool) Providing(name string) ([]choose.Package, error) {
	return p.all(func(x *index.Index) ([]*pkginfo.Listed, error) { return x.Providing(name) })
}

func (p pool) all(ask func(*index.Index) ([]*pkginfo.Listed, error)) ([]choose.Package, error) {
	var all []choose.Package
	for _, s := range p {
		found, err := ask(s.index)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			all = append(all, choose.Package{Listed: l, Source: s.name})
		}
	}
	return all, nil
}

func newSource(tb testing.TB, name string, packages []*pkginfo.Listed) source {
	tb.Helper()
	var b index.Builder
	for _, p := range packages {
		if err := b.Add(p); err != nil {
			tb.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := b.WriteTo(&out); err != nil {
		tb.Fatal(err)
	}
	x, err := index.Open(out.Bytes())
	if err != nil {
		tb.Fatal(err)
	}
	return source{name, x}
}

func debianOptions() choose.Options {
	return choose.Options{
		Orders:        pkginfo.Orders{deb.Name: deb.Format{}.Order()},
		Architectures: []string{"amd64"}, All: "all", SameArchitecture: true,
	}
}

// TestAptChoosesTheSame compares with apt for some packages of bookworm. More of more
// releases: TestSystemChoice.
func TestAptChoosesTheSame(t *testing.T) {
	compareWithApt(t, "bookworm", 20, 1)
}

// aptInstalls returns what apt would install for a package into an empty root, by name,
// with the versions; ok is false if it cannot.
func aptInstalls(t *testing.T, config, name string) (installs map[string]string, ok bool) {
	cmd := exec.CommandContext(t.Context(), "apt-get", "-c", config, "-qq", "-s", "-o", "APT::Install-Recommends=false", "install", name)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if !strings.Contains(stderr.String(), "you have held broken packages") && !strings.Contains(stderr.String(), "Unable to correct problems") {
			t.Fatalf("apt-get install %s: %v: %s", name, err, stderr.String())
		}
		return nil, false
	}
	installs = map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `).FindAllStringSubmatch(stdout.String(), -1) {
		installs[m[1]] = m[2]
	}
	return installs, true
}

// The rules that explain a difference.
const (
	same            = "the same packages"
	otherAnswer     = "another alternative or provider was there already, or chosen in other order"
	aptConflicts    = "apt finds no answer, and nothing is missing: packages conflict"
	missingForBoth  = "apt finds no answer, and something is missing"
	noToolOfScripts = "the same packages, but for those that only scripts need"
)

func compareWithApt(t *testing.T, suite string, count int, seed uint64) {
	release := testindex.Debian(t, suite)
	byName := map[string]*pkginfo.Listed{}
	for _, p := range release.Packages {
		if other := byName[p.Name]; other == nil || debianOptions().Orders.Compare(deb.Name, p.Version, other.Version) > 0 {
			byName[p.Name] = p
		}
	}
	all := slices.Sorted(maps.Keys(byName))
	random := rand.New(rand.NewPCG(seed, 0))
	from := pool{newSource(t, suite, release.Packages)}
	rules := map[string]int{}
	for range count {
		name := all[random.IntN(len(all))]
		theirs, ok := aptInstalls(t, release.AptConfig, name)
		choice, err := choose.Make(from, []choose.Request{{Name: name}}, debianOptions())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := choose.Make(from, []choose.Request{{Name: name}}, debianOptions())
		if err != nil || specs(again) != specs(choice) {
			t.Errorf("%s: another choice the second time: %v", name, err)
		}
		rule, why := explain(choice, theirs, ok, byName)
		rules[rule]++
		if why != "" {
			t.Errorf("%s: %s", name, why)
		} else if rule == otherAnswer {
			t.Logf("%s: %s", name, difference(choice, theirs, byName))
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		t.Logf("%s: %3d of %d: %s", suite, rules[rule], count, rule)
	}
	if differ := rules[otherAnswer]; differ*4 > count {
		t.Errorf("%d of %d choices are not apt's", differ, count)
	}
}

func specs(c *choose.Choice) string {
	var all []string
	for _, p := range c.Packages {
		all = append(all, p.Spec())
	}
	return strings.Join(all, " ")
}

// answers reports whether one package answers a relation.
func answers(p *pkginfo.Listed, r pkginfo.Relation) bool {
	orders := debianOptions().Orders
	for _, c := range r.Alternatives {
		if p.Name == c.Name && orders.Satisfies(deb.Name, p.Version, c) {
			return true
		}
		for _, offer := range p.Provides {
			if offer.Name == c.Name && orders.Satisfies(deb.Name, offer.Version, c) {
				return true
			}
		}
	}
	return false
}

// explain returns the rule that explains how a choice and apt's differ, or why none does.
func explain(choice *choose.Choice, theirs map[string]string, ok bool, byName map[string]*pkginfo.Listed) (rule, why string) {
	if !ok {
		if len(choice.Unresolved) > 0 {
			return missingForBoth, ""
		}
		return aptConflicts, ""
	}
	for _, u := range choice.Unresolved {
		return "", u.String()
	}
	ours := map[string]*pkginfo.Listed{}
	for _, c := range choice.Packages {
		if ours[c.Name] != nil {
			return "", "two of " + c.Name
		}
		ours[c.Name] = c.Listed
		if version, ok := theirs[c.Name]; ok && version != c.Version {
			return "", fmt.Sprintf("%s, of which apt chooses %s", c.Spec(), version)
		}
	}
	for _, p := range ours {
		for _, r := range p.Requires {
			if !isAnsweredIn(ours, r) {
				return "", fmt.Sprintf("%s requires %s, which nothing answers", p.Spec(), r)
			}
		}
	}

	needed := neededOf(choice.Packages[0].Name, theirs, byName)
	rule = same
	if len(needed) < len(theirs) {
		rule = noToolOfScripts
	}
	for _, c := range choice.Packages {
		if _, ok := needed[c.Name]; ok {
			continue
		}
		// Who asked for it is not in apt's choice either, or has another answer there.
		if c.By == nil || needed[c.By.Name] != nil && !isAnsweredIn(needed, c.Relation) {
			return "", fmt.Sprintf("apt does without %s, for %s", c.Spec(), c.Relation)
		}
		rule = otherAnswer
	}
	for name, p := range needed {
		if ours[name] != nil {
			continue
		}
		// Nobody of those in both choices needs it alone.
		for _, q := range ours {
			for _, r := range q.Requires {
				if answers(p, r) && !isAnsweredIn(ours, r) {
					return "", fmt.Sprintf("apt has %s, for %s of %s", p.Spec(), r, q.Spec())
				}
			}
		}
		rule = otherAnswer
	}
	return rule, ""
}

func isAnsweredIn(packages map[string]*pkginfo.Listed, r pkginfo.Relation) bool {
	for _, p := range packages {
		if answers(p, r) {
			return true
		}
	}
	return false
}

// neededOf returns those of apt's packages that name needs, without what only scripts do.
func neededOf(name string, theirs map[string]string, byName map[string]*pkginfo.Listed) map[string]*pkginfo.Listed {
	needed := map[string]*pkginfo.Listed{name: byName[name]}
	for todo := []*pkginfo.Listed{byName[name]}; len(todo) > 0; todo = todo[1:] {
		for _, r := range todo[0].Requires {
			for other := range theirs {
				if p := byName[other]; needed[other] == nil && answers(p, r) {
					needed[other] = p
					todo = append(todo, p)
				}
			}
		}
	}
	return needed
}

func difference(choice *choose.Choice, theirs map[string]string, byName map[string]*pkginfo.Listed) string {
	needed := neededOf(choice.Packages[0].Name, theirs, byName)
	var all []string
	for _, c := range choice.Packages {
		if needed[c.Name] == nil {
			all = append(all, fmt.Sprintf("+%s (%s: %s)", c.Name, c.By.Name, c.Relation))
		}
		delete(needed, c.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		all = append(all, "-"+name)
	}
	return strings.Join(all, " ")
}
