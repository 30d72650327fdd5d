package record

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
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
	// Run is the run of a package manager in which a hook made it, by whatever names
	// that run and no other; "" for none. The next hook of that run replaces it.
	Run string `json:"run,omitempty"`
	// ToRoot is the way from the prefix up to the root, "../..", of a generation
	// with system trees: links to the distribution's libraries take it.
	ToRoot string `json:"to_root,omitempty"`
	Trees  []Tree `json:"trees"` // by name, then oldest version first
	// Alternatives are what somebody chose for names that several packages offer a
	// file for: by name the absolute path of one in its package, or the name of the
	// package.
	Alternatives map[string]string `json:"alternatives,omitempty"`
	// History says how it came to be; nil in records that older versions have written.
	History *History `json:"history,omitempty"`

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
	Dir          string         `json:"tree"`
	Identity     digest.Digest  `json:"identity"`
	Since        int            `json:"since"` // the generation that brought it
	Default      bool           `json:"default,omitempty"`
	// Chosen: the default because somebody said so, and it stays one when a
	// higher version comes.
	Chosen bool `json:"chosen,omitempty"`
	// Held: was installed without becoming the default, and does not become one
	// by being the highest.
	Held bool `json:"held,omitempty"`
	Named
	// Links are the names that it offers to the farm: "bin/jq", "lib64/libjq.so.1",
	// "share/man/man1/jq.1.gz".
	Links []string `json:"links,omitempty"`
	// Offers are the commands among Links that only an alternative brings there, those
	// of one link together, the best first.
	Offers []Offer `json:"alternatives,omitempty"`
	// Inner are sonames of libraries that it has and does not offer to the farm:
	// those in directories of the package's own, and the loader family.
	Inner []string `json:"inner,omitempty"`
	// View is the directory of the view that its launchers show; "" for none.
	View string `json:"view,omitempty"`
	// Prelocated: relocations of its libraries are bound to these libraries.
	Prelocated bool `json:"prelocated,omitempty"`
	// Dev: it has a directory with what programs are built with: see [layout.DevPath].
	Dev bool `json:"dev,omitempty"`
	// Provides is what it offers to other packages' relations besides its name.
	Provides []pkginfo.Capability `json:"provides,omitempty"`

	// Of a system tree: the names that it could offer, and where the distribution
	// has each, as a path in the root. Links has those of them that the root's
	// loader finds there too.
	Places map[string]string `json:"places,omitempty"`
	// AskWhere are those names of Places whose library asks where it was found, and
	// which are in no farm therefore; sorted.
	AskWhere []string `json:"ask_where,omitempty"`
}

// Offer is a file that a tree offers as a command under another name, which trees of
// other packages may offer files for, too.
type Offer struct {
	Name     string `json:"name"`   // of the alternative: "php"
	Link     string `json:"link"`   // in the farm: "bin/php"
	Path     string `json:"path"`   // the file as choices name it, absolute: "/usr/bin/php8.4"
	Target   string `json:"target"` // the file in the tree: "usr/bin/php8.4"
	Priority int    `json:"priority"`
}

// IsChosen reports whether somebody chose a tree's offer.
func (g *Generation) IsChosen(t *Tree, o *Offer) bool {
	choice := g.Alternatives[o.Name]
	return choice != "" && (choice == o.Path || choice == t.Name)
}

// Choose records a choice for an alternative, or with "" takes it back. It reports
// whether that changed anything.
func (g *Generation) Choose(name, choice string) bool {
	if g.Alternatives[name] == choice {
		return false
	}
	chosen := maps.Clone(g.Alternatives)
	if chosen == nil {
		chosen = map[string]string{}
	}
	if chosen[name] = choice; choice == "" {
		delete(chosen, name)
	}
	g.Alternatives = chosen
	return true
}

// Named is what is known of a package that was installed by its name.
type Named struct {
	// Release is where it came from, and where a newer version would come from; "" for
	// one that was installed from a file.
	Release string `json:"release,omitempty"`
	// Others are further releases that it came from, as the very same package, with spaces
	// between them.
	Others string `json:"other_releases,omitempty"`
	// Asked: somebody named it; others are there because it needs them.
	Asked bool `json:"asked,omitempty"`
	// OnHold: it keeps its version when others are upgraded.
	OnHold bool `json:"on_hold,omitempty"`
	// Until is when it may go: of what was brought to be run once.
	Until time.Time `json:"until,omitzero"`
	// By is who picked its version; zero where that was whoever installed it.
	By Picker `json:"by,omitzero"`
}

// Picker is a third party that picks versions for the closure manifests of others. The zero value is
// nobody.
type Picker struct {
	URL    string `json:"url"`    // of its manifest
	Signer string `json:"signer"` // the public key of the manifest's note: "NAME+HASH+KEY"
}

// IsZero reports whether it is nobody.
func (p Picker) IsZero() bool { return p == Picker{} }

// Name returns what people know the picker's key by.
func (p Picker) Name() string {
	name, _, _ := strings.Cut(p.Signer, "+")
	return name
}

// Expired reports whether it may go.
func (n *Named) Expired(now time.Time) bool { return !n.Until.IsZero() && now.After(n.Until) }

