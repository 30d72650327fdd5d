package repo

import (
	"testing"

	"github.com/hashpkg/hashpkg/layout/record"
)

// TestProgramOfATree has a package whose only program has another name as an
// alternative, and packages with more programs.
func TestProgramOfATree(t *testing.T) {
	offer := []record.Offer{{Name: "editor", Link: "bin/editor", Path: "/usr/bin/nano", Target: "usr/bin/nano", Priority: 40}}
	for _, test := range []struct {
		links []string
		name  string
		want  string // "" for an error
	}{
		{[]string{"bin/editor", "bin/nano"}, "", "/var/sys/tool/1/bin/nano"},
		{[]string{"bin/editor", "bin/nano"}, "editor", "/var/sys/tool/1/bin/editor"},
		{[]string{"bin/editor", "bin/nano", "sbin/other"}, "", ""},
		{[]string{"bin/tool", "bin/nano"}, "", "/var/sys/tool/1/bin/tool"},
		{[]string{"lib64/libx.so.1"}, "", ""},
	} {
		got, err := ProgramOf(&record.Tree{Name: "tool", Version: "1", Dir: "1", Links: test.links, Offers: offer}, "/var/sys", test.name)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("of %q %q is %q, %v", test.links, test.name, got, err)
		}
	}
}
