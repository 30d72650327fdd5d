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
)

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
			return r.Generation(id)
		}
	}
	arch, err := r.Architecture()
	if err != nil {
		return nil, err
	}
	return &layout.Generation{Layout: layout.FormatVersion, Architecture: arch}, nil
}

// Generation reads one generation.
func (r *Root) Generation(id int) (*layout.Generation, error) {
	path := r.store.Path(layout.GenerationPath(id) + "/" + layout.GenerationFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %d; hashpkg generations lists those that are there", ErrNoGeneration, id)
	}
	if err != nil {
		return nil, fmt.Errorf("read generation: %w", err)
	}
	g, err := layout.DecodeGeneration(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if g.ID != id {
		return nil, fmt.Errorf("read %s: it says that it is generation %d", path, g.ID)
	}
	return g, nil
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

// WriteGeneration writes a generation and its farm into the new directory dir on
// the host. Links that the farm of previous has too are hard links to those, so
// that a generation costs names and no inodes.
func (r *Root) WriteGeneration(dir string, g, previous *layout.Generation) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("write generation: %w", err)
	}
	b, err := g.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, layout.GenerationFile), b); err != nil {
		return fmt.Errorf("write generation: %w", err)
	}
	old := map[string]string{}
	oldDir := ""
	if previous.ID != 0 {
		oldDir = r.store.Path(layout.GenerationPath(previous.ID))
		links, _ := previous.Farm()
		for _, l := range links {
			old[l.Path] = l.Target
		}
	}
	farm, _ := g.Farm()
	made := map[string]bool{".": true}
	for _, l := range farm {
		if !fs.ValidPath(l.Path) {
			return fmt.Errorf("write generation: the link %q does not stand below it", l.Path)
		}
		if err := mkdirs(dir, filepath.Dir(l.Path), made); err != nil {
			return fmt.Errorf("write generation: %w", err)
		}
		path := filepath.Join(dir, l.Path)
		if old[l.Path] == l.Target {
			if os.Link(filepath.Join(oldDir, l.Path), path) == nil {
				continue // else too many names, or the old one is damaged: a link of its own
			}
		}
		if err := os.Symlink(l.Target, path); err != nil {
			return fmt.Errorf("write generation: %w", err)
		}
	}
	return nil
}

func mkdirs(top, name string, made map[string]bool) error {
	if made[name] {
		return nil
	}
	if err := mkdirs(top, filepath.Dir(name), made); err != nil {
		return err
	}
	made[name] = true
	return makeDir(filepath.Join(top, name))
}

func makeDir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func writeFile(path string, b []byte) error {
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// Switch makes a generation the active one, by one rename, and makes that
// durable. scratch is a directory on the same file system for the new link.
func (r *Root) Switch(id int, scratch string) error {
	next := filepath.Join(scratch, layout.CurrentSystem)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("switch to generation %d: %w", id, err)
	}
	if err := os.Symlink(layout.GenerationPath(id), next); err != nil {
		return fmt.Errorf("switch to generation %d: %w", id, err)
	}
	if err := os.Rename(next, r.store.Path(layout.CurrentSystem)); err != nil {
		return fmt.Errorf("switch to generation %d: %w", id, err)
	}
	if err := r.store.SyncDir("."); err != nil {
		return fmt.Errorf("switched to generation %d, but a power cut might undo it: %w", id, err)
	}
	return nil
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
	links, _ := g.Farm()
	for _, l := range links {
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
