package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

func newUseCommand(a *app) *cobra.Command {
	highest := false
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "use NAME=VERSION | use --highest NAME",
		Short: "Make a version of a package the default",
		Long: `Make a version of a package the one that current-system leads to. It stays the
default when a higher version is installed, until another is named or --highest
gives the choice back.`,
		Example: "  hashpkg use jq=1.6-2.1\n  hashpkg use --highest jq",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return runUse(c.Context(), a, given[0], highest, lock())
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(func(root *sysroot.Root, given []string, begun string) []string {
		if highest {
			return installedNames(isAny)(root, given, begun)
		}
		return installedVersions(root, given, begun)
	}, nothing), noFiles)
	cmd.Flags().BoolVar(&highest, "highest", false, "let the highest version be the default again")
	lock = a.waitFlag(cmd, false)
	return cmd
}

func runUse(ctx context.Context, a *app, text string, highest bool, lock sysroot.LockOptions) error {
	spec, err := parseSpec(text)
	if err != nil {
		return err
	}
	if highest != (spec.Version == "") {
		return usageError{fmt.Errorf("%q: expected NAME=VERSION, or --highest NAME", text)}
	}
	return a.change(ctx, lock, func(c transaction.Change) (transaction.Result, error) {
		if highest {
			return transaction.UseHighest(ctx, c, spec.Name)
		}
		return transaction.Use(ctx, c, spec)
	})
}

// change makes a change of generations and says which one is active then.
func (a *app) change(ctx context.Context, lock sysroot.LockOptions, f func(transaction.Change) (transaction.Result, error)) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	result, err := f(transaction.Change{Root: root, Lock: lock, Now: now, Generate: a.Generate})
	if err == nil && result.Changed {
		a.followConf(ctx, root, lock)
		a.followServices(ctx, root, lock)
		err = a.settle(root, now)
	}
	return a.printResult(result, err)
}

func newRollbackCommand(a *app) *cobra.Command {
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "rollback [N]",
		Short: "Make an older generation active again",
		Long: `Make generation N active, or without N the one that the active one was made
from. It is one rename; nothing is built anew. What the system's package manager has
installed since is not undone: its libraries stay as they are.`,
		Example: "  hashpkg rollback\n  hashpkg rollback 3",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			id := 0
			if len(given) == 1 {
				n, err := parseGeneration(given[0])
				if err != nil {
					return err
				}
				id = n
			}
			return a.change(c.Context(), lock(), func(change transaction.Change) (transaction.Result, error) {
				return transaction.Rollback(c.Context(), change, id)
			})
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(generationNumbers, nothing), noFiles)
	lock = a.waitFlag(cmd, false)
	return cmd
}

func parseGeneration(s string) (int, error) {
	id, err := strconv.Atoi(s)
	if err != nil || id < 1 {
		return 0, usageError{fmt.Errorf("%q is not a generation's number", s)}
	}
	return id, nil
}

// printResult says what changed, and which generation is active now.
func (a *app) printResult(r transaction.Result, err error) error {
	for _, w := range r.Warnings {
		a.notice("warning: %s\n", w)
	}
	switch {
	case err != nil:
		return err
	case a.json:
		r.Changes = append([]record.Change{}, r.Changes...)
		return a.printJSON(r)
	case a.quiet:
		return nil
	case !r.Changed:
		return a.printf("nothing to do: generation %d is active\n", r.Generation)
	}
	for _, c := range r.Changes {
		if err := a.printf("%s\n", c); err != nil {
			return err
		}
	}
	return a.printf("generation %d is active\n", r.Generation)
}
