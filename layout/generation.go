package layout

import (
	"cmp"
	"encoding/json"
	"fmt"
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
	Trees        []Tree    `json:"trees"`        // by name, then oldest version first
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
	// Inner are sonames of libraries that stand in directories of the package's
	// own and are found by a search path only.
	Inner []string `json:"inner,omitempty"`
	// Provides is what it offers to other packages' relations besides its name.
	Provides []pkginfo.Capability `json:"provides,omitempty"`
}

// Spec returns "NAME=VERSION", as people name a package.
func (t *Tree) Spec() string { return t.Name + "=" + t.Version }

// Path returns the tree's path relative to the prefix.
func (t *Tree) Path() string { return TreePath(t.Name, t.Tree) }

// slot names what has one default: a package of one architecture. Versions of
// one package for two architectures do not compete, as under dpkg.
func (t *Tree) slot() string {
	if t.Architecture == "all" || t.Architecture == "noarch" {
		return t.Name
	}
	triplet, _ := Triplet(t.Architecture)
	return t.Name + "\x00" + triplet
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
	for i := range g.Trees {
		t := &g.Trees[i]
		if err := CheckName(t.Name); err != nil {
			return nil, fmt.Errorf("decode generation: %w", err)
		}
		if err := CheckPayloadPath(t.Tree); err != nil || strings.Contains(t.Tree, "/") {
			return nil, fmt.Errorf("decode generation: tree %q of %s is no directory name", t.Tree, t.Name)
		}
	}
	return &g, nil
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

// normalize sorts the trees and sets the defaults: what was chosen, else the
// highest version that is not held.
func (g *Generation) normalize() {
	slices.SortStableFunc(g.Trees, func(a, b Tree) int {
		return cmp.Or(
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Architecture, b.Architecture),
			a.Format.Compare(a.Version, b.Version),
			cmp.Compare(a.Since, b.Since),
			cmp.Compare(a.Tree, b.Tree),
		)
	})
	best := map[string]*Tree{}
	for i := range g.Trees {
		t := &g.Trees[i]
		t.Default = false
		switch have := best[t.slot()]; {
		case t.Chosen:
			best[t.slot()] = t
		case t.Held, have != nil && have.Chosen:
		default:
			best[t.slot()] = t
		}
	}
	for _, t := range best {
		t.Default = true
	}
}

// choose makes t the default of its package until another is named.
func (g *Generation) choose(t *Tree) {
	for i := range g.Trees {
		if other := &g.Trees[i]; other.slot() == t.slot() {
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

// Add puts trees in, each in place of one with the same directory.
func (g *Generation) Add(choice DefaultChoice, trees ...Tree) {
	places := make(map[string]bool, len(trees))
	for i := range trees {
		places[trees[i].Path()] = true
	}
	g.Trees = slices.DeleteFunc(g.Trees, func(o Tree) bool { return places[o.Path()] })
	for _, t := range trees {
		switch choice {
		case DefaultHighest:
		case DefaultKeep:
			t.Held = true
		case DefaultThis:
			g.choose(&t)
		}
		g.Trees = append(g.Trees, t)
	}
	g.normalize()
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

// winners returns which tree each name of the farm leads to, and the names that
// more than one default offers: there the package that somebody chose wins, then
// the first by name.
func (g *Generation) winners() (map[string]*Tree, []Conflict) {
	total := 0
	for i := range g.Trees {
		if g.Trees[i].Default {
			total += len(g.Trees[i].Links) + 1
		}
	}
	winners := make(map[string]*Tree, total)
	losers := map[string][]*Tree{}
	for i := range g.Trees {
		t := &g.Trees[i]
		if !t.Default {
			continue
		}
		name := DefaultLink + "/" + t.Name
		if winners[name] == nil { // the own architecture's first, see normalize
			winners[name] = t
		} else if triplet, _ := Triplet(t.Architecture); triplet == g.Architecture {
			winners[name] = t
		}
		for _, l := range t.Links {
			have := winners[l]
			switch {
			case have == nil:
				winners[l] = t
			case t.Chosen && !have.Chosen:
				winners[l] = t
				losers[l] = append(losers[l], have)
			default:
				losers[l] = append(losers[l], t)
			}
		}
	}
	var conflicts []Conflict
	for l, ts := range losers {
		c := Conflict{Link: l, Winner: winners[l].Spec()}
		for _, t := range ts {
			c.Losers = append(c.Losers, t.Spec())
		}
		conflicts = append(conflicts, c)
	}
	slices.SortFunc(conflicts, func(a, b Conflict) int { return strings.Compare(a.Link, b.Link) })
	return winners, conflicts
}

// Farm returns the generation's links, sorted by path.
func (g *Generation) Farm() []FarmLink {
	winners, _ := g.winners()
	links := make([]FarmLink, 0, len(winners))
	for path, t := range winners {
		links = append(links, FarmLink{path, farmTarget(path, t)})
	}
	slices.SortFunc(links, func(a, b FarmLink) int { return strings.Compare(a.Path, b.Path) })
	return links
}

// Conflicts returns the names that more than one default offers, sorted.
func (g *Generation) Conflicts() []Conflict {
	_, conflicts := g.winners()
	return conflicts
}

// FarmChanges returns what turns the farm of before into that of g: the links to
// take away, then those to make, each sorted by path.
func (g *Generation) FarmChanges(before *Generation) (gone, made []FarmLink) {
	was, _ := before.winners()
	is, _ := g.winners()
	for path, t := range was {
		if now := is[path]; now == nil || now.Path() != t.Path() {
			gone = append(gone, FarmLink{path, farmTarget(path, t)})
		}
	}
	for path, t := range is {
		if then := was[path]; then == nil || then.Path() != t.Path() {
			made = append(made, FarmLink{path, farmTarget(path, t)})
		}
	}
	for _, links := range [][]FarmLink{gone, made} {
		slices.SortFunc(links, func(a, b FarmLink) int { return strings.Compare(a.Path, b.Path) })
	}
	return gone, made
}

// farmTarget returns what a link of the farm holds: the way from the link's
// directory, .hashpkg/generations/N/..., to the tree.
func farmTarget(link string, t *Tree) string {
	up := ToPrefix + strings.Repeat("/..", strings.Count(link, "/")-1)
	switch top, rest, _ := strings.Cut(link, "/"); top {
	case DefaultLink:
		return up + "/" + t.Path()
	case "share":
		return up + "/" + t.Path() + "/usr/share/" + rest
	}
	return up + "/" + t.Path() + "/" + link
}
