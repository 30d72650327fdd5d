package deb

import (
	"errors"
	"fmt"
	"io"
)

// ErrNotDeb is returned (wrapped) by [NewReader] for what is not a deb at all.
var ErrNotDeb = errors.New("not a deb package")

// FormatError says where a deb breaks the format, or one of its packer's
// promises.
type FormatError struct {
	// Member is the part of the deb: "" for its ar container, a member's name
	// such as "data.tar.xz" for the bytes of that member, "control.tar" or
	// "data.tar" for the tar archive that is packed in it, "control" or
	// "conffiles" for these files of control.tar.
	Member string
	Offset int64 // in bytes, from the beginning of that part; 0 when there is no telling
	Msg    string

	cause error
}

// Error implements error.
func (e *FormatError) Error() string {
	part := e.Member
	if part == "" {
		part = "deb"
	}
	if e.Offset == 0 {
		return fmt.Sprintf("read %s: %s", part, e.Msg)
	}
	return fmt.Sprintf("read %s: %s (at byte %d)", part, e.Msg, e.Offset)
}

// Unwrap returns [ErrNotDeb], [io.ErrUnexpectedEOF] for a truncated file, or nil.
func (e *FormatError) Unwrap() error { return e.cause }

// truncated returns the error for a file that ends too early; what says what
// is missing.
func truncated(member string, offset int64, what string) error {
	return &FormatError{
		Member: member, Offset: offset,
		Msg:   "it ends in " + what + ": the file is truncated, download it again",
		cause: io.ErrUnexpectedEOF,
	}
}
