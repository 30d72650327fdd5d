package cli

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/gc"
)

// keptGenerations is how many of the newest generations gc keeps when nobody says:
// a few changes can be taken back, and a library that was replaced long ago goes.
const keptGenerations = 5

// keptVersions of each package stay for keptSince when nobody says: the way back from
// an upgrade.
const (
	keptVersions = 2
	keptSince    = 30 * 24 * time.Hour
)

type gcOptions struct {
	keep             int
	versions         int
	since, olderThan age
	dryRun           bool
	lock             func() sysroot.LockOptions
}

// age is a time that has passed, as a flag: "30d".
type age time.Duration

// Set implements pflag.Value.
func (v *age) Set(s string) error {
	units := map[string]time.Duration{"w": 7 * 24 * time.Hour, "d": 24 * time.Hour}
	if n := len(s); n > 0 && units[s[n-1:]] != 0 {
		unit := units[s[n-1:]]
		number, err := strconv.ParseUint(s[:n-1], 10, 31)
		if err != nil || time.Duration(number) > math.MaxInt64/unit {
			return advice.Errorf("%q is no time; examples are 30d, 2w and 12h", s)
		}
		*v = age(time.Duration(number) * unit)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return advice.Errorf("%q is no time; examples are 30d, 2w and 12h", s)
	}
	*v = age(d)
	return nil
}

// String implements pflag.Value.
func (v *age) String() string {
	const day = 24 * time.Hour
	if d := time.Duration(*v); d%day != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dd", time.Duration(*v)/day)
}

// Type implements pflag.Value.
func (*age) Type() string { return "time" }

// gcConfig is what gc keeps unless the command line says otherwise.
type gcConfig struct {
	Keep         *int   `toml:"keep"`
	KeepVersions *int   `toml:"keep-versions"`
	KeepSince    string `toml:"keep-since"` // a time, see age; "" for the default
	OlderThan    string `toml:"older-than"`
}

