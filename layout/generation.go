package layout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Generation is one state of the system: which trees are in it and which of
// them are defaults. Its link farm follows from it alone; see [Generation.Farm].
type Generation struct {
	Layout       int       `json:"layout"` // FormatVersion
	ID           int       `json:"id"`
	Parent       int       `json:"parent"` // 0 for the first
	Time         time.Time `json:"time"`
	Architecture string    `json:"architecture"` // the root's own, as a multi-arch triplet
	// ToRoot is the way from the prefix up to the root, "../..", of a generation
	// with system trees: links of the following farm take it.
	ToRoot string `json:"to_root,omitempty"`
	Trees  []Tree `json:"trees"` // by name, then oldest version first

	// Orders order the versions of trees. They are no part of the record: who reads
	// one says how. Without them versions are ordered by their bytes.
	Orders pkginfo.Orders `json:"-"`
}

// Tree is one tree in a generation.
type Tree struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Architecture string         `json:"architecture"`
	Format       pkginfo.Format `json:"format"`
	Origin       Origin         `json:"origin"`
	Tree         string         `json:"tree"`
	Identity     digest.Digest  `json:"identity"`
	Since        int            `json:"since"` // the generation that brought it
	Default      bool           `json:"default,omitempty"`
	// Chosen: the default because somebody said so, and it stays one when a
	// higher version comes.
	Chosen bool `json:"chosen,omitempty"`
	// Held: was installed without becoming the default, and does not become one
	// by being the highest.
	Held bool `json:"held,omitempty"`
	// Links are the names that it offers to the farm: "bin/jq", "lib64/libjq.so.1",
	// "share/man/man1/jq.1.gz".
	Links []string `json:"links,omitempty"`
	// Inner are sonames of libraries that it has and does not offer to the farm:
	// those in directories of the package's own, and the loader family.
	Inner []string `json:"inner,omitempty"`
	// Provides is what it offers to other packages' relations besides its name.
	Provides []pkginfo.Capability `json:"provides,omitempty"`

	// Of a system tree: the names that it could offer, and where the distribution
	// has each, as a path in the root. Links has those of them that the root's
	// loader finds there too.
	Places map[string]string `json:"places,omitempty"`
	// Copied says that its files are copies of the distribution's, which the
	// loader would take for other libraries: the farm leads to the
	// distribution's own.
	Copied bool `json:"copied,omitempty"`
}

// SystemGeneration reports whether g has trees that follow a package manager's
// database.
func (g *Generation) SystemGeneration() bool {
	return slices.ContainsFunc(g.Trees, func(t Tree) bool { return t.Origin == OriginSystem })
}

// Spec returns "NAME=VERSION", as people name a package.
func (t *Tree) Spec() string { return t.Name + "=" + t.Version }

// Path returns the tree's path relative to the prefix.
func (t *Tree) Path() string { return TreePath(t.Name, t.Tree) }

// slot is what has one default: a package of one architecture. Versions of one
// package for two architectures do not compete, as under dpkg, and neither do the
// system's own and those installed beside it. What is for every architecture is
// for the root's own.
type slot struct {
	name, triplet string
	origin        Origin
}

func (t *Tree) slot(own string) slot {
	triplet, _ := Triplet(t.Architecture)
	return slot{t.Name, cmp.Or(triplet, own), t.Origin}
}

// Encode returns the generation as it stands on disk.
func (g *Generation) Encode() ([]byte, error) {
	b, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("encode generation %d: %v", g.ID, err)
	}
	return append(b, '\n'), nil
}

