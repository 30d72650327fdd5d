package unpack_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
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
	{unpack.Lz4, testdeb.Lz4},
}

func compress(t *testing.T, data []byte, c testdeb.Compression) []byte {
	t.Helper()
	if c == testdeb.Bzip2 {
		testneed.Programs(t, "bzip2")
	}
	b, err := testdeb.Compress(data, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestJoinedStream has two streams for one, and what follows them that is none, and an
// end that is cut off.
func TestJoinedStream(t *testing.T) {
	data := []byte(strings.Repeat("content\n", 50_000))
	for _, c := range compressions {
		if c.c == unpack.None || c.c == unpack.Lzma || c.c == unpack.Lz4 {
			continue
		}
		for _, path := range []string{os.Getenv("PATH"), ""} {
			t.Run(string(c.pack)+" "+path, func(t *testing.T) {
				one := compress(t, data, c.pack)
				t.Setenv("PATH", path) // without it there is no xz
				read := func(b []byte) ([]byte, error) {
					s, err := unpack.NewJoinedStream(bytes.NewReader(b), c.c, -1)
					if err != nil {
						return nil, err
					}
					defer s.Close()
					return io.ReadAll(s)
				}
				if got, err := read(slices.Concat(one, one)); err != nil || !bytes.Equal(got, slices.Concat(data, data)) {
					t.Errorf("%d bytes of two streams, %v", len(got), err)
				}
				if _, err := read(slices.Concat(one, []byte("more"))); err == nil {
					t.Error("what is no stream is passed over")
				}
				for _, cut := range []int{1, 10, len(one) / 2} {
					if _, err := read(slices.Concat(one, one[:len(one)-cut])); err == nil {
						t.Errorf("%d bytes of the second stream are missing, and it is taken for a whole one", cut)
					}
				}
			})
		}
	}
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

// TestStreamLz4 unpacks what the lz4 program makes with each choice that the header
// of a frame can tell of, apt's own (blocks of 64 KiB that depend on each other)
// among them. Its older format and skippable frames are refused.
func TestStreamLz4(t *testing.T) {
	testneed.Programs(t, "lz4")
	data := make([]byte, 9<<20) // longer than two of the largest blocks
	rand.NewChaCha8([32]byte{1}).Read(data[4<<20:])
	for i := range data[:4<<20] {
		data[i] = byte(i>>4) & 15
	}
	for _, options := range []string{"-4BD", "-9 -BD -B4", "-B7", "-BX -B5", "--content-size", "--no-frame-crc", "-BD -BX --content-size --no-frame-crc", "-l"} {
		cmd := exec.Command("lz4", append(strings.Fields(options), "-c")...)
		if strings.Contains(options, "content-size") { // of a file only
			name := filepath.Join(t.TempDir(), "data")
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
			cmd.Args = append(cmd.Args, name)
		} else {
			cmd.Stdin = bytes.NewReader(data)
		}
		packed, err := cmd.Output()
		if err != nil {
			t.Fatalf("lz4 %s: %v", options, err)
		}
		read := func(b []byte) ([]byte, error) {
			s, err := unpack.NewStream(bytes.NewReader(b), unpack.Lz4, -1)
			if err != nil {
				return nil, err
			}
			defer s.Close()
			return io.ReadAll(s)
		}
		var corrupt *unpack.CorruptError
		if got, err := read(packed); options == "-l" {
			if !errors.As(err, &corrupt) {
				t.Errorf("lz4 %s: %v", options, err)
			}
			continue
		} else if err != nil || !bytes.Equal(got, data) {
			t.Errorf("lz4 %s: %d bytes, %v", options, len(got), err)
		}
		skippable := append([]byte("\x50\x2a\x4d\x18\x01\x00\x00\x00x"), packed...)
		flipped := slices.Clone(packed)
		flipped[len(flipped)/2] ^= 1
		for what, b := range map[string][]byte{"skippable": skippable, "twice": append(slices.Clone(packed), packed...), "without its end": packed[:len(packed)-4]} {
			if _, err := read(b); !errors.As(err, &corrupt) {
				t.Errorf("lz4 %s, %s: %v", options, what, err)
			}
		}
		if _, err := read(flipped); !strings.Contains(options, "no-frame-crc") && !errors.As(err, &corrupt) {
			t.Errorf("lz4 %s, flipped: %v", options, err)
		}
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
