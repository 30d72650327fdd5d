package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/repo"
)

type updateOptions struct {
	sourceFlags
	signature string
}

func newUpdateCommand(a *app) *cobra.Command {
	var o updateOptions
	cmd := &cobra.Command{
		Use:   "update [SOURCE|RELEASE]...",
		Short: "Fetch the indexes of packages that can be installed by name",
		Long: `Fetch the indexes of the sources that hashpkg sources lists, or of those that are
named, and verify their signatures. An index that is older than the one before is
refused; what cannot be fetched leaves what was known. Other commands do this by
themselves for what is older than a day, unless --offline is given.`,
		Example: `  # All sources
  hashpkg update
  # Two releases
  hashpkg update trixie sid`,
		RunE: func(c *cobra.Command, names []string) error { return runUpdate(c.Context(), a, o, names) },
	}
	f := cmd.Flags()
	f.StringVar(&o.mirror, "mirror", "", "fetch a release that no file of sources names from the mirror at `URL`")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for an index that has expired or that nobody has signed: require or warn")
	cmd.ValidArgsFunction = a.complete(a.releases(cmd), noFiles)
	a.completeFlag(cmd, "signature", policies, noFiles)
	return cmd
}

// updateOutput is what became of one source.
type updateOutput struct {
	Source   string    `json:"source"`
	Release  string    `json:"release"`
	Changed  bool      `json:"changed"`
	Packages int       `json:"packages"`
	Date     time.Time `json:"date,omitzero"`
	Signer   string    `json:"signer,omitempty"`
	Error    string    `json:"error,omitempty"`
}

func runUpdate(ctx context.Context, a *app, o updateOptions, names []string) error {
	policy, err := trust.ParsePolicy(o.signature)
	if err != nil {
		return usageError{fmt.Errorf("--signature: %w", err)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	r, err := a.openRepo(root, o.sourceFlags, policy)
	if err != nil {
		return err
	}
	defer r.Close()
	sources, err := namedSources(ctx, r, names)
	if err != nil {
		return err
	}
	results, err := r.Update(ctx, sources, 0)
	if err != nil {
		return err
	}
	out := []updateOutput{}
	failed := false
	for _, u := range results {
		line := updateOutput{Source: u.Source.Name, Release: u.Source.Release, Changed: u.Changed}
		if u.State != nil {
			line.Packages, line.Date, line.Signer = u.State.Packages, u.State.Date, u.State.Signer
		}
		if u.Err != nil {
			failed, line.Error = true, u.Err.Error()
		}
		out = append(out, line)
	}
	if a.json {
		err = a.printJSON(out)
	} else {
		err = a.printUpdated(out)
	}
	if err == nil && failed {
		err = errReported
	}
	return err
}

func (a *app) printUpdated(out []updateOutput) error {
	for _, u := range out {
		switch {
		case u.Error != "":
			a.complain("hashpkg: %s\n", u.Error)
		case a.quiet:
		case u.Changed:
			if err := a.printf("%s: %s of %s\n", u.Source, count(u.Packages, "package"), u.Date.Format("2006-01-02 15:04")); err != nil {
				return err
			}
		default:
			if err := a.printf("%s: unchanged\n", u.Source); err != nil {
				return err
			}
		}
	}
	return nil
}

// namedSources returns the sources of releases, or without any all that files name, and
// those of releases that something was asked of.
func namedSources(ctx context.Context, r *repo.Repo, names []string) ([]backends.Source, error) {
	if len(names) == 0 {
		sources, err := r.Sources(ctx)
		if err != nil {
			return nil, err
		}
		fetched, err := r.Fetched(ctx)
		if err != nil {
			return nil, err
		}
		sources = slices.Concat(sources, fetched)
		if len(sources) == 0 {
			_, err = r.Release(ctx, "") // which says what to do
		}
		return sources, err
	}
	var all []backends.Source
	for _, name := range names {
		found, err := r.Release(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
