package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/backends"
)

// errUnreadable is wrapped by errors of readers of databases that are of a kind
// which they do not know, as opposed to damaged ones.
var errUnreadable = errors.New("the database is in a format that hashpkg does not read")

const damagedDatabase = "the database is damaged, rpm --rebuilddb may mend it"

// databaseDirs are where rpm has its database: first where Fedora and SUSE moved
// it (rpm: macros.in, %_dbpath). One is often a link to the other.
var databaseDirs = []string{"/usr/lib/sysimage/rpm", "/var/lib/rpm"}

// databaseFiles are the main files of the databases that there are (rpm:
// lib/backend).
var databaseFiles = []struct {
	name string
	read func(db, wal *source, each recordFunc) error
}{
	{"rpmdb.sqlite", readSqlite},
	{"Packages.db", func(db, _ *source, each recordFunc) error { return readNdb(db, each) }},
	{"Packages", func(db, _ *source, each recordFunc) error { return readBdb(db, each) }},
}

// recordFunc is given what a database holds of one installed package: its number,
// and its header without magic. The bytes are its own to keep.
type recordFunc func(instance uint32, blob []byte) error

const (
	// readAttempts is how often a database is read that another program changes
	// meanwhile, and settleTime what must have passed since a change for the next
	// one to show: the resolution of file times is 10 ms or better.
	readAttempts = 5
	settleTime   = 20 * time.Millisecond
)

// ReadDatabase returns the packages that rpm's database in a root says are
// installed, in the order of their instance numbers. It reads sqlite, ndb and
// Berkeley DB without any program, and writes nothing. For a database of another
// kind it asks the program rpmdb of this machine, if there is one, about a copy; ctx
// ends that.
//
// A root without a database gives an error that wraps [backends.ErrNoDatabase], and one with
// packages in two databases an error too, since one of them is out of date. A database
// that is damaged, however little, gives a [*FormatError] and no packages, as does
// a package in it that does not have the digest which the database has for it.
//
// What another program writes meanwhile is seen whole or not at all: a database
// that has changed while it was read is read again. Of sqlite, what was committed
// to the write-ahead log is seen too, so that hooks see the transaction which they
// are part of. Berkeley DB's changes are seen when rpm has written them to the
// file, at its end.
func ReadDatabase(ctx context.Context, root backends.Root) ([]*Installed, error) {
	databases, err := findDatabases(root)
	if err != nil {
		return nil, err
	}
	var found *database
	var packages []*Installed
	for _, d := range databases {
		all, err := d.readUnchanged()
		if errors.Is(err, errUnreadable) {
			all, err = exportPackages(ctx, d, err)
		}
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("find rpm database: both %s and %s have packages: remove the one that rpm does not use (rpm --eval %%_dbpath)", found, d)
		}
		found, packages = d, all
	}
	return packages, nil
}

// database is where a database is.
type database struct {
	root backends.Root
	file string // in the root
	read func(db, wal *source, each recordFunc) error
}

// String returns what messages call the database.
func (d *database) String() string { return backends.HostName(d.root, d.file) }

