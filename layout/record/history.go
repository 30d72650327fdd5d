package record

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Cause is who had a generation made, and by what. All of it is "" where that is not
// known, and in images, in which nothing of the machine that makes them shall be.
type Cause struct {
	// Command is what was run: "hashpkg use jq=1.6" or, where a package manager has called
	// hashpkg, the command of that: "apt upgrade".
	Command string `json:"command,omitempty"`
	// User is the name of who logged in, whoever that has become since, or a number that
	// has no name.
	User string `json:"user,omitempty"`
}

// History says how a generation came to be.
type History struct {
	Cause
	// Restored is the generation that a rollback has taken the private trees of; 0 for
	// none.
	Restored int `json:"restored,omitempty"`
	// Undone is the generation whose changes this one takes back; 0 for none.
	Undone int `json:"undone,omitempty"`
	// Changes are what is otherwise than in the generation that it was made from, which
	// may be gone some day. A first generation has none.
	Changes []PackageChange `json:"changes,omitempty"`
}

// PackageChange is what became of one package from one generation to another. Versions
// are those of people, and where two trees of one version must be told apart, names of
// trees.
type PackageChange struct {
	Name string `json:"name"` // or that of an alternative
	// Origin is "" for a choice for an alternative, of which only Before and After are set.
	Origin Origin `json:"origin,omitempty"`
	// Architecture is "" for the root's own.
	Architecture string   `json:"architecture,omitempty"`
	Added        []string `json:"added,omitempty"`
	Removed      []string `json:"removed,omitempty"`
	Remade       []string `json:"remade,omitempty"` // are there before and after, as another tree: bound to other libraries, or launched in another way
	Before       string   `json:"before,omitempty"` // the default
	After        string   `json:"after,omitempty"`
	Held         []string `json:"held,omitempty"` // put on hold
	Unheld       []string `json:"unheld,omitempty"`
}

// String returns the change as a line for people.
func (c *PackageChange) String() string {
	name := c.Name
	if c.Architecture != "" {
		name += " (" + c.Architecture + ")"
	}
	if c.Origin == "" {
		return name + ": choice " + orNone(c.Before) + " -> " + orNone(c.After)
	}
	list := func(versions []string) string { return strings.Join(versions, ", ") }
	var line string
	var notes []string
	came, went := slices.Clone(c.Added), slices.Clone(c.Removed)
	without := func(versions []string, version string) []string {
		return slices.DeleteFunc(versions, func(v string) bool { return v == version })
	}
	note := func(what string, versions []string) {
		if len(versions) > 0 {
			notes = append(notes, what+list(versions))
		}
	}
	switch isNew, isGone := slices.Contains(came, c.After), slices.Contains(went, c.Before); {
	case c.Before != c.After && c.Before != "" && c.After != "":
		line = name + " " + c.Before + " -> " + c.After
		if !isNew || !isGone {
			notes = append(notes, "default")
		}
		if isNew && !isGone {
			notes = append(notes, c.Before+" stays")
		}
		if isGone && !isNew {
			notes = append(notes, c.Before+" removed")
		}
		note("also new: ", without(came, c.After))
		note("removed: ", without(went, c.Before))
	case len(came) > 0 && len(went) > 0:
		line = name + " " + list(went) + " -> " + list(came)
	case len(came) > 0:
		line = "+ " + name + " " + list(came)
		if c.After == "" {
			notes = append(notes, "not the default")
		} else if !isNew || len(came) > 1 {
			note("default: ", []string{c.After})
		}
	case len(went) > 0:
		line = "- " + name + " " + list(went)
		if c.After != "" {
			note("default: ", []string{c.After})
		}
	default:
		line = name + " " + cmp.Or(c.After, c.Before, list(c.Remade), list(c.Held), list(c.Unheld))
		if c.Before != c.After {
			notes = append(notes, map[bool]string{true: "default", false: "no default any more"}[c.After != ""])
		}
	}
	for _, n := range []struct {
		what     string
		versions []string
	}{{"made anew", c.Remade}, {"on hold", c.Held}, {"no longer on hold", c.Unheld}} {
		if len(n.versions) == 1 && line == name+" "+n.versions[0] {
			notes = append(notes, n.what)
			continue
		}
		note(n.what+": ", n.versions)
	}
	if len(notes) > 0 {
		line += " (" + strings.Join(notes, "; ") + ")"
	}
	return line
}

