package cli

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newDepsCommand(a *app) *cobra.Command {
	var tree bool
	cmd := &cobra.Command{
		Use:   "deps FILE | NAME[=VERSION]",
		Short: "Say which file answers each library that a program needs, and why",
		Long: `Say which file answers each library that a program needs, in which version, and by
which rule. Of a package it says so for each program, or where it has none for each
library by itself. What is missing is named. The loader's own search is followed; no
program is run.

  interpreter   the kernel maps what the program names
  bound         the program names this very file of a tree
  pin           the same, of a program of the system: see hashpkg pin
  loaded        something that was loaded before is known by that name
  farm          the search path leads through current-system, to the default version
  path, rpath, runpath   the name is a path, or a search path in the file has it
  cache, default         the root's own: /etc/ld.so.cache, or the default directories

With --tree it shows all that is loaded, each below what needs it; what is below a
library that was shown already is not repeated. Of what install has bound to
itself it says how many symbols are bound, and how many are left to the loader because of
whom, who had them as well when the tree was made. FILE is a path with a slash, in the root.
Exit status 1: a program would not start.`,
		Example: `  # Of the default version of a package
  hashpkg deps jq
  # Of a program of the system, all that it loads
  hashpkg deps --tree /usr/bin/curl
  # Of one version, for a program
  hashpkg deps jq=1.6-2.1 --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runDeps(c.Context(), a, tree, given[0]) },
	}
	cmd.Flags().BoolVar(&tree, "tree", false, "show all that is loaded, as a tree")
	cmd.ValidArgsFunction = a.complete(nth(installedNames(isAny), nothing), orFiles)
	return cmd
}

// relations reads what the root's records say of who uses whom.
func (a *app) relations(ctx context.Context) (*sysroot.Root, *relations.Relations, error) {
	root, err := a.openRoot()
	if err != nil {
		return nil, nil, err
	}
	r, err := relations.Open(ctx, root, !a.isImage())
	return root, r, err
}

// inRoot returns a path that a person gave as one in the root: with a slash and not
// absolute it is one of the working directory, where the root is the machine's own.
func (a *app) inRoot(root *sysroot.Root, text string) (string, error) {
	if !root.IsHost() || !strings.Contains(text, "/") || path.IsAbs(text) {
		return text, nil
	}
	return filepath.Abs(text)
}

func runDeps(ctx context.Context, a *app, tree bool, text string) error {
	root, r, err := a.relations(ctx)
	if err != nil {
		return err
	}
	if text, err = a.inRoot(root, text); err != nil {
		return err
	}
	files, err := r.Deps(ctx, text)
	if err != nil {
		return a.refused(err)
	}
	failed := false
	for i := range files {
		failed = failed || len(files[i].Problems) > 0
		if !tree {
			files[i].Closure = nil
		}
	}
	if a.json {
		err = a.printJSON(map[string]any{"files": files})
	} else {
		err = a.printDeps(files, tree)
	}
	if err == nil && failed {
		err = errReported
	}
	return err
}

func (a *app) printDeps(files []relations.Loaded, tree bool) error {
	for i := range files {
		f := &files[i]
		if i > 0 {
			if err := a.printf("\n"); err != nil {
				return err
			}
		}
		if err := a.printf("%s  (%s)\n", visible.Line(f.Path), f.Spec()); err != nil {
			return err
		}
		if f.Prelocated != nil {
			if err := a.printf("  prelocated: %s\n", prelocatedText(f.Prelocated, true)); err != nil {
				return err
			}
		}
		var err error
		if tree {
			err = a.printDepsTree(f)
		} else {
			err = a.printNeeds(f)
		}
		if err != nil {
			return err
		}
		for _, p := range f.Problems {
			a.notice("%s would not start: %s\n", f.Path, p)
		}
	}
	return nil
}

func (a *app) printNeeds(f *relations.Loaded) error {
	w := a.table()
	out := *a
	out.Out = w
	for _, n := range f.Needs {
		if err := out.printf("  %s\t%s\t%s\t%s\n", visible.Line(path.Base(n.Name)), n.Rule, answerSpec(&n), visible.Line(n.Path)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// answerSpec says in which package the answer to a need is.
func answerSpec(n *relations.Needed) string {
	if n.Rule == relations.RuleMissing {
		return "missing"
	}
	if n.Origin == record.OriginSystem {
		return n.Spec() + " of the system"
	}
	return n.Spec()
}

// printDepsTree prints a closure, and what is below a file once.
func (a *app) printDepsTree(f *relations.Loaded) error {
	byPath := map[string]*relations.Loaded{f.Path: f}
	for i := range f.Closure {
		byPath[f.Closure[i].Path] = &f.Closure[i]
	}
	below := func(at string) (steps []step) {
		f := byPath[at]
		if f == nil {
			return nil
		}
		for i := range f.Needs {
			n := &f.Needs[i]
			text := visible.Line(path.Base(n.Name)) + "  " + answerSpec(n) + "  " + n.Rule
			if to := byPath[n.Path]; to != nil && to.Prelocated != nil && to != f {
				text += "  (prelocated: " + prelocatedText(to.Prelocated, false) + ")"
			}
			steps = append(steps, step{n.Path, text})
		}
		return steps
	}
	if err := a.printBelow(f.Path, below, 0); err != nil {
		return fmt.Errorf("show what %s loads: %w", f.Path, err)
	}
	return nil
}
