package hooks

import (
	"testing"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
)

func TestChanged(t *testing.T) {
	edits := []record.EditRecord{{Kind: "runpath", To: []string{"/var/sys/current-system/lib64"}}}
	programs := func(edited, packaged int) (list []transaction.ProgramReport) {
		for range edited {
			list = append(list, transaction.ProgramReport{Edits: edits})
		}
		return append(list, make([]transaction.ProgramReport, packaged)...)
	}
	for want, r := range map[string]transaction.SyncResult{
		"": {Generation: 3, Packages: 200, Looked: 1},
		"2 trees, 3 programs edited; undo: hashpkg restore --all":                     {Trees: make([]transaction.TreeReport, 2), Programs: programs(3, 0)},
		"1 tree, 1 tree out of use":                                                   {Trees: make([]transaction.TreeReport, 1), Gone: []string{"libjq1=1.6"}},
		"1 program edited, 2 programs as packaged again; undo: hashpkg restore --all": {Programs: programs(1, 2)},
	} {
		if got := changed(&r); got != want {
			t.Errorf("it says %q instead of %q", got, want)
		}
	}
}

func TestRetired(t *testing.T) {
	frozen := record.Pin{Program: "/usr/sbin/nginx", Library: "libssl3", Version: "3", File: "libssl.so.3"}
	frozenToo := frozen
	frozenToo.Library = "zlib1g"
	for _, c := range []struct {
		want     string
		restored int
		pins     []record.Pin
	}{
		{"", 0, nil},
		{"1 program has its packaged bytes again", 1, nil},
		{
			"20 programs have their packaged bytes again; out of force: the freeze of /usr/sbin/nginx, the pin of all programs to zlib1g=1.2, the pin of curl to libssl3=3.0", 20,
			[]record.Pin{{Program: "curl", Library: "libssl3", Version: "3.0"}, frozen, {Program: record.EveryProgram, Library: "zlib1g", Version: "1.2"}, frozenToo},
		},
		{"out of force: the pin of curl to libssl3=3.0", 0, []record.Pin{{Program: "curl", Library: "libssl3", Version: "3.0"}}},
	} {
		if got := retired(c.restored, c.pins); got != c.want {
			t.Errorf("it says %q instead of %q", got, c.want)
		}
	}
	var many []record.Pin
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		many = append(many, record.Pin{Program: name, Library: "l", Version: "1"})
	}
	const want = "out of force: the pin of a to l=1, the pin of b to l=1, the pin of c to l=1, the pin of d to l=1, the pin of e to l=1, 2 more"
	if got := retired(0, many); got != want {
		t.Errorf("it says %q instead of %q", got, want)
	}
}
