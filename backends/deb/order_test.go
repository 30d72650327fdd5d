package deb_test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
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

// TestCompareVersions has dpkg as its judge.
func TestCompareVersions(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("dpkg is not installed")
	}
	compare := deb.Format{}.Order().Compare
	versions := []string{
		"1.0", "1.0-1", "1.0-1+b1", "1.0~rc1-1", "1.0~~-1", "1:0.9-1", "0:1.0-1", "1.10-1", "1.9-1", "1.0-10", "1.0-9", "1.0a-1",
		"1.6-2.1", "1.6-2.1+deb12u2", "1.7.1-6+deb13u3", "2.31-13+deb11u11", "1.0-1-1", "1.0+dfsg-1", "09", "9",
	}
	for _, a := range versions {
		for _, b := range versions {
			for op, n := range map[string]int{"lt": -1, "eq": 0, "gt": 1} {
				err := exec.Command(dpkg, "--compare-versions", a, op, b).Run()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				if (err == nil) != (sign(compare(a, b)) == n) {
					t.Errorf("Compare(%q, %q) = %d; dpkg says of %s: %v", a, b, compare(a, b), op, err == nil)
				}
			}
		}
	}
}

func TestSatisfies(t *testing.T) {
	orders := pkginfo.Orders{deb.Name: deb.Format{}.Order()}
	for _, tc := range []struct {
		have, op, bound string
		want            bool
	}{
		{"1.6-2.1", "=", "1.6-2.1", true},
		{"1.6-2.1+deb12u2", "=", "1.6-2.1", false},
		{"2.36-9", ">=", "2.34", true},
		{"2.31-13", ">=", "2.34", false},
		{"2.31-13", "<", "2.34", true},
		{"1", "<=", "1", true},
		{"1", ">", "1", false},
		{"1", "", "", true},
		{"", ">=", "1", false}, // an unversioned Provides
	} {
		c := pkginfo.Constraint{Operator: tc.op, Version: tc.bound}
		if got := orders.Satisfies(deb.Name, tc.have, c); got != tc.want {
			t.Errorf("%q %s %q = %v", tc.have, tc.op, tc.bound, got)
		}
	}
}
