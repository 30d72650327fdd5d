package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

func newOutdatedCommand(a *app) *cobra.Command {
	var o sourceFlags
	cmd := &cobra.Command{
		Use:   "outdated",
		Short: "List packages of which their release has a newer version",
		Long: `List packages that were installed by name and of which the release that they came
from has a newer version. The exit status is 0 whether there are any or not.`,
		Example: `  # What an upgrade would bring
  hashpkg outdated
  # For a program
  hashpkg outdated --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runOutdated(c.Context(), a, o) },
	}
	cmd.Flags().BoolVar(&o.offline, "offline", false, "fetch nothing: use what was fetched before")
	return cmd
}

func runOutdated(ctx context.Context, a *app, o sourceFlags) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	r, err := a.openRepo(root, o, trust.ByKeys)
	if err != nil {
		return err
	}
	defer r.Close()
	list, err := r.Outdated(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	t := a.table(1)
	for _, p := range list {
		mark := ""
		if p.OnHold {
			mark = "on hold"
		}
		fmt.Fprintf(t, "%s\t%s\t%s -> %s\t%s\n", p.Name, p.Release, p.Version, p.Available, mark)
	}
	if len(list) == 0 {
		a.notice("%s\n", nothingNewer(root, func(*record.Tree) bool { return false }))
	}
	return t.Flush()
}

// nothingNewer says why there is nothing to upgrade; isLeft reports whether a package
// is not looked at.
func nothingNewer(root *sysroot.Root, isLeft func(*record.Tree) bool) string {
	byName, left := false, false
	trees(root, func(t *record.Tree) {
		if t.Release != "" {
			byName, left = true, left || isLeft(t)
		}
	})
	switch {
	case !byName:
		return "nothing was installed by name"
	case left:
		return "everything that is not on hold is of the newest version"
	}
	return "everything is of the newest version"
}

type upgradeOptions struct {
	sourceFlags
	dryRun, recommends, allowMissing bool
	signature                        string
	lock                             func() sysroot.LockOptions
}

func newUpgradeCommand(a *app) *cobra.Command {
	var o upgradeOptions
	cmd := &cobra.Command{
		Use:   "upgrade [NAME...]",
		Short: "Install newer versions of packages from the release that each came from",
		Long: `Install the newest versions that its release has of each package that was
installed by name, and of all that it needs; or of the packages that are named.
Programs are bound anew. All of it is one generation, which hashpkg rollback takes
back. What only the old versions needed is in that generation no more. What came because
it is recommended stays, and is upgraded, too. Packages on hold stay.`,
		Example: `  # Everything that was installed by name
  hashpkg upgrade
  # See what would become of one package
  hashpkg upgrade jq --dry-run`,
		RunE: func(c *cobra.Command, names []string) error { return runUpgrade(c.Context(), a, o, names) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would change, and change nothing")
	f.BoolVar(&o.recommends, "recommends", false, "install what packages recommend as well")
	f.BoolVar(&o.offline, "offline", false, "fetch nothing: use what was fetched before")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for packages and indexes without a good signature: require, warn or off")
	allowMissingFlag(f, &o.allowMissing)
	cmd.ValidArgsFunction = a.complete(installedNames(isAskedFor), noFiles)
	a.completeFlag(cmd, "signature", policies, noFiles)
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

// upgradeOutput is what upgrade prints with --json.
type upgradeOutput struct {
	Upgraded   []repo.Upgraded `json:"upgraded"`
	Generation int             `json:"generation"`
	Changed    bool            `json:"changed"`
}

func runUpgrade(ctx context.Context, a *app, o upgradeOptions, names []string) error {
	policy, err := trust.ParsePolicy(o.signature)
	if err != nil {
		return usageError{fmt.Errorf("--signature: %w", err)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	r, err := a.openRepo(root, o.sourceFlags, policy)
	if err != nil {
		return err
	}
	defer r.Close()
	progress := a.newProgress()
	result, err := r.Upgrade(ctx, repo.InstallOptions{
		InstallOptions: transaction.InstallOptions{
			Root: root, DryRun: o.dryRun, AllowMissing: o.allowMissing, Signature: policy, Lock: o.lock(), Now: now, Generate: a.Generate, Progress: progress.show,
			Begins: limitMemory(root),
		},
		Recommends: o.recommends,
	}, names)
	progress.end()
	if err == nil && result.InstallResult != nil && result.Changed {
		a.followConf(ctx, root, o.lock())
		a.followServices(ctx, root, o.lock())
		err = a.settle(root, now)
	}
	if result == nil || err != nil && !isProblem(err) {
		return err
	}
	if result.InstallResult != nil && result.Plan != nil {
		for _, w := range result.Plan.Warnings {
			a.notice("warning: %s\n", w)
		}
	}
	if err != nil {
		return err
	}
	return a.printUpgraded(root, result, o.dryRun)
}

// isProblem reports whether an error says that a plan cannot be resolved: there is one
// all the same.
func isProblem(err error) bool {
	var problems *plan.ProblemsError
	return errors.As(err, &problems)
}

func (a *app) printUpgraded(root *sysroot.Root, result *repo.UpgradeResult, dryRun bool) error {
	out := upgradeOutput{Upgraded: result.Upgraded}
	if result.InstallResult != nil {
		out.Generation, out.Changed = result.Generation, result.Changed
	}
	if a.json {
		return a.printJSON(out)
	}
	if a.quiet {
		return nil
	}
	for _, u := range result.Upgraded {
		text := u.Before + " -> " + u.After
		switch {
		case u.Before == "":
			text = u.After + " (new)"
		case u.After == "":
			text = u.Before + " is not needed any more"
		}
		used := ""
		if len(u.Programs) > 0 {
			used = ", used by " + strings.Join(u.Programs, ", ")
		}
		if err := a.printf("%s %s%s\n", u.Name, text, used); err != nil {
			return err
		}
	}
	switch {
	case len(result.Upgraded) == 0:
		return a.printf("nothing to do: %s\n", nothingNewer(root, isOnHold))
	case dryRun:
		return nil
	}
	return a.printActive(out.Generation, transaction.UndoLast)
}
