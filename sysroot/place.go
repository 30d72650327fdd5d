package sysroot

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

var _ backends.Root = (*Root)(nil)

// Place is a name in a directory of the root that is held open.
type Place struct {
	Dir  *beneath.Dir
	Base string
	Path string // absolute in the root; no element but the last is a link
}

// Close closes the directory.
func (p *Place) Close() error { return p.Dir.Close() }

// resolve returns where a path in the root leads to, relative to the root, with all
// links followed inside it. What is not there has no links.
//
// The answer may be out of date when it is given: what opens it follows no link, so
// that a link which has come since is an error and leads nowhere.
func (r *Root) resolve(inside string) (string, error) {
	p, err := securejoin.SecureJoin(r.path, inside)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) { // whose operation is a function of the library
			err = p.Err
		}
		return "", &fs.PathError{Op: "find", Path: r.host(inside), Err: err}
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(p, r.path), "/")
	if rel == "" {
		rel = "."
	}
	return rel, nil
}

// resolveDir is resolve for a directory, and remembers the answer.
func (r *Root) resolveDir(inside string, again bool) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if real, ok := r.real[inside]; ok && !again {
		return real, nil
	}
	real, err := r.resolve(inside)
	if err == nil {
		r.real[inside] = real
	}
	return real, err
}

// openPlain opens a directory that no link leads to, as most are, and remembers that.
// It spares looking at each element of the path. It is nil for one that is remembered,
// and with an error when there is a link, or nothing.
func (r *Root) openPlain(inside string) (*beneath.Dir, error) {
	r.mu.Lock()
	_, known := r.real[inside]
	r.mu.Unlock()
	if known {
		return nil, nil
	}
	rel := cmp.Or(strings.TrimPrefix(inside, "/"), ".")
	d, err := r.dir.OpenDir(rel)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.real[inside] = rel
	r.mu.Unlock()
	return d, nil
}

