package transaction

import (
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
)

// say tells who has taken the lock what was done. active is the generation that is active now.
func (w *Writer) say(active int, e record.Event) {
	if w.log == nil {
		return
	}
	e.Cause, e.Generation = w.cause, active
	for _, names := range []*[]string{&e.Programs, &e.Packages} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	w.log(e)
}

// saySwitched tells that another generation is active now.
func (w *Writer) saySwitched(now *record.Generation) {
	if w.log == nil {
		return
	}
	e := record.Event{Action: record.Switched}
	changes := record.PackageChanges(w.active, now)
	for i := range changes {
		e.Packages, e.Changes = append(e.Packages, changes[i].Name), append(e.Changes, changes[i].String())
	}
	w.say(now.ID, e)
}

// sayPrograms tells which programs were edited, or have their packaged bytes again.
func (w *Writer) sayPrograms(active int, outcomes []programs.Outcome) {
	edited, restored := record.Event{Action: record.Edited}, record.Event{Action: record.Restored}
	for _, o := range outcomes {
		var e *record.Event
		switch o.State {
		case programs.Edited:
			e = &edited
		case programs.Restored:
			e = &restored
		case programs.Left, programs.Failed, programs.Unchanged:
			continue
		}
		e.Programs, e.Packages = append(e.Programs, o.Path), append(e.Packages, o.Package.Name)
	}
	for _, e := range []record.Event{edited, restored} {
		if len(e.Programs) > 0 {
			w.say(active, e)
		}
	}
}

// keepPins adds to the history of pins what became of them, and tells it. packageOf returns the
// package of a program. Where the history cannot be written, the pins are as they are.
func (w *Writer) keepPins(before, after []record.Pin, packageOf map[string]string, now time.Time) error {
	events := record.PinEvents(before, after)
	if len(events) == 0 {
		return nil
	}
	for i := range events {
		e := &events[i]
		e.Time, e.Cause, e.Generation = now.UTC(), w.cause, w.active.ID
		for _, p := range e.Programs {
			if pkg := packageOf[p]; pkg != "" {
				e.Packages = append(e.Packages, pkg)
			}
		}
		w.say(e.Generation, *e)
	}
	history, err := w.root.PinHistory()
	if err != nil { // which somebody may want to see, and a later hashpkg may understand
		return err
	}
	history.Add(events...)
	return w.root.SetPinHistory(history)
}

// packagesOf returns the packages of programs by path, and of each package its own name.
func packagesOf(list []*programs.Program) map[string]string {
	of := map[string]string{}
	for _, p := range list {
		of[p.Path], of[p.Package.Name] = p.Package.Name, p.Package.Name
	}
	return of
}
