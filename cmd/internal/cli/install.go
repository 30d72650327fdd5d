package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type installOptions struct {
	dryRun, useDefault, noDefault, rebuild bool

	lock             func() sysroot.LockOptions
	keyring          []string
	signature, index string
	maxSize          string
}

func newInstallCommand(a *app) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install FILE...",
		Short: "Put packages into trees of their own",
		Long: `Put packages into trees of their own and bind their programs to the libraries
that fit them: those of the same command first, then what is installed.

Nothing outside the prefix is touched, no script of a package runs, and neither
dpkg's nor rpm's database is involved. Either all packages are installed or none.

A package that unpacks to more than --max-size is refused, and so is what would not
leave a hundredth of the file system free, or 1 GiB of a large one. The default is
64G, or what /etc/hashpkg.toml of the root says:

  [limits]
  max-size = "64G"`,
		Example: `  hashpkg install jq_1.6-2.1_amd64.deb libjq1_1.6-2.1_amd64.deb libonig5_6.9.8-1_amd64.deb
  hashpkg install --root ./image *.deb
  hashpkg install --dry-run --json jq.deb`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, files []string) error { return runInstall(c.Context(), a, o, files) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and change nothing")
	f.BoolVar(&o.useDefault, "default", false, "make these versions the defaults, and keep them when higher versions arrive")
	f.BoolVar(&o.noDefault, "no-default", false, "leave the defaults as they are")
	f.BoolVar(&o.rebuild, "rebuild", false, "accept another build of a version that is installed")
	f.StringArrayVar(&o.keyring, "keyring", nil, "verify signatures of rpms, and of the indexes of debs, with the OpenPGP keys in `FILE` (may be repeated; default: those of the root's rpm and apt)")
	f.StringVar(&o.index, "index", "", "look debs up in the signed indexes of `DIR`, as apt keeps them (default: the root's /var/lib/apt/lists)")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for packages without a good signature: require, warn or off (default: require of rpms with --keyring, else warn)")
	f.StringVar(&o.maxSize, "max-size", "", "refuse a package whose files have more than `SIZE` bytes, such as 500M or 64G, unpacked")
	o.lock = a.waitFlag(cmd, false)
	cmd.MarkFlagsMutuallyExclusive("default", "no-default")
	return cmd
}

// installOutput is what install prints with --json: the plan's own members
// beside these.
type installOutput struct {
	*plan.Plan
	Generation int  `json:"generation"`
	Changed    bool `json:"changed"`
}

// installGC lets the heap of an install grow to three times what is in use before
// it is collected: a third of a small install's time went into collecting, and a
// large one stays below the 300 MB that it may have.
const installGC = 200

// installMemory is where Go begins to collect before the heap has grown so much. A
// package may have a decompressor take more.
const installMemory = 160 << 20

func runInstall(ctx context.Context, a *app, o installOptions, files []string) error {
	debug.SetGCPercent(installGC)
	debug.SetMemoryLimit(installMemory)
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	choice := record.DefaultHighest
	switch {
	case o.useDefault:
		choice = record.DefaultThis
	case o.noDefault:
		choice = record.DefaultKeep
	}
	keyring, policy, err := o.signatures()
	if err != nil {
		return err
	}
	maxSize, err := a.maxSize(o.maxSize)
	if err != nil {
		return err
	}
	progress := a.newProgress()
	result, err := transaction.Install(ctx, transaction.InstallOptions{
		Root: root, Packages: transaction.PackageFiles(files...), DryRun: o.dryRun, Choice: choice, Rebuild: o.rebuild,
		Keyring: keyring, Signature: policy, Index: o.index, MaxSize: maxSize, Lock: o.lock(), Now: now, Progress: progress.show,
	})
	progress.end()
	if err == nil && result.Changed {
		err = a.settle(root, now)
	}
	var problems *plan.ProblemsError
	var size *transaction.SizeError
	switch {
	case errors.As(err, &size):
		return fmt.Errorf("%w: if it is what you want, allow more with --max-size, or with max-size in %s", err, configFile)
	case err != nil && !(errors.As(err, &problems) && result != nil):
		return err
	}
	if a.json {
		return errors.Join(err, a.printJSON(installOutput{result.Plan, result.Generation, result.Changed}))
	}
	for _, w := range result.Plan.Warnings {
		a.notice("warning: %s\n", w)
	}
	if err != nil {
		return err
	}
	return a.printInstall(result, o.dryRun)
}

// maxSize returns the limit that a flag gives, or else the settings; 0 for the default.
func (a *app) maxSize(flag string) (int64, error) {
	if flag != "" {
		n, err := parseSize(flag)
		if err != nil {
			return 0, usageError{fmt.Errorf("--max-size: %w", err)}
		}
		return n, nil
	}
	c, err := a.readConfig()
	if err != nil {
		return 0, err
	}
	return c.Limits.maxSize()
}

// signatures returns the keys and the policy that the flags ask for.
func (o *installOptions) signatures() (*trust.Keyring, trust.Policy, error) {
	policy, err := trust.ParsePolicy(o.signature)
	if err != nil {
		return nil, "", usageError{fmt.Errorf("--signature: %w", err)}
	}
	var keys *trust.Keyring
	for _, path := range o.keyring {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, "", fmt.Errorf("read keyring: %w", err)
		}
		file, err := trust.ParseKeyring(b)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", path, err)
		}
		keys = keys.With(file)
	}
	return keys, policy, nil
}

// printInstall says what was, or would be, installed.
func (a *app) printInstall(result *transaction.InstallResult, dryRun bool) error {
	if a.quiet {
		return nil
	}
	for _, t := range result.Plan.Trees {
		state := "installed"
		switch {
		case t.Present && (dryRun || !result.Changed):
			state = "is there"
		case dryRun:
			state = "would be installed"
		}
		mark := ""
		if t.Default {
			mark = ", the default"
		}
		if err := a.printf("%s %s: %s%s\n", t.Name, t.Version, state, mark); err != nil {
			return err
		}
		if err := a.printTreeDetails(t, dryRun); err != nil {
			return err
		}
	}
	for _, c := range result.Plan.Conflicts {
		a.notice("note: %s is offered by %s and by %v; it leads to the first\n", c.Link, c.Winner, c.Losers)
	}
	switch {
	case dryRun:
		return nil
	case !result.Changed:
		return a.printf("nothing to do: generation %d has all of it\n", result.Generation)
	}
	return a.printf("generation %d is active\n", result.Generation)
}

func (a *app) printTreeDetails(t plan.PlannedTree, dryRun bool) error {
	if len(t.Scripts) > 0 && !t.Present {
		a.notice("note: %s: these scripts of the package do not run: %v\n", t.Name, t.Scripts)
	}
	if !dryRun && !a.verbose {
		return nil
	}
	if err := a.printf("  signed %s\n", signedBy(t.Manifest.Package)); err != nil {
		return err
	}
	for _, e := range t.Edits {
		for _, r := range e.Edits {
			if err := a.printf("  %s: %s %s\n", e.File, r.Kind, fmt.Sprint(r.To)); err != nil {
				return err
			}
		}
	}
	return nil
}
