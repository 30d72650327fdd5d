package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/build/audit"
	"github.com/hashpkg/hashpkg/build/subject"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type auditOptions struct {
	filter     audit.Filter
	ignoreFile string
	libraries  []string
	staged     bool
	sarif      bool
}

func newAuditCommand(a *app) *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use:   "audit FILE|DIR|PACKAGE...",
		Short: "Say what of packages, directories or files would not load, and why",
		Long: `Say what of packages, directories or files would not load, and why; and what of them
loads and is unsafe, breaks easily, or goes without a usual protection. Nothing is run
and nothing is changed. What is looked at is

  a file of this machine: an ELF file, or a package;
  a directory: all ELF files in it, where they are. One that has usr or opt, or is made
  for dpkg-deb, is taken for what is to be installed to / (--staged, --staged=false);
  NAME[=VERSION], a package that is installed, privately or by the package manager.

Packages and such directories are looked at as if they were all installed in the root
(--root), over what it has: the loader finds what they bring. It also finds what is in
the trees of the packages that they require, and in --library-dir. Any architecture
will do, if the root, or what is given, has its libraries.

Errors are what would not load. Warnings and notes are the rest; notes are printed with
--verbose. docs/audit.md has all findings by their names. A file for --ignore-file has
a name and a pattern of paths on each line ("no-pie /usr/bin/*", "* /opt/vendor/**"):
what it matches is not reported, and what of it matches nothing is told.

Exit status: 0 no errors, 1 errors were found, or it could not look, 2 wrong use.
--strict makes errors of warnings.`,
		Example: `  # A package that was just built, and what belongs to it
  hashpkg audit ./libfoo1_1.0_amd64.deb ./foo_1.0_amd64.deb
  # In a build, before it is packed; with libraries of the same source
  hashpkg audit debian/foo --library-dir debian/libfoo1
  # For a review in CI, with what is known
  hashpkg audit --strict --ignore-file .audit-ignore --sarif ./dist > audit.sarif
  # What an installed package, or all programs of the machine, would miss
  hashpkg audit jq
  hashpkg audit /usr/bin
  # One question only
  hashpkg audit --only missing-library,missing-version /opt/vendor`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			var staged *bool
			if c.Flags().Changed("staged") {
				staged = &o.staged
			}
			return runAudit(c.Context(), a, o, staged, names)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.filter.Strict, "strict", false, "make errors of warnings")
	f.StringSliceVar(&o.filter.Ignore, "ignore", nil, "do not report findings named `ID`, with commas between several")
	f.StringSliceVar(&o.filter.Only, "only", nil, "report findings named `ID` only, with commas between several")
	f.StringVar(&o.ignoreFile, "ignore-file", "", "do not report what `FILE` has, a name and a pattern of paths on each line")
	f.StringArrayVar(&o.libraries, "library-dir", nil, "find libraries in `DIR`, or a package, too, without looking at them; may be repeated")
	f.BoolVar(&o.staged, "staged", false, "take directories for what is to be installed to /")
	f.BoolVar(&o.sarif, "sarif", false, "print a log of the SARIF format, 2.1.0, for code review")
	ids := func(*sysroot.Root, []string, string) (list []string) {
		for _, c := range audit.Checks() {
			list = append(list, c.ID)
		}
		return list
	}
	a.completeFlag(cmd, "ignore", ids, noFiles)
	a.completeFlag(cmd, "only", ids, noFiles)
	cmd.ValidArgsFunction = a.complete(installedNames(isAny), orFiles)
	return cmd
}

// auditOutput is the value of hashpkg audit --json.
type auditOutput struct {
	Files    int             `json:"files"` // ELF files that were looked at
	Counts   audit.Counts    `json:"counts"`
	Findings []audit.Finding `json:"findings"`
	Known    int             `json:"known"`  // findings that the file of --ignore-file has
	Unused   []string        `json:"unused"` // its lines that match nothing
	Unread   []string        `json:"unread"` // paths that may not be read
}

