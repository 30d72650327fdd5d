package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type installOptions struct {
	sourceFlags
	locked                                 string
	recommends                             bool
	dryRun, useDefault, noDefault, rebuild bool
	allowMissing, state                    bool

	lock             func() sysroot.LockOptions
	keyring          []string
	signature, index string
	maxSize          string
	bind, runPath    string
	prelocate        packagesFlag
	noPrelocate      packagesFlag
}

func newInstallCommand(a *app) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install NAME|FILE... | install --locked FILE",
		Short: "Put packages into trees of their own",
		Long: `Put packages into trees of their own and bind their programs to the libraries
that fit them: those of the same command first, then what is installed.

A package is named by its name, NAME=VERSION, NAME/SUITE or NAME:ARCHITECTURE, and
comes with everything that it needs from the release that --from names, or from the
machine's own, verified to the release's signature. What only the scripts of packages
need is not installed, for no script runs.

What ends in .deb or .rpm is a file, and so is a path with a slash: ./jq is a file,
and jq a name. Files are installed alone; what they need must be in the same command,
or installed.

A package that is named is refused when, for want of a library, none of its commands
would start, or not the one that is called like the package; and when none of its
libraries could be loaded. With --allow-missing it is installed all the same. Of other
programs that would not start a warning tells: one of many, test data, or a part of
what is there because another package needs it.

Nothing outside the prefix is touched, but with --state, which makes the directories
below /var that the packages have or that their scripts would make. No script of a
package runs, and neither dpkg's nor rpm's database is involved. Either all packages
are installed or none.

With --bind runpath programs are not bound to files: they search in the trees that
have their libraries. With --runpath full a search path also has the directory of the
package, that of its default version and that of current-system. Both are kept by
upgrade, and by an install that does not say otherwise. To go back to a tree that is
there already, add --default.

The loader looks less up when a program starts than it does for the distribution's: what
a program or library asks for and has itself, and nothing else in the root answers, is
bound to it for good. It does the same work, except that a library of LD_PRELOAD does not
take the place of such functions. With --no-prelocate packages are left as they were linked,
which is kept as --bind is, until --prelocate is given. Both can be said
of packages of the command by name, those that come because others need them included:
--no-prelocate=NAME,... holds for upgrade, rebind and a later --prelocate as well, until
--prelocate=NAME,... says otherwise. The = is needed: without it, what follows is a package
to install.

A package that unpacks to more than --max-size is refused, and so is what would not
leave a hundredth of the file system free, or 1 GiB of a large one. The default is
64G, or what /etc/hashpkg.toml of the root says:

  [limits]
  max-size = "64G"`,
		Example: `  # jq of Debian 13, with all that it needs
  hashpkg install --from trixie jq
  # See what would be fetched and made, and for whom
  hashpkg install --from sid --dry-run ffmpeg
  # A package from its file, with the files of what it needs
  hashpkg install jq_1.6-2.1_amd64.deb libjq1_1.6-2.1_amd64.deb libonig5_6.9.8-1_amd64.deb
  # Into an image
  hashpkg install --root ./image *.deb
  # Have jq search for its libraries, in place of loading them by their paths
  hashpkg install --bind runpath --runpath full --from trixie jq
  # Leave what is installed as it was linked
  hashpkg install --no-prelocate --from bookworm ffmpeg
  # The same, of two packages
  hashpkg install --no-prelocate=libssl3,zlib1g --from bookworm curl
  # The plan, for a program
  hashpkg install --dry-run --json jq.deb`,
		Args: args(func(c *cobra.Command, given []string) error {
			if o.locked != "" {
				return cobra.NoArgs(c, given)
			}
			return cobra.MinimumNArgs(1)(c, given)
		}),
		RunE: func(c *cobra.Command, given []string) error { return runInstall(c.Context(), a, o, given) },
	}
	o.sourceFlags.add(a, cmd)
	cmd.ValidArgsFunction = a.complete(a.availableNames(cmd, &o.sourceFlags), orFiles)
	f := cmd.Flags()
	f.StringVar(&o.locked, "locked", "", "install the very trees that the lock `FILE` has")
	f.BoolVar(&o.recommends, "recommends", false, "install what packages recommend as well")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and change nothing")
	f.BoolVar(&o.useDefault, "default", false, "make these versions the defaults, and keep them when higher versions arrive")
	f.BoolVar(&o.noDefault, "no-default", false, "leave the defaults as they are")
	f.BoolVar(&o.rebuild, "rebuild", false, "accept another build of a version that is installed")
	allowMissingFlag(f, &o.allowMissing)
	f.BoolVar(&o.state, "state", false, "make the packages' directories below /var (hashpkg conf drop NAME removes those that are empty)")
	f.StringArrayVar(&o.keyring, "keyring", nil, "verify signatures of rpms, and of the indexes of debs, with the OpenPGP keys in `FILE` (may be repeated; default: those of the root's rpm and apt)")
	f.StringVar(&o.index, "index", "", "look debs up in the signed indexes of `DIR`, as apt keeps them (default: the root's /var/lib/apt/lists)")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for packages without a good signature: require, warn or off (default: require of rpms with --keyring, else warn)")
	f.StringVar(&o.maxSize, "max-size", "", "refuse a package whose files have more than `SIZE` bytes, such as 500M or 64G, unpacked")
	f.StringVar(&o.bind, "bind", "", "`HOW` programs find libraries: absolute, by the path of each, or runpath, by a search (default: absolute)")
	f.StringVar(&o.runPath, "runpath", "", "`WHICH` directories search paths have: minimal, those that can answer, or full (default: minimal)")
	o.prelocate.add(a, cmd, "prelocate", "bind what packages have and ask for themselves for good, so that programs start faster, also where they were installed with --no-prelocate; with names, in these only")
	o.noPrelocate.add(a, cmd, "no-prelocate", "leave packages as they were linked; with names, these, from now on")
	a.completeFlag(cmd, "bind", oneOf(record.BindAbsolute, record.BindRunPath), noFiles)
	a.completeFlag(cmd, "runpath", oneOf(record.RunPathMinimal, record.RunPathFull), noFiles)
	a.completeFlag(cmd, "signature", policies, noFiles)
	o.lock = a.waitFlag(cmd, false)
	cmd.MarkFlagsMutuallyExclusive("default", "no-default")
	cmd.MarkFlagsMutuallyExclusive("locked", "bind")
	cmd.MarkFlagsMutuallyExclusive("locked", "runpath")
	cmd.MarkFlagsMutuallyExclusive("locked", "prelocate")
	cmd.MarkFlagsMutuallyExclusive("locked", "no-prelocate")
	return cmd
}

