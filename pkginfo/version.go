package pkginfo

import (
	"cmp"
	"fmt"
	"strings"

	debversion "pault.ag/go/debian/version"
)

// Compare orders two versions as f's package manager does: negative when a is
// older than b, positive when it is newer, zero when they are equal. A version
// that f does not allow is ordered before every one that it does, and by its
// bytes among those, so that the order is total.
func (f Format) Compare(a, b string) int {
	if f == RPM {
		return compareRPM(a, b)
	}
	va, errA := debversion.Parse(a)
	vb, errB := debversion.Parse(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return debversion.Compare(va, vb)
}

// Satisfies reports whether a package of this version fits c's range. The name
// is not looked at.
func (c Constraint) Satisfies(f Format, version string) bool {
	if c.Operator == "" {
		return true
	}
	if version == "" { // an unversioned Provides satisfies no range: deb-policy 7.5
		return false
	}
	n := f.compareForRange(version, c.Version)
	switch c.Operator {
	case "<":
		return n < 0
	case "<=":
		return n <= 0
	case "=":
		return n == 0
	case ">=":
		return n >= 0
	case ">":
		return n > 0
	}
	return false
}

// compareForRange is Compare, but for rpm a range without a release speaks of
// every release (rpm: rpmdsCompare).
func (f Format) compareForRange(have, bound string) int {
	if f == RPM && !strings.Contains(bound, "-") {
		if i := strings.LastIndexByte(have, '-'); i >= 0 {
			have = have[:i]
		}
	}
	return f.Compare(have, bound)
}

// String returns the constraint in deb's notation: "libjq1 (= 1.6-2.1)".
func (c Constraint) String() string {
	s := c.Name
	if c.Architecture != "" {
		s += ":" + c.Architecture
	}
	if c.Operator != "" {
		s += fmt.Sprintf(" (%s %s)", c.Operator, c.Version)
	}
	return s
}

// String returns the alternatives in deb's notation: "a (>= 1) | b".
func (r Relation) String() string {
	if r.Text != "" {
		return r.Text
	}
	parts := make([]string, len(r.Alternatives))
	for i, c := range r.Alternatives {
		parts[i] = c.String()
	}
	return strings.Join(parts, " | ")
}

// compareRPM orders two [epoch:]version[-release] strings (rpm: rpmVersionCompare).
func compareRPM(a, b string) int {
	ea, va, ra := splitEVR(a)
	eb, vb, rb := splitEVR(b)
	if n := compareRPMSegment(ea, eb); n != 0 {
		return n
	}
	if n := compareRPMSegment(va, vb); n != 0 {
		return n
	}
	return compareRPMSegment(ra, rb)
}

func splitEVR(s string) (epoch, version, release string) {
	epoch = "0"
	if e, rest, ok := strings.Cut(s, ":"); ok {
		epoch, s = e, rest
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return epoch, s[:i], s[i+1:]
	}
	return epoch, s, ""
}

// compareRPMSegment is rpm's rpmvercmp: runs of digits by value, runs of letters
// by bytes, "~" before everything, "^" after the end but before anything else,
// other bytes only separate.
func compareRPMSegment(a, b string) int {
	if a == b {
		return 0
	}
	for a != "" || b != "" {
		a = strings.TrimLeftFunc(a, isRPMSeparator)
		b = strings.TrimLeftFunc(b, isRPMSeparator)

		if strings.HasPrefix(a, "~") || strings.HasPrefix(b, "~") {
			if !strings.HasPrefix(a, "~") {
				return 1
			}
			if !strings.HasPrefix(b, "~") {
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if strings.HasPrefix(a, "^") || strings.HasPrefix(b, "^") {
			switch {
			case a == "":
				return -1
			case b == "":
				return 1
			case a[0] != '^':
				return 1
			case b[0] != '^':
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			break
		}

		isRun := isLetter
		if isDigit(rune(a[0])) {
			isRun = isDigit
		}
		ra := a[:len(a)-len(strings.TrimLeftFunc(a, isRun))]
		rb := b[:len(b)-len(strings.TrimLeftFunc(b, isRun))]
		a, b = a[len(ra):], b[len(rb):]
		if rb == "" { // different kinds: a number is newer than letters
			if isDigit(rune(ra[0])) {
				return 1
			}
			return -1
		}
		if isDigit(rune(ra[0])) {
			ra, rb = strings.TrimLeft(ra, "0"), strings.TrimLeft(rb, "0")
			if n := cmp.Compare(len(ra), len(rb)); n != 0 {
				return n
			}
		}
		if n := strings.Compare(ra, rb); n != 0 {
			return n
		}
	}
	return cmp.Compare(len(a), len(b))
}

func isDigit(r rune) bool  { return r >= '0' && r <= '9' }
func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func isRPMSeparator(r rune) bool {
	return !isDigit(r) && !isLetter(r) && r != '~' && r != '^'
}
