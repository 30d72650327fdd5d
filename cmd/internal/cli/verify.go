package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/repair"
	"github.com/hashpkg/hashpkg/transaction/verify"
)

type verifyOptions struct {
	all, system, repair, dryRun, offline bool
	from                                 []string
	lock                                 func() sysroot.LockOptions
}

func newVerifyCommand(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [NAME[=VERSION]...] | verify --all | verify --system [PACKAGE...] | verify --repair [--system] [--from FILE|DIR]... [NAME[=VERSION]...]",
		Short: "Read every file again and compare it with its record",
		Long: `Read every file that is in use again, or those of the packages named, and compare
names, bytes, modes, owners and links with the manifests. An edited file is proved
to be the packaged bytes and the recorded edit, nothing else.

In use are the trees of the active generation, those that pins and edited programs
of the system lead to, and what these are bound to. A version that is named may be
any that the store has. With --all, every tree and every file in the store is read,
those of old generations and those that nothing uses included.

With --system, read the files of the package managers' packages and compare them
with the digests in the databases. They are of three classes: as packaged; edited
by hashpkg, which is proved by undoing the recorded edit; and altered by somebody
else.

With --repair, verify the whole store, with all its generations, and mend what is
damaged or missing: from another copy in the store, from the distribution's own
file, from the package files that --from names, a .deb or .rpm or a directory of
them, or from the package itself, which is fetched from the release that it came from,
or with --offline is not. What takes a place has the recorded digest. Links and indexes are made again
from the records, and copies of one file are linked again. What cannot be mended,
or belongs to nobody, is moved below .hashpkg/quarantine in the prefix, and what is
lost by that is named, with the programs that it concerns. Which generation shall
be active is not decided where there is a choice. With names, only their trees are
mended, and those that they are bound to.

With --system --repair, mend the installed programs that hashpkg has edited, and the
records of these edits. Their packaged bytes, which the package manager's digest
proves, are taken from another copy on the disk, the packages of --from, or those that
the sources of the machine have; then
the recorded edit is made again. Bytes that are replaced are kept below
.hashpkg/quarantine. For the rest the command of the package manager is named that
brings the files again.

Exit status 3 means that damage, or an altered file, was found; with --repair, that
damage remains. With --dry-run, it is as it would be afterwards. Exit status 5 means that
nothing was found to be damaged, but that there are files which only others, such as root,
may read: they are named.`,
		Example: `  # What is in use
  hashpkg verify
  # One version, for a program
  hashpkg verify jq=1.6-2.1 --json
  # Everything in the store
  hashpkg verify --all
  # The packages of dpkg and rpm
  hashpkg verify --system
  # See what is damaged, and what would become of it
  hashpkg verify --repair --dry-run
  # Repair, from package files where no copy is left
  hashpkg verify --repair --from /var/cache/apt/archives --from ./jq_1.6-2.1_amd64.deb
  # Repair one version
  hashpkg verify --repair jq=1.6-2.1`,
		RunE: func(c *cobra.Command, specs []string) error { return runVerifyCommand(c.Context(), a, o, specs) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "read every tree and every file in the store, used or not")
	f.BoolVar(&o.system, "system", false, "verify the files of the system's packages")
	f.BoolVar(&o.repair, "repair", false, "mend what is damaged")
	f.StringArrayVar(&o.from, "from", nil, "mend from the package `FILE`, or those in the directory (may be repeated)")
	f.BoolVar(&o.offline, "offline", false, "fetch no packages to mend from")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what --repair would do and change nothing")
	cmd.ValidArgsFunction = a.complete(storedNames, noFiles)
	o.lock = a.waitFlag(cmd, true)
	cmd.MarkFlagsMutuallyExclusive("all", "system")
	cmd.MarkFlagsMutuallyExclusive("all", "repair")
	return cmd
}

