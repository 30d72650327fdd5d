package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/build"
	"github.com/hashpkg/hashpkg/build/convert"
	"github.com/hashpkg/hashpkg/internal/visible"
)

// convertOptions are the options of convert.
type convertOptions struct {
	output      string
	rules       string
	exclude     []string
	suffix      string
	compression string
	author      string
	maxSize     string
	dryRun      bool
}

func newConvertCommand(a *app) *cobra.Command {
	var o convertOptions
	cmd := &cobra.Command{
		Use:   "convert PACKAGE",
		Short: "Make a package again, with programs that search the trees",
		Long: `convert makes a .deb or .rpm again from the file PACKAGE: its programs are edited as
hashpkg bind does it before a package is packed, so that they search the libraries of
hashpkg's trees after what their authors wrote. Where hashpkg is not, they work as
before. They get no note of what they were built against, which nobody knows here.

What follows from the edits changes with them: the version, digests and sizes, and the
changelog, which gets an entry. Everything else stays byte for byte: relations, scripts,
triggers, configuration files, the metadata of files and their order. The result is read
again and compared with the package before it gets its name. The same package and options
give the same bytes; the entry has the time of the package's last change, or that of
SOURCE_DATE_EPOCH.

A package in which there is nothing to edit is copied as it is, with its name and
version: one that was converted before, too. Where it stands already it stays. Refused are source packages and packages of
the installer, that of the C library, rpms of another format than 4, and packages that
unpack to more than --max-size, or max-size below [limits] in /etc/hashpkg.toml (64G).
Signatures are lost, which is said: sign the result.

The new version is newer than the package's, and older than each that its distribution
makes after it: Hashpkg1 is added to the version of a deb, .Hashpkg1 to the release of an
rpm, or --suffix. (+hashpkg1 would be newer than Debian's security updates, +deb12u1.)

What --rules and --exclude mean is in hashpkg bind --help.

Exit status: 0 done, 1 failed, 2 wrong use.`,
		Example: `  # Into a directory, under the name that it has in repositories
  hashpkg convert -o ./converted jq_1.6-2.1_amd64.deb
  # What would become of each file
  hashpkg convert --dry-run -v jq-1.6-7.x86_64.rpm
  # As a file, packed by zstd, with a version of one's own
  hashpkg convert --compression zstd --suffix +local1 -o jq.deb jq_1.6-2.1_amd64.deb
  # For a program
  hashpkg convert --json -o . jq_1.6-2.1_amd64.deb`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return runConvert(c.Context(), a, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "write the package as `FILE`, or into it, if it is a directory")
	f.StringVar(&o.rules, "rules", "", "read the rules in `FILE`")
	f.StringArrayVarP(&o.exclude, "exclude", "X", nil, "leave the files that match `PATTERN`; can be repeated")
	f.StringVar(&o.suffix, "suffix", "", "add `TEXT` to the version (deb) or release (rpm)")
	f.StringVar(&o.compression, "compression", "", "pack the files by `NAME`: xz, zstd, gzip, or for a deb none (default: the package's)")
	f.StringVar(&o.author, "author", "", "have `\"NAME <ADDRESS>\"` in the changelog (default \""+convert.DefaultAuthor+"\")")
	f.StringVar(&o.maxSize, "max-size", "", "refuse a package whose files have more than `SIZE` bytes, such as 500M or 64G, unpacked")
	f.BoolVar(&o.dryRun, "dry-run", false, "do everything, say what came of it, and throw it away")
	return cmd
}

func runConvert(ctx context.Context, a *app, name string, o *convertOptions) error {
	options, err := o.options(a)
	if err != nil {
		return err
	}
	progress := a.newProgress()
	options.Progress = func(step string, done int64) { progress.bytes(step)(done) }
	report, err := convert.File(ctx, name, options)
	progress.end()
	if isTooLarge(err) {
		return hintOfMaxSize(err)
	}
	if err != nil {
		return err
	}
	return a.printConverted(name, report)
}

// options returns what the flags ask for.
func (o *convertOptions) options(a *app) (*convert.Options, error) {
	if o.output == "" && !o.dryRun {
		return nil, usageError{errors.New("where should the package go? name a file or a directory with -o, or ask with --dry-run")}
	}
	switch o.compression {
	case "", "xz", "zstd", "gzip", "none":
	default:
		return nil, usageError{fmt.Errorf("--compression %s: expected xz, zstd, gzip or none", o.compression)}
	}
	if o.author != "" && !isAuthor.MatchString(o.author) {
		return nil, usageError{fmt.Errorf("--author %q: expected \"NAME <ADDRESS>\"", o.author)}
	}
	c := &convert.Options{
		Formats: a.Formats, Suffix: o.suffix, Compression: o.compression, Author: o.author,
	}
	if !o.dryRun {
		c.Out = o.output
	}
	c.DryRun = o.dryRun
	var err error
	if c.MaxSize, err = a.maxSize(o.maxSize); err != nil {
		return nil, err
	}
	for _, text := range o.exclude {
		pattern, err := build.Pattern(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--exclude: %w", err)}
		}
		c.Exclude = append(c.Exclude, pattern)
	}
	var text []byte
	if o.rules != "" {
		if text, err = os.ReadFile(o.rules); err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
	}
	if c.Rules, err = convert.Rules(string(text)); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", o.rules, err)}
	}
	if a.isImage() {
		if c.Time, err = a.now(); err != nil {
			return nil, err
		}
	}
	root, err := a.openRoot()
	if err != nil {
		return nil, err
	}
	c.Prefix = root.Prefix()
	return c, root.Close()
}

func (a *app) printConverted(name string, report *convert.Report) error {
	for _, w := range report.Warnings {
		a.notice("warning: %s\n", visible.Line(w))
	}
	for _, lost := range report.Lost {
		a.notice("warning: the new package has not: %s\n", visible.Line(lost))
	}
	if a.json {
		return a.printJSON(report)
	}
	if a.quiet {
		return nil
	}
	changed := 0
	for i := range report.Files {
		f := &report.Files[i]
		if f.Changed {
			changed++
		}
		if !a.verbose {
			continue
		}
		if err := a.printf("%s: %s\n", visible.Line(f.Path), convertedText(f)); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("%s: nothing to edit in it", visible.Line(name))
	if report.Changed {
		what = fmt.Sprintf("%s %s is %s: %s of %s edited", report.Name, report.Version, report.NewVersion, count(changed, "file"), count(len(report.Files), "ELF file"))
	}
	switch {
	case report.Output == "":
	case report.Kept:
		what += "; it stays as it is"
	case report.Changed:
		what += "; written to " + visible.Line(report.Output)
	default:
		what += "; copied to " + visible.Line(report.Output)
	}
	return a.printf("%s\n", what)
}

// convertedText says what became of a file.
func convertedText(f *build.File) string {
	switch {
	case f.Left != "":
		return visible.Line(string(f.Left))
	case f.RunPathLeft != "":
		return "no search path: " + visible.Line(string(f.RunPathLeft))
	case !f.Changed:
		return "searches " + visible.Line(f.RunPath) + " already"
	}
	return "searches " + visible.Line(f.RunPath)
}

// isAuthor is what a changelog takes for one (deb-changelog(5)).
var isAuthor = regexp.MustCompile(`^[^<>\n]*[^<>\s] <[^<>\s@]+@[^<>\s]+>$`)
