package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newTreeCommand(a *app) *cobra.Command {
	var reverse bool
	var depth int
	cmd := &cobra.Command{
		Use:   "tree NAME[=VERSION] | LIBRARY | FILE",
		Short: "Show which packages a package needs, or who needs it, as a tree",
		Long: `Show which packages a package needs, and which those need; with --reverse who needs it,
and who needs those, up to the programs, pins and services that use it. Each line says how:

  loads        a program or library of the one loads a library of the other
  requires     a relation of the package
  recommends   the same, of what is there all the same
  pinned to, frozen to, runs   a pin, a freeze, a service

What is below a package that was shown already is not repeated. LIBRARY is a soname or a
digest, FILE a path with a slash: their packages are meant. hashpkg deps says which files a
program loads, and by which rule; hashpkg why by which chains a package is kept.`,
		Example: `  # What does jq need?
  hashpkg tree jq
  # Who needs this library?
  hashpkg tree --reverse libonig5
  # Only what it needs itself
  hashpkg tree --depth 1 ffmpeg`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runTree(c.Context(), a, reverse, depth, given[0]) },
	}
	cmd.Flags().BoolVar(&reverse, "reverse", false, "show who needs it")
	cmd.Flags().IntVar(&depth, "depth", 0, "show `N` levels; 0 for all")
	cmd.ValidArgsFunction = a.complete(nth(anyOf(installedNames(isAny), installedSonames), nothing), orFiles)
	return cmd
}

func runTree(ctx context.Context, a *app, reverse bool, depth int, text string) error {
	if depth < 0 {
		return usageError{fmt.Errorf("--depth %d: expected a number of levels, or 0 for all", depth)}
	}
	root, r, err := a.relations(ctx)
	if err != nil {
		return err
	}
	if text, err = a.inRoot(root, text); err != nil {
		return err
	}
	needs, err := r.Needs(ctx, text, reverse)
	if err != nil {
		return a.refused(err)
	}
	if a.json {
		return a.printJSON(needs)
	}
	return a.printNeedsTree(needs, reverse, depth)
}

func (a *app) printNeedsTree(n *relations.Needs, reverse bool, depth int) error {
	byKey := map[string]*relations.Needer{}
	key := func(p *relations.Needer) string { return p.What + "/" + p.Tree }
	for i := range n.Packages {
		byKey[key(&n.Packages[i])] = &n.Packages[i]
	}
	below := func(at string) (steps []step) {
		for _, s := range byKey[at].Below {
			p := &n.Packages[s.ID]
			steps = append(steps, step{key(p), neederText(p) + "  " + useText(&s.Use)})
		}
		return steps
	}
	for _, id := range n.Roots {
		p := &n.Packages[id]
		where := ""
		if !p.Active && p.What == "" {
			where = "  (the active generation does not have it)"
		}
		if err := a.printf("%s%s\n", neederText(p), where); err != nil {
			return err
		}
		if err := a.printBelow(key(p), below, depth); err != nil {
			return err
		}
		if len(p.Below) == 0 {
			none := "needs no other package"
			if reverse {
				none = "nothing needs it"
			}
			if err := a.printf("  %s\n", none); err != nil {
				return err
			}
		}
	}
	return nil
}

// neederText names what needs, or is needed.
func neederText(p *relations.Needer) string {
	if p.What == "" && p.Origin == record.OriginSystem {
		return p.Text() + " of the system"
	}
	return p.Text()
}

// useText says how one thing uses another.
func useText(u *relations.Use) string {
	if u.Name != "" && u.How != relations.UsePinned && u.How != relations.UseFrozen {
		return u.How + " " + u.Name
	}
	return u.How
}
