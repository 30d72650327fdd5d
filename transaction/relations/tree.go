package relations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Needs are packages with what they need, or with who needs them, as far as that goes.
type Needs struct {
	// Roots are the packages that were asked about, as places in Packages.
	Roots    []int    `json:"roots"`
	Packages []Needer `json:"packages"`
}

// Needer is a package, or what else needs one: a program of the system, a pin, a service.
type Needer struct {
	ID int `json:"id"` // from 0, its place in Packages
	Link
	Active bool   `json:"active"` // the active generation has it
	Below  []Step `json:"below"`
}

// Step leads from a package to one that it needs, or that needs it.
type Step struct {
	ID int `json:"id"`
	Use
}

// Needs returns what the packages that a person names need, or with reverse who needs them:
// what their programs and libraries load, and what the packages require or recommend. A
// system's package that has programs only is meant by its name, too.
func (r *Relations) Needs(ctx context.Context, text string, reverse bool) (*Needs, error) {
	roots, wanted, err := r.needers(ctx, text)
	if err != nil {
		return nil, err
	}
	if !reverse {
		wanted = nil // what leads to others is as long as these are
	}
	u, err := r.uses(ctx, wanted)
	if err != nil {
		return nil, err
	}
	u.finish()
	next, step := u.users, func(from, to string) Use { return u.how[[2]string{to, from}] }
	if !reverse {
		next, step = u.used(), func(from, to string) Use { return u.how[[2]string{from, to}] }
	}
	n := &Needs{Roots: []int{}, Packages: []Needer{}}
	ids := map[string]int{}
	var nodes []string
	add := func(node string) int {
		id, known := ids[node]
		if !known {
			id = len(nodes)
			ids[node], nodes = id, append(nodes, node)
			n.Packages = append(n.Packages, Needer{ID: id, Link: r.link(node), Active: r.active[node] != nil, Below: []Step{}})
		}
		return id
	}
	for _, node := range roots {
		n.Roots = append(n.Roots, add(node))
	}
	for at := 0; at < len(nodes); at++ { // which grows on the way
		for _, to := range next[nodes[at]] {
			id := add(to)
			n.Packages[at].Below = append(n.Packages[at].Below, Step{id, step(nodes[at], to)})
		}
	}
	return n, ctx.Err()
}

// needers returns the nodes that a text means, and of them the trees.
func (r *Relations) needers(ctx context.Context, text string) (nodes []string, trees map[string]bool, err error) {
	trees = map[string]bool{}
	target, err := r.Find(text)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return nil, nil, err
	}
	if target != nil {
		for _, h := range target.Trees {
			nodes, trees[h.Path()] = append(nodes, h.Path()), true
		}
	}
	programs, errPrograms := r.SystemPrograms(ctx)
	if errPrograms != nil {
		return nil, nil, errPrograms
	}
	final := r.final(text)
	for i := range programs {
		p := &programs[i]
		spec := query.Spec{Name: p.Package}
		if name, version, ok := strings.Cut(text, "="); ok && name == p.Package && version == p.Version {
			spec.Version = version
		}
		if text == spec.String() || strings.Contains(text, "/") && p.Path == final {
			nodes = append(nodes, nodeProgram+p.Path)
		}
	}
	if len(nodes) == 0 {
		return nil, nil, err
	}
	return nodes, trees, nil
}

// link returns a node as an element of a chain.
func (r *Relations) link(node string) Link {
	if h := r.byPath[node]; h != nil {
		return Link{Belongs: belongs(File{Tree: h})}
	}
	if p := r.program(strings.TrimPrefix(node, nodeProgram)); p != nil {
		return Link{What: node, Belongs: Belongs{p.Package, p.Version, record.OriginSystem, ""}}
	}
	return Link{What: node}
}

// used returns what each node uses, sorted.
func (u *uses) used() map[string][]string {
	used := map[string][]string{}
	for to, users := range u.users {
		for _, user := range users {
			used[user] = append(used[user], to)
		}
	}
	for _, list := range used {
		slices.Sort(list)
	}
	return used
}

// uses returns who needs whom, as far as it leads to the trees that are wanted; nil for all.
func (r *Relations) uses(ctx context.Context, wanted map[string]bool) (*uses, error) {
	u := newUses()
	if err := r.addLoads(ctx, u, wanted); err != nil {
		return nil, err
	}
	r.addRelations(u)
	r.addRecommends(u)
	if err := r.addRecords(u); err != nil {
		return nil, fmt.Errorf("find out what is pinned and run: %w", err)
	}
	if err := r.addKept(ctx, u); err != nil {
		return nil, fmt.Errorf("find out what is kept: %w", err)
	}
	return u, nil
}
