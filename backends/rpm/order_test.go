package rpm

import (
	"testing"

	"github.com/hashpkg/hashpkg/pkginfo"
)

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// TestCompareVersions has the pairs of rpm's own test of rpmvercmp (tests/rpmvercmp.at).
func TestCompareVersions(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0},
		{"1.0", "2.0", -1},
		{"2.0.1", "2.0.1", 0},
		{"2.0", "2.0.1", -1},
		{"2.0.1a", "2.0.1", 1},
		{"5.5p1", "5.5p2", -1},
		{"5.5p10", "5.5p1", 1},
		{"10xyz", "10.1xyz", -1},
		{"xyz10", "xyz10.1", -1},
		{"xyz.4", "8", -1},
		{"xyz.4", "2", -1},
		{"5.5p2", "5.6p1", -1},
		{"5.6p1", "6.5p1", -1},
		{"6.0.rc1", "6.0", 1},
		{"10b2", "10a1", 1},
		{"1.0aa", "1.0aa", 0},
		{"1.0a", "1.0aa", -1},
		{"10.0001", "10.1", 0},
		{"10.0001", "10.0039", -1},
		{"4.999.9", "5.0", -1},
		{"20101121", "20101122", -1},
		{"2_0", "2.0", 0},
		{"a+", "a_", 0},
		{"+", "_", 0},
		{"1.0~rc1", "1.0", -1},
		{"1.0~rc1", "1.0~rc2", -1},
		{"1.0~rc1~git123", "1.0~rc1", -1},
		{"1.0^", "1.0", 1},
		{"1.0^git1", "1.0^git2", -1},
		{"1.0^git1", "1.01", -1},
		{"1.0^20160101", "1.0.1", -1},
		{"1.0^20160101^git1", "1.0^20160102", -1},
		{"1.0~rc1^git1", "1.0~rc1", 1},
		{"1.0^git1~pre", "1.0^git1", -1},
		{"1.0^20160101~pre", "1.0^20160101^git1", -1},
		{"1.0-1", "1.0-2", -1},
		{"1:0.9-1", "1.0-1", 1},
		{"0:1.0-1", "1.0-1", 0},
		{"1.0-1.el9", "1.0-1.el9_2", -1},
	} {
		if got := sign(compareVersions(tc.a, tc.b)); got != tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := sign(compareVersions(tc.b, tc.a)); got != -tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

func TestSatisfies(t *testing.T) {
	orders := pkginfo.Orders{Name: order()}
	for _, tc := range []struct {
		have, op, bound string
		want            bool
	}{
		{"1.2.7-17.el7", "=", "1.2.7", true},
		{"1.2.7-17.el7", "=", "1.2.7-18", false},
		{"1.2.7-17.el7", ">=", "1.2.7-17", true},
		{"", ">=", "2", true},
		{"", "=", "2-1", true},
		{"2", "=", "2-1", true},
		{"2", ">", "2-1", true},
		{"2", "<", "2-1", true},
		{"2", ">", "2", false},
		{"2", ">=", "1:2-1", false},
		{"2-1", ">", "2", false},
		{"2-1", "=", "2", true},
		{"0:2", "=", "2", true},
		{"1:2", ">=", "3", true},
	} {
		c := pkginfo.Constraint{Operator: tc.op, Version: tc.bound}
		if got := orders.Satisfies(Name, tc.have, c); got != tc.want {
			t.Errorf("%q %s %q = %v", tc.have, tc.op, tc.bound, got)
		}
	}
}
