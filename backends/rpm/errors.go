package rpm

import (
	"errors"
	"fmt"
	"io"
)

// ErrNotRPM is returned (wrapped) by [NewReader] for what is not an rpm at all.
var ErrNotRPM = errors.New("not an rpm package")

// The parts of a package that a [FormatError] names.
const (
	partLead      = "lead"
	partSignature = "signature"
	partHeader    = "header"
	partPayload   = "payload"
	partCpio      = "cpio"
)

// FormatError says where an rpm breaks the format, or one of its packer's
// promises.
type FormatError struct {
	// Member is the part of the rpm: "lead", "signature", "header", "payload" for
	// the compressed bytes, "cpio" for the archive that is packed in them, or ""
	// for the package as a whole. In an error of [ReadDatabase] it is the base name
	// of the database's file, such as "rpmdb.sqlite", or "package 17, bash" for what
	// it has of one package.
	Member string
	Offset int64 // in bytes, from the beginning of that part; 0 when there is no telling
	Msg    string

	cause error
}

// Error implements error.
func (e *FormatError) Error() string {
	part := e.Member
	if part == "" {
		part = "rpm"
	}
	if e.Offset == 0 {
		return fmt.Sprintf("read %s: %s", part, e.Msg)
	}
	return fmt.Sprintf("read %s: %s (at byte %d)", part, e.Msg, e.Offset)
}

// Unwrap returns [ErrNotRPM], [io.ErrUnexpectedEOF] for a truncated file, or nil.
func (e *FormatError) Unwrap() error { return e.cause }

// errorIn returns an error in a part, without a place in it.
func errorIn(part, format string, args ...any) error {
	return &FormatError{Member: part, Msg: fmt.Sprintf(format, args...)}
}

// truncated returns the error for a file that ends too early.
func truncated(part string, offset int64) error {
	return &FormatError{
		Member: part, Offset: offset,
		Msg:   "it ends in the middle: the file is truncated, download it again",
		cause: io.ErrUnexpectedEOF,
	}
}

// corrupt is how a message about a wrong checksum or size ends.
const corrupt = "the package is corrupt, download it again"
