package index

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Hit is a name of packages that a search has found.
type Hit struct {
	Name string
	// Rank says how well it fits: the ranks of the words together. Less is better.
	Rank Rank
}

// Rank is how well a word fits the packages of a name.
type Rank int

// The ranks of a word.
const (
	Exact     Rank = iota // it is the name
	Prefix                // the name begins with it
	NamePart              // a part of the name begins with it
	InName                // it stands elsewhere in the name
	Brings                // a command or a soname begins with it
	InSummary             // a word of the summary begins with it
	noRank
)

// What is searched is a line for each name, in lower case: the name, and behind these
// marks the summary, and each command and soname.
const (
	summaryMark = '\x01'
	bringsMark  = '\x02'
)

// searchLine returns the line of a name whose first package is p.
func searchLine(p *pkginfo.Listed) string {
	var b strings.Builder
	b.WriteString(searchable(p.Name))
	b.WriteByte(summaryMark)
	b.WriteString(searchable(p.Summary))
	var brought []string
	for _, file := range p.Files {
		switch path.Base(path.Dir(file)) {
		case "bin", "sbin", "games":
			brought = append(brought, searchable(path.Base(file)))
		}
	}
	for _, c := range p.Provides {
		if strings.Contains(c.Name, ".so") && !strings.Contains(c.Name, "/") { // rpm: "libjq.so.1()(64bit)"
			soname, _, _ := strings.Cut(c.Name, "(")
			brought = append(brought, searchable(soname))
		}
	}
	slices.Sort(brought)
	for _, name := range slices.Compact(brought) {
		b.WriteByte(bringsMark)
		b.WriteString(name)
	}
	return b.String()
}

// searchable returns s in lower case, and without control characters.
func searchable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' {
			return ' '
		}
		return c
	}, strings.ToLower(s))
}

// Search returns the names for which each of the words fits, whatever its case: those
// that fit best first, and of these in the order of their bytes. Of several packages of
// a name it has looked at the one that was added first. Without words there is nothing.
func (x *Index) Search(words []string) ([]Hit, error) {
	var want [][]byte
	rarest := 0
	for _, word := range words {
		for _, w := range strings.Fields(searchable(word)) {
			want = append(want, []byte(w))
			if len(w) > len(want[rarest]) {
				rarest = len(want) - 1
			}
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	var hits []Hit
	r := reader{index: x, left: maxAnswer}
	text := x.lines.data
	for at, number := 0, 0; ; {
		found := bytes.Index(text[at:], want[rarest])
		if found < 0 {
			break
		}
		at += found
		number += sort.Search(x.lines.len()-number, func(i int) bool { return int64(word(x.lines.starts, number+i+1)) > int64(at) })
		line, err := x.lines.record(uint64(number))
		if err != nil {
			return nil, err
		}
		begin := int(word(x.lines.starts, number))
		if at < begin || at >= begin+len(line) {
			return nil, damagedf("the line %d is not where it should be", number)
		}
		at = begin + len(line)
		if rank, ok := rankAll(line, want); ok {
			name, err := x.names.name(number)
			if err != nil {
				return nil, err
			}
			r.take(elementCost)
			hits = append(hits, Hit{r.copy(name), rank})
			if r.err != nil {
				return nil, r.err
			}
		}
	}
	slices.SortFunc(hits, func(a, b Hit) int { return cmp.Or(cmp.Compare(a.Rank, b.Rank), strings.Compare(a.Name, b.Name)) })
	return hits, nil
}

// rankAll returns the ranks of all words together, if each of them fits.
func rankAll(line []byte, words [][]byte) (rank Rank, ok bool) {
	for _, w := range words {
		r := rankWord(line, w)
		if r == noRank {
			return 0, false
		}
		rank += r
	}
	return rank, true
}

// rankWord returns the best that a word comes to in a line.
func rankWord(line, w []byte) Rank {
	name, rest, _ := bytes.Cut(line, []byte{summaryMark})
	switch {
	case bytes.Equal(name, w):
		return Exact
	case bytes.HasPrefix(name, w):
		return Prefix
	case startsWord(name, w):
		return NamePart
	case bytes.Contains(name, w):
		return InName
	}
	summary, brought, _ := bytes.Cut(rest, []byte{bringsMark})
	for len(brought) > 0 {
		var one []byte
		if one, brought, _ = bytes.Cut(brought, []byte{bringsMark}); bytes.HasPrefix(one, w) {
			return Brings
		}
	}
	if startsWord(summary, w) {
		return InSummary
	}
	return noRank
}

// startsWord reports whether one of text's words begins with w.
func startsWord(text, w []byte) bool {
	for at := 0; ; {
		i := bytes.Index(text[at:], w)
		if i < 0 {
			return false
		}
		at += i
		if at == 0 || !isLetter(text[at-1]) || !isLetter(w[0]) {
			return true
		}
		at++
	}
}

// isLetter reports whether a byte is of a word: a letter, a digit, or part of a
// character beyond ASCII.
func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 0x80
}
