package transaction

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// makeGeneration makes trees for the packages that have changed, and switches to a
// generation with them. It returns the generation that is active then, or with
// DryRun would be.
func (s *syncer) makeGeneration(ctx context.Context) (*record.Generation, error) {
	made, err := s.plan()
	if err != nil {
		return nil, err
	}
	for _, t := range made.Trees {
		key := layout.TreePath(t.Name, t.Tree)
		r := TreeReport{Name: t.Name, Version: t.Version, Architecture: t.Architecture, Tree: t.Tree}
		if made.Generation != nil && !slices.ContainsFunc(s.active.Trees, func(o record.Tree) bool { return o.Path() == key && o.Identity == t.Identity }) {
			r.Copied = t.Manifest.Copied()
			s.result.Trees = append(s.result.Trees, r)
		}
	}
	s.result.Gone = append(s.result.Gone, made.Gone...)
	switch {
	case made.Generation == nil:
		return s.active, nil
	case s.DryRun:
		s.result.Changed = true
		return made.Generation, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.Progress(Progress{Step: "committing"})
	next := made.Generation.Next(0, s.Now)
	next.Run = s.Run
	if err := s.writer.Commit(ctx, newManifests(made.Trees), next); err != nil {
		return nil, err
	}
	s.result.Generation, s.result.Changed = next.ID, true
	return next, nil
}

func (s *syncer) plan() (*plan.SystemPlan, error) {
	defaults, err := s.Root.DefaultLibraries()
	if err != nil {
		return nil, err
	}
	in := plan.SystemInput{
		Generation: s.active,
		Occupied:   s.Root.Store().Manifests,
		Loads: func(t *record.Tree, link string) bool {
			return defaults.Has(t.Places[link], variants(t, link)) && !defaults.HasScript(t.Places[link])
		},
	}
	if in.ToRoot, err = s.Root.ToRoot(); err != nil {
		return nil, err
	}
	stay := map[string]bool{}
	var keys []pkginfo.Key // of in.Packages
	s.trees = make(map[pkginfo.Key]string, len(s.packages))
	for _, p := range s.packages {
		scan := s.scans[p.Key]
		switch {
		case scan == nil:
			if tree := s.state.Packages[p.Key].Tree; tree != "" {
				s.trees[p.Key] = tree
				stay[tree] = true
			}
		case scan.Libraries != nil:
			in.Packages = append(in.Packages, scan.Libraries)
			keys = append(keys, p.Key)
		}
	}
	in.Stays = func(t *record.Tree) bool { return stay[t.Path()] }
	made, err := plan.MakeSystem(in)
	if err != nil {
		return nil, err
	}
	for i, t := range made.Trees {
		s.trees[keys[i]] = layout.TreePath(t.Name, t.Tree)
	}
	return made, nil
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
