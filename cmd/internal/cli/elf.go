package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/cmd/internal/elfcmd"
	"github.com/hashpkg/hashpkg/internal/visible"
)

func newElfCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "elf [OPTION]... FILE...",
		Short: "Print and edit what the dynamic loader reads in ELF files",
		Long: `Print and edit what the dynamic loader reads in ELF files. The options up to
--version are patchelf's, with their meanings and output, and the program
patchelf that comes with hashpkg is this command under that name: see docs/elf.md
for the differences. Without any option it says what it knows of each file.

Files are replaced in one step, and only when they change; owner, mode, times,
access control lists, capabilities and other extended attributes stay. Other hard
links of a file keep the old bytes. When one of several files fails, the others
are still done.

Without options it says of a file of a hashpkg tree what install has changed in it, by
its record: names, search path, and which relocations are bound to the file itself.

A value @FILE is what FILE holds. Of an option that is repeated the last one
counts, unless it says otherwise.

Exit status: 0 done, 1 failed or wrong use, as patchelf's.`,
		Example: `  # Say what is known of a file
  hashpkg elf /bin/ls
  # The libraries that it names
  hashpkg elf --print-needed /bin/ls
  # Have two programs search beside themselves, and need one library more
  hashpkg elf --set-rpath '$ORIGIN/../lib' --add-needed libfoo.so.1 prog1 prog2
  # Replace the list of needed libraries, and take that back later
  hashpkg elf --set-needed libb.so,libc.so.6 --save-patch prog.patch prog
  hashpkg elf --undo prog.patch prog
  # For a program
  hashpkg elf --json /bin/ls
  # What install has changed in a file of a tree
  hashpkg elf /var/sys/current-system/bin/jq`,
		DisableFlagParsing:    true, // --replace-needed has two values
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
	}
	cmd.RunE = func(c *cobra.Command, args []string) error { return runElf(c.Context(), a, args, c.Help) }
	f := cmd.Flags()
	for _, option := range elfcmd.Options() {
		if len(option.Values) == 0 {
			f.Bool(option.Name, false, option.Help)
		} else {
			f.Var(namedValue(strings.Join(option.Values, " ")), option.Name, option.Help)
		}
	}
	f.SortFlags = false
	return cmd
}

// namedValue is what an option's value is called in help texts. It implements
// pflag.Value; elfcmd reads the values.
type namedValue string

func (namedValue) String() string   { return "" }
func (namedValue) Set(string) error { return nil }
func (v namedValue) Type() string   { return string(v) }

// MainElf is Main for "hashpkg elf" with what follows it. Programs call it once
// for each of many files, so it makes no command tree unless help is asked for.
func MainElf(args []string, env Env) int {
	a := &app{Env: env}
	return a.exit(runElf(context.Background(), a, args, func() error {
		root := newRootCommand(a)
		root.SetOut(a.Out)
		root.SetArgs([]string{"help", "elf"})
		return root.Execute()
	}), nil)
}

func runElf(ctx context.Context, a *app, args []string, help func() error) error {
	return elfcmd.Run(ctx, "hashpkg", args, elfcmd.Env{Out: a.Out, Err: a.Err, Getenv: a.Getenv, Recorded: recordedOf, Visible: visible.Line}, help)
}
