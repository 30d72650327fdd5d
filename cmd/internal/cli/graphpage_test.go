package cli

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/transaction/relations"
)

// largeGraph has n libraries with cycles among them, a program that needs all, two
// builds of each tenth name, and a name that would end the page's script.
func largeGraph(n int) *relations.Graph {
	g := &relations.Graph{}
	for i := range n {
		node := relations.Node{ID: i, Path: fmt.Sprintf("/var/sys/lib%d/1/lib%d.so.1", i, i), Name: fmt.Sprintf("lib%d.so.1", i), Size: int64(1000 * i)}
		node.Package, node.Version, node.Tree = fmt.Sprintf("lib%d", i), "1", fmt.Sprintf("lib%d/1", i)
		if i%10 == 9 {
			node.Name = fmt.Sprintf("lib%d.so.1", i-1)
		}
		g.Nodes = append(g.Nodes, node)
		for _, step := range []int{1, 7, 31} {
			g.Edges = append(g.Edges, relations.Edge{From: i, To: (i + step) % n, Name: "x"})
		}
	}
	g.Nodes[0].Name, g.Nodes[0].Program = "</script><script>document.title='taken'</script>", true
	for i := 1; i < n; i++ {
		g.Edges = append(g.Edges, relations.Edge{From: 0, To: i, Name: "x"})
	}
	return g
}

// TestGraphPageIsOneFile looks for what would be loaded from elsewhere, and for names that
// would become part of the page.
func TestGraphPageIsOneFile(t *testing.T) {
	page, err := graphPage("<b>", largeGraph(20))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	if found := regexp.MustCompile(`(src|href)="?[^"#][^>]*|url\(|@import|https?://`).FindString(text); found != "" {
		t.Errorf("the page loads %s", found)
	}
	if strings.Count(text, "</script>") != 1 || strings.Contains(text, "<b>") {
		t.Error("a name is part of the page")
	}
	if !strings.Contains(text, `"id":19`) {
		t.Error("the page lacks the last file")
	}
}
