package cli

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/transaction/gc"
)

func newDUCommand(a *app) *cobra.Command {
	var sort string
	cmd := &cobra.Command{
		Use:   "du",
		Short: "Say how much of the disk the store takes",
		Long: `Say how much of the disk the store takes, by package and version, by generation,
and in all. Each file counts once, however many names it has, with the blocks that
it takes: the total is what du says of the prefix.

  exclusive     what nothing else in the store has
  shared        with trees of other versions or packages
  distribution  hard links of the distribution's files, which cost nothing extra
                as long as the package manager does not replace them
  reclaimable   what hashpkg gc would free now, as the settings have it

A generation's exclusive size is that of the trees which no other generation has.
On a terminal sizes are rounded (K is 1024 bytes); else they are in bytes.`,
		Example: `  # The packages, the generations, and the sum
  hashpkg du
  # The largest first
  hashpkg du --sort size
  # For a program
  hashpkg du --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runDU(c.Context(), a, sort) },
	}
	cmd.Flags().StringVar(&sort, "sort", "name", "order by `KEY`: name, or size, the largest first")
	a.completeFlag(cmd, "sort", oneOf("name", "size"), noFiles)
	return cmd
}

func runDU(ctx context.Context, a *app, sort string) error {
	if sort != "name" && sort != "size" {
		return usageError{fmt.Errorf("--sort %s: expected name or size", sort)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	usual, err := a.gcSettings()
	if err != nil {
		return err
	}
	space, err := gc.Measure(ctx, gc.SpaceOptions{Root: root, Keep: usual.keep, Policy: usual.policy(), Now: now})
	if err != nil {
		return err
	}
	if sort == "size" {
		space.SortBySize()
	}
	if a.json {
		return a.printJSON(space)
	}
	return a.printSpace(space)
}

func (a *app) printSpace(s *gc.Space) error {
	size := func(n int64) string { return strconv.FormatInt(n, 10) }
	if a.screen.IsTerminal() {
		size = humanSize
	}
	w := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	out := *a
	out.Out = w
	if !a.quiet && len(s.Packages) > 0 {
		if err := out.printf("PACKAGE\tTREE\tEXCLUSIVE\tSHARED\tDISTRIBUTION\tSTATE\n"); err != nil {
			return err
		}
		for _, p := range s.Packages {
			for _, v := range p.Versions {
				state := "kept"
				switch {
				case v.Active:
					state = "active"
				case v.Reclaimable:
					state = "reclaimable"
				}
				if err := out.printf("%s\t%s\t%s\t%s\t%s\t%s\n", treeOwner(p.Name), layout.VersionText(v.Tree), size(v.Exclusive), size(v.Shared), size(v.Distribution), state); err != nil {
					return err
				}
			}
		}
		if err := out.printf("\nGENERATION\tEXCLUSIVE\tRECORDS\tSTATE\n"); err != nil {
			return err
		}
		for _, g := range s.Generations {
			state := "kept"
			if g.Active {
				state = "active"
			}
			if err := out.printf("%d\t%s\t%s\t%s\n", g.ID, size(g.Exclusive), size(g.Records), state); err != nil {
				return err
			}
		}
		if err := out.printf("\n"); err != nil {
			return err
		}
	}
	exclusive := s.Store - s.Shared - s.Unused - s.Records
	for _, line := range []struct {
		what  string
		bytes int64
	}{
		{"exclusive", exclusive},
		{"shared among trees", s.Shared},
		{"unused objects", s.Unused},
		{"records", s.Records},
		{"the store's own", s.Store},
		{"the distribution's", s.Distribution},
		{"total", s.Total},
		{"reclaimable", s.Reclaimable},
	} {
		if err := out.printf("%s\t%s\n", line.what, size(line.bytes)); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// humanSize rounds a number of bytes for people.
func humanSize(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	f, unit := float64(n), -1
	for f >= 1024 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	if f < 10 {
		return fmt.Sprintf("%.1f%c", f, units[unit])
	}
	return fmt.Sprintf("%.0f%c", f, units[unit])
}
