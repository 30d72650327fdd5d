package transaction

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// systemPackages returns what the root's own package manager has installed; none
// where there is no database.
func systemPackages(root *sysroot.Root) ([]*pkginfo.Package, error) {
	path, err := root.HostPath("/var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the package manager's database: %w", err)
	}
	defer f.Close()
	packages, err := deb.ReadStatus(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return packages, nil
}
