package transaction

import (
	"context"
	"errors"
	"slices"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/kept"
)

// ErrKeep is wrapped by the errors about a path that nothing can be kept for.
var ErrKeep = errors.New("nothing is kept")

// KeepOptions say which programs are meant.
type KeepOptions struct {
	Root  *sysroot.Root
	Lock  sysroot.LockOptions
	Paths []string // absolute in the root
}

// Keep has the trees stay that programs outside of packages lead to: those of files, or of all
// files that are, or will be, in directories. It returns what the paths lead to now. The errors wrap
// ErrKeep where a file leads to no tree, or a path is not there.
func Keep(ctx context.Context, o KeepOptions) (list []kept.Path, err error) {
	err = changeKept(ctx, o, func(k *record.Kept) error {
		for _, name := range o.Paths {
			p, err := kept.Look(ctx, o.Root, name, storedTrees(o.Root))
			if err != nil {
				return err
			}
			switch isDir := isDirectory(o.Root, name); {
			case p.Gone:
				return advice.Errorf("keep %s: %w: it is not there", name, ErrKeep)
			case p.Unread && !isDir:
				return advice.Errorf("keep %s: %w: you may not read it", name, ErrKeep)
			case len(p.Trees) == 0 && !isDir:
				return advice.Errorf("keep %s: %w: it leads to no tree below %s", name, ErrKeep, o.Root.Prefix())
			}
			k.List = slices.DeleteFunc(k.List, func(f record.KeptFile) bool { return f.Path == name })
			k.List = append(k.List, record.KeptFile{Path: name, Files: p.Files})
			list = append(list, *p)
		}
		return nil
	})
	return list, err
}

// DropKept lets the trees go that stay for paths. The errors wrap ErrKeep for a path that is not kept.
func DropKept(ctx context.Context, o KeepOptions) error {
	return changeKept(ctx, o, func(k *record.Kept) error {
		for _, name := range o.Paths {
			before := len(k.List)
			if k.List = slices.DeleteFunc(k.List, func(f record.KeptFile) bool { return f.Path == name }); len(k.List) == before {
				return advice.Errorf("drop %s: %w for it; hashpkg keep lists what is", name, ErrKeep)
			}
		}
		return nil
	})
}

// ListKept returns what is kept, as it is now.
func ListKept(ctx context.Context, root *sysroot.Root) ([]kept.Path, error) {
	return kept.All(ctx, root, storedTrees(root))
}

// changeKept changes the record while nobody else does. Nothing is recorded after an error.
func changeKept(ctx context.Context, o KeepOptions, f func(*record.Kept) error) (err error) {
	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	k, err := o.Root.Kept()
	if err == nil {
		err = f(k)
	}
	if err == nil {
		err = o.Root.SetKept(k)
	}
	return err
}

// storedTrees returns what says which trees the store has.
func storedTrees(root *sysroot.Root) func(tree string) bool {
	dir := root.Store().Dir()
	return func(tree string) bool { return dir.Exists(layout.ManifestPath(layout.SplitTreePath(tree))) }
}

func isDirectory(root *sysroot.Root, name string) bool {
	info, err := root.Stat(name)
	return err == nil && info.IsDir()
}
