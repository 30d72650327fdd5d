package repo

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/transaction"
)

// Outdated is a package of which its release has a newer version.
type Outdated struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Release      string `json:"release"`
	Version      string `json:"version"`   // the installed one
	Available    string `json:"available"` // the newest
	OnHold       bool   `json:"on_hold"`
	Asked        bool   `json:"asked"`
}

// byRelease returns the private trees of a generation that came by name, by their
// releases, and the names of the releases, sorted. One that is the very same package in
// several releases stands for each of them, unless another one has come from there since.
func byRelease(g *record.Generation) (map[string][]*record.Tree, []string) {
	type key struct{ release, name, architecture string }
	latest := map[key]bool{}
	for i := range g.Trees {
		t := &g.Trees[i]
		latest[key{t.Release, t.Name, t.Architecture}] = true
	}
	trees := map[string][]*record.Tree{}
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Release == "" || !t.Until.IsZero() {
			continue
		}
		trees[t.Release] = append(trees[t.Release], t)
		for _, other := range strings.Fields(t.Others) {
			if !latest[key{other, t.Name, t.Architecture}] {
				trees[other] = append(trees[other], t)
			}
		}
	}
	return trees, slices.Sorted(maps.Keys(trees))
}

// isOf reports whether f holds for a release that a tree came from, by its name.
func isOf(t *record.Tree, f func(release string) bool) bool {
	return f(t.Release) || slices.ContainsFunc(strings.Fields(t.Others), f)
}

