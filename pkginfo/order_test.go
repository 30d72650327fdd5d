package pkginfo_test

import (
	"testing"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestOrders has one format whose versions are ordered by their length, and one
// that is not known.
func TestOrders(t *testing.T) {
	byLength := func(a, b string) int { return len(a) - len(b) }
	orders := pkginfo.Orders{"long": {Compare: byLength, InRange: pkginfo.RangeBy(byLength)}}
	for _, tc := range []struct {
		format   pkginfo.Format
		have, op string
		bound    string
		want     bool
	}{
		{"long", "bb", "<", "aaa", true},
		{"other", "bb", "<", "aaa", false},
		{"long", "bb", "=", "aa", true},
		{"other", "bb", "=", "aa", false},
		{"long", "b", ">=", "aa", false},
		{"other", "b", ">=", "aa", true},
		{"long", "", "", "", true},
		{"long", "", "<=", "aa", false}, // what is provided without a version
		{"long", "aa", "<>", "a", false},
	} {
		c := pkginfo.Constraint{Operator: tc.op, Version: tc.bound}
		if got := orders.Satisfies(tc.format, tc.have, c); got != tc.want {
			t.Errorf("%s: %q %s %q = %v", tc.format, tc.have, tc.op, tc.bound, got)
		}
	}
	if orders.Compare("long", "bb", "aaa") >= 0 || pkginfo.Orders(nil).Compare("long", "bb", "aaa") <= 0 {
		t.Error("a version is compared by another format's order")
	}
}
