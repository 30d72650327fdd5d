package relations

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Graph is what loads what: programs and libraries, and the names by which they do.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Node is a program or library.
type Node struct {
	Belongs
	ID      int    `json:"id"` // from 0, its place in Nodes
	Path    string `json:"path"`
	Name    string `json:"name"` // the soname, else the file's name
	Program bool   `json:"program"`
	Size    int64  `json:"size"`   // in bytes; 0 where it is not known
	Digest  string `json:"object"` // "" where it is not known
}

// Edge says that one node asks for another one.
type Edge struct {
	From int    `json:"from"`
	To   int    `json:"to"`
	Name string `json:"name"` // the soname
}

// grapher makes a graph.
type grapher struct {
	r     *Relations
	files map[File]int
	edges map[Edge]bool
	graph Graph
}

// Graph returns what is loaded for the programs of the active generation and of the
// system, or with a name for one program or those of a package; of one without programs
// its libraries by themselves.
func (r *Relations) Graph(ctx context.Context, text string) (*Graph, error) {
	g := &grapher{r, map[File]int{}, map[Edge]bool{}, Graph{[]Node{}, []Edge{}}}
	wanted, err := r.graphed(ctx, text)
	if err != nil {
		return nil, err
	}
	var active []*record.Holding
	for _, h := range r.Trees {
		active = append(active, h)
	}
	if text != "" {
		active = r.trees // a program may be of an older generation
	}
	err = r.loadings(ctx, active, func(l *loading) bool {
		if wanted != nil && !wanted[l.file] {
			return true
		}
		g.node(l.file)
		l.needs(func(by File, name string, answer File) bool {
			g.edge(by, answer, name)
			return true
		})
		return true
	})
	if err != nil {
		return nil, err
	}
	for f := range wanted {
		if b := binary(f); b != nil && !b.Program {
			g.library(f)
		}
	}
	if text != "" && len(g.graph.Nodes) == 0 {
		return nil, fmt.Errorf("%s: %w: it has neither, or loads nothing", text, ErrNoELF)
	}
	g.sort()
	return &g.graph, nil
}

// graphed returns the files that a graph is to begin with; nil for all programs.
func (r *Relations) graphed(ctx context.Context, text string) (map[File]bool, error) {
	if text == "" {
		return nil, nil
	}
	wanted := map[File]bool{}
	programs, err := r.SystemPrograms(ctx)
	if err != nil {
		return nil, err
	}
	spec, specErr := query.ParseSpec(text)
	final := r.final(text)
	for i := range programs {
		p := &programs[i]
		ofPackage := specErr == nil && p.Package == spec.Name && (spec.Version == "" || spec.Version == p.Version)
		if p.Path == text || p.Path == final || ofPackage {
			wanted[File{Path: p.Path}] = true
		}
	}
	target, err := r.Find(text)
	if err != nil {
		if len(wanted) > 0 {
			return wanted, nil
		}
		return nil, err
	}
	files := target.Files
	if len(files) == 0 {
		hasPrograms := len(wanted) > 0
		for _, h := range target.Trees {
			hasPrograms = hasPrograms || slices.ContainsFunc(h.Binaries, func(b record.HeldFile) bool { return b.Program })
		}
		for _, h := range target.Trees {
			for i := range h.Binaries {
				if h.Binaries[i].Program == hasPrograms {
					files = append(files, File{h, h.Binaries[i].Path})
				}
			}
		}
	}
	for _, f := range files {
		wanted[f] = true
	}
	return wanted, nil
}

// library adds a library and what it and others name themselves.
func (g *grapher) library(f File) {
	ids := map[string]File{}
	key := func(f File) string {
		at := g.r.At(f)
		ids[at] = f
		return at
	}
	graph.Below([]string{key(f)}, func(at string) (below []string) {
		f := ids[at]
		g.node(f)
		for name, to := range g.r.ownNeeds(f) {
			g.edge(f, to, name)
			below = append(below, key(to))
		}
		return below
	})
}

// ownNeeds calls yield with the names that a library asks for itself, and what answers them
// when it is alone: for one of the system those of its libraries that have the name.
func (r *Relations) ownNeeds(f File) func(yield func(string, File) bool) {
	return func(yield func(string, File) bool) {
		b := binary(f)
		if b == nil {
			return
		}
		for _, n := range b.Loads {
			if !yield(n.Soname, r.Locate(n.Path)) {
				return
			}
		}
		if f.Tree.Origin != record.OriginSystem {
			return
		}
		for _, name := range b.Needed {
			for t, h := range r.Trees {
				if t.Origin != record.OriginSystem || h.Architecture != f.Tree.Architecture {
					continue
				}
				i := slices.IndexFunc(h.Binaries, func(o record.HeldFile) bool { return o.Soname == name && !o.Program })
				if i >= 0 && !yield(name, File{h, h.Binaries[i].Path}) {
					return
				}
			}
		}
	}
}

func (g *grapher) node(f File) int {
	if id, ok := g.files[f]; ok {
		return id
	}
	n := Node{Belongs: belongs(f), ID: len(g.graph.Nodes), Path: g.r.At(f), Name: path.Base(f.Path)}
	switch b := binary(f); {
	case b != nil:
		n.Program, n.Size, n.Digest = b.Program, b.Size, b.Object.String()
		if b.Soname != "" {
			n.Name = b.Soname
		}
	case f.Tree == nil:
		if size, ok := g.r.root.FileSize(f.Path); ok {
			n.Size = size
		}
		if p := g.r.program(f.Path); p != nil {
			n.Program, n.Belongs = true, Belongs{p.Package, p.Version, record.OriginSystem, ""}
		}
	}
	g.files[f] = n.ID
	g.graph.Nodes = append(g.graph.Nodes, n)
	return n.ID
}

// program returns the system's program at a path; nil for none.
func (r *Relations) program(name string) *record.SystemProgram {
	if r.programs == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(r.programs.Programs, name, func(p record.SystemProgram, name string) int { return strings.Compare(p.Path, name) })
	if !ok {
		return nil
	}
	return &r.programs.Programs[i]
}

func (g *grapher) edge(from, to File, name string) {
	e := Edge{g.node(from), g.node(to), name}
	if e.From != e.To && !g.edges[e] {
		g.edges[e] = true
		g.graph.Edges = append(g.graph.Edges, e)
	}
}

// sort numbers the nodes anew, by package and path, so that a graph is the same each time.
func (g *grapher) sort() {
	nodes := g.graph.Nodes
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Path, b.Path) })
	id := make([]int, len(nodes))
	for i := range nodes {
		id[nodes[i].ID], nodes[i].ID = i, i
	}
	for i := range g.graph.Edges {
		e := &g.graph.Edges[i]
		e.From, e.To = id[e.From], id[e.To]
	}
	slices.SortFunc(g.graph.Edges, func(a, b Edge) int {
		if a.From != b.From {
			return a.From - b.From
		}
		if a.To != b.To {
			return a.To - b.To
		}
		return strings.Compare(a.Name, b.Name)
	})
}
