package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

type graphOptions struct {
	svg  bool
	html string
}

func newGraphCommand(a *app) *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph [PROGRAM | NAME[=VERSION]]",
		Short: "Draw what loads what",
		Long: `Draw what loads what, from a program or the programs of a package, or without a
name from all programs of the active generation and of the system that hashpkg follows: as
text in the language of Graphviz (DOT), with --svg as an image, which Graphviz's dot
draws and which is for some dozens of libraries, or with --html as a page to explore: search,
who needs a library and what it needs, sizes, versions side by side. The page is one file
that needs no network.`,
		Example: `  # An image of what jq loads
  hashpkg graph jq | dot -Tpng -o jq.png
  # The same in one step
  hashpkg graph jq --svg > jq.svg
  # A page to explore all programs
  hashpkg graph --html graph.html`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return runGraph(c.Context(), a, o, strings.Join(given, ""))
		},
	}
	cmd.Flags().BoolVar(&o.svg, "svg", false, "draw an image, by Graphviz's dot")
	cmd.Flags().StringVar(&o.html, "html", "", "write a page to explore it to `FILE`")
	cmd.ValidArgsFunction = a.complete(nth(installedNames(isAny), nothing), orFiles)
	return cmd
}

func runGraph(ctx context.Context, a *app, o graphOptions, text string) error {
	if o.svg && a.json || o.svg && o.html != "" {
		return usageError{errors.New("--svg, --html and --json exclude each other; give one of them")}
	}
	root, r, err := a.relations(ctx)
	if err != nil {
		return err
	}
	if text, err = a.inRoot(root, text); err != nil {
		return err
	}
	g, err := r.Graph(ctx, text)
	if err != nil {
		return a.refused(err)
	}
	switch {
	case o.html != "":
		return a.writeGraphPage(o.html, text, g)
	case a.json:
		return a.printJSON(g)
	case o.svg:
		return a.drawGraph(ctx, dot(text, g))
	}
	return a.printf("%s", dot(text, g))
}

// dot returns a graph in the language of Graphviz.
func dot(name string, g *relations.Graph) string {
	nodes := make([]graph.DotNode, len(g.Nodes))
	for i, n := range g.Nodes {
		nodes[i] = graph.DotNode{Label: n.Name + "\n" + n.Spec(), Box: n.Program}
	}
	edges := make([]graph.DotEdge, len(g.Edges))
	for i, e := range g.Edges {
		edges[i] = graph.DotEdge{From: e.From, To: e.To}
		if e.Name != g.Nodes[e.To].Name {
			edges[i].Label = e.Name
		}
	}
	if name == "" {
		name = "hashpkg"
	}
	return graph.Dot(name, nodes, edges)
}

// drawGraph has Graphviz draw a graph.
func (a *app) drawGraph(ctx context.Context, text string) error {
	program, err := exec.LookPath("dot")
	if err != nil {
		return errors.New("draw the graph: Graphviz's dot is not in PATH: install graphviz, or leave --svg out for the text that it reads")
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "-Tsvg")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), a.Out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("draw the graph: dot: %v: %s", err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// writeGraphPage writes the page of a graph.
func (a *app) writeGraphPage(file, name string, g *relations.Graph) error {
	page, err := graphPage(name, g)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, page, 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if a.json {
		return a.printJSON(map[string]any{"file": file, "nodes": len(g.Nodes), "edges": len(g.Edges)})
	}
	a.notice("%s: %s; open it in a browser\n", file, count(len(g.Nodes), "file"))
	return nil
}
