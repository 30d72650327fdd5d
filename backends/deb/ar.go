package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arNameSize   = 16
)

// archive reads the ar container, member by member. It never reads further than
// it must.
type archive struct {
	r   io.Reader
	pos int64
}

// member is the current member's bytes. They are read by one goroutine at a
// time: a decompressor's while it runs.
type member struct {
	archive *archive
	header  [arHeaderSize]byte
	name    string
	size    int64
	left    int64
	err     error // what reading the archive failed with
}

// fill reads exactly len(p) bytes.
func (a *archive) fill(p []byte, what string) error {
	n, err := io.ReadFull(a.r, p)
	a.pos += int64(n)
	switch {
	case err == nil:
		return nil
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		return truncated("", a.pos, what)
	}
	return fmt.Errorf("read deb: %w", err)
}

// readMagic returns the bytes where the magic must be. It fails only if they
// could have become the magic.
func (a *archive) readMagic() (string, error) {
	magic := make([]byte, len(arMagic))
	err := a.fill(magic, "its first bytes")
	if magic = magic[:a.pos]; !strings.HasPrefix(arMagic, string(magic)) {
		return string(magic), nil
	}
	return string(magic), err
}

// next reads the header of the next member. The one before must be finished.
func (a *archive) next(what string) (*member, error) {
	start := a.pos
	var h [arHeaderSize]byte
	if err := a.fill(h[:], what); err != nil {
		return nil, err
	}
	if h[58] != '`' || h[59] != '\n' {
		return nil, &FormatError{Offset: start + 58, Msg: "a member's header has the wrong magic: the file is corrupt, download it again"}
	}
	size, ok := parseArSize(h[48:58])
	if !ok {
		return nil, &FormatError{Offset: start + 48, Msg: fmt.Sprintf("the size of a member is %q, which is not a number", h[48:58])}
	}
	return &member{archive: a, header: h, name: arName(h[:arNameSize]), size: size, left: size}, nil
}

// arName strips what pads a name: spaces, and the slash of GNU archives.
func arName(field []byte) string {
	name := strings.TrimRight(string(field), " ")
	name = strings.TrimSuffix(name, "/")
	name, _, _ = strings.Cut(name, "\x00")
	return name
}

// parseArSize reads a decimal number. As in dpkg, spaces may come before it and
// what follows a space after it does not count.
func parseArSize(field []byte) (size int64, ok bool) {
	field = bytes.TrimLeft(field, " ")
	for _, c := range field {
		if c == ' ' {
			break
		}
		if c < '0' || c > '9' {
			return 0, false
		}
		size = size*10 + int64(c-'0') // at most ten digits
	}
	return size, true
}

// Read implements io.Reader. It returns io.EOF at the member's end, and another
// error if the archive ends before that.
func (m *member) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	if m.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > m.left {
		p = p[:m.left]
	}
	n, err := m.archive.r.Read(p)
	m.archive.pos += int64(n)
	m.left -= int64(n)
	if err != nil && m.left > 0 {
		if err == io.EOF {
			m.err = truncated(m.name, m.offset(), fmt.Sprintf("the middle, after %d of %d bytes", m.offset(), m.size))
		} else {
			m.err = fmt.Errorf("read %s: %w", m.name, err)
		}
	}
	return n, m.err
}

// offset returns how many bytes were read.
func (m *member) offset() int64 { return m.size - m.left }

// skip reads what is left of the member.
func (m *member) skip() error {
	_, err := io.Copy(io.Discard, m)
	return err
}

// finish reads the byte that follows a member of odd length. All of the member
// must have been read.
func (m *member) finish() error {
	if m.left > 0 {
		return &FormatError{Member: m.name, Offset: m.offset(), Msg: fmt.Sprintf("%d bytes follow the end of the compressed data", m.left)}
	}
	if m.size%2 == 0 {
		return nil
	}
	var pad [1]byte
	return m.archive.fill(pad[:], "place of the byte that pads "+m.name)
}