// options returns what the settings keep.
func (c *gcConfig) options() (gcOptions, error) {
	o := gcOptions{keep: keptGenerations, versions: keptVersions, since: age(keptSince)}
	if c.Keep != nil {
		o.keep = *c.Keep
	}
	if c.KeepVersions != nil {
		o.versions = *c.KeepVersions
	}
	for _, t := range []struct {
		name, text string
		to         *age
	}{{"keep-since", c.KeepSince, &o.since}, {"older-than", c.OlderThan, &o.olderThan}} {
		if t.text != "" {
			if err := t.to.Set(t.text); err != nil {
				return o, fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	return o, o.check()
}

// check refuses numbers that mean nothing.
func (o *gcOptions) check() error {
	if o.keep < 1 {
		return fmt.Errorf("keep %d: expected 1 or more", o.keep)
	}
	if o.versions < 0 {
		return fmt.Errorf("keep-versions %d: expected 0 or more", o.versions)
	}
	return nil
}

func newGCCommand(a *app) *cobra.Command {
	o := gcOptions{since: age(keptSince)}
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove from the store what nothing uses",
		Long: `Remove old generations, then the trees that nothing uses any more, then the
files that no tree has.

Kept are the active generation, the one that it was made from, and the newest
ones, as many as --keep says. A tree is used by a generation that is kept, by a
pin, by an edited program of the system, by what hashpkg keep names, by a running process, and by what is
bound to it of the trees that are used. Programs outside of packages, built with
hashpkg env or edited with hashpkg elf, count if hashpkg keep knows them; before libraries
go that such programs may load, a warning names them. What does not count are processes that /proc does not show:
without root these are all processes of others, in a container those outside. A
process uses what it executes, has mapped or open, its directory, and the files
that its arguments name, as of a script.

What one may want to go back to stays as well: of each package and architecture
the --keep-versions versions that were the last to leave the active generation, for
the time --keep-since after they left. With --older-than nothing goes that left
less long ago, whichever version it is. Times are 30d, 2w or 12h; 0 is none.

What the last upgrade replaced stays however long ago that was, while no other
version of the package is there to go back to. With --keep-versions 0 it goes, and a
warning names it.

/etc/hashpkg.toml can say all of this for good, for the timer hashpkg-gc.timer as
well; what the command line says goes before it:

  [gc]
  keep = 5
  keep-versions = 2
  keep-since = "30d"
  older-than = "0"

The bytes are those that the disk has free afterwards: a file that still has a
name in another tree, or in the distribution, frees none.`,
		Example: `  # See what would go
  hashpkg gc --dry-run
  # Keep as little as possible
  hashpkg gc --keep 1 --keep-versions 0
  # Let nothing go that was in use within three months
  hashpkg gc --older-than 90d`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{fmt.Errorf("--%w", err)}
			}
			kept, err := a.gcSettings()
			if err != nil {
				return err
			}
			for name, take := range map[string]func(){
				"keep": func() { o.keep = kept.keep }, "keep-versions": func() { o.versions = kept.versions },
				"keep-since": func() { o.since = kept.since }, "older-than": func() { o.olderThan = kept.olderThan },
			} {
				if !c.Flags().Changed(name) {
					take()
				}
			}
			return runGC(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.keep, "keep", keptGenerations, "keep the newest `N` generations")
	f.IntVar(&o.versions, "keep-versions", keptVersions, "keep the last `N` versions of a package that left")
	f.Var(&o.since, "keep-since", "keep these for the `TIME` after they left")
	f.Var(&o.olderThan, "older-than", "remove only what left longer than the `TIME` ago")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be removed and change nothing")
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

// gcSettings returns what the settings have gc keep.
func (a *app) gcSettings() (gcOptions, error) {
	c, err := a.readConfig()
	if err != nil {
		return gcOptions{}, err
	}
	return c.GC.options()
}

func runGC(ctx context.Context, a *app, o gcOptions) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	result, err := gc.Collect(ctx, gc.Options{
		Root: root, Keep: o.keep, Policy: o.policy(), Now: now, DryRun: o.dryRun, Lock: o.lock(), Generate: a.Generate, Progress: progress.show,
		Warn: func(t gc.TreeReplaced) {
			if a.json { // the result has it
				return
			}
			progress.end()
			a.notice("warning: %s %s goes, which %s has replaced in the last upgrade: no other version stays to go back to; --keep-versions 1 keeps it\n",
				t.Name, layout.VersionText(t.Tree), t.By)
		},
		WarnLinked: func(t gc.TreeName) {
			if a.json { // the result has it
				return
			}
			progress.end()
			goes := "goes"
			if o.dryRun {
				goes = "would go"
			}
			a.notice("warning: %s %s %s: programs that were built with it (hashpkg env), and that hashpkg keep does not know, do not start without it\n",
				t.Name, layout.VersionText(t.Tree), goes)
		},
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

func (o gcOptions) policy() gc.Policy {
	return gc.Policy{Versions: o.versions, Since: time.Duration(o.since), OlderThan: time.Duration(o.olderThan)}
}

// printCollected says what gc removed, or would remove.
func (a *app) printCollected(r *gc.Result, dryRun bool) error {
	for _, t := range r.InUse {
		a.notice("note: %s %s stays: process %d uses it\n", t.Name, layout.VersionText(t.Tree), t.PID)
	}
	for _, name := range r.Gone {
		a.notice("note: %s is not there, and what it loaded stays: hashpkg keep --drop lets it go\n", name)
	}
	if dryRun || a.verbose {
		for _, t := range r.Kept {
			a.notice("note: %s %s stays, to go back to: it was in use until %s\n", t.Name, layout.VersionText(t.Tree), t.Left.Format(time.DateOnly))
		}
	}
	if a.quiet {
		return nil
	}
	for _, id := range r.Generations {
		if err := a.printChanged(fmt.Sprintf("- generation %d", id)); err != nil {
			return err
		}
	}
	for _, t := range r.Trees {
		if err := a.printChanged(fmt.Sprintf("- %s %s", treeOwner(t.Name), layout.VersionText(t.Tree))); err != nil {
			return err
		}
	}
	if !r.Changes() {
		if n := len(r.Kept); n > 0 {
			return a.printf("nothing to do: everything in the store is used, or kept to go back to (%s; --keep-versions)\n", count(n, "tree"))
		}
		return a.printf("nothing to do: everything in the store is used\n")
	}
	would := ""
	if dryRun {
		would = "would be "
	}
	return a.printf("%s, %s and %s %sremoved, %s %sfreed\n",
		count(len(r.Generations), "generation"), count(len(r.Trees), "tree"), count(r.Objects, "object"), would, a.bytes(r.Bytes), would)
}

// treeOwner is what people are told that a tree is of.
func treeOwner(name string) string {
	switch name {
	case layout.ViewName:
		return "view"
	case layout.ClosuresName:
		return "closure object"
	}
	return name
}

// count returns a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
