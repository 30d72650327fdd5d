// Package atomicfile reads files through mappings and replaces them by edited ones
// in one step. Most callers need [ReadMapped] and [ReplaceEdited].
//
// It stands below what knows of roots and trees, so that a program which edits
// files and does nothing else need not bring those along.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// ErrChanged is wrapped by the error for a file that another process wrote or
// replaced while it was being edited.
var ErrChanged = errors.New("another process changed it meanwhile")

// ReplaceOptions says how an edited file takes the place of the old one.
type ReplaceOptions struct {
	// To, unless empty, is the file that is written, and the edited one stays
	// as it is. A file that is there keeps its metadata; a new one belongs to
	// the caller and has mode 0777 less the umask.
	To string
	// Check, unless nil, is called with the bytes of the file that was
	// written, read again from it, before it takes the old one's place. An
	// error of its own stops that.
	Check func(data []byte) error
	// Durable waits until the new file is on the disk before it takes the old
	// one's place, and until that is. Without it a power cut may leave the old
	// file, the new one, or on some file systems an empty one; a caller with
	// many files stages them all, calls SyncFiles once, and commits.
	Durable bool
}

// ReplaceEdited replaces a regular file by itself with an edit made, in one
// step: whoever opens the path gets the old file or the new one, whole, and
// programs that run from the old file go on.
//
// Owner, mode (setuid, too), times, access control list, capabilities and other
// extended attributes stay. Where path is a symbolic link, the file that it
// leads to is edited. Other hard links of the file keep the old bytes.
//
// The error wraps elfedit.ErrEditMismatch when the file is not the one that the
// edit was made from, and ErrChanged when it did not stay it. Errors of the
// file are *fs.PathError with the path as it was given. After an error the file
// is as it was.
func ReplaceEdited(path string, e elfedit.Edit, o ReplaceOptions) error {
	r, err := StageEdited(path, e, o)
	if err != nil {
		return err
	}
	return r.Commit()
}

// Replacement is an edited file that stands beside the one whose place it will
// take. Either Commit or Discard ends it.
type Replacement struct {
	path    string // as the caller gave it
	real    string // where the new file goes, without links
	temp    string // the new file's name, "" while it has none
	fd      int    // the new file, -1 when it is closed
	durable bool
	old     *unix.Stat_t // the file at real when it was staged; nil without one
}

// tempPrefix starts the names of files that have not taken their place yet. Where
// the file system has files without a name (O_TMPFILE), that is the moment between
// two system calls; one is left behind only when the process is killed then.
const tempPrefix = ".hashpkg-edit-"

// StageEdited is the part of ReplaceEdited before the old file loses its place.
func StageEdited(path string, e elfedit.Edit, o ReplaceOptions) (*Replacement, error) {
	if err := e.Validate(); err != nil {
		return nil, pathError("edit", path, err)
	}
	from, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(from) //nolint:errcheck // it was only read
	if err := matches(from, &st, e); err != nil {
		return nil, pathError("edit", path, err)
	}
	r := &Replacement{path: path, fd: -1, durable: o.Durable}
	if o.To != "" {
		r.path = o.To
	}
	if err := r.find(); err != nil {
		return nil, err
	}
	if o.To == "" {
		if r.old == nil || r.old.Ino != st.Ino || r.old.Dev != st.Dev {
			return nil, pathError("edit", path, ErrChanged)
		}
		r.old = &st
	}
	if err := r.write(from, &st, e, o.Check); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	return r, nil
}

// matches compares a file with what an edit knows of it.
func matches(fd int, st *unix.Stat_t, e elfedit.Edit) error {
	if st.Size != e.OldSize {
		return fmt.Errorf("%w: it has %d bytes, not %d", elfedit.ErrEditMismatch, st.Size, e.OldSize)
	}
	var have []byte
	for _, h := range e.Hunks {
		have = append(have[:0], h.Old...)
		n, err := unix.Pread(fd, have, h.Offset)
		if err != nil {
			return err
		}
		if n != len(have) || !bytes.Equal(have, h.Old) {
			return fmt.Errorf("%w: other bytes at offset %#x", elfedit.ErrEditMismatch, h.Offset)
		}
	}
	return nil
}

