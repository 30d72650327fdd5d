package rpm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/internal/unpack"
)

const (
	cpioMagicSize  = 6
	cpioFields     = 13 // of eight hexadecimal digits each
	cpioFieldSize  = 8
	cpioHeaderSize = cpioMagicSize + cpioFields*cpioFieldSize

	fieldSize     = 6 // the seventh field: how long the content is
	fieldNameSize = 11

	cpioTrailer = "TRAILER!!!"

	// cpioBlock is what cpio pads an archive to; rpm only to four bytes.
	cpioBlock = 512
)

// cpioReader reads the archive of a payload: cpio as of SVR4, with or without a
// checksum, and the "stripped" form of rpm, which has only the number of a file
// (rpm: docs/manual/format_v4.md).
type cpioReader struct {
	r    *bufio.Reader
	pos  int64
	left int64  // of the current file's content
	raw  []byte // what stands before the content of the current member, to where it begins
}

// member is what stands before a file in the archive.
type member struct {
	pos int64
	// name is the file's, without "./" or a slash before it. A stripped member has
	// instead the number of the file in the header.
	name       string
	number     uint32
	isStripped bool
	size       int64 // of the content, unless stripped
}

func newCpioReader(r io.Reader) *cpioReader {
	return &cpioReader{r: bufio.NewReaderSize(r, 64<<10)}
}

func (c *cpioReader) errorAt(pos int64, format string, args ...any) error {
	return &FormatError{Member: partCpio, Offset: pos, Msg: fmt.Sprintf(format, args...)}
}

// fill reads all of p.
func (c *cpioReader) fill(p []byte) error {
	n, err := io.ReadFull(c.r, p)
	c.pos += int64(n)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return truncated(partCpio, c.pos)
	}
	c.raw = append(c.raw, p...)
	return err
}

// pad reads what fills up to a multiple of four bytes.
func (c *cpioReader) pad() error {
	var padding [3]byte
	p := padding[:-c.pos&3]
	if err := c.fill(p); err != nil {
		return err
	}
	for _, b := range p {
		if b != 0 {
			return c.errorAt(c.pos, "the padding of a file is not zero: %s", corrupt)
		}
	}
	return nil
}

// next returns the next member, and io.EOF at the trailer. The content of the one
// before must have been read.
func (c *cpioReader) next() (*member, error) {
	if err := c.pad(); err != nil {
		return nil, err
	}
	m := &member{pos: c.pos}
	c.raw = c.raw[:0]
	var h [cpioHeaderSize]byte
	if err := c.fill(h[:cpioMagicSize]); err != nil {
		return nil, err
	}
	switch string(h[:cpioMagicSize]) {
	case "07070X":
		m.isStripped = true
		field := h[cpioMagicSize:][:cpioFieldSize]
		if err := c.fill(field); err != nil {
			return nil, err
		}
		number, err := parseHex(field)
		if err != nil {
			return nil, c.errorAt(m.pos, "the number of a file is %q", field)
		}
		m.number = number
		return m, c.pad()
	case "070701", "070702":
	default:
		return nil, c.errorAt(m.pos, "a file has the wrong magic: %s", corrupt)
	}

	if err := c.fill(h[cpioMagicSize:]); err != nil {
		return nil, err
	}
	var fields [cpioFields]uint32
	for i := range fields {
		text := h[cpioMagicSize+i*cpioFieldSize:][:cpioFieldSize]
		n, err := parseHex(text)
		if err != nil {
			return nil, c.errorAt(m.pos, "%q is there for a number: %s", text, corrupt)
		}
		fields[i] = n
	}
	m.size = int64(fields[fieldSize])
	const prefix = len("./") + len("\x00")
	if n := fields[fieldNameSize]; n == 0 || n > uint32(unpack.MaxPath+prefix) {
		return nil, c.errorAt(m.pos, "a name is %d bytes long", n)
	}
	name := make([]byte, fields[fieldNameSize])
	if err := c.fill(name); err != nil {
		return nil, err
	}
	text, rest, ok := strings.Cut(string(name), "\x00")
	if !ok || rest != "" {
		return nil, c.errorAt(m.pos, "the name %q has no end, or two", name)
	}
	if text == cpioTrailer {
		if m.size != 0 {
			return nil, c.errorAt(m.pos, "the trailer has content: %s", corrupt)
		}
		return nil, c.drain()
	}
	m.name = strings.TrimPrefix(strings.TrimPrefix(text, "."), "/")
	return m, c.pad()
}

// parseHex reads a number of eight hexadecimal digits.
func parseHex(field []byte) (uint32, error) {
	n, err := strconv.ParseUint(string(field), 16, 32)
	return uint32(n), err
}

// drain reads what follows the trailer to the end, and returns io.EOF if it is
// padding.
func (c *cpioReader) drain() error {
	end := c.pos + cpioBlock
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			return err
		}
		if c.pos++; b != 0 || c.pos >= end {
			return c.errorAt(c.pos-1, "more data follows the end of the archive")
		}
	}
}

// Read reads the content of the current member.
func (c *cpioReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.pos += int64(n)
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		return n, truncated(partCpio, c.pos)
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
