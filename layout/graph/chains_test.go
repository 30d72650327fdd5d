package graph_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/graph"
)

// users returns who leads to each node, of a graph that is written as "a>b b>c".
func users(text string) func(string) []string {
	found := map[string][]string{}
	for edge := range strings.FieldsSeq(text) {
		from, to, _ := strings.Cut(edge, ">")
		found[to] = append(found[to], from)
	}
	return func(node string) []string { return found[node] }
}

func roots(text string) func(string) bool {
	return func(node string) bool { return strings.Contains(" "+text+" ", " "+node+" ") }
}

func TestChains(t *testing.T) {
	for _, tt := range []struct {
		name, graph, roots string
		limit              int
		want               string
		more               int
	}{
		{"nothing", "", "", 9, "", 0},
		{"the target alone", "", "t", 9, "t", 0},
		{"one way", "a>b b>t", "a", 9, "a b t", 0},
		{"nobody's user", "a>t x>t", "a", 9, "a t", 0},
		{"the shortest first", "a>b b>t a>t", "a", 9, "a t, a b t", 0},
		{"a root keeps what is below it", "a>b b>t", "a b", 9, "b t", 0},
		{"a target that is a root has users", "a>t", "a t", 9, "t, a t", 0},
		{"a cycle", "a>b b>c c>b c>t t>a", "a", 9, "a b c t", 0},
		{"a cycle through the target", "t>b b>t", "t", 9, "t", 0},
		{"a cycle without a root", "b>c c>b c>t", "", 9, "", 0},
		{"itself", "t>t a>t", "a", 9, "a t", 0},
		{"a limit", "a>t b>t c>t", "a b c", 2, "a t, b t", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chains, more, complete := graph.Chains("t", users(tt.graph), roots(tt.roots), tt.limit)
			var have []string
			for _, c := range chains {
				have = append(have, strings.Join(c, " "))
			}
			if diff := cmp.Diff(tt.want, strings.Join(have, ", ")); diff != "" || more != tt.more || !complete {
				t.Errorf("%d more, complete: %v (-want +have)\n%s", more, complete, diff)
			}
		})
	}
}

// TestManyChains has a graph with more ways than anybody could count.
func TestManyChains(t *testing.T) {
	var text strings.Builder
	for layer := range 20 {
		for i := range 10 {
			for j := range 10 {
				fmt.Fprintf(&text, "%d.%d>%d.%d ", layer+1, i, layer, j)
			}
		}
	}
	text.WriteString("0.0>t root>20.0 root>0.0")
	chains, _, complete := graph.Chains("t", users(text.String()), roots("root"), 3)
	if len(chains) != 1 || complete {
		t.Errorf("%q, complete: %v", chains, complete)
	}
}

func TestBelow(t *testing.T) {
	leads := map[string][]string{"a": {"b", "c"}, "b": {"d", "a"}, "c": {"d"}}
	have := graph.Below([]string{"a"}, func(n string) []string { return leads[n] })
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}
