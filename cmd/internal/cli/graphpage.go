package cli

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"github.com/hashpkg/hashpkg/transaction/relations"
)

// graphTemplate is the page, with its style and script in it.
//
//go:embed graphpage.html
var graphTemplate string

// graphPage returns a page to explore a graph: one file, which loads nothing.
func graphPage(name string, g *relations.Graph) ([]byte, error) {
	t, err := template.New("page").Parse(graphTemplate)
	if err != nil {
		return nil, fmt.Errorf("make the page: %v", err)
	}
	if name == "" {
		name = "all programs"
	}
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]any{"Name": name, "Graph": g}); err != nil {
		return nil, fmt.Errorf("make the page: %v", err)
	}
	return b.Bytes(), nil
}
