package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/similar"
)

// aliasesOf returns the other names of a command, by which other tools call what it does.
func aliasesOf(name string) []string {
	switch name {
	case "list":
		return []string{"ls"}
	case "remove":
		return []string{"rm"}
	case "show":
		return []string{"info"}
	}
	return nil
}

// args wraps a check of positional arguments so that a failure is wrong use.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		switch {
		case check(c, given) == nil:
			return nil
		case c.HasSubCommands() && len(given) > 0 && check(c, given[:1]) != nil:
			return unknownCommand(c, given[0])
		case canTakeMore(check, c, given):
			return usageError{advice.Errorf("%s: an argument is missing; usage: %s", nameOf(c), c.UseLine())}
		}
		return usageError{advice.Errorf("%s: %q is an argument too many; usage: %s", nameOf(c), given[len(given)-1], c.UseLine())}
	}
}

// nameOf returns what a command is called behind hashpkg.
func nameOf(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}

// canTakeMore reports whether arguments are wrong because there are too few.
func canTakeMore(check cobra.PositionalArgs, c *cobra.Command, given []string) bool {
	more := slices.Clone(given)
	for range 4 { // more than any command needs
		if more = append(more, "argument"); check(c, more) == nil {
			return true
		}
	}
	return false
}

// unknownCommand says that a command has no such subcommand.
func unknownCommand(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	if question := similar.DidYouMean(name, names); question != "" {
		return usageError{advice.Errorf("there is no command %q of %s; %s", name, c.CommandPath(), question)}
	}
	if !c.HasSubCommands() {
		return usageError{advice.Errorf("%s has no commands, and %q would be one; see %[1]s --help", c.CommandPath(), name)}
	}
	return usageError{advice.Errorf("there is no command %q of %s; %[2]s --help lists them", name, c.CommandPath())}
}

// newHelpCommand returns the command help. Cobra's own prints the page of another command
// for one that is not there, and succeeds.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print the help of a command",
		Long:  "Print the help of hashpkg, or of a command.",
		Example: `  hashpkg help install
  hashpkg help hooks install`,
		ValidArgsFunction: func(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			of, rest, err := c.Root().Find(given)
			if err != nil || len(rest) > 0 {
				return nil, noFiles
			}
			var words []string
			for _, sub := range of.Commands() {
				if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
					words = append(words, sub.Name()+"\t"+sub.Short)
				}
			}
			return words, noFiles
		},
		RunE: func(c *cobra.Command, given []string) error {
			of := c.Root()
			for _, name := range given {
				i := slices.IndexFunc(of.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name || sub.HasAlias(name) })
				if i < 0 {
					return unknownCommand(of, name)
				}
				of = of.Commands()[i]
			}
			of.InitDefaultHelpFlag() // as when it runs
			return of.Help()
		},
	}
}

// flagError says what is wrong with a flag, without the words of Go.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var lacking *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			return usageError{advice.Errorf("there is no option -%s; see %s --help", name, c.CommandPath())}
		}
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		likeliest := similar.Names(name, names)
		for i := range likeliest {
			likeliest[i] = "--" + likeliest[i]
		}
		if question := similar.Question(likeliest); question != "" {
			return usageError{advice.Errorf("there is no option --%s; %s", name, question)}
		}
		return usageError{advice.Errorf("there is no option --%s; see %s --help", name, c.CommandPath())}
	case errors.As(err, &lacking):
		value, _ := pflag.UnquoteUsage(lacking.GetFlag())
		return usageError{advice.Errorf("--%s needs a value, %s; see %s --help", lacking.GetFlag().Name, value, c.CommandPath())}
	case errors.As(err, &invalid):
		return usageError{advice.Errorf("--%s %s: %v; see %s --help", invalid.GetFlag().Name, cmp.Or(invalid.GetValue(), `""`), invalidValue(invalid), c.CommandPath())}
	}
	return usageError{advice.Errorf("%w; see %s --help", err, c.CommandPath())}
}

// flagGroupError says of flags that exclude each other which were given. Cobra has no type for
// that error, and its text speaks of groups.
func flagGroupError(err error) error {
	if err == nil || !strings.HasPrefix(err.Error(), "if any flags in the group [") {
		return err
	}
	_, given, found := strings.Cut(err.Error(), "; [")
	given, _, closed := strings.Cut(given, "]")
	if !found || !closed {
		return usageError{err}
	}
	names := strings.Fields(given)
	return usageError{fmt.Errorf("--%s exclude each other", strings.Join(names, " and --"))}
}

// invalidValue says what is wrong with the value of a flag.
func invalidValue(invalid *pflag.InvalidValueError) error {
	var number *strconv.NumError
	if !errors.As(invalid, &number) {
		return invalid.Unwrap()
	}
	if invalid.GetFlag().Value.Type() == "bool" {
		return errors.New("expected true or false")
	}
	if errors.Is(number, strconv.ErrRange) {
		return errors.New("it is out of range")
	}
	return errors.New("expected a number")
}

// asksForJSON reports whether the arguments of a command have the flag --json.
func asksForJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json")
}
