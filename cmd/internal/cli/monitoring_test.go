package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/internal/advice"
)

// followedSystem is a system of which something is known, at noon.
func followedSystem(problems ...hooks.Problem) (*hooks.CheckResult, time.Time) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	last, days := now.Add(-10*time.Minute), 45
	return &hooks.CheckResult{Problems: problems, Notes: []string{"cannot see a | bar"}, Followed: hooks.Followed{
		Packages: 215, Programs: 1, LastSync: &last,
		Pins: []hooks.Reminder{
			{Program: "*", Library: "libssl3", Version: "3.0.11", Installed: "3.0.15", Days: &days},
			{Program: `/usr/bin/odd "name\`, Library: "zlib1g", Version: "1"},
		},
	}}, now
}

func TestFollowedText(t *testing.T) {
	r, now := followedSystem()
	if got, want := followedText(r, now), "215 packages followed, 1 program edited, 2 pins, last sync 11:50"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	r.Frozen = 2
	if got, want := followedText(r, now.Add(24*time.Hour)), "215 packages followed, 1 program edited, 2 pins, 2 programs frozen, last sync 2026-11-30 11:50"; got != want {
		t.Errorf("a day later it says %q, want %q", got, want)
	}
	for i, want := range []string{
		"every program is pinned to libssl3=3.0.11 for 45 days, and does not load the installed 3.0.15",
		`/usr/bin/odd "name\ is pinned to zlib1g=1`,
	} {
		if got := r.Pins[i].Text(); got != want {
			t.Errorf("it reminds by %q, want %q", got, want)
		}
	}
}

func TestNagios(t *testing.T) {
	pin := hooks.Problem{Kind: hooks.PinNotInForce, What: "no program follows", Repair: "run hashpkg unpin"}
	failed := hooks.Problem{Kind: hooks.FailureKept, What: "the last run failed: a\nb | c", Repair: "run hashpkg sync"}
	const pins = "cannot see a / bar\nevery program is pinned to libssl3=3.0.11 for 45 days, and does not load the installed 3.0.15\n/usr/bin/odd \"name\\ is pinned to zlib1g=1\n"
	for _, tt := range []struct {
		problems []hooks.Problem
		err      error
		status   int
		want     string
	}{
		{nil, nil, 0, "HASHPKG OK - 215 packages followed, 1 program edited, 2 pins, last sync 11:50 | packages=215 programs=1 pins=2 frozen=0 problems=0\n" + pins},
		{[]hooks.Problem{pin}, nil, 1, "HASHPKG WARNING - no program follows; run hashpkg unpin | packages=215 programs=1 pins=2 frozen=0 problems=1\n" + pins},
		{
			[]hooks.Problem{pin, failed},
			nil, 2,
			"HASHPKG CRITICAL - 2 problems: no program follows; run hashpkg unpin | packages=215 programs=1 pins=2 frozen=0 problems=2\n" +
				"the last run failed: a b / c; run hashpkg sync\n" + pins,
		},
		{nil, advice.First("run it as root", errors.New("no | permission")), 3, "HASHPKG UNKNOWN - no / permission; run it as root\n"},
	} {
		var out bytes.Buffer
		a := &app{Env: Env{Out: &out}}
		r, now := followedSystem(tt.problems...)
		err := a.printNagios(r, now, tt.err)
		if status := a.exit(err, nil); status != tt.status || out.String() != tt.want {
			t.Errorf("it ends with %d and prints\n%swant %d and\n%s", status, out.String(), tt.status, tt.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	r, now := followedSystem(hooks.Problem{Kind: hooks.PinNotInForce}, hooks.Problem{Kind: hooks.PinNotInForce})
	text := metrics(r, now)
	for _, want := range []string{
		"# TYPE hashpkg_packages_followed gauge\nhashpkg_packages_followed 215\n",
		"\nhashpkg_programs_edited 1\n",
		"\nhashpkg_pins 2\n",
		"\nhashpkg_pin_age_seconds{program=\"*\",library=\"libssl3\",version=\"3.0.11\",installed=\"3.0.15\"} 3888000\n",
		"\nhashpkg_pin_age_seconds{program=\"/usr/bin/odd \\\"name\\\\\",library=\"zlib1g\",version=\"1\",installed=\"\"} NaN\n",
		"\nhashpkg_last_sync_timestamp_seconds 1796039400\n",
		"\nhashpkg_check_timestamp_seconds 1796040000\n",
		"\nhashpkg_problems{kind=\"behind\"} 0\n",
		"\nhashpkg_problems{kind=\"pin\"} 2\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it has not %q:\n%s", want, text)
		}
	}
}
