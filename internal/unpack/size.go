package unpack

import "fmt"

// DefaultMaxSize is how many bytes the files of one package may have unless somebody
// says otherwise.
const DefaultMaxSize = 64 << 30

// SizeError says that a package unpacks to more than it may.
type SizeError struct {
	Size int64 // in bytes, with the file that is too much
	Max  int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("with this file the package unpacks to %d bytes or more, and %d are allowed", e.Size, e.Max)
}

// Room counts what the files of one package have.
type Room struct {
	Max  int64 // in bytes
	size int64 // of all files so far
}

// Take counts a file before it is read. The error is a [*SizeError].
func (r *Room) Take(size int64) error {
	if size > r.Max-r.size {
		return &SizeError{Size: r.size + size, Max: r.Max}
	}
	r.size += size
	return nil
}
