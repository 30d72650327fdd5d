// Package farm says which links a generation has, and where they lead: [Links],
// and [Changes] from one generation's to another's. The links follow from the
// record alone.
package farm

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Conflict is a farm link that several defaults offer.
type Conflict struct {
	Link   string   `json:"link"`   // "bin/awk"
	Winner string   `json:"winner"` // the package whose file the link leads to
	Losers []string `json:"losers"`
}

// Link is one link of a generation's farm.
type Link struct {
	Path   string // relative to the generation: "bin/jq"
	Target string // what the link holds, relative
}

// offered calls f with each name that the default trees offer to the farm, tree
// after tree. Where the system's libraries have trees, its programs search the
// farm, and only those are in it: a library installed beside the system may want
// another C library than they have.
func offered(g *record.Generation, f func(name string, t *record.Tree)) {
	system := g.HasSystemTrees()
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.View != "" {
			f(viewLink(t), t)
			f(viewAlias(t), t)
		}
		if hasDevLink(t) {
			f(layout.DevLink(t.Name, t.Dir), t)
		}
		if !t.Default {
			continue
		}
		f(layout.DefaultLink+"/"+t.Name, t)
		for _, l := range t.Links {
			if !system || t.Origin == record.OriginSystem || !IsLibraryLink(l) {
				f(l, t)
			}
		}
	}
}

// hasDevLink reports whether builds are told of a tree's directory for them by a name of the farm.
func hasDevLink(t *record.Tree) bool {
	return t.Dev && layout.DevPath(t.Name, t.Dir) == layout.CurrentSystem+"/"+layout.DevLink(t.Name, t.Dir)
}

// viewLink is the name by which the launchers of a tree find their view, whether or not
// it is a default.
func viewLink(t *record.Tree) string { return layout.ViewLinks + "/" + t.Path() }

// viewAlias is the name by which what was linked in a tree's view finds its libraries when
// the tree has been replaced by that of another version.
func viewAlias(t *record.Tree) string {
	return layout.ViewLinks + "/" + layout.ViewAlias(t.Name, t.Release)
}

// IsLibraryLink reports whether a name of the farm or of a tree's interface is
// that of a library.
func IsLibraryLink(link string) bool { return strings.HasPrefix(link, "lib") }

// beats reports whether t has a name that have offers before it: the system's own
// wins, then the alternative that somebody chose, then a file that has the name itself,
// then the alternative of the highest priority. Of files it is the package that somebody
// chose, then the first by name. Of two architectures of one package the root's own is the default.
func beats(g *record.Generation, name string, t, have *record.Tree) bool {
	if t.Origin != have.Origin {
		return t.Origin == record.OriginSystem
	}
	o, before := offer(g, name, t), offer(g, name, have)
	chosen, was := o != nil && g.IsChosen(t, o), before != nil && g.IsChosen(have, before)
	triplet, _ := layout.Triplet(t.Architecture)
	isOwn := t.Name == have.Name && triplet == g.Architecture
	switch {
	case name == viewAlias(t):
		// Of versions, which are in order, the default, or else the highest; of the root's own architecture.
		return isOwn && (t.Default || !have.Default || have.Architecture != t.Architecture)
	case chosen != was:
		return chosen
	case (o == nil) != (before == nil):
		return o == nil
	case o != nil:
		return o.Priority > before.Priority || o.Priority == before.Priority && isOwn
	case t.Chosen != have.Chosen:
		return t.Chosen
	}
	return isOwn
}

// offer returns what a tree offers under a name as an alternative, the one that somebody
// chose or else the best; nil when it has a file of that name itself.
func offer(g *record.Generation, name string, t *record.Tree) *record.Offer {
	var best *record.Offer
	for i := range t.Offers {
		o := &t.Offers[i]
		if o.Link != name {
			continue
		}
		if g.Alternatives[o.Name] == o.Path {
			return o
		}
		if best == nil {
			best = o
		}
	}
	return best
}

// Links returns the generation's links, sorted by path.
func Links(g *record.Generation) []Link {
	_, made := Changes(g, &record.Generation{})
	return made
}

