package repo

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/repo/fetch"
	"github.com/hashpkg/hashpkg/sysroot"
)

// aptCache is where apt keeps the packages that it fetched, in a root.
const aptCache = "/var/cache/apt/archives"

// item is a package file that is to be in the cache.
type item struct {
	name   string   // for people
	urls   []string // where it comes from
	size   int64
	digest string // "sha256:HEX" or "sha512:HEX"
	apt    string // what apt would call it; "" for what is none of apt's
}

// cacheName returns the name of a file in the cache: "sha256-HEX".
func cacheName(digest string) (string, error) {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if h := newHash(algorithm); !ok || h == nil || len(hex) != 2*h.Size() || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not a digest that package files are fetched by", digest)
	}
	return algorithm + "-" + hex, nil
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// fetchAll brings items into the cache and calls done with the number of each, and its
// path on the host, when it is there. It returns when all are, or with the first error.
func (r *Repo) fetchAll(ctx context.Context, items []item, done func(i int, path string)) error {
	if len(items) == 0 {
		return nil
	}
	dir, err := r.cacheDir()
	if err != nil {
		return err
	}
	defer dir.Close()
	var missing []int
	var sizes []int64
	for i := range items {
		name, err := cacheName(items[i].digest)
		if err != nil {
			return fmt.Errorf("fetch %s: %w", items[i].name, err)
		}
		there, err := r.inCache(ctx, dir, name, &items[i])
		if err != nil {
			return err
		}
		if !there {
			missing, sizes = append(missing, i), append(sizes, items[i].size)
			continue
		}
		done(i, dir.Path(name))
	}
	if len(missing) == 0 {
		return nil
	}
	if r.Offline {
		return fmt.Errorf("fetch %s: %w", items[missing[0]].name, ErrOffline)
	}
	watcher := r.Watch(sizes)
	defer watcher.End()
	jobs := make([]fetch.Job, len(missing))
	for n, i := range missing {
		name, _ := cacheName(items[i].digest) // it was asked for above
		jobs[n] = fetch.Job{
			Request:  fetch.Request{URLs: items[i].urls, Name: items[i].name, Size: items[i].size, Limit: items[i].size, Digest: items[i].digest},
			Open:     func() (*os.File, error) { return openPart(ctx, dir, name) },
			Progress: watcher.Progress(n),
		}
	}
	for n, err := range r.client.FetchAll(ctx, jobs) {
		if err != nil {
			return err
		}
		i := missing[n]
		name, _ := cacheName(items[i].digest)
		if err := publish(dir, name); err != nil {
			return fmt.Errorf("fetch %s: %w", items[i].name, err)
		}
		watcher.Finished(n, items[i].name)
		done(i, dir.Path(name))
	}
	return ctx.Err()
}

// cacheDir opens the cache, and makes it if it is not there.
func (r *Repo) cacheDir() (*beneath.Dir, error) {
	dir := r.Root.Store().Dir()
	if err := dir.MkdirAll(layout.CacheDir, 0o755); err != nil {
		return nil, sysroot.Hint(fmt.Errorf("open the cache: %w", err))
	}
	return dir.OpenDir(layout.CacheDir)
}

// inCache reports whether an item is in the cache, or is now, since apt had it.
func (r *Repo) inCache(ctx context.Context, dir *beneath.Dir, name string, it *item) (bool, error) {
	st, err := dir.Lstat(name)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == it.size:
		return true, nil
	case err == nil:
		return false, dir.RemoveAll(name) // nothing of ours has another size
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	if it.apt == "" {
		return false, nil
	}
	f, err := r.Root.Open(path.Join(aptCache, it.apt))
	if err != nil {
		return false, nil // then it comes from a mirror
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != it.size {
		return false, nil
	}
	return takeCopy(ctx, dir, name, f, it.digest)
}

// takeCopy puts a copy of f into the cache if it has a digest. It is written as a file
// that is being fetched: one that is not whole is continued by the next fetch.
func takeCopy(ctx context.Context, dir *beneath.Dir, name string, f io.Reader, digest string) (bool, error) {
	part, err := openPart(ctx, dir, name)
	if err != nil {
		return false, err
	}
	algorithm, sum, _ := strings.Cut(digest, ":")
	h := newHash(algorithm)
	if err = part.Truncate(0); err == nil {
		_, err = io.Copy(io.MultiWriter(io.NewOffsetWriter(part, 0), h), f)
	}
	is := err == nil && hex.EncodeToString(h.Sum(nil)) == sum
	if is {
		err = dir.Rename(dir, name+partEnd, name)
	} else {
		err = errors.Join(err, dir.RemoveIfThere(name+partEnd))
	}
	return is && err == nil, errors.Join(err, part.Close())
}

// partEnd ends the name of a file that is being fetched.
const partEnd = ".part"

// openPart opens what there is of a file, and keeps other processes from writing to it.
func openPart(ctx context.Context, dir *beneath.Dir, name string) (*os.File, error) {
	for {
		f, err := dir.OpenFile(name+partEnd, unix.O_RDWR|unix.O_CREAT, 0o644)
		if err != nil {
			return nil, err
		}
		if err := waitForLock(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// Who had it before may have given it its name, or removed it.
		var have unix.Stat_t
		st, err := dir.Lstat(name + partEnd)
		if err == nil && unix.Fstat(int(f.Fd()), &have) == nil && st.Ino == have.Ino && st.Dev == have.Dev {
			if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 {
				if err := takeBegin(dir, name, f); err != nil {
					return nil, errors.Join(err, f.Close())
				}
				return f, nil
			}
			// It has another name, perhaps that of a file which is none of the cache's.
			err = dir.Remove(name + partEnd)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
}

// takeBegin copies a file into the empty part of it, if another process has brought it
// into the cache since it was looked for.
func takeBegin(dir *beneath.Dir, name string, part *os.File) error {
	whole, _, err := dir.OpenRegular(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer whole.Close()
	_, err = io.Copy(part, whole)
	return err
}

func waitForLock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if err := sleep(ctx); err != nil {
			return err
		}
	}
}

// publish gives a file that was fetched whole its name.
func publish(dir *beneath.Dir, name string) error {
	err := dir.Rename(dir, name+partEnd, name)
	if errors.Is(err, fs.ErrNotExist) && dir.Exists(name) { // another process did
		return nil
	}
	return err
}

// Clean removes the package files of the cache and, with all, the indexes as well. It
// returns how many bytes that were.
func (r *Repo) Clean(ctx context.Context, all bool) (freed int64, err error) {
	dir := r.Root.Store().Dir()
	if !dir.Exists(layout.SourcesDir) && !dir.Exists(layout.CacheDir) {
		return 0, nil
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	freed, err = r.remove(dir, layout.CacheDir, func(string) bool { return true })
	if err != nil || !all {
		return freed, err
	}
	more, err := r.remove(dir, layout.SourcesDir, func(name string) bool { return name != "lock" })
	return freed + more, err
}

func (r *Repo) remove(dir *beneath.Dir, in string, match func(name string) bool) (freed int64, err error) {
	entries, err := dir.ReadDir(in)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		name := in + "/" + e.Name()
		if !match(e.Name()) {
			continue
		}
		err := dir.Walk(name, func(_ string, d *beneath.Dir, base string, _ fs.FileMode) error {
			st, err := d.Lstat(base)
			freed += st.Blocks * 512
			return err
		})
		if err == nil {
			err = dir.RemoveAll(name)
		}
		if err != nil {
			return freed, sysroot.Hint(err)
		}
	}
	return freed, nil
}
