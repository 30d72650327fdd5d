package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// usageError is a wrong use of the command line.
type usageError struct{ error }

// Unwrap implements the interface of package errors.
func (e usageError) Unwrap() error { return e.error }

// noneHasError says that no package that could be installed has the name, or the version.
type noneHasError struct{ error }

// Unwrap implements the interface of package errors.
func (e noneHasError) Unwrap() error { return e.error }

// errDamaged says that verify found damage, which it has reported.
var errDamaged = errors.New("damage found")

// errPartly says that a command has done what it could, and has said what it could not.
var errPartly = errors.New("done in part")

// errReported says that a command failed, and has said why.
var errReported = errors.New("failed")

// errorKind is what a program can know of an error.
type errorKind struct {
	name   string // in docs/json.md, which has them all
	status int
	is     func(error) bool
}

// errorKinds returns the kinds of errors. An error is of the first that fits.
func errorKinds() []errorKind {
	any := func(targets ...error) func(error) bool {
		return func(err error) bool {
			return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
		}
	}
	return []errorKind{
		{"interrupted", exitFailed, any(context.Canceled, transaction.ErrInterrupted)}, // the status is that of its signal
		{"usage", exitUsage, isA[usageError]},
		{"locked", exitLocked, any(sysroot.ErrLocked)},
		{"no-space", exitFailed, any(syscall.ENOSPC, syscall.EDQUOT)},
		{"permission", exitFailed, any(fs.ErrPermission)},
		{"ambiguous", exitFailed, any(query.ErrAmbiguous)},
		{"not-stored", exitFailed, any(query.ErrNotStored)},
		{"not-installed", exitFailed, any(query.ErrNotInstalled)},
		{"not-found", exitFailed, func(err error) bool { return isA[*repo.NotFoundError](err) || isA[noneHasError](err) }},
		{"no-source", exitFailed, any(repo.ErrNoSource)},
		{"offline", exitFailed, any(repo.ErrOffline)},
		{"signature", exitFailed, any(trust.ErrSignature, repo.ErrReplayed, repo.ErrExpired)},
		{"fetch", exitFailed, any(repo.ErrFetch)},
		{"unresolved", exitFailed, any(repo.ErrUnresolved)},
		{"would-not-start", exitFailed, isA[*plan.ProblemsError]},
		{"no-generation", exitFailed, any(sysroot.ErrNoGeneration, sysroot.ErrNoActive)},
		{"pin", exitFailed, any(transaction.ErrPin, transaction.ErrFreeze)},
		{"no-database", exitFailed, any(backends.ErrNoDatabase)},
		{"not-a-package", exitFailed, any(backends.ErrUnknownFormat)},
		{"no-file", exitFailed, any(fs.ErrNotExist)},
		{"failed", exitFailed, func(error) bool { return true }},
	}
}

// isA reports whether an error is, or wraps, one of a type.
func isA[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func kindOf(err error) errorKind {
	kinds := errorKinds()
	return kinds[slices.IndexFunc(kinds, func(k errorKind) bool { return k.is(err) })]
}

// exit reports an error and returns the exit status for it. cause is why the command
// was to end before its time; nil when it was not.
func (a *app) exit(err, cause error) int {
	var signal Interrupted
	var chosen statusError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &chosen):
		return int(chosen)
	case errors.Is(err, errDamaged):
		return exitDamaged
	case errors.Is(err, errPartly):
		return exitPartly
	case errors.Is(err, errProblems), errors.Is(err, errReported):
		return exitFailed
	}
	kind := kindOf(err)
	err = plain(advised(err))
	if a.json {
		a.complainJSON(kind.name, err)
	} else {
		a.complain("hashpkg: %s\n", err)
	}
	if kind.name == "interrupted" && errors.As(cause, &signal) {
		return exitSignal + int(signal.Signal)
	}
	return kind.status
}

// advised returns an error as a person is told of it: with what to do where only the command
// line knows that.
func advised(err error) error {
	_, hint := advice.Of(err)
	switch {
	case errors.Is(err, sysroot.ErrLocked):
		return advice.Errorf("%w; wait with --wait 1m", err)
	case hint == "" && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)):
		return advice.Errorf("%w; make room (hashpkg clean, hashpkg gc), or use --prefix on another disk", err)
	case errors.Is(err, transaction.ErrInterrupted) || !errors.Is(err, context.Canceled):
		return err
	}
	// What ended at once has changed nothing. An error beside that is one of the
	// cleaning up.
	text := "interrupted; nothing was changed"
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !errors.Is(e, context.Canceled) {
				text += "\nhashpkg: " + e.Error()
			}
		}
	}
	return errors.New(text)
}

// plain returns an error whose text has no words of Go's JSON decoder, for records that are
// damaged.
func plain(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return reworded{err, syntax.Error(), fmt.Sprintf("it is not JSON (at byte %d)", syntax.Offset)}
	case errors.As(err, &kind):
		return reworded{err, kind.Error(), fmt.Sprintf("it has a %s where something else is to be (at byte %d)", kind.Value, kind.Offset)}
	}
	return err
}

// reworded is an error of whose text a part is said in other words.
type reworded struct {
	error
	old, new string
}

func (r reworded) Error() string { return strings.Replace(r.error.Error(), r.old, r.new, 1) }

// Unwrap implements the interface of package errors.
func (r reworded) Unwrap() error { return r.error }

// complainJSON writes an error for a program, as one line of standard error.
func (a *app) complainJSON(kind string, err error) {
	message, hint := advice.Of(err)
	enc := json.NewEncoder(a.Err)
	enc.SetEscapeHTML(false)
	// What cannot be written to standard error cannot be told either.
	_ = enc.Encode(errorOutput{errorFields{kind, message, hint}})
}

// errorOutput is an error with --json.
type errorOutput struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint"` // "" where nothing is to be said
}
