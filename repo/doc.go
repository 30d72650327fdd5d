// Package repo installs packages by name: it knows the sources of a root, keeps their
// indexes, chooses what a request needs, fetches it and hands it to package transaction.
//
//	Sources      what files of sources, the package manager and the formats' own tables name
//	Update       signed descriptions and indexes, fetched, verified and kept
//	Pool         the packages of a release, to be looked up
//	Choose       which of them a request needs
//	Install      the same, fetched and installed; and so Upgrade, Locked, Run
//
// What is kept stands in the prefix: in .hashpkg/sources/NAME a source's index and what
// is known of it, in .hashpkg/cache package files by their digests. All of it can be
// removed at any time, and is fetched again when it is needed. Nothing has a name in the
// cache that does not have the digest of that name.
//
// It is one long package because each of the steps above is a few functions over the one
// before, and all share what is kept in the prefix.
package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/repo/fetch"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrNoSource is returned (wrapped) where nothing says where packages come from, or
// nothing has the name that somebody gave.
var ErrNoSource = errors.New("no such source or release")

// noSource is an [ErrNoSource] where nobody has named one.
type noSource string

func (e noSource) Error() string { return string(e) }

// Advice returns what to do, which the text ends with.
func (e noSource) Advice() string { _, hint, _ := strings.Cut(string(e), "; "); return hint }

// Is implements the interface of package errors.
func (e noSource) Is(err error) bool { return err == ErrNoSource }

// ErrOffline is returned (wrapped) for what would have to be fetched, and must not be.
var ErrOffline = errors.New("it would have to be fetched, and --offline does not allow that")

// ErrFetch is what an error is where no mirror has given a file.
var ErrFetch = fetch.ErrFetch

// SourcesDir has files of sources of hashpkg's own, in a root.
const SourcesDir = "/etc/hashpkg/sources.d"

// maxSourcesFile bounds a file of sources.
const maxSourcesFile = 1 << 20

// Options say how a [Repo] does its work.
type Options struct {
	Root *sysroot.Root
	// Sources, if not nil, is the root whose files name sources and whose keys count, in place of
	// Root: an image is made of what the machine knows.
	Sources *sysroot.Root
	Now     time.Time
	// Getenv gives the proxies and the home directory, whose .netrc has passwords; nil
	// for neither.
	Getenv    func(string) string
	UserAgent string
	// Mirrors are addresses of mirrors by release, and "" for one of all others.
	Mirrors map[string]string
	Offline bool // nothing is fetched
	// Strict makes an index that has expired an error, in place of a warning, and one
	// that nobody has signed.
	Strict bool
	// Locked says that who calls holds the root's lock.
	Locked bool
	// Warn, if not nil, is called with what somebody should know who is not stopped by
	// it. It may be called by several goroutines at once.
	Warn func(string)
	// Watch, if not nil, is called with the sizes of files that are going to be fetched,
	// in bytes.
	Watch func(sizes []int64) Watcher
}

// Repo is what a root knows of repositories.
type Repo struct {
	Options
	fetching fetch.Options
	client   *fetch.Client
	sources  []backends.Source // nil until they were read
}

// New returns what a root knows of repositories. It reads nothing yet. The caller closes
// it.
func New(o Options) *Repo {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Watch == nil {
		o.Watch = func([]int64) Watcher { return nobody{} }
	}
	home := ""
	if o.Getenv != nil {
		home = o.Getenv("HOME")
	}
	options := fetch.Options{Getenv: o.Getenv, Home: home, UserAgent: o.UserAgent, Warn: o.Warn}
	return &Repo{Options: o, fetching: options, client: fetch.New(options)}
}

// Fetching returns how servers are asked.
func (r *Repo) Fetching() fetch.Options { return r.fetching }

// sourcesRoot returns the root whose files name sources.
func (r *Repo) sourcesRoot() *sysroot.Root { return cmp.Or(r.Options.Sources, r.Root) }

// Close ends what waits on the network.
func (r *Repo) Close() { r.client.Close() }

// formats returns the formats that have repositories.
func (r *Repo) formats() []backends.Repositories {
	var all []backends.Repositories
	for _, f := range r.Root.Formats() {
		if f, ok := f.(backends.Repositories); ok {
			all = append(all, f)
		}
	}
	return all
}

// formatOf returns the format of a source.
func (r *Repo) formatOf(s *backends.Source) (backends.Repositories, error) {
	for _, f := range r.formats() {
		if f.Name() == s.Format {
			return f, nil
		}
	}
	return nil, fmt.Errorf("%s: no format %q has repositories", s.Name, s.Format)
}

