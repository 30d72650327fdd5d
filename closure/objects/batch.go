package objects

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/digest"
)

// A batch is many files by one request: the digests are sent by POST to the directory of the objects, one a
// line, and the answer is a tar archive, compressed by zstd, of those files that the server has, in the
// order in which they were asked for. Each is a regular file that is called by its digest.

// The types of what is asked and answered, and how many files one request may ask for.
const (
	ListType  = "text/plain; charset=utf-8"
	BatchType = "application/x-tar+zstd"
	MaxBatch  = 4096
)

// maxWindow bounds what the sender of a batch can have its reader allocate.
const maxWindow = 8 << 20

// EncodeList returns what asks for files.
func EncodeList(wants []Want) []byte {
	var b bytes.Buffer
	for _, w := range wants {
		b.WriteString(w.BLAKE3.String())
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// DecodeList reads what asks for files.
func DecodeList(b []byte) ([]digest.Digest, error) {
	var out []digest.Digest
	for line := range bytes.Lines(b) {
		d, err := digest.Parse(string(bytes.TrimSuffix(line, []byte("\n"))))
		if err != nil {
			return nil, err
		}
		if len(out) == MaxBatch {
			return nil, fmt.Errorf("it asks for more than %d files", MaxBatch)
		}
		out = append(out, d)
	}
	return out, nil
}

// readBatch calls take with each file of an answer. That the archive has anything but what was asked for, in
// this order, is an [ErrWrong].
func readBatch(r io.Reader, wants []Want, take func(Want, io.Reader) error) (err error) {
	limit := int64(1 << 20)
	places := make(map[string]int, len(wants))
	for i, w := range wants {
		limit += w.Size + 2<<10 // its header, and what fills its last block
		places[w.BLAKE3.String()] = i
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	bounded := &io.LimitedReader{R: z, N: limit}
	archive := tar.NewReader(bounded)
	defer func() {
		if bounded.N <= 0 {
			err = fmt.Errorf("its answer has more than what was asked for: %w", ErrWrong)
		}
	}()
	next := 0
	for {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			_, err := io.Copy(io.Discard, bounded)
			return err
		case errors.Is(err, tar.ErrHeader):
			return fmt.Errorf("its answer is no archive: %w", ErrWrong)
		case err != nil:
			return err
		}
		i, asked := places[h.Name]
		if !asked || i < next || h.Typeflag != tar.TypeReg || h.Size != wants[i].Size {
			return fmt.Errorf("its answer has a file that was not asked for: %w", ErrWrong)
		}
		next = i + 1
		if err := take(wants[i], archive); err != nil {
			return err
		}
	}
}
