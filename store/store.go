// Package store keeps objects, trees and manifests on disk, under one prefix,
// which it is handed as an open directory. Whatever it opens, makes, renames or
// removes is below that directory, and reached without following a link
// ([beneath.Dir]), so that a store that means harm leads nowhere else.
//
// A writer gets a [Staging] from [Store.Begin], adds files to it, assembles
// trees, and takes these steps:
//
//	WriteJournal   what Place will do can be undone, by whoever comes next
//	Place          everything is in its place and durable
//	               (the caller makes the generation active)
//	Forget         nobody undoes it any more
//	Discard        always, at the end; it undoes what was not forgotten
//
// Nothing outside the staging directory changes before Place, and what a writer
// that was killed left behind is undone by [Store.Recover]. Names are removed by the
// steps TakeOut, PutBack, Forget and Sweep. Readers use [Store.Manifest] and need
// no lock.
//
// Left to the caller: opening the prefix, holding its lock while writing,
// [Store.CheckOwner] before that, and the switch that makes a placed generation the
// active one (package sysroot).
//
// It is one long package on purpose: what the journal says, what undoing it does and
// what a collection may remove are one invariant of the disk, which has to be read,
// and changed, as a whole.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// Store is the objects, trees and manifests under one prefix.
type Store struct {
	dir *beneath.Dir
}

// New returns the store under a prefix, which stays the caller's to close;
// [beneath.Missing] stands for one that is not there yet. It touches nothing.
func New(dir *beneath.Dir) *Store { return &Store{dir} }

// Dir returns the prefix.
func (s *Store) Dir() *beneath.Dir { return s.dir }

// Path returns the path of a name below the prefix, for messages.
func (s *Store) Path(name string) string { return s.dir.Path(name) }

// maxRecord bounds, in bytes, the files that are read as a whole.
const maxRecord = 256 << 20

// ErrFormat is wrapped by the error of CheckFormat when what stands in the format's place
// is no number of a layout.
var ErrFormat = errors.New("it is no number of a layout; run hashpkg verify --repair, which looks at the records and writes it again")

// CheckFormat returns an error when the prefix has a layout that this program
// does not know, and one wrapping [fs.ErrNotExist] when it has none.
func (s *Store) CheckFormat() error {
	b, err := s.dir.ReadFile(layout.FormatFile, maxRecord)
	if errors.Is(err, beneath.ErrNotRegular) || errors.Is(err, beneath.ErrLink) {
		return fmt.Errorf("read the store's format: %w: %w", err, ErrFormat)
	}
	if err != nil {
		return fmt.Errorf("read the store's format: %w", err)
	}
	if _, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
		return fmt.Errorf("%s says layout %.20q: %w", s.Path(layout.FormatFile), b, ErrFormat)
	}
	if have := strings.TrimSpace(string(b)); have != fmt.Sprint(layout.FormatVersion) {
		return fmt.Errorf("%s says layout %q, and this hashpkg knows layout %d only: use the hashpkg that wrote it, or a newer one",
			s.Path(layout.FormatFile), have, layout.FormatVersion)
	}
	return nil
}

// ErrNoLink is wrapped by the error of Active when current-system is something else than a
// link to a generation.
var ErrNoLink = errors.New("it is no link to a generation; run hashpkg verify --repair, which moves it away")

// Active returns the number of the generation that current-system leads to; 0
// when there is none yet.
func (s *Store) Active() (int, error) {
	target, err := s.dir.Readlink(layout.CurrentSystem)
	fail := func(what string) (int, error) {
		return 0, fmt.Errorf("read the active generation: %s %s: %w", s.Path(layout.CurrentSystem), what, ErrNoLink)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case errors.Is(err, unix.EINVAL):
		return fail("is not a link")
	case err != nil:
		return 0, fmt.Errorf("read the active generation: %w", err)
	}
	id, err := layout.ParseGenerationPath(target)
	if err != nil {
		return fail("leads to " + target)
	}
	return id, nil
}

// Sync makes everything that was written to the prefix's file system durable.
func (s *Store) Sync() error {
	if err := s.dir.SyncFS(); err != nil {
		return fmt.Errorf("make the store durable: %w", err)
	}
	return nil
}

// SyncDir makes the entries of one directory below the prefix durable.
func (s *Store) SyncDir(name string) error {
	if err := s.dir.Sync(name); err != nil {
		return fmt.Errorf("make a directory durable: %w", err)
	}
	return nil
}
