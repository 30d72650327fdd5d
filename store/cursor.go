package store

import (
	"path"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// cursor opens the directories of names and keeps the last one open: names in order
// open each directory once. One goroutine uses it.
type cursor struct {
	top  *beneath.Dir
	name string // of dir
	dir  *beneath.Dir
}

// at returns the directory of a name, which is valid until the next call, and the
// name's last element.
func (c *cursor) at(name string) (*beneath.Dir, string, error) {
	parent, base := path.Dir(name), path.Base(name)
	if parent == "." {
		return c.top, base, nil
	}
	if c.dir != nil && c.name == parent {
		return c.dir, base, nil
	}
	dir, err := c.top.OpenDir(parent)
	if err != nil {
		return nil, "", err
	}
	c.close()
	c.name, c.dir = parent, dir
	return dir, base, nil
}

func (c *cursor) close() {
	if c.dir != nil {
		_ = c.dir.Close() // nothing is written through it
		c.dir = nil
	}
}

// shards opens the directories of the store's objects, each once. Several
// goroutines use it.
type shards struct {
	store *Store
	mu    sync.Mutex
	dirs  [256]*beneath.Dir
}

// at returns the directory of an object, which stays the shards', and its name
// there.
func (s *shards) at(d digest.Digest) (*beneath.Dir, string, error) {
	name := layout.ObjectPath(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.dirs[d[0]]
	if dir == nil {
		var err error
		if dir, err = s.store.dir.OpenDir(path.Dir(name)); err != nil {
			return nil, "", err
		}
		s.dirs[d[0]] = dir
	}
	return dir, path.Base(name), nil
}

func (s *shards) close() {
	for i, dir := range s.dirs {
		if dir != nil {
			_ = dir.Close() // nothing is written through it
			s.dirs[i] = nil
		}
	}
}
