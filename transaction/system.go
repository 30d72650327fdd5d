package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// systemPackages returns what the root's own package managers have installed;
// none where there is no database, or none that may be read.
func systemPackages(ctx context.Context, root *sysroot.Root) ([]*backends.Installed, error) {
	var packages []*backends.Installed
	for _, format := range root.Formats() {
		d, err := format.Database(ctx, root)
		switch {
		case errors.Is(err, backends.ErrNoDatabase), errors.Is(err, fs.ErrPermission):
		case err != nil:
			return packages, fmt.Errorf("read the database of installed packages (%s): %w", format.Name(), err)
		default:
			packages = append(packages, d.Packages()...)
		}
	}
	return packages, nil
}

// ErrNoDatabase is returned (wrapped) for a root in which no package manager that
// hashpkg knows has a database.
var ErrNoDatabase = errors.New("no package manager that is known has a database")

// databaseStates returns, by name, what changes with the databases of the root
// and with the configuration of its loader.
func databaseStates(root *sysroot.Root) (map[string]string, error) {
	states := map[string]string{}
	for _, format := range root.Formats() {
		state, err := format.State(root)
		switch {
		case errors.Is(err, backends.ErrNoDatabase):
		case err != nil:
			return nil, err
		default:
			states[string(format.Name())] = state
		}
	}
	if len(states) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoDatabase, root.Dir())
	}
	for _, name := range loaderFiles {
		switch info, err := root.Stat(name); {
		case err == nil:
			states[name] = pkginfo.FileStamp(info)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
	}
	return states, nil
}

// loaderFiles are the loader's cache and configuration.
var loaderFiles = []string{"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"}
