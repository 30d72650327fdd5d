package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
)

// errProblems says that check found problems, which it has reported.
var errProblems = errors.New("problems found")

func newCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Look whether hashpkg keeps up with the package manager",
		Long: `Look whether hashpkg keeps up with the package manager, and say what to do where
it does not. A hook never makes a package manager fail, so this is where a failure
is seen. It reports

  a hook or a sync that failed;
  packages that came or went since the last sync;
  pins that no program follows;
  hooks that are installed in part;
  a prefix in which others than root could put what programs load.

While dpkg or rpm is at work, what follows from that is no problem. The exit
status is 1 when there is one. Notes name what could not be looked at, which is
more without root, and of fapolicyd and AIDE, where these compare programs with
digests. Files are compared with their records by hashpkg verify.`,
		Example: "  hashpkg check\n  hashpkg check --json",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return runCheck(c.Context(), a) },
	}
}

func runCheck(ctx context.Context, a *app) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	settings, err := a.readConfig()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	result, err := hooks.Check(ctx, hooks.CheckOptions{Root: root, Rewrite: settings.rewrite(), Now: now})
	if err != nil {
		return err
	}
	if err := a.printCheck(result); err != nil {
		return err
	}
	if len(result.Problems) > 0 {
		return errProblems
	}
	return nil
}

func (a *app) printCheck(r *hooks.CheckResult) error {
	if a.json {
		return a.printJSON(r)
	}
	if len(r.AtWork) > 0 {
		a.notice("note: %s is at work; check again when it has ended\n", strings.Join(r.AtWork, " and "))
	}
	for _, n := range r.Notes {
		a.notice("note: %s\n", n)
	}
	for _, p := range r.Problems {
		if err := a.printf("%s; %s\n", p.What, p.Repair); err != nil {
			return err
		}
	}
	if len(r.Problems) == 0 && !a.quiet {
		return a.printf("nothing is wrong\n")
	}
	return nil
}
