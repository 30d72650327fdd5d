package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/sysroot"
)

func newHooksCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hooks",
		Short: "Have dpkg call hashpkg, and confined programs read the prefix",
		Long: `Install, remove or show the files by which package managers and confinement know
of hashpkg. The package hashpkg-follow brings them; this is for a machine, or with
--root an image, that the program was copied to (as /usr/bin/hashpkg).

dpkg's hook is post-invoke: after each run that changes packages hashpkg syncs. apt
and its frontends run dpkg. A trigger, which hashpkg-follow has too, needs a package,
and adds nothing here.

rpm calls what packages bring, and nothing else: use hashpkg-follow.

AppArmor: what includes abstractions/base may load libraries from the prefix.
SELinux: the prefix is labeled as /usr/lib is, as semanage fcontext -a -e would
have it. That is needed: trees share the distribution's files, and relabeling the
prefix otherwise would change the label of the system's own libraries.

A hook never makes a package manager fail. What went wrong is kept, and hashpkg
check shows it.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(
		newHooksSubcommand(a, "install [FOR...]", "Install the hooks",
			`Install the hooks that this root has a use for, or those named: "dpkg", "apparmor",
"selinux", "debsums"; or bring them up to date. A file that somebody has changed is
left as it is, and the exit status is 1.

"debsums" is installed when it is named only. It is a program at /usr/sbin/prelink,
which debsums asks for the bytes that a program had before it was changed; this one
answers for programs that hashpkg has edited, after proof that they are the
packaged bytes and the recorded edit. It is refused where something else is at that
path.`, hooks.Install),
		newHooksSubcommand(a, "remove [FOR...]", "Remove the hooks",
			`Remove the hooks, or those named. The trees stay, and so do the programs' edits:
hashpkg restore --all takes those back. A file that somebody has changed is left as
it is, and the exit status is 1.`, hooks.Remove),
		newHooksSubcommand(a, "status", "Show which hooks are installed",
			`Show which hooks are installed, missing, outdated (as another version of hashpkg,
or another prefix, has them) or changed by somebody.`,
			func(root *sysroot.Root, _ []string) (*hooks.InstallStatus, error) { return hooks.Status(root) }),
	)
	return cmd
}

func newHooksSubcommand(a *app, use, short, long string, do func(*sysroot.Root, []string) (*hooks.InstallStatus, error)) *cobra.Command {
	name, _, named := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: "  # On this machine\n  hashpkg hooks " + name + "\n  # In an image\n  hashpkg hooks " + name + " --root ./image",
		RunE: func(_ *cobra.Command, readers []string) error {
			root, err := a.openRoot()
			if err != nil {
				return err
			}
			status, err := do(root, readers)
			if errors.Is(err, hooks.ErrReader) {
				err = usageError{err}
			}
			if status == nil {
				return err
			}
			if perr := a.printHooks(status, name == "status"); perr != nil {
				return perr
			}
			return err
		},
	}
	if !named {
		cmd.Args = args(cobra.NoArgs)
	}
	return cmd
}

// printHooks prints the hooks that there are, or that the root has a use for; or all of them.
func (a *app) printHooks(s *hooks.InstallStatus, all bool) error {
	if a.json {
		return a.printJSON(s)
	}
	for _, n := range s.Notes {
		a.notice("note: %s\n", n)
	}
	if a.quiet {
		return nil
	}
	for _, f := range s.Files {
		state := string(f.State)
		if !f.Needed && f.State == hooks.Missing {
			if !all && !a.verbose {
				continue
			}
			state = "not needed"
		}
		if err := a.printf("%-10s %-8s %s\n", state, f.For, f.Path); err != nil {
			return err
		}
	}
	return nil
}
