// Package graph says who leads to whom: which trees the files of a tree, the edited
// programs of a package and the generations use. Everything in it is a pure function.
package graph

import (
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// OfManifest returns the paths of the other trees, of those that are known, to which
// files of m's tree lead: which programs and libraries are bound to or search, and
// which links end in. They are sorted.
//
// A tree is recognized by its name and directory wherever they stand in a path:
// programs carry the prefix that their command was given, which may be another
// name of the one that is in use now.
func OfManifest(m *record.Manifest, known func(tree string) bool) []string {
	found := map[string]bool{}
	for p := range m.Paths {
		noteTrees(p, known, found)
	}
	for _, t := range m.Merged {
		if known(t) {
			found[t] = true
		}
	}
	delete(found, layout.TreePath(m.Name, m.Tree))
	return sorted(found)
}

// OfEdits returns the paths of the trees, of those that are known, that the edited
// programs load libraries from. They are sorted.
func OfEdits(e *record.PackageEdits, known func(tree string) bool) []string {
	found := map[string]bool{}
	for i := range e.Files {
		for _, a := range e.Files[i].Applied {
			noteEdits(a.Edits, known, found)
			for _, pin := range a.Pins {
				if known(pin.Path()) {
					found[pin.Path()] = true
				}
			}
		}
	}
	return sorted(found)
}

// OfPaths returns the paths of the trees, of those that are known, that lists of paths, separated
// by colons, lead through. They are sorted.
func OfPaths(lists []string, known func(tree string) bool) []string {
	found := map[string]bool{}
	for _, list := range lists {
		noteTrees(list, known, found)
	}
	return sorted(found)
}

// Prefixes returns where the trees stand that files of m's tree load, as the edits of these
// files have it: what comes before the first known tree in a path. They are sorted. It is
// where the store was when m's tree was made.
func Prefixes(m *record.Manifest, known func(tree string) bool) []string {
	found := map[string]bool{}
	for i := range m.Files {
		for _, e := range m.Files[i].Edits {
			if e.Kind == record.EditRunPath || e.Kind == record.EditRPath {
				continue // which has directories of the package's author as well
			}
			for _, to := range e.To {
				parts := strings.Split(path.Clean(to), "/")
				for j := 2; j < len(parts); j++ {
					if path.IsAbs(to) && known(layout.TreePath(parts[j-1], parts[j])) {
						found[strings.Join(parts[:j-1], "/")] = true
						break
					}
				}
			}
		}
	}
	return sorted(found)
}

func noteEdits(edits []record.EditRecord, known func(string) bool, found map[string]bool) {
	for _, e := range edits {
		for _, to := range e.To {
			noteTrees(to, known, found)
		}
	}
}

// noteTrees adds the known trees that a list of paths, separated by colons, leads
// through.
func noteTrees(list string, known func(string) bool, found map[string]bool) {
	if !strings.Contains(list, "/") {
		return
	}
	for _, p := range strings.Split(list, ":") {
		parts := strings.Split(path.Clean(p), "/")
		for i := 1; i < len(parts); i++ {
			if tree := layout.TreePath(parts[i-1], parts[i]); known(tree) {
				found[tree] = true
			}
		}
	}
}

func sorted(set map[string]bool) []string {
	var list []string
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

// Reachable returns the trees that can be reached from roots: leads has, by the
// path of a tree, the paths of those that it leads to.
func Reachable(roots []string, leads map[string][]string) map[string]bool {
	reached := map[string]bool{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		tree := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !reached[tree] {
			reached[tree] = true
			todo = append(todo, leads[tree]...)
		}
	}
	return reached
}

// OldGenerations returns which of the generations ids, in ascending order, are not
// among the last keep, not the active one, and not the one that it was made from.
func OldGenerations(ids []int, active *record.Generation, keep int) []int {
	var old []int
	for _, id := range ids[:max(0, len(ids)-keep)] {
		if id != active.ID && id != active.Parent {
			old = append(old, id)
		}
	}
	return old
}
