package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
)

// Followed is how much of the system hashpkg follows.
type Followed struct {
	Packages int        `json:"packages"` // of the package managers, as the last sync saw them
	Programs int        `json:"programs"` // that are edited
	Frozen   int        `json:"frozen"`   // programs
	Pins     []Reminder `json:"pins"`
	LastSync *time.Time `json:"last_sync,omitempty"` // that had something to do
}

// Reminder is a pin that somebody may have forgotten.
type Reminder struct {
	Program   string `json:"program"` // as the pin has it
	Library   string `json:"library"`
	Version   string `json:"version"`
	Installed string `json:"installed,omitempty"` // the version that it holds back
	Days      *int   `json:"days,omitempty"`      // how long ago it was made, where that is known
}

// Text is the reminder for people.
func (r *Reminder) Text() string {
	program := r.Program
	if program == record.EveryProgram {
		program = "every program"
	}
	text := fmt.Sprintf("%s is pinned to %s=%s", program, r.Library, r.Version)
	switch {
	case r.Days == nil:
	case *r.Days == 0:
		text += " since today"
	case *r.Days == 1:
		text += " for 1 day"
	default:
		text += fmt.Sprintf(" for %d days", *r.Days)
	}
	if r.Installed != "" {
		text += ", and does not load the installed " + r.Installed
	}
	return text
}

// countFollowed finds out how much is followed.
func (c *checker) countFollowed() error {
	c.Packages = len(c.Root.SystemState().Packages)
	last, err := c.Root.LastSync()
	if err != nil {
		return err
	}
	if !last.IsZero() {
		last = last.UTC()
		c.LastSync = &last
	}
	keys, err := c.Root.EditedPackages()
	if err != nil {
		return err
	}
	for _, key := range keys {
		edits, err := c.Root.Edits(key)
		if err != nil {
			return err
		}
		for i := range edits.Files {
			if len(edits.Files[i].Applied) > 0 {
				c.Programs++
			}
		}
	}
	if _, err := c.Root.Pins(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil // checkPins has told of it
	}
	pins, err := transaction.ListPins(c.Root)
	if err != nil {
		return err
	}
	for i := range pins {
		c.Pins = append(c.Pins, c.remind(&pins[i]))
	}
	frozen, err := transaction.ListFrozen(c.Root)
	c.Frozen = len(frozen)
	return err
}

func (c *checker) remind(p *transaction.ListedPin) Reminder {
	r := Reminder{Program: p.Program, Library: p.Library, Version: p.Version, Installed: p.Installed}
	if since, err := time.Parse(time.RFC3339, p.Since); err == nil { // older records do not say
		days := max(int(c.Now.Sub(since).Hours()/24), 0)
		r.Days = &days
	}
	return r
}
