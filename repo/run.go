package repo

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
)

// RunFor is how long a package stays that was brought to be run.
const RunFor = 24 * time.Hour

// Program returns the path in the root of a program of a package: of a private tree that
// is there, or else of one that is installed now, without becoming a default, and stays
// for [RunFor]. Without a name it is the program that is called like the package, or the
// package's only one.
func (r *Repo) Program(ctx context.Context, o InstallOptions, q Request, name string) (string, error) {
	g, err := r.Root.Active()
	if err != nil {
		return "", err
	}
	t := r.installedTree(g, q, o.From)
	if t == nil {
		o.Requests, o.Choice = []Request{q}, record.DefaultKeep
		o.Until, o.Run, o.InstallOptions.Program = r.Now.Add(RunFor), transaction.RunOnce, name
		result, err := r.Install(ctx, o)
		if err != nil {
			return "", err
		}
		for _, w := range result.Plan.Warnings {
			if o.AllowMissing {
				r.Warn(w)
			}
		}
		if g, err = r.Root.Active(); err != nil {
			return "", err
		}
		for _, s := range result.Selection.Packages {
			if s.Asked {
				t = r.installedTree(g, Request{Name: s.Name, Version: s.Version, Architecture: s.Architecture}, o.From)
			}
		}
		if t == nil {
			return "", fmt.Errorf("run %s: it was installed, and another process has removed it", q)
		}
	}
	return ProgramOf(t, r.Root.Prefix(), name)
}

// installedTree returns the highest private version that a request fits, of a release if
// one is named; nil for none.
func (r *Repo) installedTree(g *record.Generation, q Request, release string) *record.Tree {
	var found *record.Tree
	for _, t := range g.Find(q.Name, q.Version) { // the last is the highest
		if t.Origin == record.OriginPrivate && (release == "" || t.Release == release) &&
			(q.Architecture == "" || q.Architecture == t.Architecture) && !t.Expired(r.Now) {
			found = t
		}
	}
	return found
}

// ProgramOf returns the path in the root of a program of a tree: see [Repo.Program].
func ProgramOf(t *record.Tree, prefix, name string) (string, error) {
	var programs []string
	for _, l := range t.Links {
		if dir := path.Dir(l); dir == "bin" || dir == "sbin" {
			programs = append(programs, l)
		}
	}
	wanted := name
	if wanted == "" {
		wanted = t.Name
	}
	i := slices.IndexFunc(programs, func(l string) bool { return path.Base(l) == wanted })
	if i < 0 && name == "" {
		// What is only another name of a program does not count.
		own := slices.DeleteFunc(slices.Clone(programs), func(l string) bool {
			return slices.ContainsFunc(t.Offers, func(o record.Offer) bool { return o.Link == l })
		})
		if len(own) == 1 {
			i = slices.Index(programs, own[0])
		}
	}
	if i < 0 {
		if len(programs) == 0 {
			return "", fmt.Errorf("run %s: it has no programs", t.Spec())
		}
		names := make([]string, len(programs))
		for j, l := range programs {
			names[j] = path.Base(l)
		}
		return "", advice.Errorf("run %s: it has no program %s; name one with --program: %s", t.Spec(), wanted, strings.Join(names, ", "))
	}
	return path.Join(prefix, t.Path(), programs[i]), nil
}