// IsOwn reports whether the change is of what hashpkg has installed or chosen, and not
// one that it has followed.
func (c *PackageChange) IsOwn() bool { return c.Origin != OriginSystem }

// PackageChanges returns what changed from one generation to another, one for each
// package, by name. Views are not in it: they follow from the packages.
func PackageChanges(before, after *Generation) []PackageChange {
	type pair struct{ before, after []*Tree }
	own := cmp.Or(after.Architecture, before.Architecture)
	slots := map[slot]*pair{}
	add := func(g *Generation, list func(*pair) *[]*Tree) {
		for i := range g.Trees {
			t := &g.Trees[i]
			if t.Origin == OriginView {
				continue
			}
			s := t.slot(own)
			if slots[s] == nil {
				slots[s] = &pair{}
			}
			to := list(slots[s])
			*to = append(*to, t)
		}
	}
	add(before, func(p *pair) *[]*Tree { return &p.before })
	add(after, func(p *pair) *[]*Tree { return &p.after })
	changes := []PackageChange{}
	for s, p := range slots {
		c := changeOf(p.before, p.after)
		if c == nil {
			continue
		}
		c.Name, c.Origin = s.name, s.origin
		if s.triplet != own {
			c.Architecture = append(p.before, p.after...)[0].Architecture
		}
		changes = append(changes, *c)
	}
	chosen := maps.Clone(before.Alternatives)
	if chosen == nil {
		chosen = map[string]string{}
	}
	maps.Copy(chosen, after.Alternatives)
	for name := range chosen {
		if was, is := before.Alternatives[name], after.Alternatives[name]; was != is {
			changes = append(changes, PackageChange{Name: name, Before: was, After: is})
		}
	}
	slices.SortFunc(changes, func(a, b PackageChange) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Origin, b.Origin))
	})
	return changes
}

// changeOf returns what became of the trees of one slot; nil for nothing.
func changeOf(before, after []*Tree) *PackageChange {
	c := &PackageChange{}
	var was, is *Tree // the defaults
	for _, t := range before {
		if t.Default {
			was = t
		}
		if !slices.ContainsFunc(after, func(o *Tree) bool { return o.Version == t.Version }) {
			c.Removed = append(c.Removed, t.Version)
		}
	}
	for _, t := range after {
		if t.Default {
			is = t
		}
		same := slices.IndexFunc(before, t.isSame)
		onHold := same >= 0 && before[same].OnHold
		switch known := slices.ContainsFunc(before, func(o *Tree) bool { return o.Version == t.Version }); {
		case !known:
			c.Added = append(c.Added, t.Version)
		case same < 0:
			c.Remade = append(c.Remade, t.Version)
		}
		switch {
		case same >= 0 && t.OnHold && !onHold:
			c.Held = append(c.Held, t.Version)
		case !t.OnHold && onHold:
			c.Unheld = append(c.Unheld, t.Version)
		}
	}
	// Of two trees of one version the last may be gone.
	for _, t := range before {
		if !slices.ContainsFunc(after, t.isSame) && !slices.Contains(c.Removed, t.Version) && !slices.Contains(c.Remade, t.Version) {
			c.Removed = append(c.Removed, t.Dir)
		}
	}
	label := func(t *Tree) string {
		switch {
		case t == nil:
			return ""
		case !slices.Contains(c.Remade, t.Version) && slices.ContainsFunc(slices.Concat(before, after), func(o *Tree) bool {
			return o.Version == t.Version && o.Dir != t.Dir
		}):
			return t.Dir
		}
		return t.Version
	}
	c.Before, c.After = label(was), label(is)
	for _, list := range []*[]string{&c.Added, &c.Removed, &c.Remade} {
		*list = slices.Compact(*list)
	}
	if len(c.Added)+len(c.Removed)+len(c.Remade)+len(c.Held)+len(c.Unheld) == 0 && c.Before == c.After {
		return nil
	}
	return c
}

// isSame reports whether two generations have the same tree by these.
func (t *Tree) isSame(o *Tree) bool { return t.Path() == o.Path() && t.Identity == o.Identity }
