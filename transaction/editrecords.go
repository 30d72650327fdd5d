package transaction

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// newProgramEditor returns an editor for the active generation.
func newProgramEditor(root *sysroot.Root, rewrite Rewrite, pins []*pinnedLibrary) (*programEditor, error) {
	active, err := root.Active()
	if err != nil {
		return nil, err
	}
	trees := map[pkginfo.Key]string{}
	for key, p := range root.SystemState().Packages {
		trees[key] = p.Tree
	}
	return &programEditor{
		root: root, rewrite: rewrite, own: active.Architecture, farm: active.SystemLibraries(), trees: trees, pins: pins,
	}, nil
}

// oncePerPath leaves out programs that another package before theirs has at the
// same path.
func oncePerPath(programs []*program) []*program {
	seen := map[string]bool{}
	return slices.DeleteFunc(programs, func(p *program) bool {
		twice := seen[p.path]
		seen[p.path] = true
		return twice
	})
}

// readRecords reads the records of packages' edited programs.
func (e *programEditor) readRecords(keys []pkginfo.Key) error {
	e.edits = make(map[pkginfo.Key]*record.PackageEdits, len(keys))
	for _, key := range keys {
		edits, err := e.root.Edits(key)
		if err != nil {
			return err
		}
		e.edits[key] = edits
	}
	return nil
}

// pathOf is a path that a package has.
type pathOf struct {
	key  pkginfo.Key
	path string
}

// followMoved gives records of edited programs the paths that these have now:
// dpkg-divert renames files of packages.
func (e *programEditor) followMoved(programs []*program) {
	e.moved = map[pkginfo.Key]bool{}
	here := map[pathOf]bool{}
	for _, p := range programs {
		here[pathOf{p.pkg.Key, p.path}] = true
	}
	for _, p := range programs {
		edits := e.edits[p.pkg.Key]
		named := func(f record.EditedFile) bool { return f.Path == p.path }
		if edits == nil || slices.ContainsFunc(edits.Files, named) {
			continue
		}
		for i := range edits.Files {
			f := &edits.Files[i]
			if here[pathOf{p.pkg.Key, f.Path}] {
				continue
			}
			at := *f
			if at.Path = p.path; isEdited(e.root, &at) {
				*f = at
				e.moved[p.pkg.Key] = true
				break
			}
		}
		slices.SortFunc(edits.Files, func(a, b record.EditedFile) int { return cmp.Compare(a.Path, b.Path) })
	}
}

// dropRecords takes away what is recorded of files that are not what an edit has
// left any more: their package came again, or dropped them. That the package
// manager's list does not name one says nothing: the list may be lost, and the edit
// could never be proved and undone again.
func (e *programEditor) dropRecords(changes []*programChange, keys []pkginfo.Key) error {
	holds := map[pathOf]bool{}
	for _, c := range changes {
		if c.left != "" || c.fault != nil || c.keep != nil || c.want != nil {
			holds[pathOf{c.pkg.Key, c.path}] = true
		}
	}
	var stale []*record.PackageEdits
	for _, key := range keys {
		edits := e.edits[key]
		before := len(edits.Files)
		edits.Files = slices.DeleteFunc(edits.Files, func(f record.EditedFile) bool {
			return !holds[pathOf{key, f.Path}] && !isEdited(e.root, &f)
		})
		if len(edits.Files) != before || e.moved[key] {
			stale = append(stale, edits)
		}
	}
	return e.root.SetEdits(stale)
}

// programsOf returns the programs that a pin's Program names, and reads the
// records of their packages.
func (e *programEditor) programsOf(packages []*backends.Installed, name string) ([]*program, error) {
	wanted := packages
	if name != record.EveryProgram && !strings.HasPrefix(name, "/") {
		wanted = slices.DeleteFunc(slices.Clone(packages), func(p *backends.Installed) bool { return p.Name != name })
	}
	found, err := scanPackages(context.Background(), e.root, wanted, nil, func(int) {})
	if err != nil {
		return nil, err
	}
	var programs []*program
	var keys []pkginfo.Key
	for _, f := range found {
		for _, p := range f.programs {
			if !strings.HasPrefix(name, "/") || p.path == name {
				programs = append(programs, p)
				keys = append(keys, f.Key)
			}
		}
	}
	slices.SortFunc(programs, func(a, b *program) int { return cmp.Compare(a.path, b.path) })
	return oncePerPath(programs), e.readRecords(keys)
}

// rememberPins tells the next sync that the pins have been followed.
func (e *programEditor) rememberPins(pins []record.Pin, changes []*programChange) error {
	state := e.root.SystemState()
	state.Settings = settingsDigest(e.root.Store(), e.rewrite, pins)
	for _, c := range changes {
		if p, ok := state.Packages[c.pkg.Key]; ok && c.want != nil && len(c.want.Pins) > 0 {
			p.Pinned = true
			state.Packages[c.pkg.Key] = p
		}
	}
	return e.root.SetSystemState(state)
}
