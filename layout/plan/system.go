package plan

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
)

// SystemInput is everything that the plan of a sync follows from.
type SystemInput struct {
	Generation *record.Generation // the active one
	ToRoot     string             // see record.Generation
	// Packages holds drafts of the packages with libraries that the package
	// manager has installed, or installed again, since the last sync: manifests
	// whose files are known. They were indexed. MakeSystem works on copies of them.
	Packages []*record.Manifest
	// Stays reports whether the package of a system tree of Generation is
	// installed as it was.
	Stays func(*record.Tree) bool
	// Occupied returns the trees of a package that stand on disk.
	Occupied func(name string) ([]*record.Manifest, error)
	// Loads reports whether the root's own loader, asked for the library that a
	// link of a tree is named for, would load the file that the tree has of it: the
	// farm must not say otherwise.
	Loads func(t *record.Tree, link string) bool
}

// SystemPlan is what a sync would do to the trees.
type SystemPlan struct {
	Trees []PlannedTree // of the packages, in their order
	Gone  []string      // "NAME=VERSION" of the system trees that leave the generation
	// Generation is the state after the plan, still without number and time; nil
	// when nothing would change.
	Generation *record.Generation
}

// MakeSystem decides the trees and the generation that agree with what a package
// manager has installed.
func MakeSystem(in SystemInput) (*SystemPlan, error) {
	plan := &SystemPlan{}
	next := in.Generation.Next(in.Generation.ID, in.Generation.Time)
	next.ToRoot = in.ToRoot
	came := map[string]record.Tree{}
	for _, draft := range in.Packages {
		m := draft.Clone()
		present, err := in.nameTree(m)
		if err != nil {
			return nil, err
		}
		t := generationTree(m)
		came[t.Path()] = t
		plan.Trees = append(plan.Trees, PlannedTree{
			Name: m.Name, Version: m.Version, Architecture: m.Architecture, Tree: m.Tree, Identity: m.Identity,
			Present: present, Default: true, Links: m.Links, Edits: []PlannedEdit{}, Manifest: m,
		})
	}
	kept := next.Trees[:0:0]
	for _, t := range next.Trees {
		switch again, ok := came[t.Path()]; {
		case t.Origin != record.OriginSystem:
			kept = append(kept, t)
		case ok && again.Identity == t.Identity: // installed again, as it was
			again.Since, again.Chosen = t.Since, t.Chosen
			kept = append(kept, again)
			delete(came, t.Path())
		case !ok && in.Stays(&t):
			kept = append(kept, t)
		default:
			plan.Gone = append(plan.Gone, t.Spec())
		}
	}
	for _, p := range plan.Trees {
		if t, ok := came[layout.TreePath(p.Name, p.Tree)]; ok {
			kept = append(kept, t)
			delete(came, t.Path())
		}
	}
	for i := range kept {
		if t := &kept[i]; t.Origin == record.OriginSystem {
			t.Links = farmLinks(t, in.Loads)
		}
	}
	next.SetTrees(kept)
	if !record.SameTrees(next, in.Generation) {
		plan.Generation = next
	}
	return plan, nil
}

// nameTree gives a system package its interface, identity and directory. It
// reports whether that very tree is there already.
func (in *SystemInput) nameTree(m *record.Manifest) (present bool, err error) {
	if err := layout.CheckName(m.Name); err != nil {
		return false, err
	}
	plain, err := treeName(m, in.Generation.Architecture)
	if err != nil {
		return false, err
	}
	m.Links = slices.DeleteFunc(interfaceLinks(m, in.Generation.Architecture, func(string) string { return "" }),
		func(l record.Link) bool { return !farm.IsLibraryLink(l.Path) })
	m.Package.Digest = contents(m)
	h := digest.New()
	hashUnedited(h, m)
	m.Identity = digest.Sum(h)
	trees, err := in.Occupied(m.Name)
	if err != nil {
		return false, err
	}
	for _, t := range trees {
		if t.Identity == m.Identity {
			m.Tree = t.Tree
			return true, nil
		}
	}
	m.Tree = plain
	for label := m.Identity.Short(); manifestAt(trees, m.Tree) != nil; label += "0" {
		m.Tree = plain + "@" + label
	}
	return false, nil
}

// contents is the digest over the files of a system tree: with no package file at
// hand, they are what a build is known by.
func contents(m *record.Manifest) digest.Digest {
	h := digest.New()
	hashStrings(h, "system package", string(m.Format), m.Name, m.Version, m.Architecture)
	for i := range m.Files {
		f := &m.Files[i]
		hashStrings(h, f.Path, string(f.Type), f.Place, f.Target, f.Object.String(), f.Mode.String(), fmt.Sprint(f.UID), fmt.Sprint(f.GID))
	}
	return digest.Sum(h)
}

// places returns where the distribution has the libraries that a tree's interface
// offers, by link, but for the loader family, which is in no farm: between the
// unpacking and the next sync its members would not fit together.
func places(m *record.Manifest) map[string]string {
	family := isLoaderFamily(m)
	places := map[string]string{}
	for _, l := range m.Links {
		f := m.Lookup(l.File())
		if family || f == nil || layout.IsGlibcLibrary(path.Base(l.Path)) {
			continue
		}
		places[l.Path] = path.Join("/", path.Dir(cmp.Or(f.Place, f.Path)), path.Base(l.Path))
	}
	return places
}

// askWhere returns those of a tree's places whose library asks where it was found. Found
// through the farm, it would get the farm's directory, and look for its plugins
// or data there. All builds of such a library go together, whichever of them asks.
func askWhere(m *record.Manifest, places map[string]string) []string {
	asks := map[string]bool{}
	for _, l := range m.Links {
		if f := m.Resolve(l.File()); f != nil && f.ELF != nil && f.ELF.AsksWhere {
			asks[plainLink(l.Path)] = true
		}
	}
	var links []string
	for link := range places {
		if asks[plainLink(link)] {
			links = append(links, link)
		}
	}
	slices.Sort(links)
	return links
}

// plainLink returns the name for every processor of a library that has one for
// some of them, in a glibc-hwcaps directory; of any other library its own.
func plainLink(link string) string {
	if i := strings.Index(link, "/glibc-hwcaps/"); i >= 0 {
		return link[:i] + "/" + path.Base(link)
	}
	return link
}

// farmLinks returns the names of a system tree that the farm has: those that the loader
// finds where the tree's package has them, and of which no library asks where that
// is. Those of a glibc-hwcaps directory go with the plain one.
func farmLinks(t *record.Tree, loads func(t *record.Tree, link string) bool) []string {
	var links []string
	for link := range t.Places {
		plain := plainLink(link)
		if t.Places[plain] != "" && !slices.Contains(t.AskWhere, link) && loads(t, plain) {
			links = append(links, link)
		}
	}
	slices.Sort(links)
	return links
}
