package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newWhyCommand(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "why LIBRARY | NAME[=VERSION]",
		Short: "Say what keeps a package: every chain that leads to it",
		Long: `Say what keeps a package, as chains that lead to it, the shortest first. A chain
begins with what is kept of itself: a package that somebody asked for or whose file
somebody installed, one that the system's package manager has installed, a program of
the system, a pin, a service, what hashpkg keep keeps, or, for what the active generation has not any more, an older
generation. Each element loads, requires or sees the next one. A chain ends at the first
of these: who is kept by what is kept anyway is not shown once more.

LIBRARY is a soname, a path or the digest of a file. Where several packages or versions
have it, all are shown. With --limit 0 all chains are.

Of what install has bound to itself it also says how many symbols are bound,
and how many are left to the loader because of whom.`,
		Example: `  # What keeps this package?
  hashpkg why libonig5
  # What keeps whichever package has this library?
  hashpkg why libssl.so.3
  # Every chain, for a program
  hashpkg why zlib1g --limit 0 --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runWhy(c.Context(), a, limit, given[0]) },
	}
	cmd.Flags().IntVar(&limit, "limit", 10, "show at most `N` chains of each package")
	cmd.ValidArgsFunction = a.complete(nth(anyOf(installedNames(isAny), installedSonames), nothing), orFiles)
	return cmd
}

// maxChains is how many chains --limit 0 shows.
const maxChains = 100_000

func runWhy(ctx context.Context, a *app, limit int, text string) error {
	if limit < 0 {
		return usageError{fmt.Errorf("--limit %d: expected a number of chains, or 0 for all", limit)}
	}
	if limit == 0 {
		limit = maxChains
	}
	r, target, err := a.findTarget(ctx, text, (*relations.Relations).Find)
	if err != nil {
		return err
	}
	kept, err := r.Why(ctx, target, limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"packages": kept})
	}
	for i := range kept {
		if err := a.printKept(&kept[i]); err != nil {
			return err
		}
	}
	return nil
}

// findTarget finds what a person names, in the root's records.
func (a *app) findTarget(ctx context.Context, text string, find func(*relations.Relations, string) (*relations.Target, error)) (*relations.Relations, *relations.Target, error) {
	root, r, err := a.relations(ctx)
	if err != nil {
		return nil, nil, err
	}
	if text, err = a.inRoot(root, text); err != nil {
		return nil, nil, err
	}
	target, err := find(r, text)
	return r, target, a.refused(err)
}

// rootTexts say for people why something is kept of itself.
var rootTexts = map[string]string{
	relations.RootAsked:  "somebody asked for it",
	relations.RootFile:   "somebody installed its file",
	relations.RootSystem: "the system's package manager has it installed",
}

func (a *app) printKept(k *relations.Kept) error {
	where := ""
	if !k.Active {
		where = ", which the active generation does not have"
	}
	if err := a.printf("%s  (%s)%s\n", k.Spec(), k.Tree, where); err != nil {
		return err
	}
	if !k.By.IsZero() {
		if err := a.printf("  picked by %s, %s\n", visible.Line(k.By.Name()), visible.Line(k.By.URL)); err != nil {
			return err
		}
	}
	for _, p := range k.Prelocated {
		if err := a.printf("  prelocated %s: %s\n", visible.Line(p.Path), prelocatedText(&p.SelfBound, true)); err != nil {
			return err
		}
	}
	for _, c := range k.Chains {
		if err := a.printChain(&c); err != nil {
			return err
		}
	}
	switch {
	case !k.Complete:
		return a.printf("  and more than %d other chains; --limit shows more\n", k.More)
	case k.More > 0:
		return a.printf("  and %s; --limit 0 shows all\n", count(k.More, "other chain"))
	case len(k.Chains) > 0:
	case k.Active:
		return a.printf("  nothing that somebody asked for needs it; hashpkg remove %s takes it out\n", k.Package)
	default:
		return a.printf("  nothing keeps it; hashpkg gc removes it when its time has come\n")
	}
	return nil
}

func (a *app) printChain(c *relations.Chain) error {
	text := "  " + c.Links[0].Text()
	if why := rootTexts[c.Root]; why != "" {
		text += " (" + why + ")"
	}
	for i := range c.Links[1:] {
		text += " " + useText(c.Links[i].Uses) + " -> " + c.Links[i+1].Text()
	}
	return a.printf("%s\n", text)
}

// refused says of what is not of the form of a name that this is wrong use.
func (a *app) refused(err error) error {
	if errors.Is(err, query.ErrSpec) {
		return usageError{err}
	}
	return err
}
