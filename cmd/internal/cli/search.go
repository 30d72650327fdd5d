package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/repo"
)

func newSearchCommand(a *app) *cobra.Command {
	var o sourceFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "search WORD...",
		Short: "Find packages that can be installed by name",
		Long: `Find packages that can be installed by name: those that have all the words in
their name, their summary, or the names of the commands and libraries that they
bring, as far as an index has these. The best come first.`,
		Example: `  # By words
  hashpkg search json processor
  # By the library that a package brings
  hashpkg search --from sid libonig.so.5`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return runSearch(c.Context(), a, o, limit, words) },
	}
	o.add(a, cmd)
	cmd.ValidArgsFunction = a.complete(nothing, noFiles)
	cmd.Flags().IntVar(&limit, "limit", 50, "print `N` packages at most")
	return cmd
}

func runSearch(ctx context.Context, a *app, o sourceFlags, limit int, words []string) error {
	if limit < 1 {
		return usageError{fmt.Errorf("--limit %d: one package is the least", limit)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	var found []repo.Found
	err = a.withPackages(ctx, root, o, func(p *repo.Pool) error {
		found, err = p.Search(words, root.Formats().Orders(), limit)
		return err
	})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		a.notice("nothing has %s\n", strings.Join(words, " and "))
	}
	if a.json {
		err = a.printJSON(found)
	}
	if len(found) == 0 {
		return errors.Join(err, errReported)
	}
	if a.json {
		return err
	}
	t := a.table(3, 2)
	for _, f := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, f.Version, strings.Join(f.Releases, ","), f.Summary)
	}
	return t.Flush()
}
