package rpm

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// maxDatabasePaths is how many bytes the paths of all files of a database may have.
// Stored they share their directories, so that a small file could hold very many.
const maxDatabasePaths = 1 << 30

// keyPackage is the name of what is no package but a key of rpm's keyring, and has
// neither files nor an architecture.
const keyPackage = "gpg-pubkey"

// Installed is one package of rpm's database.
type Installed struct {
	*pkginfo.Package

	// Files are all files of the package, in its order, installed or not.
	Files []InstalledFile

	InstallTime time.Time

	// Instance is the number that rpm gave to this installation of the package, and
	// gives to no other. It is 0 if the database was read through rpm, which does
	// not tell.
	Instance uint32

	// HeaderDigest is the SHA-256 of the header of the package file, "sha256:hex".
	// It is the same for every installation of one file, and for no other package.
	// Of a key it is that of what the database has.
	HeaderDigest string
}

// IsKey reports whether this is an OpenPGP key of rpm's keyring, which its database
// has among the packages. Its Architecture is "".
func (p *Installed) IsKey() bool { return p.Name == keyPackage && p.Architecture == "" }

// InstalledFile is one file of an installed package. Its Path is the one that the
// package has for it, without the slash: where /lib is a link, "lib/libc.so.6" is
// usr/lib/libc.so.6. Its Digest is of the algorithm that the package has: "md5:hex"
// in old ones.
type InstalledFile struct {
	pkginfo.Entry
	State FileState
}

// FileState says what rpm has done with a file (rpm: rpmfileState_e).
type FileState int8

// The states of files. Those that are not [FileNormal] have not been installed, or
// have been replaced by another package's.
const (
	FileMissing      FileState = -1 // the database does not say
	FileNormal       FileState = 0
	FileReplaced     FileState = 1 // by the same file of another package
	FileNotInstalled FileState = 2 // such as documentation, with --excludedocs
	FileNetShared    FileState = 3 // in a directory that is not this machine's (%_netsharedpath)
	FileWrongColor   FileState = 4 // left out for that of another architecture
)

// String returns rpm's word for the state.
func (s FileState) String() string {
	switch s {
	case FileMissing:
		return "missing"
	case FileNormal:
		return "normal"
	case FileReplaced:
		return "replaced"
	case FileNotInstalled:
		return "not installed"
	case FileNetShared:
		return "net shared"
	case FileWrongColor:
		return "wrong color"
	}
	return fmt.Sprintf("state %d", int8(s))
}

// collection is the packages of a database so far.
type collection struct {
	all       []*Installed
	numbers   map[uint32]bool
	pathBytes int
}

// add is a [recordFunc].
func (c *collection) add(instance uint32, blob []byte) error {
	h, err := parseStored(blob)
	if err != nil {
		return storedError(instance, "", err)
	}
	p, err := installedOf(h)
	if err != nil {
		return storedError(instance, h.string(tagName), err)
	}
	for _, f := range p.Files {
		c.pathBytes += len(f.Path)
	}
	if c.pathBytes > maxDatabasePaths {
		return storedError(instance, p.Name, errorIn("", "the paths of the files are too long"))
	}
	if instance != 0 && c.numbers[instance] {
		return storedError(instance, p.Name, errorIn("", "there is another one of this number"))
	}
	if c.numbers == nil {
		c.numbers = map[uint32]bool{}
	}
	c.numbers[instance] = true
	p.Instance = instance
	c.all = append(c.all, p)
	return nil
}

// packages returns them in the order in which rpm installed them.
func (c *collection) packages() []*Installed {
	slices.SortStableFunc(c.all, func(a, b *Installed) int { return cmp.Compare(a.Instance, b.Instance) })
	return c.all
}

// installedOf returns what the database says of a package.
func installedOf(h *storedHeader) (*Installed, error) {
	p := &Installed{HeaderDigest: h.digest}
	var err error
	if p.Package, err = installedPackage(h.header); err != nil {
		return nil, err
	}
	if seconds, ok := h.number(tagInstallTime); ok {
		p.InstallTime = time.Unix(int64(seconds), 0)
	}
	if p.Files, err = installedFiles(h.header); err != nil {
		return nil, err
	}
	for _, f := range p.Files {
		if f.Type != pkginfo.Directory && hasFlag(&f.Entry, "config") && !hasFlag(&f.Entry, "ghost") {
			p.Conffiles = append(p.Conffiles, f.Path)
		}
	}
	return p, h.err
}
