package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot/kept"
	"github.com/hashpkg/hashpkg/transaction/verify"
)

// manifest returns the manifest of a tree that can be read, or why it cannot.
func (r *repairer) manifest(tree string) (*record.Manifest, error) {
	if m := r.manifests[tree]; m != nil {
		return m, nil
	}
	name, dir := layout.SplitTreePath(tree)
	return r.store().Manifest(name, dir)
}

// repairTrees makes again what is missing or wrong in trees, from the objects.
func (r *repairer) repairTrees(ctx context.Context) error {
	places := verify.NewPlaces(r.Root)
	var later []string // which other trees' programs make files of
	for _, p := range r.order {
		if moved := places.Moved(r.manifests[p]); moved != nil {
			r.remains(*moved, "move the store back, or let a link or a mount lead to it from there; or install the package again, with the prefix that the store has now")
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, d := range verify.Bindings(r.store(), r.Root.Prefix(), r.manifests[p], r.manifest) {
			r.remains(d, "bind it anew with hashpkg rebind, or install the package again")
		}
		if r.lacksGenerated(r.manifests[p]) {
			later = append(later, p)
			continue
		}
		if err := r.repairTree(r.manifests[p], p); err != nil {
			return err
		}
	}
	for _, p := range later {
		if err := r.generateAgain(ctx, r.manifests[p]); err != nil {
			return err
		}
		if err := r.repairTree(r.manifests[p], p); err != nil {
			return err
		}
	}
	return nil
}

func (r *repairer) repairTree(m *record.Manifest, p string) error {
	damaged, copies, err := r.check.Tree(m)
	if err != nil {
		return err
	}
	r.result.Checked += len(m.Files) + len(m.Links)
	paths, err := r.sortOut(m, p, damaged)
	if err != nil {
		return err
	}
	for _, c := range copies {
		paths = append(paths, c.File.Path)
		r.result.Linked++
		r.result.Saved += c.Size
	}
	if !r.DryRun && len(paths) > 0 {
		has := func(f *record.File) bool { return !r.lost[f.Object] }
		err := r.staging.Mend(m, paths, has, func(name, at string) error {
			if at == "." {
				return r.take(name, p, p, "tree", "was in the way")
			}
			return r.take(name, p+"/"+at, p, at, "was in the way")
		})
		if err != nil {
			return err
		}
	}
	return r.remaining(m, damaged)
}

// sortOut returns the paths of a tree that are to be made again, and moves away or mends
// what else is damaged.
func (r *repairer) sortOut(m *record.Manifest, p string, damaged []store.Damage) (paths []string, err error) {
	handled := map[string]bool{}
	isHandled := func(file string) bool {
		for i, c := range file + "/" {
			if c == '/' && handled[file[:i]] {
				return true
			}
		}
		return false
	}
	// Parents come first: a path ends before those below it.
	slices.SortStableFunc(damaged, func(a, b store.Damage) int { return strings.Compare(a.File, b.File) })
	for _, d := range damaged {
		file := m.Lookup(d.File)
		lost := file != nil && file.Type == record.TypeFile && r.lost[file.Object]
		switch {
		case d.Kind == store.DamageTreeMissing:
			r.mended(d.Path, d.What, "made again from its objects")
			return []string{"."}, nil
		case d.Kind == store.DamageEdit, isHandled(d.File):
			continue
		case d.Kind == store.DamageFileUnknown:
			handled[d.File] = true
			err = r.take(p+"/"+d.File, "", p, d.File, d.What)
		case lost && r.isThere(p+"/"+d.File):
			err = r.take(p+"/"+d.File, "", p, d.File, d.What)
		case lost:
		case d.Kind == store.DamageFileMetadata && file.Type == record.TypeDirectory:
			if !r.DryRun {
				err = r.staging.MendDirectory(m, file)
			}
			r.mended(d.Path, d.What, "set again")
		default:
			top := r.top(p, d.File)
			handled[top] = true
			paths = append(paths, top)
			r.mended(r.store().Path(p+"/"+top), d.What, "made again from its manifest and objects")
		}
		if err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// top returns the first element on the way to a file of a tree that is no directory, or
// the file.
func (r *repairer) top(tree, file string) string {
	for i, c := range file {
		if c != '/' {
			continue
		}
		if isDir, err := r.isDirectory(tree + "/" + file[:i]); err != nil || !isDir {
			return file[:i]
		}
	}
	return file
}

// isThere reports whether something stands at a name below the prefix.
func (r *repairer) isThere(name string) bool {
	_, err := r.store().Dir().Lstat(name)
	return err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, beneath.ErrLink)
}

// remaining tells what is damaged in a tree still, or in a dry run would be.
func (r *repairer) remaining(m *record.Manifest, before []store.Damage) (err error) {
	after := before
	if r.DryRun {
		after = nil
		for _, d := range before {
			if file := m.Lookup(d.File); d.Kind == store.DamageEdit || file != nil && r.lost[file.Object] {
				after = append(after, d)
			}
		}
	} else if len(before) > 0 {
		if after, _, err = r.check.Tree(m); err != nil {
			return err
		}
	}
	for _, d := range after {
		r.remains(d, r.hint(m, d))
	}
	return nil
}

func (r *repairer) hint(m *record.Manifest, d store.Damage) string {
	switch {
	case d.Kind == store.DamageEdit:
		return "its manifest is not the one that it was made with: give its package, and those that were installed with it: hashpkg verify --repair --from " + m.Package.File +
			"; if that is another one by now, move manifest and tree away, and install the package again"
	case m.Origin == record.OriginView && isGenerated(m, d.File):
		return "it was made when the view was, and cannot be made again (" + cmp.Or(r.unmade[m], "something else is damaged") + "): remove the packages that see the view (hashpkg view NAME), run hashpkg gc --keep 1, and install them again"
	case m.Origin == record.OriginView:
		return "mend the trees that it is merged from, and run this again"
	case m.Origin == record.OriginSystem:
		return fmt.Sprintf("install version %s of package %s again, then run hashpkg verify --repair; or give its package file with --from", m.Version, m.Name)
	}
	return "give its package: hashpkg verify --repair --from " + m.Package.File
}

// findUsers finds the programs of the system that lead to trees.
func (r *repairer) findUsers(ctx context.Context) error {
	r.users = map[string][]string{}
	keys, err := r.Root.EditedPackages()
	if err != nil {
		return err
	}
	for _, key := range keys {
		edits, err := r.Root.Edits(key)
		if err != nil {
			r.note("%v", err)
			continue
		}
		for _, f := range edits.Files {
			one := &record.PackageEdits{Files: []record.EditedFile{f}}
			for _, t := range graph.OfEdits(one, func(t string) bool { return strings.Count(t, "/") == 1 }) {
				r.users[t] = append(r.users[t], f.Path)
			}
		}
	}
	pins, err := r.Root.Pins()
	if err != nil && !r.pinsMended {
		r.note("%v", err)
	}
	for _, p := range pins {
		tree := layout.TreePath(p.Library, p.Tree)
		if p.Program != record.EveryProgram && !slices.Contains(r.users[tree], p.Program) {
			r.users[tree] = append(r.users[tree], p.Program)
		}
	}
	programs, err := kept.All(ctx, r.Root, func(t string) bool { return r.Root.Store().Dir().Exists(layout.ManifestPath(layout.SplitTreePath(t))) })
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	if err != nil {
		r.note("%v", err)
		return nil
	}
	for _, k := range programs {
		for _, tree := range k.Trees {
			r.users[tree] = append(r.users[tree], k.Path)
		}
	}
	return nil
}

// lead notes to which trees one leads.
func (r *repairer) lead(tree string, to []string) {
	r.to[tree] = to
	for _, t := range to {
		r.from[t] = append(r.from[t], tree)
	}
}

// affected returns who leads to a tree, directly or through others.
func (r *repairer) affected(tree string) []string {
	found := map[string]bool{}
	if tree == "" {
		return []string{}
	}
	for p := range graph.Reachable([]string{tree}, r.from) {
		if m := r.manifests[p]; m != nil && p != tree {
			found[m.Spec()] = true
		}
		for _, user := range r.users[p] {
			found[user] = true
		}
	}
	return append([]string{}, sortedKeys(found)...)
}

func (r *repairer) runsAsRoot() bool { return os.Geteuid() == 0 }
