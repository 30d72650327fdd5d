package rpm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rpmutils "github.com/sassoftware/go-rpmutils"

	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// TestOtherReader has a reader of other people's as the judge of names, versions
// and relations.
func TestOtherReader(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(realPackages, "*.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	others := testrpm.CentOS("../..")
	compared := 0
	for _, file := range append(files, others...) {
		if strings.HasPrefix(filepath.Base(file), "v6_") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ours, _, err := readAll(b)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		theirs, err := rpmutils.ReadHeader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		nevra, err := theirs.GetNEVRA()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		version := nevra.Version + "-" + nevra.Release
		if theirs.HasTag(rpmutils.EPOCH) {
			version = nevra.Epoch + ":" + version
		}
		if ours.Name != nevra.Name || ours.Version != version || ours.Architecture != nevra.Arch {
			t.Errorf("%s: %s %s %s, the other reader has %+v", file, ours.Name, ours.Version, ours.Architecture, nevra)
		}
		provides, err := theirs.GetStrings(rpmutils.PROVIDENAME)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range ours.Provides {
			if !slices.Contains(provides, c.Name) {
				t.Errorf("%s: provides %s, which the other reader does not know", file, c.Name)
			}
		}
		compared++
	}
	if want := 8 + len(others); compared < want {
		t.Errorf("%d packages were compared, want %d or more", compared, want)
	}
}
