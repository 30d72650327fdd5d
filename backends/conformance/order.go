package conformance

import (
	"cmp"
	"slices"
	"testing"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// strange are versions that no format need allow. Records may have them all the same.
var strange = []string{"", " ", "-", ":", "~", "^", ".", "a", "A", "0", "00", "1:", ":1", "1-", "-1", "\x00", "\u00e9", "1.0 ", "1.0\n"}

// testOrder sees to it that the order is one: what is sorted by it, and twice, would
// else be in a different order each time, or a loop would not end.
func (s *suite) testOrder(t *testing.T) {
	compare := func(a, b string) int { return cmp.Compare(s.Format.Order().Compare(a, b), 0) }
	for i, older := range s.Versions {
		for j, newer := range s.Versions {
			for _, a := range older {
				for _, b := range newer {
					if got := compare(a, b); got != cmp.Compare(i, j) {
						t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, cmp.Compare(i, j))
					}
				}
			}
		}
	}
	all := append(slices.Concat(s.Versions...), strange...)
	for _, a := range all {
		if compare(a, a) != 0 {
			t.Errorf("%q is not equal to itself", a)
		}
		for _, b := range all {
			if compare(a, b) != -compare(b, a) {
				t.Errorf("%q is to %q %d, and that to it %d", a, b, compare(a, b), compare(b, a))
			}
			for _, c := range all {
				if compare(a, b) <= 0 && compare(b, c) <= 0 && compare(a, c) > 0 {
					t.Errorf("%q is not newer than %q, that not than %q, and the first is newer than the last", a, b, c)
				}
			}
		}
	}
}

// testRanges sees to it that the operators agree with one another.
func (s *suite) testRanges(t *testing.T) {
	orders := pkginfo.Orders{s.Format.Name(): s.Format.Order()}
	in := func(version, operator, bound string) bool {
		return orders.Satisfies(s.Format.Name(), version, pkginfo.Constraint{Name: "x", Operator: operator, Version: bound})
	}
	all := slices.Concat(s.Versions...)
	for _, a := range all {
		if !in(a, "", "") || !in(a, "=", a) {
			t.Errorf("%q does not satisfy a relation without a range, or to itself", a)
		}
		if in("", ">=", a) != in("", "<", a) {
			t.Errorf("no version is at least %q, or less, and not both or neither", a)
		}
		for _, b := range all {
			less, equal, more := in(a, "<", b), in(a, "=", b), in(a, ">", b)
			if n := count(less, equal, more); n != 1 || in(a, "<=", b) != (less || equal) || in(a, ">=", b) != (more || equal) || in(a, "!", b) {
				t.Errorf("%q is less than, equal to, more than %q: %v, %v, %v", a, b, less, equal, more)
			}
		}
	}
}

func count(all ...bool) int {
	n := 0
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}
