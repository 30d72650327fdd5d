package unpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The readers in this file see to it that a member is one compressed stream and
// nothing else. Of xz, zstd and bzip2, dpkg reads the first stream and ignores
// what follows, while decompressors go on with the next: a member with two would
// hold different files for each of them. (gzip is joined by dpkg too.)

var errStreams = errors.New("more data follows the end of the compressed stream")

const (
	xzFooterSize = 12
	xzTailSize   = 256 << 10 // holds the index of 30,000 blocks and more
)

// xzReader passes xz data through and keeps the end of it, to check afterwards
// that it was one stream.
type xzReader struct {
	r    io.Reader
	size int64
	tail []byte // at least the last xzTailSize bytes, if there were so many
}

func (x *xzReader) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	x.size += int64(n)
	if len(x.tail)+n > 2*xzTailSize {
		x.tail = append(x.tail[:0], x.tail[max(0, len(x.tail)-xzTailSize):]...)
	}
	x.tail = append(x.tail, p[:n]...)
	return n, err
}

// checkSingleStream adds up the sizes in the index at the end, which the
// decompressor has checked if it was the only stream.
func (x *xzReader) checkSingleStream() error {
	n := len(x.tail)
	if n < 2*xzFooterSize || string(x.tail[n-2:]) != "YZ" {
		return errStreams
	}
	// xz-file-format.txt, 2.1.2: the footer has the size of the index, in units
	// of four bytes less one, after its own CRC.
	indexSize := 4 * (int64(binary.LittleEndian.Uint32(x.tail[n-8:])) + 1)
	if indexSize > xzTailSize-2*xzFooterSize {
		return fmt.Errorf("the index of the xz stream has %d bytes, more than hashpkg reads", indexSize)
	}
	if indexSize > int64(n-2*xzFooterSize) {
		return errStreams
	}
	blocks, ok := sumXzBlocks(x.tail[int64(n-xzFooterSize)-indexSize : n-xzFooterSize])
	const headerSize = 12
	if !ok || headerSize+blocks+indexSize+xzFooterSize != x.size {
		return errStreams
	}
	return nil
}

// sumXzBlocks returns the size of all blocks that an index lists
// (xz-file-format.txt, 4).
func sumXzBlocks(index []byte) (sum int64, ok bool) {
	if index[0] != 0 {
		return 0, false
	}
	rest := index[1:]
	count, n := binary.Uvarint(rest)
	if n <= 0 || count > uint64(len(rest)) {
		return 0, false
	}
	rest = rest[n:]
	for range count {
		unpadded, n := binary.Uvarint(rest)
		if n <= 0 || unpadded > 1<<50 {
			return 0, false
		}
		rest = rest[n:]
		if _, n = binary.Uvarint(rest); n <= 0 { // unpacked size
			return 0, false
		}
		rest = rest[n:]
		sum += (int64(unpadded) + 3) &^ 3
	}
	return sum, true
}

// zstdReader passes a zstd frame through and fails if anything follows it. It
// finds the end by the sizes in the headers (RFC 8878, 3.1.1).
type zstdReader struct {
	r           io.Reader
	skip        int64  // to pass through before the next header
	header      []byte // of which so much was seen
	need        int    // the length of the header that is being read
	next        func(z *zstdReader) error
	hasChecksum bool
}

func newZstdReader(r io.Reader) *zstdReader {
	return &zstdReader{r: r, need: 5, next: (*zstdReader).frameHeader}
}

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	for b := p[:n]; len(b) > 0; {
		if z.skip > 0 {
			skipped := min(z.skip, int64(len(b)))
			z.skip -= skipped
			b = b[skipped:]
			continue
		}
		if z.next == nil {
			return 0, errStreams
		}
		part := min(z.need-len(z.header), len(b))
		z.header = append(z.header, b[:part]...)
		b = b[part:]
		if len(z.header) < z.need {
			continue
		}
		if err := z.next(z); err != nil {
			return 0, err
		}
		z.header = z.header[:0]
	}
	return n, err
}

// checkEnd fails if there was no frame, or no end of it.
func (z *zstdReader) checkEnd() error {
	if z.next != nil || z.skip > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// frameHeader looks at the magic and the byte that describes the header.
func (z *zstdReader) frameHeader() error {
	if binary.LittleEndian.Uint32(z.header) != 0xfd2fb528 {
		return errors.New("it does not begin with a zstd frame")
	}
	descriptor := z.header[4]
	z.hasChecksum = descriptor&4 != 0
	isSingleSegment := descriptor&32 != 0
	z.skip = [4]int64{0, 1, 2, 4}[descriptor&3] // dictionary
	if isSingleSegment {
		z.skip += [4]int64{1, 2, 4, 8}[descriptor>>6] // size of the content
	} else {
		z.skip += 1 + [4]int64{0, 2, 4, 8}[descriptor>>6] // size of the window, and that
	}
	z.need, z.next = 3, (*zstdReader).blockHeader
	return nil
}

func (z *zstdReader) blockHeader() error {
	header := int64(z.header[0]) | int64(z.header[1])<<8 | int64(z.header[2])<<16
	z.skip = header >> 3
	if header>>1&3 == 1 { // one byte, repeated
		z.skip = 1
	}
	if isLast := header&1 != 0; isLast {
		z.next = nil
		if z.hasChecksum {
			z.skip += 4
		}
	}
	return nil
}

// bzip2Reader passes bzip2 data through and fails where a second stream begins,
// which is at a whole byte. That the ten bytes which begin one stand anywhere
// else, in compressed data, is as good as impossible.
type bzip2Reader struct {
	r    io.Reader
	seen []byte // the last bytes of what was passed on
	pos  int64
}

const bzip2Start = 10 // "BZh", a digit, and the magic of a block or of the end

func (z *bzip2Reader) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	z.seen = append(z.seen, p[:n]...)
	start := z.pos + int64(n) - int64(len(z.seen)) // where seen begins
	for i := 0; i+bzip2Start <= len(z.seen); i++ {
		j := bytes.Index(z.seen[i:], []byte("BZh"))
		if j < 0 {
			break
		}
		i += j
		if start+int64(i) > 0 && isBzip2Start(z.seen[i:]) {
			return 0, errStreams
		}
	}
	z.pos += int64(n)
	z.seen = append(z.seen[:0], z.seen[max(0, len(z.seen)-bzip2Start+1):]...)
	return n, err
}

func isBzip2Start(b []byte) bool {
	if len(b) < bzip2Start || b[3] < '1' || b[3] > '9' {
		return false
	}
	magic := string(b[4:bzip2Start])
	return magic == "1AY&SY" || magic == "\x17\x72\x45\x38\x50\x90"
}
