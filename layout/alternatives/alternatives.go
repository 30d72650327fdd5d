// Package alternatives says which file each name of a closure leads to that several
// packages offer files for, such as editor or php: [Links]. It goes by the manifests of
// the closure, which have what the packages' scripts would register, and by what
// somebody chose.
package alternatives

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Candidate is one file that a package offers under a name.
type Candidate struct {
	pkginfo.Alternative
	Manifest *record.Manifest // of its package
}

// Candidates returns what the packages offer, by name, the best first: that of the
// highest priority, of several of one priority the first by the package's name, then by
// path. What leads to a file that no package has is left out.
func Candidates(manifests []*record.Manifest) map[string][]Candidate {
	byName := map[string][]Candidate{}
	for _, m := range manifests {
		for _, a := range m.Alternatives {
			if has(manifests, a.Path) {
				byName[a.Name] = append(byName[a.Name], Candidate{a, m})
			}
		}
	}
	for _, list := range byName {
		slices.SortStableFunc(list, func(a, b Candidate) int {
			return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Manifest.Name, b.Manifest.Name), cmp.Compare(a.Path, b.Path))
		})
	}
	return byName
}

// Chosen returns the place in candidates, which are of one name and sorted, of the one
// that a choice names: an absolute path, or else a package. It returns -1 when it names
// none of them, or is "".
func Chosen(candidates []Candidate, choice string) int {
	isPath := path.IsAbs(choice)
	return slices.IndexFunc(candidates, func(c Candidate) bool {
		return isPath && inTree(c.Path) == inTree(choice) || !isPath && c.Manifest.Name == choice
	})
}

// Links returns the links that the packages' alternatives come to, sorted by path: of
// each name that of the candidate that was chosen for it (see [Chosen]), or else of the
// best one, and its slaves'. A link whose place a package has a file at is left out, and
// so is a slave that leads to no file. Of two names that want one link the first has it.
//
// Paths are those of a tree that has the files of all packages, and targets are relative
// to the link.
func Links(manifests []*record.Manifest, chosen map[string]string) []record.Link {
	candidates := Candidates(manifests)
	names := make([]string, 0, len(candidates))
	for name := range candidates {
		names = append(names, name)
	}
	slices.Sort(names)
	made := map[string]string{}
	link := func(at, to string) {
		p := inTree(at)
		if _, taken := made[p]; !taken && layout.CheckPayloadPath(p) == nil && lookup(manifests, p) == nil {
			made[p] = way(p, inTree(to))
		}
	}
	for _, name := range names {
		list := candidates[name]
		c := list[max(0, Chosen(list, chosen[name]))]
		link(c.Link, c.Path)
		for _, s := range c.Slaves {
			if has(manifests, s.Path) {
				link(s.Link, s.Path)
			}
		}
	}
	links := make([]record.Link, 0, len(made))
	for p, target := range made {
		links = append(links, record.Link{Path: p, Target: target})
	}
	slices.SortFunc(links, func(a, b record.Link) int { return strings.Compare(a.Path, b.Path) })
	return links
}

// inTree returns the path in a tree of an absolute path in a root.
func inTree(p string) string { return layout.MergeUsr(strings.TrimPrefix(path.Clean("/"+p), "/")) }

// way returns the way from a link to a path of its tree.
func way(link, to string) string {
	from, dest := strings.Split(path.Dir(link), "/"), strings.Split(to, "/")
	for len(from) > 0 && len(dest) > 1 && from[0] == dest[0] {
		from, dest = from[1:], dest[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(dest, "/")
}

func lookup(manifests []*record.Manifest, p string) *record.File {
	for _, m := range manifests {
		if f := m.Lookup(p); f != nil {
			return f
		}
	}
	return nil
}

// has reports whether a path of the root leads to a file that one of the packages has,
// links followed, of one package to another's as well.
func has(manifests []*record.Manifest, p string) bool {
	for range 40 { // MAXSYMLINKS
		p = inTree(p)
		next := p
		for _, m := range manifests {
			f, where := m.Follow(p)
			if f != nil {
				return true
			}
			if where != p {
				next = where
			}
		}
		if next == p {
			return false
		}
		p = next
	}
	return false
}
