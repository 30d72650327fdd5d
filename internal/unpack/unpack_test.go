package unpack_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

var compressions = []struct {
	c    unpack.Compression
	pack testdeb.Compression
}{
	{unpack.None, testdeb.None},
	{unpack.Gzip, testdeb.Gzip},
	{unpack.Xz, testdeb.Xz},
	{unpack.Zstd, testdeb.Zstd},
	{unpack.Bzip2, testdeb.Bzip2},
	{unpack.Lzma, testdeb.Lzma},
}

func compress(t *testing.T, data []byte, c testdeb.Compression) []byte {
	t.Helper()
	if _, err := exec.LookPath("bzip2"); err != nil && c == testdeb.Bzip2 {
		t.Skip("needed to pack: ", err)
	}
	b, err := testdeb.Compress(data, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStream unpacks data of every compression, with and without programs, and what
// is damaged, cut off, followed by more, or cannot be read.
func TestStream(t *testing.T) {
	noise := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for _, c := range compressions {
		for name, size := range map[string]int{"small": 100, "large": len(noise)} {
			t.Run(string(c.pack)+" "+name, func(t *testing.T) {
				data := noise[:size]
				packed := compress(t, data, c.pack)
				read := func(r io.Reader, size int64) ([]byte, error) {
					s, err := unpack.NewStream(r, c.c, size)
					if err != nil {
						return nil, err
					}
					defer s.Close()
					return io.ReadAll(s)
				}
				for _, hint := range []int64{int64(len(packed)), -1} {
					if got, err := read(bytes.NewReader(packed), hint); err != nil || !bytes.Equal(got, data) {
						t.Fatalf("%d bytes, %v, want %d", len(got), err, len(data))
					}
				}
				cause := errors.New("the disk is on fire")
				failing := io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), errorReader{cause})
				if _, err := read(failing, int64(len(packed))); !errors.Is(err, cause) {
					t.Errorf("%v, want %v", err, cause)
				}
				if c.c == unpack.None {
					return
				}
				broken := map[string][]byte{
					"cut off":   packed[:len(packed)-9],
					"empty":     nil,
					"one more":  append(slices.Clone(packed), 'x'),
					"zero more": append(slices.Clone(packed), 0),
				}
				if c.c != unpack.Gzip {
					broken["twice"] = append(slices.Clone(packed), packed...)
				}
				for what, b := range broken {
					_, err := read(bytes.NewReader(b), int64(len(b)))
					var corrupt *unpack.CorruptError
					if !errors.As(err, &corrupt) {
						t.Errorf("%s: %v", what, err)
					}
				}
			})
		}
	}
	if _, err := unpack.NewStream(strings.NewReader("x"), "lz77", 1); err == nil {
		t.Error("an unknown compression is known")
	}
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

func TestTree(t *testing.T) {
	tree := unpack.NewTree(true)
	for _, test := range []struct {
		e    pkginfo.Entry
		want string // the path, "error", or "" for a directory that came before
	}{
		{pkginfo.Entry{Path: "/lib64", Type: pkginfo.Directory, Mode: 0o755, Owner: "root"}, "usr/lib64"},
		{pkginfo.Entry{Path: "./usr/lib64/", Type: pkginfo.Directory, Mode: 0o755, Owner: "root"}, ""},
		{pkginfo.Entry{Path: "usr/lib64", Type: pkginfo.Directory, Mode: 0o700, Owner: "root"}, "error"},
		{pkginfo.Entry{Path: "usr/lib64", Type: pkginfo.Directory, Mode: 0o755, Owner: "bin"}, "error"},
		{pkginfo.Entry{Path: "/lib64/a"}, "usr/lib64/a"},
		{pkginfo.Entry{Path: "usr/lib64/a"}, "error"},
		{pkginfo.Entry{Path: "b", Type: pkginfo.HardLink, Link: "/lib64/a"}, "b"},
		{pkginfo.Entry{Path: "c", Type: pkginfo.HardLink, Link: "d"}, "error"},
		{pkginfo.Entry{Path: "l", Type: pkginfo.Symlink, Link: "/etc"}, "l"},
		{pkginfo.Entry{Path: "l/passwd"}, "error"},
		{pkginfo.Entry{Path: "m", Type: pkginfo.Symlink, Link: "x\x00y"}, "error"},
		{pkginfo.Entry{Path: "../x"}, "error"},
		{pkginfo.Entry{Path: "n", Type: pkginfo.CharDevice}, "error"},
		{pkginfo.Entry{Path: "dev/n", Type: pkginfo.CharDevice}, "dev/n"},
	} {
		e, err := tree.Add(test.e)
		switch {
		case test.want == "error":
			if err == nil {
				t.Errorf("%+v: no error", test.e)
			}
		case err != nil:
			t.Errorf("%+v: %v", test.e, err)
		case test.want == "" && e != nil, test.want != "" && (e == nil || e.Path != test.want):
			t.Errorf("%+v: %+v, want %q", test.e, e, test.want)
		}
	}
}