// DecodeGeneration reads what Encode wrote.
func DecodeGeneration(b []byte) (*Generation, error) {
	var g Generation
	if err := json.Unmarshal(b, &g); err != nil {
		return nil, fmt.Errorf("decode generation: %v", err)
	}
	if g.Layout != FormatVersion {
		return nil, fmt.Errorf("decode generation: layout %d, this program knows %d", g.Layout, FormatVersion)
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	return &g, nil
}

// check returns an error when a name of the record would lead out of the place
// that it is for.
func (g *Generation) check() error {
	for i := range g.Trees {
		t := &g.Trees[i]
		if err := CheckName(t.Name); err != nil {
			return fmt.Errorf("decode generation: %w", err)
		}
		if err := CheckPayloadPath(t.Tree); err != nil || strings.Contains(t.Tree, "/") {
			return fmt.Errorf("decode generation: tree %q of %s is no directory name", t.Tree, t.Name)
		}
		for _, l := range t.Links {
			if err := CheckPayloadPath(l); err != nil || !strings.Contains(l, "/") {
				return fmt.Errorf("decode generation: link %q of %s does not stand below the farm", l, t.Name)
			}
		}
		for link, place := range t.Places {
			if CheckPayloadPath(link) != nil || !path.IsAbs(place) || path.Clean(place) != place {
				return fmt.Errorf("decode generation: %s has %q at %q, which is no path in a root", t.Name, link, place)
			}
		}
	}
	return nil
}

// Find returns the trees of a package, oldest version first; with a version, only
// those of that version. A spec's version may also be a tree's directory name.
func (g *Generation) Find(name, version string) []*Tree {
	var found []*Tree
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Name == name && (version == "" || t.Version == version || t.Tree == version) {
			found = append(found, t)
		}
	}
	return found
}

// DefaultOf returns the default tree of a package, nil if it has none.
func (g *Generation) DefaultOf(name string) *Tree {
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Name == name && t.Default {
			return t
		}
	}
	return nil
}

// compare orders trees: by slot, then oldest version first, then as they came, those
// last that are only planned.
func (g *Generation) compare(t, o *Tree) int {
	own := g.Architecture
	if n := strings.Compare(t.Name, o.Name); n != 0 {
		return n // most end here; versions take long to compare
	}
	if a, b := t.slot(own).triplet, o.slot(own).triplet; a != b {
		switch own {
		case a:
			return -1
		case b:
			return 1
		}
		return strings.Compare(a, b)
	}
	planned := func(t *Tree) int {
		if t.Since == 0 {
			return math.MaxInt
		}
		return t.Since
	}
	return cmp.Or(
		g.Orders.Compare(t.Format, t.Version, o.Version), cmp.Compare(planned(t), planned(o)),
		strings.Compare(t.Architecture, o.Architecture), strings.Compare(t.Tree, o.Tree))
}

// normalize sorts the trees and sets the defaults: what was chosen, else the
// highest version that is not held.
func (g *Generation) normalize() {
	slices.SortStableFunc(g.Trees, func(a, b Tree) int { return g.compare(&a, &b) })
	best := make(map[slot]*Tree, len(g.Trees))
	for i := range g.Trees {
		t := &g.Trees[i]
		t.Default = false
		switch have := best[t.slot(g.Architecture)]; {
		case t.Chosen:
			best[t.slot(g.Architecture)] = t
		case t.Held, have != nil && have.Chosen:
		default:
			best[t.slot(g.Architecture)] = t
		}
	}
	for _, t := range best {
		t.Default = true
	}
}

// choose makes t the default of its package until another is named.
func (g *Generation) choose(t *Tree) {
	for i := range g.Trees {
		if other := &g.Trees[i]; other.slot(g.Architecture) == t.slot(g.Architecture) {
			other.Chosen = false
		}
	}
	t.Chosen, t.Held = true, false
}

// Next returns a copy of g to be changed into the generation id, whose parent is g.
func (g *Generation) Next(id int, now time.Time) *Generation {
	next := *g
	next.Layout, next.ID, next.Parent, next.Time = FormatVersion, id, g.ID, now
	next.Trees = slices.Clone(g.Trees)
	return &next
}

// Use makes a tree the default of its package. It reports whether that changed
// anything.
func (g *Generation) Use(name, tree string) bool {
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Name == name && t.Tree == tree {
			changed := !t.Default || !t.Chosen
			g.choose(t)
			g.normalize()
			return changed
		}
	}
	return false
}

// UseHighest lets the highest version of a package be its default again. It
// reports whether that changed anything.
func (g *Generation) UseHighest(name string) bool {
	changed := false
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Name == name && (t.Chosen || t.Held) {
			t.Chosen, t.Held, changed = false, false, true
		}
	}
	g.normalize()
	return changed
}

// SetTrees makes these the generation's trees.
func (g *Generation) SetTrees(trees []Tree) {
	g.Trees = trees
	g.normalize()
}

// Remove takes trees out. It reports whether one was there.
func (g *Generation) Remove(match func(*Tree) bool) bool {
	before := len(g.Trees)
	g.Trees = slices.DeleteFunc(g.Trees, func(t Tree) bool { return match(&t) })
	g.normalize()
	return len(g.Trees) != before
}

