package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// packagesFlag is an option that is for all packages of a command or, with names, for some. It
// implements pflag.Value.
type packagesFlag struct {
	all   bool
	names []string
}

// allPackages is the value of the bare option; no package has that name.
const allPackages = "*"

func (f *packagesFlag) add(a *app, cmd *cobra.Command, name, usage string) {
	cmd.Flags().Var(f, name, usage)
	cmd.Flags().Lookup(name).NoOptDefVal = allPackages
	a.completeFlag(cmd, name, installedNames(isAny), noFiles)
}

func (f *packagesFlag) String() string { return strings.Join(f.names, ",") }
func (f *packagesFlag) Type() string   { return "NAME,..." }

func (f *packagesFlag) Set(text string) error {
	if text == allPackages {
		f.all = true
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if err := layout.CheckName(name); err != nil {
			return fmt.Errorf("expected names of packages, with commas between: %w", err)
		}
		f.names = append(f.names, name)
	}
	return nil
}

// prelocated sets what the options say of all packages, and returns what they say of some.
func (o *installOptions) prelocated(b *record.Binding) (map[string]record.Prelocate, error) {
	if o.prelocate.all && o.noPrelocate.all {
		return nil, errors.New("--prelocate and --no-prelocate are for all packages of a command; --no-prelocate=NAME is for one")
	}
	switch {
	case o.prelocate.all:
		b.Prelocate = record.PrelocateOn
	case o.noPrelocate.all:
		b.Prelocate = record.PrelocateOff
	}
	named := map[string]record.Prelocate{}
	for _, name := range o.prelocate.names {
		if slices.Contains(o.noPrelocate.names, name) {
			return nil, fmt.Errorf("--prelocate=%s contradicts --no-prelocate=%[1]s", name)
		}
		named[name] = record.PrelocateOn
	}
	for _, name := range o.noPrelocate.names {
		named[name] = record.PrelocateOff
	}
	return named, nil
}

// shownRivals is how many rivals are named where there are more.
const shownRivals = 3

// prelocatedText says how much of a file is bound to the file itself, and what is not because of
// whom; whole says by which files, else by which packages.
func prelocatedText(s *record.SelfBound, whole bool) string {
	text := fmt.Sprintf("%s of its own bound, %s left to the loader", count(s.Bound, "symbol"), count(s.Left, "symbol"))
	var by []string
	for _, r := range s.Rivals {
		of := r.Provider
		switch {
		case of == "":
			of = r.Path + " of the system"
		case whole:
			of = r.Path + " of " + of
		}
		by = append(by, fmt.Sprintf("%s (%d)", of, r.Symbols))
	}
	if more := len(by) - shownRivals; more > 0 {
		by = append(by[:shownRivals], fmt.Sprintf("%d more", more))
	}
	if len(by) > 0 {
		text += " because of " + strings.Join(by, ", ")
	}
	return text
}
