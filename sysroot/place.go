package sysroot

import (
	"path"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// Place is an open directory of a root and a name in it.
type Place struct {
	Dir  *beneath.Dir
	Base string
	Path string // in the root, absolute, without links in its directory
}

// Close closes the directory.
func (p *Place) Close() error { return p.Dir.Close() }

// Find opens the directory of an absolute path in the root, with links in it
// followed inside the root. What has the name there, if anything has, is not looked
// at. The caller closes the place.
func (r *Root) Find(name string) (*Place, error) {
	host, err := r.HostPath(path.Dir(name))
	if err != nil {
		return nil, err
	}
	dir, err := beneath.Open(host)
	if err != nil {
		return nil, err
	}
	inside, err := filepath.Rel(r.dir, host)
	if err != nil {
		return nil, err
	}
	return &Place{Dir: dir, Base: path.Base(name), Path: path.Join("/", inside, path.Base(name))}, nil
}
