// Package similar finds the words that somebody may have meant who has written another one:
// names of packages, of commands, of releases.
package similar

import (
	"cmp"
	"slices"
	"strings"
)

// most is how many words are offered in place of one that nothing has.
const most = 3

// Names returns those of names that somebody may have meant who wrote name: those that
// one slip of the keyboard is away, then those that name begins, then those that two are; three at most.
func Names(name string, names []string) []string {
	type similar struct {
		name string
		rank int
	}
	slips := 1
	if len(name) >= 5 {
		slips = 2
	}
	var found []similar
	meant := strings.ToLower(name)
	for _, n := range names {
		is := strings.ToLower(n)
		rank := 2 * slipsBetween(meant, is, slips)
		if len(meant) >= 3 && strings.HasPrefix(is, meant) {
			rank = min(rank, 3)
		}
		if rank <= max(2*slips, 3) {
			found = append(found, similar{n, rank})
		}
	}
	slices.SortFunc(found, func(a, b similar) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	found = slices.Compact(found)
	var likeliest []string
	for _, s := range found[:min(len(found), most)] {
		likeliest = append(likeliest, s.name)
	}
	return likeliest
}

// DidYouMean returns the question that a message ends with, as "did you mean jq or jql?";
// "" where nothing is similar.
func DidYouMean(name string, names []string) string {
	return Question(Names(name, names))
}

// Question returns the same question for words that [Names] has found; "" for none.
func Question(likeliest []string) string {
	if len(likeliest) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(likeliest, " or ") + "?"
}

// slipsBetween returns how many letters are to be added, left out, replaced, or swapped
// with the next one, to make one word of another; more than most if it is more than that.
func slipsBetween(a, b string, most int) int {
	if max(len(a)-len(b), len(b)-len(a)) > most {
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
