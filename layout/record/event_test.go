package record

import (
	"fmt"
	"strings"
	"testing"
)

// TestPinEvents has one event for each action, whatever number of pins it is of.
func TestPinEvents(t *testing.T) {
	pin := func(program, version string) Pin {
		return Pin{Program: program, Library: "lib", Version: version, Tree: version}
	}
	freeze := func(program, version string, files ...string) (pins []Pin) {
		for _, file := range files {
			p := pin(program, version)
			p.File = file
			pins = append(pins, p)
		}
		return pins
	}
	again := pin("/a", "1")
	again.Since = "2026-01-01T00:00:00Z"
	for _, tt := range []struct {
		before, after []Pin
		want          string
	}{
		{nil, nil, ""},
		{nil, []Pin{pin("/a", "1"), pin(EveryProgram, "2")}, "pinned every program, /a to lib=1, lib=2"},
		{[]Pin{pin("/a", "1")}, []Pin{again}, ""},
		{[]Pin{pin("/a", "1")}, []Pin{pin("/a", "2")}, "pinned /a to lib=2"},
		{[]Pin{pin("/a", "1"), pin("/b", "1")}, []Pin{pin("/b", "1")}, "unpinned /a from lib=1"},
		{nil, freeze("/a", "1", "x", "y"), "frozen /a"},
		{freeze("/a", "1", "x"), freeze("/a", "1", "x"), ""},
		{freeze("/a", "1", "x"), freeze("/a", "2", "x"), "frozen /a"},
		{append(freeze("/a", "1", "x"), freeze("/b", "1", "x")...), freeze("/b", "1", "x"), "thawed /a"},
		{[]Pin{pin("/a", "1")}, freeze("/a", "1", "x"), "frozen /a; unpinned /a from lib=1"},
	} {
		var have []string
		for _, e := range PinEvents(tt.before, tt.after) {
			have = append(have, e.String())
		}
		if strings.Join(have, "; ") != tt.want {
			t.Errorf("from %v to %v: %q, want %q", tt.before, tt.after, have, tt.want)
		}
	}
}

// TestPinHistoryHasAnEnd adds events until the oldest are left out, and one that is too long by itself.
func TestPinHistoryHasAnEnd(t *testing.T) {
	var h PinHistory
	programs := make([]string, 999)
	for i := range programs {
		programs[i] = fmt.Sprint("/", i)
	}
	for i := range 20 {
		h.Add(Event{Action: Frozen, Programs: programs, Generation: i})
	}
	if n := len(h.Events); n != 10 || h.Events[9].Generation != 19 {
		t.Errorf("%d events are there", n)
	}
	h.Add(Event{Action: Thawed, Programs: make([]string, 2*maxNamed)})
	if n := len(h.Events); n != 1 || h.Events[0].Action != Thawed {
		t.Errorf("%d events are there", n)
	}
}
