package elfedit

import (
	"errors"
	"fmt"
)

// ErrNotELF is wrapped by the error for a file without the ELF magic number.
var ErrNotELF = errors.New("not an ELF file")

// ErrEditMismatch is wrapped by the error of (Edit).Apply for a file that the
// edit was not made from.
var ErrEditMismatch = errors.New("the file is not the one that the edit was made from")

// ErrBadEdit is wrapped by the error for an Edit whose hunks contradict each
// other or the sizes, as one read from a damaged record may.
var ErrBadEdit = errors.New("the edit is damaged")

// ErrLeavesRelRO is wrapped by the error of Make for an edit after which
// PT_GNU_RELRO would not cover the dynamic section any more; see
// Changes.MayLeaveRelRO.
var ErrLeavesRelRO = errors.New("the dynamic section has no room for more entries where it becomes read-only (RELRO) after relocation")

// ErrNoStringTable is wrapped by the error for a file whose dynamic section
// names no string table (DT_STRTAB), where a name of it is needed and no section
// header leads to a table either.
var ErrNoStringTable = errors.New("the dynamic section names no string table")

// FormatError says what is wrong with an ELF file, and where.
type FormatError struct {
	Offset int64 // of the structure at fault, in bytes from the file's start
	Msg    string
	Err    error // the sentinel that it wraps, nil for most
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("broken ELF file: %s (at offset %#x)", e.Msg, e.Offset)
}

// Unwrap implements the interface of package errors.
func (e *FormatError) Unwrap() error { return e.Err }

// RefusedError says why a sound file, or one change of it, is refused.
type RefusedError struct {
	Reason string
	Err    error // the sentinel that it wraps, nil for most reasons
}

func (e *RefusedError) Error() string { return e.Reason }

// Unwrap implements the interface of package errors.
func (e *RefusedError) Unwrap() error { return e.Err }

func broken(offset uint64, format string, args ...any) error {
	if offset > 1<<63-1 {
		offset = 1<<63 - 1
	}
	return &FormatError{Offset: int64(offset), Msg: fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}
