package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/fetch"
	"github.com/hashpkg/hashpkg/repo/index"
	"github.com/hashpkg/hashpkg/sysroot"
)

// MaxAge is how old what is known of a source may be before it is looked at again
// unasked.
const MaxAge = 24 * time.Hour

// ErrReplayed is returned (wrapped) for a description that is older than one that was
// seen before.
var ErrReplayed = errors.New("it is older than the one that was seen before")

// ErrExpired is returned (wrapped), where expiry is an error, for a description that was
// to be replaced by now.
var ErrExpired = errors.New("it has expired")

// Updated is what became of one source.
type Updated struct {
	Source  *backends.Source
	State   *State // nil if nothing is known of it
	Changed bool   // its indexes were fetched
	Err     error  // why not; what was known before is known still
}

// Update looks at sources, several at a time: of those that have changed it fetches the
// indexes. With an age, it is content with what is not older. It has a result for each
// source, in their order; an error is one of ctx or of the root.
func (r *Repo) Update(ctx context.Context, sources []backends.Source, age time.Duration) ([]Updated, error) {
	results := make([]Updated, len(sources))
	for i := range sources {
		results[i].Source = &sources[i]
	}
	stale, err := r.stale(results, age)
	if err != nil || len(stale) == 0 {
		return results, err
	}
	if r.Offline {
		for _, i := range stale {
			if results[i].State == nil {
				results[i].Err = fmt.Errorf("update %s: %w", sources[i].Name, ErrOffline)
			}
		}
		return results, nil
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Who had the lock may have updated them.
	if stale, err = r.stale(results, age); err != nil {
		return nil, err
	}
	work := make([]*updating, len(stale))
	for n, i := range stale {
		r.sweep(results[i].Source)
		work[n] = &updating{repo: r, result: &results[i], source: results[i].Source}
	}
	return results, r.updateAll(ctx, work)
}

// sweep removes what a killed update has left of a source. The lock is held, and who
// has it is the only one that writes there.
func (r *Repo) sweep(s *backends.Source) {
	_ = r.Root.Store().Dir().SweepTemp(sourceDir(s.Name), 0) // what cannot be removed is in nobody's way
}

// stale fills in what is known of sources, and returns the numbers of those that are to
// be updated.
func (r *Repo) stale(results []Updated, age time.Duration) ([]int, error) {
	var stale []int
	for i := range results {
		state, err := r.State(results[i].Source)
		if err != nil {
			return nil, err
		}
		results[i].State = state
		if state == nil || age == 0 || r.Now.Sub(state.Updated) > age || !r.hasIndex(results[i].Source) {
			stale = append(stale, i)
		}
	}
	return stale, nil
}

// updateAll updates sources: each step for all of them together.
func (r *Repo) updateAll(ctx context.Context, work []*updating) (err error) {
	defer func() {
		for _, u := range work {
			err = errors.Join(err, u.close())
		}
	}()
	if err := each(ctx, work, (*updating).describe); err != nil {
		return err
	}
	if err := r.fetchParts(ctx, work); err != nil {
		return err
	}
	return each(ctx, work, (*updating).keep)
}

// updating is one source while it is updated.
type updating struct {
	repo   *Repo
	result *Updated
	source *backends.Source

	format  backends.Repositories
	listing *backends.Listing
	state   *State     // what will be known
	files   []*os.File // the indexes that were fetched; nil where nothing has changed
}

// each does a step for those sources that nothing is wrong with, several at a time. The
// error is one of ctx.
func each(ctx context.Context, work []*updating, step func(*updating, context.Context) error) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, u := range work {
		if u.result.Err != nil {
			continue
		}
		g.Go(func() error {
			u.fail(step(u, running))
			return running.Err()
		})
	}
	return g.Wait()
}

func (u *updating) fail(err error) {
	if err != nil && u.result.Err == nil {
		u.result.Err = fmt.Errorf("update %s: %w", u.source.Name, err)
	}
}

