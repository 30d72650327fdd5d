package deb

import (
	"bufio"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

const (
	maxWindow = 128 << 20 // libzstd's own limit, and twice what xz -9 uses

	// smallMember is the size of an xz member below which starting a program
	// costs more than it saves.
	smallMember = 16 << 10
)

// compression is how a member is packed: the end of its name (deb(5)).
type compression string

const (
	none  compression = ""
	gz    compression = ".gz"
	xzip  compression = ".xz"
	zst   compression = ".zst"
	bz2   compression = ".bz2"
	lzma1 compression = ".lzma"
)

// What dpkg-deb knows, for the two members.
var (
	controlCompressions = []compression{none, gz, xzip, zst}
	dataCompressions    = []compression{none, gz, xzip, zst, bz2, lzma1}
)

// stream is a member's content, unpacked.
type stream struct {
	member *member
	r      io.Reader
	// end is called when r has ended, and may find that the data are not right.
	end func() error
	// release frees what r holds. It may be called at any time, once.
	release func()
	err     error
}

// newStream unpacks m, of which nothing was read. Every error of the reading
// comes from Read.
func newStream(m *member, c compression) (*stream, error) {
	s := &stream{member: m, end: func() error { return nil }, release: func() {}}
	switch c {
	case none:
		s.r = m
	case bz2:
		s.r = bzip2.NewReader(bufio.NewReaderSize(&bzip2Reader{r: m}, 64<<10))
	case gz:
		z, err := gzip.NewReader(bufio.NewReaderSize(m, 64<<10))
		if err != nil {
			return nil, s.explain(err)
		}
		s.r = z
	case zst:
		z, err := zstd.NewReader(newZstdReader(m), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, s.explain(err)
		}
		s.r, s.release = z, z.Close
	case xzip:
		check := &xzReader{r: m, size: m.size}
		s.end = check.checkSingleStream
		if program := xzProgram(); program != "" && m.size >= smallMember {
			return s, s.startXz(program, "xz", check)
		}
		z, err := xz.NewReader(check, maxWindow)
		if err != nil {
			return nil, s.explain(err)
		}
		s.r = z
	case lzma1:
		if program := xzProgram(); program != "" {
			return s, s.startXz(program, "lzma", m)
		}
		return s, s.openLzma()
	}
	return s, nil
}

// openLzma unpacks without the xz program.
func (s *stream) openLzma() error {
	b := bufio.NewReaderSize(s.member, 64<<10)
	header, err := b.Peek(5) // properties, and the size of the dictionary, which the reader allocates
	if err != nil {
		return s.explain(err)
	}
	if size := binary.LittleEndian.Uint32(header[1:]); size > maxWindow {
		return s.explain(fmt.Errorf("it needs a dictionary of %d bytes", size))
	}
	z, err := lzma.NewReader(b)
	if err != nil {
		return s.explain(err)
	}
	s.r = z
	s.end = func() error {
		if n := b.Buffered(); n > 0 {
			return fmt.Errorf("%d bytes follow the end of the compressed data", n)
		}
		return nil
	}
	return nil
}

// Read implements io.Reader. It returns io.EOF when the unpacked data are whole
// and right as far as the compression can tell.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err == io.EOF {
		if err = s.end(); err == nil {
			err = io.EOF
		}
	}
	if err != nil && err != io.EOF {
		s.free() // before the member is looked at, which a program may be fed from
	}
	if err != nil {
		s.err = s.explain(err)
	}
	return n, s.err
}

// explain turns a decompressor's error into one that says where and what to do.
// When reading the deb failed, that is the error.
func (s *stream) explain(err error) error {
	switch {
	case err == io.EOF && s.r != nil:
		return err
	case s.member.err != nil:
		return s.member.err
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &FormatError{
		Member: s.member.name, Offset: s.member.offset(),
		Msg: fmt.Sprintf("the compressed data are corrupt (%v): download the package again", err),
	}
}

// close frees the decompressor. After Read has returned io.EOF it also checks
// that the member was used up, and reads on to what follows the member.
func (s *stream) close() error {
	s.free()
	if s.err != io.EOF {
		return nil
	}
	return s.member.finish()
}

func (s *stream) free() {
	s.release()
	s.release = func() {}
}

// xzProgram returns the path of xz, or "" if there is none that has its options.
func xzProgram() string {
	program, err := exec.LookPath("xz")
	if err != nil {
		return ""
	}
	if target, err := filepath.EvalSymlinks(program); err != nil || filepath.Base(target) == "busybox" {
		return ""
	}
	return program
}

// compressionOf returns how the member called name is packed, whose name without
// that is base. ok is false when it is none of known.
func compressionOf(name, base string, known []compression) (c compression, ok bool) {
	c = compression(strings.TrimPrefix(name, base))
	return c, slices.Contains(known, c)
}
