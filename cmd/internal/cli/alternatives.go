package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

func newAlternativesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alternatives [NAME]",
		Short: "Show and choose what names such as editor lead to",
		Long: `Show which files the installed packages offer under names that others offer files
for, too, such as editor, php or awk: what their scripts would have registered
with update-alternatives. The star is at the one in force: that which somebody
chose, else that of the highest priority. What is a command is in current-system's
bin. A command that a package has as a file of its own comes before all that was
not chosen.

The packages of the system's own package manager have their alternatives in
/etc/alternatives, and are not among these.`,
		Example: `  # List all names, and what offers a file for each
  hashpkg alternatives
  # What offers an editor
  hashpkg alternatives editor
  # Have nano be the editor, whatever its version
  hashpkg alternatives set editor nano
  # Choose one file
  hashpkg alternatives set php /usr/bin/php8.2
  # Let the highest priority decide again
  hashpkg alternatives auto editor`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error { return runAlternatives(a, given) },
	}
	cmd.ValidArgsFunction = a.complete(nth(alternativeNames, nothing), noFiles)
	cmd.AddCommand(newAlternativesSetCommand(a), newAlternativesAutoCommand(a))
	return cmd
}

func newAlternativesSetCommand(a *app) *cobra.Command {
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "set NAME PACKAGE|PATH",
		Short: "Choose the package or the file that a name leads to",
		Long: `Choose the package that a name leads to, whatever its version, or one file by its
path in its package. The choice is a generation: rollback undoes it. While what was
chosen is not installed, the name leads where it would without the choice.`,
		Example: `  # Have nano be the editor, whatever its version
  hashpkg alternatives set editor nano
  # Choose one file
  hashpkg alternatives set php /usr/bin/php8.2`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, given []string) error {
			return a.change(c.Context(), lock(), false, func(change transaction.Change) (transaction.Result, error) {
				return transaction.ChooseAlternative(c.Context(), change, given[0], given[1])
			})
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(alternativeNames, alternativeCandidates, nothing), noFiles)
	lock = a.waitFlag(cmd, false)
	return cmd
}

func newAlternativesAutoCommand(a *app) *cobra.Command {
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "auto NAME",
		Short: "Let the highest priority decide again",
		Example: `  # Let the highest priority decide again
  hashpkg alternatives auto editor`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return a.change(c.Context(), lock(), false, func(change transaction.Change) (transaction.Result, error) {
				return transaction.FreeAlternative(c.Context(), change, given[0])
			})
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(alternativeNames, nothing), noFiles)
	lock = a.waitFlag(cmd, false)
	return cmd
}

// activeAlternatives returns those of the active generation.
func activeAlternatives(root *sysroot.Root) ([]transaction.Alternative, error) {
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	return transaction.Alternatives(root, g)
}

// alternativeNames offers the names of alternatives.
func alternativeNames(root *sysroot.Root, _ []string, _ string) (words []string) {
	all, err := activeAlternatives(root)
	if err != nil {
		return nil
	}
	for _, alt := range all {
		words = append(words, alt.Name)
	}
	return words
}

// alternativeCandidates offers the packages and files of the alternative that is named
// before.
func alternativeCandidates(root *sysroot.Root, given []string, _ string) (words []string) {
	all, err := activeAlternatives(root)
	if err != nil {
		return nil
	}
	for _, alt := range all {
		for _, c := range alt.Candidates {
			if alt.Name == given[0] {
				words = append(words, c.Manifest.Name, c.Path)
			}
		}
	}
	return words
}

type alternativeOutput struct {
	Name       string                        `json:"name"`
	Link       string                        `json:"link"`
	Package    string                        `json:"package"` // NAME=VERSION
	Path       string                        `json:"path"`
	Why        transaction.AlternativeReason `json:"why"`
	Choice     string                        `json:"choice"`
	Candidates []candidateOutput             `json:"candidates"`
}

type candidateOutput struct {
	Package  string          `json:"package"` // NAME=VERSION
	Path     string          `json:"path"`
	Priority int             `json:"priority"`
	Slaves   []pkginfo.Slave `json:"slaves"`
	InForce  bool            `json:"in_force"`
}

func newAlternativeOutput(alt transaction.Alternative) alternativeOutput {
	out := alternativeOutput{Name: alt.Name, Link: alt.Link, Why: alt.Why, Choice: alt.Choice, Candidates: []candidateOutput{}}
	for i, c := range alt.Candidates {
		one := candidateOutput{c.Manifest.Spec(), c.Path, c.Priority, append([]pkginfo.Slave{}, c.Slaves...), i == alt.InForce}
		if one.InForce {
			out.Package, out.Path = one.Package, one.Path
		}
		out.Candidates = append(out.Candidates, one)
	}
	if alt.File != nil {
		out.Package, out.Path = alt.File.Spec(), alt.Link
	}
	return out
}

func runAlternatives(a *app, names []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	all, err := activeAlternatives(root)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(alt transaction.Alternative) bool { return alt.Name != names[0] })
		if len(all) == 0 {
			return advice.Errorf("%w: %s; hashpkg alternatives lists those that there are", transaction.ErrNoAlternative, names[0])
		}
	}
	out := []alternativeOutput{}
	for _, alt := range all {
		out = append(out, newAlternativeOutput(alt))
	}
	if a.json {
		return a.printJSON(map[string]any{"alternatives": out})
	}
	if len(out) == 0 {
		a.notice("no package offers an alternative\n")
	}
	for _, alt := range out {
		if err := a.printAlternative(alt); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printAlternative(alt alternativeOutput) error {
	text := fmt.Sprintf("%s  %s: %s\n", alt.Name, alt.Link, alt.reason())
	for _, c := range alt.Candidates {
		mark := " "
		if c.InForce {
			mark = "*"
		}
		text += fmt.Sprintf("  %s %d  %s  %s\n", mark, c.Priority, c.Package, c.Path)
		for _, s := range c.Slaves {
			if a.verbose {
				text += fmt.Sprintf("      %s -> %s\n", s.Link, s.Path)
			}
		}
	}
	return a.printf("%s", text)
}

// reason says for people why it is the one in force.
func (o *alternativeOutput) reason() string {
	text := map[transaction.AlternativeReason]string{
		transaction.ByChoice: "was chosen", transaction.ByPriority: "has the highest priority", transaction.AsTheOnly: "is the only one",
		transaction.ByFile: "has a file of that name",
	}[o.Why]
	text = o.Package + " " + text
	if o.Choice != "" && o.Why != transaction.ByChoice {
		text += fmt.Sprintf("; %s was chosen, and is not there", o.Choice)
	}
	return text
}
