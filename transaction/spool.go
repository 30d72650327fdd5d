package transaction

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// spool is the sink of a dry run. It keeps ELF files, which are all that a plan
// looks at, one behind the other in a temporary file that has no name any more. Its
// methods may be called by several goroutines at once.
type spool struct {
	file *os.File

	mu    sync.Mutex
	end   int64 // of what is in the file, or will be
	files map[digest.Digest]extent
}

// extent is a part of a file, in bytes.
type extent struct{ offset, size int64 }

// newSpool makes a spool, which the caller closes.
func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", "hashpkg-plan-*")
	if err != nil {
		return nil, fmt.Errorf("make temporary file for the plan: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("make temporary file for the plan: %w", err), f.Close())
	}
	return &spool{file: f, files: map[digest.Digest]extent{}}, nil
}

// Close gives up what the spool has.
func (s *spool) Close() error { return s.file.Close() }

// Add takes a file of size bytes and returns its digest and number. Of one that has
// another number than size, nothing can be read later.
func (s *spool) Add(r io.Reader, size int64) (digest.Digest, int64, error) {
	var magic [len(elf.ELFMAG)]byte
	n, err := io.ReadFull(r, magic[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return digest.Digest{}, 0, err
	}
	r = io.MultiReader(bytes.NewReader(magic[:n]), r)
	if string(magic[:n]) != elf.ELFMAG {
		return digest.OfReader(r)
	}
	s.mu.Lock()
	to := extent{s.end, size}
	s.end += size
	s.mu.Unlock()
	h := digest.New()
	written, err := io.Copy(io.NewOffsetWriter(s.file, to.offset), io.TeeReader(io.LimitReader(r, size), h))
	if err != nil {
		return digest.Digest{}, written, fmt.Errorf("keep file for the plan: %w", err)
	}
	more, err := io.Copy(h, r) // has no room, and is counted only
	if err != nil {
		return digest.Digest{}, written + more, err
	}
	d := digest.Sum(h)
	if written == size && more == 0 {
		s.mu.Lock()
		s.files[d] = to
		s.mu.Unlock()
	}
	return d, written + more, nil
}

// Map calls f with the bytes of an ELF file that was added, which are valid until f
// returns and must not be written to.
func (s *spool) Map(d digest.Digest, f func([]byte) error) error {
	s.mu.Lock()
	at, ok := s.files[d]
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("read file for the plan: no ELF file %s was added: %w", d, fs.ErrNotExist)
	}
	return mapped.File(s.file, func(all []byte) error {
		return f(all[at.offset : at.offset+at.size : at.offset+at.size])
	})
}
