package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// systemPackages returns what the root's own package managers have installed;
// none where there is no database.
func systemPackages(ctx context.Context, root *sysroot.Root) ([]*pkginfo.Package, error) {
	packages, err := dpkgPackages(root)
	if err != nil {
		return nil, err
	}
	installed, err := rpmPackages(ctx, root)
	for _, p := range installed {
		if !p.IsKey() {
			packages = append(packages, p.Package)
		}
	}
	return packages, err
}

// maxStatus bounds dpkg's database; that of a large system has 10 MB.
const maxStatus = 256 << 20

func dpkgPackages(root *sysroot.Root) ([]*pkginfo.Package, error) {
	path, err := root.HostPath("/var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hold us up
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxStatus {
		return nil, fmt.Errorf("read %s: it is no regular file of a sensible size", path)
	}
	packages, err := deb.ReadStatus(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return packages, nil
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

// rootKeyring returns the keys that the root's rpm trusts, for packages that are
// rpms by their names; nil when none is.
func rootKeyring(ctx context.Context, root *sysroot.Root, files []packageFile) (*rpm.Keyring, error) {
	var installed []*rpm.Installed
	for _, f := range files {
		if !strings.HasSuffix(f.path, ".rpm") {
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
