package elfedit

import (
	"bytes"
	"fmt"
	"io"
)

// Edit is one change of a file, as data: it applies to the file that it was
// made from and to no other, and its inverse gives that file back to the byte.
//
// Hunks are in the order of their offsets and do not overlap. Where the file
// grows, the last hunk's New reaches past OldSize and its Old ends there.
type Edit struct {
	OldSize int64  `json:"old_size"`
	NewSize int64  `json:"new_size"`
	Hunks   []Hunk `json:"hunks"`
}

// Hunk replaces the bytes Old at Offset by New.
type Hunk struct {
	Offset int64  `json:"offset"`
	Old    []byte `json:"old"`
	New    []byte `json:"new"`
}

// IsZero reports whether the edit changes nothing.
func (e Edit) IsZero() bool { return len(e.Hunks) == 0 && e.OldSize == e.NewSize }

// Validate reports whether the edit can be one that Make returned. The error
// wraps ErrBadEdit. Apply does this itself; a caller that writes the hunks on
// its own calls it first, for an edit that was read from a record.
func (e Edit) Validate() error {
	if e.OldSize < 0 || e.NewSize < 0 {
		return fmt.Errorf("check edit: %w: negative size", ErrBadEdit)
	}
	// Old covers the part of a hunk that is within the old file, New the part
	// within the new one: beyond the shorter file one of them stops early.
	shorter := min(e.OldSize, e.NewSize)
	var end int64
	for i, h := range e.Hunks {
		n := int64(max(len(h.Old), len(h.New)))
		switch {
		case h.Offset < end:
			return fmt.Errorf("check edit: %w: hunk %d overlaps another or is out of order", ErrBadEdit, i)
		case n == 0:
			return fmt.Errorf("check edit: %w: hunk %d is empty", ErrBadEdit, i)
		case h.Offset > max(e.OldSize, e.NewSize)-n:
			return fmt.Errorf("check edit: %w: hunk %d reaches past the file", ErrBadEdit, i)
		case int64(len(h.Old)) != min(n, max(0, e.OldSize-h.Offset)),
			int64(len(h.New)) != min(n, max(0, e.NewSize-h.Offset)):
			return fmt.Errorf("check edit: %w: hunk %d replaces %d bytes by %d", ErrBadEdit, i, len(h.Old), len(h.New))
		}
		end = h.Offset + n
	}
	if e.OldSize == e.NewSize {
		return nil
	}
	// What is past the shorter file must be known to the byte, in one hunk.
	if len(e.Hunks) == 0 || end != max(e.OldSize, e.NewSize) || e.Hunks[len(e.Hunks)-1].Offset > shorter {
		return fmt.Errorf("check edit: %w: the last hunk does not cover the change of size", ErrBadEdit)
	}
	return nil
}

// Apply returns the edited file. data stays as it is. The error wraps
// ErrEditMismatch when data has another size or other bytes than the file that
// the edit was made from, and ErrBadEdit when the edit contradicts itself.
func (e Edit) Apply(data []byte) ([]byte, error) {
	if err := e.fits(data); err != nil {
		return nil, err
	}
	edited := make([]byte, e.NewSize)
	copy(edited, data)
	for _, h := range e.Hunks {
		copy(edited[min(h.Offset, e.NewSize):], h.New)
	}
	return edited, nil
}

// ApplyTo is Apply without a copy: data, which nobody else may use, becomes the edited file,
// as far as its room goes. After an error data is as it was.
func (e Edit) ApplyTo(data []byte) ([]byte, error) {
	if err := e.fits(data); err != nil {
		return nil, err
	}
	if grows := e.NewSize - e.OldSize; grows > 0 {
		data = append(data, make([]byte, grows)...)
	}
	data = data[:e.NewSize]
	for _, h := range e.Hunks {
		copy(data[min(h.Offset, e.NewSize):], h.New)
	}
	return data, nil
}

// WriteTo writes what Apply would return, without a copy of the whole file. Its errors are
// those of Apply and of w.
func (e Edit) WriteTo(w io.Writer, data []byte) error {
	if err := e.fits(data); err != nil {
		return err
	}
	at := int64(0)
	for _, h := range e.Hunks {
		if from := min(at, e.OldSize); from < min(h.Offset, e.OldSize) {
			if _, err := w.Write(data[from:min(h.Offset, e.OldSize)]); err != nil {
				return err
			}
		}
		if _, err := w.Write(h.New); err != nil {
			return err
		}
		at = h.Offset + int64(max(len(h.Old), len(h.New)))
	}
	if at < min(e.OldSize, e.NewSize) {
		_, err := w.Write(data[at:min(e.OldSize, e.NewSize)])
		return err
	}
	return nil
}

// fits returns an error unless the edit was made from this file.
func (e Edit) fits(data []byte) error {
	if err := e.Validate(); err != nil {
		return err
	}
	if int64(len(data)) != e.OldSize {
		return fmt.Errorf("apply edit: %w: it has %d bytes, not %d", ErrEditMismatch, len(data), e.OldSize)
	}
	for _, h := range e.Hunks {
		if !bytes.Equal(data[min(h.Offset, e.OldSize):][:len(h.Old)], h.Old) {
			return fmt.Errorf("apply edit: %w: other bytes at offset %#x", ErrEditMismatch, h.Offset)
		}
	}
	return nil
}

// Invert returns the edit that undoes e. It shares e's bytes.
func (e Edit) Invert() Edit {
	inverse := Edit{OldSize: e.NewSize, NewSize: e.OldSize}
	if e.Hunks != nil {
		inverse.Hunks = make([]Hunk, len(e.Hunks))
	}
	for i, h := range e.Hunks {
		inverse.Hunks[i] = Hunk{Offset: h.Offset, Old: h.New, New: h.Old}
	}
	return inverse
}
