package inplace

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// swapPrefix starts the name of a file that is about to take another's place, and of
// the one whose place it took until that is removed. Three numbers follow, as far as
// [swap] knows them.
const swapPrefix = ".hashpkg-swap-"

// swap puts the file temp into the place of another.
type swap struct {
	Place
	temp   string
	was    Identity // of the file whose place it takes
	is     Identity // of the file that takes it
	keep   bool     // see Options.KeepName
	moment func(string)
}

// suffix is the end of temp, from which Sweep knows what it finds under that name.
func (s *swap) suffix() string {
	return fmt.Sprintf("-%016x-%016x-%016x", sumName(s.Base), s.was.sum(), s.is.sum())
}

func sumName(base string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(base))
	return h.Sum64()
}

func (s *swap) at(moment string) {
	if s.moment != nil {
		s.moment(moment)
	}
}

// run makes the swap, and removes the file that nobody needs then: the one that was
// replaced, or after an error the other. exact also compares the ctime.
func (s *swap) run(exact bool) error {
	unlock := lock(s.Dir)
	err := s.exchange(exact)
	unlock()
	if err != nil {
		err = pathError("replace", s.path(), err)
	}
	if isKept(err) {
		return err
	}
	rerr := s.Dir.RemoveIfThere(s.temp)
	if rerr != nil && err == nil {
		return pathError("replace", s.path(), fmt.Errorf("it is done, but the old file is left: %v", cause(rerr)))
	}
	return errors.Join(err, rerr)
}

// keptError says that a file which another process put there has another name now.
type keptError struct {
	name string
	err  error
}

func (e *keptError) Error() string {
	return fmt.Sprintf("%v, and the new file is %s, since it could not be put back: %v", ErrChanged, e.name, e.err)
}

func isKept(err error) bool {
	var kept *keptError
	return errors.As(err, &kept)
}

func (e *keptError) Unwrap() error { return ErrChanged }

// maxSwaps ends what a file system without stable inode numbers would have go on for
// ever. It is even: without another process, every file has the name that it had.
const maxSwaps = 100

// exchange is run without what follows. When it returns, the file temp is to be
// removed, unless the error is a *keptError.
func (s *swap) exchange(exact bool) error {
	now, err := Identify(s.Dir, s.Base)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrChanged
	}
	if err != nil {
		return err
	}
	if exact && now != s.was || !now.same(s.was) {
		return ErrChanged
	}
	s.at("looked")
	if !s.swaps() {
		return s.Dir.Rename(s.Dir, s.temp, s.Base)
	}
	put, want := s.is, s.was
	for n := 1; ; n++ {
		err := s.Dir.Exchange(s.Dir, s.temp, s.Base)
		switch {
		case err == nil:
		case n == 1 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)):
			return s.Dir.Rename(s.Dir, s.temp, s.Base)
		case n == 1 && errors.Is(err, fs.ErrNotExist):
			return ErrChanged
		case n == 1:
			return err
		case errors.Is(err, fs.ErrNotExist):
			err := s.Dir.RenameNew(s.Dir, s.temp, s.Base)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err != nil && s.Dir.Exists(s.temp) {
				return &keptError{s.temp, err}
			}
			return ErrChanged
		default:
			return &keptError{s.temp, err}
		}
		s.at("swapped")
		out, err := Identify(s.Dir, s.temp)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return s.swept()
		case err != nil:
			return &keptError{s.temp, err}
		case out.same(want) && n == 1 && s.keep:
			return s.over()
		case out.same(want) && n == 1:
			return nil
		case out.same(want):
			return ErrChanged
		case n >= maxSwaps && n%2 == 0:
			return &keptError{s.temp, errors.New("what has the name is another file each time")}
		}
		put, want = out, put
	}
}

// over puts the old file back, and the new one over it with a rename, so that processes
// that run the old one find it by the name that it had last. Another process's file that
// is seen there stays.
func (s *swap) over() error {
	if err := s.Dir.Exchange(s.Dir, s.temp, s.Base); err != nil {
		return nil // it is done; only the name of the old one is lost
	}
	s.at("back")
	out, err := Identify(s.Dir, s.temp)
	if err != nil || !out.same(s.is) {
		// What came between the two swaps is newer than both files.
		if err := s.Dir.Exchange(s.Dir, s.temp, s.Base); err != nil {
			return &keptError{s.temp, err}
		}
		return ErrChanged
	}
	if now, err := Identify(s.Dir, s.Base); err != nil || !now.same(s.was) {
		return ErrChanged
	}
	return s.Dir.Rename(s.Dir, s.temp, s.Base)
}

// swept finds out what became of a swap that stood still for so long that Sweep went
// on with it.
func (s *swap) swept() error {
	if now, err := Identify(s.Dir, s.Base); err != nil || !now.same(s.is) {
		return ErrChanged
	}
	return nil
}

