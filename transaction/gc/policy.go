package gc

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Policy says how long trees stay that are not in the active generation any more, so
// that one can go back to them. The zero Policy lets them go at once.
type Policy struct {
	// Versions is how many of the versions of each package and architecture, those that
	// have left last, stay for the time Since.
	Versions int
	Since    time.Duration
	// OlderThan is how long every tree stays.
	OlderThan time.Duration
}

// keepsLastUpgrade reports whether what the last upgrade replaced stays, however long ago that was,
// while no other version is there to go back to.
func (p Policy) keepsLastUpgrade() bool { return p.Versions > 0 }

// departed is a tree that is not in the active generation.
type departed struct {
	path                        string
	name, architecture, version string
	origin                      record.Origin
	left                        time.Time
	// vague says that no generation tells when it left: it did no later than that.
	vague bool
	// upgraded says that another version of its package came with the generation that it left with.
	upgraded bool
	// by is the version of its package that is in the active generation in its place; ""
	// where none is, where several are, or where it is the same, bound otherwise.
	by string
}

// slot is what one version of a package takes the place of another one in.
type slot struct {
	name, architecture string
	origin             record.Origin
}

func (d *departed) slot() slot { return slot{d.name, d.architecture, d.origin} }

// slotOf returns the slot of a tree in a generation.
func slotOf(t *record.Tree) slot { return slot{t.Name, t.Architecture, t.Origin} }

// lastUpgrade returns the trees that the last upgrade replaced, of private packages and of the
// system's each, by their slots: those that were upgraded last, of the ones in the place of which
// the active generation has another version.
func lastUpgrade(trees []departed) map[slot][]departed {
	last := map[record.Origin]time.Time{}
	replaced := func(d *departed) bool { return d.by != "" && d.upgraded }
	for i := range trees {
		if d := &trees[i]; replaced(d) && d.left.After(last[d.origin]) {
			last[d.origin] = d.left
		}
	}
	found := map[slot][]departed{}
	for i := range trees {
		if d := &trees[i]; replaced(d) && d.left.Equal(last[d.origin]) {
			found[d.slot()] = append(found[d.slot()], *d)
		}
	}
	return found
}

// keeps returns which of the trees the policy keeps. A time in the future is one of a
// clock that has gone back: such a tree has just left.
func (p Policy) keeps(trees []departed, now time.Time) map[string]bool {
	trees = slices.Clone(trees)
	slices.SortFunc(trees, func(a, b departed) int {
		if a.vague != b.vague {
			if a.vague {
				return 1
			}
			return -1
		}
		return cmp.Or(b.left.Compare(a.left), cmp.Compare(a.path, b.path))
	})
	kept := map[string]bool{}
	versions := map[slot][]string{}
	for _, t := range trees {
		of := t.slot()
		if !slices.Contains(versions[of], t.version) { // bound otherwise, it is the same version
			versions[of] = append(versions[of], t.version)
		}
		rank := slices.Index(versions[of], t.version)
		age := max(0, now.Sub(t.left))
		if age < p.OlderThan || rank < p.Versions && age < p.Since {
			kept[t.path] = true
		}
	}
	return kept
}

// departures returns which of the trees, named by their paths, are not in the active
// generation, and how they left. generations are those that are there, oldest first;
// recorded has what an earlier collection knew from generations that are gone.
//
// A tree left when the generation after the last one with it was made. No generation
// is taken to be older than one before it, whatever the clock said: a time is never
// earlier than the true one.
func departures(trees []string, generations []*record.Generation, active *record.Generation, recorded map[string]sysroot.Departure, now time.Time) map[string]departed {
	in := make(map[string]bool, len(active.Trees))
	for i := range active.Trees {
		in[active.Trees[i].Path()] = true
	}
	since := active.Time // when the active one was made at the latest
	left := map[string]sysroot.Departure{}
	latest := time.Time{}
	for i, g := range generations {
		if g.Time.After(latest) {
			latest = g.Time
		}
		if g.ID == active.ID {
			since = latest
		}
		if i > 0 {
			before := generations[i-1]
			upgraded := newcomers(before, g)
			for j := range before.Trees {
				t := &before.Trees[j]
				left[t.Path()] = sysroot.Departure{Time: latest, Upgrade: upgraded[slotOf(t)]}
			}
		}
		if i == len(generations)-1 { // rolled back, and it does not say when
			for j := range g.Trees {
				left[g.Trees[j].Path()] = sysroot.Departure{Time: later(latest, now)}
			}
		}
	}
	gone := map[string]departed{}
	for _, t := range trees {
		if in[t] {
			continue
		}
		when, known := left[t]
		before, noted := recorded[t]
		switch {
		case !known && !noted:
			when.Time = since
		case before.Time.After(when.Time):
			when = before
		}
		gone[t] = departed{path: t, left: when.Time, upgraded: when.Upgrade, vague: !known && !noted}
	}
	return gone
}

// newcomers returns the slots of which g has a version that the generation before it has not.
func newcomers(before, g *record.Generation) map[slot]bool {
	type version struct {
		slot
		version string
	}
	had := make(map[version]bool, len(before.Trees))
	for i := range before.Trees {
		t := &before.Trees[i]
		had[version{slotOf(t), t.Version}] = true
	}
	came := map[slot]bool{}
	for i := range g.Trees {
		if t := &g.Trees[i]; !had[version{slotOf(t), t.Version}] {
			came[slotOf(t)] = true
		}
	}
	return came
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
