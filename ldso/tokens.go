package ldso

import "strings"

// tokens are the values of the dynamic string tokens (gABI, "Substitution
// Sequences"). A token without a value is left as it stands.
type tokens struct {
	origin, lib, platform string
}

// expand replaces $ORIGIN, $LIB and $PLATFORM, bare or in braces. Other
// dollar signs stay.
func expand(s string, t tokens) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for s != "" {
		value, n := t.token(s)
		if n == 0 {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		if value == "" {
			value = s[:n]
		}
		b.WriteString(value)
		s = s[n:]
	}
	return b.String()
}

// hasToken reports whether a token is left in s: the loader discards a path
// with a token whose value it does not know.
func hasToken(s string) bool {
	for i := range len(s) {
		if _, n := (tokens{}).token(s[i:]); n > 0 {
			return true
		}
	}
	return false
}

// token returns the value and the length of the token that s begins with;
// the length is 0 when there is none.
func (t tokens) token(s string) (value string, n int) {
	if s[0] != '$' {
		return "", 0
	}
	rest, braces := strings.CutPrefix(s[1:], "{")
	for _, known := range []struct{ name, value string }{
		{"ORIGIN", t.origin},
		{"PLATFORM", t.platform},
		{"LIB", t.lib},
	} {
		after, ok := strings.CutPrefix(rest, known.name)
		if !ok {
			continue
		}
		if braces {
			if strings.HasPrefix(after, "}") {
				return known.value, len(known.name) + 3
			}
			continue
		}
		if after == "" || !isNameByte(after[0]) {
			return known.value, len(known.name) + 1
		}
	}
	return "", 0
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// origin is the value of $ORIGIN for an object: its directory, as it stands.
func origin(o *Object) string {
	i := strings.LastIndexByte(o.Path, '/')
	if i <= 0 {
		return "/"
	}
	return o.Path[:i]
}