// swaps reports whether a file is still itself after a swap. That overlayfs may make
// it a copy first, of another inode, is its documented way (overlayfs.rst).
func (s *swap) swaps() bool {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Fstatfs(s.Dir.Fd(), &st) })
	return err != nil || st.Type != unix.OVERLAYFS_SUPER_MAGIC
}

// lock has others wait who swap names of the directory; see the package's comment.
func lock(dir *beneath.Dir) (unlock func()) {
	f, err := dir.OpenFile(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return func() {} // a directory that may be written to and not be read
	}
	for wait := 20 * time.Microsecond; wait < 10*time.Millisecond; wait *= 2 {
		err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(wait)
	}
	return func() { f.Close() } //nolint:errcheck // nothing was written
}

// ReplaceByLink makes name another name of the file target, in one step, if name
// still is the file was, whatever other names that has got or lost. The error wraps
// ErrChanged otherwise.
func ReplaceByLink(dir *beneath.Dir, target string, toDir *beneath.Dir, name string, was Identity) error {
	p := Place{toDir, name}
	is, err := Identify(dir, target)
	if err != nil {
		return err
	}
	now, err := Identify(toDir, name)
	switch {
	case err != nil:
		return err
	case now.dev == is.dev && now.ino == is.ino: // a rename would do nothing, and leave its source
		return nil
	case !now.same(was):
		return pathError("replace", p.path(), ErrChanged)
	}
	s := &swap{Place: p, was: was, is: is}
	s.temp, err = named(p.path(), swapPrefix, s.suffix(), func(temp string) error {
		return toDir.Link(dir, target, temp)
	})
	if err != nil {
		return err
	}
	if linked, err := Identify(toDir, s.temp); err != nil || !linked.same(is) {
		if err == nil {
			err = pathError("replace", dir.Path(target), ErrChanged)
		}
		return errors.Join(err, toDir.RemoveIfThere(s.temp))
	}
	return s.run(false)
}

// Sweep removes what killed processes have left in a directory, and have not touched
// for that time: files that have not taken their place, and those whose place was
// taken. A file that had come there meanwhile is put back. It returns how long it takes
// until the youngest of those that are left has that age; 0 when none is left.
func Sweep(dir *beneath.Dir, age time.Duration) (younger time.Duration, err error) {
	entries, err := dir.ReadDir(".")
	if err != nil {
		return 0, err
	}
	var faults []error
	for _, e := range entries {
		name := e.Name()
		isSwap := strings.HasPrefix(name, swapPrefix)
		if !isSwap && !strings.HasPrefix(name, tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		is, err := Identify(dir, name)
		if err != nil {
			continue
		}
		if left := age - time.Since(time.Unix(is.other.sec, int64(is.other.nsec))); left > 0 {
			younger = max(younger, min(left, age)) // the clock may have been set back
			continue
		}
		if isSwap {
			err = sweepSwap(dir, name, is, entries)
		} else {
			err = dir.RemoveIfThere(name)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return younger, errors.Join(faults...)
}

// sweepSwap ends a swap whose process was killed. A file that is neither of the two
// that were swapped was newer than both when they were; it is put back unless the
// name has another file by now, which is newer still, or none.
func sweepSwap(dir *beneath.Dir, temp string, found Identity, entries []os.DirEntry) error {
	sums, ok := parseSwap(temp)
	if !ok {
		return nil // nothing that this package makes
	}
	if found.sum() == sums.was || found.sum() == sums.is {
		return dir.RemoveIfThere(temp)
	}
	for _, e := range entries {
		if sumName(e.Name()) != sums.base || !e.Type().IsRegular() {
			continue
		}
		copied, err := Identify(dir, e.Name())
		if err != nil || copied.sum() != sums.is {
			break
		}
		s := &swap{Place: Place{dir, e.Name()}, temp: temp, was: copied, is: found}
		unlock := lock(dir)
		err = s.exchange(false)
		unlock()
		if err != nil && !errors.Is(err, ErrChanged) || isKept(err) {
			return err
		}
		break
	}
	return dir.RemoveIfThere(temp)
}

type swapSums struct{ base, was, is uint64 }

// parseSwap reads what suffix wrote.
func parseSwap(name string) (sums swapSums, ok bool) {
	fields := strings.Split(strings.TrimPrefix(name, swapPrefix), "-")
	if len(fields) != 4 {
		return sums, false
	}
	for i, to := range []*uint64{&sums.base, &sums.was, &sums.is} {
		v, err := strconv.ParseUint(fields[i+1], 16, 64)
		if err != nil {
			return sums, false
		}
		*to = v
	}
	return sums, true
}

// SyncAll waits until everything on the file systems of these directories is on
// their disks. It asks each file system once.
func SyncAll(dirs []*beneath.Dir) error {
	seen := make(map[uint64]bool)
	for _, dir := range dirs {
		st, err := dir.Lstat(".")
		if err != nil {
			return err
		}
		if seen[st.Dev] {
			continue
		}
		seen[st.Dev] = true
		if err := dir.SyncFS(); err != nil {
			return err
		}
	}
	return nil
}
