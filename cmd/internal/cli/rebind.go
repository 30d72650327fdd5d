package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

type rebindOptions struct {
	all, dryRun bool
	lock        func() sysroot.LockOptions
}

func newRebindCommand(a *app) *cobra.Command {
	var o rebindOptions
	cmd := &cobra.Command{
		Use:   "rebind NAME[=VERSION]|PROGRAM... | rebind --all",
		Short: "Bind private programs to the libraries that are there now",
		Long: `Bind private programs to the libraries that are there now. A program of a package that
was installed goes on loading the very files that it was bound to, also when a newer
version of a library is installed, such as one with a security fix; this resolves what
it needs anew. hashpkg users SONAME says who loads which build.

A library comes from the package that it came from, in the version that was chosen
with hashpkg use, or else the highest that the relations of the packages allow: of the
program's own release where it came from one. The C library of a program that uses the
root's stays the root's.

With --all it does so for every private package but those on hold, else for those that
are named, and for the packages whose libraries they load. PROGRAM is the name of a
command, or a path with a slash, in the root.

Each package that is bound otherwise gets a new tree, beside the one that it has; the
package files are not needed. All of it is one generation, which hashpkg rollback takes
back. What runs goes on with the old files until it is started again.

Where something that starts now would not start any more, nothing is changed, and it is
named. A package of which something does not start as it is, and would not after it, or
whose records are damaged, stays as it is: the others are bound anew, it is named, and the
exit status is 5.`,
		Example: `  # Which programs would load something else?
  hashpkg rebind --all --dry-run
  # Bind one package anew
  hashpkg rebind jq
  # Bind all of them anew, after a library with a security fix has come
  hashpkg rebind --all`,
		Args: args(func(c *cobra.Command, given []string) error {
			if o.all {
				return cobra.NoArgs(c, given)
			}
			return cobra.MinimumNArgs(1)(c, given)
		}),
		RunE: func(c *cobra.Command, given []string) error { return runRebind(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(installedNames(isPrivate), orFiles)
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "bind all private programs, but for those of packages on hold")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would change, and change nothing")
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

func runRebind(ctx context.Context, a *app, o rebindOptions, given []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	limitMemory(root)
	now, err := a.now()
	if err != nil {
		return err
	}
	progress := a.newProgress()
	options := transaction.RebindOptions{
		Root: root, DryRun: o.dryRun, Lock: o.lock(), Now: now, Generate: a.Generate, Progress: progress.show,
	}
	if !o.all {
		if options.Which, err = a.whichToRebind(ctx, given); err != nil {
			return err
		}
	}
	result, err := transaction.Rebind(ctx, options)
	progress.end()
	if err == nil && result.Changed {
		a.followConf(ctx, root, o.lock())
		a.followServices(ctx, root, o.lock())
		err = a.settle(root, now)
	}
	switch {
	case result == nil || err != nil && !isProblem(err):
		return err
	case err == nil && len(result.Left) > 0:
		err = errPartly
	}
	if a.json {
		return errors.Join(err, a.printJSON(result))
	}
	for _, w := range result.Warnings {
		a.notice("warning: %s\n", w)
	}
	for _, l := range result.Left {
		a.complain("%s %s is left as it is: %s\n", l.Name, l.Version, l.Why)
	}
	if err != nil && !errors.Is(err, errPartly) {
		return err
	}
	return errors.Join(err, a.printRebound(result, o.dryRun))
}

// whichToRebind returns what finds the private trees that a person names: packages, commands,
// or paths.
func (a *app) whichToRebind(ctx context.Context, given []string) (func(*record.Generation) ([]*record.Tree, error), error) {
	at := map[string][]string{} // the trees of paths
	var specs []query.Spec
	for _, text := range given {
		if !strings.Contains(text, "/") {
			spec, err := parseSpec(text)
			if err != nil {
				return nil, err
			}
			specs = append(specs, spec)
			continue
		}
		root, r, err := a.relations(ctx)
		if err != nil {
			return nil, err
		}
		name, err := a.inRoot(root, text)
		if err != nil {
			return nil, err
		}
		found, err := r.Find(name)
		if err != nil {
			return nil, a.refused(err)
		}
		for _, h := range found.Trees {
			at[text] = append(at[text], h.Path())
		}
	}
	return func(g *record.Generation) (trees []*record.Tree, err error) {
		for text, paths := range at {
			found := treesWhere(g, func(t *record.Tree) bool { return slices.Contains(paths, t.Path()) })
			if len(found) == 0 {
				return nil, fmt.Errorf("rebind %s: the active generation has no private package with it", text)
			}
			trees = append(trees, found...)
		}
		for _, spec := range specs {
			found, err := toRebind(g, spec)
			if err != nil {
				return nil, err
			}
			trees = append(trees, found...)
		}
		return trees, nil
	}, nil
}

// treesWhere returns the private trees of a generation that fit.
func treesWhere(g *record.Generation, fits func(*record.Tree) bool) (trees []*record.Tree) {
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Origin == record.OriginPrivate && fits(t) {
			trees = append(trees, t)
		}
	}
	return trees
}

// toRebind returns the private trees of a package or, if no package has the name, the default
// ones that have a command of that name.
func toRebind(g *record.Generation, spec query.Spec) ([]*record.Tree, error) {
	all, err := query.All(g, spec)
	found := slices.DeleteFunc(all, func(t *record.Tree) bool { return t.Origin != record.OriginPrivate })
	switch {
	case len(found) > 0:
		return found, nil
	case err == nil:
		return nil, advice.Errorf("rebind %s: it belongs to the system's package manager, and its programs load what that has installed; hashpkg pin has one load another version", spec)
	case spec.Version != "":
		return nil, err
	}
	found = treesWhere(g, func(t *record.Tree) bool {
		return t.Default && (slices.Contains(t.Links, "bin/"+spec.Name) || slices.Contains(t.Links, "sbin/"+spec.Name))
	})
	if len(found) == 0 {
		return nil, err
	}
	return found, nil
}

func (a *app) printRebound(result *transaction.RebindResult, dryRun bool) error {
	if a.quiet {
		return nil
	}
	for i := range result.Rebound {
		r := &result.Rebound[i]
		said := false
		for _, b := range r.Changes {
			if b.Before == b.After && said { // it follows from the others
				continue
			}
			said = true
			if err := a.printf("%s %s: %s\n", r.Name, r.Version, describeChange(b)); err != nil {
				return err
			}
		}
		if !said {
			if err := a.printf("%s %s: follows what it leads to\n", r.Name, r.Version); err != nil {
				return err
			}
		}
	}
	switch {
	case len(result.Rebound) == 0 && len(result.Left) > 0:
		return a.printf("nothing was bound anew; generation %d is active\n", result.Generation)
	case len(result.Rebound) == 0:
		return a.printf("nothing to do: generation %d is bound to what is there\n", result.Generation)
	case dryRun:
		return nil
	}
	return a.printActive(result.Generation, transaction.UndoLast)
}

// describeChange says what answers which libraries, in place of what.
func describeChange(b plan.Change) string {
	const most = 5
	names := strings.Join(b.Sonames[:min(most, len(b.Sonames))], ", ")
	switch left := len(b.Sonames) - most; {
	case len(b.Sonames) == 0:
		names = "what it looks for by itself"
	case left > 0:
		names = fmt.Sprintf("%s and %d more", names, left)
	}
	before, beforeVersion, _ := strings.Cut(b.Before, "=")
	after, afterVersion, _ := strings.Cut(b.After, "=")
	whole := func(name, version string) string {
		if name == "" {
			return "the system"
		}
		return name + " " + version
	}
	switch {
	case b.Before == b.After && before != "":
		return fmt.Sprintf("%s from %s, which is bound anew", names, whole(before, beforeVersion))
	case before == after && before != "":
		return fmt.Sprintf("%s from %s %s -> %s", names, before, beforeVersion, afterVersion)
	}
	return fmt.Sprintf("%s from %s -> %s", names, whole(before, beforeVersion), whole(after, afterVersion))
}
