package cli

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/live"
	"github.com/hashpkg/hashpkg/transaction"
)

type syncOptions struct {
	dryRun, again bool
	lock          func() sysroot.LockOptions
}

func newSyncCommand(a *app) *cobra.Command {
	var o syncOptions
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Follow what dpkg or rpm has installed",
		Long: `Make the prefix agree with what dpkg's and rpm's databases say is installed: each
package with libraries gets a tree, which shares the files of the distribution;
current-system leads to the paths of the distribution; and executables are told
to search there, by DT_RUNPATH, as far as the settings allow and the loader finds
the same libraries. Libraries of the distribution are never changed, and neither
are the package managers' records. An older version of a library stays in the
store. Running programs that see a view of /usr are shown the files that have come.

The hooks call this after each transaction (hashpkg help hooks); with nothing to
do it ends at once. No program of the root is run, but for the loader of the
machine's own: --root DIR may be an image of any architecture. With
SOURCE_DATE_EPOCH set, two runs on equal images leave equal images.

hashpkg help settings says how to choose which executables are edited.`,
		Example: `  # Follow the package manager now
  hashpkg sync
  # See which programs would be edited
  hashpkg sync --dry-run
  # In an image; the result is for a program
  hashpkg sync --root ./image --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runSync(c.Context(), a, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done and change nothing")
	f.BoolVar(&o.again, "again", false, "look at every package again, and edit programs that were restored")
	o.lock = a.waitFlag(cmd, true)
	return cmd
}

func runSync(ctx context.Context, a *app, o syncOptions) error {
	debug.SetGCPercent(installGC)
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	settings, err := a.readConfig()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	atWork := ""
	if !a.isImage() {
		atWork = hooks.ProcessAtWork(root)
	}
	progress := a.newProgress()
	result, err := transaction.Sync(ctx, transaction.SyncOptions{
		Root: root, Rewrite: settings.rewrite(), DryRun: o.dryRun, Again: o.again,
		Lock: o.lock(), Now: now, Image: a.isImage(), AtWork: atWork, Generate: a.Generate, Progress: progress.show,
	})
	progress.end()
	if err != nil {
		return err
	}
	if !o.dryRun {
		stale, err := live.Refresh(ctx, root)
		if err != nil {
			a.notice("warning: %v\n", err)
		}
		for _, s := range stale {
			a.notice("note: %s\n", s)
		}
	}
	if a.json {
		return a.printJSON(result)
	}
	return a.printSync(result, o.dryRun)
}

// printSync says what a sync did, or would do.
func (a *app) printSync(r *transaction.SyncResult, dryRun bool) error {
	for _, w := range slices.Concat(r.Warnings, r.Frozen) {
		a.notice("warning: %s\n", w)
	}
	if a.verbose {
		for _, l := range r.Left {
			a.notice("note: %s is left as it is: %s\n", l.Path, l.Sentence())
		}
		for _, o := range r.Outside {
			a.notice("note: %s is not in the farm: it %s\n", o.Path, o.Reason)
		}
	}
	if a.quiet {
		return nil
	}
	if dryRun || a.verbose {
		for _, t := range r.Trees {
			if err := a.printChanged(fmt.Sprintf("+ %s %s", t.Name, layout.VersionText(t.Tree))); err != nil {
				return err
			}
		}
		for _, g := range r.Gone {
			if err := a.printChanged("- " + strings.Replace(g, "=", " ", 1)); err != nil {
				return err
			}
		}
		for _, p := range r.Programs {
			if err := a.printf("  %s: %s\n", p.Path, describeEdits(p.Edits)); err != nil {
				return err
			}
		}
	}
	for _, l := range r.Links {
		if err := a.printf("%s: was lost; put back\n", l); err != nil {
			return err
		}
	}
	if len(r.Trees)+len(r.Gone)+len(r.Programs)+len(r.Links) == 0 && !r.Changed {
		return a.printf("nothing to do: generation %d agrees with the %s of the system\n", r.Generation, count(r.Packages, "package"))
	}
	would := ""
	if dryRun {
		would = "would be "
	}
	err := a.printf("%s %sadded, %d removed, %s edited; generation %d is active\n",
		count(len(r.Trees), "tree"), would, len(r.Gone), count(len(r.Programs), "program"), r.Generation)
	switch {
	case err != nil || dryRun:
		return err
	case len(r.Programs) == 0:
		return a.printf("no program was changed, so there is nothing to undo\n")
	}
	return a.printf("undo: hashpkg restore --all\n")
}

func describeEdits(edits []record.EditRecord) string {
	if len(edits) == 0 {
		return "as packaged"
	}
	var parts []string
	for _, e := range edits {
		parts = append(parts, fmt.Sprintf("%s %s", e.Kind, strings.Join(e.To, " ")))
	}
	return strings.Join(parts, "; ")
}
