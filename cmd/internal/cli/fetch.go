package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/apply"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type fetchOptions struct {
	sourceFlags
	then, signature, program string
	lockTo                   string
	mirrors, keys            []string
	dryRun, allowOlder       bool
	lock                     func() sysroot.LockOptions
}

// What fetch does with what it has fetched.
const (
	thenNothing = "nothing"
	thenInstall = "install"
	thenRun     = "run"
)

func newFetchCommand(a *app) *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "fetch FILE|URL [--then install|run [ARGUMENT]...]",
		Short: "Fetch the files that a closure manifest names, and install or run it",
		Long: `Fetch all files that a closure manifest names (hashpkg manifest), at once, and compare
each with its digest. What the root has already is not fetched: files of its trees, and
packages that apt or hashpkg have fetched. Other files come from the mirrors of --mirror
and of the manifest, in turn, and what none of them has from the packages of the
distributor. What was fetched is there when it is fetched again, after a kill as well.

A manifest has a note beside it, FILE.note, which says who has signed it. With keys in the
settings, or --key, one without their signatures is refused before anything of it is
looked at, and so is one that is older than what was taken from there before.

A manifest may leave the choice of some libraries to the manifests of others, which it
names with their keys (hashpkg manifest --see). These are fetched as well, have to be
signed by those keys, and say which packages have these libraries, and no more. With
--lock all that was picked is written down, for fetching the very same again.

With --then install the packages are installed, in one generation: the very trees of the
machine that the manifest was made on, or nothing. Earlier versions of them, of the same
releases, go: to upgrade is to fetch a newer manifest. With --then run a program of it is
run, as by hashpkg run; what stands behind the manifest is for the program.`,
		Example: `  # Fetch and install
  hashpkg fetch jq.closure --then install
  # From a mirror on the local network
  hashpkg fetch jq.closure --mirror 'http://mirror.lan/objects/{blake3}' --then install
  # Run it, and keep it for a day
  hashpkg fetch --then run jq.closure -- --version
  # On a machine without a network, when all was fetched before
  hashpkg fetch --offline jq.closure --then install`,
		Args: args(func(c *cobra.Command, given []string) error {
			if o.then == thenRun {
				return cobra.MinimumNArgs(1)(c, given)
			}
			return cobra.ExactArgs(1)(c, given)
		}),
		RunE: func(c *cobra.Command, given []string) error { return runFetch(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(nothing, orFiles)
	o.add(a, cmd, thenNothing)
	cmd.Flags().BoolVar(&o.offline, "offline", false, "fetch nothing: use what is there")
	cmd.Flags().StringArrayVar(&o.mirrors, "mirror", nil, "fetch from the mirror with this `ADDRESS` of a file first, with {blake3} or {sha256} in it (may be repeated)")
	return cmd
}

// add adds the flags that say what becomes of a closure.
func (o *fetchOptions) add(a *app, cmd *cobra.Command, then string) {
	f := cmd.Flags()
	f.StringVar(&o.then, "then", then, "do `WHAT` with it: nothing, install or run")
	f.StringVar(&o.program, "program", "", "run the program `NAME` of the package (default: the one that is called like it)")
	f.StringArrayVar(&o.keys, "key", nil, "take a manifest that this public `KEY` has signed, in place of those of the settings (may be repeated: one of them has to sign)")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for manifests and packages without a good signature: require, warn or off (default of manifests: require with keys, else warn)")
	f.BoolVar(&o.allowOlder, "allow-older", false, "take a manifest that is older than the one that was taken from there before")
	f.StringVar(&o.lockTo, "lock", "", "write a manifest to `FILE` that has all packages itself, for the very same trees")
	f.BoolVar(&o.dryRun, "dry-run", false, "with --then install: fetch, print the plan and change nothing else")
	a.completeFlag(cmd, "then", func(*sysroot.Root, []string, string) []string { return []string{thenNothing, thenInstall, thenRun} }, noFiles)
	a.completeFlag(cmd, "signature", policies, noFiles)
	o.lock = a.waitFlag(cmd, false)
}

// fetchOutput is what fetch prints with --json.
type fetchOutput struct {
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
	Fetched  int64    `json:"fetched"`  // bytes that came file by file
	Packages []string `json:"packages"` // NAME=VERSION, of which the distributor's package was fetched
	*installOutput
}

func runFetch(ctx context.Context, a *app, o fetchOptions, given []string) error {
	if err := o.check(); err != nil {
		return err
	}
	return a.fetchClosure(ctx, o, given[1:], func(r *repo.Repo) (*fetchedManifest, error) {
		rules, err := a.manifestRules(o)
		if err != nil {
			return nil, err
		}
		m, proof, err := a.takeManifest(ctx, r, rules, given[0], o.allowOlder)
		if err != nil {
			return nil, err
		}
		sources, end, err := a.sources(ctx, r, m, o)
		return &fetchedManifest{m, given[0], proof, sources, end}, err
	})
}

// check returns an error for options that are wrong.
func (o *fetchOptions) check() error {
	if o.then != thenNothing && o.then != thenInstall && o.then != thenRun {
		return usageError{fmt.Errorf("--then %s: expected %s, %s or %s", o.then, thenNothing, thenInstall, thenRun)}
	}
	if _, err := trust.ParsePolicy(o.signature); err != nil {
		return usageError{fmt.Errorf("--signature: %w", err)}
	}
	for _, t := range o.mirrors {
		if err := closure.CheckTemplate(t); err != nil {
			return usageError{fmt.Errorf("--mirror: %w", err)}
		}
	}
	if o.lockTo == "" {
		return nil
	}
	if o.then == thenNothing {
		return usageError{errors.New("--lock has the trees that are installed: it goes with --then install or run")}
	}
	return closureManifest.check(o.lockTo, "hashpkg fetch --lock")
}

// fetchedManifest is a closure manifest that was read, and where its files are asked for.
type fetchedManifest struct {
	*closure.Manifest
	name    string
	proof   pkginfo.Signature
	sources []objects.Source
	close   func() error // of the sources
}

// fetchClosure brings the files of a closure, and installs or runs it.
func (a *app) fetchClosure(ctx context.Context, o fetchOptions, given []string, read func(*repo.Repo) (*fetchedManifest, error)) (err error) {
	policy, err := trust.ParsePolicy(o.signature)
	if err != nil {
		return usageError{fmt.Errorf("--signature: %w", err)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if o.then == thenRun && !root.IsHost() {
		return usageError{errors.New("--then run starts programs of this machine: it cannot be given --root")}
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	if o.then == thenRun && a.terminal() == nil { // the program's output is its own
		a.quiet = true
	}
	r, err := a.openRepo(root, o.sourceFlags, policy)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := read(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	whole, err := a.seeOthers(ctx, r, m.Manifest, o.allowOlder)
	if err != nil {
		return err
	}
	progress := a.newProgress()
	options := apply.Options{
		InstallOptions: repo.InstallOptions{InstallOptions: transaction.InstallOptions{
			Root: root, DryRun: o.dryRun, Choice: record.DefaultHighest, Signature: policy, Lock: o.lock(), Now: now, Generate: a.Generate,
			Progress: progress.show, Begins: limitMemory(root),
		}},
		Repo: r, Manifest: whole.Manifest, Name: m.name, Proof: m.proof, Sources: m.sources, NoInstall: o.then == thenNothing,
		See: m.See, Picked: whole.picked,
	}
	if o.then == thenRun {
		options.Choice, options.Until, options.Run = record.DefaultKeep, now.Add(repo.RunFor), transaction.RunOnce
	}
	result, err := apply.Install(ctx, options)
	progress.end()
	if err != nil {
		if result != nil && result.InstallResult != nil && isProblem(err) {
			a.warnOf(result.Plan)
		}
		return err
	}
	if o.lockTo != "" {
		if err := writeLock(o.lockTo, result.Locked); err != nil {
			return err
		}
	}
	switch o.then {
	case thenRun:
		return a.runOf(root, m.Manifest, o.program, given)
	case thenInstall:
		return a.finishFetch(ctx, root, result, o, options)
	}
	if a.json {
		return a.printJSON(fetched(result, nil))
	}
	if a.quiet {
		return nil
	}
	return a.printFetched(result)
}

func fetched(result *apply.Result, installed *installOutput) fetchOutput {
	return fetchOutput{result.Files, result.Bytes, result.Fetched, append([]string{}, result.Packages...), installed}
}

func (a *app) printFetched(result *apply.Result) error {
	text := fmt.Sprintf("%s (%s): %s fetched", count(result.Files, "file"), humanSize(result.Bytes), humanSize(result.Fetched))
	if n := len(result.Packages); n > 0 {
		text += fmt.Sprintf(", and %s of the distributor", count(n, "package"))
	}
	return a.printf("%s\n", text)
}

// finishFetch says what was installed, as install does.
func (a *app) finishFetch(ctx context.Context, root *sysroot.Root, result *apply.Result, o fetchOptions, options apply.Options) error {
	if a.json && o.dryRun {
		return a.printJSON(fetched(result, &installOutput{result.Plan, result.Generation, result.Changed}))
	}
	if o.dryRun {
		return errors.Join(a.printInstall(result.InstallResult, true), nil)
	}
	if a.json {
		out := fetched(result, &installOutput{result.Plan, result.Generation, result.Changed})
		return a.finishInstallAs(ctx, root, result.InstallResult, installOptions{lock: o.lock}, options.Now, out)
	}
	var err error
	if !a.quiet {
		err = a.printFetched(result)
	}
	return errors.Join(err, a.finishInstall(ctx, root, result.InstallResult, installOptions{lock: o.lock}, options.Now))
}

func isAddress(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "file://")
}

// sources returns where files are asked for, in this order. The caller closes them.
func (a *app) sources(ctx context.Context, r *repo.Repo, m *closure.Manifest, o fetchOptions) (sources []objects.Source, end func() error, err error) {
	if o.offline {
		return nil, func() error { return nil }, nil
	}
	dir, err := r.ObjectsDir(ctx)
	if err != nil {
		return nil, nil, err
	}
	mirrors := objects.NewMirrors(objects.MirrorOptions{
		Dir: objects.NewDir(dir), Templates: slices.Concat(o.mirrors, m.Mirrors),
		Fetch: r.Fetching(),
	})
	return []objects.Source{mirrors}, func() error {
		mirrors.Close()
		return dir.Close()
	}, nil
}

// runOf runs a program of what a manifest was made of first.
func (a *app) runOf(root *sysroot.Root, m *closure.Manifest, program string, given []string) error {
	g, err := root.Active()
	if err != nil {
		return err
	}
	architecture, err := root.Architecture()
	if err != nil {
		return err
	}
	for i := range g.Trees {
		t := &g.Trees[i]
		for _, p := range m.Architectures[architecture] {
			if !p.Asked || t.Name != p.Name || t.Version != p.Version || t.Origin != record.OriginPrivate {
				continue
			}
			file, err := repo.ProgramOf(t, root.Prefix(), program)
			if err != nil {
				return err
			}
			err = unix.Exec(file, append([]string{path.Base(file)}, given...), os.Environ())
			return fmt.Errorf("run %s: %w", file, err)
		}
	}
	return fmt.Errorf("run: nothing of %s was asked for by name", strings.Join(m.Names, ", "))
}