// DefaultChoice is what becomes of the default when a version is installed.
type DefaultChoice int

// The choices.
const (
	DefaultHighest DefaultChoice = iota // the highest version, or what was chosen before
	DefaultThis                         // the version that is being installed
	DefaultKeep                         // whatever it was
)

// Add puts trees in, each in place of one with the same directory. To make them
// defaults is [Generation.UseAll]'s.
func (g *Generation) Add(choice DefaultChoice, trees ...Tree) {
	places := make(map[string]bool, len(trees))
	for i := range trees {
		places[trees[i].Path()] = true
	}
	g.Trees = slices.DeleteFunc(g.Trees, func(o Tree) bool { return places[o.Path()] })
	for _, t := range trees {
		t.Held = choice == DefaultKeep
		g.Trees = append(g.Trees, t)
	}
	g.normalize()
}

// UseAll makes trees, named by their paths, the defaults of their packages: of
// several versions of one the highest. It reports whether that changed anything.
func (g *Generation) UseAll(paths map[string]bool) bool {
	highest := map[slot]*Tree{}
	for i := range g.Trees { // in order: the last is the highest
		if t := &g.Trees[i]; paths[t.Path()] {
			highest[t.slot(g.Architecture)] = t
		}
	}
	changed := false
	for _, t := range highest {
		changed = changed || !t.Default || !t.Chosen
		g.choose(t)
	}
	g.normalize()
	return changed
}

// Conflict is a farm link that several defaults offer.
type Conflict struct {
	Link   string   `json:"link"`   // "bin/awk"
	Winner string   `json:"winner"` // the package whose file the link leads to
	Losers []string `json:"losers"`
}

// FarmLink is one link of a generation's farm.
type FarmLink struct {
	Path   string // relative to the generation: "bin/jq"
	Target string // what the link holds, relative
}

// offered calls f with each name that the default trees offer to the farm, tree
// after tree. Where the system's libraries have trees, its programs search the
// farm, and only those are in it: a library installed beside the system may want
// another C library than they have.
func (g *Generation) offered(f func(name string, t *Tree)) {
	system := g.SystemGeneration()
	for i := range g.Trees {
		t := &g.Trees[i]
		if !t.Default {
			continue
		}
		f(DefaultLink+"/"+t.Name, t)
		for _, l := range t.Links {
			if !system || t.Origin == OriginSystem || !IsLibraryLink(l) {
				f(l, t)
			}
		}
	}
}

// IsLibraryLink reports whether a name of the farm or of a tree's interface is
// that of a library.
func IsLibraryLink(link string) bool { return strings.HasPrefix(link, "lib") }

// beats reports whether t has a name that have offers before it: the system's own
// wins, then the package that somebody chose, then the first by name. Of two
// architectures of one package the root's own is the default.
func (g *Generation) beats(t, have *Tree) bool {
	if t.Origin != have.Origin {
		return t.Origin == OriginSystem
	}
	if t.Chosen != have.Chosen {
		return t.Chosen
	}
	triplet, _ := Triplet(t.Architecture)
	return t.Name == have.Name && triplet == g.Architecture
}

// Farm returns the generation's links, sorted by path.
func (g *Generation) Farm() []FarmLink {
	_, made := g.FarmChanges(&Generation{})
	return made
}

// Conflicts returns the names that more than one default offers and that one of
// the trees has, which are named by their paths. They are sorted by name.
func (g *Generation) Conflicts(of map[string]bool) []Conflict {
	names := map[string][]*Tree{}
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Default && of[t.Path()] {
			for _, l := range t.Links {
				names[l] = nil
			}
		}
	}
	g.offered(func(name string, t *Tree) {
		if have, ok := names[name]; ok && (len(have) == 0 || have[0].Name != t.Name) {
			if len(have) > 0 && g.beats(t, have[0]) {
				names[name] = append([]*Tree{t}, have...)
			} else {
				names[name] = append(have, t)
			}
		}
	})
	var conflicts []Conflict
	for name, ts := range names {
		if len(ts) < 2 {
			continue
		}
		c := Conflict{Link: name, Winner: ts[0].Spec()}
		for _, t := range ts[1:] {
			c.Losers = append(c.Losers, t.Spec())
		}
		conflicts = append(conflicts, c)
	}
	slices.SortFunc(conflicts, func(a, b Conflict) int { return strings.Compare(a.Link, b.Link) })
	return conflicts
}

