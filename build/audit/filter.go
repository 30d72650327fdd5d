package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Filter says which findings count.
type Filter struct {
	Strict bool     // warnings are errors
	Ignore []string // names of checks
	Only   []string // likewise; none for all
	Known  []Known  // what is not new
}

// Known is a finding that somebody has accepted: a line of a file of these.
type Known struct {
	ID      string // of a check, or "*"
	Pattern string // of paths
	Line    int    // from 1
	matches *regexp.Regexp
}

// ParseKnown reads accepted findings: on each line the name of a check and a pattern of paths, with white space
// between. "*" stands for any check; in a pattern it stands for any characters but a slash, "**" for any, and
// "?" for one that is no slash. What begins with "#" is a comment. The error names the line.
func ParseKnown(text string) ([]Known, error) {
	var list []Known
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, pattern, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		pattern = strings.TrimSpace(pattern)
		switch {
		case pattern == "":
			return nil, fmt.Errorf("line %d: expected the name of a check and a pattern of paths", number)
		case id != "*" && !IsCheck(id):
			return nil, fmt.Errorf("line %d: there is no check %s", number, id)
		case !utf8.ValidString(pattern):
			return nil, fmt.Errorf("line %d: the pattern is not in UTF-8; a ? stands for any byte that is not", number)
		}
		list = append(list, Known{id, pattern, number, pathPattern(pattern)})
	}
	return list, nil
}

// pathPattern returns what matches the paths of a pattern.
func pathPattern(pattern string) *regexp.Regexp {
	var text strings.Builder
	text.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch {
		case strings.HasPrefix(pattern[i:], "**"):
			text.WriteString(".*")
			i++
		case pattern[i] == '*':
			text.WriteString("[^/]*")
		case pattern[i] == '?':
			text.WriteString("[^/]")
		default:
			text.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return regexp.MustCompile(text.String() + `\z`)
}

// IsCheck reports whether there is a check of that name.
func IsCheck(id string) bool {
	return slices.ContainsFunc(Checks(), func(c Check) bool { return c.ID == id })
}

// Apply returns the findings that count, how many do not because they are known, and of what is known that which
// no finding is.
func (f *Filter) Apply(all []Finding) (kept []Finding, known int, unused []Known) {
	used := make([]bool, len(f.Known))
	for _, finding := range all {
		if slices.Contains(f.Ignore, finding.ID) || len(f.Only) > 0 && !slices.Contains(f.Only, finding.ID) {
			continue
		}
		isKnown := false
		for i, k := range f.Known {
			if (k.ID == "*" || k.ID == finding.ID) && k.matches.MatchString(finding.File) {
				isKnown, used[i] = true, true
			}
		}
		if isKnown {
			known++
			continue
		}
		if f.Strict && finding.Level == LevelWarning {
			finding.Level = LevelError
		}
		kept = append(kept, finding)
	}
	for i, k := range f.Known {
		if !used[i] {
			unused = append(unused, k)
		}
	}
	return kept, known, unused
}

// Counts are how many findings there are of each level.
type Counts struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Notes    int `json:"notes"`
}

// Count counts findings.
func Count(findings []Finding) (c Counts) {
	for _, f := range findings {
		switch f.Level {
		case LevelError:
			c.Errors++
		case LevelWarning:
			c.Warnings++
		default:
			c.Notes++
		}
	}
	return c
}
