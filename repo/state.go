package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// State is what is known of a source since its last update.
type State struct {
	Layout int `json:"layout"` // layout.FormatVersion
	// Of is what the source was: what is known of another address or suite says nothing.
	Of      string    `json:"of"`
	Updated time.Time `json:"updated"` // when it was last looked at
	pkginfo.Signature
	Date       time.Time `json:"date,omitzero"`
	ValidUntil time.Time `json:"valid_until,omitzero"`
	Origin     string    `json:"origin,omitempty"`
	Suite      string    `json:"suite,omitempty"`
	Codename   string    `json:"codename,omitempty"`
	Version    string    `json:"version,omitempty"`
	URLs       []string  `json:"urls,omitempty"` // of a list of mirrors
	Parts      []string  `json:"parts"`          // digests of the indexes
	// Files is the index of all files, which is fetched when it is needed; nil if there
	// is none.
	Files *backends.Part `json:"files,omitempty"`

	Packages int   `json:"packages"`
	Size     int64 `json:"size"` // of the index, in bytes
}

const (
	stateFile = "state.json"
	indexFile = "index"
	maxState  = 1 << 20
)

// sourceDir returns where a source's files are, below the prefix.
func sourceDir(name string) string { return layout.SourcesDir + "/" + name }

// identity says what a source is, and who may sign for it: an index of something else
// does not stand for it, nor one that somebody has signed who may no more. It is a digest,
// since addresses may have passwords.
func identity(s *backends.Source) string {
	b, _ := json.Marshal([]any{s.Format, s.URLs, s.Lists, s.Suite, s.Components, s.Architectures, s.Keys, s.Unsigned, s.PackagesSigned}) // nothing in it can fail
	return digest.Of(b).String()
}

// State returns what is known of a source; nil if nothing is.
func (r *Repo) State(s *backends.Source) (*State, error) {
	b, err := r.Root.Store().Dir().ReadFile(sourceDir(s.Name)+"/"+stateFile, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of %s: %w", s.Name, err)
	}
	var state State
	if err := json.Unmarshal(b, &state); err != nil || state.Layout != layout.FormatVersion || state.Of != identity(s) {
		return nil, nil // it is derived: an update makes it anew
	}
	return &state, nil
}

func (r *Repo) writeState(s *backends.Source, state *State) error {
	state.Layout = layout.FormatVersion
	b, err := json.Marshal(state)
	if err == nil {
		mode := fs.FileMode(0o644)
		if slices.ContainsFunc(state.URLs, func(u string) bool { return backends.PlainURL(u) != u }) {
			mode = 0o600 // a password is nobody else's
		}
		err = r.Root.Store().Dir().WriteFile(sourceDir(s.Name)+"/"+stateFile, append(b, '\n'), mode)
	}
	if err != nil {
		return fmt.Errorf("write what is known of %s: %w", s.Name, err)
	}
	return nil
}
