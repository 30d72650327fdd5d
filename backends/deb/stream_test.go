package deb_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

func noisyDeb(t testing.TB, c testdeb.Compression) []byte {
	return testdeb.Deb(t, testdeb.Package{Compression: c, ControlCompression: testdeb.Gzip, Files: []testdeb.File{{Path: "x", Content: noise(1 << 20)}}})
}

// Close ends the program that unpacks, wherever the reading has come to.
func TestCloseEndsProgram(t *testing.T) {
	testneed.Programs(t, "xz")
	for _, c := range []testdeb.Compression{testdeb.Xz, testdeb.Lzma} {
		whole := noisyDeb(t, c)
		for _, entries := range []int{0, 1, 2, 3} {
			r, err := deb.NewReader(bytes.NewReader(whole))
			if err != nil {
				t.Fatal(err)
			}
			if !hasChild(t) {
				t.Fatalf("%s is not unpacked by a program", c)
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
			if hasChild(t) {
				t.Errorf("%s, after %d entries: the program was not waited for", c, entries)
			}
			if _, err := r.Next(); err == nil || entries < 3 && err == io.EOF {
				t.Errorf("%s: Next after Close: %v", c, err)
			}
		}
	}
}

// hasChild reports whether a program was started that nobody has waited for. It
// must not end by itself.
func hasChild(t *testing.T) bool {
	t.Helper()
	_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	if err != nil && err != syscall.ECHILD {
		t.Fatal(err)
	}
	return err == nil
}

// What the program says against the data is in the error.
func TestProgramError(t *testing.T) {
	testneed.Programs(t, "xz")
	whole := noisyDeb(t, testdeb.Xz)
	whole[len(whole)/2] ^= 1
	r, err := deb.NewReader(bytes.NewReader(whole))
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

// TestMemory reads a package of half a gigabyte and watches the heap.
func TestMemory(t *testing.T) {
	const size, limit = 512 << 20, 24 << 20
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, size) }
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			huge := hugeDeb(t, c, size, zeros)
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := deb.NewReader(huge)
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
	const blockSize = 512
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
