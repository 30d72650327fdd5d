package deb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	blockSize   = 512
	maxLongName = 2 * unpack.MaxPath

	// maxPadding is how many zeros may follow the end of an archive. tar fills up to
	// its blocking factor, 10 KiB by default.
	maxPadding = 1 << 20
)

// tarReader reads a tar archive as strictly as dpkg does when it unpacks
// (lib/dpkg/tarfn.c): v7, ustar and GNU headers with GNU long names. Neither pax
// headers nor sparse files, which dpkg refuses and which make readers differ on
// what an archive holds.
type tarReader struct {
	r       *bufio.Reader
	name    string // "data.tar"
	pos     int64
	left    int64 // of the current file's content
	padding int64 // after it
	block   [blockSize]byte
	raw     []byte // the blocks of the current entry before its content, its long names among them
}

// tarHeader is one entry as it stands in the archive.
type tarHeader struct {
	name, link   string
	kind         byte // '0' to '6'
	mode         uint32
	uid, gid     int
	owner, group string
	size         int64
	modTime      time.Time
	major, minor uint32
	pos          int64 // of the header's block
}

func newTarReader(r io.Reader, name string) *tarReader {
	return &tarReader{r: bufio.NewReaderSize(r, 64<<10), name: name}
}

func (t *tarReader) errorAt(pos int64, format string, args ...any) error {
	return &FormatError{Member: t.name, Offset: pos, Msg: fmt.Sprintf(format, args...)}
}

// next returns the next entry, and io.EOF after the last one, when all that
// follows has been read and was nothing but zeros.
func (t *tarReader) next() (*tarHeader, error) {
	if err := t.skipContent(); err != nil {
		return nil, err
	}
	var longName, longLink string
	t.raw = t.raw[:0]
	for {
		pos := t.pos
		err := t.readBlock()
		if err == io.EOF && pos == 0 {
			return nil, t.errorAt(pos, "there is no tar archive in it")
		}
		if err == io.EOF && longName == "" && longLink == "" {
			return nil, io.EOF // dpkg and GNU tar do without the end marker
		}
		if err == io.EOF {
			return nil, truncated(t.name, t.pos, "the middle of the tar archive")
		}
		if err != nil {
			return nil, err
		}
		if isZero(t.block[:]) {
			if longName != "" || longLink != "" {
				return nil, t.errorAt(pos, "a long name is not followed by a file")
			}
			return nil, t.drain()
		}
		h, err := t.parseHeader(pos)
		if err != nil {
			return nil, err
		}
		switch h.kind {
		case 'L':
			longName, err = t.readLongName(h, longName)
		case 'K':
			longLink, err = t.readLongName(h, longLink)
		default:
			if longName != "" {
				h.name = longName
			}
			if longLink != "" {
				h.link = longLink
			}
			return h, t.startContent(h)
		}
		if err != nil {
			return nil, err
		}
	}
}

// startContent checks the kind of an entry and sets out to read its content.
func (t *tarReader) startContent(h *tarHeader) error {
	if h.name == "" {
		return t.errorAt(h.pos, "an entry has no name")
	}
	switch h.kind {
	case 0:
		h.kind = '0'
	case '0', '2', '3', '4', '5', '6':
	case '1':
		h.size = 0 // what it says is the size of the file that it links to
	case 'x', 'g':
		return t.errorAt(h.pos, "%q has a pax header, which dpkg does not unpack: build the package with dpkg-deb, or tar --format=gnu", h.name)
	default:
		return t.errorAt(h.pos, "%q is of the unknown tar type %q", h.name, h.kind)
	}
	if h.kind == '0' && strings.HasSuffix(h.name, "/") {
		h.kind = '5' // archives from before ustar
	}
	if h.kind != '0' {
		if h.size != 0 {
			return t.errorAt(h.pos, "%q is not a regular file but has %d bytes of content", h.name, h.size)
		}
		return nil
	}
	t.left = h.size
	t.padding = -h.size & (blockSize - 1)
	return nil
}

