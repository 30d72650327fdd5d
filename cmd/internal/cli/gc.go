package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/gc"
)

// keptGenerations is how many of the newest generations gc keeps when nobody says:
// a few changes can be taken back, and a library that was replaced long ago goes.
const keptGenerations = 5

type gcOptions struct {
	keep   int
	dryRun bool
	lock   func() sysroot.LockOptions
}

func newGCCommand(a *app) *cobra.Command {
	var o gcOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove from the store what nothing uses",
		Long: `Remove old generations, then the trees that nothing uses any more, then the
files that no tree has.

Kept are the active generation, the one that it was made from, and the newest
ones, as many as --keep says. A tree is used by a generation that is kept, by a
pin, by an edited program of the system, by a running process, and by what is
bound to it of the trees that are used. Programs that were edited by hand, with
hashpkg elf, do not count, and neither do processes that /proc does not show:
without root these are all processes of others, in a container those outside.

The bytes are those that the disk has free afterwards: a file that still has a
name in another tree, or in the distribution, frees none.`,
		Example: "  hashpkg gc --dry-run\n  hashpkg gc --keep 1",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return runGC(c.Context(), a, o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.keep, "keep", keptGenerations, "keep the newest `N` generations")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be removed and change nothing")
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

func runGC(ctx context.Context, a *app, o gcOptions) error {
	if o.keep < 1 {
		return usageError{fmt.Errorf("--keep %d: want 1 or more", o.keep)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	result, err := gc.Collect(ctx, gc.Options{
		Root: root, Keep: o.keep, DryRun: o.dryRun, Lock: o.lock(), Progress: progress.show,
	})
	progress.end()
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(result)
	}
	return a.printCollected(result, o.dryRun)
}

// printCollected says what gc removed, or would remove.
func (a *app) printCollected(r *gc.Result, dryRun bool) error {
	for _, t := range r.InUse {
		a.notice("note: %s %s stays: process %d uses it\n", t.Name, t.Tree, t.PID)
	}
	if a.quiet {
		return nil
	}
	if dryRun || a.verbose {
		for _, id := range r.Generations {
			if err := a.printf("- generation %d\n", id); err != nil {
				return err
			}
		}
		for _, t := range r.Trees {
			if err := a.printf("- %s %s\n", t.Name, t.Tree); err != nil {
				return err
			}
		}
	}
	if !r.Changes() {
		return a.printf("nothing to do: everything in the store is used\n")
	}
	would := ""
	if dryRun {
		would = "would be "
	}
	return a.printf("%s, %s and %s %sremoved, %d bytes %sfreed\n",
		count(len(r.Generations), "generation"), count(len(r.Trees), "tree"), count(r.Objects, "object"), would, r.Bytes, would)
}

// count returns a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
