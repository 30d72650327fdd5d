package graph

import (
	"fmt"
	"strings"
)

// DotNode is a node of a graph in the language of Graphviz; its number is its place.
type DotNode struct {
	Label string // lines with line feeds between them
	Box   bool   // a program; else an ellipse
}

// DotEdge leads from one node to another one, by their numbers.
type DotEdge struct {
	From, To int
	Label    string
}

// Dot returns a graph in the language of Graphviz: see
// https://graphviz.org/doc/info/lang.html.
func Dot(name string, nodes []DotNode, edges []DotEdge) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n\trankdir=LR;\n\tnode [shape=ellipse, fontname=\"sans-serif\"];\n", dotText(name))
	for i, n := range nodes {
		shape := ""
		if n.Box {
			shape = ", shape=box"
		}
		fmt.Fprintf(&b, "\tn%d [label=%s%s];\n", i, dotText(n.Label), shape)
	}
	for _, e := range edges {
		label := ""
		if e.Label != "" {
			label = " [label=" + dotText(e.Label) + "]"
		}
		fmt.Fprintf(&b, "\tn%d -> n%d%s;\n", e.From, e.To, label)
	}
	b.WriteString("}\n")
	return b.String()
}

// dotText quotes a text as a double-quoted string: in it only a quote is escaped by the
// language, and a backslash by what reads labels.
func dotText(s string) string {
	return `"` + strings.NewReplacer("\\", "\\\\", `"`, `\"`, "\n", `\n`, "\r", " ", "\x00", " ").Replace(s) + `"`
}
