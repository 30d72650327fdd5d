package deb

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashpkg/hashpkg/internal/unpack"
)

// What dpkg-deb knows, for the two members, by the end of their names (deb(5)).
var (
	controlCompressions = map[string]unpack.Compression{
		"": unpack.None, ".gz": unpack.Gzip, ".xz": unpack.Xz, ".zst": unpack.Zstd,
	}
	dataCompressions = map[string]unpack.Compression{
		"": unpack.None, ".gz": unpack.Gzip, ".xz": unpack.Xz, ".zst": unpack.Zstd,
		".bz2": unpack.Bzip2, ".lzma": unpack.Lzma,
	}
)

// stream is a member's content, unpacked.
type stream struct {
	member   *member
	unpacked *unpack.Stream
	atEnd    bool
}

// newStream unpacks m, of which nothing was read.
func newStream(m *member, c unpack.Compression) (*stream, error) {
	s := &stream{member: m}
	size := m.size
	if c == unpack.Lzma {
		size = -1 // however small: the xz program refuses what the Go module lets pass
	}
	var err error
	if s.unpacked, err = unpack.NewStream(m, c, size); err != nil {
		return nil, s.explain(err)
	}
	return s, nil
}

// Read implements io.Reader. It returns io.EOF when the unpacked data are whole
// and right as far as the compression can tell.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.unpacked.Read(p)
	s.atEnd = err == io.EOF
	return n, s.explain(err)
}

// explain says in an error which member it is about. One of reading the deb says
// so already.
func (s *stream) explain(err error) error {
	var damage *unpack.CorruptError
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.As(err, &damage):
		return &FormatError{Member: s.member.name, Offset: damage.Offset, Msg: damage.Error()}
	case s.member.err != nil:
		return err
	}
	return fmt.Errorf("read %s: %w", s.member.name, err)
}

// close frees the decompressor. After Read has returned io.EOF it also checks
// that the member was used up, and reads on to what follows the member.
func (s *stream) close() error {
	s.free()
	if !s.atEnd {
		return nil
	}
	return s.member.finish()
}

// free ends a helper program: the member is not read any more when it returns.
func (s *stream) free() { s.unpacked.Close() }
