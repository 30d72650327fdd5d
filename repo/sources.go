package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
)

// AddRelease writes a file of sources for a release that a format knows by name. It
// returns the sources.
func (r *Repo) AddRelease(ctx context.Context, name string) ([]backends.Source, error) {
	sources, err := r.Release(ctx, name)
	if err != nil {
		return nil, err
	}
	if file := sources[0].File; file != "" {
		return nil, fmt.Errorf("add %s: %s has it already", name, file)
	}
	format, err := r.formatOf(&sources[0])
	if err != nil {
		return nil, err
	}
	return sources, r.addFile(name+format.SourcesExtension(), format.FormatSources(sources))
}

// AddFile takes over a file of sources as apt or dnf have them. name is what it is
// called, and says which of them; others that have a source of the same name are an error.
func (r *Repo) AddFile(ctx context.Context, name string, text []byte) ([]backends.Source, error) {
	known, err := r.Sources(ctx)
	if err != nil {
		return nil, err
	}
	base := path.Base(name)
	for _, f := range r.formats() {
		stem, ok := strings.CutSuffix(base, f.SourcesExtension())
		if !ok {
			continue
		}
		if err := checkSourceName(stem); err != nil {
			return nil, err
		}
		sources, err := f.ParseSources(name, text)
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			if err := checkSourceName(s.Name); err != nil {
				return nil, err
			}
			if i := slices.IndexFunc(known, func(o backends.Source) bool { return o.Name == s.Name }); i >= 0 {
				return nil, fmt.Errorf("add %s: %s has a source %s already", name, known[i].File, s.Name)
			}
		}
		if len(sources) == 0 {
			return nil, fmt.Errorf("add %s: it has no source that is switched on", name)
		}
		return sources, r.addFile(base, text)
	}
	var ends []string
	for _, f := range r.formats() {
		ends = append(ends, f.SourcesExtension())
	}
	return nil, fmt.Errorf("add %s: the name of a file of sources ends in %s", name, strings.Join(ends, " or "))
}

func (r *Repo) addFile(base string, text []byte) error {
	file := SourcesDir + "/" + base
	if _, err := r.Root.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is there already", file)
		}
		return fmt.Errorf("add sources: %w", err)
	}
	if err := r.Root.WriteFile(file, text, 0o644); err != nil {
		return ownersHint(fmt.Errorf("add sources: %w", err))
	}
	r.sources = nil
	return nil
}

// RemoveSource removes the file of hashpkg's own that names a source or release, with
// all sources in it, and what is known of them. It returns those.
func (r *Repo) RemoveSource(ctx context.Context, name string) ([]backends.Source, error) {
	all, err := r.Sources(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(s backends.Source) bool { return s.Name == name || releaseOf(&s) == name })
	if i < 0 {
		return nil, advice.Errorf("remove %s: %w; hashpkg sources lists those that there are", name, ErrNoSource)
	}
	file := all[i].File
	if path.Dir(file) != SourcesDir {
		return nil, fmt.Errorf("remove %s: it is named by %s, which is not hashpkg's", name, file)
	}
	var gone []backends.Source
	for _, s := range all {
		if s.File == file {
			gone = append(gone, s)
		}
	}
	if err := r.Root.Remove(file); err != nil {
		return nil, ownersHint(fmt.Errorf("remove sources: %w", err))
	}
	r.sources = nil
	for _, s := range gone {
		if err := r.Root.Store().Dir().RemoveAll(sourceDir(s.Name)); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// ownersHint says first what to do about a permission error: sources belong to the root, whatever
// the prefix is.
func ownersHint(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return advice.First("run this as root, or name the release with --from in each command, which needs no file", err)
	}
	return err
}
