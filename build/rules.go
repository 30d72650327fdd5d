package build

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/programs"
)

// Rules say what is done otherwise to files of one package. The zero value has none.
type Rules struct{ list []rule }

// rule is one line of the file, or what all lines together say of a file.
type rule struct {
	pattern string
	leave   bool
	runPath programs.RewritePolicy
	noNote  bool
}

// ParseRules reads a file of rules, as debian/PACKAGE.hashpkg is one. Each line is a rule:
//
//	leave PATTERN                      # the file stays as it is
//	runpath none|minimal|full PATTERN  # the program searches nothing more; where it needs libraries; always
//	note none PATTERN                  # the program gets no note
//
// A pattern is of path.Match, for the path of a file in the package, with or without the slash at its
// beginning; one that names a directory stands for all that is below it. Of several rules for
// one file the last runpath counts, and what one of them leaves, or gives no note, stays so. Empty lines, and what follows a # at the beginning of a
// line or behind a space, say nothing. The error has the number of a line that is no rule.
func ParseRules(text string) (Rules, error) {
	var r Rules
	number := 0
	for line := range strings.Lines(text) {
		number++
		one, err := parseRule(words(line))
		if err != nil {
			return Rules{}, fmt.Errorf("line %d: %w", number, err)
		}
		if one.pattern != "" {
			r.list = append(r.list, one)
		}
	}
	return r, nil
}

// words splits a line, without its comment.
func words(line string) []string {
	list := strings.Fields(line)
	if at := slices.IndexFunc(list, func(w string) bool { return strings.HasPrefix(w, "#") }); at >= 0 {
		list = list[:at]
	}
	return list
}

func parseRule(words []string) (rule, error) {
	if len(words) == 0 {
		return rule{}, nil
	}
	var r rule
	switch words[0] {
	case "leave":
		r.leave = true
		if len(words) != 2 {
			return r, errors.New("expected leave PATTERN")
		}
	case "runpath":
		if len(words) != 3 {
			return r, errors.New("expected runpath none|minimal|full PATTERN")
		}
		switch r.runPath = programs.RewritePolicy(words[1]); r.runPath {
		case programs.RewriteNone, programs.RewriteMinimal, programs.RewriteFull:
		default:
			return r, fmt.Errorf("runpath %s: expected none, minimal or full", words[1])
		}
	case "note":
		if len(words) != 3 || words[1] != "none" {
			return r, errors.New("expected note none PATTERN")
		}
		r.noNote = true
	default:
		return r, fmt.Errorf("%q is no rule; there are leave, runpath and note", words[0])
	}
	pattern, err := Pattern(words[len(words)-1])
	r.pattern = pattern
	return r, err
}

// Pattern returns a pattern as it is compared with absolute paths. The error is for one that is
// none.
func Pattern(text string) (string, error) {
	if _, err := path.Match(text, ""); err != nil {
		return "", fmt.Errorf("%q is no pattern: it has a [ without a ], or ends with a \\", text)
	}
	return "/" + strings.TrimPrefix(text, "/"), nil
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return programs.Matches(p, name) })
}

// leaves reports whether a file is to stay as it is.
func (r *Rules) leaves(name string) bool {
	return slices.ContainsFunc(r.list, func(one rule) bool { return one.leave && programs.Matches(one.pattern, name) })
}

// of returns what the rules say of a file with these names.
func (r *Rules) of(names []string) rule {
	all := rule{runPath: programs.RewriteMinimal}
	for _, one := range r.list {
		if !slices.ContainsFunc(names, func(n string) bool { return programs.Matches(one.pattern, n) }) {
			continue
		}
		if one.runPath != "" {
			all.runPath = one.runPath
		}
		all.noNote = all.noNote || one.noNote
	}
	return all
}

// unused returns what is to be said of rules that are for none of the files.
func (r *Rules) unused(names []string) []string {
	list := []string{}
	for _, one := range r.list {
		if !slices.ContainsFunc(names, func(n string) bool { return programs.Matches(one.pattern, n) }) {
			list = append(list, fmt.Sprintf("the pattern %s matches no program or library of the package", one.pattern))
		}
	}
	return list
}