func allowMissingFlag(f *pflag.FlagSet, to *bool) {
	f.BoolVar(to, "allow-missing", false, "install what would not start as well, and say what is missing")
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

// installMemory is where Go begins to collect before the heap has grown so much, and the
// others what is added for each tree that was installed before, since what views are made
// of is read again, and for each package that comes: where what is in use comes near the
// limit, half of the time goes into collecting. A package may have a decompressor take more.
const (
	installMemory = 100 << 20
	treeMemory    = 256 << 10
	packageMemory = 512 << 10
)

// limitMemory returns what is called before packages are read.
func limitMemory(root *sysroot.Root) func(packages int) {
	return func(packages int) {
		limit := installMemory + packageMemory*int64(packages)
		if g, err := root.Active(); err == nil { // else there is nothing, or the install says what is wrong
			for i := range g.Trees {
				if g.Trees[i].Origin == record.OriginPrivate {
					limit += treeMemory
				}
			}
		}
		debug.SetGCPercent(installGC)
		debug.SetMemoryLimit(limit)
	}
}

func runInstall(ctx context.Context, a *app, o installOptions, given []string) error {
	binding, err := record.ParseBinding(o.bind, o.runPath)
	if err != nil {
		return usageError{err}
	}
	named, err := o.prelocated(&binding)
	if err != nil {
		return usageError{err}
	}
	var files []string
	var requests []repo.Request
	for _, arg := range given {
		if o.locked != "" || isPackageFile(arg) {
			files = append(files, arg)
			continue
		}
		q, err := repo.ParseRequest(arg)
		if err != nil {
			return usageError{err}
		}
		requests = append(requests, q)
	}
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
	r, err := a.openRepo(root, o.sourceFlags, policy)
	if err != nil {
		return err
	}
	defer r.Close()
	progress := a.newProgress()
	options := repo.InstallOptions{
		InstallOptions: transaction.InstallOptions{
			Root: root, Packages: transaction.PackageFiles(files...), DryRun: o.dryRun, Choice: choice, Rebuild: o.rebuild, AllowMissing: o.allowMissing,
			Keyring: keyring, Signature: policy, Index: o.index, MaxSize: maxSize, Binding: binding, Prelocate: named, Lock: o.lock(), Now: now, Generate: a.Generate, Progress: progress.show,
			Begins: limitMemory(root),
		},
		From: o.from, Requests: requests, Recommends: o.recommends,
	}
	var result *repo.InstallResult
	if o.locked != "" {
		result, err = installLocked(ctx, r, options, o.locked)
	} else {
		result, err = r.Install(ctx, options)
	}
	progress.end()
	if err == nil && result.InstallResult != nil && !o.dryRun {
		return a.finishInstall(ctx, root, result.InstallResult, o, now)
	}
	switch {
	case isTooLarge(err):
		return hintOfMaxSize(err)
	case err != nil && (!isProblem(err) || result == nil || result.InstallResult == nil):
		return hintOfFile(err, requests)
	}
	if result.InstallResult == nil { // a dry run, for which nothing was fetched
		return a.printSelection(root, result.Selection)
	}
	if a.json {
		return errors.Join(err, a.printJSON(installOutput{result.Plan, result.Generation, result.Changed}))
	}
	if err != nil {
		a.warnOf(result.Plan)
		return err
	}
	err = a.printInstall(result.InstallResult, true)
	a.noteInstall(result.InstallResult)
	return err
}

// finishInstall follows what was installed, and says what it is: first the packages, then
// all that there is to be noted of them, so that neither hides the other.
func (a *app) finishInstall(ctx context.Context, root *sysroot.Root, result *transaction.InstallResult, o installOptions, now time.Time) error {
	return a.finishInstallAs(ctx, root, result, o, now, installOutput{result.Plan, result.Generation, result.Changed})
}

// finishInstallAs is finishInstall for a command that prints another value with --json.
func (a *app) finishInstallAs(ctx context.Context, root *sysroot.Root, result *transaction.InstallResult, o installOptions, now time.Time, value any) error {
	var errs []error // what is installed is followed all the same
	if a.json {
		errs = append(errs, a.printJSON(value))
	} else {
		errs = append(errs, a.printInstall(result, false))
	}
	if o.state {
		errs = append(errs, a.makeState(ctx, root, result.Plan.Trees, o.lock()))
	}
	if result.Changed {
		a.followConf(ctx, root, o.lock())
		a.followServices(ctx, root, o.lock())
		errs = append(errs, a.noteLacking(ctx, root, result.Plan.Trees), a.noteUnmade(root, result.Plan.Trees), a.settle(root, now))
	}
	if !a.json {
		a.noteForeign(root, result.Plan.Trees)
		a.noteInstall(result)
		if result.Changed {
			a.notePath(root, result)
		}
	}
	return errors.Join(errs...)
}

// installLocked installs what a lock file has.
func installLocked(ctx context.Context, r *repo.Repo, o repo.InstallOptions, file string) (*repo.InstallResult, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read lock file: %w", err)
	}
	lock, err := repo.ReadLockFile(file, text)
	if err != nil {
		return nil, err
	}
	installed, err := r.InstallLocked(ctx, o, file, lock)
	return &repo.InstallResult{InstallResult: installed}, err
}

func isTooLarge(err error) bool {
	var size *transaction.SizeError
	return errors.As(err, &size)
}

// hintOfMaxSize says to an error of a package that is too large what allows more.
func hintOfMaxSize(err error) error {
	return fmt.Errorf("%w: if it is what you want, allow more with --max-size, or with max-size in %s", err, configFile)
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
