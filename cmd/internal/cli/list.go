package cli

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

func newListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the packages of the active generation",
		Long: `List the packages of the active generation: name, version, architecture, format, the
release that it was installed from by name, whether it is the default, and its tree.`,
		Example: "  hashpkg list\n  hashpkg list --root ./image --json",
		Args:    args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return runList(a) },
	}
}

// packageOutput is one package in the output of list and show.
type packageOutput struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Architecture string         `json:"architecture"`
	Format       pkginfo.Format `json:"format"`
	Origin       record.Origin  `json:"origin"`
	Tree         string         `json:"tree"` // absolute in the root
	Default      bool           `json:"default"`
	Since        int            `json:"installed_at_generation"`
	Release      string         `json:"release"` // "" for what was not installed by name
	Asked        bool           `json:"asked"`   // by name, and not only needed
	OnHold       bool           `json:"on_hold"`
}

func newPackageOutput(root *sysroot.Root, t *record.Tree) packageOutput {
	return packageOutput{
		Name: t.Name, Version: t.Version, Architecture: t.Architecture, Format: t.Format, Origin: t.Origin,
		Tree: root.Prefix() + "/" + t.Path(), Default: t.Default, Since: t.Since,
		Release: t.Release, Asked: t.Asked, OnHold: t.OnHold,
	}
}

func runList(a *app) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	packages := make([]packageOutput, len(g.Trees))
	for i := range g.Trees {
		packages[i] = newPackageOutput(root, &g.Trees[i])
	}
	if a.json {
		return a.printListJSON(root, g, packages)
	}
	w := a.table()
	out := *a
	out.Out = w
	for _, p := range packages {
		mark := ""
		if p.Default {
			mark = "default"
		}
		if p.OnHold {
			mark = strings.TrimPrefix(mark+", on hold", ", ")
		}
		if err := out.printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Version, p.Architecture, p.Format, cmp.Or(p.Release, "-"), mark, p.Tree); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(packages) == 0 {
		a.notice("nothing is installed at %s\n", root.Store().Path("."))
	}
	return nil
}

// listedPackage is one package in the output of list --json. Its signature is in
// the manifest, which list does without otherwise.
type listedPackage struct {
	packageOutput
	Signature pkginfo.Verdict `json:"signature"`
	Signer    string          `json:"signer"`
	Reason    string          `json:"signature_reason"`
}

func (a *app) printListJSON(root *sysroot.Root, g *record.Generation, packages []packageOutput) error {
	listed := make([]listedPackage, len(packages))
	for i, p := range packages {
		file, err := root.Store().PackageFile(g.Trees[i].Name, g.Trees[i].Dir)
		if err != nil {
			return err
		}
		listed[i] = listedPackage{p, file.Verdict, file.Signer, file.Reason}
	}
	return a.printJSON(map[string]any{"packages": listed})
}
