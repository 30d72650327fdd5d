package rpm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/hashpkg/hashpkg/internal/unpack"
)

// payload is the compressed archive of a package. Everything that the package says
// of it is compared when it has ended.
type payload struct {
	packed   *measured // the rest of the file
	unpacked *measured // the archive

	compression unpack.Compression // once it is open

	// While the payload is open, packed and unpacked are each read by a goroutine.
	source *readAhead // of packed
	stream *unpack.Stream
	ahead  *readAhead // of unpacked
}

// measured passes data through, counts them, and hashes them for what is expected.
type measured struct {
	r      io.Reader
	part   string
	n      int64
	sizes  []int64 // that the package says it has
	expect []*expectation
	hashes []io.Writer // of signatures
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	for _, e := range m.expect {
		e.hash.Write(p[:n])
	}
	for _, h := range m.hashes {
		if _, err := h.Write(p[:n]); err != nil {
			return n, err
		}
	}
	for _, size := range m.sizes {
		if m.n > size {
			return n, errorIn(m.part, "it has more than the %d bytes that the package says: %s", size, corrupt)
		}
	}
	return n, err
}

// check compares sizes and digests.
func (m *measured) check() error {
	for _, size := range m.sizes {
		if m.n != size {
			return errorIn(m.part, "it has %d bytes, and should have %d: %s", m.n, size, corrupt)
		}
	}
	for _, e := range m.expect {
		if err := e.check(m.part); err != nil {
			return err
		}
	}
	return nil
}

// packedReader is where the compressed data come from. It tells a file that was
// cut off from one that is corrupt.
type packedReader struct {
	r    io.Reader
	left int64 // of the bytes that must be there, or -1
	n    int64
}

func (p *packedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	switch {
	case err == io.EOF && p.n < p.left:
		return n, truncated(partPayload, p.n)
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("read %s: %w", partPayload, err)
	}
	return n, err
}

// newPayload returns the payload that follows the header, whose bytes are raw.
func newPayload(r io.Reader, sig, h *header, raw []byte) (*payload, error) {
	p := &payload{packed: &measured{part: partPayload}, unpacked: &measured{part: partCpio}}
	var err error
	if p.packed.expect, p.unpacked.expect, err = payloadDigests(h); err != nil {
		return nil, err
	}
	if len(p.packed.expect) > 0 {
		// Those of the archive are for packages that were compressed anew. What the
		// digests of the compressed bytes decide, rpm does not look at twice either.
		p.unpacked.expect = nil
	}
	hasMD5 := sig.has(sigMD5)
	if !hasMD5 && (len(p.packed.expect) == 0 || !sig.has(sigSHA1) && !sig.has(sigSHA256) && !sig.has(sigSHA3)) {
		return nil, errorIn(partSignature, "no digest covers all of the package, so that nobody can tell whether it is whole")
	}
	if hasMD5 {
		want := sig.bytes(sigMD5)
		e := &expectation{what: "the MD5 digest of header and payload", want: want, hash: digestAlgorithms[0].hash.New()}
		e.hash.Write(raw)
		p.packed.expect = append(p.packed.expect, e)
	}

	for _, s := range []struct {
		h         *header
		tag       tag
		of        *measured
		hasHeader bool
	}{
		{sig, sigSize, p.packed, true},
		{sig, sigLongSize, p.packed, true},
		{h, tagPayloadLongSize, p.packed, false},
		{sig, sigPayloadSize, p.unpacked, false},
		{sig, sigLongArchiveSize, p.unpacked, false},
		{h, tagArchiveSize, p.unpacked, false},
		{h, tagPayloadLongSizeAlt, p.unpacked, false},
	} {
		n, ok := s.h.number(s.tag)
		if !ok {
			continue
		}
		if s.hasHeader {
			if n < uint64(len(raw)) {
				s.h.fail(s.tag, "says that the package ends in the header: %s", corrupt)
			}
			n -= uint64(len(raw))
		}
		if n > 1<<62 {
			s.h.fail(s.tag, "has the size %d", n)
		}
		s.of.sizes = append(s.of.sizes, int64(n))
	}
	if err := errors.Join(sig.err, h.err); err != nil {
		return nil, err
	}
	left := int64(-1)
	if len(p.packed.sizes) > 0 {
		left = p.packed.sizes[0]
	}
	p.packed.r = &packedReader{r: r, left: left}
	return p, nil
}

// open starts to decompress.
func (p *payload) open(h *header) error {
	p.source = newReadAhead(p.packed)
	source, c, err := payloadCompression(p.source, h)
	if err != nil {
		return err
	}
	p.compression = c
	size := int64(-1)
	if len(p.packed.sizes) > 0 {
		size = p.packed.sizes[0]
	}
	p.stream, err = unpack.NewTrustingStream(source, c, size) // there is a digest: newPayload
	if err != nil {
		return explain(err)
	}
	p.unpacked.r = p.stream
	p.ahead = newReadAhead(p.unpacked)
	return nil
}

// payloadCompression returns how the payload is packed, and a reader of all of it.
// A header that does not say means gzip, and gzip may mean none (rpm: Fdopen and
// gzdio).
func payloadCompression(r io.Reader, h *header) (io.Reader, unpack.Compression, error) {
	c := unpack.Gzip
	if h.has(tagPayloadCompressor) {
		switch name := h.string(tagPayloadCompressor); name {
		case "gzip":
		case "bzip2":
			return r, unpack.Bzip2, nil
		case "xz":
			return r, unpack.Xz, nil
		case "lzma":
			return r, unpack.Lzma, nil
		case "zstd":
			return r, unpack.Zstd, nil
		default:
			return nil, "", errorIn(partHeader, "the payload has the unknown compression %q", name)
		}
	}
	if h.err != nil {
		return nil, "", h.err
	}
	b := bufio.NewReaderSize(r, 4<<10)
	magic, err := b.Peek(2)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	if bytes.Equal(magic, []byte("07")) {
		c = unpack.None
	}
	return b, c, nil
}

// explain makes a FormatError of an error in compressed data.
func explain(err error) error {
	var damage *unpack.CorruptError
	if errors.As(err, &damage) {
		return &FormatError{Member: partPayload, Offset: damage.Offset, Msg: damage.Error()}
	}
	return err
}

func (p *payload) Read(b []byte) (int, error) {
	n, err := p.ahead.Read(b)
	if err != nil && err != io.EOF {
		err = explain(err)
	}
	return n, err
}

// finish checks that nothing follows, and all that the package says. The archive
// must have been read to its end.
func (p *payload) finish() error {
	var b [1]byte
	if n, err := io.ReadFull(p.source, b[:]); n > 0 {
		return &FormatError{Member: partPayload, Offset: p.packed.n, Msg: "more data follows the end of the package"}
	} else if err != io.EOF {
		return err
	}
	p.close()
	if err := p.packed.check(); err != nil {
		return err
	}
	return p.unpacked.check()
}

// close ends the goroutines and frees the decompressor, the last one first.
func (p *payload) close() {
	if p.ahead != nil {
		p.ahead.close()
	}
	if p.stream != nil {
		p.stream.Close()
	}
	if p.source != nil {
		p.source.close()
	}
}
