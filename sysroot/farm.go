package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// WriteGeneration writes a generation, its index and its farm into the new
// directory name of scratch, which is on the prefix's file system.
//
// A farm has thousands of links and a generation changes a few, so it is made
// from an older generation's where one can be spared: the farm follows from the
// record, and an inactive generation gets it back when it is rolled back to. The
// active generation and the one before it keep theirs.
func (r *Root) WriteGeneration(scratch *beneath.Dir, name string, g, active *record.Generation) error {
	if err := r.writeGeneration(scratch, name, g, active); err != nil {
		return fmt.Errorf("write generation: %w", err)
	}
	return nil
}

func (r *Root) writeGeneration(scratch *beneath.Dir, name string, g, active *record.Generation) error {
	var text, index []byte
	var encoding errgroup.Group
	encoding.Go(func() (err error) { // most of the work among many packages, beside the rest of it
		if text, err = g.Encode(); err == nil {
			index = g.EncodeIndex(text)
		}
		return err
	})
	donor, err := r.borrowFarm(scratch, name, active)
	if err == nil && donor == nil {
		donor, err = &record.Generation{}, scratch.Mkdir(name, 0o755)
	}
	if err == nil {
		err = changeFarm(scratch, name, g, donor)
	}
	if eerr := encoding.Wait(); err == nil {
		err = eerr
	}
	if err != nil {
		return err
	}
	dir, err := scratch.OpenDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	for file, b := range map[string][]byte{layout.GenerationFile: text, layout.IndexFile: index} {
		temp, err := dir.StageFile(file, b, 0o644) // the old one may have other names
		if err == nil {
			err = dir.Rename(dir, temp, file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeFarm turns the farm of donor, in the directory name, into that of g.
func changeFarm(scratch *beneath.Dir, name string, g, donor *record.Generation) error {
	top, err := scratch.OpenDir(name)
	if err != nil {
		return err
	}
	defer top.Close()
	gone, made := farm.Changes(g, donor)
	return inDirectories(top, func(in func(link string) (*beneath.Dir, error)) error {
		for _, l := range gone {
			dir, err := in(l.Path)
			if err == nil {
				err = dir.Remove(path.Base(l.Path))
			}
			if err != nil {
				return err
			}
		}
		for _, l := range made {
			dir, err := in(l.Path)
			if err == nil {
				err = dir.Symlink(l.Target, path.Base(l.Path))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// inDirectories calls f with what opens, and makes, the directory of a link. Links
// come in order, so that the last directory is nearly always the next one, too.
func inDirectories(top *beneath.Dir, f func(in func(link string) (*beneath.Dir, error)) error) (err error) {
	var open *beneath.Dir
	var at string
	defer func() {
		if open != nil {
			err = errors.Join(err, open.Close())
		}
	}()
	return f(func(link string) (*beneath.Dir, error) {
		name := path.Dir(link)
		if open != nil && at == name {
			return open, nil
		}
		if err := top.MkdirAll(name, 0o755); err != nil {
			return nil, err
		}
		dir, err := top.OpenDir(name)
		if err != nil {
			return nil, err
		}
		if open != nil {
			if err := open.Close(); err != nil {
				return nil, errors.Join(err, dir.Close())
			}
		}
		open, at = dir, name
		return dir, nil
	})
}

// borrowFarm moves the newest farm that can be spared to name in scratch, in one
// step, and leaves the records in its generation. It returns that generation; nil
// when there is none, or the file system cannot exchange two names.
func (r *Root) borrowFarm(scratch *beneath.Dir, name string, active *record.Generation) (*record.Generation, error) {
	ids, err := r.Generations()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		if id == active.ID || id == active.Parent || !r.hasFarm(id) {
			continue
		}
		g, err := r.Generation(id)
		if err != nil || !r.farmIsWhole(g) {
			continue // it is not needed now, and verify reports it
		}
		if err := scratch.Mkdir(name, 0o755); err != nil {
			return nil, err
		}
		from := layout.GenerationPath(id)
		for _, file := range []string{layout.GenerationFile, layout.IndexFile} {
			err := scratch.Link(r.store.Dir(), from+"/"+file, name+"/"+file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if err := scratch.Exchange(r.store.Dir(), from, name); err != nil {
			return nil, scratch.RemoveAll(name)
		}
		return g, nil
	}
	return nil, nil
}

// farmIsWhole reports whether a generation's farm has the names that its record
// gives it, and no others: what is wrong there must not come back with a later
// generation.
func (r *Root) farmIsWhole(g *record.Generation) bool {
	names := farm.Paths(g)
	found := 0
	top := layout.GenerationPath(g.ID)
	err := r.store.Dir().Walk(top, func(p string, _ *beneath.Dir, _ string, kind fs.FileMode) error {
		if kind.IsDir() {
			return nil
		}
		rel := p[len(top)+1:]
		switch {
		case rel == layout.GenerationFile, rel == layout.IndexFile:
			return nil
		case !names[rel] || kind&fs.ModeSymlink == 0:
			return fs.ErrInvalid
		}
		found++
		return nil
	})
	return err == nil && found == len(names)
}

// hasFarm reports whether an inactive generation still has its farm.
func (r *Root) hasFarm(id int) bool {
	return r.store.Dir().Exists(layout.GenerationPath(id) + "/" + layout.DefaultLink)
}

// RestoreFarm gives an inactive generation its farm, if it lent it. scratch is a
// directory on the same file system.
func (r *Root) RestoreFarm(g, active *record.Generation, scratch *beneath.Dir) error {
	if r.hasFarm(g.ID) || len(g.Trees) == 0 {
		return nil
	}
	const name = "farm"
	if err := r.WriteGeneration(scratch, name, g, active); err != nil {
		return err
	}
	if err := r.store.Sync(); err != nil {
		return err
	}
	if err := r.store.Dir().Exchange(scratch, name, layout.GenerationPath(g.ID)); err != nil {
		return fmt.Errorf("give generation %d its links back: %w", g.ID, err)
	}
	return r.store.SyncDir(layout.GenerationsDir)
}

// LinkFault is one link below the prefix that is not as it should be.
type LinkFault struct {
	Name   string // below the prefix
	Target string // that it should have; "" for one that should not be there
	What   string // "is missing", "is not a link", "leads to ..., and should lead to ..."
}

// VerifyFarm returns what is wrong with a generation's links and with the default
// links of its packages, and how many links it has looked at.
func (r *Root) VerifyFarm(g *record.Generation) (checked int, faults []LinkFault, err error) {
	links := r.farmLinks(g)
	for _, l := range links {
		have, err := r.store.Dir().Readlink(l.Path)
		what := ""
		switch {
		case errors.Is(err, fs.ErrNotExist):
			what = "is missing"
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTDIR), errors.Is(err, beneath.ErrLink):
			what = "is not a link of its own"
		case err != nil:
			return checked, faults, fmt.Errorf("verify link: %w", err)
		case have != l.Target:
			what = fmt.Sprintf("leads to %s, and should lead to %s", have, l.Target)
		}
		if what != "" {
			faults = append(faults, LinkFault{l.Path, l.Target, what})
		}
		checked++
	}
	extra, err := r.extraLinks(g)
	return checked, append(faults, extra...), err
}

// farmLinks returns the links of a generation below the prefix, the default links of its
// packages included.
func (r *Root) farmLinks(g *record.Generation) []farm.Link {
	var links []farm.Link
	for _, l := range farm.Links(g) {
		links = append(links, farm.Link{Path: layout.GenerationPath(g.ID) + "/" + l.Path, Target: l.Target})
	}
	for i := range g.Trees {
		if name := g.Trees[i].Name; i == 0 || g.Trees[i-1].Name != name {
			links = append(links, farm.Link{Path: name + "/" + layout.DefaultLink, Target: layout.DefaultLinkTarget(name)})
		}
	}
	return links
}

// extraLinks returns the names in a generation's farm that its record does not have.
func (r *Root) extraLinks(g *record.Generation) (faults []LinkFault, err error) {
	names := farm.Paths(g)
	dirs := map[string]bool{}
	for name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	top := layout.GenerationPath(g.ID)
	err = r.store.Dir().Walk(top, func(p string, _ *beneath.Dir, _ string, kind fs.FileMode) error {
		if p == top {
			return nil
		}
		rel := p[len(top)+1:]
		switch {
		case rel == layout.GenerationFile, rel == layout.IndexFile, names[rel], dirs[rel]:
			return nil
		case kind.IsDir(): // empty ones stay behind when links go
			return nil
		}
		faults = append(faults, LinkFault{Name: p, What: "is not in the generation's record"})
		return nil
	})
	if err != nil {
		err = fmt.Errorf("verify links: %w", err)
	}
	return faults, err
}

// HasFarm reports whether a generation still has its farm: one that is not active may have
// lent it.
func (r *Root) HasFarm(id int) bool { return r.hasFarm(id) }

// MendFarm puts the links of a generation back that are lost or lead elsewhere, and
// returns them. Where nothing is missing by its name it reads no link.
func (r *Root) MendFarm(g *record.Generation, staging *store.Staging) ([]LinkFault, error) {
	if g.ID == 0 || r.farmIsWhole(g) && r.hasDefaultLinks(g) {
		return nil, nil
	}
	_, faults, err := r.VerifyFarm(g)
	if err != nil {
		return nil, err
	}
	var mended []LinkFault
	for _, f := range faults {
		if f.Target == "" {
			continue // it is in nobody's way
		}
		err := staging.PutLink(f.Target, f.Name, func(name string) error {
			return advice.Errorf("%s is in the way; run hashpkg verify --repair", r.store.Path(name))
		})
		if err != nil {
			return mended, err
		}
		mended = append(mended, f)
	}
	if len(mended) == 0 {
		return nil, nil
	}
	return mended, r.store.Sync()
}

func (r *Root) hasDefaultLinks(g *record.Generation) bool {
	for i := range g.Trees {
		if name := g.Trees[i].Name; (i == 0 || g.Trees[i-1].Name != name) && !r.store.Dir().Exists(name+"/"+layout.DefaultLink) {
			return false
		}
	}
	return true
}