func runVerifyCommand(ctx context.Context, a *app, o verifyOptions, specs []string) error {
	switch {
	case !o.repair && (o.dryRun || o.offline || len(o.from) > 0):
		return usageError{errors.New("--from, --offline and --dry-run go with --repair; see hashpkg help verify")}
	case o.repair:
		return runRepair(ctx, a, o, specs)
	case o.system:
		return runVerifySystem(ctx, a, specs)
	}
	return runVerify(ctx, a, o, specs)
}

func runRepair(ctx context.Context, a *app, o verifyOptions, texts []string) error {
	var specs []query.Spec
	var err error
	if !o.system {
		if specs, err = parseSpecs(texts); err != nil {
			return err
		}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	r, err := a.openRepo(root, sourceFlags{offline: o.offline}, trust.ByKeys)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Locked = !o.dryRun // by the repair
	progress := a.newProgress()
	options := repair.Options{
		Root: root, Specs: specs, From: o.from, Fetch: fetchToRepair(r), DryRun: o.dryRun, Generate: a.Generate, Lock: o.lock(), Now: now, Progress: progress.show,
	}
	var result *repair.Result
	if o.system {
		result, err = repair.System(ctx, options, texts)
	} else {
		result, err = repair.Run(ctx, options)
	}
	progress.end()
	if err == nil && !o.dryRun {
		err = a.settle(root, now)
	}
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(result)
	} else {
		err = a.printRepair(result, o.dryRun)
	}
	if err == nil && len(result.Remaining) > 0 {
		return errDamaged
	}
	return err
}

// fetchToRepair returns what fetches packages for a repair. Where nothing says where they
// come from, or nothing is to be fetched, it goes on without; and after a release could not
// be reached, it does not ask it again.
func fetchToRepair(r *repo.Repo) func(context.Context, repair.WantedPackage) (string, error) {
	unreachable := map[string]bool{}
	return func(ctx context.Context, w repair.WantedPackage) (string, error) {
		if unreachable[w.Release] {
			return "", nil
		}
		file, err := r.PackageFile(ctx, repo.Wanted(w))
		switch {
		case errors.Is(err, repo.ErrNoSource), errors.Is(err, repo.ErrOffline):
			return "", nil
		case err != nil && !errors.Is(err, repo.ErrNoPackageFile):
			unreachable[w.Release] = true
		}
		return file, err
	}
}

// printRepair says what a repair did, or would do, a line each.
func (a *app) printRepair(r *repair.Result, dryRun bool) error {
	would := ""
	if dryRun {
		would = "would be "
	}
	for _, n := range r.Notes {
		a.notice("note: %s\n", n)
	}
	if len(r.Fetched) > 0 {
		a.notice("note: fetched to mend from: %s\n", strings.Join(r.Fetched, ", "))
	}
	for _, d := range r.Done {
		if a.quiet {
			break
		}
		line := fmt.Sprintf("%s: %s; %s%s", d.Path, d.What, would, d.How)
		if d.To != "" {
			line += ", " + d.To
		}
		if err := a.printf("%s\n", line); err != nil {
			return err
		}
	}
	for _, d := range r.Remaining {
		line := fmt.Sprintf("%s: %s; not mended: %s", d.Path, d.What, d.Repair)
		if len(d.Affected) > 0 {
			line += "; it concerns " + strings.Join(d.Affected, ", ")
		}
		if err := a.printf("%s\n", line); err != nil {
			return err
		}
	}
	if a.quiet {
		return nil
	}
	if r.Linked > 0 {
		if err := a.printf("%s %slinked again, %s %sfreed\n", count(r.Linked, "file"), would, a.bytes(r.Saved), would); err != nil {
			return err
		}
	}
	mended := 0
	for _, d := range r.Done {
		if d.Action == repair.Mended {
			mended++
		}
	}
	return a.printf("%s checked, %d %smended, %d %squarantined, %s damaged\n",
		count(r.Checked, "file"), mended, would, len(r.Done)-mended, would, countOf(len(r.Remaining), "remains", "remain"))
}

