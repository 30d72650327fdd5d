package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/verify"
)

type verifyOptions struct{ all, system bool }

func newVerifyCommand(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [NAME[=VERSION]...] | verify --all | verify --system [PACKAGE...]",
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

Exit status 3 means that damage, or an altered file, was found.`,
		Example: "  hashpkg verify\n  hashpkg verify jq=1.6-2.1 --json\n  hashpkg verify --all\n  hashpkg verify --system",
		RunE: func(c *cobra.Command, specs []string) error {
			if o.system {
				return runVerifySystem(c.Context(), a, specs)
			}
			return runVerify(c.Context(), a, o, specs)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "read every tree and every file in the store, used or not")
	f.BoolVar(&o.system, "system", false, "verify the files of the system's packages")
	cmd.MarkFlagsMutuallyExclusive("all", "system")
	return cmd
}

func runVerifySystem(ctx context.Context, a *app, names []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	verdict, err := verify.System(ctx, root, names, func(done, total int) {
		progress.show(transaction.Progress{Step: "verifying", Done: int64(done), Total: int64(total), Packages: true})
	})
	progress.end()
	if err != nil {
		return err
	}
	return a.printSystemVerdict(verdict)
}

func runVerify(ctx context.Context, a *app, o verifyOptions, texts []string) error {
	if o.all && len(texts) > 0 {
		return usageError{errors.New("want names, or --all; see hashpkg help verify")}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	var specs []query.Spec
	for _, text := range texts {
		spec, err := parseSpec(text)
		if err != nil {
			return err
		}
		specs = append(specs, spec)
	}
	progress := a.newProgress()
	report, err := verify.Trees(ctx, root, verify.Options{Specs: specs, All: o.all, Progress: progress.bytes("verifying")})
	progress.end()
	if err != nil {
		return err
	}
	return a.printDamage(report)
}

func (a *app) printDamage(r *verify.Report) error {
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Damaged {
			if err := a.printf("%s: %s\n", d.Path, d.What); err != nil {
				return err
			}
		}
		if !a.quiet {
			if err := a.printf("%d files checked, %d damaged\n", r.Checked, len(r.Damaged)); err != nil {
				return err
			}
		}
	}
	if len(r.Damaged) > 0 {
		return errDamaged
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
		if a.verbose {
			for _, f := range v.Edited {
				if err := a.printf("%s: edited by hashpkg\n", f); err != nil {
					return err
				}
			}
		}
		if !a.quiet {
			line := fmt.Sprintf("%d files checked: %d as packaged, %d edited by hashpkg, %d altered by somebody else", v.Checked, v.Pristine, len(v.Edited), len(v.Altered))
			if v.Config > 0 {
				line += fmt.Sprintf("; %d of configuration", v.Config)
			}
			if v.Unknown > 0 {
				line += fmt.Sprintf("; %d without a digest in the database", v.Unknown)
			}
			if err := a.printf("%s\n", line); err != nil {
				return err
			}
		}
	}
	if len(v.Altered) > 0 {
		return errDamaged
	}
	return nil
}
