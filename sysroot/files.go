package sysroot

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
)

var _ backends.Root = (*Root)(nil)

// Formats returns the package formats in use.
func (r *Root) Formats() backends.Formats { return r.formats }

// Open opens a file in the root for reading: see [backends.Root].
func (r *Root) Open(name string) (*os.File, error) {
	host, err := r.HostPath(name)
	if err != nil {
		return nil, err
	}
	return os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// ReadFile returns the content of a regular file in the root that has at most limit
// bytes.
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := backends.OpenRegular(r, name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return backends.ReadAll(f, limit)
}

// ReadDir returns what a directory in the root has, sorted by name.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	host, err := r.HostPath(name)
	if err != nil {
		return nil, err
	}
	return os.ReadDir(host)
}

// Stat looks at a file in the root.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	host, err := r.HostPath(name)
	if err != nil {
		return nil, err
	}
	return os.Stat(host)
}
