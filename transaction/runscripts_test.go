package transaction

import (
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestNeedsFirst: rpms are configured behind all that their relations ask for.
func TestNeedsFirst(t *testing.T) {
	rich := func(text string) pkginfo.Relation { return pkginfo.Relation{Text: text} }
	family := []*record.Manifest{
		{Name: "top", Requires: []pkginfo.Relation{rich("(b and (c or d))"), {Alternatives: []pkginfo.Constraint{{Name: "e"}}}, rich("(f")}},
		{Name: "f"},
		{Name: "e"},
		{Name: "d", Requires: []pkginfo.Relation{rich("(b if top)")}},
		{Name: "c"},
		{Name: "b"},
	}
	var names []string
	for _, m := range needsFirst(family) {
		names = append(names, m.Name)
	}
	if have, want := strings.Join(names, " "), "b c d e top f"; have != want {
		t.Errorf("the order is %s, and not %s", have, want)
	}
}
