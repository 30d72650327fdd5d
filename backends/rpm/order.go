package rpm

import (
	"cmp"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// order is how rpm orders versions.
func order() pkginfo.Order {
	return pkginfo.Order{Compare: compareVersions, InRange: inRange}
}

// inRange reports whether what a package offers fits a range. What it does not say may be
// anything: its version, or its release (rpm: rpmdsCompare).
func inRange(version string, c pkginfo.Constraint) bool {
	bound, _, hasRelease := strings.Cut(c.Version, "-")
	if version == "" || hasRelease && !strings.Contains(version, "-") && compareVersions(version, bound) == 0 {
		return true
	}
	return pkginfo.RangeBy(compareForRange)(version, c)
}

// satisfies reports whether a version fits a constraint.
func satisfies(version string, c pkginfo.Constraint) bool {
	return pkginfo.Orders{Name: order()}.Satisfies(Name, version, c)
}

// compareForRange compares, but a range without a release speaks of every release
// (rpm: rpmdsCompare).
func compareForRange(have, bound string) int {
	if !strings.Contains(bound, "-") {
		if i := strings.LastIndexByte(have, '-'); i >= 0 {
			have = have[:i]
		}
	}
	return compareVersions(have, bound)
}

// compareVersions orders two [epoch:]version[-release] strings (rpm: rpmVersionCompare).
func compareVersions(a, b string) int {
	ea, va, ra := splitEVR(a)
	eb, vb, rb := splitEVR(b)
	if n := compareSegment(ea, eb); n != 0 {
		return n
	}
	if n := compareSegment(va, vb); n != 0 {
		return n
	}
	return compareSegment(ra, rb)
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

// compareSegment is rpm's rpmvercmp: runs of digits by value, runs of letters
// by bytes, "~" before everything, "^" after the end but before anything else,
// other bytes only separate.
func compareSegment(a, b string) int {
	if a == b {
		return 0
	}
	for a != "" || b != "" {
		a = strings.TrimLeftFunc(a, isSeparator)
		b = strings.TrimLeftFunc(b, isSeparator)

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

func isSeparator(r rune) bool {
	return !isDigit(r) && !isLetter(r) && r != '~' && r != '^'
}
