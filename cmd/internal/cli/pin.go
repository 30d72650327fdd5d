package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type pinOptions struct {
	all, force, dryRun bool
	lock               func() sysroot.LockOptions
}

func newPinCommand(a *app) *cobra.Command {
	var o pinOptions
	cmd := &cobra.Command{
		Use:   "pin PROGRAM LIBPACKAGE=VERSION... | pin --all LIBPACKAGE=VERSION...",
		Short: "Make a program of the system load a certain version of a library",
		Long: `Make a program of the system load a certain version of a library, directly or
through other libraries, while everybody else goes on with the current one.
PROGRAM is a path, or the name of a package whose programs are meant. With --all,
every program that loads the library is pinned, those that come later too: the
way back from an upgrade that went wrong, without a downgrade.

The version is one that the store has: one that was installed on the system when
sync ran, or that hashpkg install has put there. A pin survives upgrades of the
program, and keeps its library in the store. It is refused, and nothing is recorded,
when the library is damaged, and when no program can follow it: of one program when
that would not start or cannot be edited, of a package's or all when none can. Those
that cannot are reported. With --dry-run nothing is changed, and the loader is not asked
to try the edited programs: it may still refuse one later.`,
		Example: `  # See whether curl would start with an older library, and have it do so
  hashpkg pin --dry-run /usr/bin/curl libssl3=3.0.11-1~deb12u2
  hashpkg pin /usr/bin/curl libssl3=3.0.11-1~deb12u2
  # All programs that load the library: the way back from a bad upgrade
  hashpkg pin --all libssl3=3.0.11-1~deb12u2`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runPin(c.Context(), a, o, given) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "pin every program that loads the library")
	f.BoolVar(&o.force, "force", false, "pin even where symbol versions do not fit")
	dryRunFlag(cmd, &o.dryRun)
	cmd.ValidArgsFunction = a.complete(func(root *sysroot.Root, given []string, begun string) []string {
		if !o.all && len(given) == 0 {
			return installedNames(isAny)(root, given, begun)
		}
		if strings.Contains(begun, "=") { // what can be pinned is what the store has
			return storedNames(root, given, begun)
		}
		return installedVersions(root, given, begun)
	}, orFiles)
	o.lock = a.waitFlag(cmd, true)
	return cmd
}

// options turns the arguments of pin and unpin into a call.
func (o *pinOptions) options(a *app, given []string) (transaction.PinOptions, error) {
	p := transaction.PinOptions{Program: record.EveryProgram, Specs: given, Force: o.force, DryRun: o.dryRun, Lock: o.lock()}
	if !o.all {
		p.Program, p.Specs = given[0], given[1:]
	}
	var err error
	if p.Now, err = a.now(); err != nil {
		return p, err
	}
	if p.Root, err = a.openRoot(); err != nil {
		return p, err
	}
	settings, err := a.readConfig()
	p.Rewrite = settings.rewrite()
	return p, err
}

func runPin(ctx context.Context, a *app, o pinOptions, given []string) error {
	if !o.all && len(given) < 2 {
		return usageError{errors.New("expected PROGRAM LIBPACKAGE=VERSION, or --all LIBPACKAGE=VERSION; see hashpkg help pin")}
	}
	p, err := o.options(a, given)
	if err != nil {
		return err
	}
	result, err := transaction.AddPins(ctx, p)
	if err != nil {
		return err
	}
	return a.printPins(result, "pinned", o.dryRun)
}

func newUnpinCommand(a *app) *cobra.Command {
	var o pinOptions
	cmd := &cobra.Command{
		Use:   "unpin PROGRAM [LIBPACKAGE[=VERSION]...] | unpin --all [LIBPACKAGE[=VERSION]...]",
		Short: "Let a pinned program load the current library again",
		Long: `Take pins back: those of a program or package as they were given to hashpkg pin,
for the libraries named, or for all of them.`,
		Example: `  # All pins of one program
  hashpkg unpin /usr/bin/curl
  # The pins of a library that were made for all programs
  hashpkg unpin --all libssl3`,
		RunE: func(c *cobra.Command, given []string) error {
			if !o.all && len(given) == 0 {
				return usageError{errors.New("expected a program, or --all; see hashpkg help unpin")}
			}
			p, err := o.options(a, given)
			if err != nil {
				return err
			}
			result, err := transaction.RemovePins(c.Context(), p)
			if err != nil {
				return err
			}
			return a.printPins(result, "no longer pinned", o.dryRun)
		},
	}
	cmd.ValidArgsFunction = a.complete(pinned(&o.all), noFiles)
	cmd.Flags().BoolVar(&o.all, "all", false, "the pins that are for every program")
	dryRunFlag(cmd, &o.dryRun)
	o.lock = a.waitFlag(cmd, true)
	return cmd
}

func (a *app) printPins(r *transaction.PinResult, what string, dryRun bool) error {
	if a.json {
		return a.printJSON(r)
	}
	for _, w := range r.Warnings {
		a.notice("warning: %s\n", w)
	}
	for _, l := range r.Left {
		a.notice("warning: %s is left as it is: %s\n", l.Path, l.Sentence())
	}
	if a.quiet {
		return nil
	}
	is, changed := "is ", "changed"
	if dryRun {
		is, changed = "would be ", "would be changed"
	}
	for _, p := range r.Programs {
		if len(r.Programs) > 10 && !a.verbose {
			break
		}
		line := p.Path + " " + is + what
		for _, tree := range p.Pins {
			line += " " + tree.String()
		}
		if err := a.printf("%s\n", line); err != nil {
			return err
		}
	}
	return a.printf("%s %s\n", count(len(r.Programs), "program"), changed)
}

func newPinsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pins",
		Short: "List the pins and the programs that follow them, and what is frozen",
		Long: `List the pins of the system's programs, and with -v under each the programs that follow it;
then the programs that are frozen, and which of their libraries are installed in other
versions by now.`,
		Example: `  # All of them
  hashpkg pins
  # For a program
  hashpkg pins --json`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			root, err := a.openRoot()
			if err != nil {
				return err
			}
			pins, err := transaction.ListPins(root)
			if err != nil {
				return err
			}
			frozen, err := transaction.ListFrozen(root)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"pins": pins, "frozen": append([]transaction.FrozenProgram{}, frozen...)})
			}
			if len(pins)+len(frozen) == 0 {
				a.notice("nothing is pinned\n")
			}
			for _, p := range pins {
				program := p.Program
				if program == record.EveryProgram {
					program = "every program"
				}
				since := ""
				if p.Since != "" {
					since = ", since " + strings.SplitN(p.Since, "T", 2)[0]
				}
				if p.Installed != "" {
					since += "; installed is " + p.Installed
				}
				if err := a.printf("%s: %s (%s)%s\n", program, p.Spec(), count(len(p.Programs), "program"), since); err != nil {
					return err
				}
				if !a.verbose {
					continue
				}
				for _, path := range p.Programs {
					if err := a.printf("  %s\n", path); err != nil {
						return err
					}
				}
			}
			for i := range frozen {
				if err := a.printFrozen(&frozen[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) printFrozen(p *transaction.FrozenProgram) error {
	state := ""
	switch {
	case p.Lost != "":
		state = ", which are not all there: " + p.Lost
	case !p.InForce:
		state = ", which is not in force: see hashpkg check"
	case len(p.Behind) > 0:
		state = "; behind what is installed: " + p.Text()
	}
	if err := a.printf("%s: frozen to %s%s\n", p.Program, count(len(p.Files), "file"), state); err != nil {
		return err
	}
	return a.printFrozenFiles(p)
}
