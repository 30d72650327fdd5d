package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/index"
)

// Pool is the packages of some sources, to be looked up. It is of use only inside the
// call that it is handed to.
type Pool struct {
	parts []*part
	// Packages of a directory, by their names and by what they provide.
	local, provided map[string][]*Available
}

// part is one source of a pool.
type part struct {
	source *backends.Source
	state  *State
	index  *index.Index
	files  filesOf
}

// Available is a package that a source offers.
type Available struct {
	*pkginfo.Listed
	Source *backends.Source
	State  *State // what vouches for it
	// File is its package file on this machine, where it stands in a directory of such.
	File string
}

// With calls f with the packages of sources, in the order of these.
func (r *Repo) With(ctx context.Context, sources []backends.Source, f func(*Pool) error) error {
	return r.with(ctx, sources, &Pool{}, f)
}

func (r *Repo) with(ctx context.Context, sources []backends.Source, pool *Pool, f func(*Pool) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(sources) == 0 {
		return f(pool)
	}
	s := &sources[0]
	state, err := r.State(s)
	if err != nil {
		return err
	}
	name := sourceDir(s.Name) + "/" + indexFile
	file, err := r.Root.Store().Dir().OpenFile(name, unix.O_RDONLY, 0)
	if state == nil || errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = file.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return fmt.Errorf("%s has no index yet: run hashpkg update", s.Name)
	}
	if err != nil {
		return fmt.Errorf("open the index of %s: %w", s.Name, err)
	}
	err = mapped.File(file, func(data []byte) error {
		x, err := index.Open(data)
		if err != nil {
			return advice.Errorf("open the index of %s: %w; run hashpkg update", s.Name, err)
		}
		pool.parts = append(pool.parts, &part{source: s, state: state, index: x})
		return r.with(ctx, sources[1:], pool, f)
	})
	return errors.Join(err, file.Close())
}

// Sources returns the names of the sources.
func (p *Pool) Sources() []string {
	names := make([]string, len(p.parts))
	for i, part := range p.parts {
		names[i] = part.source.Name
	}
	return names
}

// Named returns the packages that have a name, in the order of the sources.
func (p *Pool) Named(name string) ([]*Available, error) {
	return p.answers(name, p.local, (*part).named)
}

// Providing returns the packages that provide a name, or have a file.
func (p *Pool) Providing(name string) ([]*Available, error) {
	return p.answers(name, p.provided, (*part).providing)
}

func (p *Pool) answers(name string, local map[string][]*Available, ask func(*part, string) ([]*pkginfo.Listed, error)) ([]*Available, error) {
	all := slices.Clone(local[name])
	for _, part := range p.parts {
		found, err := ask(part, name)
		if err != nil {
			return nil, advice.Errorf("look in the index of %s: %w; hashpkg clean --all removes it, so that it is fetched again", part.source.Name, err)
		}
		for _, l := range found {
			all = append(all, &Available{Listed: l, Source: part.source, State: part.state})
		}
	}
	return all, nil
}

// Names returns names of packages that begin with prefix, sorted, at most limit.
func (p *Pool) Names(prefix string, limit int) ([]string, error) {
	var all []string
	for _, part := range p.parts {
		names, err := part.index.Names(prefix, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), limit)], nil
}