// Merge adds what another command says of the same package. It reports whether that
// changed anything.
func (n *Named) Merge(o Named) bool {
	before := *n
	if o.Release != "" && n.Release != o.Release {
		others := slices.DeleteFunc(strings.Fields(n.Release+" "+n.Others), func(r string) bool { return r == o.Release })
		n.Release, n.Others = o.Release, strings.Join(others, " ")
	}
	n.Asked = n.Asked || o.Asked
	n.OnHold = n.OnHold || o.OnHold
	if o.Until.IsZero() || n.Until.Before(o.Until) && !n.Until.IsZero() {
		n.Until = o.Until
	}
	if !n.By.IsZero() { // else somebody has named it for this root
		n.By = o.By
	}
	return *n != before
}

// Shares reports whether two packages came from one release.
func (n *Named) Shares(o *Named) bool {
	if n.Release == o.Release {
		return true
	}
	others := strings.Fields(o.Release + " " + o.Others)
	return slices.ContainsFunc(strings.Fields(n.Release+" "+n.Others), func(r string) bool { return slices.Contains(others, r) })
}

// HasSystemTrees reports whether g has trees that follow a package manager's
// database.
func (g *Generation) HasSystemTrees() bool {
	return slices.ContainsFunc(g.Trees, func(t Tree) bool { return t.Origin == OriginSystem })
}

// Spec returns "NAME=VERSION", as people name a package, and "view ID" of a view.
func (t *Tree) Spec() string {
	if t.Origin == OriginView {
		return "view " + t.Dir
	}
	return t.Name + "=" + t.Version
}

// Path returns the tree's path relative to the prefix.
func (t *Tree) Path() string { return layout.TreePath(t.Name, t.Dir) }

// slot is what has one default: a package of one architecture. Versions of one
// package for two architectures do not compete, as under dpkg, and neither do the
// system's own and those installed beside it. What is for every architecture is
// for the root's own.
type slot struct {
	name, triplet string
	origin        Origin
}

func (t *Tree) slot(own string) slot {
	triplet, _ := layout.Triplet(t.Architecture)
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
		return nil, fmt.Errorf("decode generation: %w", err)
	}
	if g.Layout != layout.FormatVersion {
		return nil, fmt.Errorf("decode generation: layout %d, this program knows %d", g.Layout, layout.FormatVersion)
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
		if err := layout.CheckName(t.Name); err != nil {
			return fmt.Errorf("decode generation: %w", err)
		}
		if err := layout.CheckPayloadPath(t.Dir); err != nil || strings.Contains(t.Dir, "/") {
			return fmt.Errorf("decode generation: tree %q of %s is not a directory name", t.Dir, t.Name)
		}
		for _, l := range t.Links {
			if err := layout.CheckPayloadPath(l); err != nil || !strings.Contains(l, "/") {
				return fmt.Errorf("decode generation: link %q of %s does not stand below the farm", l, t.Name)
			}
		}
		if t.View != "" && (layout.CheckPayloadPath(t.View) != nil || strings.Contains(t.View, "/")) {
			return fmt.Errorf("decode generation: view %q of %s is not a directory name", t.View, t.Name)
		}
		for _, o := range t.Offers {
			if layout.CheckPayloadPath(o.Link) != nil || !strings.Contains(o.Link, "/") || layout.CheckPayloadPath(o.Target) != nil {
				return fmt.Errorf("decode generation: %s offers %q as %q, which does not stand below the farm", t.Name, o.Target, o.Link)
			}
		}
		for link, place := range t.Places {
			if layout.CheckPayloadPath(link) != nil || !path.IsAbs(place) || path.Clean(place) != place {
				return fmt.Errorf("decode generation: %s has %q at %q, which is not a path in a root", t.Name, link, place)
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
		if t.Name == name && (version == "" || t.Version == version || layout.IsVersionDir(t.Dir, version)) {
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

// Compare orders trees: by slot, then oldest version first, then as they came, those
// last that are only planned.
func (g *Generation) Compare(t, o *Tree) int {
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
		strings.Compare(t.Architecture, o.Architecture), strings.Compare(t.Dir, o.Dir))
}

// normalize sorts the trees and sets the defaults: what was chosen, else the
// highest version that is not held.
func (g *Generation) normalize() {
	slices.SortStableFunc(g.Trees, func(a, b Tree) int { return g.Compare(&a, &b) })
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
	next.Layout, next.ID, next.Parent, next.Time, next.Run, next.History = layout.FormatVersion, id, g.ID, now, "", nil
	next.Trees = slices.Clone(g.Trees)
	return &next
}

// Use makes a tree the default of its package. It reports whether that changed
// anything.
func (g *Generation) Use(name, tree string) bool {
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Name == name && t.Dir == tree {
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

// SystemLibraries returns the links of libraries that the farm has of system trees.
func (g *Generation) SystemLibraries() map[string]bool {
	links := map[string]bool{}
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Origin == OriginSystem && t.Default {
			for _, l := range t.Links {
				links[l] = true
			}
		}
	}
	return links
}

// SameTrees reports whether two generations have the same trees, links and choices.
func SameTrees(a, b *Generation) bool {
	return a.ToRoot == b.ToRoot && maps.Equal(a.Alternatives, b.Alternatives) && slices.EqualFunc(a.Trees, b.Trees, func(a, b Tree) bool {
		return a.Path() == b.Path() && a.Identity == b.Identity && a.Default == b.Default &&
			slices.Equal(a.Links, b.Links) && slices.Equal(a.Offers, b.Offers) && a.View == b.View && slices.Equal(a.AskWhere, b.AskWhere) && a.Named == b.Named
	})
}
