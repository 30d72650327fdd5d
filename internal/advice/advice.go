// Package advice keeps apart what went wrong and what to do about it, in one error.
//
// An error of hashpkg reads "what went wrong; what to do". [Errorf] makes one, [First] one that
// begins with the advice, and [Of] takes the two apart again, however often the error was
// wrapped: a person reads both in one line, and a program gets each by itself.
package advice

import (
	"errors"
	"fmt"
	"strings"
)

// What stands between what went wrong and what to do, and the other way round.
const (
	divider = "; "
	colon   = ": "
)

// Error is an error with advice, which its text has.
type Error struct {
	err    error
	advice string
}

func (e *Error) Error() string { return e.err.Error() }

// Advice returns what to do.
func (e *Error) Advice() string { return e.advice }

// Unwrap implements the interface of package errors.
func (e *Error) Unwrap() error { return e.err }

// Errorf is fmt.Errorf, of whose format what stands behind the last "; " is advice.
func Errorf(format string, v ...any) error {
	err := fmt.Errorf(format, v...)
	i := strings.LastIndex(format, divider)
	if i < 0 {
		return err
	}
	// What the values are written as is known only once they are: the same text, with a mark in
	// place of the divider, says where it is.
	const mark = "\x00advice\x00"
	_, text, _ := strings.Cut(fmt.Errorf(format[:i]+mark+format[i+len(divider):], v...).Error(), mark)
	return &Error{err, text}
}

// First returns an error whose text begins with advice: for what is done about it in the same
// way whatever it is.
func First(advice string, err error) error {
	return &Error{fmt.Errorf("%s%s%w", advice, colon, err), advice}
}

// Of returns what went wrong, and what to do; "" where the error does not say, or is nil. An
// error that makes its text itself says what of it is advice by a method Advice.
func Of(err error) (message, hint string) {
	if err == nil {
		return "", ""
	}
	message = err.Error()
	var e interface {
		error
		Advice() string
	}
	if !errors.As(err, &e) || e.Advice() == "" {
		return message, ""
	}
	hint = e.Advice()
	for _, text := range []string{divider + hint, hint + colon} {
		if before, after, found := strings.Cut(message, text); found {
			return before + after, hint
		}
	}
	return message, hint
}
