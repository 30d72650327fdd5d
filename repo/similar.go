package repo

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/repo/choose"
)

// NotFoundError is a request that no package answers, or several do.
type NotFoundError = choose.NotFoundError

// maxSimilar is how many names a message offers in place of one that nothing has.
const maxSimilar = 3

// addSimilar adds to the [NotFoundError]s that err joins the names that may have been
// meant.
func (p *Pool) addSimilar(err error) error {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, e := range all {
		var missing *NotFoundError
		if errors.As(e, &missing) && len(missing.Near)+len(missing.Providers) == 0 {
			similar, serr := p.Similar(missing.Request.Name)
			if serr != nil {
				return errors.Join(err, serr)
			}
			missing.Similar = similar
		}
	}
	return err
}

// Similar returns the names of packages that somebody may have meant who wrote name, the
// likeliest first, three at most.
func (p *Pool) Similar(name string) ([]string, error) {
	names, err := p.Names("", math.MaxInt)
	if err != nil {
		return nil, err
	}
	return likeliest(name, slices.AppendSeq(names, maps.Keys(p.local))), nil
}

// likeliest returns those of names that somebody may have meant who wrote name: those that
// one slip of the keyboard is away, then those that name begins, then those that two are.
func likeliest(name string, names []string) []string {
	type similar struct {
		name string
		rank int
	}
	most := 1
	if len(name) >= 5 {
		most = 2
	}
	var found []similar
	meant := strings.ToLower(name)
	for _, n := range names {
		is := strings.ToLower(n)
		rank := 2 * slipsBetween(meant, is, most)
		if len(meant) >= 3 && strings.HasPrefix(is, meant) {
			rank = min(rank, 3)
		}
		if rank <= max(2*most, 3) {
			found = append(found, similar{n, rank})
		}
	}
	slices.SortFunc(found, func(a, b similar) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	found = slices.Compact(found)
	var likeliest []string
	for _, s := range found[:min(len(found), maxSimilar)] {
		likeliest = append(likeliest, s.name)
	}
	return likeliest
}

func lengthBetween(a, b string) int { return max(len(a)-len(b), len(b)-len(a)) }

// slipsBetween returns how many letters are to be added, left out, replaced, or swapped
// with the next one, to make one word of another; more than most if it is more than that.
func slipsBetween(a, b string, most int) int {
	if lengthBetween(a, b) > most {
		return most + 1
	}
	// Row i has the slips between the first i bytes of a and those of each length of b.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := row[0]
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			row[j] = min(last[j-1]+same, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > most {
			return most + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
