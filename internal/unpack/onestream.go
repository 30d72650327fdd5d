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

// frameReader passes a zstd or lz4 frame through and fails if anything follows it.
// It finds the end by the sizes in the headers.
type frameReader struct {
	r      io.Reader
	skip   int64  // to pass through before the next header
	header []byte // of which so much was seen
	need   int    // the length of the header that is being read
	next   func(f *frameReader) error
}

func (f *frameReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	for b := p[:n]; len(b) > 0; {
		if f.skip > 0 {
			skipped := min(f.skip, int64(len(b)))
			f.skip -= skipped
			b = b[skipped:]
			continue
		}
		if f.next == nil {
			return 0, errStreams
		}
		part := min(f.need-len(f.header), len(b))
		f.header = append(f.header, b[:part]...)
		b = b[part:]
		if len(f.header) < f.need {
			continue
		}
		if err := f.next(f); err != nil {
			return 0, err
		}
		f.header = f.header[:0]
	}
	return n, err
}

// checkEnd fails if there was no frame, or no end of it.
func (f *frameReader) checkEnd() error {
	if f.next != nil || f.skip > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// newZstdReader passes a zstd frame through (RFC 8878, 3.1.1).
func newZstdReader(r io.Reader) *frameReader {
	return &frameReader{r: r, need: 5, next: zstdFrameHeader}
}

// zstdFrameHeader looks at the magic and the byte that describes the header.
func zstdFrameHeader(f *frameReader) error {
	if binary.LittleEndian.Uint32(f.header) != 0xfd2fb528 {
		return errors.New("it does not begin with a zstd frame")
	}
	descriptor := f.header[4]
	hasChecksum := descriptor&4 != 0
	isSingleSegment := descriptor&32 != 0
	f.skip = [4]int64{0, 1, 2, 4}[descriptor&3] // dictionary
	if isSingleSegment {
		f.skip += [4]int64{1, 2, 4, 8}[descriptor>>6] // size of the content
	} else {
		f.skip += 1 + [4]int64{0, 2, 4, 8}[descriptor>>6] // size of the window, and that
	}
	f.need, f.next = 3, func(f *frameReader) error {
		header := int64(f.header[0]) | int64(f.header[1])<<8 | int64(f.header[2])<<16
		f.skip = header >> 3
		if header>>1&3 == 1 { // one byte, repeated
			f.skip = 1
		}
		if isLast := header&1 != 0; isLast {
			f.next = nil
			if hasChecksum {
				f.skip += 4
			}
		}
		return nil
	}
	return nil
}

// newLz4Reader passes an lz4 frame through (lz4_Frame_format.md, version 1.6.4).
func newLz4Reader(r io.Reader) *frameReader {
	return &frameReader{r: r, need: 5, next: lz4FrameHeader}
}

// lz4FrameHeader looks at the magic and the byte of flags.
func lz4FrameHeader(f *frameReader) error {
	if binary.LittleEndian.Uint32(f.header) != 0x184d2204 {
		return errors.New("it does not begin with an lz4 frame")
	}
	flags := f.header[4]
	f.skip = 2             // size of blocks, checksum of the header
	if flags&(1<<3) != 0 { // size of the content
		f.skip += 8
	}
	if flags&(1<<0) != 0 { // dictionary
		f.skip += 4
	}
	f.need, f.next = 4, func(f *frameReader) error {
		header := binary.LittleEndian.Uint32(f.header)
		if header == 0 { // the end
			f.next = nil
			if flags&(1<<2) != 0 { // checksum of the content
				f.skip = 4
			}
			return nil
		}
		f.skip = int64(header &^ (1 << 31)) // which says that the block is not compressed
		if flags&(1<<4) != 0 {              // checksum of the block
			f.skip += 4
		}
		return nil
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
