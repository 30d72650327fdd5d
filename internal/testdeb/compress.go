package testdeb

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Compression is how a member is packed.
type Compression string

// The ways to pack. Bzip2 needs the bzip2 program.
const (
	None  Compression = "none"
	Gzip  Compression = "gz"
	Zstd  Compression = "zst"
	Xz    Compression = "xz"
	Lzma  Compression = "lzma"
	Bzip2 Compression = "bz2"
	Lz4   Compression = "lz4"
)

func (c Compression) suffix() string {
	if c == None {
		return ""
	}
	return "." + string(c)
}

// Compress returns data, packed.
func Compress(data []byte, c Compression) ([]byte, error) {
	if c == None {
		return data, nil
	}
	return CompressFrom(bytes.NewReader(data), c)
}

// CompressFrom returns what r has, packed.
func CompressFrom(r io.Reader, c Compression) ([]byte, error) {
	var packed bytes.Buffer
	w, err := newCompressor(&packed, c)
	if err != nil {
		return nil, fmt.Errorf("compress with %s: %w", c, err)
	}
	if _, err := io.Copy(w, r); err != nil {
		return nil, fmt.Errorf("compress with %s: %w", c, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress with %s: %w", c, err)
	}
	return packed.Bytes(), nil
}

func newCompressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	case Xz:
		return xz.WriterConfig{DictCap: 1 << 20}.NewWriter(w)
	case Lzma:
		return lzma.WriterConfig{DictCap: 1 << 20}.NewWriter(w)
	case Bzip2:
		return newBzip2(w)
	case Lz4:
		return lz4.NewWriter(w), nil
	}
	return nil, fmt.Errorf("unknown compression %q", string(c))
}

// bzip2Writer collects what the bzip2 program is then run on.
type bzip2Writer struct {
	bytes.Buffer
	w io.Writer
}

func newBzip2(w io.Writer) (io.WriteCloser, error) {
	if _, err := exec.LookPath("bzip2"); err != nil {
		return nil, err
	}
	return &bzip2Writer{w: w}, nil
}

func (b *bzip2Writer) Close() error {
	cmd := exec.Command("bzip2", "-c")
	cmd.Stdin, cmd.Stdout = &b.Buffer, b.w
	return cmd.Run()
}
