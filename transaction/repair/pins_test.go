package repair

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/verify"
)

// TestPins has a record of pins that cannot be read. What the records of edited programs
// say is in the new one, and the old one in the quarantine.
func TestPins(t *testing.T) {
	key := func(id string) pkginfo.Key { return pkginfo.Key{Format: "deb", ID: id} }
	edits := func(id, program string, pins ...record.PinnedTree) *record.PackageEdits {
		return &record.PackageEdits{Layout: layout.FormatVersion, Key: key(id), Package: id, Files: []record.EditedFile{
			{Path: program, Applied: []record.AppliedEdit{{Pins: pins}}},
		}}
	}
	followed := []*record.PackageEdits{
		edits("a", "/usr/bin/a", record.PinnedTree{Library: "liba1", Tree: "1"}, record.PinnedTree{Library: "gone", Tree: "2"}),
		edits("b", "/usr/bin/b"),
	}
	pins := []record.Pin{
		{Program: "/usr/bin/a", Library: "liba1", Version: "1", Tree: "1"},
		{Program: "/usr/bin/a", Library: "gone", Version: "2", Tree: "2"},
	}
	const name = sysroot.PinsFile
	garbage := func(t *testing.T, root *sysroot.Root) { put(t, root, name, []byte("garbage")) }
	for _, tt := range []struct {
		what   string
		edits  []*record.PackageEdits
		damage func(*testing.T, *sysroot.Root)
		want   []string
		pins   []record.Pin
	}{
		{"garbage", followed, garbage, []string{"mended " + name, "quarantined " + name}, pins},
		{"no program is pinned", followed[1:], garbage, []string{"mended " + name, "quarantined " + name}, nil},
		{"a directory", followed, func(t *testing.T, root *sysroot.Root) {
			remove(t, root, name)
			must(t, os.MkdirAll(root.Store().Path(name+"/x"), 0o755))
		}, []string{"mended " + name, "quarantined " + name}, pins},
		{"another record cannot be read", followed, func(t *testing.T, root *sysroot.Root) {
			garbage(t, root)
			put(t, root, record.EditsPath(key("b")), []byte("garbage"))
		}, []string{"remains record " + name}, nil},
	} {
		t.Run(tt.what, func(t *testing.T) {
			root, _ := smallStore(t)
			must(t, root.SetEdits(tt.edits))
			must(t, root.SetPins(pins))
			tt.damage(t, root)
			if report, err := verify.Trees(t.Context(), root, verify.Options{}); tt.want[0][0] == 'm' {
				must(t, err)
				if len(report.Damaged) == 0 || report.Damaged[0].Kind != store.DamageRecord {
					t.Errorf("verify reports %+v", report.Damaged)
				}
			}
			before := listing(t, root)
			inShort(root, mend(t, root, true))
			if have := listing(t, root); have != before {
				t.Errorf("a dry run changes the store:\n%s", cmp.Diff(before, have))
			}
			if diff := cmp.Diff(tt.want, inShort(root, mend(t, root, false))); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
			if strings.HasPrefix(tt.want[0], "remains") {
				if have := listing(t, root); have != before {
					t.Errorf("it changes the store:\n%s", cmp.Diff(before, have))
				}
				return
			}
			have, err := root.Pins()
			must(t, err)
			if diff := cmp.Diff(tt.pins, have); diff != "" {
				t.Errorf("the pins (-want +have):\n%s", diff)
			}
			if again := inShort(root, mend(t, root, false)); len(again) > 0 {
				t.Errorf("the next repair does %q", again)
			}
		})
	}
}