func (u *updating) close() (err error) {
	for _, f := range u.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// Ready updates those of sources that are older than MaxAge, and returns an error for
// one of which nothing is known. One that cannot be updated and is known is a warning.
func (r *Repo) Ready(ctx context.Context, sources []backends.Source) error {
	results, err := r.Update(ctx, sources, MaxAge)
	if err != nil {
		return err
	}
	var faults []error
	for _, u := range results {
		switch {
		case u.Err == nil:
		case u.State != nil && !errors.Is(u.Err, trust.ErrSignature) && !errors.Is(u.Err, ErrExpired):
			r.Warn(fmt.Sprintf("%v; what is known since %s is used", u.Err, u.State.Updated.Format("2006-01-02 15:04")))
		default:
			faults = append(faults, u.Err)
		}
	}
	return errors.Join(faults...)
}

// hasIndex reports whether a source's index is there, and one that this program reads.
func (r *Repo) hasIndex(s *backends.Source) bool {
	f, err := r.Root.Store().Dir().OpenFile(sourceDir(s.Name)+"/"+indexFile, unix.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return mapped.File(f, func(data []byte) error {
		_, err := index.Open(data)
		return err
	}) == nil
}

// lock keeps other updates of this root away, and makes what they write into.
func (r *Repo) lock(ctx context.Context) (unlock func(), err error) {
	if err := r.makeDirs(ctx); err != nil {
		return nil, err
	}
	f, err := r.Root.Store().Dir().OpenFile(layout.SourcesDir+"/lock", unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		return nil, sysroot.Hint(fmt.Errorf("update: %w", err))
	}
	for waited := false; ; waited = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil //nolint:errcheck // it was not written to
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		if !waited {
			r.Warn("another update is running: waiting for it")
		}
		if err := sleep(ctx); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// sleep waits a little for another process.
func sleep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// makeDirs makes the directories of sources and of the cache, and the store, if they are
// not there. It takes the root's lock for that, unless it is held.
func (r *Repo) makeDirs(ctx context.Context) (err error) {
	if dir := r.Root.Store().Dir(); dir.Exists(layout.SourcesDir) && dir.Exists(layout.CacheDir) {
		return nil
	}
	makeBoth := func() error {
		dir := r.Root.Store().Dir()
		return sysroot.Hint(errors.Join(dir.MkdirAll(layout.SourcesDir, 0o755), dir.MkdirAll(layout.CacheDir, 0o755)))
	}
	if r.Locked {
		return makeBoth()
	}
	l, err := r.Root.Lock(ctx, sysroot.LockOptions{Command: "hashpkg update", Wait: time.Minute})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	return makeBoth()
}

// describe fetches a source's signed description, and compares it with what is known.
func (u *updating) describe(ctx context.Context) (err error) {
	r, s, old := u.repo, u.source, u.result.State
	if u.format, err = r.formatOf(s); err != nil {
		return err
	}
	architectures := s.Architectures
	if len(architectures) == 0 {
		if architectures, err = u.format.Architectures(r.Root); err != nil {
			return err
		}
	}
	root, end, err := r.keyRoot(s)
	if err != nil {
		return err
	}
	defer end()
	l, err := u.format.List(ctx, root, backends.ListRequest{Source: s, Architectures: architectures, Get: r.getter(s, s.URLs)})
	if err != nil {
		return err
	}
	if err := r.check(s, l, old); err != nil {
		return err
	}
	u.listing = l
	u.state = &State{
		Of: identity(s), Updated: r.Now, Signature: l.Signature, Date: l.Date, ValidUntil: l.ValidUntil,
		Origin: l.Origin, Suite: l.Suite, Codename: l.Codename, Version: l.Version, URLs: l.URLs, Parts: []string{}, Files: l.Files,
	}
	for _, p := range l.Parts {
		u.state.Parts = append(u.state.Parts, p.Digest)
	}
	if old != nil && slices.Equal(old.Parts, u.state.Parts) && r.hasIndex(s) {
		u.state.Packages, u.state.Size = old.Packages, old.Size
		return nil
	}
	u.files = make([]*os.File, len(l.Parts))
	dir := r.Root.Store().Dir()
	if err := dir.MkdirAll(sourceDir(s.Name), 0o755); err != nil {
		return err
	}
	for i := range u.files {
		if u.files[i], err = anonymous(dir, sourceDir(s.Name)); err != nil {
			return err
		}
	}
	return nil
}

// fetchParts fetches the indexes of all sources that have changed.
func (r *Repo) fetchParts(ctx context.Context, work []*updating) error {
	var jobs []fetch.Job
	var of []*updating // whose job it is
	var sizes []int64
	for _, u := range work {
		if u.result.Err != nil || u.files == nil {
			continue
		}
		urls := u.source.URLs
		if len(u.listing.URLs) > 0 {
			urls = u.listing.URLs
		}
		for i := range u.listing.Parts {
			p := &u.listing.Parts[i]
			var all []string
			for _, path := range p.Paths {
				all = append(all, addresses(urls, path)...)
			}
			jobs = append(jobs, fetch.Job{
				Request: fetch.Request{URLs: all, Name: p.Name, Size: p.Size, Limit: p.Size, Digest: p.Digest},
				Open:    func() (*os.File, error) { return reopened(u.files[i]) },
			})
			of, sizes = append(of, u), append(sizes, p.Size)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	watcher := r.Watch(sizes)
	defer watcher.End()
	for i := range jobs {
		jobs[i].Progress = watcher.Progress(i)
	}
	for i, err := range r.client.FetchAll(ctx, jobs) {
		of[i].fail(err)
		if err == nil {
			watcher.Finished(i, of[i].source.Name+" "+jobs[i].Name)
		}
	}
	return ctx.Err()
}

// keep makes the index of a source, if that has changed, and records what is known.
func (u *updating) keep(ctx context.Context) (err error) {
	changed := u.files != nil
	if changed {
		if u.state.Packages, u.state.Size, err = u.makeIndex(ctx); err != nil {
			return err
		}
	}
	if err := u.repo.writeState(u.source, u.state); err != nil {
		return err
	}
	u.result.State, u.result.Changed = u.state, changed
	return nil
}

// check compares a description with the last one and with the time.
func (r *Repo) check(s *backends.Source, listing *backends.Listing, old *State) error {
	if old != nil && listing.Date.Before(old.Date) {
		return fmt.Errorf("%w: its date is %s, and that was %s: the mirror is behind, or somebody replays an old state; try again later, or use another mirror",
			ErrReplayed, listing.Date.Format(time.RFC3339), old.Date.Format(time.RFC3339))
	}
	if listing.Verdict != pkginfo.Good && r.Strict && !s.PackagesSigned {
		return fmt.Errorf("%w: %s", trust.ErrSignature, listing.Reason)
	}
	if !listing.ValidUntil.IsZero() && r.Now.After(listing.ValidUntil) && !s.IgnoreExpiry {
		if r.Strict {
			return fmt.Errorf("%w: it was to be replaced by %s", ErrExpired, listing.ValidUntil.Format(time.RFC3339))
		}
		r.Warn(fmt.Sprintf("%s was to be replaced by %s: security updates since then may be missing", s.Name, listing.ValidUntil.Format(time.RFC3339)))
	}
	return nil
}

// getter returns what fetches small files of a source.
func (r *Repo) getter(s *backends.Source, urls []string) func(ctx context.Context, path string, limit int64) ([]byte, error) {
	return func(ctx context.Context, path string, limit int64) ([]byte, error) {
		return r.client.Get(ctx, fetch.Request{URLs: addresses(urls, path), Name: backends.PlainURL(path), Size: -1, Limit: limit})
	}
}

// addresses returns where a file is: below each mirror, unless path is an address.
func addresses(urls []string, path string) []string {
	if strings.Contains(path, "://") || strings.HasPrefix(path, "file:") {
		return []string{path}
	}
	all := make([]string, len(urls))
	for i, u := range urls {
		all[i] = u + "/" + path
	}
	return all
}

// makeIndex makes one index of those that were fetched.
func (u *updating) makeIndex(ctx context.Context) (packages int, size int64, err error) {
	b := &index.Builder{}
	for i := range u.listing.Parts {
		b.Expected += max(u.listing.Parts[i].Unpacked, u.listing.Parts[i].Size)
	}
	add := func(p *pkginfo.Listed) error {
		packages++
		return b.Add(p)
	}
	for i := range u.listing.Parts {
		if _, err := u.files[i].Seek(0, io.SeekStart); err != nil {
			return 0, 0, err
		}
		if err := u.format.ReadIndex(&u.listing.Parts[i], bufio.NewReaderSize(u.files[i], 64<<10), add); err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", u.listing.Parts[i].Name, err)
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
	}
	size, err = writeNew(u.repo.Root.Store().Dir(), sourceDir(u.source.Name), indexFile, func(w io.Writer) error {
		_, err := b.WriteTo(w)
		return err
	})
	return packages, size, err
}

// anonymous returns a new file in a directory, to be read and written, that has no name.
func anonymous(dir *beneath.Dir, in string) (*os.File, error) {
	name := in + "/" + beneath.TempName()
	f, err := dir.OpenFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err == nil {
		err = dir.Remove(name)
	}
	return f, err
}

// reopened returns another descriptor of a file, for who closes it.
func reopened(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// writeNew puts a file in place, whole and durable or not at all, and returns its size.
func writeNew(dir *beneath.Dir, in, base string, write func(io.Writer) error) (size int64, err error) {
	temp := in + "/" + beneath.TempName()
	f, err := dir.OpenFile(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 256<<10)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = dir.Rename(dir, temp, in+"/"+base)
	}
	if err != nil {
		return 0, errors.Join(err, dir.RemoveIfThere(temp))
	}
	return info.Size(), dir.Sync(in)
}
