package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// target is where the bytes of a file go: into file, or into buf without one.
type target struct {
	file *os.File
	buf  []byte

	n     int64     // so many bytes it has, from the start of the file
	hash  hash.Hash // over them; nil where there is no digest
	want  []byte
	limit int64

	progress func(int64)
}

// ErrLocal is what an error is (by errors.Is) of this machine's, such as a full disk.
var ErrLocal = errors.New("it is this machine's")

// localError is one of this machine: no other mirror can mend it.
type localError struct{ error }

func (localError) Is(target error) bool { return target == ErrLocal }

func (e localError) Unwrap() error { return e.error }

// write appends bytes.
func (t *target) write(p []byte) error {
	if t.file != nil {
		if _, err := t.file.WriteAt(p, t.n); err != nil {
			return localError{fmt.Errorf("write: %w", err)}
		}
	} else {
		t.buf = append(t.buf, p...)
	}
	t.have(p)
	return nil
}

// have counts bytes that the target has.
func (t *target) have(p []byte) {
	if t.hash != nil {
		t.hash.Write(p)
	}
	t.n += int64(len(p))
	if t.progress != nil {
		t.progress(t.n)
	}
}

// clear drops all bytes.
func (t *target) clear() error {
	if t.file != nil {
		if err := t.file.Truncate(0); err != nil {
			return localError{fmt.Errorf("truncate: %w", err)}
		}
	}
	if t.hash != nil {
		t.hash.Reset()
	}
	t.buf, t.n = nil, 0
	if t.progress != nil {
		t.progress(0)
	}
	return nil
}

// matches reports whether the bytes are those that are wanted.
func (t *target) matches() bool {
	return t.hash == nil || bytes.Equal(t.hash.Sum(nil), t.want)
}

// load counts what the file has from before. It drops what cannot be a part of the
// file.
func (t *target) load(ctx context.Context) error {
	info, err := t.file.Stat()
	if err != nil {
		return localError{err}
	}
	if t.hash == nil || info.Size() > t.limit || info.Size() == 0 {
		return t.clear()
	}
	progress := t.progress
	t.progress = nil
	buf := make([]byte, bufferSize)
	r := io.NewSectionReader(t.file, 0, info.Size())
	for err == nil {
		var n int
		n, err = r.Read(buf)
		t.have(buf[:n])
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err != io.EOF {
		return localError{fmt.Errorf("read what is there: %w", err)}
	}
	if t.progress = progress; progress != nil {
		progress(t.n)
	}
	return nil
}
