package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/kept"
	"github.com/hashpkg/hashpkg/transaction"
)

type keepOptions struct {
	drop bool
	lock func() sysroot.LockOptions
}

func newKeepCommand(a *app) *cobra.Command {
	var o keepOptions
	cmd := &cobra.Command{
		Use:   "keep [FILE|DIR]...",
		Short: "Keep the trees that programs outside of packages load",
		Long: `Keep the trees that programs outside of packages load their libraries from, as those
that were built with hashpkg env: hashpkg gc leaves these trees, whatever is removed or
upgraded, and hashpkg remove, autoremove and why know of the programs.

FILE is a program or library, or a link into a tree. Of a DIR everything below it counts
that is there when somebody asks, what is built later, too. Both are looked at each time;
what is not there any more keeps what it led to when it was named, until --drop: its file
system may not be mounted.

Without arguments it lists what is kept, and which trees that is.`,
		Example: `  # What was built stays able to start
  hashpkg env zlib1g-dev -- make
  hashpkg keep ./hello
  # Whatever is installed there, now or later
  hashpkg keep /usr/local /opt
  # The program is not used any more
  hashpkg keep --drop ./hello`,
		RunE: func(c *cobra.Command, given []string) error { return runKeep(c.Context(), a, o, given) },
	}
	cmd.Flags().BoolVar(&o.drop, "drop", false, "let go what is kept for the files or directories")
	cmd.ValidArgsFunction = a.complete(func(root *sysroot.Root, _ []string, _ string) (list []string) {
		k, err := root.Kept()
		if err != nil || !o.drop {
			return nil
		}
		for _, f := range k.List {
			list = append(list, f.Path)
		}
		return list
	}, orFiles)
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

// keepOutput is what keep prints with --json.
type keepOutput struct {
	Kept []kept.Path `json:"kept"`
}

func runKeep(ctx context.Context, a *app, o keepOptions, given []string) error {
	if o.drop && len(given) == 0 {
		return usageError{errors.New("keep --drop: name what is not to be kept any more; hashpkg keep lists what is")}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	k := transaction.KeepOptions{Root: root, Lock: o.lock()}
	for _, name := range given {
		if root.IsHost() {
			if name, err = filepath.Abs(name); err != nil {
				return err
			}
		}
		k.Paths = append(k.Paths, path.Join("/", name))
	}
	var list []kept.Path
	switch {
	case o.drop:
		err = transaction.DropKept(ctx, k)
	case len(given) > 0:
		list, err = transaction.Keep(ctx, k)
	default:
		list, err = transaction.ListKept(ctx, root)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(keepOutput{append([]kept.Path{}, list...)})
	}
	if a.quiet && len(given) > 0 {
		return nil
	}
	for i := range list {
		if err := a.printKeptPath(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// printKeptPath says which trees stay for a path.
func (a *app) printKeptPath(p *kept.Path) error {
	var names []string
	for _, t := range p.Trees {
		name, tree := layout.SplitTreePath(t)
		names = append(names, treeOwner(name)+" "+layout.VersionText(tree))
	}
	text := "nothing, as yet"
	if len(names) > 0 {
		text = strings.Join(names, ", ")
	}
	switch {
	case p.Gone:
		text += " (it is not there)"
	case p.Why != "":
		text += " (it cannot be looked at: " + visible.Line(p.Why) + ")"
	case p.Unread:
		text += " (not all of it may be read by you)"
	case len(p.Lost) > 0:
		text += fmt.Sprintf(" (also for what is not there any more, such as %s)", p.Lost[0].Path)
	}
	return a.printf("%s: keeps %s\n", p.Path, text)
}
