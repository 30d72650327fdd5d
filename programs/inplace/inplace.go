// Package inplace replaces a file in its directory by an edited copy: in one step,
// with everything that the old one had besides its bytes, and no other file than the
// one that was read. [Stage] writes the copy, and [Replacement.Commit] puts it into
// place.
//
// Directories are handles, and no link is followed below them. The package knows
// nothing of what the files are for.
//
// # While a package manager is at work
//
// dpkg and rpm replace a file by a rename over its name, at any time. Commit
// therefore swaps the two names (RENAME_EXCHANGE), looks at what has come out, and
// only then removes it. When that is not the file that was read, it is newer: it is
// put back by a second swap, and what comes out then must be the edited copy. Should
// it be another file once more, that is newer still, and goes back in the same way,
// until a swap gives back what the one before had put there. So a file that another
// process put there is removed only when there is a newer one in its place. For the
// moment between two swaps the name leads to an older file. When the process dies
// in it, the newer file has a name that says which files were swapped, and [Sweep]
// puts it back.
//
// A name that is gone when a file is to be put back gets it all the same: it may have
// been moved away, with the copy, by somebody who wanted to move the file.
//
// Two that swap the same name would each take the other's copy for a newer file, and
// so they wait for each other (flock of the directory). They do so for a few
// milliseconds only: everybody who may read a directory may lock it.
//
// File systems that cannot swap, and overlayfs, which makes another file of one that
// is moved, leave a look at the old file immediately before a rename over it. A file
// that is put there between the two is lost.
//
// # Privileges
//
// A copy belongs to the caller and has mode 0600 until its bytes are complete, and
// gets setuid, setgid and capabilities last, when it takes its place. The old file
// loses its name with that: a setuid program that was replaced for a reason must not
// stay reachable.
package inplace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// ErrChanged is wrapped by the error for a file that another process wrote, replaced
// or removed while it was being edited.
var ErrChanged = errors.New("another process changed it meanwhile")

// ErrSigned is wrapped by the error for a file whose bytes are signed: an edit would
// make the signature void, and a system that asks for one would not run the file.
var ErrSigned = errors.New("it is signed, and would lose its signature")

// ErrVerity is wrapped by the error for a file that fs-verity keeps from changing: a
// copy would not be kept from it.
var ErrVerity = errors.New("it is sealed by fs-verity, and would lose its seal")