// Conflicts returns the names that more than one default offers and that one of
// the trees has, which are named by their paths. They are sorted by name.
func Conflicts(g *record.Generation, of map[string]bool) []Conflict {
	names := map[string][]*record.Tree{}
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Default && of[t.Path()] {
			for _, l := range t.Links {
				names[l] = nil
			}
		}
	}
	offered(g, func(name string, t *record.Tree) {
		if have, ok := names[name]; ok && (len(have) == 0 || have[0].Name != t.Name) {
			if len(have) > 0 && beats(g, name, t, have[0]) {
				names[name] = append([]*record.Tree{t}, have...)
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

// Changes returns what turns the farm of before into that of g: the links to
// take away, then those to make, each sorted by path.
func Changes(g, before *record.Generation) (gone, made []Link) {
	// Only a name that a changed tree offers, or offered, can lead elsewhere.
	names := map[string]bool{}
	note := func(t *record.Tree) {
		names[layout.DefaultLink+"/"+t.Name] = true
		if t.View != "" {
			names[viewLink(t)] = true
			names[viewAlias(t)] = true
		}
		if hasDevLink(t) {
			names[layout.DevLink(t.Name, t.Dir)] = true
		}
		for _, l := range t.Links {
			names[l] = true
		}
	}
	for a, b := g.Trees, before.Trees; len(a) > 0 || len(b) > 0; {
		switch {
		case len(b) == 0 || len(a) > 0 && g.Compare(&a[0], &b[0]) < 0:
			note(&a[0])
			a = a[1:]
		case len(a) == 0 || g.Compare(&a[0], &b[0]) > 0:
			note(&b[0])
			b = b[1:]
		default:
			if a[0].Identity != b[0].Identity || a[0].Default != b[0].Default || a[0].Chosen != b[0].Chosen || a[0].View != b[0].View || !slices.Equal(a[0].Links, b[0].Links) || !slices.Equal(a[0].Offers, b[0].Offers) {
				note(&a[0])
				note(&b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	if !maps.Equal(g.Alternatives, before.Alternatives) {
		for _, trees := range [][]record.Tree{g.Trees, before.Trees} {
			for i := range trees {
				for _, o := range trees[i].Offers {
					if g.Alternatives[o.Name] != before.Alternatives[o.Name] {
						names[o.Link] = true
					}
				}
			}
		}
	}
	if g.HasSystemTrees() != before.HasSystemTrees() || g.ToRoot != before.ToRoot { // which decide about every library
		for _, trees := range [][]record.Tree{g.Trees, before.Trees} {
			for i := range trees {
				note(&trees[i])
			}
		}
	}
	was, is := links(before, names), links(g, names)
	for path, target := range was {
		if is[path] != target {
			gone = append(gone, Link{path, target})
		}
	}
	for path, target := range is {
		if was[path] != target {
			made = append(made, Link{path, target})
		}
	}
	for _, links := range [][]Link{gone, made} {
		slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.Path, b.Path) })
	}
	return gone, made
}

// winners returns which tree each of the names leads to, of those that are
// offered at all.
func winners(g *record.Generation, names map[string]bool) map[string]*record.Tree {
	winners := make(map[string]*record.Tree, len(names))
	offered(g, func(name string, t *record.Tree) {
		if !names[name] {
			return
		}
		if have := winners[name]; have == nil || beats(g, name, t, have) {
			winners[name] = t
		}
	})
	return winners
}

// Paths returns the paths of the generation's links, whoever has them.
func Paths(g *record.Generation) map[string]bool {
	paths := make(map[string]bool, 4*len(g.Trees))
	if g.HasSystemTrees() {
		paths[layout.FollowedLink] = true
	}
	offered(g, func(name string, _ *record.Tree) { paths[name] = true })
	return paths
}

// links returns the links, by path, that follow from what the trees offer under
// these names. Programs that were packed to search the farm do so by the link that only a
// generation with trees of the system has: in another one the libraries are of packages beside the
// system, and may want another C library than the programs have.
func links(g *record.Generation, names map[string]bool) map[string]string {
	links := map[string]string{}
	if g.HasSystemTrees() {
		links[layout.FollowedLink] = "."
	}
	for path, t := range winners(g, names) {
		links[path] = target(g, path, t)
	}
	return links
}

// up is the way from a link's directory, .hashpkg/generations/N/..., to the
// prefix.
func up(link string) string {
	return layout.ToPrefix + strings.Repeat("/..", strings.Count(link, "/")-1)
}

// target returns what a link of the farm holds: the way to the tree, or for a
// library of the system to the distribution's own path, so that what its package
// manager puts there is in force at once.
func target(g *record.Generation, link string, t *record.Tree) string {
	up := up(link)
	if place, ok := t.Places[link]; ok && t.Origin == record.OriginSystem {
		return up + "/" + g.ToRoot + place
	}
	switch top, rest, _ := strings.Cut(link, "/"); top {
	case layout.DefaultLink:
		return up + "/" + t.Path()
	case layout.ViewLinks:
		return up + "/" + layout.TreePath(layout.ViewName, t.View)
	case layout.DevDir:
		return up + "/" + t.Path() + "/" + layout.DevDir
	case "share":
		return up + "/" + t.Path() + "/usr/share/" + rest
	}
	if o := offer(g, link, t); o != nil {
		return up + "/" + t.Path() + "/" + o.Target
	}
	return up + "/" + t.Path() + "/" + link
}
