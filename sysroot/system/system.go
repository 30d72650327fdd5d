// Package system reads what the package managers of a root have installed: which
// packages there are ([Packages]), and which libraries and programs their files are
// ([Scan]). It changes nothing.
package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Facts is the number of what a sync knows of packages and programs. It is raised
// whenever a newer one knows more, so that it looks at what an older one has left.
//
//	1: libraries that ask where they are, and programs that ask where libraries are
const Facts = 1

// Packages returns what the root's own package managers have installed; none where
// there is no database, or none that the caller may read.
func Packages(ctx context.Context, root *sysroot.Root) ([]*backends.Installed, error) {
	var packages []*backends.Installed
	for _, format := range root.Formats() {
		db, err := format.Database(ctx, root)
		if errors.Is(err, backends.ErrNoDatabase) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		packages = append(packages, db.Packages()...)
	}
	return packages, nil
}

// Diversions has what dpkg-divert(1) did: files of packages that have other places
// than their lists say.
const Diversions = "/var/lib/dpkg/diversions"

// watched are the loader's cache and configuration, and the diversions: what a sync
// follows from beside the databases.
var watched = []string{"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", Diversions}

// States returns, by name, what changes with the databases of the root and with the
// configuration of its loader. The error wraps [backends.ErrNoDatabase] where no
// package manager has one.
func States(root *sysroot.Root) (map[string]string, error) {
	states := map[string]string{}
	for _, format := range root.Formats() {
		state, err := format.State(root)
		if errors.Is(err, backends.ErrNoDatabase) {
			continue
		}
		if err != nil {
			return nil, err
		}
		states[string(format.Name())] = state
	}
	if len(states) == 0 {
		return nil, fmt.Errorf("%w in %s", backends.ErrNoDatabase, root.Dir())
	}
	for _, name := range watched {
		switch info, err := root.Stat(name); {
		case err == nil:
			states[name] = pkginfo.FileStamp(info)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
	}
	return states, nil
}
