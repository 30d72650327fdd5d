package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// sourceFlags are the flags of commands that look into repositories.
type sourceFlags struct {
	from, mirror string
	offline      bool
}

func (o *sourceFlags) add(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "look in this `RELEASE`, source or directory of packages (default: the machine's own release)")
	f.StringVar(&o.mirror, "mirror", "", "fetch a release that no file of sources names from the mirror at `URL`")
	f.BoolVar(&o.offline, "offline", false, "fetch nothing: use what was fetched before")
	a.completeFlag(cmd, "from", a.releases(cmd), orFiles)
}

// openRepo returns what the root knows of repositories. The caller closes it.
func (a *app) openRepo(root *sysroot.Root, o sourceFlags, policy trust.Policy) (*repo.Repo, error) {
	now, err := a.now()
	if err != nil {
		return nil, err
	}
	c, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	mirrors := map[string]string{}
	for release, url := range c.Mirrors {
		if release == "default" {
			release = ""
		}
		mirrors[release] = url
	}
	if o.mirror != "" {
		mirrors = map[string]string{"": o.mirror}
	}
	var mu sync.Mutex
	warn := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		a.notice("warning: %s\n", text)
	}
	return repo.New(repo.Options{
		Root: root, Now: now, Getenv: a.Getenv, UserAgent: "hashpkg/" + Version, Mirrors: mirrors, Offline: o.offline, Strict: policy == trust.Require,
		Warn: warn, Watch: func(sizes []int64) repo.Watcher { return a.newDownloads(sizes) },
	}), nil
}

// withPackages calls f with the packages of a release or, where none is named, of all
// sources that files name, which are brought up to date first.
func (a *app) withPackages(ctx context.Context, root *sysroot.Root, o sourceFlags, f func(*repo.Pool) error) error {
	r, err := a.openRepo(root, o, trust.ByKeys)
	if err != nil {
		return err
	}
	defer r.Close()
	var names []string
	if o.from != "" {
		names = []string{o.from}
	}
	sources, err := namedSources(ctx, r, names)
	if err != nil {
		return err
	}
	if err := r.Ready(ctx, sources); err != nil {
		return err
	}
	return r.With(ctx, sources, f)
}

// isPackageFile reports whether an argument of install is meant to be a file, and no
// package's name, as apt reads it: a word is a name, whatever stands in the working
// directory. What has a slash is a file where it is there; else it may be NAME/SUITE.
func isPackageFile(arg string) bool {
	if repo.LooksLikeFile(arg) {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir() && strings.Contains(arg, "/")
}

// hintOfFile adds to the error of names that were not found that there is a file of one
// of them, or else how names are found.
func hintOfFile(err error, requests []repo.Request) error {
	var missing *repo.NotFoundError
	if !errors.As(err, &missing) && !errors.Is(err, repo.ErrNoSource) {
		return err
	}
	for _, q := range requests {
		if info, serr := os.Stat(q.String()); serr == nil && !info.IsDir() {
			return advice.Errorf("%w; to install the file of that name, write ./%s", err, q)
		}
	}
	if missing != nil && len(requests) == 1 && len(missing.Near)+len(missing.Foreign)+len(missing.Providers) == 0 && missing.Advice() == "" {
		return advice.Errorf("%w; hashpkg search finds packages by words", err)
	}
	return err
}