// Outdated returns the installed packages of which their releases have newer versions.
func (r *Repo) Outdated(ctx context.Context) ([]Outdated, error) {
	g, err := r.Root.Active()
	if err != nil {
		return nil, err
	}
	trees, releases := byRelease(g)
	orders := r.Root.Formats().Orders()
	out := []Outdated{}
	for _, release := range releases {
		err := r.withRelease(ctx, release, func(p *Pool) error {
			for _, t := range trees[release] {
				all, err := p.Named(t.Name)
				if err != nil {
					return err
				}
				newest := ""
				for _, a := range all {
					if a.Format == t.Format && a.Architecture == t.Architecture && (newest == "" || orders.Compare(a.Format, a.Version, newest) > 0) {
						newest = a.Version
					}
				}
				if newest != "" && orders.Compare(t.Format, newest, t.Version) > 0 {
					out = append(out, Outdated{t.Name, t.Architecture, release, t.Version, newest, t.OnHold, t.Asked})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Upgraded is a package that an upgrade changed.
type Upgraded struct {
	Name    string `json:"name"`
	Release string `json:"release"`
	Before  string `json:"before,omitempty"` // "" for one that came
	After   string `json:"after,omitempty"`  // "" for one that went
	// Programs are the packages, of those that somebody asked for, that need it.
	Programs []string `json:"programs,omitempty"`
}

// UpgradeResult is what an upgrade came to.
type UpgradeResult struct {
	Selections []*Selection
	Upgraded   []Upgraded
	// InstallResult is nil after a dry run, and where there was nothing to do.
	*transaction.InstallResult
}

// Upgrade installs the newest versions that the releases of packages have, of packages
// that somebody asked for and of what they need, in one generation: of all, or of those
// that are named. What only the old versions needed is not in it any more.
func (r *Repo) Upgrade(ctx context.Context, o InstallOptions, names []string) (*UpgradeResult, error) {
	g, err := r.Root.Active()
	if err != nil {
		return nil, err
	}
	trees, releases := byRelease(g)
	if err := checkNames(trees, names); err != nil {
		return nil, err
	}
	result := &UpgradeResult{Upgraded: []Upgraded{}}
	var chosen []*Selected
	remain := map[string]bool{} // trees that need not be looked at, or stay
	for _, release := range releases {
		var requests []Request
		for _, t := range trees[release] {
			switch {
			case !t.Asked:
			case t.OnHold, len(names) > 0 && !slices.Contains(names, t.Name):
				remain[t.Path()] = true
			default:
				requests = append(requests, Request{Name: t.Name, Architecture: t.Architecture})
			}
		}
		if len(requests) == 0 {
			for _, t := range trees[release] {
				remain[t.Path()] = true
			}
			continue
		}
		kept, err := r.keptOf(trees[release])
		if err != nil {
			return nil, err
		}
		s, err := r.selectKeeping(ctx, release, requests, o.Recommends, kept)
		if err != nil {
			return nil, err
		}
		result.Selections = append(result.Selections, s)
		chosen = append(chosen, s.Packages...)
	}
	gone, err := r.gone(g, chosen, remain, false)
	if err != nil {
		return nil, err
	}
	result.Upgraded = upgraded(g, chosen, gone)
	if len(result.Upgraded) == 0 || o.DryRun {
		return result, nil
	}
	o.Gone = func(t *record.Tree) bool { return gone[t.Path()] }
	// What a release has unchanged is there, bound as it is to be; installed again, it would
	// take the place of the very same package of another release, which is to be bound anew.
	chosen = slices.DeleteFunc(chosen, func(s *Selected) bool {
		return !slices.ContainsFunc(result.Upgraded, func(u Upgraded) bool { return u.Release == s.release() })
	})
	result.InstallResult, err = r.install(ctx, o, chosen)
	return result, err
}

// keptOf returns, of relations that recommend something, those of these trees that answer them, in
// whatever version: what came because it was recommended is upgraded, and does not go. What was asked for
// is upgraded for itself, or not, and what is on hold stays.
func (r *Repo) keptOf(trees []*record.Tree) (func(pkginfo.Relation) (pkginfo.Relation, bool), error) {
	installed := map[string][]string{} // packages by the names that they answer to
	for _, t := range trees {
		if t.Asked || t.OnHold {
			continue
		}
		m, err := r.Root.Store().Manifest(t.Name, t.Dir)
		if err != nil {
			return nil, err
		}
		installed[m.Name] = append(installed[m.Name], m.Name)
		for _, p := range m.Provides {
			installed[p.Name] = append(installed[p.Name], m.Name)
		}
	}
	return func(relation pkginfo.Relation) (pkginfo.Relation, bool) {
		kept := pkginfo.Relation{Text: relation.Text}
		for _, c := range relation.Alternatives {
			for _, name := range installed[c.Name] {
				if name != c.Name { // this one, and not another that provides the same
					c = pkginfo.Constraint{Name: name}
				}
				kept.Alternatives = append(kept.Alternatives, c)
			}
		}
		return kept, len(kept.Alternatives) > 0
	}, nil
}

// checkNames refuses names that are none of a package that can be upgraded.
func checkNames(trees map[string][]*record.Tree, names []string) error {
	for _, name := range names {
		found := false
		for _, list := range trees {
			found = found || slices.ContainsFunc(list, func(t *record.Tree) bool { return t.Name == name && t.Asked })
		}
		if !found {
			return advice.Errorf("upgrade %s: no package of that name was installed by name; hashpkg list shows what is", name)
		}
	}
	return nil
}

// gone returns the trees, by their paths, that are not in the generation after an
// upgrade: those of the same releases that are not chosen again, and that nothing which
// stays is bound to. With anew those that are chosen again go as well, where they are bound otherwise then.
func (r *Repo) gone(g *record.Generation, chosen []*Selected, remain map[string]bool, anew bool) (map[string]bool, error) {
	released := map[string]bool{}
	again := map[[4]string]bool{}
	for _, s := range chosen {
		released[s.release()] = true
		again[[4]string{s.release(), s.Name, s.Version, s.Architecture}] = true
	}
	isAgain := func(t *record.Tree) bool {
		return !anew && isOf(t, func(release string) bool { return again[[4]string{release, t.Name, t.Version, t.Architecture}] })
	}
	isReleased := func(t *record.Tree) bool { // by each of its releases
		return !isOf(t, func(release string) bool { return !released[release] })
	}
	gone := map[string]bool{}
	for i := range g.Trees {
		t := &g.Trees[i]
		if isReleased(t) && !remain[t.Path()] && !t.OnHold && t.Until.IsZero() && !isAgain(t) {
			gone[t.Path()] = true
		}
	}
	if len(gone) == 0 {
		return gone, nil
	}
	manifests := make([]*record.Manifest, len(g.Trees))
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Origin != record.OriginSystem {
			m, err := r.Root.Store().Manifest(t.Name, t.Dir)
			if err != nil {
				return nil, err
			}
			manifests[i] = m
		}
	}
	// What stays keeps what it is bound to, and what else it needs.
	orders := r.Root.Formats().Orders()
	for _, s := range chosen { // what is recommended and not chosen again: its release has none any more
		for _, path := range neededOf(s.Recommends, gone, g, manifests, chosen, orders) {
			delete(gone, path)
		}
	}
	for changed := true; changed; {
		changed = false
		for i := range g.Trees {
			t := &g.Trees[i]
			// What is chosen again is bound anew.
			if manifests[i] == nil || gone[t.Path()] || isAgain(t) {
				continue
			}
			kept := graph.OfManifest(manifests[i], func(tree string) bool { return gone[tree] })
			kept = append(kept, neededOf(slices.Concat(manifests[i].Requires, manifests[i].Recommends), gone, g, manifests, chosen, orders)...)
			for _, path := range kept {
				delete(gone, path)
				changed = true
			}
		}
	}
	return gone, nil
}

// neededOf returns those of the trees that go which answer relations that nothing else
// answers, of what stays and what is chosen.
func neededOf(relations []pkginfo.Relation, gone map[string]bool, g *record.Generation, manifests []*record.Manifest, chosen []*Selected, orders pkginfo.Orders) (needed []string) {
	for _, r := range relations {
		answers := func(p *pkginfo.Package) bool {
			return slices.ContainsFunc(r.Alternatives, func(c pkginfo.Constraint) bool { return offers(orders, p, c) })
		}
		if slices.ContainsFunc(chosen, func(s *Selected) bool { return answers(&s.Package) }) {
			continue
		}
		var going []string
		stays := false
		for i, m := range manifests {
			if m == nil || !answers(packageOf(m)) && !hasFile(m, r.Alternatives) {
				continue
			}
			if path := g.Trees[i].Path(); gone[path] {
				going = append(going, path)
			} else {
				stays = true
			}
		}
		if !stays {
			needed = append(needed, going...)
		}
	}
	return needed
}

// hasFile reports whether a tree has a file that relations name by its path.
func hasFile(m *record.Manifest, alternatives []pkginfo.Constraint) bool {
	return slices.ContainsFunc(alternatives, func(c pkginfo.Constraint) bool {
		name, isPath := strings.CutPrefix(c.Name, "/")
		return isPath && m.Lookup(name) != nil
	})
}

// packageOf returns what a tree answers relations with.
func packageOf(m *record.Manifest) *pkginfo.Package {
	return &pkginfo.Package{Format: m.Format, Name: m.Name, Version: m.Version, Architecture: m.Architecture, Provides: m.Provides}
}

// upgraded compares what is there with what is chosen.
func upgraded(g *record.Generation, chosen []*Selected, gone map[string]bool) []Upgraded {
	type key struct{ release, name, architecture string }
	before := map[key]*record.Tree{}
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Release != "" {
			for _, other := range strings.Fields(t.Others) {
				if before[key{other, t.Name, t.Architecture}] == nil {
					before[key{other, t.Name, t.Architecture}] = t
				}
			}
			before[key{t.Release, t.Name, t.Architecture}] = t // the newest is the last
		}
	}
	list := []Upgraded{}
	seen := map[key]bool{}
	for _, s := range chosen {
		k := key{s.release(), s.Name, s.Architecture}
		seen[k] = true
		old := before[k]
		if old != nil && old.Version == s.Version {
			continue
		}
		u := Upgraded{Name: s.Name, Release: k.release, After: s.Version, Programs: s.askedBy()}
		if old != nil {
			u.Before = old.Version
		}
		list = append(list, u)
	}
	for i := range g.Trees {
		t := &g.Trees[i]
		k := key{t.Release, t.Name, t.Architecture}
		if isBefore := seen[k] && before[k] == t; gone[t.Path()] && !isBefore {
			list = append(list, Upgraded{Name: t.Name, Release: t.Release, Before: t.Version})
		}
	}
	return list
}
