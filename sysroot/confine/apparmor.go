package confine

import (
	_ "embed" // the abstraction's text
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"
)

const profileDir = "/etc/apparmor.d"

// Abstraction is the file that lets confined programs read the prefix:
// abstractions/base includes all of its directory (apparmor.d(5)).
const Abstraction = BaseAbstraction + ".d/hashpkg"

// BaseAbstraction is what most profiles include.
const BaseAbstraction = profileDir + "/abstractions/base"

//go:embed abstraction
var abstractionText string

// plainPath matches a path without characters that mean something to AppArmor.
var plainPath = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`) })

// AbstractionText returns what the abstraction holds that lets programs read the
// prefixes. AppArmor compares paths without links: a prefix that is a link comes by
// both its paths.
func AbstractionText(prefixes []string) ([]byte, error) {
	var text strings.Builder
	for line := range strings.Lines(abstractionText) {
		if !strings.Contains(line, "@PREFIX@") {
			text.WriteString(line)
			continue
		}
		for _, p := range prefixes {
			if !plainPath().MatchString(p) {
				return nil, fmt.Errorf("the prefix %q has characters that mean something to AppArmor", p)
			}
			text.WriteString(strings.ReplaceAll(line, "@PREFIX@", p))
		}
	}
	return []byte(text.String()), nil
}

// Profile is what one file of AppArmor's profiles says.
type Profile struct {
	File         string
	Attachments  []string // expressions for the programs of those that are enforced
	ReadsPrefix  bool     // has a rule for what is below the prefix
	IncludesBase bool     // includes abstractions/base
}

var (
	// profileHead matches the line that begins a profile and names what it is
	// attached to: "/usr/bin/man {", "profile cupsd /usr/sbin/cupsd flags=(attach_disconnected) {".
	profileHead = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^\s*(?:profile\s+\S+\s+)?"?(/[^\s"]*|@\{[^\s"]*)"?\s*(?:(?:flags=)?\(([^)]*)\)\s*)?(?:xattrs=\([^)]*\)\s*)?\{`)
	})
	includeBase = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^\s*#?include\s+(?:if exists\s+)?<abstractions/base>`)
	})
)

// ParseProfiles reads a file of profiles. It looks at lines alone: a rule of one
// profile in the file counts for all of them.
func ParseProfiles(file string, b []byte, prefix string) Profile {
	p := Profile{File: file}
	for line := range strings.Lines(string(b)) {
		if m := profileHead().FindStringSubmatch(line); m != nil && !strings.Contains(m[2], "complain") {
			p.Attachments = append(p.Attachments, m[1])
		}
		p.IncludesBase = p.IncludesBase || includeBase().MatchString(line)
		comment := strings.HasPrefix(strings.TrimSpace(line), "#")
		p.ReadsPrefix = p.ReadsPrefix || !comment && strings.Contains(line, prefix+"/")
	}
	return p
}

// IsFor reports whether one of the profiles is attached to a program and enforced.
func (p *Profile) IsFor(program string) bool {
	for _, a := range p.Attachments {
		if matches(a, program) {
			return true
		}
	}
	return false
}

// matches compares a program with the expression of a profile: alternatives in
// braces, and wildcards (apparmor.d(5)).
func matches(expression, program string) bool {
	if before, rest, ok := strings.Cut(expression, "{"); ok && !strings.HasSuffix(before, "@") {
		alternatives, after, closed := strings.Cut(rest, "}")
		if !closed {
			return false
		}
		for a := range strings.SplitSeq(alternatives, ",") {
			if matches(before+a+after, program) {
				return true
			}
		}
		return false
	}
	if rest, ok := strings.CutPrefix(expression, "@{bin}"); ok {
		return matches("/{,usr/}{,s}bin"+rest, program)
	}
	ok, err := path.Match(strings.ReplaceAll(expression, "**", "*"), program)
	return err == nil && ok
}
