package sysroot

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// RootFiles reads the files of a root by their absolute paths in it, with links
// followed inside the root.
type RootFiles struct{ root *Root }

// Files returns what reads the files of the root.
func (r *Root) Files() RootFiles { return RootFiles{r} }

// ReadFile reads a regular file of at most limit bytes.
func (f RootFiles) ReadFile(name string, limit int64) ([]byte, error) {
	host, err := f.root.HostPath(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return beneath.ReadAll(file, limit)
}

// ReadDir returns what a directory holds, sorted by name.
func (f RootFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	host, err := f.root.HostPath(name)
	if err != nil {
		return nil, err
	}
	return os.ReadDir(host)
}

// Exists reports whether something has the name.
func (f RootFiles) Exists(name string) bool { return f.root.HasFile(name) }
