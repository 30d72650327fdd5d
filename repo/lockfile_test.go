package repo

import (
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/plan"
)

// TestLockedTreesAreTheSame compares plans with a lock file: what is not the very same is
// an error.
func TestLockedTreesAreTheSame(t *testing.T) {
	locked := func(release, file, identity string) Locked {
		return Locked{Name: "tool", Version: "1", Architecture: "amd64", Release: release, Digest: file, Identity: digest.Of([]byte(identity))}
	}
	planned := func(identity string) plan.PlannedTree {
		return plan.PlannedTree{Name: "tool", Version: "1", Architecture: "amd64", Identity: digest.Of([]byte(identity))}
	}
	one := []Locked{locked("trixie", "file", "a")}
	two := append(one, locked("sid", "file", "b"))
	for _, test := range []struct {
		name   string
		locked []Locked
		trees  []plan.PlannedTree
		says   string
	}{
		{"the same", one, []plan.PlannedTree{planned("a")}, ""},
		{"both of two", two, []plan.PlannedTree{planned("b"), planned("a")}, ""},
		{"another", one, []plan.PlannedTree{planned("b")}, "would be another one on this machine"},
		{"none", one, nil, "would be another one on this machine"},
		{"one too many", one, []plan.PlannedTree{planned("a"), planned("b")}, "it does not have the tree of tool=1"},
		{"one of two", two, []plan.PlannedTree{planned("a")}, "it has tool=1 twice, of sid and of trixie"},
	} {
		lock := &LockFile{Packages: test.locked}
		identities := make([]digest.Digest, len(test.trees))
		for i, tree := range test.trees {
			identities[i] = tree.Identity
		}
		err := lock.check("x.lock", test.trees, identities)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}
