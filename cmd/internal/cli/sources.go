package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/repo"
)

func newSourcesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "List where packages come from that are installed by name",
		Long: `List where packages come from that are installed by name: the files in
/etc/hashpkg/sources.d, which are NAME.sources as apt has them and NAME.repo as dnf
has them, and then the sources of the root's own apt and dnf. All that belong to
one release are looked into together when it is named with --from. Releases that
hashpkg knows by name need no file: hashpkg install --from trixie jq. They are listed
once something was asked of them.`,
		Example: `  # List them
  hashpkg sources
  # Add a release that is known by name
  hashpkg sources add sid
  # Take a file of sources over
  hashpkg sources add ./example.sources
  # Remove one
  hashpkg sources remove sid`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runSources(c.Context(), a) },
	}
	var mirror string
	add := &cobra.Command{
		Use:   "add RELEASE|FILE",
		Short: "Add a release that is known by name, or a file of sources",
		Example: `  # A release, from a mirror of one's own
  hashpkg sources add trixie --mirror http://mirror.example.org/debian
  # A repository that somebody else describes
  hashpkg sources add ./example.repo`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runSourcesAdd(c.Context(), a, mirror, given[0]) },
	}
	add.ValidArgsFunction = a.complete(nth(knownReleases, nothing), orFiles)
	add.Flags().StringVar(&mirror, "mirror", "", "the mirror at `URL` of a release")
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a file of sources from /etc/hashpkg/sources.d",
		Example: `  # Remove one
  hashpkg sources remove sid`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runSourcesRemove(c.Context(), a, given[0]) },
	}
	remove.ValidArgsFunction = a.complete(nth(a.ownSources(remove), nothing), noFiles)
	cmd.AddCommand(add, remove)
	return cmd
}

// sourceOutput is one source.
type sourceOutput struct {
	Name     string    `json:"name"`
	Release  string    `json:"release"`
	Format   string    `json:"format"`
	URLs     []string  `json:"urls"`
	File     string    `json:"file"`
	Updated  time.Time `json:"updated,omitzero"`
	Date     time.Time `json:"date,omitzero"`
	Signer   string    `json:"signer,omitempty"`
	Packages int       `json:"packages"`
	Size     int64     `json:"size"`
	source   *backends.Source
}

func runSources(ctx context.Context, a *app) error {
	r, err := a.rootRepo("")
	if err != nil {
		return err
	}
	defer r.Close()
	sources, err := r.Sources(ctx)
	if err != nil {
		return err
	}
	fetched, err := r.Fetched(ctx)
	if err != nil {
		return err
	}
	sources = slices.Concat(sources, fetched)
	out := make([]sourceOutput, len(sources))
	for i := range sources {
		s := &sources[i]
		out[i] = sourceOutput{Name: s.Name, Release: s.Release, Format: string(s.Format), URLs: plainURLs(s.URLs), File: s.File, source: s}
		state, err := r.State(s)
		if err != nil {
			return err
		}
		if state != nil {
			o := &out[i]
			o.Updated, o.Date, o.Signer, o.Packages, o.Size = state.Updated, state.Date, state.Signer, state.Packages, state.Size
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	t := a.table(6, 5)
	if a.screen.IsTerminal() && len(out) > 0 && !a.quiet {
		t.Header("NAME", "RELEASE", "UPDATED", "PACKAGES", "SIZE", "ADDRESS", "SIGNER")
	}
	for _, s := range out {
		age, size := "not fetched yet", "-"
		if !s.Updated.IsZero() {
			age, size = s.Updated.Format("2006-01-02 15:04"), humanSize(s.Size)
		}
		url := ""
		if len(s.URLs) > 0 {
			url = s.URLs[0]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", s.Name, s.Release, age, s.Packages, size, url, s.Signer)
	}
	if len(out) == 0 {
		a.notice("no file names a source; hashpkg install --from RELEASE needs none for a release that is known by name\n")
	}
	return t.Flush()
}

// plainURLs returns addresses without what may be secret in them.
func plainURLs(urls []string) []string {
	plain := make([]string, len(urls))
	for i, u := range urls {
		plain[i] = backends.PlainURL(u)
	}
	return plain
}

// rootRepo is openRepo for commands that fetch nothing but what they are given.
func (a *app) rootRepo(mirror string) (*repo.Repo, error) {
	root, err := a.openRoot()
	if err != nil {
		return nil, err
	}
	return a.openRepo(root, sourceFlags{mirror: mirror}, trust.ByKeys)
}

func runSourcesAdd(ctx context.Context, a *app, mirror, name string) error {
	r, err := a.rootRepo(mirror)
	if err != nil {
		return err
	}
	defer r.Close()
	var added []backends.Source
	if text, rerr := os.ReadFile(name); rerr == nil {
		added, err = r.AddFile(ctx, name, text)
	} else if strings.Contains(name, "/") {
		return fmt.Errorf("add sources: %w", rerr)
	} else {
		added, err = r.AddRelease(ctx, name)
	}
	if err != nil {
		return err
	}
	return a.printSources("added", added)
}

func runSourcesRemove(ctx context.Context, a *app, name string) error {
	r, err := a.rootRepo("")
	if err != nil {
		return err
	}
	defer r.Close()
	gone, err := r.RemoveSource(ctx, name)
	if err != nil {
		return err
	}
	return a.printSources("removed", gone)
}

func (a *app) printSources(what string, sources []backends.Source) error {
	names := make([]string, len(sources))
	for i := range sources {
		names[i] = sources[i].Name
	}
	if a.json {
		return a.printJSON(map[string][]string{what: names})
	}
	if a.quiet {
		return nil
	}
	return a.printf("%s: %s\n", what, strings.Join(names, ", "))
}
