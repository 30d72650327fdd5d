package store

import (
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
)

// PutIndex puts a file below [layout.IndexDir] in its place, whole or not at all. It does not
// wait for the disk, and that the file could not be written is no error: an index is derived, tells when it is
// damaged, and is made again. What stands in its place, and is no file or directory of
// hashpkg's, is removed.
func (s *Store) PutIndex(name string, b []byte) {
	put := func() error {
		if err := s.dir.MkdirAll(layout.IndexDir, 0o755); err != nil {
			return err
		}
		temp, err := s.dir.StageFile(name, b, 0o644)
		if err != nil {
			return err
		}
		if err := s.dir.Rename(s.dir, temp, name); err != nil {
			_ = s.dir.RemoveIfThere(temp)
			return err
		}
		return nil
	}
	if put() == nil {
		return
	}
	for place, kind := range map[string]uint32{layout.IndexDir: unix.S_IFDIR, name: unix.S_IFREG} {
		if st, err := s.dir.Lstat(place); err == nil && st.Mode&unix.S_IFMT != kind && s.dir.RemoveAll(place) != nil {
			return
		}
	}
	_ = put()
}