func runAudit(ctx context.Context, a *app, o auditOptions, staged *bool, names []string) error {
	if o.sarif && a.json {
		return usageError{errors.New("--sarif and --json exclude each other")}
	}
	for _, list := range [][]string{o.filter.Ignore, o.filter.Only} {
		for _, id := range list {
			if !audit.IsCheck(id) {
				return usageError{advice.Errorf("there is no finding %s; docs/audit.md has their names", id)}
			}
		}
	}
	if o.ignoreFile != "" {
		text, err := os.ReadFile(o.ignoreFile)
		if err != nil {
			return fmt.Errorf("read what is known: %w", err)
		}
		if o.filter.Known, err = audit.ParseKnown(string(text)); err != nil {
			return usageError{fmt.Errorf("read %s: %w", o.ignoreFile, err)}
		}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	defer root.Close() // nothing was written
	progress := a.newProgress()
	defer progress.end()
	read, err := subject.Read(ctx, subject.Options{
		Root: root, Names: names, Libraries: o.libraries, Staged: staged,
		Progress: func(item string, done int) {
			progress.show(transaction.Progress{Step: "reading", Item: visible.Line(item), Done: int64(done), Unit: "files"})
		},
	})
	if err != nil {
		return a.refused(err)
	}
	defer read.World.Close()
	all, err := audit.Run(ctx, read.World, read.Subjects, func(done int) {
		progress.show(transaction.Progress{Step: "looking at", Done: int64(done), Total: int64(read.Files), Unit: "files"})
	})
	if err != nil {
		return err
	}
	progress.end()
	out := auditOutput{Files: read.Files, Unused: []string{}, Unread: append([]string{}, read.Unread...)}
	kept, known, unused := o.filter.Apply(all)
	out.Findings, out.Known, out.Counts = append([]audit.Finding{}, kept...), known, audit.Count(kept)
	for _, k := range unused {
		out.Unused = append(out.Unused, fmt.Sprintf("%s:%d: %s %s", o.ignoreFile, k.Line, k.ID, k.Pattern))
	}
	if err := a.printAudit(&out, o.sarif); err != nil {
		return err
	}
	if out.Counts.Errors > 0 || len(out.Unread) > 0 {
		return errProblems
	}
	return nil
}

func (a *app) printAudit(r *auditOutput, sarif bool) error {
	for _, name := range r.Unread {
		a.complain("hashpkg: %s may not be read by you, and was left out\n", visible.Line(name))
	}
	for _, line := range r.Unused {
		a.notice("note: %s matches nothing; the line can go\n", visible.Line(line))
	}
	switch {
	case a.json:
		return a.printJSON(r)
	case sarif:
		text, err := audit.SARIF(r.Findings, version())
		if err != nil {
			return err
		}
		return a.printExactly(string(text))
	}
	w := a.table()
	out := *a
	out.Out = w
	advised, order := map[string]string{}, []string{}
	for _, f := range r.Findings {
		if f.Level == audit.LevelNote && !a.verbose || f.Level != audit.LevelError && a.quiet {
			continue
		}
		if err := out.printf("%s\t%s\t%s\t%s\n", f.Level, f.ID, visible.Line(f.File), visible.Line(f.What)); err != nil {
			return err
		}
		if advised[f.ID] == "" {
			advised[f.ID] = f.Do
			order = append(order, f.ID)
		}
	}
	if err := w.Flush(); err != nil || a.quiet {
		return err
	}
	if len(order) > 0 {
		if err := a.printf("\nwhat to do:\n"); err != nil {
			return err
		}
	}
	for _, id := range order {
		if err := a.printf("  %s: %s\n", id, advised[id]); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%s looked at: %s, %s, %s", count(r.Files, "ELF file"), count(r.Counts.Errors, "error"), count(r.Counts.Warnings, "warning"), count(r.Counts.Notes, "note"))
	if r.Counts.Notes > 0 && !a.verbose {
		text += " (-v prints them)"
	}
	if r.Known > 0 {
		text += fmt.Sprintf(", %d known", r.Known)
	}
	return a.printf("%s\n", strings.TrimSpace(text))
}
