package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// ErrNoDatabase is returned (wrapped) by OpenDatabase for a directory without a
// database of dpkg.
var ErrNoDatabase = errors.New("no dpkg database")

// Database is dpkg's record of what is installed, /var/lib/dpkg of a root: the
// status file, and info/ with the list of files and the digests of each package
// (dpkg(1), dpkg-query(1), "control-path"). No program is run to read it, and
// nothing is locked: dpkg renames whole files into place.
type Database struct {
	dir        string
	packages   []*pkginfo.Package
	diversions map[string]diversion // by the path that was diverted, without the leading slash
}

type diversion struct{ to, by string }

// maxDatabaseFile bounds a file of the database; the status of a large system has
// 10 MB.
const maxDatabaseFile = 256 << 20

// OpenDatabase reads the status and the diversions of the database in dir, a path
// on the host.
func OpenDatabase(dir string) (*Database, error) {
	d := &Database{dir: dir, diversions: map[string]diversion{}}
	status, err := openDatabaseFile(filepath.Join(dir, "status"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoDatabase, dir)
	}
	if err != nil {
		return nil, err
	}
	defer status.Close()
	if d.packages, err = ReadStatus(status); err != nil {
		return nil, fmt.Errorf("read %s: %w", status.Name(), err)
	}
	return d, d.readDiversions()
}

// openDatabaseFile opens one file, which must be a regular one: a FIFO would hold
// us up.
func openDatabaseFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxDatabaseFile {
		return nil, errors.Join(fmt.Errorf("read dpkg's database: %s is no regular file of a sensible size", path), err, f.Close())
	}
	return f, nil
}

// readDiversions reads the file in which each diversion has three lines: the path
// diverted, where to, and the package that did it, ":" for an administrator
// (dpkg-divert(1)).
func (d *Database) readDiversions() error {
	lines, err := d.lines("diversions")
	if err != nil {
		return err
	}
	if len(lines)%3 != 0 {
		return fmt.Errorf("read dpkg's diversions: %d lines, which is no multiple of three", len(lines))
	}
	for i := 0; i < len(lines); i += 3 {
		from, to := databasePath(lines[i]), databasePath(lines[i+1])
		if from == "" || to == "" {
			return fmt.Errorf("read dpkg's diversions: line %d: %q and %q are no paths", i+1, lines[i], lines[i+1])
		}
		d.diversions[from] = diversion{to, lines[i+2]}
	}
	return nil
}

// lines returns the lines of a file of the database; none when it is not there.
func (d *Database) lines(name string) ([]string, error) {
	f, err := openDatabaseFile(filepath.Join(d.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 64<<10), maxStatusLine)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return lines, nil
}

// databasePath returns a path of the database as it is in a payload: relative and
// clean. It is "" for one that does not stand below the root.
func databasePath(line string) string {
	p := strings.TrimPrefix(line, "/")
	if !fs.ValidPath(p) || p == "." || len(p) == len(line) {
		return ""
	}
	return p
}

// Packages returns the packages that are unpacked or further.
func (d *Database) Packages() []*pkginfo.Package { return d.packages }

// infoFile returns the name of one of a package's files in info/, which has the
// architecture in it when several can be installed at once.
func (d *Database) infoFile(p *pkginfo.Package, kind string) string {
	if p.MultiArch == "same" {
		name := "info/" + p.Name + ":" + p.Architecture + "." + kind
		if _, err := os.Lstat(filepath.Join(d.dir, name)); err == nil {
			return name
		}
	}
	return "info/" + p.Name + "." + kind
}

// Stamp returns what changes whenever a package is unpacked, the same version
// again included: inode, time and size of its list of files.
func (d *Database) Stamp(p *pkginfo.Package) (string, error) {
	info, err := os.Lstat(filepath.Join(d.dir, d.infoFile(p, "list")))
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	if err != nil {
		return "", fmt.Errorf("read dpkg's database: %w", err)
	}
	return pkginfo.FileStamp(info), nil
}

// State returns what changes with every change of the database.
func (d *Database) State() (string, error) { return DatabaseState(d.dir) }

// DatabaseState is [Database.State] of a database that was not opened. dpkg
// renames a new status into place for each change that it has made.
func DatabaseState(dir string) (string, error) {
	info, err := os.Stat(filepath.Join(dir, "status"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w in %s", ErrNoDatabase, dir)
	}
	if err != nil {
		return "", fmt.Errorf("read dpkg's database: %w", err)
	}
	return pkginfo.FileStamp(info), nil
}

// Files returns the paths of a package's files and directories in the list's
// order, with the MD5 digests that its package file gave for them ("md5:hex"; ""
// without one). A file that was diverted has the path where it is now. Types and
// modes are not in the database: Type is of no meaning.
func (d *Database) Files(p *pkginfo.Package) ([]pkginfo.Entry, error) {
	list, err := d.lines(d.infoFile(p, "list"))
	if err != nil {
		return nil, err
	}
	sums, err := d.digests(p)
	if err != nil {
		return nil, err
	}
	conffiles, err := d.lines(d.infoFile(p, "conffiles"))
	if err != nil {
		return nil, err
	}
	config := map[string]bool{}
	for _, line := range conffiles {
		config[databasePath(strings.TrimSuffix(line, " "))] = true
	}
	entries := make([]pkginfo.Entry, 0, len(list))
	for _, line := range list {
		path := databasePath(line)
		if path == "" { // "/." is the root itself
			continue
		}
		e := pkginfo.Entry{Path: path, Digest: sums[path]}
		if config[path] {
			e.Flags = []string{"config"}
		}
		if moved, ok := d.diversions[path]; ok && moved.by != p.Name {
			e.Path = moved.to
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// digests returns what the package's md5sums file says, by path.
func (d *Database) digests(p *pkginfo.Package) (map[string]string, error) {
	lines, err := d.lines(d.infoFile(p, "md5sums"))
	if err != nil {
		return nil, err
	}
	sums := make(map[string]string, len(lines))
	for _, line := range lines {
		if len(line) > 34 && line[32] == ' ' { // "HEX  PATH", as md5sum(1) writes it
			sums[strings.TrimPrefix(strings.TrimPrefix(line[34:], "./"), "/")] = "md5:" + strings.ToLower(line[:32])
		}
	}
	return sums, nil
}
