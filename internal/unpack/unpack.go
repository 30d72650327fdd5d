// Package unpack implements what packages of every format need to be unpacked
// safely: [Stream] decompresses what is one compressed stream and nothing else,
// and [Tree] sees to it that the files of a package stay where their names say.
//
// It writes no files. Which compressions and which names a format allows is left
// to its reader.
package unpack

import (
	"bufio"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

const (
	maxWindow = 128 << 20 // libzstd's own limit, and twice what xz -9 uses

	// smallStream is the size of compressed data below which starting a program
	// costs more than it saves.
	smallStream = 16 << 10
)

// Compression is a format of compressed data.
type Compression string

// The compressions that there are.
const (
	None  Compression = ""
	Gzip  Compression = "gzip"
	Xz    Compression = "xz"
	Zstd  Compression = "zstd"
	Bzip2 Compression = "bzip2"
	Lzma  Compression = "lzma" // the format of the lzma program, before xz
	Lz4   Compression = "lz4"
)

// CorruptError says that compressed data are not what their format allows.
type CorruptError struct {
	Offset int64 // how many compressed bytes were read when it was noticed
	Msg    string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("the compressed data are corrupt (%s): download the package again", e.Msg)
}

// Stream is the content of one compressed stream. Its end is the end of what it
// is read from: it refuses data that follow it, a second stream among them, which
// one decompressor would take and another one leave. Gzip is the exception, whose
// streams every decompressor joins, and [NewJoinedStream].
type Stream struct {
	source *source
	r      io.Reader
	// end is called when r has ended, and may find that the data are not right.
	end func() error
	// release frees what r holds. It may be called at any time, once.
	release func()
	err     error
	// trusting leaves out the checksums of the format.
	trusting bool
	// joins takes several streams, one behind another, for one.
	joins bool
}

// NewStream decompresses what r reads. size is how many bytes that is, and may be
// -1 if nobody knows; it only decides whether a program is worth its start.
//
// The caller must call Close. Until then the stream may read from r at any time,
// from a goroutine of its own.
func NewStream(r io.Reader, c Compression, size int64) (*Stream, error) {
	return newStream(r, c, size, false)
}

// NewTrustingStream is NewStream for data of which the caller compares a digest:
// the checksums that the compression has of its own may be left out. The SHA-256
// that rpm has xz put in takes a third of the time.
func NewTrustingStream(r io.Reader, c Compression, size int64) (*Stream, error) {
	return newStream(r, c, size, true)
}

// NewJoinedStream is NewTrustingStream for data that programs pack in several streams
// and read as one, as all decompressors do: the indexes of repositories. That of Ubuntu
// is packed by several processors. (Of lz4 it takes one stream only.)
func NewJoinedStream(r io.Reader, c Compression, size int64) (*Stream, error) {
	return open(&Stream{trusting: true, joins: true}, r, c, size)
}

func newStream(r io.Reader, c Compression, size int64, trusting bool) (*Stream, error) {
	return open(&Stream{trusting: trusting}, r, c, size)
}

func open(s *Stream, r io.Reader, c Compression, size int64) (*Stream, error) {
	s.source, s.end, s.release = &source{r: r}, func() error { return nil }, func() {}
	if err := s.open(c, size); err != nil {
		return nil, s.explain(err)
	}
	return s, nil
}

func (s *Stream) open(c Compression, size int64) error {
	isSmall := size >= 0 && size < smallStream
	switch c {
	case None:
		s.r = s.source
	case Bzip2:
		var packed io.Reader = s.source
		if !s.joins {
			packed = &bzip2Reader{r: s.source}
		}
		s.r = bzip2.NewReader(bufio.NewReaderSize(packed, 64<<10))
	case Gzip:
		z, err := gzip.NewReader(bufio.NewReaderSize(s.source, 64<<10))
		if err != nil {
			return err
		}
		s.r = z
	case Zstd:
		var packed io.Reader = s.source
		if !s.joins {
			frame := newZstdReader(s.source)
			packed, s.end = frame, frame.checkEnd
		}
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow), zstd.IgnoreChecksum(s.trusting))
		if err != nil {
			return err
		}
		s.r, s.release = z, z.Close
	case Xz:
		var packed io.Reader = s.source
		if !s.joins {
			check := &xzReader{r: s.source}
			packed, s.end = check, check.checkSingleStream
		}
		if program := xzProgram(); program != "" && !isSmall {
			return s.startXz(program, "xz", packed)
		}
		z, err := xz.NewReader(packed, maxWindow)
		if err != nil {
			return err
		}
		s.r = z
	case Lzma:
		if program := xzProgram(); program != "" && !isSmall {
			return s.startXz(program, "lzma", s.source)
		}
		return s.openLzma()
	case Lz4:
		frame := newLz4Reader(s.source)
		s.r = lz4.NewReader(bufio.NewReaderSize(frame, 64<<10))
		s.end = frame.checkEnd
	default:
		return fmt.Errorf("unknown compression %q", c)
	}
	return nil
}

// openLzma unpacks without the xz program.
func (s *Stream) openLzma() error {
	b := bufio.NewReaderSize(s.source, 64<<10)
	header, err := b.Peek(5) // properties, and the size of the dictionary, which the reader allocates
	if err != nil {
		return err
	}
	if size := binary.LittleEndian.Uint32(header[1:]); size > maxWindow {
		return fmt.Errorf("it needs a dictionary of %d bytes", size)
	}
	z, err := lzma.NewReader(b)
	if err != nil {
		return err
	}
	s.r = z
	s.end = func() error {
		if _, err := b.Peek(1); err != io.EOF {
			return errStreams
		}
		return nil
	}
	return nil
}

// Read implements io.Reader. It returns io.EOF when the unpacked data are whole
// and right as far as the compression can tell. An error of what the stream is
// read from is returned as it is; one in the data is a [*CorruptError].
func (s *Stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err == io.EOF {
		if err = s.end(); err == nil {
			err = io.EOF
		}
	}
	if err != nil {
		s.Close() // before the source is looked at, which a program may be fed from
		s.err = s.explain(err)
	}
	return n, s.err
}

// explain turns a decompressor's error into one that says where and what to do.
// When reading the source failed, that is the error.
func (s *Stream) explain(err error) error {
	switch {
	case s.source.err != nil:
		return s.source.err
	case err == io.EOF && s.r != nil:
		return err
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	var start *startError
	if errors.As(err, &start) {
		return err
	}
	return &CorruptError{Offset: s.source.n, Msg: err.Error()}
}

// Close ends a helper program and frees buffers. What the stream was reading from
// is not in use any more when Close returns.
func (s *Stream) Close() {
	s.release()
	s.release = func() {}
	if s.err == nil {
		s.err = errors.New("read of a closed stream")
	}
}

// source counts what is read, and keeps the error that reading failed with, which
// decompressors hide.
type source struct {
	r   io.Reader
	n   int64
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
