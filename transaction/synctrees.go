package transaction

import (
	"context"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// makeGeneration makes trees for the packages that have changed, and switches to a
// generation with them. It returns the generation that is active then, or with
// DryRun would be.
func (s *syncer) makeGeneration(ctx context.Context) (*record.Generation, error) {
	plan, err := s.plan()
	if err != nil {
		return nil, err
	}
	for _, t := range plan.Trees {
		key := layout.TreePath(t.Name, t.Tree)
		r := TreeReport{Name: t.Name, Version: t.Version, Architecture: t.Architecture, Tree: t.Tree}
		if plan.Generation != nil && !slices.ContainsFunc(s.active.Trees, func(o record.Tree) bool { return o.Path() == key && o.Identity == t.Identity }) {
			r.Copied = t.Manifest.Copied()
			s.result.Trees = append(s.result.Trees, r)
		}
	}
	s.result.Gone = append(s.result.Gone, plan.Gone...)
	switch {
	case plan.Generation == nil:
		return s.active, nil
	case s.DryRun:
		s.result.Changed = true
		return plan.Generation, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.Progress(Progress{Step: "committing"})
	next, err := commit(s.Root, s.staging, newManifests(plan.Trees), plan.Generation, s.active, s.Now)
	if err == nil {
		s.result.Generation, s.result.Changed = next.ID, true
	}
	return next, err
}

func (s *syncer) plan() (*plan.SystemPlan, error) {
	defaults, err := s.Root.DefaultLibraries()
	if err != nil {
		return nil, err
	}
	in := plan.SystemInput{
		Generation: s.active,
		Occupied:   s.Root.Store().Manifests,
		Shares:     s.sharesFiles,
		Loads: func(t *record.Tree, link string) bool {
			return defaults.Has(t.Places[link], variants(t, link)) && s.isInstalled(t, link)
		},
	}
	if in.ToRoot, err = s.Root.ToRoot(); err != nil {
		return nil, err
	}
	stay := map[string]bool{}
	s.trees = make(map[pkginfo.Key]string, len(s.packages))
	for _, p := range s.packages {
		scan := s.scans[p.Key]
		switch {
		case scan == nil:
			if tree := s.state.Packages[p.Key].Tree; tree != "" {
				s.trees[p.Key] = tree
				stay[tree] = true
			}
		case scan.libraries != nil:
			in.Packages = append(in.Packages, scan.libraries)
		}
	}
	in.Stays = func(t *record.Tree) bool { return stay[t.Path()] }
	plan, err := plan.MakeSystem(in)
	if err != nil {
		return nil, err
	}
	for _, p := range s.changed {
		if m := s.scans[p.Key].libraries; m != nil {
			s.trees[p.Key] = layout.TreePath(m.Name, m.Tree)
		}
	}
	return plan, nil
}

// variants returns where a tree's builds of a library for certain processors are in
// the root.
func variants(t *record.Tree, link string) []string {
	var places []string
	for l, place := range t.Places {
		if strings.HasPrefix(l, path.Dir(link)+"/glibc-hwcaps/") && path.Base(l) == path.Base(link) {
			places = append(places, place)
		}
	}
	return places
}

// isInstalled reports whether the library that a tree has is still the file that
// its place in the root leads to. Somebody may have put another there, or a newer
// one beside it to which ldconfig has turned the link.
func (s *syncer) isInstalled(t *record.Tree, link string) bool {
	if t.Copied {
		return true // the farm leads to the place itself
	}
	file := s.Root.Store().Path(t.Path() + "/" + link)
	for _, p := range s.changed {
		m := s.scans[p.Key].libraries
		if m == nil || m.Name != t.Name || m.Tree != t.Tree {
			continue
		}
		for _, l := range m.Links {
			if f := m.Lookup(l.File()); l.Path == link && f != nil {
				file = f.System
			}
		}
	}
	has, err := os.Stat(file)
	if err != nil {
		return false
	}
	host, err := s.Root.HostPath(t.Places[link])
	if err != nil {
		return false
	}
	is, err := os.Stat(host)
	return err == nil && os.SameFile(has, is)
}

// sharesFiles reports whether the files of a tree that is there are the very files
// that the distribution has now.
func (s *syncer) sharesFiles(m *record.Manifest) bool {
	for _, f := range m.Files {
		if f.Type != record.TypeFile {
			continue
		}
		a, errA := os.Lstat(s.Root.Store().Path(layout.TreePath(m.Name, m.Tree) + "/" + f.Path))
		b, errB := os.Lstat(f.System)
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			return false
		}
	}
	return true
}
