package choose_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

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
	compareWithApt(t, "bookworm", 10, 1, true)
}

// apt runs a program of apt with a configuration, and returns what it prints.
func apt(ctx context.Context, config, program string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, program, append([]string{"-c", config}, args...)...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

var (
	aptInst = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `)
	aptURI  = regexp.MustCompile(`(?m)^'\S+' ([^_ ]+)_([^_ ]+)_\S+\.deb `)
)

// aptInstalls returns what apt would install for a package into an empty root, by name,
// with the versions; nil if it cannot. It simulates that, or only decides what to fetch,
// which is the same packages, in half the time.
func aptInstalls(ctx context.Context, config, name string, simulate bool) (map[string]string, error) {
	mode, line := []string{"-y", "--print-uris"}, aptURI
	if simulate {
		mode, line = []string{"-s"}, aptInst
	}
	stdout, stderr, err := apt(ctx, config, "apt-get", slices.Concat([]string{"-qq"}, mode, []string{"-o", "APT::Install-Recommends=false", "install", name})...)
	if err != nil {
		if strings.Contains(stderr, "you have held broken packages") || strings.Contains(stderr, "Unable to correct problems") {
			return nil, nil
		}
		return nil, fmt.Errorf("apt-get install %s: %w: %s", name, err, stderr)
	}
	installs := map[string]string{}
	for _, m := range line.FindAllStringSubmatch(stdout, -1) {
		installs[m[1]] = strings.ReplaceAll(m[2], "%3a", ":")
	}
	return installs, nil
}

var aptCandidate = regexp.MustCompile(`(?m)^(\S+):\n  Installed: .*\n  Candidate: (.*)$`)

// aptCandidates returns the versions that apt takes for the best, by name.
func aptCandidates(t *testing.T, config string, names []string) map[string]string {
	t.Helper()
	candidates := map[string]string{}
	for some := range slices.Chunk(names, 1000) {
		stdout, stderr, err := apt(t.Context(), config, "apt-cache", append([]string{"policy"}, some...)...)
		if err != nil {
			t.Fatalf("apt-cache policy: %v: %s", err, stderr)
		}
		for _, m := range aptCandidate.FindAllStringSubmatch(stdout, -1) {
			candidates[m[1]] = m[2]
		}
	}
	return candidates
}

// The rules that explain a difference.
const (
	same            = "the same packages"
	otherAnswer     = "another alternative or provider was there already, or chosen in other order"
	aptConflicts    = "apt finds no answer, since packages that were chosen conflict"
	avoidedConflict = "apt has another alternative or provider, since packages that were chosen conflict"
	missingForBoth  = "apt finds no answer, and something is missing"
	noToolOfScripts = "the same packages, but for those that only scripts need"
)

// compared is what became of one package.
type compared struct {
	name   string
	theirs map[string]string // nil if apt finds nothing
	choice *choose.Choice
	err    error
}

// compareWithApt compares the choices for count random packages of a release with those
// of apt, and the versions of all that was chosen with those that apt takes for the best.
// With simulate apt is asked in both ways.
func compareWithApt(t *testing.T, suite string, count int, seed uint64, simulate bool) {
	release := testindex.Debian(t, suite)
	byName := map[string]*pkginfo.Listed{}
	for _, p := range release.Packages {
		if other := byName[p.Name]; other == nil || debianOptions().Orders.Compare(deb.Name, p.Version, other.Version) > 0 {
			byName[p.Name] = p
		}
	}
	all := slices.Sorted(maps.Keys(byName))
	random := rand.New(rand.NewPCG(seed, 0))
	results := make([]compared, count)
	for i := range results {
		results[i].name = all[random.IntN(len(all))]
	}
	from := pool{newSource(t, suite, release.Packages)}
	g, running := errgroup.WithContext(t.Context())
	g.SetLimit(2)
	for i := range results {
		g.Go(func() (err error) {
			r := &results[i]
			if r.theirs, err = aptInstalls(running, release.AptConfig, r.name, false); err != nil {
				return err
			}
			if simulate {
				again, err := aptInstalls(running, release.AptConfig, r.name, true)
				if err != nil {
					return err
				}
				if !maps.Equal(again, r.theirs) {
					return fmt.Errorf("apt-get -s install %s: %v, and with --print-uris %v", r.name, again, r.theirs)
				}
			}
			r.choice, r.err = choose.Make(from, []choose.Request{{Name: r.name}}, debianOptions())
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	rules := map[string]int{}
	chosen := map[string]string{}
	for i, r := range results {
		if r.err != nil {
			t.Errorf("%s: %v", r.name, r.err)
			continue
		}
		if i%10 == 0 {
			again, err := choose.Make(from, []choose.Request{{Name: r.name}}, debianOptions())
			if err != nil || specs(again) != specs(r.choice) {
				t.Errorf("%s: another choice the second time: %v", r.name, err)
			}
		}
		for _, c := range r.choice.Packages {
			chosen[c.Name] = c.Version
		}
		rule, why := explain(r.choice, r.theirs, byName)
		rules[rule]++
		switch {
		case why != "":
			t.Errorf("%s: %s", r.name, why)
		case rule == missingForBoth:
			t.Logf("%s: %s: %v", r.name, rule, r.choice.Unresolved)
		case rule == aptConflicts:
			t.Logf("%s: %s: %s", r.name, rule, strings.Join(conflictsIn(r.choice), ", "))
		case rule == avoidedConflict:
			t.Logf("%s: %s: %s: %s", r.name, rule, strings.Join(conflictsIn(r.choice), ", "), difference(r.choice, r.theirs, byName))
		case rule == otherAnswer:
			t.Logf("%s: %s: %s", r.name, rule, difference(r.choice, r.theirs, byName))
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		t.Logf("%s: %3d of %d: %s", suite, rules[rule], count, cmp.Or(rule, "no rule explains it"))
	}
	candidates := aptCandidates(t, release.AptConfig, slices.Sorted(maps.Keys(chosen)))
	for name, version := range chosen {
		if candidates[name] != version {
			t.Errorf("%s=%s was chosen, and apt's candidate is %q", name, version, candidates[name])
		}
	}
	t.Logf("%s: %d packages were chosen, all of the versions that apt-cache policy has", suite, len(chosen))
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
func explain(choice *choose.Choice, theirs map[string]string, byName map[string]*pkginfo.Listed) (rule, why string) {
	if theirs == nil {
		if len(choice.Unresolved) > 0 {
			return missingForBoth, ""
		}
		if len(conflictsIn(choice)) == 0 {
			return "", "apt finds no answer, and nothing is missing or conflicts"
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
	if len(conflictsIn(choice)) > 0 {
		if rule != otherAnswer {
			return "", "apt has the same packages, and they conflict"
		}
		rule = avoidedConflict
	}
	return rule, ""
}

// conflictsIn returns which packages of a choice conflict, as "a with b".
func conflictsIn(choice *choose.Choice) (all []string) {
	for _, p := range choice.Packages {
		for _, r := range p.Conflicts {
			for _, q := range choice.Packages {
				isMeant := r.Alternatives[0].Architecture == "" || r.Alternatives[0].Architecture == q.Architecture
				if q.Name != p.Name && isMeant && answers(q.Listed, r) {
					all = append(all, p.Name+" with "+q.Name)
				}
			}
		}
	}
	return all
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
