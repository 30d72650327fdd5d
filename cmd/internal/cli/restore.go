package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// errLeft says that some of what a command was asked for was left, which it has
// reported.
var errLeft = errors.New("not everything was done")

type restoreOptions struct {
	all  bool
	lock func() sysroot.LockOptions
}

func newRestoreCommand(a *app) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore PATH|PACKAGE... | restore --all",
		Short: "Hand back the packaged bytes of edited programs",
		Long: `Hand back the bytes that a package brought to programs that sync has edited in
place, by undoing the recorded edit. They stay so until their package brings
others, or until hashpkg sync --again. Pins of these programs are out of force
meanwhile.

A file that somebody else has changed is left as it is, and the exit status is 1.`,
		Example: `  # One program
  hashpkg restore /usr/bin/curl
  # The programs of a package
  hashpkg restore git
  # All of them, as before hashpkg goes
  hashpkg restore --all`,
		RunE: func(c *cobra.Command, names []string) error { return runRestore(c.Context(), a, o, names) },
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "every program that was edited")
	o.lock = a.waitFlag(cmd, true)
	return cmd
}

func runRestore(ctx context.Context, a *app, o restoreOptions, names []string) error {
	if o.all == (len(names) > 0) {
		return usageError{errors.New("expected paths or packages, or --all; see hashpkg help restore")}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	busy, err := hooks.AtWork(root)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	result, err := transaction.Restore(ctx, transaction.RestoreOptions{
		Root: root, Names: names, All: o.all, Alone: err == nil && len(busy) == 0, Lock: o.lock(),
	})
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else if !a.quiet {
		for _, l := range result.Left {
			a.notice("warning: %s is left as it is: %s\n", l.Path, l.Sentence())
		}
		if err := a.printf("%s again\n", countOf(len(result.Restored), "program has its packaged bytes", "programs have their packaged bytes")); err != nil {
			return err
		}
	}
	if len(result.Left) > 0 {
		return fmt.Errorf("%w: %s left", errLeft, countOf(len(result.Left), "program was", "programs were"))
	}
	return nil
}
