package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/shells"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/buildenv"
	"github.com/hashpkg/hashpkg/transaction/query"
)

type envOptions struct {
	tool, shell string
	command     []string
}

func newEnvCommand(a *app) *cobra.Command {
	var o envOptions
	cmd := &cobra.Command{
		Use:   "env PACKAGE[=VERSION]... [-- COMMAND [ARGUMENT]...]",
		Short: "Build programs that are bound to the libraries of packages",
		Long: `Say which environment variables have compilers and build systems use the headers and
libraries of installed packages, in the versions that are named; with COMMAND, run it
so. What comes out of it is bound: it loads that very file of the library, wherever it
runs and whatever else is installed, and asks for no variable any more.

PACKAGE is one with headers, as zlib1g-dev, which hashpkg has installed. What it needs
for building is used, too. Compiler and C library are the machine's: a library that needs
a newer C library is refused.

Without --for, everything is set that changes no default of a tool; what is set
already stays in force behind it. The lines are for eval of the shell.

gcc by itself reads neither CPPFLAGS nor LDFLAGS: they belong on its command line.
docs/env.md has an example of each tool. Of what was built hashpkg knows when hashpkg keep
is told: else the library may go one day, by remove or upgrade and then gc, and the
program does not start.`,
		Example: `  # Get an older zlib, and build with it
  hashpkg install --from bookworm zlib1g-dev
  hashpkg env zlib1g-dev -- make
  # Let nobody remove the library that it loads
  hashpkg keep ./hello
  # Two versions: name one
  hashpkg env zlib1g-dev=1:1.2.13.dfsg-1 -- sh -c 'cmake -B build && cmake --build build'
  # A compiler by itself
  hashpkg env zlib1g-dev -- sh -c 'gcc $CPPFLAGS hello.c -o hello $LDFLAGS -lz'
  # Set the variables in this shell
  eval "$(hashpkg env libxml2-dev libssl-dev)"
  # What cargo needs, with its own flags for rustc
  hashpkg env --for cargo zlib1g-dev -- cargo build`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			if n := c.ArgsLenAtDash(); n >= 0 {
				given, o.command = given[:n], given[n:]
				if len(o.command) == 0 {
					return usageError{errors.New("env: name a command behind --")}
				}
			}
			if len(given) == 0 {
				return usageError{errors.New("env: name a package")}
			}
			return runEnv(a, o, given)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.tool, "for", "", "set what `TOOL` reads: "+words(buildenv.Tools()))
	f.StringVar(&o.shell, "shell", "", "print lines for `SHELL`: bash, zsh, fish or sh (default: sh, which all but fish read)")
	a.completeFlag(cmd, "for", oneOf(buildenv.Tools()...), noFiles)
	names := make([]string, len(shells.All))
	for i, s := range shells.All {
		names[i] = string(s)
	}
	a.completeFlag(cmd, "shell", oneOf(names...), noFiles)
	cmd.ValidArgsFunction = a.complete(nth(installedNames(func(t *record.Tree) bool { return t.Dev })), orFiles)
	return cmd
}

// words returns a list as text: "a, b or c".
func words(list []string) string {
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " or " + list[last]
}

// envOutput is what env prints with --json.
type envOutput struct {
	*buildenv.Environment
	Variables []buildenv.Variable `json:"variables"`
}

func runEnv(a *app, o envOptions, given []string) error {
	if o.tool != "" && !slices.Contains(buildenv.Tools(), o.tool) {
		return usageError{fmt.Errorf("--for %s: expected %s", o.tool, words(buildenv.Tools()))}
	}
	if a.json && len(o.command) > 0 {
		return usageError{errors.New("env: --json prints the variables: it cannot be given with a command")}
	}
	shell := shells.Shell(o.shell)
	if shell == "" {
		shell = shells.SH
	}
	if !slices.Contains(shells.All, shell) {
		return usageError{fmt.Errorf("--shell %s: expected bash, zsh, fish or sh", o.shell)}
	}
	var specs []query.Spec
	for _, text := range given {
		s, err := parseSpec(text)
		if err != nil {
			return err
		}
		specs = append(specs, s)
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if len(o.command) > 0 && !root.IsHost() {
		return usageError{errors.New("env starts programs of this machine: with a command it cannot be given --root")}
	}
	found, err := buildenv.Find(root, specs)
	if err != nil {
		return err
	}
	variables := found.Variables(buildenv.Tool(o.tool), a.Getenv)
	if a.json {
		return a.printJSON(envOutput{found, variables})
	}
	for _, n := range found.Notes {
		a.notice("note: %s\n", n)
	}
	if len(found.Libraries) > 0 {
		a.notice("note: what is built loads files of %s: hashpkg keep FILE has gc leave them\n", strings.Join(firstOf(owners(root, found.Libraries)), ", "))
	}
	if len(o.command) > 0 {
		return execWith(variables, o.command)
	}
	for _, v := range variables {
		if err := a.printExactly(shells.Export(shell, v.Name, v.Value)); err != nil {
			return err
		}
	}
	return nil
}

// owners returns the packages that libraries are of, "NAME VERSION", sorted.
func owners(root *sysroot.Root, list []buildenv.Library) (names []string) {
	for _, l := range list {
		parts := strings.Split(strings.TrimPrefix(l.Path, root.Prefix()+"/"), "/")
		names = append(names, parts[0]+" "+layout.VersionText(parts[1]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reason returns what is behind an error of [exec.LookPath].
func reason(err error) error {
	var failed *exec.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err
}

// execWith executes a command with environment variables. It returns only when that fails.
func execWith(variables []buildenv.Variable, command []string) error {
	file, err := exec.LookPath(command[0])
	if err != nil && strings.Contains(command[0], "/") {
		return fmt.Errorf("run %s: %w", command[0], reason(err))
	}
	if err != nil {
		return fmt.Errorf("run %s: there is no such program in PATH", command[0])
	}
	environment := slices.DeleteFunc(os.Environ(), func(set string) bool {
		return slices.ContainsFunc(variables, func(v buildenv.Variable) bool { return strings.HasPrefix(set, v.Name+"=") })
	})
	for _, v := range variables {
		environment = append(environment, v.Name+"="+v.Value)
	}
	return fmt.Errorf("run %s: %w", command[0], unix.Exec(file, command, environment))
}
