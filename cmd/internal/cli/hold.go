package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

func newHoldCommand(a *app) *cobra.Command {
	return newHold(a, &cobra.Command{
		Use:   "hold NAME...",
		Short: "Let packages keep their versions when others are upgraded",
		Long: `Let packages that were installed by name keep their versions, and what they are
bound to, when hashpkg upgrade is run. To install another version by name is
possible all the same.`,
		Example: `  # Keep jq as it is
  hashpkg hold jq`,
	}, true)
}

func newUnholdCommand(a *app) *cobra.Command {
	return newHold(a, &cobra.Command{
		Use:   "unhold NAME...",
		Short: "Let packages be upgraded again",
		Example: `  # Let jq be upgraded again
  hashpkg unhold jq`,
	}, false)
}

func newHold(a *app, cmd *cobra.Command, hold bool) *cobra.Command {
	fits := isOnHold
	if hold {
		fits = isByName
	}
	cmd.ValidArgsFunction = a.complete(installedNames(fits), noFiles)
	var lock func() sysroot.LockOptions
	cmd.Args = args(cobra.MinimumNArgs(1))
	cmd.RunE = func(c *cobra.Command, names []string) error { return runHold(c.Context(), a, names, hold, lock()) }
	lock = a.waitFlag(cmd, false)
	return cmd
}

func runHold(ctx context.Context, a *app, names []string, hold bool, lock sysroot.LockOptions) error {
	return a.change(ctx, lock, false, func(c transaction.Change) (transaction.Result, error) {
		return transaction.Hold(ctx, c, names, hold)
	})
}
