package record

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Action is what was done to programs, or with what they load.
type Action string

// The actions.
const (
	Edited   Action = "edited"   // in place, to search trees or to load what they are pinned to
	Restored Action = "restored" // to the packaged bytes
	Pinned   Action = "pinned"
	Unpinned Action = "unpinned"
	Frozen   Action = "frozen" // be that anew
	Thawed   Action = "thawed"
	Switched Action = "switched" // another generation is active
)

// Event is one thing that a command has done, to any number of programs at once.
type Event struct {
	Action Action    `json:"action"`
	Time   time.Time `json:"time"`
	Cause
	Generation int `json:"generation,omitempty"` // the active one afterwards; 0 for none
	// Programs are paths in the root; of pins they are as the pin has them: a path, the name
	// of a package or EveryProgram. None for a switch.
	Programs []string `json:"programs,omitempty"`
	Packages []string `json:"packages,omitempty"` // whose programs these are or, of a switch, that changed
	// Libraries are those of pins and freezes, "NAME=VERSION".
	Libraries []string `json:"libraries,omitempty"`
	// Changes are those of a switch, a line for each package.
	Changes []string `json:"changes,omitempty"`
}

// OfPackage reports whether a package is concerned whose name matches.
func (e *Event) OfPackage(matches func(name string) bool) bool {
	return slices.ContainsFunc(e.Packages, matches) || slices.ContainsFunc(e.Libraries, func(spec string) bool {
		name, _, _ := strings.Cut(spec, "=")
		return matches(name)
	})
}

// String says in a few words what was done, without when and by whom.
func (e *Event) String() string {
	const most = 3
	programs := slices.Clone(e.Programs)
	for i, p := range programs {
		if p == EveryProgram {
			programs[i] = "every program"
		}
	}
	line := string(e.Action) + " " + firstOf(programs, most)
	switch {
	case e.Action == Switched:
		line = "generation " + strconv.Itoa(e.Generation) + " is active"
		if len(e.Changes) > 0 {
			line += ": " + firstOf(e.Changes, most)
		}
	case e.Action == Pinned && len(e.Libraries) > 0:
		line += " to " + firstOf(e.Libraries, most)
	case e.Action == Unpinned && len(e.Libraries) > 0:
		line += " from " + firstOf(e.Libraries, most)
	}
	return line
}

// firstOf lists names, and how many more there are.
func firstOf(names []string, most int) string {
	if more := len(names) - most; more > 1 {
		return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(names, ", ")
}

// PinEvents returns what became of pins and freezes: an event for each action, with nothing but
// programs and libraries.
func PinEvents(before, after []Pin) []Event {
	events := map[Action]*Event{}
	add := func(action Action, p *Pin) {
		if events[action] == nil {
			events[action] = &Event{Action: action}
		}
		e := events[action]
		e.Programs, e.Libraries = append(e.Programs, p.Program), append(e.Libraries, p.Spec())
	}
	same := func(p *Pin) func(Pin) bool {
		return func(o Pin) bool {
			return o.Program == p.Program && o.Pinned() == p.Pinned() && o.File == p.File && o.Object == p.Object && o.Name == p.Name && o.Force == p.Force
		}
	}
	freezes := func(pins []Pin) map[string][]Pin {
		of := map[string][]Pin{}
		for _, p := range pins {
			if p.Frozen() {
				of[p.Program] = append(of[p.Program], p)
			}
		}
		return of
	}
	was, is := freezes(before), freezes(after)
	for i := range after {
		p := &after[i]
		if !p.Frozen() && !slices.ContainsFunc(before, same(p)) {
			add(Pinned, p)
		}
		if p.Frozen() && !slices.EqualFunc(was[p.Program], is[p.Program], func(a, b Pin) bool { return same(&a)(b) }) {
			add(Frozen, p)
		}
	}
	for i := range before {
		p := &before[i]
		if !p.Frozen() && !slices.ContainsFunc(after, func(o Pin) bool { return !o.Frozen() && o.Program == p.Program && o.Library == p.Library }) {
			add(Unpinned, p)
		}
		if p.Frozen() && len(is[p.Program]) == 0 {
			add(Thawed, p)
		}
	}
	list := []Event{}
	for _, e := range events {
		for _, names := range []*[]string{&e.Programs, &e.Libraries} {
			slices.Sort(*names)
			*names = slices.Compact(*names)
		}
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b Event) int { return cmp.Compare(a.Action, b.Action) })
	return list
}

// PinHistory is the record of what became of pins and freezes, the oldest first.
type PinHistory struct {
	Layout int     `json:"layout"` // FormatVersion
	Events []Event `json:"events"`
}

// maxNamed bounds the programs, packages and libraries in a PinHistory.
const maxNamed = 10_000

// Add adds events, and leaves out the oldest where there are too many for a record that each pin
// writes anew; the last one stays, whatever its length.
func (h *PinHistory) Add(events ...Event) {
	h.Events = append(h.Events, events...)
	named := 0
	for i := len(h.Events) - 1; i >= 0; i-- {
		e := &h.Events[i]
		named += 1 + len(e.Programs) + len(e.Packages) + len(e.Libraries)
		if named > maxNamed && i < len(h.Events)-1 {
			h.Events = slices.Delete(h.Events, 0, i+1)
			return
		}
	}
}

// check accepts all: nothing of it is a name of a file.
func (h *PinHistory) check() error { return nil }

// PinChange is a change of pins that was begun and has no lines in their history yet: what they
// were before, and what its events are to have.
type PinChange struct {
	Layout int       `json:"layout"` // FormatVersion
	Before []Pin     `json:"before"`
	Time   time.Time `json:"time"`
	Cause
	Generation int               `json:"generation,omitempty"`
	Packages   map[string]string `json:"packages,omitempty"` // of programs, as pins name these
}

// check accepts all: nothing of it is a name of a file.
func (c *PinChange) check() error { return nil }

// Events returns what became of pins by the change.
func (c *PinChange) Events(after []Pin) []Event {
	events := PinEvents(c.Before, after)
	for i := range events {
		e := &events[i]
		e.Time, e.Cause, e.Generation = c.Time.UTC(), c.Cause, c.Generation
		for _, p := range e.Programs {
			if pkg := c.Packages[p]; pkg != "" {
				e.Packages = append(e.Packages, pkg)
			}
		}
	}
	return events
}
