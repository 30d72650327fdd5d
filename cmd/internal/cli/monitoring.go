package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/internal/advice"
)

// Exit statuses of monitoring plugins (the Monitoring Plugins Development Guidelines,
// "Plugin Return Codes").
const (
	pluginOK = iota
	pluginWarning
	pluginCritical
	pluginUnknown
)

// statusError is an exit status that a command has chosen, and said why.
type statusError int

func (s statusError) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// printNagios prints what a check has found as a monitoring plugin does: one line, with
// what can be drawn behind a bar, and what else is to be known on those after it.
func (a *app) printNagios(r *hooks.CheckResult, now time.Time, err error) error {
	if err != nil {
		message, hint := advice.Of(err)
		if hint != "" {
			message += "; " + hint
		}
		return a.endPlugin(pluginUnknown, plainLine(message), nil)
	}
	status := pluginOK
	var problems []string
	for _, p := range r.Problems {
		is := pluginWarning
		if p.Kind == hooks.FailureKept || p.Kind == hooks.PrefixUnsafe {
			is = pluginCritical
		}
		status = max(status, is)
		problems = append(problems, p.What+"; "+p.Repair)
	}
	var more []string
	text := followedText(r, now)
	if len(problems) > 0 {
		text, more = problems[0], problems[1:]
		if len(more) > 0 {
			text = fmt.Sprintf("%s: %s", count(len(problems), "problem"), text)
		}
	}
	data := fmt.Sprintf("packages=%d programs=%d pins=%d frozen=%d problems=%d", r.Packages, r.Programs, len(r.Pins), r.Frozen, len(r.Problems))
	if len(r.AtWork) > 0 {
		more = append(more, strings.Join(r.AtWork, " and ")+" is at work")
	}
	more = append(more, r.Notes...)
	for i := range r.Pins {
		more = append(more, r.Pins[i].Text())
	}
	return a.endPlugin(status, plainLine(text)+" | "+data, more)
}

func (a *app) endPlugin(status int, text string, more []string) error {
	lines := []string{"HASHPKG " + []string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[status] + " - " + text}
	for _, line := range more {
		lines = append(lines, plainLine(line))
	}
	if err := a.printf("%s\n", strings.Join(lines, "\n")); err != nil {
		return err
	}
	if status == pluginOK {
		return nil
	}
	return statusError(status)
}

// plainLine returns a text as one line of a plugin, in which a bar would begin the data.
func plainLine(text string) string {
	return strings.NewReplacer("\n", " ", "|", "/").Replace(text)
}

// metrics returns what a check has found in the text format of Prometheus, version 0.0.4.
func metrics(r *hooks.CheckResult, now time.Time) string {
	var b strings.Builder
	head := func(name, help string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s gauge\n", name, help)
	}
	gauge := func(name, help string, value int64) {
		head(name, help)
		fmt.Fprintf(&b, "%s %d\n", name, value)
	}
	gauge("hashpkg_packages_followed", "Packages of the package managers that the last sync saw.", int64(r.Packages))
	gauge("hashpkg_programs_edited", "Programs of the system that search the prefix.", int64(r.Programs))
	gauge("hashpkg_programs_frozen", "Programs of the system that are frozen.", int64(r.Frozen))
	gauge("hashpkg_pins", "Pins of the system's programs.", int64(len(r.Pins)))
	if len(r.Pins) > 0 {
		head("hashpkg_pin_age_seconds", "How long ago a pin was made, in whole days; NaN where that is not known.")
		for i := range r.Pins {
			p := &r.Pins[i]
			age := "NaN"
			if p.Days != nil {
				age = strconv.Itoa(*p.Days * 24 * 60 * 60)
			}
			fmt.Fprintf(&b, "hashpkg_pin_age_seconds{program=\"%s\",library=\"%s\",version=\"%s\",installed=\"%s\"} %s\n",
				label(p.Program), label(p.Library), label(p.Version), label(p.Installed), age)
		}
	}
	if r.LastSync != nil {
		gauge("hashpkg_last_sync_timestamp_seconds", "When the last sync ended that had something to do.", r.LastSync.Unix())
	}
	gauge("hashpkg_check_timestamp_seconds", "When this was written.", now.Unix())
	gauge("hashpkg_notes", "Notes of hashpkg check: among them what it could not see.", int64(len(r.Notes)))
	head("hashpkg_problems", "Problems that hashpkg check found, by their kind.")
	for _, kind := range slices.Sorted(slices.Values(hooks.ProblemKinds())) {
		n := 0
		for _, p := range r.Problems {
			if p.Kind == kind {
				n++
			}
		}
		fmt.Fprintf(&b, "hashpkg_problems{kind=\"%s\"} %d\n", kind, n)
	}
	return b.String()
}

// label returns a text as it stands in a label's value.
func label(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text)
}
