package pkginfo

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
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

// TestCompareDeb has dpkg as its judge.
func TestCompareDeb(t *testing.T) {
	testneed.Programs(t, "dpkg")
	versions := []string{
		"1.0", "1.0-1", "1.0-1+b1", "1.0~rc1-1", "1.0~~-1", "1:0.9-1", "0:1.0-1", "1.10-1", "1.9-1", "1.0-10", "1.0-9", "1.0a-1",
		"1.6-2.1", "1.6-2.1+deb12u2", "1.7.1-6+deb13u3", "2.31-13+deb11u11", "1.0-1-1", "1.0+dfsg-1", "09", "9",
	}
	for _, a := range versions {
		for _, b := range versions {
			for op, n := range map[string]int{"lt": -1, "eq": 0, "gt": 1} {
				err := exec.Command("dpkg", "--compare-versions", a, op, b).Run()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				if (err == nil) != (sign(Deb.Compare(a, b)) == n) {
					t.Errorf("Compare(%q, %q) = %d; dpkg says of %s: %v", a, b, Deb.Compare(a, b), op, err == nil)
				}
			}
		}
	}
}

// TestCompareRPM has the pairs of rpm's own test of rpmvercmp (tests/rpmvercmp.at).
func TestCompareRPM(t *testing.T) {
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
		if got := sign(RPM.Compare(tc.a, tc.b)); got != tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := sign(RPM.Compare(tc.b, tc.a)); got != -tc.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

func TestSatisfies(t *testing.T) {
	for _, tc := range []struct {
		format Format
		have   string
		op     string
		bound  string
		want   bool
	}{
		{Deb, "1.6-2.1", "=", "1.6-2.1", true},
		{Deb, "1.6-2.1+deb12u2", "=", "1.6-2.1", false},
		{Deb, "2.36-9", ">=", "2.34", true},
		{Deb, "2.31-13", ">=", "2.34", false},
		{Deb, "2.31-13", "<", "2.34", true},
		{Deb, "1", "<=", "1", true},
		{Deb, "1", ">", "1", false},
		{Deb, "1", "", "", true},
		{Deb, "", ">=", "1", false}, // an unversioned Provides
		{RPM, "1.2.7-17.el7", "=", "1.2.7", true},
		{RPM, "1.2.7-17.el7", "=", "1.2.7-18", false},
		{RPM, "1.2.7-17.el7", ">=", "1.2.7-17", true},
	} {
		c := Constraint{Operator: tc.op, Version: tc.bound}
		if got := c.Satisfies(tc.format, tc.have); got != tc.want {
			t.Errorf("%s %q %s %q = %v", tc.format, tc.have, tc.op, tc.bound, got)
		}
	}
}
