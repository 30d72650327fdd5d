package repo

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/sysroot"
)

// keyDirs are where distributions put the keys of their releases.
var keyDirs = []string{"/usr/share/keyrings/", "/etc/pki/rpm-gpg/", "/usr/share/distribution-gpg-keys/"}

// keyRoot returns where the keys of a source are looked for: in the root and, as the
// root may be a new one, on this machine as well, in those directories that
// distributions use. That is so of a release that no file names, and of what hashpkg's
// own files name; the package manager of a root has its keys in the root. The caller
// calls end.
func (r *Repo) keyRoot(s *backends.Source) (root backends.Root, end func(), err error) {
	own := r.sourcesRoot()
	if s.File != "" && path.Dir(s.File) != SourcesDir || own.IsHost() {
		return own, func() {}, nil
	}
	host, err := sysroot.Open("/", own.Prefix(), own.Formats())
	if err != nil {
		return nil, nil, err
	}
	return &rootOrHost{own, host}, func() { host.Close() }, nil //nolint:errcheck // nothing was written
}

// rootOrHost is a root with the keys of this machine where it has none of a name.
type rootOrHost struct {
	*sysroot.Root
	host *sysroot.Root
}

// ReadFile implements [backends.Root].
func (r *rootOrHost) ReadFile(name string, limit int64) ([]byte, error) {
	b, err := r.Root.ReadFile(name, limit)
	isKey := slices.ContainsFunc(keyDirs, func(dir string) bool { return strings.HasPrefix(path.Clean(name), dir) })
	if errors.Is(err, fs.ErrNotExist) && isKey {
		return r.host.ReadFile(name, limit)
	}
	return b, err
}
