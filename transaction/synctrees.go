package transaction

import (
	"context"
	"fmt"
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
	case s.DryRun && made.Generation == nil:
		return s.active, nil
	case s.DryRun:
		s.result.Changed = true
		return made.Generation, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	of := made.Generation
	if of == nil {
		of = s.active
	}
	next := of.Next(0, s.Now)
	views, err := s.refreshViews(ctx, next)
	if err != nil {
		return nil, err
	}
	if made.Generation == nil && record.SameTrees(next, s.active) {
		return s.active, nil
	}
	s.Progress(Progress{Step: "committing"})
	next.Run = s.Run
	if err := s.writer.Commit(ctx, append(newManifests(made.Trees), views...), next); err != nil {
		return nil, err
	}
	s.result.Generation, s.result.Changed = next.ID, true
	return next, nil
}

// refreshViews sets the views of a generation anew where the host's files have changed that
// indexes of views follow from. It returns those that the store has not got yet. What goes
// wrong is a warning: the views stay as they are then.
func (s *syncer) refreshViews(ctx context.Context, next *record.Generation) ([]*record.Manifest, error) {
	s.inputs = hostInputs(s.Root)
	if s.inputs == s.state.Views || !slices.ContainsFunc(next.Trees, func(t record.Tree) bool { return t.View != "" }) {
		return nil, nil
	}
	trees := slices.Clone(next.Trees)
	views, warnings, err := s.writer.viewsOf(ctx, next)
	s.result.Warnings = append(s.result.Warnings, warnings...)
	if err == nil || ctx.Err() != nil {
		return views, ctx.Err()
	}
	s.result.Warnings = append(s.result.Warnings, fmt.Sprintf("views stay as they are: %v", err))
	next.SetTrees(trees)
	s.inputs = ""
	return nil, nil
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