// Read reads the content of the current entry.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > t.left {
		p = p[:t.left]
	}
	n, err := t.r.Read(p)
	t.pos += int64(n)
	t.left -= int64(n)
	if err == io.EOF && t.left > 0 {
		return n, truncated(t.name, t.pos, "the middle of a file's content")
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (t *tarReader) skipContent() error {
	for t.left+t.padding > 0 {
		n, err := t.r.Discard(int(min(t.left+t.padding, 1<<30)))
		t.pos += int64(n)
		fromContent := min(int64(n), t.left)
		t.left -= fromContent
		t.padding -= int64(n) - fromContent
		if err == io.EOF {
			return truncated(t.name, t.pos, "the middle of a file's content")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drain reads what follows the end marker, to the end, and returns io.EOF if
// there is nothing. Readers differ on whether they would look at it.
func (t *tarReader) drain() error {
	end := t.pos
	for {
		if t.pos-end > maxPadding {
			return t.errorAt(t.pos, "more than %d zeros follow the end of the tar archive: build the package with dpkg-deb", maxPadding)
		}
		b, err := t.r.Peek(1)
		if len(b) > 0 {
			b, _ = t.r.Peek(t.r.Buffered())
			if i := firstNonZero(b); i >= 0 {
				return t.errorAt(t.pos+int64(i), "more data follows the end of the tar archive")
			}
			t.pos += int64(len(b))
			if _, err := t.r.Discard(len(b)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
	}
}

func (t *tarReader) readBlock() error {
	n, err := io.ReadFull(t.r, t.block[:])
	t.pos += int64(n)
	if err == io.ErrUnexpectedEOF {
		return truncated(t.name, t.pos, "the middle of the tar archive")
	}
	if err == nil {
		t.raw = append(t.raw, t.block[:]...)
	}
	return err
}

// readLongName reads the content of an entry whose content is the name, or link
// target, of the entry after it. have is the one that was read before.
func (t *tarReader) readLongName(h *tarHeader, have string) (string, error) {
	if have != "" {
		return "", t.errorAt(h.pos, "two long names are given for one file")
	}
	if h.size > maxLongName {
		return "", t.errorAt(h.pos, "a name is %d bytes long, and Linux allows %d", h.size, unpack.MaxPath)
	}
	b := make([]byte, h.size+(-h.size&(blockSize-1)))
	n, err := io.ReadFull(t.r, b)
	t.pos += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return "", truncated(t.name, t.pos, "the middle of a name")
	}
	if err != nil {
		return "", err
	}
	t.raw = append(t.raw, b...)
	name := bytes.TrimRight(b[:h.size], "\x00")
	if len(name) == 0 {
		return "", t.errorAt(h.pos, "a long name is empty")
	}
	if bytes.IndexByte(name, 0) >= 0 {
		return "", t.errorAt(h.pos, "the name %q has a NUL in it", name)
	}
	return string(name), nil
}

// parseHeader reads t.block, which began at pos.
func (t *tarReader) parseHeader(pos int64) (*tarHeader, error) {
	b := t.block[:]
	expected, err := parseOctal(b[148:156])
	sum := int64(8 * ' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	if err != nil || sum != expected {
		return nil, t.errorAt(pos, "a tar header's checksum is wrong: the package is corrupt")
	}

	h := &tarHeader{pos: pos, kind: b[156], name: cString(b[:100]), link: cString(b[157:257])}
	isUstar := string(b[257:263]) == "ustar\x00"
	if isUstar && b[345] != 0 {
		h.name = cString(b[345:500]) + "/" + h.name
	}
	if isUstar || string(b[257:263]) == "ustar " {
		h.owner, h.group = cString(b[265:297]), cString(b[297:329])
	}
	var mode, uid, gid, seconds, major, minor int64
	numbers := []struct {
		value    *int64
		field    []byte
		what     string
		min, max int64
	}{
		{&mode, b[100:108], "mode", 0, 1<<32 - 1},
		{&uid, b[108:116], "owner", 0, 1<<32 - 2},
		{&gid, b[116:124], "group", 0, 1<<32 - 2},
		{&h.size, b[124:136], "size", 0, 1<<62 - 1},
		{&seconds, b[136:148], "time", -1 << 40, 1 << 40},
		{&major, b[329:337], "device", 0, 1<<32 - 1},
		{&minor, b[337:345], "device", 0, 1<<32 - 1},
	}
	if h.kind != '3' && h.kind != '4' {
		numbers = numbers[:5]
	}
	for _, n := range numbers {
		*n.value, err = parseNumber(n.field)
		if err != nil || *n.value < n.min || *n.value > n.max {
			return nil, t.errorAt(pos, "the %s of %q is not a valid number: %q", n.what, h.name, n.field)
		}
	}
	h.mode = uint32(mode) & 0o7777
	h.uid, h.gid = int(uid), int(gid)
	h.modTime = time.Unix(seconds, 0)
	h.major, h.minor = uint32(major), uint32(minor)
	return h, nil
}

// entryTypes are the kinds of entry that startContent lets through.
var entryTypes = map[byte]pkginfo.Type{
	'0': pkginfo.Regular,
	'1': pkginfo.HardLink,
	'2': pkginfo.Symlink,
	'3': pkginfo.CharDevice,
	'4': pkginfo.BlockDevice,
	'5': pkginfo.Directory,
	'6': pkginfo.FIFO,
}

// addTo adds an entry to the tree of the archive and returns it in the package
// model. It returns nil for a directory that came before: see [unpack.Tree.Add].
func (t *tarReader) addTo(tree *unpack.Tree, h *tarHeader) (*pkginfo.Entry, error) {
	entry := pkginfo.Entry{
		Type: entryTypes[h.kind], Path: h.name, Mode: h.mode, UID: h.uid, GID: h.gid,
		Size: h.size, ModTime: h.modTime, Major: h.major, Minor: h.minor,
	}
	if h.kind == '1' || h.kind == '2' {
		entry.Link = h.link
	}
	e, err := tree.Add(entry)
	if err != nil {
		return nil, t.errorAt(h.pos, "%v", err)
	}
	if e != nil { // not before: directories of one owner may call him differently
		e.Owner, e.Group = h.owner, h.group
	}
	return e, nil
}