func runVerifySystem(ctx context.Context, a *app, names []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	verdict, err := verify.System(ctx, root, names, func(done, total int) {
		progress.show(transaction.Progress{Step: "verifying", Done: int64(done), Total: int64(total), Unit: transaction.UnitPackages})
	})
	progress.end()
	if err != nil {
		return err
	}
	return a.printSystemVerdict(verdict)
}

func runVerify(ctx context.Context, a *app, o verifyOptions, texts []string) error {
	if o.all && len(texts) > 0 {
		return usageError{errors.New("expected names, or --all; see hashpkg help verify")}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	specs, err := parseSpecs(texts)
	if err != nil {
		return err
	}
	exists, err := root.Exists()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	report, err := verify.Trees(ctx, root, verify.Options{Specs: specs, All: o.all && exists, Progress: progress.bytes("verifying")})
	progress.end()
	if err != nil {
		return err
	}
	return a.printDamage(report)
}

// parseSpecs takes each NAME[=VERSION] apart.
func parseSpecs(texts []string) ([]query.Spec, error) {
	var specs []query.Spec
	for _, text := range texts {
		spec, err := parseSpec(text)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

func (a *app) printDamage(r *verify.Report) error {
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Damaged {
			if err := a.printf("%s: %s\n", visible.Line(d.Path), d.What); err != nil {
				return err
			}
		}
		if r.Copies > 0 {
			a.notice("note: the store has lost hard links, as a copy of it may: hashpkg verify --repair makes links of %s again, and frees %s\n", count(r.Copies, "file"), a.bytes(r.CopiedBytes))
		}
		if err := a.printUnread(r.Unread); err != nil {
			return err
		}
		if !a.quiet {
			if err := a.printf("%s checked, %d damaged%s\n", count(r.Checked, "file"), len(r.Damaged), notRead(r.Unread)); err != nil {
				return err
			}
		}
	}
	return verdict(len(r.Damaged), r.Unread)
}

// printUnread prints what may not be read, a line each.
func (a *app) printUnread(unread []string) error {
	for _, p := range unread {
		if err := a.printf("%s: may not be read\n", p); err != nil {
			return err
		}
	}
	return nil
}

// notRead ends a line that says what was verified.
func notRead(unread []string) string {
	if len(unread) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d may not be read: root may", len(unread))
}

// verdict returns the error of a verification.
func verdict(damaged int, unread []string) error {
	switch {
	case damaged > 0:
		return errDamaged
	case len(unread) > 0:
		return errPartly
	}
	return nil
}

// printSystemVerdict says how the files of the system's packages stand.
func (a *app) printSystemVerdict(v *verify.SystemVerdict) error {
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		for _, f := range v.Altered {
			if err := a.printf("%s: %s (%s)\n", f.Path, f.What, f.Package); err != nil {
				return err
			}
		}
		for _, r := range v.Records {
			if err := a.printf("%s: %s (%s)\n", r.Path, r.What, r.Package); err != nil {
				return err
			}
		}
		if err := a.printUnread(v.Unread); err != nil {
			return err
		}
		if a.verbose {
			for _, f := range v.Edited {
				if err := a.printf("%s: edited by hashpkg\n", f); err != nil {
					return err
				}
			}
		}
		if !a.quiet {
			line := fmt.Sprintf("%s checked: %d as packaged, %d edited by hashpkg, %d altered by somebody else", count(v.Checked, "file"), v.Pristine, len(v.Edited), len(v.Altered))
			if v.Config > 0 {
				line += fmt.Sprintf("; %d of configuration", v.Config)
			}
			if v.Unknown > 0 {
				line += fmt.Sprintf("; %d without a digest in the database", v.Unknown)
			}
			if err := a.printf("%s%s\n", line, notRead(v.Unread)); err != nil {
				return err
			}
		}
	}
	return verdict(len(v.Altered)+len(v.Records), v.Unread)
}
