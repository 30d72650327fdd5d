// Package objects brings the files that closure manifests name from wherever they are to be had:
// [Fetch] asks one [Source] after another for what is missing, and puts what came into a [Dir], where
// nothing has a name before its bytes were verified.
//
// Sources are not trusted. Which there are, and where the directory stands, is its callers' business.
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
)

// Want is a file that is to be had.
type Want struct {
	*closure.File
	// Package is one that has it, for who can have it from the package's file.
	Package *closure.Package
}

// Wants returns the files of an architecture's closure, those of equal bytes once.
func Wants(m *closure.Manifest, architecture string) []Want {
	var out []Want
	seen := map[digest.Digest]bool{}
	m.Each(architecture, func(p *closure.Package, f *closure.File) {
		if !seen[f.BLAKE3] {
			seen[f.BLAKE3] = true
			out = append(out, Want{f, p})
		}
	})
	return out
}

// Source is something that files can be had from.
type Source interface {
	// Name says for people what it is: "the mirror https://example.org".
	Name() string
	// Fetch calls got with the bytes of those files that the source has, in any order and from any
	// goroutine; got verifies and keeps them, and its error of wrong bytes is an [ErrWrong]: the source lies
	// and may go on with other files. That the source lacks files, or all of them, is no error. The error is
	// of a source that does not work, for the message where no other has the files.
	Fetch(ctx context.Context, wants []Want, got func(w Want, r io.Reader) error) error
}

// ErrWrong is wrapped by the error of bytes that are not those that were asked for.
var ErrWrong = errors.New("the bytes are not those that were asked for")

// Progress is told how many bytes of what was missing have come, from any goroutine.
type Progress func(n int64)

// MissingError says that files could be had nowhere.
type MissingError struct {
	Files  []Want  // which, at least one
	Faults []error // of sources that did not work
}

func (e *MissingError) Error() string {
	w := e.Files[0]
	text := fmt.Sprintf("%s of %s (BLAKE3 %s) could be had nowhere", w.Path, w.Package.Spec(), w.BLAKE3)
	if n := len(e.Files) - 1; n > 0 {
		text = fmt.Sprintf("%s, and %d more", text, n)
	}
	for _, err := range e.Faults {
		text += fmt.Sprintf("; %v", err)
	}
	return text
}

// Unwrap returns the faults of the sources.
func (e *MissingError) Unwrap() []error { return e.Faults }

// Fetch brings files into a directory, from one source after another what those before do not have. It
// returns a [MissingError] where some are nowhere to be had.
func Fetch(ctx context.Context, dir *Dir, wants []Want, sources []Source, progress Progress) error {
	if progress == nil {
		progress = func(int64) {}
	}
	missing, err := dir.missing(wants)
	if err != nil {
		return err
	}
	var faults []error
	for _, s := range sources {
		if len(missing) == 0 {
			return nil
		}
		err := s.Fetch(ctx, missing, func(w Want, r io.Reader) error { return dir.put(w, r, progress) })
		if cause := ctx.Err(); cause != nil {
			return cause
		}
		var local *LocalError
		if errors.As(err, &local) {
			return err // a full disk: no source helps
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", s.Name(), err))
		}
		if missing, err = dir.missing(missing); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return &MissingError{missing, faults}
	}
	return nil
}
