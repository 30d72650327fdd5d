package graph_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/graph"
)

// TestDot has names that would end a string of the language.
func TestDot(t *testing.T) {
	have := graph.Dot(`a"b`, []graph.DotNode{{Label: "x\ny=1", Box: true}, {Label: `q"\n`}}, []graph.DotEdge{{0, 1, ""}, {1, 0, `l"`}})
	want := `digraph "a\"b" {
	rankdir=LR;
	node [shape=ellipse, fontname="sans-serif"];
	n0 [label="x\ny=1", shape=box];
	n1 [label="q\"\\n"];
	n0 -> n1;
	n1 -> n0 [label="l\""];
}
`
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}
