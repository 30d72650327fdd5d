package gc

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"
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

// departed is a tree that is not in the active generation.
type departed struct {
	path                        string
	name, architecture, version string
	origin                      record.Origin
	left                        time.Time
	// vague says that no generation tells when it left: it did no later than that.
	vague bool
}

// keeps returns which of the trees the policy keeps. A time in the future is one of a
// clock that has gone back: such a tree has just left.
func (p Policy) keeps(trees []departed, now time.Time) map[string]bool {
	type slot struct {
		name, architecture string
		origin             record.Origin
	}
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
		of := slot{t.name, t.architecture, t.origin}
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
// generation, and when they left. generations are those that are there, oldest first;
// recorded has the times that an earlier collection knew from generations that are gone.
//
// A tree left when the generation after the last one with it was made. No generation
// is taken to be older than one before it, whatever the clock said: a time is never
// earlier than the true one.
func departures(trees []string, generations []*record.Generation, active *record.Generation, recorded map[string]time.Time, now time.Time) map[string]departed {
	in := make(map[string]bool, len(active.Trees))
	for i := range active.Trees {
		in[active.Trees[i].Path()] = true
	}
	since := active.Time // when the active one was made at the latest
	left := map[string]time.Time{}
	latest := time.Time{}
	for i, g := range generations {
		if g.Time.After(latest) {
			latest = g.Time
		}
		if g.ID == active.ID {
			since = latest
		}
		if i > 0 {
			for j := range generations[i-1].Trees {
				left[generations[i-1].Trees[j].Path()] = latest
			}
		}
		if i == len(generations)-1 { // rolled back, and it does not say when
			for j := range g.Trees {
				left[g.Trees[j].Path()] = later(latest, now)
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
			when = since
		case before.After(when):
			when = before
		}
		gone[t] = departed{path: t, left: when, vague: !known && !noted}
	}
	return gone
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
