package transaction

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// mergeViews returns the manifests of those views that the store has not got yet. trees are
// those that are being installed; the others are in the store.
func (w *Writer) mergeViews(planned []plan.PlannedView, trees []*record.Manifest) ([]*record.Manifest, error) {
	s := w.root.Store()
	fresh := map[string]*record.Manifest{}
	for _, m := range trees {
		fresh[layout.TreePath(m.Name, m.Tree)] = m
	}
	var views []*record.Manifest
	for _, p := range planned {
		_, err := s.PackageFile(layout.ViewName, view.Dir(p.Identity))
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNoManifest) {
			return nil, err
		}
		parts := p.Parts
		err = parts.Place(func(m *record.Manifest) (*record.Manifest, error) {
			if placed := fresh[layout.TreePath(m.Name, m.Tree)]; placed != nil {
				return placed, nil
			}
			return s.Manifest(m.Name, m.Tree)
		})
		if err != nil {
			return nil, err
		}
		views = append(views, view.Merge(parts))
	}
	if len(views) > 0 {
		if err := w.stageRelease(); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// stageRelease stages the file that every view has and no package: see [view.Release].
func (w *Writer) stageRelease() error {
	_, _, err := w.staging.Add(strings.NewReader(view.Release), int64(len(view.Release)))
	return err
}

// stageMade stages the bytes of what hashpkg makes for new trees.
func stageMade(root *sysroot.Root, staging *store.Staging, trees []*record.Manifest, architecture string) (warnings []string, err error) {
	place, err := LauncherPlace(root, architecture)
	if err != nil {
		return nil, err
	}
	known := map[string]*record.Manifest{}
	for _, m := range trees {
		known[layout.TreePath(m.Name, m.Tree)] = m
	}
	read := TreeFiles(root.Store(), known, staging)
	for _, m := range trees {
		for i := range m.Files {
			f := &m.Files[i]
			if !f.IsMade() {
				continue
			}
			b, err := plan.MadeBytes(place, m, f, read)
			var refused *elfedit.RefusedError
			if plan.LinkInstead(place, m, f, err) {
				if !errors.As(err, &refused) {
					continue // it names the machine's own paths, as the package does
				}
				warnings = append(warnings, fmt.Sprintf("programs that are linked with %s of %s would not be bound to it: %s", f.Stub, m.Spec(), refused.Reason))
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("make %s of %s: %w", f.Path, m.Spec(), err)
			}
			d, n, err := staging.Add(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return nil, err
			}
			if f.IsDev() { // what it is made from was not there when it was planned
				f.Object, f.Source, f.Size = d, d, n
			}
			if d != f.Object {
				return nil, fmt.Errorf("make %s of %s: internal error: its digest is %s, and %s was planned", f.Path, m.Spec(), d, f.Object)
			}
		}
	}
	return warnings, nil
}

// LauncherPlace returns what launchers of a root of this architecture are made for.
func LauncherPlace(root *sysroot.Root, architecture string) (plan.Place, error) {
	real, err := root.RealPrefix()
	return plan.Place{Prefix: root.Prefix(), RealPrefix: real, Architecture: architecture}, err
}

// ViewLauncher returns the bytes of a launcher that runs a program in the views of trees,
// which are seen as one, and with their libraries if these are asked for.
func ViewLauncher(root *sysroot.Root, g *record.Generation, trees []*record.Tree, program string, libraries bool) ([]byte, error) {
	place, err := LauncherPlace(root, g.Architecture)
	if err != nil {
		return nil, err
	}
	m, err := root.Store().Manifest(trees[0].Name, trees[0].Dir)
	if err != nil {
		return nil, err
	}
	c := place.Config(m, &record.File{Launches: program})
	c.Tree, c.Libraries = "", libraries
	// Which views a running process sees together is recognized by the real paths of their
	// directories, which its mount names: see [sysroot.Mount.JoinedViews].
	views := []string{}
	for _, t := range trees {
		v := place.RealPrefix + "/" + layout.TreePath(layout.ViewName, t.View)
		if !slices.Contains(views, v) {
			views = append(views, v)
		}
	}
	if len(views) > 1 {
		c.View, c.More = views[0], views[1:]
	}
	found := false
	for _, t := range trees {
		if !libraries {
			break
		}
		has, err := fitLibraries(root, t)
		if err != nil {
			return nil, fmt.Errorf("show the libraries of %s: %w", t.Spec(), err)
		}
		found = found || has
	}
	if libraries && !found {
		return nil, errors.New("show its libraries: it has none, for there is no linker in it: a compiler of its release, named beside it, brings them")
	}
	return place.Launcher(c)
}

// fitLibraries reports whether a tree's view has libraries, and returns an error if programs
// of this machine would not start with these.
func fitLibraries(root *sysroot.Root, t *record.Tree) (has bool, err error) {
	v, err := root.Store().Manifest(layout.ViewName, t.View)
	if err != nil || !view.HasLibraries(v) {
		return false, err
	}
	var closure []*record.Manifest
	for _, merged := range v.Merged {
		m, err := root.Store().Manifest(layout.SplitTreePath(merged))
		if err != nil {
			return false, err
		}
		closure = append(closure, m)
	}
	unfit := view.Unfit(closure, func(p string) []elfedit.VersionDef {
		b, err := os.ReadFile(p) // where the program is run
		if err != nil {
			return nil
		}
		info, err := elfedit.Inspect(b)
		if err != nil {
			return nil
		}
		return info.VersionDefs
	})
	if unfit != "" {
		return true, fmt.Errorf("%s is older there than here, and programs of this machine would not start with it", unfit)
	}
	return true, nil
}
