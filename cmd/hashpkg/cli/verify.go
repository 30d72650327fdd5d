package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

func newVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [NAME[=VERSION]...]",
		Short: "Read every file again and compare it with its record",
		Long: `Read every file of the active generation again, or of the packages named, and
compare names, bytes, modes and links with the manifests. An edited file is
proved to be the packaged bytes and the recorded edit, nothing else.

Exit status 3 means that damage was found.`,
		Example: "  hashpkg verify\n  hashpkg verify jq --json",
		RunE:    func(_ *cobra.Command, specs []string) error { return runVerify(a, specs) },
	}
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
			damaged = append(damaged, store.Damage{Path: path, What: what})
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
			damaged = append(damaged, store.Damage{Package: t.Spec(), Path: root.Store().Path(layout.ManifestPath(t.Name, t.Tree)), What: err.Error()})
			continue
		}
		if m.Identity != t.Identity {
			damaged = append(damaged, store.Damage{Package: t.Spec(), Path: root.Store().Path(layout.ManifestPath(t.Name, t.Tree)), What: "is the manifest of another identity"})
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
