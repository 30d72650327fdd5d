package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

func newRollbackCommand(a *app) *cobra.Command {
	dryRun := false
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "rollback [N]",
		Short: "Make an older generation active again",
		Long: `Make generation N active, or without N the last one before the active one that had
other packages of hashpkg's own, or other choices; once more goes further back. It is one
rename; nothing is built anew.

What the system's package manager has installed since is not undone: its packages and
libraries stay as they are, and a generation is made that has them. Those that generation N
had in other versions are named. Pins, frozen programs, and what hashpkg conf adopt and
hashpkg configure have put into /etc stay, too. An older library for programs of the system
is what hashpkg pin is for. To take one change back and keep what came after it, there is
hashpkg undo.`,
		Example: `  # See what would change
  hashpkg rollback --dry-run
  # The generation before
  hashpkg rollback
  # Generation 3
  hashpkg rollback 3`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			id, err := optionalGeneration(given)
			if err != nil {
				return err
			}
			return a.change(c.Context(), lock(), dryRun, func(change transaction.Change) (transaction.Result, error) {
				result, err := transaction.Rollback(c.Context(), change, id)
				if err == nil {
					a.noteStays(change.Root, &result, dryRun)
				}
				return result, err
			})
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(generationNumbers, nothing), noFiles)
	dryRunFlag(cmd, &dryRun)
	lock = a.waitFlag(cmd, false)
	return cmd
}

// noteStays says what a rollback leaves as it is on a system that hashpkg follows.
func (a *app) noteStays(root *sysroot.Root, r *transaction.Result, dryRun bool) {
	const most = 5
	stay := func(n int) string {
		switch {
		case dryRun:
			return "would stay"
		case n == 1:
			return "stays"
		}
		return "stay"
	}
	if n := len(r.Stays); n > 0 {
		var named []string
		pin := ""
		for i := range r.Stays {
			c := &r.Stays[i]
			if i < most || a.verbose {
				named = append(named, c.String())
			}
			if pin == "" && c.Before != "" && c.After != "" {
				pin = fmt.Sprintf("; hashpkg pin has programs load an older library, such as %s=%s", c.Name, c.Before)
			}
		}
		if more := n - len(named); more > 0 {
			named = append(named, fmt.Sprintf("and %d more (-v)", more))
		}
		a.notice("note: %s of the system %s as the package manager has it now: %s%s\n", count(n, "package"), stay(n), strings.Join(named, ", "), pin)
	}
	if pins, err := root.Pins(); err == nil && len(pins) > 0 {
		a.notice("note: %s %s: hashpkg pins lists what is pinned and frozen\n", count(len(pins), "pin"), stay(len(pins)))
	}
}

func newUndoCommand(a *app) *cobra.Command {
	dryRun := false
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "undo [N]",
		Short: "Take back what one generation changed",
		Long: `Take back what generation N changed, or without N what the active one did: packages
that came with it go, those that it removed come back, and choices of versions, holds and
alternatives are what they were. What changed after it stays; a package that was changed
again since is left as it is, with a warning. It makes a new generation, and so hashpkg undo
takes an undo back, too.

Nothing of the system's own packages is undone: that is their package manager's business, as
in apt history-undo or dnf history undo. For a generation in which only these changed
the command fails, and says which one can be undone; so it does when hashpkg gc
has removed the generation before.`,
		Example: `  # See what would change
  hashpkg undo --dry-run
  # Take the last change back
  hashpkg undo
  # All generations, the newest first
  hashpkg history
  # Take the changes of generation 12 back, and keep what came after
  hashpkg undo 12`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			id, err := optionalGeneration(given)
			if err != nil {
				return err
			}
			return a.change(c.Context(), lock(), dryRun, func(change transaction.Change) (transaction.Result, error) {
				return transaction.Undo(c.Context(), change, id)
			})
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(generationNumbers, nothing), noFiles)
	dryRunFlag(cmd, &dryRun)
	lock = a.waitFlag(cmd, false)
	return cmd
}

// optionalGeneration returns the number that was given; 0 for none.
func optionalGeneration(given []string) (int, error) {
	if len(given) == 0 {
		return 0, nil
	}
	return parseGeneration(given[0])
}

func parseGeneration(s string) (int, error) {
	id, err := strconv.Atoi(s)
	if err != nil || id < 1 {
		return 0, usageError{advice.Errorf("%q is not a generation's number; hashpkg history lists them", s)}
	}
	return id, nil
}
