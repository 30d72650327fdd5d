//go:build system

package choose_test

import (
	"os"
	"strconv"
	"testing"
)

// TestSystemChoice compares with apt for many packages of several releases:
// HASHPKG_TEST_CHOICES of each, 500 without.
func TestSystemChoice(t *testing.T) {
	count := 500
	if text := os.Getenv("HASHPKG_TEST_CHOICES"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatalf("HASHPKG_TEST_CHOICES: %v", err)
		}
	}
	for _, suite := range []string{"bookworm", "trixie", "sid"} {
		t.Run(suite, func(t *testing.T) { compareWithApt(t, suite, count, 2, false) })
	}
}
