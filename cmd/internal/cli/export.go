package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/closure/oci"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/repo"
)

type exportOptions struct {
	sourceFlags
	keys   []string
	output string
	noData bool
}

// closureArchive is what messages call what export writes.
var closureArchive = output{"archive", "closure.tar"}

func newExportCommand(a *app) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export NAME... -o FILE",
		Short: "Write programs, and all that they need, into one file",
		Long: `Write the closure of installed packages or programs into a file, for machines that have no
network: every file of these and of all that they need, as their packages have them, and
the closure manifest. hashpkg import makes the very same trees of it.

The file is a tar archive of an OCI image layout, as hashpkg push puts it into a registry:
skopeo copy takes it to one. The same closure gives the same bytes.`,
		Example: `  # All that jq needs, in a file
  hashpkg export jq -o jq.tar
  # On the machine without a network
  hashpkg import jq.tar`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runExport(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(installedNames(isPrivate), noFiles)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "write `FILE`")
	signingFlag(f, &o.keys)
	f.BoolVar(&o.noData, "no-data", false, "write programs and libraries only")
	f.BoolVar(&o.offline, "offline", false, "fetch no indexes: use what was fetched before")
	return cmd
}

func runExport(ctx context.Context, a *app, o exportOptions, given []string) error {
	const how = "hashpkg export -o"
	if o.output == "" {
		return usageError{advice.Errorf("no file to write; name one with -o, such as -o %s", closureArchive.example)}
	}
	if err := closureArchive.check(o.output, how); err != nil {
		return err
	}
	c, err := a.closureOf(ctx, o.sourceFlags, given, o.noData, o.keys)
	if err != nil {
		return err
	}
	var w *oci.Written
	err = closureArchive.writeBy(o.output, how, func(f *os.File) (err error) {
		w, err = oci.Write(ctx, c, f)
		return err
	})
	if err != nil {
		return err
	}
	return a.printPushed(o.output, c.Manifest, w, nil)
}

func newImportCommand(a *app) *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Install what hashpkg export has written into a file",
		Long: `Install the closure in a file that hashpkg export has written, in one generation: the very
trees of the machine that it is from, or nothing. Nothing is fetched. Every file is
compared with the digest that the closure manifest has of it.

An archive of an OCI image layout that skopeo copy has made of a closure in a registry is
such a file, too.`,
		Example: `  # On a machine without a network
  hashpkg import jq.tar
  # What would be installed
  hashpkg import jq.tar --dry-run`,
		Args: args(func(c *cobra.Command, given []string) error {
			if o.then == thenRun {
				return cobra.MinimumNArgs(1)(c, given)
			}
			return cobra.ExactArgs(1)(c, given)
		}),
		RunE: func(c *cobra.Command, given []string) error { return runImport(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(nothing, orFiles)
	o.add(a, cmd, thenInstall)
	return cmd
}

func runImport(ctx context.Context, a *app, o fetchOptions, given []string) error {
	if err := o.check(); err != nil {
		return err
	}
	o.offline = true
	return a.fetchClosure(ctx, o, given[1:], func(r *repo.Repo) (*fetchedManifest, error) {
		archive, err := oci.OpenArchive(ctx, given[0])
		if err != nil {
			return nil, err
		}
		return a.fetchedFrom(ctx, r, o, archive.Artifact, given[0], archive.Close)
	})
}
