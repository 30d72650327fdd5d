package transaction

import (
	"errors"
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

// TestScriptsNotKept: what a package's scripts would compute is lacking where they were not kept,
// and is not said to be nothing.
func TestScriptsNotKept(t *testing.T) {
	for _, test := range []struct {
		script string
		byDpkg bool
		want   string
	}{
		{"post", false, "did not keep its scripts"},
		{"posttrans", false, "did not keep its scripts"},
		{"preun", false, ErrNoScripts.Error()},
		{"postinst", true, "did not keep its scripts"},
		{"post", true, ErrNoScripts.Error()}, // dpkg does not configure rpms
	} {
		_, err := (&Writer{}).scripted([]*record.Manifest{{Name: "old", Version: "1", Scripts: []string{test.script}}}, test.byDpkg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("with %s, the error is %v", test.script, err)
		}
	}
	of := &record.Control{Scripts: map[string][]byte{}} // of ldconfig
	_, err := (&Writer{}).scripted([]*record.Manifest{{Name: "library", Scripts: []string{"post"}, Control: of}}, false)
	if !errors.Is(err, ErrNoScripts) {
		t.Errorf("of a script of no use, the error is %v", err)
	}
}