// Stays reports whether an error says that the file cannot be replaced, and not the
// next time either, unless somebody changes the system: as against a passing fault.
// For that, the error must be of this package, and not of a caller's check.
func Stays(err error) bool {
	if errors.Is(err, ErrChanged) {
		return false
	}
	for _, reason := range []error{
		ErrSigned, ErrVerity,
		unix.EBUSY, // something is mounted over it
		unix.ETXTBSY, unix.EINVAL, unix.EOPNOTSUPP, unix.EPERM, unix.EROFS, unix.EACCES,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// Options says how an edited file takes the place of the old one.
type Options struct {
	// To, unless nil, is the file that is written, and the edited one stays as
	// it is. A file that is there keeps its metadata; a new one belongs to the
	// caller and has mode 0777 less the umask.
	To *Place
	// Check, unless nil, is called with the bytes of the file that was
	// written, read again from it. An error of its own stops the replacement,
	// and is returned as it is.
	Check func(data []byte) error
	// Durable waits until the new file is on the disk before it takes the old
	// one's place, and until that is. Without it a power cut may leave the old
	// file, the new one, or on some file systems an empty one; a caller with
	// many files stages them all, calls SyncAll, and commits.
	Durable bool
	// KeepName has processes that run the old file go on to be found by its path, as
	// after an upgrade: /proc/PID/exe is "PATH (deleted)" for them. Otherwise that is a
	// name which nobody knows, because the two files have swapped theirs. It takes a
	// rename over the old file, and a file that another process puts there in the same
	// moment would be lost: so only while nobody else does.
	KeepName bool
}

// Place is a name of a directory. The directory stays the caller's.
type Place struct {
	Dir  *beneath.Dir
	Base string
}

func (p Place) path() string { return p.Dir.Path(p.Base) }

// Replacement is an edited file that stands beside the one whose place it will take.
// Either Commit or Discard ends it; the directory is open until then.
type Replacement struct {
	Place
	temp    string    // the new file's name, "" while it has none
	file    *os.File  // the new file, nil when it is closed
	old     *metadata // of the file whose place it will take; nil without one
	durable bool
	keep    bool         // see Options.KeepName
	moment  func(string) // for tests: what stands between two system calls
}

// Stage writes an edited copy of the regular file base of a directory.
//
// Owner, mode, times, access control list, capabilities and other extended
// attributes will be as they were. Other hard links of the file keep the old bytes.
// What the kernel computes from the bytes (security.ima, security.evm) it computes
// anew, where that can be: see ErrSigned.
//
// The error wraps elfedit.ErrEditMismatch when the file is not the one that the edit
// was made from, and ErrChanged when it did not stay it. Errors of the file are
// *fs.PathError with dir's path of it. After an error nothing is left behind.
func Stage(dir *beneath.Dir, base string, e elfedit.Edit, o Options) (*Replacement, error) {
	p := Place{dir, base}
	if err := e.Validate(); err != nil {
		return nil, pathError("edit", p.path(), err)
	}
	from, was, err := openRegular(p, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if err := matches(int(from.Fd()), was.size, e); err != nil {
		return nil, pathError("edit", p.path(), err)
	}
	r := &Replacement{Place: p, durable: o.Durable, keep: o.KeepName}
	if o.To == nil {
		err = r.willReplace(from, was)
	} else {
		r.Place = *o.To
		err = r.willReplaceOther()
	}
	if err != nil {
		return nil, err
	}
	if err := r.write(from, e, o.Check); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	// A copy of a file that was written to meanwhile may be neither of the two.
	now, err := lookAtFile(from)
	if err == nil && now.Identity != was.Identity {
		err = ErrChanged
	}
	if err != nil {
		return nil, errors.Join(pathError("edit", p.path(), err), r.Discard())
	}
	return r, nil
}

// checkBase refuses what is not one element of a path.
func checkBase(dir *beneath.Dir, base string) error {
	if base == "" || base == ".." || strings.ContainsAny(base, "/\x00") {
		return pathError("open", dir.Path(base), beneath.ErrName)
	}
	return nil
}

// openRegular opens a file and looks at it. The caller closes it.
func openRegular(p Place, access int) (*os.File, facts, error) {
	if err := checkBase(p.Dir, p.Base); err != nil {
		return nil, facts{}, err
	}
	f, err := p.Dir.OpenFile(p.Base, access|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // only a file's owner may ask for this
		f, err = p.Dir.OpenFile(p.Base, access, 0)
	}
	if err != nil {
		if st, lerr := p.Dir.Lstat(p.Base); lerr == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
			if what := mapped.CheckRegular(&st); what != nil { // a socket cannot be opened
				err = what
			}
		}
		return nil, facts{}, pathError("open", p.path(), err)
	}
	is, err := lookAtFile(f)
	if err == nil {
		err = mapped.CheckRegular(&unix.Stat_t{Mode: is.mode})
	}
	if err != nil {
		return nil, facts{}, errors.Join(pathError("open", p.path(), err), f.Close())
	}
	return f, is, nil
}

// matches compares a file with what an edit knows of it.
func matches(fd int, size int64, e elfedit.Edit) error {
	if size != e.OldSize {
		return fmt.Errorf("%w: it has %d bytes, not %d", elfedit.ErrEditMismatch, size, e.OldSize)
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

// willReplace keeps what there is to know of the file whose place is taken, and
// refuses it early where it cannot be replaced.
func (r *Replacement) willReplace(f *os.File, is facts) error {
	if is.mounted {
		return pathError("replace", r.path(), fmt.Errorf("something is mounted over it: %w", unix.EBUSY))
	}
	// A rename needs no permission for the file itself: asked for all the same,
	// since the caller wants to write to it.
	err := unix.Faccessat(r.Dir.Fd(), r.Base, unix.W_OK, unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return pathError("write", r.path(), err)
	}
	if r.old, err = readMetadata(f, is); err != nil {
		return pathError("replace", r.path(), err)
	}
	return nil
}

// willReplaceOther is willReplace for a file that is not the one read, and that need
// not be there.
func (r *Replacement) willReplaceOther() error {
	f, is, err := openRegular(r.Place, unix.O_RDONLY)
	if errors.Is(err, unix.EACCES) { // it is written to, and not read
		f, is, err = openRegular(r.Place, unix.O_WRONLY)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return r.willReplace(f, is)
}

// write makes the temporary file and reads it again.
func (r *Replacement) write(from *os.File, e elfedit.Edit, check func([]byte) error) error {
	if err := r.create(); err != nil {
		return err
	}
	fd := int(r.file.Fd())
	if err := copyBytes(fd, int(from.Fd()), min(e.OldSize, e.NewSize)); err != nil {
		return pathError("write", r.path(), err)
	}
	for _, h := range e.Hunks {
		if err := writeAt(fd, h.New, h.Offset); err != nil {
			return pathError("write", r.path(), err)
		}
	}
	if err := unix.Ftruncate(fd, e.NewSize); err != nil {
		return pathError("write", r.path(), err)
	}
	if r.old != nil {
		if err := r.old.give(r.file); err != nil {
			return pathError("keep the metadata of", r.path(), err)
		}
	}
	is, err := lookAtFile(r.file)
	if err != nil {
		return pathError("stat", r.path(), err)
	}
	if err := matches(fd, is.size, e.Invert()); err != nil {
		return pathError("write", r.path(), fmt.Errorf("what was written does not read back: %v", err))
	}
	if check == nil {
		return nil
	}
	return mapped.Descriptor(fd, r.path(), check)
}

// ownFiles is where a process finds the files that it has open (proc(5)).
const ownFiles = "/proc/self/fd/"

// create makes an empty file in the directory, without a name where that can be.
func (r *Replacement) create() error {
	mode := fs.FileMode(0o600)
	if r.old == nil {
		mode = 0o777
	}
	const flags = unix.O_RDWR | unix.O_NOATIME
	if unix.Access(ownFiles, unix.X_OK) == nil { // or it could not get a name later
		f, err := r.Dir.OpenFile(".", flags|unix.O_TMPFILE, mode)
		if err == nil {
			r.file = f
			return nil
		}
	}
	var err error
	r.temp, err = named(r.path(), tempPrefix, "", func(temp string) (err error) {
		r.file, err = r.Dir.OpenFile(temp, flags|unix.O_CREAT|unix.O_EXCL, mode)
		return err
	})
	return err
}

// tempPrefix starts the names of files that have not taken their place yet.
const tempPrefix = ".hashpkg-edit-"

// named calls create with new names until one is not taken, and returns that. path
// is for messages.
func named(path, prefix, suffix string, create func(temp string) error) (string, error) {
	for {
		temp := fmt.Sprintf("%s%016x%s", prefix, rand.Uint64(), suffix)
		err := create(temp)
		switch {
		case err == nil:
			return temp, nil
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EINTR):
		default:
			return "", pathError("write", path, fmt.Errorf("its directory cannot take a new file: %w", cause(err)))
		}
	}
}

// name gives the new file, which may have one, a name with this beginning and end.
func (r *Replacement) name(prefix, suffix string) error {
	temp, err := named(r.path(), prefix, suffix, func(temp string) error {
		if r.temp != "" {
			return r.Dir.RenameNew(r.Dir, r.temp, temp)
		}
		return unix.Linkat(unix.AT_FDCWD, r.self(), r.Dir.Fd(), temp, unix.AT_SYMLINK_FOLLOW)
	})
	if err == nil {
		r.temp = temp
	}
	return err
}

// self is a path of the open file.
func (r *Replacement) self() string { return ownFiles + strconv.Itoa(int(r.file.Fd())) }

// Named gives the new file a name in its directory, by which other programs can look
// at it, and returns that. They see it without setuid and capabilities. Fewer files
// are open then, too.
func (r *Replacement) Named() (name string, err error) {
	if r.temp == "" {
		err = r.name(tempPrefix, "")
	}
	if err == nil && !r.durable && (r.old == nil || !r.old.privileged()) {
		err = r.close() // or it is needed once more
	}
	if err != nil {
		return "", errors.Join(err, r.Discard())
	}
	return r.temp, nil
}

// Commit gives the new file the old one's place. The error wraps ErrChanged when that
// is not the file any more that was staged. After an error, unless it says otherwise,
// the file is as it was.
func (r *Replacement) Commit() error {
	if err := r.commit(); err != nil {
		return errors.Join(err, r.Discard())
	}
	return nil
}

func (r *Replacement) commit() error {
	if err := r.complete(); err != nil {
		return pathError("keep the metadata of", r.path(), err)
	}
	if r.durable {
		if err := retry(func() error { return unix.Fsync(int(r.file.Fd())) }); err != nil {
			return pathError("sync", r.path(), err)
		}
	}
	put := r.replace
	if r.old == nil {
		put = r.appear
	}
	if err := put(); err != nil {
		return err
	}
	if !r.durable {
		return nil
	}
	if err := r.Dir.Sync("."); err != nil {
		return pathError("replace", r.path(), fmt.Errorf("it is done, but a power cut might undo it: %v", err))
	}
	return nil
}

// complete gives the new file what it gets last.
func (r *Replacement) complete() error {
	if r.old == nil {
		return nil
	}
	if r.old.privileged() {
		if err := r.old.givePrivileges(r.file); err != nil {
			return err
		}
	}
	times, err := r.old.times()
	if err != nil {
		return err
	}
	if r.temp != "" {
		return r.Dir.SetTimes(r.temp, times)
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, r.self(), times[:], 0)
}

// appear gives the new file a name that nothing has.
func (r *Replacement) appear() error {
	if r.temp == "" {
		if err := r.name(tempPrefix, ""); err != nil {
			return err
		}
	}
	if err := r.close(); err != nil {
		return pathError("write", r.path(), err)
	}
	err := r.Dir.RenameNew(r.Dir, r.temp, r.Base)
	if errors.Is(err, fs.ErrExist) {
		err = ErrChanged
	}
	if err != nil {
		return pathError("write", r.path(), err)
	}
	r.temp = ""
	return nil
}

// replace gives the new file the name of the old one.
func (r *Replacement) replace() error {
	is, err := r.identity()
	if err != nil {
		return pathError("replace", r.path(), err)
	}
	s := &swap{Place: r.Place, was: r.old.Identity, is: is, keep: r.keep, moment: r.moment}
	if err := r.name(swapPrefix, s.suffix()); err != nil {
		return err
	}
	if err := r.close(); err != nil {
		return pathError("write", r.path(), err)
	}
	s.temp, r.temp = r.temp, "" // which may soon be a name of another file
	return s.run(true)
}

func (r *Replacement) identity() (Identity, error) {
	if r.file != nil {
		return IdentifyFile(r.file)
	}
	return Identify(r.Dir, r.temp)
}

// Discard removes the new file.
func (r *Replacement) Discard() error {
	err := r.close()
	if r.temp != "" {
		err = errors.Join(err, r.Dir.RemoveIfThere(r.temp))
		r.temp = ""
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func (r *Replacement) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}
