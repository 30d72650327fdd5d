package transaction

import (
	"maps"
	"path"
	"slices"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// settleFreezes lets pins and freezes follow programs whose directory has become a link, freezes
// also those that dpkg-divert has moved, and takes away freezes of programs that are gone for good.
//
// A program may be missing for a while: dpkg removes a package that is in the way of others and
// unpacks it again, in one run of apt and in two calls of dpkg, after each of which there is a
// sync. So a freeze stays while a package of the database lists its program, which may be
// half-installed, and else until the package manager that was at work when the program went has
// ended, and there is a sync.
func (s *syncer) settleFreezes() error {
	s.absent = map[string]string{}
	if s.noPins != nil {
		return nil
	}
	pins, err := s.followDiverted(placedPins(s.Root, s.pins))
	if err != nil {
		return err
	}
	moved := slices.Clone(pins)
	gone := map[string]bool{}
	for _, program := range frozenPrograms(pins) {
		if s.Root.HasFile(program) {
			continue
		}
		listed, err := s.isListed(program)
		if err != nil {
			return err
		}
		work, known := s.state.Absent[program]
		switch {
		case listed:
		case s.AtWork != "" && (!known || work == s.AtWork):
			s.absent[program] = s.AtWork
		default:
			gone[program] = true
			s.ended = append(s.ended, program+" is not there any more, and is no longer frozen")
		}
	}
	pins = slices.DeleteFunc(pins, func(p record.Pin) bool { return p.Frozen() && gone[p.Program] })
	if slices.Equal(pins, s.pins) {
		return nil
	}
	s.pins = pins
	if s.DryRun {
		return nil
	}
	change := s.writer.beginPins(moved, pins, nil, s.Now)
	if err := s.Root.SetPins(pins); err != nil {
		return err
	}
	s.unkept = s.writer.keepPins(change, pins)
	return nil
}

// isListed reports whether a package that is installed, or is about to be, has a file at the
// path of a program.
func (s *syncer) isListed(program string) (bool, error) {
	for _, p := range s.packages {
		files, err := p.Files()
		if err != nil {
			return false, err
		}
		if s.hasPath(files, program) {
			return true, nil
		}
	}
	return false, nil
}

// hasPath reports whether one of a package's files is at a path, whose directory has no links.
func (s *syncer) hasPath(files []pkginfo.Entry, file string) bool {
	return slices.ContainsFunc(files, func(e pkginfo.Entry) bool {
		return path.Base(e.Path) == path.Base(file) && s.placeOf(&e) == file
	})
}

// placeOf returns the path of a package's file without links in its directory.
func (s *syncer) placeOf(e *pkginfo.Entry) string {
	place, err := s.Root.Find("/" + e.Path)
	if err != nil { // the directory is not there
		return "/" + layout.MergeUsr(e.Path)
	}
	defer place.Close()
	return path.Join(path.Dir(place.Path), path.Base(e.Path))
}

// followDiverted returns pins in which freezes are of the paths that their programs have now. A
// program is the same when it has the edit that is recorded of it.
func (s *syncer) followDiverted(pins []record.Pin) ([]record.Pin, error) {
	pins = slices.Clone(pins)
	frozen := setOf(frozenPrograms(pins))
	missing := slices.ContainsFunc(slices.Sorted(maps.Keys(frozen)), func(p string) bool { return !s.Root.HasFile(p) })
	if !missing && s.state.Databases[system.Diversions] == s.states[system.Diversions] {
		return pins, nil
	}
	keys, err := s.Root.EditedPackages()
	if err != nil {
		return nil, err
	}
	for _, p := range s.packages {
		if !slices.Contains(keys, p.Key) {
			continue
		}
		edits, err := s.Root.Edits(p.Key)
		if err != nil {
			return nil, err
		}
		for i := range edits.Files {
			f := &edits.Files[i]
			if !frozen[f.Path] || len(f.Applied) == 0 || !programs.IsFrozen(&f.Applied[0]) {
				continue
			}
			to, err := s.movedTo(p, f, frozen)
			if err != nil {
				return nil, err
			}
			for j := range pins {
				if to != "" && pins[j].Frozen() && pins[j].Program == f.Path {
					pins[j].Program = to
				}
			}
		}
	}
	return pins, nil
}

// movedTo returns where a frozen program of a package is that the package has at another path
// now; "" where it has not moved.
func (s *syncer) movedTo(p *backends.Installed, f *record.EditedFile, frozen map[string]bool) (string, error) {
	files, err := p.Files()
	if err != nil || s.hasPath(files, f.Path) {
		return "", err
	}
	for i := range files {
		moved := *f
		moved.Path = s.placeOf(&files[i])
		if !frozen[moved.Path] && programs.HasEdit(s.Root, &moved) {
			return moved.Path, nil
		}
	}
	return "", nil
}
