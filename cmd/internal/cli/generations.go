package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

func newGenerationsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "generations",
		Short:   "List the generations",
		Example: "  hashpkg generations",
		Args:    args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return runGenerations(a) },
	}
}

type generationOutput struct {
	ID       int       `json:"id"`
	Parent   int       `json:"parent"`
	Time     time.Time `json:"time"`
	Active   bool      `json:"active"`
	Packages int       `json:"packages"`
}

func runGenerations(a *app) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	active, err := root.Active()
	if errors.Is(err, sysroot.ErrNoActive) { // this list is what one needs then
		a.notice("warning: %v\n", err)
		active, err = &record.Generation{}, nil
	}
	if err != nil {
		return err
	}
	ids, err := root.Generations()
	if err != nil {
		return err
	}
	out := []generationOutput{}
	for _, id := range ids {
		g, err := root.Generation(id)
		if err != nil {
			return err
		}
		out = append(out, generationOutput{g.ID, g.Parent, g.Time, g.ID == active.ID, len(g.Trees)})
	}
	if a.json {
		return a.printJSON(map[string]any{"generations": out})
	}
	for _, g := range out {
		mark, parent := "", ""
		if g.Active {
			mark = "  active"
		}
		if g.Parent != 0 {
			parent = fmt.Sprintf(", from %d", g.Parent)
		}
		if err := a.printf("%d  %s  %s%s%s\n", g.ID, g.Time.Format(time.RFC3339), count(g.Packages, "package"), parent, mark); err != nil {
			return err
		}
	}
	return nil
}

func newDiffCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff N M",
		Short: "Show what changed from one generation to another",
		Example: `  # What came and went from generation 1 to 2
  hashpkg diff 1 2`,
		Args: args(cobra.ExactArgs(2)),

		ValidArgsFunction: a.complete(nth(generationNumbers, generationNumbers, nothing), noFiles),
		RunE: func(_ *cobra.Command, given []string) error {
			from, err := parseGeneration(given[0])
			if err != nil {
				return err
			}
			to, err := parseGeneration(given[1])
			if err != nil {
				return err
			}
			return runDiff(a, from, to)
		},
	}
}

func runDiff(a *app, from, to int) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if _, err := root.Exists(); err != nil { // of another layout
		return err
	}
	before, err := root.Generation(from)
	if err != nil {
		return err
	}
	after, err := root.Generation(to)
	if err != nil {
		return err
	}
	changes := record.Diff(before, after)
	if a.json {
		return a.printJSON(map[string]any{"changes": changes})
	}
	for _, c := range changes {
		if err := a.printChanged(c.String()); err != nil {
			return err
		}
	}
	return nil
}