// Find opens the directory of a path in the root, with its links followed inside
// the root; the last element is not looked at. The caller closes the place.
//
// Where a directory's links lead to is remembered, and looked at again when nothing
// is there any more, or a link is.
func (r *Root) Find(inside string) (*Place, error) {
	inside = path.Clean("/" + inside)
	dir, base := path.Split(inside)
	if base == "" {
		dir, base = "/", "."
	}
	dir = path.Clean(dir)
	switch d, err := r.openPlain(dir); {
	case d != nil:
		return &Place{Dir: d, Base: base, Path: path.Join(dir, base)}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, err // no link is on the way to what is missing
	}
	for again := false; ; again = true {
		real, err := r.resolveDir(dir, again)
		if err != nil {
			return nil, err
		}
		d, err := r.dir.OpenDir(real)
		if err == nil {
			return &Place{Dir: d, Base: base, Path: path.Join("/", real, base)}, nil
		}
		if again || !errors.Is(err, beneath.ErrLink) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// At is Find for who needs no more than the directory and the name in it. The
// caller closes the directory.
func (r *Root) At(inside string) (*beneath.Dir, string, error) {
	p, err := r.Find(inside)
	if err != nil {
		return nil, "", err
	}
	return p.Dir, p.Base, nil
}

// Real returns the path of a file in the root with the links in its directory
// followed.
func (r *Root) Real(inside string) (string, error) {
	inside = path.Clean("/" + inside)
	real, err := r.resolveDir(path.Dir(inside), false)
	if err != nil {
		return "", err
	}
	return path.Join("/", real, path.Base(inside)), nil
}

// Final returns the path of a file in the root with all links followed, its own too.
func (r *Root) Final(inside string) (string, error) {
	rel, err := r.resolve(inside)
	return path.Join("/", rel), err
}

// Open opens a file of the root for reading, links followed inside the root. It
// does not wait for the writer of a pipe.
func (r *Root) Open(inside string) (*os.File, error) {
	var f *os.File
	err := r.follow(inside, func(rel string) (err error) {
		f, err = r.dir.OpenFile(rel, unix.O_RDONLY, 0)
		return err
	})
	return f, err
}

// follow calls f with where a path leads to: with the path itself, as no link leads to
// most, and where f meets one with what it leads to, once more if a link has come there
// meanwhile.
func (r *Root) follow(inside string, f func(rel string) error) error {
	inside = path.Clean("/" + inside)
	rel := cmp.Or(strings.TrimPrefix(inside, "/"), ".")
	for tries := 0; ; tries++ {
		if err := f(rel); tries == 2 || !errors.Is(err, beneath.ErrLink) {
			return err
		}
		var err error
		if rel, err = r.resolve(inside); err != nil {
			return err
		}
	}
}

// ReadFile reads a regular file of the root, of at most limit bytes.
func (r *Root) ReadFile(inside string, limit int64) ([]byte, error) {
	f, err := r.Open(inside)
	if err != nil {
		return nil, err
	}
	b, err := beneath.ReadAll(f, limit)
	return b, errors.Join(err, f.Close())
}

// ReadDir returns what a directory of the root holds, sorted by name. The entries'
// Info is not to be used.
func (r *Root) ReadDir(inside string) (entries []fs.DirEntry, err error) {
	err = r.follow(inside, func(rel string) (err error) {
		entries, err = r.dir.ReadDir(rel)
		return err
	})
	return entries, err
}

// Stat looks at a file of the root, links followed inside it.
func (r *Root) Stat(inside string) (fs.FileInfo, error) {
	var info fs.FileInfo
	err := r.follow(inside, func(rel string) error {
		f, err := r.dir.OpenFile(rel, unix.O_PATH, 0)
		if err != nil {
			return err
		}
		info, err = f.Stat()
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = &fs.PathError{Op: "stat", Path: r.host(inside), Err: beneath.ErrLink}
		}
		return errors.Join(err, f.Close())
	})
	return info, err
}

// HasFile reports whether something has a path in the root, be it a link that leads
// nowhere.
func (r *Root) HasFile(inside string) bool {
	p, err := r.Find(inside)
	if err != nil {
		return false
	}
	defer p.Close()
	return p.Dir.Exists(p.Base)
}

// FileSize returns the size in bytes of a file of the root, links followed inside it;
// false for none.
func (r *Root) FileSize(inside string) (size int64, ok bool) {
	info, err := r.Stat(inside)
	if err != nil {
		return 0, false
	}
	return info.Size(), true
}

// WriteFile puts a file of the root in place, whole or not at all, and makes the
// directories on the way to it. Its directory's links are followed inside the root;
// a link in the file's own place is replaced.
func (r *Root) WriteFile(inside string, b []byte, mode fs.FileMode) error {
	real, err := r.resolve(path.Dir(path.Clean("/" + inside)))
	if err != nil {
		return err
	}
	if err := r.dir.MkdirAll(real, 0o755); err != nil {
		return err
	}
	_ = r.dir.SweepTemp(real, beneath.AbandonedAfter) // what cannot be removed is in nobody's way
	return r.dir.WriteFile(path.Join(real, path.Base(inside)), b, mode)
}

// logMode is that of a log that is made anew: of programs and people not everybody is told.
const logMode = 0o640

// OpenLog opens a file of the root for reading and appending, and makes one that is not there. A
// link in its place, what is no regular file, one with another name, and one of another user
// are errors: somebody who may write to the directory could have them lead anywhere.
func (r *Root) OpenLog(inside string) (*os.File, error) {
	dir, base, err := r.At(inside)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	file, err := dir.OpenFile(base, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NOCTTY, logMode)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(file.Fd()), &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = beneath.ErrNotRegular
	case int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("it belongs to user %d", st.Uid)
	case st.Nlink != 1:
		err = errors.New("it has another name besides")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log %s: %w", r.host(strings.TrimPrefix(inside, "/")), err), file.Close())
	}
	return file, nil
}

// Remove removes a file of the root; one that is not there is no error.
func (r *Root) Remove(inside string) error {
	p, err := r.Find(inside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(p.Dir.RemoveIfThere(p.Base), p.Close())
}
