package repo

import (
	"errors"
	"io/fs"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/sysroot"
)

// keyRoot returns where the keys of a source are looked for: in the root, and those of a
// release that no file of the root names on this machine as well, for the root may be a
// new one. The caller calls end.
func (r *Repo) keyRoot(s *backends.Source) (root backends.Root, end func(), err error) {
	if s.File != "" || r.Root.IsHost() {
		return r.Root, func() {}, nil
	}
	host, err := sysroot.Open("/", r.Root.Prefix(), r.Root.Formats())
	if err != nil {
		return nil, nil, err
	}
	return &rootOrHost{r.Root, host}, func() { host.Close() }, nil //nolint:errcheck // nothing was written
}

// rootOrHost is a root with the files of this machine where it has none of a name.
type rootOrHost struct {
	*sysroot.Root
	host *sysroot.Root
}

// ReadFile implements [backends.Root].
func (r *rootOrHost) ReadFile(name string, limit int64) ([]byte, error) {
	b, err := r.Root.ReadFile(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return r.host.ReadFile(name, limit)
	}
	return b, err
}
