package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

// ErrNoActive is returned (wrapped) when there are generations and none of them is
// active, because the link is lost or leads nowhere.
var ErrNoActive = errors.New("no generation is active")

// ErrNoGeneration is returned (wrapped) for a generation that is not there.
var ErrNoGeneration = errors.New("no such generation")

// Active returns the generation that current-system leads to. In a root without
// one it is an empty generation with ID 0, whose architecture is the root's.
func (r *Root) Active() (*layout.Generation, error) {
	if ok, err := r.Exists(); err != nil {
		return nil, err
	} else if ok {
		id, err := r.store.Active()
		if err != nil {
			return nil, err
		}
		if id != 0 {
			g, err := r.Generation(id)
			if errors.Is(err, ErrNoGeneration) {
				return nil, fmt.Errorf("%w: %s leads to generation %d, which is not there; run hashpkg rollback N, with an N that hashpkg generations lists",
					ErrNoActive, r.store.Path(layout.CurrentSystem), id)
			}
			return g, err
		}
		if ids, err := r.Generations(); err != nil {
			return nil, err
		} else if len(ids) > 0 {
			return nil, fmt.Errorf("%w: %s is lost; run hashpkg rollback %d for the newest", ErrNoActive, r.store.Path(layout.CurrentSystem), ids[len(ids)-1])
		}
	}
	arch, err := r.Architecture()
	if err != nil {
		return nil, err
	}
	return &layout.Generation{Layout: layout.FormatVersion, Architecture: arch, Orders: r.formats.Orders()}, nil
}

// Generation reads one generation.
func (r *Root) Generation(id int) (*layout.Generation, error) {
	path := r.store.Path(layout.GenerationPath(id) + "/" + layout.GenerationFile)
	b, err := store.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %d; hashpkg generations lists those that are there", ErrNoGeneration, id)
	}
	if err != nil {
		return nil, fmt.Errorf("read generation: %w", err)
	}
	g, err := r.decode(id, b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	g.Orders = r.formats.Orders()
	if g.ID != id {
		return nil, fmt.Errorf("read %s: it says that it is generation %d", path, g.ID)
	}
	return g, nil
}

// decode reads a generation's record, by its index where there is one.
func (r *Root) decode(id int, record []byte) (*layout.Generation, error) {
	index, err := store.ReadFile(r.store.Path(layout.GenerationPath(id) + "/" + layout.IndexFile))
	if err == nil {
		if g, err := layout.DecodeIndex(index, record); err == nil {
			return g, nil
		}
	}
	return layout.DecodeGeneration(record) // the record is the truth, the index may be missing or stale
}

// Generations returns the numbers of all generations, oldest first.
func (r *Root) Generations() ([]int, error) {
	entries, err := os.ReadDir(r.store.Path(layout.GenerationsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var ids []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil && id > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Switch makes a generation the active one, by one rename, and makes that
// durable. While a package manager works it is the generation's following farm
// that becomes active. scratch is a directory on the same file system for the new
// link.
func (r *Root) Switch(id int, scratch string) error {
	_, following, err := r.store.ActiveFarm()
	if err == nil {
		err = r.activate(id, following && r.hasFollowing(id), scratch)
	}
	if err != nil {
		return fmt.Errorf("switch to generation %d: %w", id, err)
	}
	if err := r.store.SyncDir("."); err != nil {
		return fmt.Errorf("switched to generation %d, but a power cut might undo it: %w", id, err)
	}
	return nil
}

// activate points current-system to a farm.
func (r *Root) activate(id int, following bool, scratch string) error {
	next := filepath.Join(scratch, layout.CurrentSystem)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(layout.FarmPath(id, following), next); err != nil {
		return err
	}
	return os.Rename(next, r.store.Path(layout.CurrentSystem))
}

// hasFollowing reports whether a generation has a following farm.
func (r *Root) hasFollowing(id int) bool {
	_, err := os.Lstat(r.store.Path(layout.FarmPath(id, true)))
	return err == nil
}

// Follow makes the active generation's following farm the active one, so that the
// system's programs load what its package manager puts in place, or with on false
// ends that. It reports whether that changed anything; a generation without
// system trees has nothing to follow. The caller holds the lock.
//
// It is one rename, and does not wait for the disk: a package manager that waits
// for its own files waits for this one, and after a power cut before that both
// farms are right.
func (r *Root) Follow(on bool) (changed bool, err error) {
	id, following, err := r.store.ActiveFarm()
	if err != nil || id == 0 || following == on || on && !r.hasFollowing(id) {
		return false, err
	}
	if err := r.activate(id, on, r.store.Path(layout.StagingDir)); err != nil {
		return false, fmt.Errorf("follow the package manager: %w", err)
	}
	return true, nil
}

// Following reports whether the following farm is active.
func (r *Root) Following() (bool, error) {
	_, following, err := r.store.ActiveFarm()
	return following, err
}

// ToRoot returns the way from the prefix, where it really is, up to the root:
// "../.." for /var/sys.
func (r *Root) ToRoot() (string, error) {
	way, err := filepath.Rel(r.store.Path("."), r.dir) // in which HostPath has followed all links
	if err != nil {
		return "", fmt.Errorf("find prefix: %v", err)
	}
	return filepath.ToSlash(way), nil
}

// VerifyFarm returns what is wrong with a generation's links and with the
// default links of its packages: path on the host and what it is.
func (r *Root) VerifyFarm(g *layout.Generation) (checked int, damaged map[string]string, err error) {
	damaged = map[string]string{}
	check := func(path, target string) error {
		checked++
		have, err := os.Readlink(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			damaged[path] = "is missing"
		case errors.Is(err, unix.EINVAL):
			damaged[path] = "is no link"
		case err != nil:
			return fmt.Errorf("verify link: %w", err)
		case have != target:
			damaged[path] = fmt.Sprintf("leads to %s, and should lead to %s", have, target)
		}
		return nil
	}
	dir := r.store.Path(layout.GenerationPath(g.ID))
	for _, l := range g.Farm() {
		if err := check(filepath.Join(dir, l.Path), l.Target); err != nil {
			return checked, damaged, err
		}
	}
	for i := range g.Trees {
		name := g.Trees[i].Name
		if i > 0 && g.Trees[i-1].Name == name {
			continue
		}
		if err := check(r.store.Path(name+"/"+layout.DefaultLink), layout.DefaultLinkTarget(name)); err != nil {
			return checked, damaged, err
		}
	}
	return checked, damaged, nil
}
