package deb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

func noisyDeb(t testing.TB, c testdeb.Compression) []byte {
	content := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	return testdeb.Deb(t, testdeb.Package{Compression: c, ControlCompression: testdeb.Gzip, Files: []testdeb.File{{Path: "x", Content: string(content)}}})
}

// Close ends the program that unpacks, wherever the reading has come to.
func TestCloseEndsProgram(t *testing.T) {
	if xzProgram() == "" {
		t.Skip("xz is needed")
	}
	for _, c := range []testdeb.Compression{testdeb.Xz, testdeb.Lzma} {
		whole := noisyDeb(t, c)
		for _, entries := range []int{0, 1, 2, 3} {
			source := bytes.NewReader(whole)
			r, err := NewReader(source)
			if err != nil {
				t.Fatal(err)
			}
			p, ok := r.data.r.(*xzProcess)
			if !ok {
				t.Fatalf("%s is unpacked by a %T", c, r.data.r)
			}
			for range entries {
				if _, err = r.Next(); err != nil {
					break
				}
			}
			if entries == 3 && err != io.EOF {
				t.Errorf("%s: at the end: %v", c, err)
			}
			for range 2 {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			if p.cmd.ProcessState == nil {
				t.Errorf("%s, after %d entries: the program was not waited for", c, entries)
			}
			if _, err := r.Next(); err == nil || entries < 3 && err == io.EOF {
				t.Errorf("%s: Next after Close: %v", c, err)
			}
		}
	}
}

// What the program says against the data is in the error.
func TestProgramError(t *testing.T) {
	if xzProgram() == "" {
		t.Skip("xz is needed")
	}
	whole := noisyDeb(t, testdeb.Xz)
	whole[len(whole)/2] ^= 1
	r, err := NewReader(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for err == nil {
		_, err = r.Next()
	}
	if !strings.HasPrefix(err.Error(), "read data.tar.xz: the compressed data are corrupt (Compressed data is corrupt)") {
		t.Errorf("error %q", err)
	}
}

// A dictionary of gigabytes is refused, by the program and without it.
func TestLargeDictionary(t *testing.T) {
	tar, err := testdeb.Tar()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := testdeb.Compress(tar, testdeb.Lzma)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(packed[1:], 3<<30)
	members, err := testdeb.Package{Compression: testdeb.Gzip}.Members()
	if err != nil {
		t.Fatal(err)
	}
	members[2] = testdeb.Member{Name: "data.tar.lzma", Data: packed}
	whole := testdeb.Ar(members...)
	read := func() error {
		r, err := NewReader(bytes.NewReader(whole))
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.Next()
		return err
	}
	if err := read(); err == nil || err == io.EOF {
		t.Errorf("with the program: %v", err)
	}
	t.Setenv("PATH", "")
	if err := read(); err == nil || !strings.Contains(err.Error(), "dictionary of 3221225472 bytes") {
		t.Errorf("without: %v", err)
	}
}

// Of xz's own output every size of block and several streams are told apart.
func TestXzSingleStream(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("xz is needed: ", err)
	}
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	for _, options := range []string{"-0", "-0 --block-size=1000", "-0 --check=none", "-0 --check=sha256", "-0 -T2 --block-size=100000"} {
		cmd := exec.Command("xz", append(strings.Fields(options), "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		stream, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		check := func(b []byte) error {
			x := &xzReader{r: bytes.NewReader(b), size: int64(len(b))}
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
		if _, err := exec.LookPath("bzip2"); c.pack == testdeb.Bzip2 && err != nil {
			t.Skip("bzip2 is needed: ", err)
		}
		one, err := testdeb.Compress([]byte(strings.Repeat("content", 100_000)), c.pack)
		if err != nil {
			t.Fatal(err)
		}
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

// TestMemory reads a package of half a gigabyte and watches the heap.
func TestMemory(t *testing.T) {
	const size, limit = 512 << 20, 24 << 20
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, size) }
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			deb := hugeDeb(t, c, size, zeros)
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := NewReader(deb)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			peak, read := uint64(0), int64(0)
			buffer := make([]byte, 1<<20)
			for i := 0; ; i++ {
				n, err := r.Read(buffer)
				read += int64(n)
				if i%100 == 0 {
					runtime.ReadMemStats(&now)
					peak = max(peak, now.HeapAlloc)
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, err := r.Next(); err != io.EOF || read != size {
				t.Errorf("read %d bytes, then %v", read, err)
			}
			if grown := int64(peak) - int64(before.HeapAlloc); grown > limit {
				t.Errorf("the heap grew by %d MiB, want less than %d", grown>>20, limit>>20)
			} else {
				t.Logf("the heap grew by %d KiB", grown>>10)
			}
		})
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// hugeDeb is a deb with one file of size bytes, made while it is read if it is
// not compressed.
func hugeDeb(t *testing.T, c testdeb.Compression, size int64, content func() io.Reader) io.Reader {
	header, err := testdeb.Tar(testdeb.File{Path: "x", Size: size})
	if err != nil {
		t.Fatal(err)
	}
	tar := io.MultiReader(bytes.NewReader(header[:blockSize]), content(), bytes.NewReader(header[blockSize:]))
	members, err := testdeb.Package{Compression: testdeb.Gzip}.Members()
	if err != nil {
		t.Fatal(err)
	}
	members[2] = testdeb.Member{Name: "data.tar", Size: fmt.Sprint(size + int64(len(header)))}
	if c != testdeb.None {
		packed, err := testdeb.CompressFrom(tar, c)
		if err != nil {
			t.Fatal(err)
		}
		members[2] = testdeb.Member{Name: "data.tar." + string(c), Data: packed}
		tar = bytes.NewReader(nil)
	}
	return io.MultiReader(bytes.NewReader(testdeb.Ar(members...)), tar)
}
