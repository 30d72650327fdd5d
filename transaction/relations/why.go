package relations

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot/kept"
)

// The kinds of nodes that are no trees, as they begin.
const (
	nodeProgram    = "program "
	nodePin        = "pin "
	nodeFreeze     = "freeze "
	nodeService    = "service "
	nodeKept       = "kept "
	nodeGeneration = "generation "
)

// Why something is kept of itself.
const (
	RootAsked      = "asked"      // somebody named the package
	RootFile       = "file"       // somebody installed its file
	RootSystem     = "system"     // the package manager has it installed
	RootProgram    = "program"    // a program of the system's packages
	RootPin        = "pin"        // somebody pinned a program to it
	RootFreeze     = "freeze"     // somebody froze a program to files of it
	RootService    = "service"    // a unit that hashpkg service has written
	RootKept       = "kept"       // a program outside of packages, or a directory of them, that somebody keeps
	RootGeneration = "generation" // an older generation, to which one can roll back
)

// Kept is a tree, and the chains that keep it.
type Kept struct {
	Belongs
	Active bool `json:"active"` // the active generation has it
	// By is who picked its version for a closure manifest, if the active generation has it.
	By     record.Picker `json:"by,omitzero"`
	Chains []Chain       `json:"chains"`
	More   int           `json:"more"` // chains that are not among Chains
	// Complete is false where there are more than that.
	Complete bool `json:"complete"`
	// Prelocated are those of the files that were asked for, else of its programs and libraries, of
	// which something is bound to the file itself.
	Prelocated []Prelocated `json:"prelocated"`
}

// Prelocated is a file of a tree of which something is bound to the file itself.
type Prelocated struct {
	Path string `json:"path"` // in the tree
	record.SelfBound
}

// Chain begins with what is kept of itself; each of its elements uses the next one.
type Chain struct {
	Root  string `json:"root"` // one of the Root constants
	Links []Link `json:"links"`
}

// Link is one element of a chain.
type Link struct {
	Belongs
	What string `json:"what"`           // a path of the system, a pin, a service or a generation; "" for a tree
	Uses *Use   `json:"uses,omitempty"` // the next one; nil for the last
}

// Text says what the element is.
func (l *Link) Text() string {
	if l.What != "" {
		return l.What
	}
	return l.Spec()
}

// Why returns what keeps the trees of a target: for each at most limit chains, the
// shortest first.
func (r *Relations) Why(ctx context.Context, target *Target, limit int) ([]Kept, error) {
	wanted := map[string]bool{}
	inactive := false
	for _, h := range target.Trees {
		wanted[h.Path()] = true
		inactive = inactive || r.active[h.Path()] == nil
	}
	u, err := r.uses(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if inactive {
		if err := r.addGenerations(u, wanted); err != nil {
			return nil, err
		}
	}
	u.finish()
	var kept []Kept
	for _, h := range target.Trees {
		k := r.kept(u, h, limit)
		if len(k.Chains) == 0 { // what is in the way of a package otherwise
			r.addViews(u)
			r.addLinks(u)
			u.finish()
			k = r.kept(u, h, limit)
		}
		k.Prelocated = target.prelocated(h)
		kept = append(kept, k)
	}
	return kept, nil
}

// prelocated returns what a target has of a tree that is bound to itself.
func (t *Target) prelocated(h *record.Holding) []Prelocated {
	list := []Prelocated{}
	for i := range h.Binaries {
		b := &h.Binaries[i]
		if b.Self != nil && (len(t.Files) == 0 || slices.Contains(t.Files, File{h, b.Path})) {
			list = append(list, Prelocated{b.Path, *b.Self})
		}
	}
	return list
}

func (r *Relations) kept(u *uses, h *record.Holding, limit int) Kept {
	k := Kept{Belongs: belongs(File{Tree: h}), Active: r.active[h.Path()] != nil, Chains: []Chain{}}
	if k.Active {
		k.By = r.active[h.Path()].By
	}
	var chains [][]string
	chains, k.More, k.Complete = graph.Chains(h.Path(), func(n string) []string { return u.users[n] }, func(n string) bool { return r.rootOf(n) != "" }, limit)
	for _, nodes := range chains {
		c := Chain{Root: r.rootOf(nodes[0])}
		for i, n := range nodes {
			l := r.link(n)
			if i+1 < len(nodes) {
				use := u.how[[2]string{n, nodes[i+1]}]
				l.Uses = &use
			}
			c.Links = append(c.Links, l)
		}
		k.Chains = append(k.Chains, c)
	}
	return k
}

// rootOf says why a node is kept of itself; "" when it is not.
func (r *Relations) rootOf(node string) string {
	for prefix, root := range map[string]string{nodeProgram: RootProgram, nodePin: RootPin, nodeFreeze: RootFreeze, nodeService: RootService, nodeKept: RootKept, nodeGeneration: RootGeneration} {
		if strings.HasPrefix(node, prefix) {
			return root
		}
	}
	t := r.active[node]
	switch {
	case t == nil:
		return ""
	case t.Origin == record.OriginSystem:
		return RootSystem
	case t.Release == "" && t.By.IsZero():
		return RootFile
	case t.Asked:
		return RootAsked
	}
	return ""
}

// addKept adds the programs outside of packages that somebody keeps.
func (r *Relations) addKept(ctx context.Context, u *uses) error {
	list, err := kept.All(ctx, r.root, func(tree string) bool { return r.byPath[tree] != nil })
	if err != nil {
		return err
	}
	for _, p := range list {
		now := map[string]bool{}
		for _, f := range p.Files {
			for _, tree := range f.Trees {
				now[tree] = true
				u.add(nodeKept+f.Path, tree, Use{UseLoads, "", ""})
			}
		}
		for _, tree := range p.Trees {
			if !now[tree] {
				u.add(nodeKept+p.Path, tree, Use{UseKept, "", ""})
			}
		}
	}
	return nil
}

// addRecords adds pins and services.
func (r *Relations) addRecords(u *uses) error {
	pins, err := r.root.Pins()
	if err != nil {
		return err
	}
	for _, p := range pins {
		program := p.Program
		if program == record.EveryProgram {
			program = "every program"
		}
		if p.Frozen() {
			u.add(nodeFreeze+"of "+program, layout.TreePath(p.Library, p.Tree), Use{UseFrozen, "", p.Spec()})
			continue
		}
		u.add(nodePin+"of "+program, layout.TreePath(p.Library, p.Tree), Use{UsePinned, "", p.Spec()})
	}
	services, err := r.root.Services()
	if err != nil {
		return err
	}
	for _, s := range services.List {
		for _, tree := range s.Trees {
			u.add(nodeService+s.Name, tree, Use{UseRuns, "", ""})
		}
	}
	return nil
}

// addGenerations adds the generations that have the trees and are not active.
func (r *Relations) addGenerations(u *uses, wanted map[string]bool) error {
	ids, err := r.root.Generations()
	if err != nil {
		return err
	}
	slices.Reverse(ids)
	for _, id := range ids {
		if id == r.generation.ID {
			continue
		}
		g, err := r.root.Generation(id)
		if err != nil {
			return advice.Errorf("%w; hashpkg verify --repair mends what it can", err)
		}
		for i := range g.Trees {
			if t := &g.Trees[i]; wanted[t.Path()] {
				u.add(fmt.Sprint(nodeGeneration, id), t.Path(), Use{UseHas, "", ""})
			}
		}
	}
	return nil
}
