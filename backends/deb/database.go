package deb

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Database is dpkg's record of what is installed, /var/lib/dpkg of a root: the
// status file, and info/ with the list of files and the digests of each package
// (dpkg(1), dpkg-query(1), "control-path"). No program is run to read it, and
// nothing is locked: dpkg renames whole files into place.
type Database struct {
	root       backends.Root
	packages   []*pkginfo.Package
	diversions map[string]diversion // by the path that was diverted, without the leading slash
}

type diversion struct{ to, by string }

// databaseDir is where dpkg has its database (dpkg(1), --admindir).
const databaseDir = "/var/lib/dpkg"

// maxDatabaseFile bounds a file of the database; the status of a large system has
// 10 MB.
const maxDatabaseFile = 256 << 20

// OpenDatabase reads the status and the diversions of a root's database, as they are
// when dpkg is at work, too. The error wraps [backends.ErrNoDatabase] where there is
// none.
func OpenDatabase(root backends.Root) (*Database, error) {
	d := &Database{root: root, diversions: map[string]diversion{}}
	// A status that was put in place meanwhile has updates that are gone, or not yet read.
	for range 5 {
		before, err := stampOf(root, "status")
		if err != nil {
			return nil, err
		}
		if before == noFile {
			return nil, fmt.Errorf("read dpkg's database in %s: %w", root.Dir(), backends.ErrNoDatabase)
		}
		readErr := d.readPackages()
		after, err := stampOf(root, "status")
		if err != nil {
			return nil, err
		}
		if before == after {
			return d, errors.Join(readErr, d.readDiversions())
		}
	}
	return nil, errors.New("read dpkg's database: its status is replaced again and again; try again when dpkg has ended")
}

// readPackages reads the status, and what dpkg has changed since it was written.
func (d *Database) readPackages() error {
	list, err := d.packageStatus("status")
	if err != nil {
		return err
	}
	updates, err := updatesOf(d.root)
	if err != nil || len(updates) == 0 {
		d.packages = onDiskOf(list)
		return err
	}
	type id struct{ name, architecture string }
	at := make(map[id]int, len(list))
	for i, p := range list {
		at[id{p.Name, p.Architecture}] = i
	}
	for _, name := range updates {
		changed, err := d.packageStatus(name)
		if err != nil {
			return err
		}
		for _, p := range changed {
			if i, known := at[id{p.Name, p.Architecture}]; known {
				list[i] = p
				continue
			}
			at[id{p.Name, p.Architecture}] = len(list)
			list = append(list, p)
		}
	}
	d.packages = onDiskOf(list)
	return nil
}

func (d *Database) packageStatus(name string) ([]packageStatus, error) {
	f, err := backends.OpenRegular(d.root, databaseDir+"/"+name, maxDatabaseFile)
	if err != nil {
		return nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	list, err := readPackageStatus(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", backends.HostName(d.root, databaseDir+"/"+name), err)
	}
	return list, nil
}

// updatesOf returns the names of the files in which dpkg has each change of a package
// while it is at work, in their order. It writes a new status of all packages only
// when it ends, or after some hundred changes (dpkg lib/dpkg/dbmodify.c,
// modstatdb_note).
func updatesOf(root backends.Root) ([]string, error) {
	const dir = "updates"
	entries, err := root.ReadDir(databaseDir + "/" + dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names, nil
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
		return fmt.Errorf("read dpkg's diversions: %d lines, which is not a multiple of three", len(lines))
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
	lines, err := backends.ReadLines(d.root, databaseDir+"/"+name, maxDatabaseFile, maxStatusLine)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dpkg's database: %w", err)
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

// infoFile returns the name of one of a package's files in info/, which has the
// architecture in it when several can be installed at once.
func (d *Database) infoFile(p *pkginfo.Package, kind string) string {
	if p.MultiArch == "same" {
		name := "info/" + p.Name + ":" + p.Architecture + "." + kind
		if _, err := d.root.Stat(databaseDir + "/" + name); err == nil {
			return name
		}
	}
	return "info/" + p.Name + "." + kind
}

// Stamp returns what changes whenever a package is unpacked, the same version
// again included: inode, time and size of its list of files.
func (d *Database) Stamp(p *pkginfo.Package) (string, error) {
	return stampOf(d.root, d.infoFile(p, "list"))
}

// DatabaseState returns what changes with every change of a root's database. dpkg
// adds an update or renames a new status into place for each change that it has made,
// and a new file of diversions for each of these. The error wraps
// [backends.ErrNoDatabase] where there is no database.
func DatabaseState(root backends.Root) (string, error) {
	status, err := stampOf(root, "status")
	if err == nil && status == noFile {
		err = fmt.Errorf("read dpkg's database in %s: %w", root.Dir(), backends.ErrNoDatabase)
	}
	if err != nil {
		return "", err
	}
	diversions, err := stampOf(root, "diversions")
	if err != nil {
		return "", err
	}
	state := status + " " + diversions
	updates, err := updatesOf(root)
	if err != nil || len(updates) == 0 {
		return state, err
	}
	last := updates[len(updates)-1]
	stamp, err := stampOf(root, last)
	return state + " " + last + " " + stamp, err
}

const noFile = "none"

// stampOf returns the stamp of a file of the database, noFile where it is not there.
func stampOf(root backends.Root, name string) (string, error) {
	info, err := root.Stat(databaseDir + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return noFile, nil
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
