package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/eventlog"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Where the log goes.
const (
	logToJournal = "journal"
	logToNone    = "none"
)

// logConfig is where is kept what changed programs.
type logConfig struct {
	To string `toml:"to"` // logToJournal, logToNone, or the path of a file in the root; "" for the journal where there is one
}

func (c *logConfig) check(file string) error {
	switch {
	case c.To == "", c.To == logToJournal, c.To == logToNone, path.IsAbs(c.To) && path.Clean(c.To) == c.To && c.To != "/":
		return nil
	}
	return fmt.Errorf("%s: [log] to = %q: expected %q, %q or the path of a file", file, c.To, logToJournal, logToNone)
}

// log keeps what a command has done where the settings say. What cannot be kept is said once,
// and changes nothing else. Images have no log: they are to be the same from run to run.
func (a *app) log(e record.Event) {
	if a.isImage() {
		return
	}
	settings, err := a.readConfig()
	if err != nil { // which the command has told, or goes on without
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC().Truncate(time.Second)
	}
	switch to := settings.Log.To; {
	case to == logToNone:
		return
	case strings.HasPrefix(to, "/"):
		err = a.logToFile(to, e)
	case path.Clean(a.root) != "/": // the journal is of the machine, and not of an image on it
		return
	default:
		for _, fields := range journalFields(e) {
			if err = eventlog.Send(eventlog.Socket, fields); err != nil {
				break
			}
		}
		if to == "" && errors.Is(err, fs.ErrNotExist) { // there is no journal, and nobody asks for one
			return
		}
	}
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 { // the log is the machine's: what a user does in a prefix of theirs is not in it
		return
	}
	if err != nil && !a.logFailed {
		a.logFailed = true
		a.notice("warning: the log lacks what was done: %v\n", err)
	}
}

// entry is an event in a file.
type entry struct {
	Message string `json:"message"`
	record.Event
}

// logToFile appends an event to a file of the root.
func (a *app) logToFile(name string, e record.Event) (err error) {
	root, err := sysroot.Open(a.root, layout.DefaultPrefix, a.Formats)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	file, err := root.OpenLog(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := eventlog.Append(file, entry{e.String(), e}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// fieldsInEntry is how many values an entry of the journal has at most, with room for those
// that it adds itself: it takes 1024 (systemd, journal-importer.h, ENTRY_FIELD_COUNT_MAX).
const fieldsInEntry = 900

// journalFields returns an event as entries of the journal: one, or as many as its values need.
func journalFields(e record.Event) (entries [][]eventlog.Field) {
	message := visible.Text(e.String())
	if e.Command != "" {
		message += " (" + e.Command + ")"
	}
	head := []eventlog.Field{
		{Name: "MESSAGE", Value: message},
		{Name: "PRIORITY", Value: "6"},
		{Name: "SYSLOG_IDENTIFIER", Value: "hashpkg"},
		{Name: "HASHPKG_ACTION", Value: string(e.Action)},
		{Name: "HASHPKG_COMMAND", Value: e.Command},
		{Name: "HASHPKG_USER", Value: e.User},
	}
	if e.Generation != 0 {
		head = append(head, eventlog.Field{Name: "HASHPKG_GENERATION", Value: strconv.Itoa(e.Generation)})
	}
	var values []eventlog.Field
	for _, f := range []struct {
		name   string
		values []string
	}{{"HASHPKG_PROGRAM", e.Programs}, {"HASHPKG_PACKAGE", e.Packages}, {"HASHPKG_LIBRARY", e.Libraries}, {"HASHPKG_CHANGE", e.Changes}} {
		for _, v := range f.values {
			values = append(values, eventlog.Field{Name: f.name, Value: v})
		}
	}
	for {
		n := min(len(values), fieldsInEntry)
		entries = append(entries, append(head[:len(head):len(head)], values[:n]...))
		if values = values[n:]; len(values) == 0 {
			return entries
		}
	}
}