// find follows links and looks at what is there.
func (r *Replacement) find() error {
	r.real = r.path
	var st unix.Stat_t
	err := unix.Lstat(r.real, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		if r.real, err = filepath.EvalSymlinks(r.path); err == nil {
			err = unix.Lstat(r.real, &st)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pathError("stat", r.path, cause(err))
	}
	if err := mapped.CheckRegular(&st); err != nil {
		return pathError("replace", r.path, err)
	}
	// A rename needs no permission for the file itself: asked for all the same,
	// since the caller wants to write to it.
	if err := unix.Faccessat(unix.AT_FDCWD, r.real, unix.W_OK, unix.AT_EACCESS); err != nil {
		return pathError("write", r.path, err)
	}
	r.old = &st
	return nil
}

// write makes the temporary file and reads it again.
func (r *Replacement) write(from int, st *unix.Stat_t, e elfedit.Edit, check func([]byte) error) error {
	if err := r.create(); err != nil {
		return err
	}
	fd := r.fd
	if err := copyBytes(fd, from, min(e.OldSize, e.NewSize)); err != nil {
		return pathError("write", r.path, err)
	}
	for _, h := range e.Hunks {
		if err := writeAt(fd, h.New, h.Offset); err != nil {
			return pathError("write", r.path, err)
		}
	}
	if err := unix.Ftruncate(fd, e.NewSize); err != nil {
		return pathError("write", r.path, err)
	}
	if err := r.keepMetadata(fd); err != nil {
		return pathError("keep the metadata of", r.path, err)
	}
	if r.durable {
		if err := retry(func() error { return unix.Fsync(fd) }); err != nil {
			return pathError("sync", r.path, err)
		}
	}
	if err := r.readAgain(fd, e, check); err != nil {
		return err
	}
	// A copy of a file that was written to meanwhile may be neither of the two.
	var now unix.Stat_t
	if err := unix.Fstat(from, &now); err != nil {
		return pathError("stat", r.path, err)
	}
	if now.Mtim != st.Mtim || now.Size != st.Size {
		return pathError("edit", r.path, ErrChanged)
	}
	return nil
}

// ownFiles is where a process finds the files that it has open (proc(5)).
const ownFiles = "/proc/self/fd/"

// create makes an empty file in the directory of the one that it will replace,
// without a name where that can be. Until it has that one's mode, only its owner
// can read it.
func (r *Replacement) create() error {
	dir, mode := filepath.Dir(r.real), uint32(0o600)
	if r.old == nil {
		mode = 0o777
	}
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOATIME
	if unix.Access(ownFiles, unix.X_OK) == nil { // or it could not get a name later
		err := retry(func() (err error) {
			r.fd, err = unix.Open(dir, flags|unix.O_TMPFILE, mode)
			return err
		})
		if err == nil {
			return nil
		}
	}
	return r.named(func(temp string) (err error) {
		r.fd, err = unix.Open(temp, flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, mode)
		return err
	})
}

// link gives the new file a name that nobody else has, unless it has one.
func (r *Replacement) link() error {
	if r.temp != "" {
		return nil
	}
	self := ownFiles + strconv.Itoa(r.fd)
	return r.named(func(temp string) error {
		return unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, temp, unix.AT_SYMLINK_FOLLOW)
	})
}

// named calls create with new names until one is not taken.
func (r *Replacement) named(create func(temp string) error) error {
	for {
		temp := filepath.Join(filepath.Dir(r.real), fmt.Sprintf("%s%016x", tempPrefix, rand.Uint64()))
		err := create(temp)
		switch {
		case err == nil:
			r.temp = temp
			return nil
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EINTR):
		default:
			return pathError("write", r.path, fmt.Errorf("its directory cannot take a new file: %w", err))
		}
	}
}

// readAgain compares the hunks with what the file holds now.
func (r *Replacement) readAgain(fd int, e elfedit.Edit, check func([]byte) error) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", r.path, err)
	}
	if err := matches(fd, &st, e.Invert()); err != nil {
		return pathError("write", r.path, fmt.Errorf("what was written does not read back: %v", err))
	}
	if check == nil {
		return nil
	}
	return mapped.Descriptor(fd, r.path, check)
}

// Sweep removes what killed processes have left in a directory, and have not touched
// for that time: files that have not taken their place.
func Sweep(dir string, age time.Duration) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var faults []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || time.Since(time.Unix(st.Ctim.Unix())) < age {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// Named gives the new file a name in the directory of the old one, by which other
// programs can look at it, and returns that. Fewer files are open then, too.
func (r *Replacement) Named() (string, error) {
	err := r.link()
	if err == nil {
		err = r.close()
	}
	if err != nil {
		return "", errors.Join(err, r.Discard())
	}
	return r.temp, nil
}

// ReplaceByLink makes path another name of the file at target, in one step.
func ReplaceByLink(target, path string) error {
	r := &Replacement{path: path, real: path, fd: -1}
	err := r.named(func(temp string) error { return os.Link(target, temp) })
	if err != nil {
		return err
	}
	if err := os.Rename(r.temp, path); err != nil {
		return errors.Join(err, r.Discard())
	}
	return nil
}

// Commit gives the new file the old one's place.
func (r *Replacement) Commit() error {
	fail := func(op string, err error) error {
		return errors.Join(pathError(op, r.path, err), r.Discard())
	}
	if r.old != nil {
		var st unix.Stat_t
		if err := unix.Lstat(r.real, &st); err != nil {
			return fail("stat", err)
		}
		if st.Ino != r.old.Ino || st.Dev != r.old.Dev || st.Mtim != r.old.Mtim || st.Ctim != r.old.Ctim || st.Size != r.old.Size {
			return fail("replace", ErrChanged)
		}
	}
	if err := r.link(); err != nil {
		return errors.Join(err, r.Discard())
	}
	if err := r.keepTimes(); err != nil {
		return fail("keep the times of", err)
	}
	if err := r.close(); err != nil {
		return fail("write", err)
	}
	if err := unix.Rename(r.temp, r.real); err != nil {
		return fail("replace", err)
	}
	r.temp = ""
	if !r.durable {
		return nil
	}
	if err := syncDir(filepath.Dir(r.real)); err != nil {
		return pathError("replace", r.path, fmt.Errorf("it is done, but a power cut might undo it: %w", err))
	}
	return nil
}

// Discard removes the new file.
func (r *Replacement) Discard() error {
	err := r.close()
	if r.temp != "" {
		err = errors.Join(err, os.Remove(r.temp))
		r.temp = ""
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func (r *Replacement) close() error {
	if r.fd < 0 {
		return nil
	}
	fd := r.fd
	r.fd = -1
	return unix.Close(fd)
}

// SyncFiles waits until everything on the file systems of these files is on
// their disks. It asks each file system once.
func SyncFiles(paths []string) error {
	seen := make(map[uint64]bool)
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return pathError("sync", path, err)
		}
		if seen[st.Dev] {
			continue
		}
		seen[st.Dev] = true
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return pathError("sync", path, err)
		}
		if err := errors.Join(unix.Syncfs(fd), unix.Close(fd)); err != nil {
			return pathError("sync", path, err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// cause is what an error of package os says, without the path.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
