package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newUseCommand(a *app) *cobra.Command {
	highest, dryRun := false, false
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "use NAME=VERSION | use --highest NAME",
		Short: "Make a version of a package the default",
		Long: `Make a version of a package the one that current-system leads to. It stays the
default when a higher version is installed, until another is named or --highest
gives the choice back.`,
		Example: `  # Have current-system lead to this version
  hashpkg use jq=1.6-2.1
  # See what would change
  hashpkg use --dry-run jq=1.6-2.1
  # Let the highest version be the default again
  hashpkg use --highest jq`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return runUse(c.Context(), a, given[0], highest, dryRun, lock())
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(func(root *sysroot.Root, given []string, begun string) []string {
		if highest {
			return installedNames(isAny)(root, given, begun)
		}
		return installedVersions(root, given, begun)
	}, nothing), noFiles)
	cmd.Flags().BoolVar(&highest, "highest", false, "let the highest version be the default again")
	dryRunFlag(cmd, &dryRun)
	lock = a.waitFlag(cmd, false)
	return cmd
}

func runUse(ctx context.Context, a *app, text string, highest, dryRun bool, lock sysroot.LockOptions) error {
	spec, err := parseSpec(text)
	if err != nil {
		return err
	}
	if highest != (spec.Version == "") {
		return usageError{fmt.Errorf("%q: expected NAME=VERSION, or --highest NAME", text)}
	}
	return a.change(ctx, lock, dryRun, func(c transaction.Change) (transaction.Result, error) {
		if highest {
			return transaction.UseHighest(ctx, c, spec.Name)
		}
		return transaction.Use(ctx, c, spec)
	})
}

// dryRunFlag gives a command the flag --dry-run.
func dryRunFlag(cmd *cobra.Command, dryRun *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "say what would change, and change nothing")
}

// change makes a change of generations and says which one is active then, or with dryRun
// what would change.
func (a *app) change(ctx context.Context, lock sysroot.LockOptions, dryRun bool, f func(transaction.Change) (transaction.Result, error)) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	result, err := f(transaction.Change{Root: root, Lock: lock, Now: now, Generate: a.Generate, DryRun: dryRun})
	if err == nil && result.Changed && !dryRun {
		a.followConf(ctx, root, lock)
		a.followServices(ctx, root, lock)
		err = a.settle(root, now)
	}
	return a.printResult(result, dryRun, err)
}

// printResult says what changed, or would, which generation is active now, and what undoes
// the change.
func (a *app) printResult(r transaction.Result, dryRun bool, err error) error {
	for _, w := range r.Warnings {
		a.notice("warning: %s\n", w)
	}
	switch {
	case err != nil:
		return err
	case a.json:
		r.Changes, r.Packages = append([]record.Change{}, r.Changes...), append([]record.PackageChange{}, r.Packages...)
		return a.printJSON(r)
	case a.quiet:
		return nil
	case !r.Changed:
		return a.printf("nothing to do: generation %d is active\n", r.Generation)
	}
	for i := range r.Packages {
		if err := a.printChanged(r.Packages[i].String()); err != nil {
			return err
		}
	}
	for _, line := range neededLines(r.Needed) {
		a.notice("note: %s\n", line)
	}
	if dryRun {
		return a.printf("generation %d stays active: nothing was changed (--dry-run)\n", r.Generation)
	}
	return a.printActive(r.Generation, r.Undo)
}

// neededLines says who needs what is not there any more, or no default: a line for each package
// and way.
func neededLines(needed []relations.Needing) (lines []string) {
	for len(needed) > 0 {
		first := needed[0]
		var by []string
		for len(needed) > 0 && needed[0].Package == first.Package && needed[0].How == first.How {
			by, needed = append(by, needed[0].By), needed[1:]
		}
		who, needs, goes := strings.Join(firstOf(by), ", "), "needs", "goes"
		if len(by) > 1 {
			needs, goes = "need", "go"
		}
		line := fmt.Sprintf("%s still %s %s, and %s on with its tree", who, needs, first.Package, goes)
		if first.How == relations.UseRequires {
			line = fmt.Sprintf("%s still %s %s, and nothing else that is there answers for it", who, needs, first.Package)
		}
		lines = append(lines, line)
	}
	return lines
}

// printActive says which generation is active, and what undoes what made it.
func (a *app) printActive(id int, undo string) error {
	if undo != "" {
		undo = "; undo: " + undo
	}
	return a.printf("generation %d is active%s\n", id, undo)
}
