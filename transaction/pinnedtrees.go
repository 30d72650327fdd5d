package transaction

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// pinnedTrees returns the manifest of the tree that a pin is to, and those of the trees that
// it is bound to, directly or through others. The error says which of them is missing: no
// program could start with the pin. One of the latter whose manifest cannot be read does its
// work all the same; unread says which.
func pinnedTrees(root *sysroot.Root, pin record.Pin) (trees []*record.Manifest, unread, err error) {
	s := root.Store()
	todo, seen := []string{pin.Pinned().Path()}, map[string]bool{}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if seen[p] {
			continue
		}
		seen[p] = true
		name, dir := layout.SplitTreePath(p)
		m, err := s.Manifest(name, dir)
		_, lost := s.Dir().Lstat(p)
		switch {
		case len(trees) == 0 && (err != nil || lost != nil):
			return nil, nil, cmp.Or(err, lost)
		case lost != nil:
			return nil, nil, fmt.Errorf("%s, to which it is bound, is missing: %w", p, lost)
		case err != nil:
			unread = errors.Join(unread, fmt.Errorf("of %s, to which it is bound: %w", p, err))
			continue
		}
		trees = append(trees, m)
		todo = append(todo, boundTo(root, m)...)
	}
	return trees, unread, nil
}

// boundTo returns the trees that a tree's files lead to, those that are lost included.
func boundTo(root *sysroot.Root, m *record.Manifest) []string {
	lost := map[string]bool{}
	for i := range m.Files {
		for _, e := range m.Files[i].Edits {
			for _, to := range e.To {
				for p := range strings.SplitSeq(to, ":") {
					if below, ok := strings.CutPrefix(p, root.Prefix()+"/"); ok {
						parts := strings.SplitN(below, "/", 3)
						if len(parts) > 2 && layout.CheckName(parts[0]) == nil && parts[0] != layout.CurrentSystem && parts[1] != layout.DefaultLink {
							lost[layout.TreePath(parts[0], parts[1])] = true
						}
					}
				}
			}
		}
	}
	return graph.OfManifest(m, func(tree string) bool {
		name, dir := layout.SplitTreePath(tree)
		return lost[tree] || root.Store().Dir().Exists(layout.ManifestPath(name, dir))
	})
}

// checkTrees returns an error for trees whose libraries others than root could change.
func checkTrees(root *sysroot.Root, trees []*record.Manifest) error {
	var below []string
	for _, m := range trees {
		for i := range m.Files {
			if f := &m.Files[i]; f.ELF != nil && f.ELF.Soname != "" {
				below = append(below, layout.TreePath(m.Name, m.Tree)+"/"+f.Path)
			}
		}
	}
	return root.CheckPrefix(below...)
}

// loadPins reads the trees of pins. lost says which pins have none; a freeze that has lost a
// tree is lost.
func loadPins(root *sysroot.Root, pins []record.Pin) (loaded []programs.Pin, lost []string) {
	type read struct {
		manifest *record.Manifest
		lost     string
	}
	known := map[record.PinnedTree]read{}
	frozen := map[string]bool{} // programs whose freeze is lost
	for _, pin := range pins {
		r, ok := known[pin.Pinned()]
		if !ok {
			trees, _, err := pinnedTrees(root, pin)
			if err != nil {
				r.lost = fmt.Sprintf("which is no longer in the store: %v", err)
			} else if err := checkTrees(root, trees); err != nil {
				r.lost = fmt.Sprintf("which is not used: %v", err)
			} else {
				r.manifest = trees[0]
			}
			known[pin.Pinned()] = r
		}
		switch {
		case r.lost == "":
			loaded = append(loaded, programs.Pin{Pin: pin, Manifest: r.manifest})
		case !pin.Frozen():
			lost = append(lost, fmt.Sprintf("%s is pinned to %s, %s", pin.Program, pin.Spec(), r.lost))
		case !frozen[pin.Program]:
			frozen[pin.Program] = true
			lost = append(lost, fmt.Sprintf("%s goes on without its freeze: it is frozen to %s, %s", pin.Program, pin.Spec(), r.lost))
		}
	}
	loaded = slices.DeleteFunc(loaded, func(p programs.Pin) bool { return p.Frozen() && frozen[p.Program] })
	programs.SortPins(loaded)
	return loaded, lost
}
