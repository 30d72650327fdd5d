package unpack

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// Of xz's own output every size of block and several streams are told apart.
func TestXzSingleStream(t *testing.T) {
	testneed.Programs(t, "xz")
	data := noise(1 << 20)
	for _, options := range []string{"-0", "-0 --block-size=1000", "-0 --check=none", "-0 --check=sha256", "-0 -T2 --block-size=100000"} {
		cmd := exec.Command("xz", append(strings.Fields(options), "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		stream, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		check := func(b []byte) error {
			x := &xzReader{r: bytes.NewReader(b)}
			if _, err := io.Copy(io.Discard, x); err != nil {
				t.Fatal(err)
			}
			return x.checkSingleStream()
		}
		if err := check(stream); err != nil {
			t.Errorf("%s: %v", options, err)
		}
		if check(slices.Concat(stream, stream)) == nil || check(append(bytes.Clone(stream), 0, 0, 0, 0)) == nil {
			t.Errorf("%s: two streams, or padding, pass for one", options)
		}
	}
}

// Every reader that watches for a second stream finds it wherever reads end.
func TestSecondStream(t *testing.T) {
	for _, c := range []struct {
		name string
		read func(io.Reader) io.Reader
		pack testdeb.Compression
	}{
		{"zstd", func(r io.Reader) io.Reader { return newZstdReader(r) }, testdeb.Zstd},
		{"bzip2", func(r io.Reader) io.Reader { return &bzip2Reader{r: r} }, testdeb.Bzip2},
	} {
		if c.pack == testdeb.Bzip2 {
			testneed.Programs(t, "bzip2")
		}
		one := mustCompress(t, []byte(strings.Repeat("content", 100_000)), c.pack)
		for _, piece := range []int64{1, 2, 3, 7, 100, 1 << 20} {
			read := func(b []byte) error {
				r := c.read(bytes.NewReader(b))
				for {
					if _, err := io.CopyN(io.Discard, r, piece); err == io.EOF {
						return nil
					} else if err != nil {
						return err
					}
				}
			}
			if err := read(one); err != nil {
				t.Errorf("%s in pieces of %d: %v", c.name, piece, err)
			}
			if err := read(slices.Concat(one, one)); !errors.Is(err, errStreams) {
				t.Errorf("%s twice, in pieces of %d: %v", c.name, piece, err)
			}
		}
	}
}
