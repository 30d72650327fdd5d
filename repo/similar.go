package repo

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/repo/choose"
)

// NotFoundError is a request that no package answers, or several do.
type NotFoundError = choose.NotFoundError

// addElsewhere adds to the [NotFoundError]s that err joins the releases, other than the one
// that was looked in, which have the name: of those that the root names, as far as it has
// their indexes. It fetches nothing.
func (r *Repo) addElsewhere(ctx context.Context, from string, err error) error {
	missing := notFound(err)
	if len(missing) == 0 {
		return err
	}
	looked, serr := r.Release(ctx, from)
	all, lerr := r.Sources(ctx)
	if serr != nil || lerr != nil {
		return err
	}
	for i := range all {
		s := &all[i]
		if state, serr := r.State(s); serr != nil || state == nil || slices.ContainsFunc(looked, func(l backends.Source) bool { return l.Name == s.Name }) {
			continue
		}
		// What cannot be read says nothing, and the names are not found all the same.
		_ = r.With(ctx, all[i:i+1], func(p *Pool) error {
			for _, m := range missing {
				found, serr := p.Named(m.Request.Name)
				if serr == nil && len(found) > 0 && !slices.Contains(m.Elsewhere, releaseOf(s)) {
					m.Elsewhere = append(m.Elsewhere, releaseOf(s))
				}
			}
			return nil
		})
	}
	return err
}

// notFound returns those [NotFoundError]s that err joins of which no package has the name.
func notFound(err error) (missing []*NotFoundError) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, e := range all {
		var m *NotFoundError
		if errors.As(e, &m) && len(m.Near)+len(m.Providers)+len(m.Foreign) == 0 {
			missing = append(missing, m)
		}
	}
	return missing
}

// addSimilar adds to the [NotFoundError]s that err joins the names that may have been
// meant.
func (p *Pool) addSimilar(err error) error {
	for _, m := range notFound(err) {
		// What the root cannot run was not looked at, and is not what is near.
		foreign, serr := p.Named(m.Request.Name)
		if serr != nil {
			return errors.Join(err, serr)
		}
		for _, f := range foreign {
			m.Foreign = append(m.Foreign, choose.Package{Listed: f.Listed, Source: sourceName(f)})
		}
		if len(m.Foreign) > 0 {
			continue
		}
		names, serr := p.Similar(m.Request.Name)
		if serr != nil {
			return errors.Join(err, serr)
		}
		m.Similar = names
	}
	return err
}

// sourceName returns the name of the source that offers a package; "" for a directory.
func sourceName(a *Available) string {
	if a.Source == nil {
		return ""
	}
	return a.Source.Name
}

// Similar returns the names of packages that somebody may have meant who wrote name, the
// likeliest first, three at most.
func (p *Pool) Similar(name string) ([]string, error) {
	names, err := p.Names("", math.MaxInt)
	if err != nil {
		return nil, err
	}
	return similar.Names(name, slices.AppendSeq(names, maps.Keys(p.local))), nil
}
