package repo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/index"
)

// Found is a name that a search has found.
type Found struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"` // the highest
	Summary  string   `json:"summary,omitempty"`
	Releases []string `json:"releases"` // that have it, in the order of the sources
	rank     index.Rank
}

// Search returns the packages that fit all words, the best first: those whose name is a
// word, then those whose name has them, then those that bring a command or a library of
// that name, then those whose summary has them. limit is how many at most.
func (p *Pool) Search(words []string, orders pkginfo.Orders, limit int) ([]Found, error) {
	if len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return strings.TrimSpace(w) == "" }) {
		return nil, fmt.Errorf("search for nothing: name a word")
	}
	ranks := map[string]index.Rank{}
	for _, part := range p.parts {
		hits, err := part.index.Search(words)
		if err != nil {
			return nil, fmt.Errorf("search in the index of %s: %w", part.source.Name, err)
		}
		for _, h := range hits {
			if have, ok := ranks[h.Name]; !ok || h.Rank < have {
				ranks[h.Name] = h.Rank
			}
		}
	}
	found := make([]Found, 0, len(ranks))
	for name, rank := range ranks {
		found = append(found, Found{Name: name, rank: rank})
	}
	slices.SortFunc(found, func(a, b Found) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Name, b.Name)) })
	found = found[:min(len(found), limit)]
	for i := range found {
		all, err := p.Named(found[i].Name)
		if err != nil {
			return nil, err
		}
		f := &found[i]
		f.Releases = []string{}
		for _, a := range all {
			if f.Version == "" || orders.Compare(a.Format, a.Version, f.Version) > 0 {
				f.Version, f.Summary = a.Version, a.Summary
			}
			if release := releaseOf(a.Source); !slices.Contains(f.Releases, release) {
				f.Releases = append(f.Releases, release)
			}
		}
	}
	return found, nil
}
