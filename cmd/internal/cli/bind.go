package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/build"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/sysroot"
)

// bindOptions are the options of bind.
type bindOptions struct {
	rules     string
	libraries []string
	exclude   []string
	dryRun    bool
}

func newBindCommand(a *app) *cobra.Command {
	var o bindOptions
	cmd := &cobra.Command{
		Use:   "bind DIR",
		Short: "Have the programs of a package search the trees, before it is packed",
		Long: `For packagers: bind edits the programs below DIR, the directory that is about to be
packed (debian/PACKAGE, or %{buildroot}), so that they

  - search the libraries of hashpkg's trees after what their authors wrote, by a
    RUNPATH that leads there from where they stand,
    $ORIGIN/../../var/sys/current-system/system/lib64, and
  - say in a note which libraries they were built against, with the BLAKE3 of each
    (docs/note.md).

Where hashpkg is not, they work as before. Libraries stay as they are, and so do
programs that are setuid, setgid or have capabilities, static ones, those of musl,
files of debugging information, kernel modules and firmware: -v, or --json, says why
of each file. Files are edited where they are: names, owners, modes and times stay.
A second call changes nothing.

Call it after debugging information was split off and dependencies were found, and
before checksums are taken; dh_hashpkg does that for debhelper (docs/build.md).

--rules names a file with a rule a line; of several for a file the last runpath counts:

  leave PATTERN                       leave the file as it is
  runpath none|minimal|full PATTERN   search nothing more; search the trees when it
                                      needs a library that is not the C library's
                                      (what is done without a rule); in any case
  note none PATTERN                   no note

A pattern is as of a shell, for the path of a file in the package; a * ends at a slash,
and one that names a directory stands for all that is below it.

Libraries are looked for below DIR, in each --library-dir, and in the machine, or the
root that --root names, in this order.

Exit status: 0 done, 1 failed, or a file could not be edited, 2 wrong use.`,
		Example: `  # What would be done with a package's files
  hashpkg bind --dry-run -v debian/hello
  # Edit them, where a library of the same source is in another package
  hashpkg bind --library-dir debian/libhello1 debian/hello
  # Leave some of them alone
  hashpkg bind --rules debian/hello.hashpkg --exclude 'usr/lib/hello/*' debian/hello
  # For a program
  hashpkg bind --json debian/hello`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return runBind(c.Context(), a, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.rules, "rules", "", "read the rules in `FILE`")
	f.StringArrayVarP(&o.libraries, "library-dir", "l", nil, "look for libraries below `DIR`, the directory of another package of the same source, too; can be repeated")
	f.StringArrayVarP(&o.exclude, "exclude", "X", nil, "leave the files that match `PATTERN`; can be repeated")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and change nothing")
	return cmd
}

func runBind(ctx context.Context, a *app, dir string, o *bindOptions) (err error) {
	policy, err := o.policy()
	if err != nil {
		return err
	}
	if policy.Machine, err = a.openRoot(); err != nil {
		return err
	}
	policy.Prefix = policy.Machine.Prefix()
	roots := []*sysroot.Root{policy.Machine}
	defer func() {
		for _, r := range roots {
			err = errors.Join(err, r.Close())
		}
	}()
	var packages []*sysroot.Root
	for _, name := range append([]string{dir}, o.libraries...) {
		r, err := openPackage(name, policy.Prefix)
		if err != nil {
			return err
		}
		roots, packages = append(roots, r), append(packages, r)
	}
	policy.Packages = packages[1:]
	report, err := build.Bind(ctx, packages[0], policy)
	if err != nil {
		return err
	}
	return a.printBound(dir, o, report)
}

// policy returns what the options ask for. Its roots are the caller's to open.
func (o *bindOptions) policy() (*build.Policy, error) {
	p := &build.Policy{DryRun: o.dryRun}
	for _, text := range o.exclude {
		pattern, err := build.Pattern(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--exclude: %w", err)}
		}
		p.Exclude = append(p.Exclude, pattern)
	}
	if o.rules == "" {
		return p, nil
	}
	text, err := os.ReadFile(o.rules)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	if p.Rules, err = build.ParseRules(string(text)); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", o.rules, err)}
	}
	return p, nil
}

// openPackage opens the directory of a package's files.
func openPackage(dir, prefix string) (*sysroot.Root, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if err == nil {
			err = errors.New("it is not a directory")
		} else if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no such directory")
		}
		return nil, usageError{fmt.Errorf("%s: %w", dir, err)}
	}
	r, err := sysroot.Open(dir, prefix, nil)
	if err != nil {
		return nil, usageError{err}
	}
	return r, nil
}

func (a *app) printBound(dir string, o *bindOptions, report *build.Report) error {
	changed, failed := 0, 0
	for _, f := range report.Files {
		if f.Changed {
			changed++
		}
		if f.Error != "" {
			failed++
			a.complain("hashpkg: %s\n", f.Error)
		}
	}
	for _, w := range report.Warnings {
		a.complain("hashpkg: warning: %s: %s\n", o.rules, w) // builds are quiet, and have to be told
	}
	if a.json {
		if err := a.printJSON(report); err != nil {
			return err
		}
	} else if !a.quiet {
		if a.verbose {
			for i := range report.Files {
				if err := a.printf("%s: %s\n", visible.Line(report.Files[i].Path), boundText(&report.Files[i])); err != nil {
					return err
				}
			}
		}
		done := "edited"
		if o.dryRun {
			done = "would be edited"
		}
		if err := a.printf("%s: %s of %s %s\n", visible.Line(dir), count(changed, "file"), count(len(report.Files), "ELF file"), done); err != nil {
			return err
		}
	}
	if failed > 0 {
		return errReported
	}
	return nil
}

// boundText says what became of a file.
func boundText(f *build.File) string {
	switch {
	case f.Error != "":
		return "failed"
	case f.Left != "":
		return visible.Line(string(f.Left))
	}
	var parts []string
	switch {
	case f.RunPathLeft != "":
		parts = append(parts, "no search path: "+visible.Line(string(f.RunPathLeft)))
	default:
		parts = append(parts, "searches "+visible.Line(f.RunPath))
	}
	switch {
	case f.NoteLeft != "":
		parts = append(parts, "no note: "+visible.Line(string(f.NoteLeft)))
	default:
		var names []string
		for _, b := range f.BuiltAgainst {
			names = append(names, path.Base(b.Path))
		}
		parts = append(parts, "built against "+visible.Line(strings.Join(names, ", ")))
	}
	if len(f.Unresolved) > 0 {
		parts = append(parts, "not found: "+visible.Line(strings.Join(f.Unresolved, ", ")))
	}
	if !f.Changed {
		parts = append(parts, "nothing changes")
	}
	return strings.Join(parts, "; ")
}
