package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/repo"
)

type downloadOptions struct {
	sourceFlags
	deps bool
	dir  string
}

func newDownloadCommand(a *app) *cobra.Command {
	var o downloadOptions
	cmd := &cobra.Command{
		Use:   "download NAME...",
		Short: "Fetch package files, and install nothing",
		Long: `Fetch package files, verified to the signature of their release, into the current
directory or another one; with --deps those of everything that they need as well.`,
		Example: `  # One package, into the current directory
  hashpkg download --from sid jq
  # A package with all that it needs, to be installed elsewhere
  hashpkg download --deps --dir ./packages ffmpeg`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, names []string) error { return runDownload(c.Context(), a, o, names) },
	}
	o.add(a, cmd)
	cmd.ValidArgsFunction = a.complete(a.availableNames(cmd, &o.sourceFlags), noFiles)
	f := cmd.Flags()
	f.BoolVar(&o.deps, "deps", false, "fetch what they need as well")
	f.StringVar(&o.dir, "dir", ".", "put the files into `DIR`")
	return cmd
}

func runDownload(ctx context.Context, a *app, o downloadOptions, names []string) error {
	requests, err := parseRequests(names)
	if err != nil {
		return err
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	r, err := a.openRepo(root, o.sourceFlags, trust.ByKeys)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	paths, err := r.Download(ctx, o.from, requests, o.deps, o.dir)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string][]string{"files": paths})
	}
	for _, p := range paths {
		if a.quiet {
			break
		}
		if err := a.printf("%s\n", filepath.Clean(p)); err != nil {
			return err
		}
	}
	return nil
}

// parseRequests reads the names that a command was given.
func parseRequests(names []string) ([]repo.Request, error) {
	requests := make([]repo.Request, len(names))
	for i, name := range names {
		var err error
		if requests[i], err = repo.ParseRequest(name); err != nil {
			return nil, usageError{err}
		}
	}
	return requests, nil
}

func newCleanCommand(a *app) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Remove the package files that were fetched",
		Long: `Remove the package files that were fetched to be installed, and with --all the
indexes of sources as well. Both are fetched again when they are needed.`,
		Example: `  # Remove package files
  hashpkg clean
  # Remove the indexes, too, which the next command fetches again
  hashpkg clean --all`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runClean(c.Context(), a, all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove the indexes of sources as well")
	return cmd
}

func runClean(ctx context.Context, a *app, all bool) error {
	r, err := a.rootRepo("")
	if err != nil {
		return err
	}
	defer r.Close()
	freed, err := r.Clean(ctx, all)
	if err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	if a.json {
		return a.printJSON(map[string]int64{"freed": freed})
	}
	if a.quiet {
		return nil
	}
	return a.printf("%s freed\n", a.bytes(freed))
}