// findDatabases returns the databases of a root, of which there is at least one.
// There are two when an rpm that has another kind of database than the root's own
// has looked into the root, and so made an empty one.
func findDatabases(root backends.Root) ([]*database, error) {
	var found []*database
	var infos []fs.FileInfo
	for _, dir := range databaseDirs {
		for _, f := range databaseFiles {
			file := path.Join(dir, f.name)
			info, err := root.Stat(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("find rpm database: %w", err)
			}
			if !info.Mode().IsRegular() {
				return nil, fmt.Errorf("find rpm database: %s is not a regular file", backends.HostName(root, file))
			}
			if slices.ContainsFunc(infos, func(other fs.FileInfo) bool { return os.SameFile(info, other) }) {
				continue
			}
			found = append(found, &database{root, file, f.read})
			infos = append(infos, info)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("find rpm database in %s: %w", root.Dir(), backends.ErrNoDatabase)
	}
	return found, nil
}

// readUnchanged reads the database when nobody writes it.
func (d *database) readUnchanged() ([]*Installed, error) {
	for range readAttempts {
		before, err := d.settle()
		if err != nil {
			return nil, err
		}
		all, readErr := d.readPackages()
		after, err := d.state()
		if err != nil {
			return nil, err
		}
		if !after.equal(before) {
			continue
		}
		if readErr != nil {
			return nil, fmt.Errorf("rpm database %s: %w", d, readErr)
		}
		return all, nil
	}
	return nil, fmt.Errorf("rpm database %s: it changed each of the %d times that it was read: wait until rpm has finished", d, readAttempts)
}

// readPackages reads the database once.
func (d *database) readPackages() ([]*Installed, error) {
	db, err := openSource(d.root, d.file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	wal, err := openSource(d.root, d.file+"-wal")
	if errors.Is(err, fs.ErrNotExist) {
		wal = &source{name: "the log"}
	} else if err != nil {
		return nil, err
	}
	defer wal.Close()
	if err := checkJournal(d.root, d.file+"-journal"); err != nil {
		return nil, err
	}
	var c collection
	if err := d.read(db, wal, c.add); err != nil {
		return nil, err
	}
	return c.packages(), nil
}

// databaseState tells whether files of a database have changed: its own, its log,
// its journal. What is not there is nil.
type databaseState [3]fs.FileInfo

func (d *database) state() (s databaseState, err error) {
	for i, suffix := range []string{"", "-wal", "-journal"} {
		s[i], err = d.root.Stat(d.file + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, fmt.Errorf("rpm database: %w", err)
		}
	}
	return s, nil
}

// settle returns the state when every change from then on will be seen in it.
func (d *database) settle() (databaseState, error) {
	for {
		s, err := d.state()
		if err != nil {
			return s, err
		}
		wait := time.Duration(0)
		for _, info := range s {
			if info == nil {
				continue
			}
			if age := time.Since(info.ModTime()); age >= 0 && age < settleTime {
				wait = max(wait, settleTime-age)
			}
		}
		if wait == 0 {
			return s, nil
		}
		time.Sleep(wait)
		if next, err := d.state(); err != nil || next.equal(s) {
			return s, err
		}
	}
}

func (s databaseState) equal(t databaseState) bool {
	for i, a := range s {
		b := t[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && (!os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())) {
			return false
		}
	}
	return true
}

// source is a file of a database.
type source struct {
	io.ReaderAt
	name string
	size int64
}

func openSource(root backends.Root, file string) (*source, error) {
	f, err := backends.OpenRegular(root, file, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &source{ReaderAt: f, name: path.Base(file), size: info.Size()}, nil
}

// Close closes what was opened.
func (s *source) Close() error {
	if c, ok := s.ReaderAt.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// read fills p with what is at offset.
func (s *source) read(p []byte, offset int64) error {
	if offset < 0 || offset > s.size || int64(len(p)) > s.size-offset {
		return &FormatError{
			Member: s.name, Offset: max(offset, 0),
			Msg:   "it ends before that, or in the middle: " + damagedDatabase,
			cause: io.ErrUnexpectedEOF,
		}
	}
	// At the end of a file a ReaderAt may give all that was asked for and io.EOF.
	if n, err := s.ReadAt(p, offset); n < len(p) {
		return fmt.Errorf("read %s at byte %d: %w", s.name, offset, err)
	}
	return nil
}

// damage returns the error for what cannot be in a database.
func (s *source) damage(offset int64, format string, args ...any) error {
	return &FormatError{Member: s.name, Offset: offset, Msg: fmt.Sprintf(format, args...) + ": " + damagedDatabase}
}

// unreadable returns the error for what a later rpm may have put there.
func (s *source) unreadable(format string, args ...any) error {
	return &FormatError{Member: s.name, Msg: errUnreadable.Error() + ": " + fmt.Sprintf(format, args...), cause: errUnreadable}
}