// FarmChanges returns what turns the farm of before into that of g: the links to
// take away, then those to make, each sorted by path.
func (g *Generation) FarmChanges(before *Generation) (gone, made []FarmLink) {
	// Only a name that a changed tree offers, or offered, can lead elsewhere.
	names := map[string]bool{}
	note := func(t *Tree) {
		names[DefaultLink+"/"+t.Name] = true
		for _, l := range t.Links {
			names[l] = true
		}
	}
	for a, b := g.Trees, before.Trees; len(a) > 0 || len(b) > 0; {
		switch {
		case len(b) == 0 || len(a) > 0 && g.compare(&a[0], &b[0]) < 0:
			note(&a[0])
			a = a[1:]
		case len(a) == 0 || g.compare(&a[0], &b[0]) > 0:
			note(&b[0])
			b = b[1:]
		default:
			if a[0].Identity != b[0].Identity || a[0].Default != b[0].Default || a[0].Chosen != b[0].Chosen || a[0].Copied != b[0].Copied || !slices.Equal(a[0].Links, b[0].Links) {
				note(&a[0])
				note(&b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	if g.SystemGeneration() != before.SystemGeneration() || g.ToRoot != before.ToRoot { // which decide about every library
		for _, trees := range [][]Tree{g.Trees, before.Trees} {
			for i := range trees {
				note(&trees[i])
			}
		}
	}
	was, is := before.links(names), g.links(names)
	for path, target := range was {
		if is[path] != target {
			gone = append(gone, FarmLink{path, target})
		}
	}
	for path, target := range is {
		if was[path] != target {
			made = append(made, FarmLink{path, target})
		}
	}
	for _, links := range [][]FarmLink{gone, made} {
		slices.SortFunc(links, func(a, b FarmLink) int { return strings.Compare(a.Path, b.Path) })
	}
	return gone, made
}

// winners returns which tree each of the names leads to, of those that are
// offered at all.
func (g *Generation) winners(names map[string]bool) map[string]*Tree {
	winners := make(map[string]*Tree, len(names))
	g.offered(func(name string, t *Tree) {
		if !names[name] {
			return
		}
		if have := winners[name]; have == nil || g.beats(t, have) {
			winners[name] = t
		}
	})
	return winners
}

// FarmPaths returns the paths of the generation's links, whoever has them.
func (g *Generation) FarmPaths() map[string]bool {
	paths := make(map[string]bool, 4*len(g.Trees))
	system := g.SystemGeneration()
	g.offered(func(name string, _ *Tree) {
		paths[name] = true
		if system && IsLibraryLink(name) {
			paths[FollowingDir+"/"+name] = true
		}
	})
	if system {
		for _, top := range followingLinks {
			paths[FollowingDir+"/"+top] = true
		}
	}
	return paths
}

// followingLinks are what a following farm has in common with the farm.
var followingLinks = []string{"bin", "sbin", "share", DefaultLink}

// links returns the links, by path, that follow from what the trees offer under
// these names.
func (g *Generation) links(names map[string]bool) map[string]string {
	links := map[string]string{}
	system := g.SystemGeneration()
	for path, t := range g.winners(names) {
		links[path] = g.farmTarget(path, t)
		if system && IsLibraryLink(path) {
			links[FollowingDir+"/"+path] = g.placeTarget(FollowingDir+"/"+path, t.Places[path])
		}
	}
	if system {
		for _, top := range followingLinks {
			links[FollowingDir+"/"+top] = "../" + top
		}
	}
	return links
}

// up is the way from a link's directory, .hashpkg/generations/N/..., to the
// prefix.
func up(link string) string { return ToPrefix + strings.Repeat("/..", strings.Count(link, "/")-1) }

// placeTarget returns what a link holds that leads to the distribution's own file.
func (g *Generation) placeTarget(link, place string) string {
	return up(link) + "/" + g.ToRoot + place
}

// farmTarget returns what a link of the farm holds: the way to the tree.
func (g *Generation) farmTarget(link string, t *Tree) string {
	if t.Copied && IsLibraryLink(link) {
		return g.placeTarget(link, t.Places[link])
	}
	up := up(link)
	switch top, rest, _ := strings.Cut(link, "/"); top {
	case DefaultLink:
		return up + "/" + t.Path()
	case "share":
		return up + "/" + t.Path() + "/usr/share/" + rest
	}
	return up + "/" + t.Path() + "/" + link
}
