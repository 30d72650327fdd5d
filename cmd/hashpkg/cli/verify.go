package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
)

func newVerifyCommand(a *app) *cobra.Command {
	system := false
	cmd := &cobra.Command{
		Use:   "verify [NAME[=VERSION]...] | verify --system [PACKAGE...]",
		Short: "Read every file again and compare it with its record",
		Long: `Read every file of the active generation again, or of the packages named, and
compare names, bytes, modes, owners and links with the manifests. An edited file is
proved to be the packaged bytes and the recorded edit, nothing else.

With --system, read the files of the package managers' packages and compare them
with the digests in the databases. They are of three classes: as packaged; edited
by hashpkg, which is proved by undoing the recorded edit; and altered by somebody
else.

Exit status 3 means that damage, or an altered file, was found.`,
		Example: "  hashpkg verify\n  hashpkg verify jq --json\n  hashpkg verify --system",
		RunE: func(c *cobra.Command, specs []string) error {
			if system {
				return runVerifySystem(c.Context(), a, specs)
			}
			return runVerify(a, specs)
		},
	}
	cmd.Flags().BoolVar(&system, "system", false, "verify the files of the system's packages")
	return cmd
}

func runVerifySystem(ctx context.Context, a *app, names []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	verdict, err := transaction.VerifySystem(ctx, root, names, func(done, total int) {
		progress.show(transaction.Progress{Step: "verifying", Done: int64(done), Total: int64(total), Packages: true})
	})
	progress.end()
	if err != nil {
		return err
	}
	return a.printSystemVerdict(verdict)
}

func runVerify(a *app, specs []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	var trees []*layout.Tree
	for _, spec := range specs {
		t, err := find(g, spec)
		if err != nil {
			return err
		}
		trees = append(trees, t)
	}
	checked, damaged := 0, []store.Damage{}
	if len(specs) == 0 && g.ID != 0 {
		n, links, err := root.VerifyFarm(g)
		if err != nil {
			return err
		}
		checked += n
		for path, what := range links {
			damaged = append(damaged, store.Damage{Kind: store.DamageLink, Path: path, What: what})
		}
		slices.SortFunc(damaged, func(a, b store.Damage) int { return strings.Compare(a.Path, b.Path) })
		for i := range g.Trees {
			trees = append(trees, &g.Trees[i])
		}
	}
	var manifests []*layout.Manifest
	for _, t := range trees {
		m, err := root.Store().Manifest(t.Name, t.Tree)
		if err != nil {
			damaged = append(damaged, store.Damage{Kind: store.DamageManifest, Package: t.Spec(), Tree: t.Path(), Path: root.Store().Path(layout.ManifestPath(t.Name, t.Tree)), What: err.Error()})
			continue
		}
		if m.Identity != t.Identity {
			damaged = append(damaged, store.Damage{Kind: store.DamageManifest, Package: t.Spec(), Tree: t.Path(), Path: root.Store().Path(layout.ManifestPath(t.Name, t.Tree)), What: "is the manifest of another identity"})
		}
		manifests = append(manifests, m)
	}
	progress := a.newProgress()
	n, found, err := root.Store().Verify(manifests, progress.bytes("verifying"))
	progress.end()
	if err != nil {
		return err
	}
	return a.printDamage(checked+n, append(damaged, found...))
}

func (a *app) printDamage(checked int, damaged []store.Damage) error {
	if a.json {
		if err := a.printJSON(map[string]any{"checked": checked, "damaged": damaged}); err != nil {
			return err
		}
	} else {
		for _, d := range damaged {
			if err := a.printf("%s: %s\n", d.Path, d.What); err != nil {
				return err
			}
		}
		if !a.quiet {
			if err := a.printf("%d files checked, %d damaged\n", checked, len(damaged)); err != nil {
				return err
			}
		}
	}
	if len(damaged) > 0 {
		return errDamaged
	}
	return nil
}

// printSystemVerdict says how the files of the system's packages stand.
func (a *app) printSystemVerdict(v *transaction.SystemVerdict) error {
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
