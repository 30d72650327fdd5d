// Package testneed skips tests on machines that lack what they need: root, a
// program, the network. A test says so before it does anything else:
//
//	testneed.Root(t)
//	testneed.Programs(t, "gcc", "readelf")
//
// With `go test -short` (`make check`) every test that needs anything is skipped
// at once, whatever the machine has. scripts/test.sh tells which tests were skipped
// and why, and does not pass then.
//
// Go itself, a shell and the ordinary utilities beside it (cp, sed, tar) are taken
// to be everywhere.
package testneed

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Root skips the test unless it runs as root.
func Root(tb testing.TB) {
	tb.Helper()
	skip(tb, LackRoot())
}

// LackRoot returns why a test that needs root cannot run, or nil.
func LackRoot() error {
	switch {
	case testing.Short():
		return fmt.Errorf("it needs root; %s", short)
	case os.Geteuid() != 0:
		return fmt.Errorf("it needs root")
	}
	return nil
}

// Programs skips the test unless all programs are there, in PATH or by their paths.
func Programs(tb testing.TB, names ...string) {
	tb.Helper()
	skip(tb, LackPrograms(names...))
}

// LackPrograms returns why a test that needs programs cannot run, or nil.
func LackPrograms(names ...string) error {
	for _, name := range names {
		if testing.Short() {
			return fmt.Errorf("it needs %s; %s", name, short)
		}
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("it needs a program: %v", err)
		}
	}
	return nil
}

// Network skips the test with -short. Otherwise it is for the test to use the
// network, or a cache of what came from there, and to call [Unmet] when it cannot.
func Network(tb testing.TB) {
	tb.Helper()
	skip(tb, LackNetwork())
}

// LackNetwork returns why a test that needs the network should not try, or nil.
func LackNetwork() error {
	if testing.Short() {
		return fmt.Errorf("it needs the network; %s", short)
	}
	return nil
}

// Time skips a test that needs nothing but a minute or more, with -short.
func Time(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skipf("skipped: it takes a minute; %s", short)
	}
}

// Unmet skips the test for another reason.
func Unmet(tb testing.TB, reason ...any) {
	tb.Helper()
	tb.Skipf("skipped: %s", fmt.Sprint(reason...))
}

const short = "left out with -short"

func skip(tb testing.TB, why error) {
	tb.Helper()
	if why != nil {
		tb.Skipf("skipped: %v", why)
	}
}
