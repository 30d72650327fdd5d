package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type freezeOptions struct {
	refresh, all bool
	lock         func() sysroot.LockOptions
}

func newFreezeCommand(a *app) *cobra.Command {
	var o freezeOptions
	cmd := &cobra.Command{
		Use:   "freeze PROGRAM|PACKAGE... | freeze --refresh [PROGRAM|PACKAGE...]",
		Short: "Bind a program of the system to exactly the libraries that it loads now",
		Long: `Bind a program of the system to exactly the libraries that it loads now, file by file, so
that no upgrade of these changes what it runs on. PROGRAM is a path, or the name of a
package, each of whose programs is frozen by itself. The files are those of the trees that
sync keeps, and stay as long as a program is frozen to them.

Updates of these libraries, SECURITY UPDATES TOO, are not in force for a frozen program
until it is frozen anew: freeze --refresh takes what it would load now, without names for
all that are frozen. hashpkg check, and the sync after an upgrade, tell which programs run
on other versions than those that are installed; hashpkg pins lists what is frozen.

The C library with its loader is not frozen, nor is what a program opens later, such as
plugins: they follow the package manager. A freeze survives upgrades of the program. Where
a new build does not start with the frozen libraries, it goes on without the freeze, and
the sync says so. The freeze ends when the program is removed. It is refused where a pin
would be: see hashpkg help pin.`,
		Example: `  # One program
  hashpkg freeze /usr/sbin/nginx
  # Each program of a package
  hashpkg freeze nginx
  # Take the libraries that are installed now, for all that are frozen
  hashpkg freeze --refresh`,
		RunE: func(c *cobra.Command, names []string) error { return runFreeze(c.Context(), a, o, names) },
	}
	cmd.Flags().BoolVar(&o.refresh, "refresh", false, "freeze to what is loaded now, what is frozen already too")
	cmd.ValidArgsFunction = a.complete(func(root *sysroot.Root, given []string, begun string) []string {
		if o.refresh {
			return frozen(root, given, begun)
		}
		return installedNames(isAny)(root, given, begun)
	}, orFiles)
	o.lock = a.waitFlag(cmd, true)
	return cmd
}

// options turns the arguments of freeze and thaw into a call.
func (o *freezeOptions) options(a *app, names []string) (transaction.FreezeOptions, error) {
	f := transaction.FreezeOptions{Names: names, All: o.all, Refresh: o.refresh, Lock: o.lock()}
	var err error
	if f.Now, err = a.now(); err != nil {
		return f, err
	}
	if f.Root, err = a.openRoot(); err != nil {
		return f, err
	}
	settings, err := a.readConfig()
	f.Rewrite = settings.rewrite()
	return f, err
}

func runFreeze(ctx context.Context, a *app, o freezeOptions, names []string) error {
	o.all = o.refresh && len(names) == 0
	if len(names) == 0 && !o.all {
		return usageError{errors.New("expected programs or packages, or --refresh; see hashpkg help freeze")}
	}
	f, err := o.options(a, names)
	if err != nil {
		return err
	}
	result, err := transaction.Freeze(ctx, f)
	if err != nil {
		return err
	}
	return a.printFreeze(result)
}

func (a *app) printFreeze(r *transaction.FreezeResult) error {
	if a.json {
		return a.printJSON(r)
	}
	for _, w := range r.Warnings {
		a.notice("warning: %s\n", w)
	}
	for _, l := range r.Left {
		a.notice("warning: %s is not frozen: %s\n", l.Path, l.Sentence())
	}
	for i := range r.Frozen {
		if p := &r.Frozen[i]; len(p.Behind) > 0 {
			a.notice("warning: %s\n", p.Warning())
		}
	}
	if a.quiet {
		return nil
	}
	changed := map[string]bool{}
	for _, p := range r.Programs {
		changed[p.Path] = true
	}
	for i := range r.Frozen {
		p := &r.Frozen[i]
		how := "is frozen to"
		if !changed[p.Program] {
			how = "was frozen before, to"
		}
		if err := a.printf("%s %s %s\n", p.Program, how, count(len(p.Files), "file")); err != nil {
			return err
		}
		if err := a.printFrozenFiles(p); err != nil {
			return err
		}
	}
	if len(r.Programs) == 0 {
		return a.printf("nothing to do\n")
	}
	return a.printf("updates of these libraries, security updates too, are not in force there until hashpkg freeze --refresh\n")
}

// printFrozenFiles prints the files of a freeze where more is wanted.
func (a *app) printFrozenFiles(p *transaction.FrozenProgram) error {
	for _, f := range p.Files {
		if !a.verbose {
			break
		}
		if err := a.printf("  %s  %s  (%s)\n", f.Name, f.Path, f.Package); err != nil {
			return err
		}
	}
	return nil
}

func newThawCommand(a *app) *cobra.Command {
	var o freezeOptions
	cmd := &cobra.Command{
		Use:   "thaw PROGRAM|PACKAGE... | thaw --all",
		Short: "Give frozen programs their packaged bytes back",
		Long: `Take back what hashpkg freeze did. The programs have the bytes that their packages
brought, as after hashpkg restore, and load the libraries that are installed. One with pins
follows these again.`,
		Example: `  # One program
  hashpkg thaw /usr/sbin/nginx
  # All of them
  hashpkg thaw --all`,
		RunE: func(c *cobra.Command, names []string) error { return runThaw(c.Context(), a, o, names) },
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "all programs that are frozen")
	cmd.ValidArgsFunction = a.complete(frozen, noFiles)
	o.lock = a.waitFlag(cmd, true)
	return cmd
}

func runThaw(ctx context.Context, a *app, o freezeOptions, names []string) error {
	if o.all == (len(names) > 0) {
		return usageError{errors.New("expected programs or packages, or --all; see hashpkg help thaw")}
	}
	f, err := o.options(a, names)
	if err != nil {
		return err
	}
	busy, err := hooks.AtWork(f.Root)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	f.Alone = err == nil && len(busy) == 0
	result, err := transaction.Thaw(ctx, f)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(result)
	}
	for _, w := range result.Warnings {
		a.notice("warning: %s\n", w)
	}
	for _, l := range result.Left {
		a.notice("warning: %s is left as it is: %s\n", l.Path, l.Sentence())
	}
	if !a.quiet {
		for _, p := range result.Programs {
			how := "has its packaged bytes again"
			if len(p.Pins) > 0 {
				how = "follows its pins"
			}
			if err := a.printf("%s is thawed, and %s\n", p.Path, how); err != nil {
				return err
			}
		}
		if len(result.Programs) == 0 {
			if err := a.printf("no program had to be changed\n"); err != nil {
				return err
			}
		}
	}
	if len(result.Left) > 0 {
		return fmt.Errorf("%w: %s left", errLeft, countOf(len(result.Left), "program was", "programs were"))
	}
	return nil
}

// frozen offers the programs that are frozen.
func frozen(root *sysroot.Root, _ []string, _ string) (words []string) {
	pins, err := root.Pins()
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	for i := range pins {
		if p := &pins[i]; p.Frozen() && !seen[p.Program] {
			seen[p.Program] = true
			words = append(words, p.Program)
		}
	}
	return words
}
