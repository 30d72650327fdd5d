package relations

import (
	"context"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Needing is who needs a package that goes.
type Needing struct {
	Package string `json:"package"` // "NAME=VERSION"
	By      string `json:"by"`      // "NAME=VERSION", or a program, pin, freeze or service of the system
	How     string `json:"how"`     // one of the Use constants
}

// StillNeeded returns who of the active generation needs trees, by their paths, that are not in the next
// one or not its defaults, but for these trees themselves. What somebody loads, sees, is pinned to or runs
// is meant by its tree, and works on; what is required is not there any more, and is returned where nothing
// else of the next generation answers it. What is only recommended is not.
func StillNeeded(ctx context.Context, root *sysroot.Root, next *record.Generation, trees map[string]bool) ([]Needing, error) {
	if len(trees) == 0 {
		return nil, nil
	}
	r, err := Open(ctx, root, false)
	if err != nil {
		return nil, err
	}
	u, err := r.uses(ctx, trees)
	if err != nil {
		return nil, err
	}
	r.addViews(u)
	u.finish()
	var answered map[[2]string]bool // by user and relation, in the next generation
	var needing []Needing
	for tree := range trees {
		if r.byPath[tree] == nil {
			continue
		}
		for _, user := range u.users[tree] {
			if trees[user] || r.byPath[user] != nil && r.active[user] == nil {
				continue
			}
			use := u.how[[2]string{user, tree}]
			if use.How == UseRecommends {
				continue
			}
			if use.How == UseRequires {
				if answered == nil {
					if answered, err = r.answered(ctx, next); err != nil {
						return nil, err
					}
				}
				isAnswered := func(name string) bool { return answered[[2]string{user, name}] }
				if !slices.ContainsFunc(u.requires[[2]string{user, tree}], func(name string) bool { return !isAnswered(name) }) {
					continue
				}
			}
			of, by := r.link(tree), r.link(user)
			needing = append(needing, Needing{of.Text(), by.Text(), use.How})
		}
	}
	slices.SortFunc(needing, func(a, b Needing) int {
		return strings.Compare(a.Package+"\x00"+a.How+"\x00"+a.By, b.Package+"\x00"+b.How+"\x00"+b.By)
	})
	return needing, nil
}

// answered returns which relations of which trees a generation answers that is made from the active one.
func (r *Relations) answered(ctx context.Context, g *record.Generation) (map[[2]string]bool, error) {
	in, err := r.in(ctx, g)
	if err != nil {
		return nil, err
	}
	u := newUses()
	in.addRelations(u)
	answered := map[[2]string]bool{}
	for pair, names := range u.requires {
		for _, name := range names {
			answered[[2]string{pair[0], name}] = true
		}
	}
	return answered, nil
}
