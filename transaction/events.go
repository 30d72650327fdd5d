package transaction

import (
	"errors"
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

// SayPrograms tells, of programs that were mended, which were edited, or have their packaged
// bytes again.
func (w *Writer) SayPrograms(outcomes []programs.Outcome) { w.sayPrograms(w.active.ID, outcomes) }

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

// beginPins records that pins are about to change: whoever has the lock next after a kill puts
// what became of them into their history. packageOf returns the package of a program.
//
// Where that cannot be written, as on a full disk, the pins change all the same: only a line of
// history hangs on it, and a disk that is full is one reason to take pins back.
func (w *Writer) beginPins(before, after []record.Pin, packageOf map[string]string, now time.Time) *record.PinChange {
	c := &record.PinChange{Before: before, Time: now.UTC(), Cause: w.cause, Generation: w.active.ID}
	events := record.PinEvents(before, after)
	for _, e := range events {
		for _, p := range e.Programs {
			if pkg := packageOf[p]; pkg != "" {
				if c.Packages == nil {
					c.Packages = map[string]string{}
				}
				c.Packages[p] = pkg
			}
		}
	}
	if len(events) > 0 {
		_ = w.root.SetPinChange(c)
	}
	return c
}

// keepPins adds to the history of pins what became of them by a change, and tells it. Where the
// history cannot be written, the pins are as they are.
func (w *Writer) keepPins(c *record.PinChange, after []record.Pin) error {
	events := c.Events(after)
	for _, e := range events {
		w.say(e.Generation, e)
	}
	return errors.Join(w.addPinEvents(events), w.root.SetPinChange(nil))
}

func (w *Writer) addPinEvents(events []record.Event) error {
	if len(events) == 0 {
		return nil
	}
	history, err := w.root.PinHistory()
	if err != nil { // which somebody may want to see, and a later hashpkg may understand
		return err
	}
	history.Add(events...)
	return w.root.SetPinHistory(history)
}

// finishPins puts into the history of pins what a change did that was killed before it could.
func (w *Writer) finishPins() error {
	c, err := w.root.PinChange()
	if err != nil { // nobody can say any more what it was
		return errors.Join(err, w.root.SetPinChange(nil))
	}
	if c == nil {
		return nil
	}
	pins, err := w.root.Pins()
	if err != nil {
		return err
	}
	history, err := w.root.PinHistory()
	if err != nil {
		return err
	}
	events := slices.DeleteFunc(c.Events(pins), func(e record.Event) bool { // it may have been killed after the history
		return slices.ContainsFunc(history.Events, func(o record.Event) bool {
			return o.Time.Equal(e.Time) && o.Action == e.Action && slices.Equal(o.Programs, e.Programs) && slices.Equal(o.Libraries, e.Libraries)
		})
	})
	if err := w.addPinEvents(events); err != nil {
		return err
	}
	for _, e := range events {
		if w.log != nil {
			w.log(e) // by whom it was done then
		}
	}
	return w.root.SetPinChange(nil)
}

// packagesOf returns the packages of programs by path, and of each package its own name.
func packagesOf(list []*programs.Program) map[string]string {
	of := map[string]string{}
	for _, p := range list {
		of[p.Path], of[p.Package.Name] = p.Package.Name, p.Package.Name
	}
	return of
}
