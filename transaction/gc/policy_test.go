package gc

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// day is a time of a clock, in days.
func day(n float64) time.Time {
	return time.Unix(1700000000, 0).UTC().Add(time.Duration(n * 24 * float64(time.Hour)))
}

// days is a time that passes.
func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func TestPolicyKeeps(t *testing.T) {
	trees := []departed{
		{path: "lib/1", name: "lib", architecture: "amd64", version: "1", left: day(10)},
		{path: "lib/2", name: "lib", architecture: "amd64", version: "2", left: day(20)},
		{path: "lib/2@abcdef00", name: "lib", architecture: "amd64", version: "2", left: day(19)},
		{path: "lib/3", name: "lib", architecture: "amd64", version: "3", left: day(30)},
		{path: "lib/1@i386", name: "lib", architecture: "i386", version: "1", left: day(10)},
		{path: "lib/0", name: "lib", architecture: "amd64", version: "0", left: day(31), vague: true},
		{path: "lib/9", name: "lib", architecture: "amd64", version: "9", left: day(5), origin: record.OriginSystem},
	}
	for _, c := range []struct {
		what   string
		policy Policy
		now    time.Time
		want   string
	}{
		{"nothing asked for", Policy{}, day(31), ""},
		{"the last two of each, for a month", Policy{Versions: 2, Since: days(30)}, day(31), "lib/1@i386 lib/2 lib/2@abcdef00 lib/3 lib/9"},
		{"the last one", Policy{Versions: 1, Since: days(30)}, day(31), "lib/1@i386 lib/3 lib/9"},
		{"all, of which one left vaguely", Policy{Versions: 9, Since: days(30)}, day(31), "lib/0 lib/1 lib/1@i386 lib/2 lib/2@abcdef00 lib/3 lib/9"},
		{"some left too long ago", Policy{Versions: 2, Since: days(30)}, day(49.5), "lib/2 lib/3"},
		{"to the very moment", Policy{Versions: 2, Since: days(30)}, day(60), ""},
		{"no time to stay", Policy{Versions: 2}, day(31), ""},
		{"whatever is younger", Policy{OlderThan: days(15)}, day(31), "lib/0 lib/2 lib/2@abcdef00 lib/3"},
		{"both", Policy{Versions: 1, Since: days(30), OlderThan: days(2)}, day(31), "lib/0 lib/1@i386 lib/3 lib/9"},
		{"the clock went back", Policy{Versions: 2, Since: days(1)}, day(0), "lib/1@i386 lib/2 lib/2@abcdef00 lib/3 lib/9"},
	} {
		have := strings.Join(slices.Sorted(maps.Keys(c.policy.keeps(trees, c.now))), " ")
		if have != c.want {
			t.Errorf("%s: keeps %q, want %q", c.what, have, c.want)
		}
	}
}

// generation returns one with trees of these versions.
func generation(id int, made time.Time, trees ...string) *record.Generation {
	g := &record.Generation{ID: id, Time: made}
	for _, t := range trees {
		name, version, _ := strings.Cut(t, "/")
		g.Trees = append(g.Trees, record.Tree{Name: name, Version: version, Dir: version})
	}
	return g
}

func TestDepartures(t *testing.T) {
	trees := []string{"a/1", "a/2", "a/3", "b/1"}
	one, two, three := generation(1, day(1), "a/1", "b/1"), generation(2, day(2), "a/2", "b/1"), generation(3, day(3), "a/3", "b/1")
	for _, c := range []struct {
		what        string
		generations []*record.Generation
		active      *record.Generation
		recorded    map[string]sysroot.Departure
		want        map[string]departed
	}{
		{
			"upgrades",
			[]*record.Generation{one, two, three},
			three, nil,
			map[string]departed{"a/1": {path: "a/1", left: day(2), upgraded: true}, "a/2": {path: "a/2", left: day(3), upgraded: true}},
		},
		{
			"rolled back",
			[]*record.Generation{one, two, three},
			two, nil,
			map[string]departed{"a/1": {path: "a/1", left: day(2), upgraded: true}, "a/3": {path: "a/3", left: day(9)}},
		},
		{
			"no generation tells",
			[]*record.Generation{two, three},
			three, nil,
			map[string]departed{"a/1": {path: "a/1", left: day(3), vague: true}, "a/2": {path: "a/2", left: day(3), upgraded: true}},
		},
		{
			"an earlier collection told",
			[]*record.Generation{two, three},
			three,
			map[string]sysroot.Departure{"a/1": {Time: day(2), Upgrade: true}, "a/3": {Time: day(1)}},
			map[string]departed{"a/1": {path: "a/1", left: day(2), upgraded: true}, "a/2": {path: "a/2", left: day(3), upgraded: true}},
		},
		{
			"it came again, and left again",
			[]*record.Generation{one, two, three},
			three,
			map[string]sysroot.Departure{"a/2": {Time: day(0.5)}, "a/1": {Time: day(2.5)}},
			map[string]departed{"a/1": {path: "a/1", left: day(2.5)}, "a/2": {path: "a/2", left: day(3), upgraded: true}},
		},
		{
			"it came again",
			[]*record.Generation{one, two, generation(3, day(3), "a/1", "b/1"), generation(4, day(4), "a/3", "b/1")},
			generation(4, day(4), "a/3", "b/1"), nil,
			map[string]departed{"a/1": {path: "a/1", left: day(4), upgraded: true}, "a/2": {path: "a/2", left: day(3), upgraded: true}},
		},
		{
			"side by side, and taken out",
			[]*record.Generation{one, generation(2, day(2), "a/1", "a/2", "b/1"), generation(3, day(3), "a/2", "b/1")},
			generation(3, day(3), "a/2", "b/1"), nil,
			map[string]departed{"a/1": {path: "a/1", left: day(3)}, "a/3": {path: "a/3", left: day(3), vague: true}},
		},
		{
			"the clock went back between",
			[]*record.Generation{generation(1, day(8), "a/1", "b/1"), two, three},
			three, nil,
			map[string]departed{"a/1": {path: "a/1", left: day(8), upgraded: true}, "a/2": {path: "a/2", left: day(8), upgraded: true}},
		},
	} {
		have := departures(trees, c.generations, c.active, c.recorded, day(9))
		if diff := cmp.Diff(c.want, have, cmp.AllowUnexported(departed{})); diff != "" {
			t.Errorf("%s (-want +have)\n%s", c.what, diff)
		}
	}
}
