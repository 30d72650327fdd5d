package cli

import (
	"fmt"
	"testing"

	"github.com/hashpkg/hashpkg/layout/record"
)

// TestJournalFields has an event in as many entries as the journal takes, each with what all of it is of.
func TestJournalFields(t *testing.T) {
	e := record.Event{Action: record.Edited, Cause: record.Cause{Command: "hashpkg sync", User: "alice"}, Generation: 3}
	for i := range 1500 {
		e.Programs = append(e.Programs, fmt.Sprintf("/usr/bin/%d\x1b", i))
	}
	entries := journalFields(e)
	programs := map[string]bool{}
	for _, fields := range entries {
		if len(fields) > 1000 || fields[0].Value != `edited /usr/bin/0\x1b, /usr/bin/1\x1b, /usr/bin/2\x1b and 1497 more (hashpkg sync)` {
			t.Errorf("%d fields, the first %q", len(fields), fields[0])
		}
		for _, f := range fields {
			if f.Name == "HASHPKG_PROGRAM" {
				programs[f.Value] = true
			}
		}
	}
	if len(entries) != 2 || len(programs) != 1500 {
		t.Errorf("%d entries have %d programs", len(entries), len(programs))
	}
	if n := len(journalFields(record.Event{Action: record.Switched})); n != 1 {
		t.Errorf("an event of nothing is in %d entries", n)
	}
}
