package record

import (
	"strings"
	"testing"
)

// TestPackageChanges has one line for each package, whatever became of its trees.
func TestPackageChanges(t *testing.T) {
	anew := tree("jq", "1.7")
	anew.Dir, anew.Identity[0] = "1.7@12345678", anew.Identity[0]^1
	onHold := tree("jq", "1.7")
	onHold.OnHold = true
	foreign := tree("jq", "2")
	foreign.Architecture, foreign.Dir = "i386", "2@i386"
	system := tree("jq", "1.8")
	system.Origin = OriginSystem
	view := tree("view", "0")
	view.Origin = OriginView
	use := func(g *Generation, dir string) *Generation {
		g.Use("jq", dir)
		return g
	}
	kept := newGeneration(tree("jq", "1.7"))
	kept.Add(DefaultKeep, tree("jq", "1.9"))
	aside := newGeneration()
	aside.Add(DefaultKeep, tree("jq", "1.7"))
	chosen := newGeneration()
	chosen.Choose("editor", "vim")
	for _, tt := range []struct {
		before, after *Generation
		want          string
	}{
		{newGeneration(), newGeneration(tree("jq", "1.7")), "+ jq 1.7"},
		{newGeneration(), newGeneration(tree("jq", "1.6"), tree("jq", "1.7")), "+ jq 1.6, 1.7 (default: 1.7)"},
		{newGeneration(), aside, "+ jq 1.7 (not the default)"},
		{aside, use(newGeneration(tree("jq", "1.7")), "1.7"), "jq 1.7 (default)"},
		{newGeneration(tree("jq", "1.7")), newGeneration(), "- jq 1.7"},
		{newGeneration(tree("jq", "1.6"), tree("jq", "1.7")), newGeneration(tree("jq", "1.6")), "jq 1.7 -> 1.6 (default; 1.7 removed)"},
		{newGeneration(tree("jq", "1.6"), tree("jq", "1.7")), newGeneration(tree("jq", "1.7")), "- jq 1.6 (default: 1.7)"},
		{newGeneration(tree("jq", "1.6")), newGeneration(tree("jq", "1.7")), "jq 1.6 -> 1.7"},
		{newGeneration(tree("jq", "1.6")), newGeneration(tree("jq", "1.6"), tree("jq", "1.7")), "jq 1.6 -> 1.7 (default; 1.6 stays)"},
		{newGeneration(tree("jq", "1.7")), kept, "+ jq 1.9 (default: 1.7)"},
		{newGeneration(tree("jq", "1.6"), tree("jq", "1.7")), use(newGeneration(tree("jq", "1.6"), tree("jq", "1.7")), "1.6"), "jq 1.7 -> 1.6 (default)"},
		{newGeneration(tree("jq", "1.7")), newGeneration(anew), "jq 1.7 (made anew)"},
		{newGeneration(tree("jq", "1.7"), anew), newGeneration(anew), "- jq 1.7 (default: 1.7@12345678)"},
		{newGeneration(tree("jq", "1.7")), newGeneration(onHold), "jq 1.7 (on hold)"},
		{newGeneration(onHold), newGeneration(tree("jq", "1.7")), "jq 1.7 (no longer on hold)"},
		{newGeneration(tree("jq", "1.7")), newGeneration(tree("jq", "1.7"), foreign, system, view), "+ jq 1.8\n+ jq (i386) 2"},
		{newGeneration(), chosen, "editor: choice none -> vim"},
		{newGeneration(tree("a", "1"), tree("b", "1")), newGeneration(tree("a", "1"), tree("b", "1")), ""},
	} {
		var lines []string
		for _, c := range PackageChanges(tt.before, tt.after) {
			lines = append(lines, c.String())
		}
		if have := strings.Join(lines, "\n"); have != tt.want {
			t.Errorf("%s, want %s", have, tt.want)
		}
	}
}
