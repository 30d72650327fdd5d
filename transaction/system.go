package transaction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// installed is one package that a package manager of the root has installed.
type installed struct {
	*pkginfo.Package
	key   string // see record.PackageKey
	stamp string // changes when it is installed again
	// files returns the paths of its files, where they are now, with the digests
	// that the database has for them and rpm's flags; "config" stands for dpkg's
	// conffiles too.
	files func() ([]pkginfo.Entry, error)
}

// named returns how records and reports name the package.
func (p *installed) named() programs.Package {
	return programs.Package{Key: p.key, Name: p.Name, Version: p.Version}
}

// systemPackages returns what the root's own package managers have installed;
// none where there is no database.
func systemPackages(ctx context.Context, root *sysroot.Root) ([]*installed, error) {
	packages, err := dpkgPackages(root)
	if err != nil {
		return nil, err
	}
	found, err := rpmPackages(ctx, root)
	for _, p := range found {
		if !p.IsKey() {
			packages = append(packages, fromRPM(p))
		}
	}
	return packages, err
}

const dpkgDir = "/var/lib/dpkg"

func dpkgPackages(root *sysroot.Root) ([]*installed, error) {
	dir, err := root.HostPath(dpkgDir)
	if err != nil {
		return nil, err
	}
	db, err := deb.OpenDatabase(dir)
	if errors.Is(err, deb.ErrNoDatabase) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var packages []*installed
	for _, p := range db.Packages() {
		stamp, err := db.Stamp(p)
		if err != nil {
			return nil, err
		}
		packages = append(packages, &installed{
			Package: p, key: record.PackageKey(p), stamp: p.Version + " " + stamp,
			files: func() ([]pkginfo.Entry, error) { return db.Files(p) },
		})
	}
	return packages, nil
}

func fromRPM(p *rpm.Installed) *installed {
	return &installed{
		Package: p.Package, key: record.PackageKey(p.Package),
		stamp: fmt.Sprintf("%d %d %s", p.Instance, p.InstallTime.Unix(), p.HeaderDigest),
		files: func() ([]pkginfo.Entry, error) {
			var entries []pkginfo.Entry
			for _, f := range p.Files {
				if f.State == rpm.FileNormal || f.State == rpm.FileMissing {
					entries = append(entries, f.Entry)
				}
			}
			return entries, nil
		},
	}
}

func rpmPackages(ctx context.Context, root *sysroot.Root) ([]*rpm.Installed, error) {
	installed, err := rpm.ReadDatabase(ctx, root.Dir())
	if errors.Is(err, rpm.ErrNoDatabase) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read rpm's database: %w", err)
	}
	return installed, nil
}

// ErrNoDatabase is returned (wrapped) for a root in which no package manager that
// hashpkg knows has a database.
var ErrNoDatabase = errors.New("neither dpkg nor rpm has a database")

// databaseStates returns, by name, what changes with the databases of the root
// and with the configuration of its loader.
func databaseStates(root *sysroot.Root) (map[string]string, error) {
	states := map[string]string{}
	dir, err := root.HostPath(dpkgDir)
	if err != nil {
		return nil, err
	}
	if states["dpkg"], err = deb.DatabaseState(dir); errors.Is(err, deb.ErrNoDatabase) {
		delete(states, "dpkg")
	} else if err != nil {
		return nil, err
	}
	if states["rpm"], err = rpm.DatabaseState(root.Dir()); errors.Is(err, rpm.ErrNoDatabase) {
		delete(states, "rpm")
	} else if err != nil {
		return nil, fmt.Errorf("read rpm's database: %w", err)
	}
	if len(states) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoDatabase, root.Dir())
	}
	for _, name := range append(loaderFiles, diversions) {
		path, err := root.HostPath(name)
		if err != nil {
			return nil, err
		}
		switch info, err := os.Stat(path); {
		case err == nil:
			states[name] = pkginfo.FileStamp(info)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
	}
	return states, nil
}

// diversions has what dpkg-divert(1) did: files of packages that have other places
// than their lists say.
const diversions = dpkgDir + "/diversions"

// loaderFiles are the loader's cache and configuration.
var loaderFiles = []string{"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"}

// rootKeyring returns the keys that the root's rpm trusts, if one of the files is
// an rpm.
func rootKeyring(ctx context.Context, root *sysroot.Root, files []packageFile) (*rpm.Keyring, error) {
	var installed []*rpm.Installed
	for _, f := range files {
		if !isRPM(f.path) {
			continue
		}
		var err error
		if installed, err = rpmPackages(ctx, root); err != nil {
			return nil, err
		}
		break
	}
	var keys [][]byte
	for _, p := range installed {
		if !p.IsKey() {
			continue
		}
		for _, f := range p.Fields {
			if strings.Contains(f.Value, "BEGIN PGP PUBLIC KEY BLOCK") {
				keys = append(keys, []byte(f.Value))
			}
		}
	}
	return rpm.ParseKeyring(keys...)
}

// isRPM reports whether a file begins as an rpm does. What cannot be read is told
// by who unpacks it.
func isRPM(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, rpm.MagicSize)
	_, err = io.ReadFull(f, magic)
	return err == nil && rpm.IsRPM(magic)
}