// Sources returns the sources that files name: hashpkg's own, by the names of their
// files, and then those of the root's package managers. Of two with one name the first
// counts.
func (r *Repo) Sources(ctx context.Context) ([]backends.Source, error) {
	if r.sources != nil {
		return r.sources, nil
	}
	all, err := r.ownSources()
	if err != nil {
		return nil, err
	}
	for _, f := range r.formats() {
		found, warnings, err := f.RootSources(ctx, r.sourcesRoot())
		if err != nil {
			return nil, err
		}
		for _, w := range warnings {
			r.Warn(w)
		}
		all = append(all, found...)
	}
	sources := []backends.Source{}
	for _, s := range all {
		if err := checkSourceName(s.Name); err != nil {
			r.Warn(fmt.Sprintf("%s: %v", s.File, err))
			continue
		}
		if !slices.ContainsFunc(sources, func(o backends.Source) bool { return o.Name == s.Name }) {
			sources = append(sources, s)
		}
	}
	r.sources = sources
	return sources, nil
}

// Fetched returns the sources of which there is an index though no file names them: those of
// releases that formats know.
func (r *Repo) Fetched(ctx context.Context) ([]backends.Source, error) {
	named, err := r.Sources(ctx)
	if err != nil {
		return nil, err
	}
	isSeen := map[string]bool{}
	for i := range named {
		isSeen[named[i].Name] = true
	}
	var fetched []backends.Source
	for _, f := range r.formats() {
		for _, release := range f.Releases() {
			for _, s := range f.Release(release, named, r.mirror(release)) {
				if isSeen[s.Name] {
					continue
				}
				isSeen[s.Name] = true
				state, err := r.State(&s)
				if err != nil {
					return nil, err
				}
				if state != nil {
					fetched = append(fetched, s)
				}
			}
		}
	}
	return fetched, nil
}

// mirror returns what settings say of where a release that is known by name is fetched from.
func (r *Repo) mirror(release string) string { return cmp.Or(r.Mirrors[release], r.Mirrors[""]) }

func (r *Repo) ownSources() ([]backends.Source, error) {
	entries, err := r.sourcesRoot().ReadDir(SourcesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read sources: %w", err)
	}
	var all []backends.Source
	for _, e := range entries {
		for _, f := range r.formats() {
			if !strings.HasSuffix(e.Name(), f.SourcesExtension()) {
				continue
			}
			file := SourcesDir + "/" + e.Name()
			text, err := r.sourcesRoot().ReadFile(file, maxSourcesFile)
			if err != nil {
				return nil, fmt.Errorf("read sources: %w", err)
			}
			found, err := f.ParseSources(file, text)
			if err != nil {
				return nil, fmt.Errorf("read sources: %w", err)
			}
			for i := range found {
				found[i].File = file
			}
			all = append(all, together(found, strings.TrimSuffix(e.Name(), f.SourcesExtension()))...)
		}
	}
	return all, nil
}

// together makes one release, called name, of the sources of a file that says nothing of
// releases.
func together(sources []backends.Source, name string) []backends.Source {
	if slices.ContainsFunc(sources, func(s backends.Source) bool { return s.Release != "" && s.Release != s.Name }) {
		return sources
	}
	for i := range sources {
		if len(sources) > 1 {
			sources[i].Release = name
		}
	}
	return sources
}

// Release returns the sources of a release, or one source, by its name: first of those
// that files name, and then of those that a format knows. "" is the release of the first
// source that files name: the machine's own.
func (r *Repo) Release(ctx context.Context, name string) ([]backends.Source, error) {
	all, err := r.Sources(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" {
		if len(all) == 0 {
			return nil, noSource("nothing says where packages come from; name a release, as with --from trixie, or add one, as with hashpkg sources add trixie")
		}
		name = releaseOf(&all[0])
	}
	var found []backends.Source
	for _, s := range all {
		if releaseOf(&s) == name {
			found = append(found, s)
		}
	}
	for _, s := range all {
		if len(found) == 0 && s.Name == name {
			found = []backends.Source{s}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	var known, offered []string
	for _, f := range r.formats() {
		if found := f.Release(name, all, r.mirror(name)); len(found) > 0 {
			return found, nil
		}
		known, offered = append(known, f.Releases()...), append(offered, f.Offered()...)
	}
	for i := range all {
		known = append(known, all[i].Name, releaseOf(&all[i]))
	}
	if question := similar.DidYouMean(name, known); question != "" {
		return nil, advice.Errorf("%w: %s; %s", ErrNoSource, name, question)
	}
	return nil, advice.Errorf("%w: %s; hashpkg sources lists the sources of this machine, and releases that are known are %s", ErrNoSource, name, strings.Join(offered, ", "))
}

func releaseOf(s *backends.Source) string { return cmp.Or(s.Release, s.Name) }

// checkSourceName refuses a name that could not be that of a directory.
func checkSourceName(name string) error {
	ok := len(name) > 0 && len(name) <= 100 && name[0] != '.' && name[0] != '-'
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-+:", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("%.120q cannot be the name of a source: letters, digits and any of ._-+: are allowed", name)
	}
	return nil
}
