package hooks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
)

// changed says in a line what a sync has changed; "" for nothing.
func changed(r *transaction.SyncResult) string {
	packaged := 0
	for _, p := range r.Programs {
		if len(p.Edits) == 0 {
			packaged++
		}
	}
	edited := len(r.Programs) - packaged
	var parts []string
	for _, p := range []struct {
		n         int
		one, many string
	}{
		{len(r.Trees), "tree", "trees"},
		{len(r.Gone), "tree out of use", "trees out of use"},
		{edited, "program edited", "programs edited"},
		{packaged, "program as packaged again", "programs as packaged again"},
	} {
		if p.n > 0 {
			parts = append(parts, count(p.n, p.one, p.many))
		}
	}
	line := strings.Join(parts, ", ")
	if edited > 0 {
		line += "; undo: hashpkg restore --all"
	}
	return line
}

// retired says in a line what became of programs when hashpkg's package went; "" for nothing.
func retired(restored int, pins []record.Pin) string {
	line := ""
	if restored > 0 {
		line = count(restored, "program has its packaged bytes", "programs have their packaged bytes") + " again"
	}
	var ended []string
	for i := range pins {
		p := &pins[i]
		text := "the pin of " + p.Program + " to " + p.Spec()
		switch {
		case p.Frozen():
			text = "the freeze of " + p.Program
		case p.Program == record.EveryProgram:
			text = "the pin of all programs to " + p.Spec()
		}
		ended = append(ended, text)
	}
	slices.Sort(ended)
	ended = slices.Compact(ended)
	if len(ended) == 0 {
		return line
	}
	const most = 5
	if more := len(ended) - most; more > 0 {
		ended = append(ended[:most], fmt.Sprintf("%d more", more))
	}
	if line != "" {
		line += "; "
	}
	return line + "out of force: " + strings.Join(ended, ", ")
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
