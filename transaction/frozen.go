package transaction

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// FrozenProgram is a program that is frozen.
type FrozenProgram struct {
	Program string       `json:"program"` // a path in the root
	InForce bool         `json:"in_force"`
	Files   []FrozenFile `json:"files"` // in the loader's order
	// Behind are libraries of which another version is installed, or none any more.
	Behind []BehindLibrary `json:"behind"`
	// Loose are names by which it needs libraries that it is not frozen to: an upgrade of
	// it has brought them.
	Loose []string `json:"loose"`
	Lost  string   `json:"lost,omitempty"` // which tree is not in the store, and why
}

// FrozenFile is one file that a program is frozen to.
type FrozenFile struct {
	Name    string `json:"name"`    // that the file answers
	Package string `json:"package"` // "NAME=VERSION"
	Path    string `json:"path"`    // in the root
	Object  string `json:"object"`  // the BLAKE3-256 of the file
}

// BehindLibrary is a package that a program is frozen to another version of.
type BehindLibrary struct {
	Package   string `json:"package"`             // "NAME=VERSION" that it is frozen to
	Installed string `json:"installed,omitempty"` // the version that the system has; "" for none
}

// String says what is installed.
func (b *BehindLibrary) String() string {
	if b.Installed == "" {
		return b.Package + ", of which no version is installed any more"
	}
	return fmt.Sprintf("%s, where %s is installed", b.Package, b.Installed)
}

// Text names all libraries that are behind.
func (f *FrozenProgram) Text() string {
	var list []string
	for i := range f.Behind {
		list = append(list, f.Behind[i].String())
	}
	return strings.Join(list, "; ")
}

// ListFrozen returns the programs that are frozen, by path.
func ListFrozen(root *sysroot.Root) ([]FrozenProgram, error) {
	if ok, err := root.Exists(); err != nil || !ok {
		return nil, err
	}
	pins, err := root.Pins()
	if err != nil {
		return nil, err
	}
	list := frozenOf(root, pins)
	if len(list) == 0 {
		return list, nil
	}
	active, err := root.Active()
	if err != nil {
		return nil, err
	}
	noteBehind(root, list, pins, active)
	keys, err := root.EditedPackages()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		edits, err := root.Edits(key)
		if err != nil {
			return nil, err
		}
		for i := range edits.Files {
			f := &edits.Files[i]
			if p := frozenNamed(list, f.Path); p != nil && len(f.Applied) > 0 {
				p.InForce = programs.IsFrozen(&f.Applied[0])
				p.Loose = append(p.Loose, programs.NotFrozen(&f.Applied[0])...)
			}
		}
	}
	return list, nil
}

// frozenOf returns what pins freeze, by program, and nothing yet of what is in force.
func frozenOf(root *sysroot.Root, pins []record.Pin) []FrozenProgram {
	list := []FrozenProgram{}
	at := map[string]int{}
	for _, name := range frozenPrograms(pins) {
		at[name] = len(list)
		list = append(list, FrozenProgram{Program: name, Files: []FrozenFile{}, Behind: []BehindLibrary{}, Loose: []string{}})
	}
	for i := range pins {
		pin := &pins[i]
		if !pin.Frozen() {
			continue
		}
		p := &list[at[pin.Program]]
		p.Files = append(p.Files, FrozenFile{pin.Name, pin.Spec(), root.Prefix() + "/" + pin.Pinned().Path() + "/" + pin.File, pin.Object.String()})
	}
	slices.SortFunc(list, func(a, b FrozenProgram) int { return strings.Compare(a.Program, b.Program) })
	return list
}

func frozenNamed(list []FrozenProgram, program string) *FrozenProgram {
	i, ok := slices.BinarySearchFunc(list, program, func(p FrozenProgram, name string) int { return strings.Compare(p.Program, name) })
	if !ok {
		return nil
	}
	return &list[i]
}

// noteBehind notes which libraries of frozen programs a generation has in other versions, and
// which trees are lost.
func noteBehind(root *sysroot.Root, list []FrozenProgram, pins []record.Pin, g *record.Generation) {
	behind := map[record.PinnedTree]*BehindLibrary{}
	lost := map[record.PinnedTree]string{}
	noted := map[string]bool{}
	for i := range pins {
		pin := &pins[i]
		if !pin.Frozen() {
			continue
		}
		t := pin.Pinned()
		if _, known := lost[t]; !known {
			trees, _, err := pinnedTrees(root, *pin)
			if lost[t] = ""; err != nil {
				lost[t] = fmt.Sprintf("%s is no longer in the store: %v", pin.Spec(), err)
			} else {
				behind[t] = behindOf(g, trees[0])
			}
		}
		p := frozenNamed(list, pin.Program)
		if lost[t] != "" {
			p.Lost = lost[t]
		}
		if b, key := behind[t], pin.Program+"\x00"+t.String(); b != nil && !noted[key] {
			noted[key] = true
			p.Behind = append(p.Behind, *b)
		}
	}
}

// behindOf says what a generation has of a tree's package; nil when that is the very tree.
func behindOf(g *record.Generation, m *record.Manifest) *BehindLibrary {
	b := &BehindLibrary{Package: m.Spec()}
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Origin != record.OriginSystem || t.Name != m.Name || t.Architecture != m.Architecture {
			continue
		}
		if t.Path() == layout.TreePath(m.Name, m.Tree) {
			return nil
		}
		b.Installed = t.Version
	}
	return b
}

// warnFrozen warns of frozen programs of which this sync has found other versions of libraries
// than the sync before: what was installed is not in force for them.
func (s *syncer) warnFrozen(g *record.Generation) {
	if !s.result.Changed {
		return
	}
	before, after := frozenOf(s.Root, s.pins), frozenOf(s.Root, s.pins)
	noteBehind(s.Root, before, s.pins, s.active)
	noteBehind(s.Root, after, s.pins, g)
	for i := range after {
		p := &after[i]
		if len(p.Behind) > 0 && s.Root.HasFile(p.Program) && !slices.Equal(p.Behind, before[i].Behind) {
			s.result.Frozen = append(s.result.Frozen, p.Warning())
		}
	}
}

// Warning says that a program's libraries are behind what is installed.
func (f *FrozenProgram) Warning() string {
	return fmt.Sprintf("%s is frozen to %s: what was installed since, security updates too, is not in force for it; run hashpkg freeze --refresh %[1]s", f.Program, f.Text())
}
