package transaction

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/sysroot"
)

// editPrograms edits the programs of packages that have changed, and of those whose
// programs the new generation concerns. It returns what is to be remembered of the
// packages' programs, by package key.
func (s *syncer) editPrograms(ctx context.Context, generation *record.Generation) (map[string]record.SystemPackage, error) {
	pins, lost := loadPins(s.Root.Store(), s.pins)
	s.result.Warnings = append(s.result.Warnings, lost...)
	editor := &programEditor{
		root: s.Root, rewrite: s.Rewrite, own: generation.Architecture, farm: generation.SystemLibraries(), trees: s.trees, pins: pins,
		restored: s.Again, planOnly: s.DryRun && s.result.Changed,
	}
	concerned := s.concerned(editor.farm)
	more, err := scanPackages(ctx, s.Root, concerned, nil, func(int) {})
	if err != nil {
		return nil, err
	}
	var programs []*program
	var keys []string
	for _, p := range s.changed {
		programs = append(programs, s.scans[p.key].programs...)
		keys = append(keys, p.key)
	}
	for _, f := range more {
		programs = append(programs, f.programs...)
		keys = append(keys, f.key)
	}
	programs = oncePerPath(programs)
	if err := editor.readRecords(keys); err != nil {
		return nil, err
	}
	editor.followMoved(programs)
	s.Progress(Progress{Step: "editing"})
	changes, err := editor.prepareAll(programs)
	if err != nil {
		return nil, err
	}
	if !s.DryRun {
		if err := editor.edit(ctx, changes); err != nil {
			return nil, err
		}
		if err := editor.dropRecords(changes, keys); err != nil {
			return nil, err
		}
	}
	return s.report(changes, more), nil
}

// report puts what became of programs into the result, and returns what is to be
// remembered of them, by package key.
func (s *syncer) report(changes []*programChange, concerned []*scanned) map[string]record.SystemPackage {
	known := make(map[string]record.SystemPackage, len(s.packages))
	for _, p := range s.packages {
		if s.scans[p.key] == nil {
			known[p.key] = s.state.Packages[p.key]
		}
	}
	for _, f := range concerned {
		delete(known, f.key)
	}
	s.faulty = map[string]bool{}
	others := map[string]bool{}
	for _, c := range changes {
		k := known[c.pkg.key]
		k.Unresolved = append(k.Unresolved, c.unresolved...)
		k.Pinned = k.Pinned || c.want != nil && len(c.want.Pins) > 0
		k.Unsettled = k.Unsettled || c.unsettled
		known[c.pkg.key] = k
		if c.elsewhere != "" && !others[c.elsewhere] {
			others[c.elsewhere] = true
			s.result.Warnings = append(s.result.Warnings, fmt.Sprintf(
				"%[1]s and maybe others search %[2]s, which follows no package manager any more; run hashpkg --prefix %[2]s restore --all, and then hashpkg sync --again",
				c.path, c.elsewhere))
		}
		if c.unpinned != "" {
			s.result.Warnings = append(s.result.Warnings, fmt.Sprintf("%s goes on without its pin: %s", c.path, c.unpinned))
		}
		switch {
		case c.fault != nil:
			s.faulty[c.pkg.key] = true
			s.faults = append(s.faults, c.fault)
		case c.left != "":
			s.result.Left = append(s.result.Left, c.leftReport())
		case c.changes():
			s.result.Programs = append(s.result.Programs, c.report())
		}
	}
	return known
}

// concerned returns the packages that have not changed and whose programs are to
// be looked at again all the same: after a change of settings all of them, after
// one of the libraries those that are pinned, those that need a library which has
// come, and always those that the loader had other ideas about.
func (s *syncer) concerned(farm map[string]bool) []*installed {
	offered := map[string]bool{}
	for link := range farm {
		offered[link[strings.LastIndexByte(link, '/')+1:]] = true
	}
	all := s.state.Settings != s.settings ||
		s.result.Changed && slices.ContainsFunc(s.pins, func(p record.Pin) bool { return p.Program == record.EveryProgram })
	var out []*installed
	for _, p := range s.packages {
		known := s.state.Packages[p.key]
		if s.scans[p.key] == nil && (all || known.Unsettled || s.result.Changed && known.Pinned ||
			slices.ContainsFunc(known.Unresolved, func(name string) bool { return offered[name] })) {
			out = append(out, p)
		}
	}
	return out
}

// isEdited reports whether a file has one of its recorded edits.
func isEdited(root *sysroot.Root, f *record.EditedFile) bool {
	host, err := root.HostPath(f.Path)
	if err != nil {
		return false
	}
	edited := false
	err = atomicfile.ReadMapped(host, func(data []byte) error {
		edited = f.With(digest.Of(data)) != nil
		return nil
	})
	return err == nil && edited
}
