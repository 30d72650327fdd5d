package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

func newRemoveCommand(a *app) *cobra.Command {
	var dryRun bool
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "remove NAME[=VERSION]...",
		Short: "Take packages, or one version of each, out of the system",
		Long: `Take packages, or one version of each, out of the system: all that are named, in one
generation, or none. Programs that are bound to their files go on working, and so do
older generations: the trees stay in the store, until hashpkg gc finds that nothing
uses them. What hashpkg conf adopt or hashpkg configure has put into /etc stays, too,
until hashpkg conf drop.

Who still needs a package that is removed is named. What the packages needed stays as well. It is named where nothing else needs it:
hashpkg autoremove takes it out.`,
		Example: `  # One version
  hashpkg remove jq=1.6-2.1
  # The default versions of two packages
  hashpkg remove jq ripgrep
  # See what would change
  hashpkg remove --dry-run jq`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return runRemove(c.Context(), a, given, dryRun, lock())
		},
	}
	dryRunFlag(cmd, &dryRun)
	cmd.ValidArgsFunction = a.complete(installedNames(isPrivate), noFiles)
	lock = a.waitFlag(cmd, false)
	return cmd
}

func runRemove(ctx context.Context, a *app, given []string, dryRun bool, lock sysroot.LockOptions) error {
	specs, err := parseSpecs(given)
	if err != nil {
		return err
	}
	err = a.takeOut(ctx, dryRun, lock, func(c transaction.Change) (transaction.Result, error) {
		return transaction.Remove(ctx, c, specs...)
	})
	if err != nil || dryRun {
		return err
	}
	return a.noteStaying(specs)
}

func newAutoRemoveCommand(a *app) *cobra.Command {
	var dryRun bool
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "autoremove",
		Short: "Take out what only removed packages needed",
		Long: `Take the packages out of the system that came only because others needed them, and
that nothing needs any more. Whatever somebody named, installed from a file, put on hold
or chose stays, and so does what it needs: what its programs and libraries load, what its
packages require or recommend, and what its programs see. What a pin, a freeze, a service
or a program of the system uses stays, too, and what a running process uses, as far as
/proc shows it: without root, not those of others.

Like hashpkg remove it makes a generation, which rollback takes back, and removes nothing
from the store: hashpkg gc does. hashpkg why NAME says what needs a package.`,
		Example: `  # See what would go, and then take it out
  hashpkg autoremove --dry-run
  hashpkg autoremove`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.takeOut(c.Context(), dryRun, lock(), func(change transaction.Change) (transaction.Result, error) {
				return transaction.AutoRemove(c.Context(), change)
			})
		},
	}
	dryRunFlag(cmd, &dryRun)
	lock = a.waitFlag(cmd, false)
	return cmd
}

// takeOut takes packages out of the system, or says what that would change.
func (a *app) takeOut(ctx context.Context, dryRun bool, lock sysroot.LockOptions, f func(transaction.Change) (transaction.Result, error)) error {
	var unneeded []string
	noting := func(c transaction.Change) (transaction.Result, error) {
		result, err := f(c)
		unneeded = result.Unneeded
		return result, err
	}
	err := a.change(ctx, lock, dryRun, noting)
	slices.Sort(unneeded)
	unneeded = slices.Compact(unneeded) // of a version that stands in two trees
	if n := len(unneeded); err == nil && n > 0 && !a.json {
		a.notice("note: nothing else needs %s: hashpkg autoremove takes %s out\n", strings.Join(firstOf(unneeded), ", "), itOrThem(n))
	}
	return err
}

func itOrThem(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// noteStaying says of packages that are not installed any more which files of them stay in
// /etc and /var/lib.
func (a *app) noteStaying(specs []query.Spec) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	c, err := root.Conf()
	if err != nil {
		return err
	}
	noted := map[string]bool{}
	for _, s := range specs {
		if noted[s.Name] || slices.ContainsFunc(g.Trees, func(t record.Tree) bool { return t.Name == s.Name && t.Origin == record.OriginPrivate }) {
			continue
		}
		noted[s.Name] = true
		if n := len(filesFor(c, s.Name)); n > 0 {
			a.notice("note: %s of %s in /etc and /var/lib stay: hashpkg conf drop %s removes those that nobody has changed\n", count(n, "file"), s.Name, s.Name)
		}
	}
	return nil
}

// filesFor returns the files that were copied to /etc, or computed, for a package.
func filesFor(c *record.Conf, name string) []record.ConfFile {
	return slices.DeleteFunc(slices.Clone(c.Files), func(f record.ConfFile) bool { return f.Package != name })
}
