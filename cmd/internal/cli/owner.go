package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/visible"
)

func newOwnerCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "owner PATH | HASH",
		Short: "Say which packages have a file",
		Long: `Say which packages, in which versions and trees, have a file. PATH is a path with a
slash, in the root: of a tree, of current-system, of an object, or of the system where
hashpkg follows its package manager (its libraries and programs). HASH is the BLAKE3
of the bytes that a tree has or a package brought, or at least 8 digits of it; all trees
of the store are asked then.

It prints the package, its tree, the file in it, and its digest.`,
		Example: `  # Whose is this command?
  hashpkg owner /var/sys/current-system/bin/jq
  # Which trees have the file of this digest?
  hashpkg owner d644dc4d43bb --json
  # And a program of the system?
  hashpkg owner /usr/bin/curl`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runOwner(c.Context(), a, given[0]) },
	}
	cmd.ValidArgsFunction = a.complete(nothing, orFiles)
	return cmd
}

func runOwner(ctx context.Context, a *app, text string) error {
	root, r, err := a.relations(ctx)
	if err != nil {
		return err
	}
	if text, err = a.inRoot(root, text); err != nil {
		return err
	}
	owners, err := r.Owners(ctx, text)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"owners": owners})
	}
	w := a.table()
	out := *a
	out.Out = w
	for _, o := range owners {
		tree, object, mark := o.Tree, o.Object, ""
		if tree == "" {
			tree = "-"
		}
		if object == "" {
			object = "-"
		}
		switch {
		case !o.Active:
			mark = "not in the active generation"
		case o.Source != o.Object:
			mark = "edited"
		}
		if err := out.printf("%s\t%s\t%s\t%s\t%s\t%s\n", o.Spec(), o.Architecture, tree, visible.Line(o.File), object, mark); err != nil {
			return err
		}
	}
	return w.Flush()
}
