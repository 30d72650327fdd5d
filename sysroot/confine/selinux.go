package confine

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
)

// SELinuxConfig says whether SELinux enforces, and by which policy
// (selinux_config(5)).
const SELinuxConfig = "/etc/selinux/config"

// SELinux is what SELinuxConfig says.
type SELinux struct {
	Enforcing bool
	Type      string // the policy's name; "" without one
}

var policyName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]+$`) })

// ParseSELinux reads SELinuxConfig. As to libselinux, the last line of a setting
// counts. A policy whose name could not be a directory's is none.
func ParseSELinux(b []byte) SELinux {
	var s SELinux
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case ok && name == "SELINUX":
			s.Enforcing = value == "enforcing"
		case ok && name == "SELINUXTYPE" && policyName().MatchString(value):
			s.Type = value
		}
	}
	return s
}

// PolicyDir returns where a policy stands.
func PolicyDir(policy string) string { return "/etc/selinux/" + policy }

// EquivalenceFile returns the file in which administrators say that a path is
// labeled as another one.
func EquivalenceFile(policy string) string { return contextsFile(policy, "subs") }

func contextsFile(policy, kind string) string {
	return PolicyDir(policy) + "/contexts/files/file_contexts." + kind
}

// equivalence is the line that semanage fcontext -a -e /usr/lib PREFIX writes:
// libraries and their hard links in the store are labeled alike.
func equivalence(prefix string) string { return prefix + " /usr/lib\n" }

// Equivalence says what an EquivalenceFile has for a prefix: whether it is
// hashpkg's own rule, or somebody's for another path.
func Equivalence(b []byte, prefix string) (own, other bool) {
	for line := range strings.Lines(string(b)) {
		if line == equivalence(prefix) {
			return true, false
		}
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == prefix {
			other = true
		}
	}
	return false, other
}

// AddEquivalence returns an EquivalenceFile with hashpkg's rule at its end.
func AddEquivalence(b []byte, prefix string) []byte {
	b = bytes.Clone(b)
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return append(b, equivalence(prefix)...)
}

// RemoveEquivalence returns an EquivalenceFile without hashpkg's rule.
func RemoveEquivalence(b []byte, prefix string) []byte {
	var kept strings.Builder
	for line := range strings.Lines(string(b)) {
		if line != equivalence(prefix) {
			kept.WriteString(line)
		}
	}
	return []byte(kept.String())
}

// labels reports whether a file of contexts or equivalences has a rule for the
// prefix.
func labels(b []byte, prefix string) bool {
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == prefix || strings.HasPrefix(f[0], prefix+"(")) {
			return true
		}
	}
	return false
}
