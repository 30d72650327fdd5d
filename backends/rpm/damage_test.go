package rpm_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

func file(path string) testrpm.File { return testrpm.File{Path: path, Content: "content of " + path} }

// hardLinks returns files that are one inode.
func hardLinks(paths ...string) []testrpm.File {
	var all []testrpm.File
	for _, path := range paths {
		all = append(all, testrpm.File{Path: path, Content: "one inode", Inode: 7})
	}
	return all
}

// small has a little of everything.
func small(format int, compression testdeb.Compression) testrpm.Package {
	return testrpm.Package{
		Format: format, Compression: compression, Requires: []string{"rpmlib(CompressedFileNames) <= 3.0.4-1", "libc.so.6"},
		Files: append(hardLinks("/usr/h1", "/usr/h2"), testrpm.Dir("/usr/d"), file("/usr/d/f"), testrpm.Symlink("/usr/d/l", "f"), testrpm.Ghost("/usr/g")),
	}
}

// withDribbles has values behind the region of its signature header.
func withDribbles() testrpm.Package {
	p := small(4, testdeb.None)
	p.EditSignature = func(h *testrpm.Header) {
		h.Dribble(testrpm.Value{Tag: 274, Type: 8, Count: 2, Data: []byte("0302\x000303\x00")})
		h.Dribble(testrpm.Value{Tag: 275, Type: 4, Count: 1, Data: []byte{0, 0, 0, 2}})
	}
	return p
}

// smallPackages are what the tests damage.
func smallPackages(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{
		"format 3":      testrpm.RPM(t, small(3, testdeb.Gzip)),
		"format 4":      testrpm.RPM(t, small(4, testdeb.None)),
		"format 4 zstd": testrpm.RPM(t, small(4, testdeb.Zstd)),
		"format 6":      testrpm.RPM(t, small(6, testdeb.None)),
		"format 6 xz":   testrpm.RPM(t, small(6, testdeb.Xz)),
		"dribbles":      testrpm.RPM(t, withDribbles()),
	}
	if testing.Short() { // to damage those takes a minute
		return all
	}
	for _, name := range []string{"hello-1.0-1.i386.rpm", "v6_zstd_rpm-basic-2.3.4-5.el9.noarch.rpm", "hlinktest-1.0-1.noarch.rpm"} {
		all[name] = readFile(t, filepath.Join(realPackages, name))
	}
	return all
}

func TestTruncated(t *testing.T) {
	for name, b := range smallPackages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := readAll(b); err != nil {
				t.Fatal(err)
			}
			for n := range len(b) {
				_, _, err := readAll(b[:n])
				if err == nil {
					t.Fatalf("cut off after %d of %d bytes: no error", n, len(b))
				}
				checkFormatError(t, err)
			}
			if _, _, err := readAll(append(slices.Clone(b), 0)); err == nil {
				t.Error("a byte more: no error")
			}
		})
	}
}

func checkFormatError(t testing.TB, err error) {
	t.Helper()
	var format *rpm.FormatError
	if !errors.As(err, &format) {
		t.Errorf("%T is not a FormatError: %v", err, err)
	}
	if strings.Contains(err.Error(), "\x00") || len(err.Error()) > 2000 {
		t.Errorf("an error that nobody can read: %.3000q", err)
	}
}

// TestEveryByte changes every byte of small packages, one at a time. What is read
// then must be refused, or be what it was before.
func TestEveryByte(t *testing.T) {
	for name, b := range smallPackages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, entries, err := readAll(b)
			if err != nil {
				t.Fatal(err)
			}
			want := append(entries, p.Name, p.Version, p.Architecture)
			accepted := 0
			damaged := slices.Clone(b)
			for i := range b {
				flips := []byte{0x01, 0x80, 0xff}
				if len(b) > 4000 {
					flips = flips[i%3:][:1]
				}
				for _, flip := range flips {
					damaged[i] ^= flip
					p, entries, err := readAll(damaged)
					damaged[i] = b[i]
					if err != nil {
						checkFormatError(t, err)
						continue
					}
					accepted++
					if got := append(entries, p.Name, p.Version, p.Architecture); !slices.Equal(got, want) {
						t.Fatalf("byte %d ^ %#x: accepted\n%q\nand not\n%q", i, flip, got, want)
					}
				}
			}
			t.Logf("%d bytes: %d changes make no difference", len(b), accepted)
		})
	}
}

// TestForged has packages whose digests are right and whose contents are not.
func TestForged(t *testing.T) {
	files := func(files ...testrpm.File) testrpm.Package { return testrpm.Package{Files: files} }
	edit := func(edit func(h *testrpm.Header)) testrpm.Package {
		p := small(4, testdeb.None)
		p.Edit = edit
		return p
	}
	sign := func(edit func(h *testrpm.Header)) testrpm.Package {
		p := small(4, testdeb.None)
		p.EditSignature = edit
		return p
	}
	archive := func(parts ...[]byte) testrpm.Package {
		p := testrpm.Package{Files: []testrpm.File{file("/a"), file("/b")}}
		p.Archive = bytes.Join(parts, nil)
		return p
	}
	a, b := testrpm.Cpio("./a", 0o100644, "content of /a"), testrpm.Cpio("./b", 0o100644, "content of /b")
	end := testrpm.Trailer()
	stripped := func(parts ...[]byte) testrpm.Package {
		p := archive(parts...)
		p.Format = 6
		return p
	}
	sa, sb := testrpm.StrippedCpio(0, "content of /a"), testrpm.StrippedCpio(1, "content of /b")
	device := func(path string) testrpm.File {
		return testrpm.File{Path: path, Mode: testrpm.TypeChar | 0o600, Rdev: 0x103}
	}

	for _, test := range []struct {
		name string
		p    testrpm.Package
		want string // in the error, or "" for none
	}{
		{"good", small(4, testdeb.None), ""},
		{"good archive", archive(a, b, end), ""},
		{"good stripped archive", stripped(sa, sb, end), ""},
		{"other order", archive(b, a, end), ""},
		{"mixed archive", archive(a, sb, end), ""},
		{"padded archive", archive(a, b, end, make([]byte, 100)), ""},
		{"names without a prefix", archive(testrpm.Cpio("a", 0o100644, "content of /a"), testrpm.Cpio("/b", 0o100644, "content of /b"), end), ""},

		// Names.
		{"dots", files(file("/../x")), "leaves the root"},
		{"dots inside", files(file("/a/../../x")), "leaves the root"},
		{"not absolute", files(file("x/y")), "not absolute"},
		{"no name", files(file("/a/")), "has no name"},
		{"root directory", files(testrpm.Dir("/")), ""},
		{"root", files(file("/")), "root is a file"},
		{"long part", files(file("/" + strings.Repeat("x", 256))), "more than 255 bytes"},
		{"long name", files(file("/" + strings.Repeat("x/", 2100) + "x")), "fixed limits of hashpkg"},
		{"slash in base name", edit(func(h *testrpm.Header) { h.StringArray(1117, "h1", "h2", "d", "x/y", "l", "g") }), "slash in it"},
		{"ghost with dots", files(testrpm.Ghost("/a/../../x")), "leaves the root"},
		{"file twice", files(file("/a"), file("/a")), `"/a" is there twice`},
		{"file twice, merged", files(file("/bin/a"), file("/usr/bin/a")), "there twice, as a file and as a file"},
		{"file and directory", files(file("/a"), testrpm.Dir("/a")), "is there twice"},
		{"file in file", files(file("/a"), file("/a/b")), "which is a file"},
		{"ghost and file", files(testrpm.Ghost("/a"), file("/a")), "is there twice"},
		{"through symlink", files(testrpm.Symlink("/a", "/etc"), file("/a/passwd")), "a"},
		{"through symlink, before", files(file("/a/passwd"), testrpm.Symlink("/a", "/etc")), "as a directory and as a symlink"},
		{"symlink out", files(testrpm.Symlink("/usr/a", "../../../etc")), ""},
		{"symlink to nothing", files(testrpm.Symlink("/a", "")), "target of 0 bytes"},
		{"merged directories", files(testrpm.Dir("/lib64"), testrpm.Dir("/usr/lib64"), file("/lib64/a")), ""},
		{"device", files(device("/dev/null")), ""},
		{"device elsewhere", files(device("/usr/null")), "outside /dev"},
		{"socket", files(testrpm.File{Path: "/a", Mode: 0o140644}), "unknown type"},

		// Hard links.
		{"hard links", files(hardLinks("/a", "/b", "/c")...), ""},
		{"hard links that differ", files(append(hardLinks("/a"), testrpm.File{Path: "/b", Content: "one_inode", Inode: 7})...), "differ"},
		{"hard links of other sizes", files(append(hardLinks("/a"), testrpm.File{Path: "/b", Content: "more", Inode: 7})...), "differ"},
		{"hard link to directory", files(append([]testrpm.File{{Path: "/b", Mode: testrpm.TypeDir | 0o755, Inode: 7}}, hardLinks("/a")...)...), ""},
		{"first hard link missing", files(append([]testrpm.File{{Path: "/x", Content: "one inode", Inode: 7, NotInPayload: true}}, hardLinks("/a", "/b")...)...), "and should have 0"},
		{"last hard link missing", files(append(hardLinks("/a"), testrpm.File{Path: "/x", Content: "one inode", Inode: 7, NotInPayload: true})...), "and should have 0"},

		// Payload against header.
		{"file missing", archive(a, end), `"/b" of the header is not in the payload`},
		{"no file", archive(end), "not in the payload"},
		{"file too many", archive(a, b, testrpm.Cpio("./c", 0o100644, ""), end), "not in the header"},
		{"file not in header", files(file("/a"), testrpm.File{Path: "/b", NotInHeader: true}), "not in the header"},
		{"file twice in payload", archive(a, b, a, end), "there twice"},
		{"stripped twice", stripped(sa, sb, sa, end), "there twice"},
		{"stripped out of range", stripped(sa, sb, testrpm.StrippedCpio(2, ""), end), "file number 2 is not in the header"},
		{"stripped far out of range", stripped(sa, sb, testrpm.StrippedCpio(0xffffffff, ""), end), "not in the header"},
		{"other content", archive(testrpm.Cpio("./a", 0o100644, "Content of /a"), b, end), "sha256 digest"},
		{"other stripped content", stripped(testrpm.StrippedCpio(0, "Content of /a"), sb, end), "sha256 digest"},
		{"shorter file", archive(testrpm.Cpio("./a", 0o100644, "content"), b, end), "7 bytes in the payload"},
		{"longer file", archive(testrpm.Cpio("./a", 0o100644, "content of /a, and more"), b, end), "23 bytes in the payload"},
		{"size of 4 GiB", archive(testrpm.CpioHeader("./a", 0o100644, 0xffffffff, "x"), b, end), "4294967295 bytes in the payload"},
		{"directory with content", files(testrpm.File{Path: "/a", Mode: testrpm.TypeDir | 0o755, Content: "x"}), "and should have 0"},
		{"no trailer", archive(a, b), "ends in the middle"},
		{"trailer with content", archive(a, b, testrpm.Cpio("TRAILER!!!", 0, "x")), "trailer has content"},
		{"after trailer", archive(a, b, end, a), "more data follows"},
		{"long padding", archive(a, b, end, make([]byte, 600)), "more data follows"},
		{"no archive", archive([]byte("07")), "ends in the middle"},
		{"absolute name in payload", archive(a, b, testrpm.Cpio("/etc/passwd", 0o100644, ""), end), "not in the header"},
		{"dots in payload", archive(a, b, testrpm.Cpio("./../a", 0o100644, ""), end), "not in the header"},
		{"long name in payload", archive(a, b, testrpm.Cpio(strings.Repeat("x", 5000), 0o100644, ""), end), "5001 bytes long"},
		{"magic", archive(a, append([]byte("070707"), b[6:]...), end), "wrong magic"},
		{"number", archive(a, bytes.Replace(b, []byte("6553f100"), []byte("6553f1-0"), 1), end), "is there for a number"},
		{"ghost in payload", files(testrpm.File{Path: "/a", Flags: testrpm.FlagGhost, Content: "x"}, file("/b")), ""},

		// Header.
		{"symlink elsewhere", edit(func(h *testrpm.Header) { h.StringArray(1036, "", "", "", "", "x", "") }), `leads to "f" in the payload, and to "x"`},
		{"sizes", edit(func(h *testrpm.Header) { h.Uint32s(1028, 9, 9, 0, 999, 1, 0) }), "and should have 999"},
		{"sizes twice", edit(func(h *testrpm.Header) { h.Uint64s(5008, 9, 9, 0, 18, 1, 0) }), "once more"},
		{"too few sizes", edit(func(h *testrpm.Header) { h.Uint32s(1028, 9) }), "tag 1028 has 1 values"},
		{"too few digests", edit(func(h *testrpm.Header) { h.StringArray(1035, "") }), "tag 1035 has 1 values"},
		{"no modes", edit(func(h *testrpm.Header) { h.Delete(1030) }), "does not say all"},
		{"no names", edit(func(h *testrpm.Header) { h.Delete(1117) }), "files without names"},
		{"no directories", edit(func(h *testrpm.Header) { h.Delete(1118) }), "no directories"},
		{"directory out of range", edit(func(h *testrpm.Header) { h.Uint32s(1116, 0, 0, 0, 9, 0, 0) }), "directory 9 of"},
		{"names twice", edit(func(h *testrpm.Header) { h.StringArray(1027, "/a") }), "names twice"},
		{"no digest", edit(func(h *testrpm.Header) { h.StringArray(1035, "", "", "", "", "", "") }), "is none of sha256"},
		{"digest algorithm", edit(func(h *testrpm.Header) { h.Uint32s(5011, 99) }), "unknown algorithm 99"},
		{"digest of another algorithm", edit(func(h *testrpm.Header) { h.Uint32s(5011, 1) }), "is none of md5"},
		{"numbers as strings", edit(func(h *testrpm.Header) { h.StringArray(1028, "9", "9", "0", "18", "1", "0") }), "of type 8"},
		{"name as number", edit(func(h *testrpm.Header) { h.Uint32s(1000, 1) }), "of type 4"},
		{"count of 4 Gi", edit(func(h *testrpm.Header) { h.Get(1028).Count = 0xffffffff }), "does not fit"},
		{"count of strings of 4 Gi", edit(func(h *testrpm.Header) { h.Get(1117).Count = 0xffffffff }), "4294967295 strings"},
		{"count of strings", edit(func(h *testrpm.Header) { h.Get(1117).Count = 1000 }), "does not end"},
		{"no values", edit(func(h *testrpm.Header) { h.Get(1028).Count = 0 }), "is empty"},
		{"type", edit(func(h *testrpm.Header) { h.Get(1000).Type = 10 }), "unknown type 10"},
		{"tag twice", edit(func(h *testrpm.Header) { h.Append(*h.Get(1000)) }), "tag 1000 is there twice"},
		{"region inside", edit(func(h *testrpm.Header) { h.Bytes(63, make([]byte, 16)) }), "tag 63"},
		{"source package", edit(func(h *testrpm.Header) { h.Delete(1044) }), "source package"},
		{"source package, new", edit(func(h *testrpm.Header) { h.Uint32s(1106, 1) }), "source package"},
		{"delta package", edit(func(h *testrpm.Header) { h.Strings(1124, "drpm") }), "only whole packages"},
		{"format 7", edit(func(h *testrpm.Header) { h.Uint32s(5114, 7) }), "it has format 7"},
		{"compression", edit(func(h *testrpm.Header) { h.Strings(1125, "lz77") }), `unknown compression "lz77"`},
		{"wrong compression", edit(func(h *testrpm.Header) { h.Strings(1125, "zstd") }), "corrupt"},
		{"empty name", edit(func(h *testrpm.Header) { h.Strings(1000, "") }), "name of the package is missing"},
		{"name with slash", edit(func(h *testrpm.Header) { h.Strings(1000, "a/b") }), "rpm does not allow"},
		{"name of dots", edit(func(h *testrpm.Header) { h.Strings(1000, "..") }), "rpm does not allow"},
		{"version with slash", edit(func(h *testrpm.Header) { h.Strings(1001, "1/2") }), "rpm does not allow"},
		{"version with dash", edit(func(h *testrpm.Header) { h.Strings(1001, "1-2") }), "rpm does not allow"},
		{"long name of package", edit(func(h *testrpm.Header) { h.Strings(1000, strings.Repeat("a", 300)) }), "300 bytes long"},
		{"no release", edit(func(h *testrpm.Header) { h.Delete(1002) }), "release of the package is missing"},
		{"feature", testrpm.Package{Requires: []string{"rpmlib(PayloadAlignment) <= 6.2.0-1"}}, "rpmlib(PayloadAlignment) <= 6.2.0-1, which hashpkg does not have"},
		{"feature of later", testrpm.Package{Requires: []string{"rpmlib(FileCaps) >= 9"}}, "does not have"},
		{"capability", files(testrpm.File{Path: "/a", Caps: "cap_of_all=ep"}), "not a known capability"},
		{"trigger index", edit(func(h *testrpm.Header) {
			h.StringArray(1065, "x")
			h.StringArray(1066, "y")
			h.StringArray(1067, "")
			h.Uint32s(1068, 0)
			h.Uint32s(1069, 5)
		}), "script that is not there"},

		// Digests and sizes of the whole.
		{"payload digest", edit(func(h *testrpm.Header) { h.StringArray(5092, strings.Repeat("00", 32)) }), "SHA-256 digest of the payload"},
		{"payload digest alt", edit(func(h *testrpm.Header) { h.Delete(5092); h.StringArray(5097, strings.Repeat("00", 32)) }), "digest of the unpacked payload"},
		{"payload digest of nothing", edit(func(h *testrpm.Header) { h.StringArray(5092, "xy") }), "is not a SHA-256 digest"},
		{"header digest", sign(func(h *testrpm.Header) { h.Strings(273, strings.Repeat("00", 32)) }), "SHA-256 digest of the header"},
		{"header digest sha1", sign(func(h *testrpm.Header) { h.Strings(269, strings.Repeat("00", 20)) }), "SHA-1 digest of the header"},
		{"md5", sign(func(h *testrpm.Header) { h.Bytes(1004, make([]byte, 16)) }), "MD5 digest"},
		{"md5 of another length", sign(func(h *testrpm.Header) { h.Bytes(1004, make([]byte, 2)) }), "MD5 digest"},
		{"size of the package", sign(func(h *testrpm.Header) { h.Uint32s(1000, 100000) }), "ends in the middle"},
		{"smaller size of the package", sign(func(h *testrpm.Header) { h.Get(1000).Data[3] -= 8 }), "more than the"},
		{"size in the header", sign(func(h *testrpm.Header) { h.Uint32s(1000, 30) }), "ends in the header"},
		{"long size", sign(func(h *testrpm.Header) { h.Uint64s(270, 1<<63) }), "has the size"},
		{"size of the archive", sign(func(h *testrpm.Header) { h.Uint32s(1007, 10) }), "more than the 10 bytes"},
		{"larger size of the archive", sign(func(h *testrpm.Header) { h.Uint32s(1007, 100000) }), "should have 100000"},
		{"no digest of the header", sign(func(h *testrpm.Header) { h.Delete(1004); h.Delete(269); h.Delete(273) }), "no digest covers"},
		{"no digest of the payload", testrpm.Package{
			Edit:          func(h *testrpm.Header) { h.Delete(5092) },
			EditSignature: func(h *testrpm.Header) { h.Delete(1004) },
		}, "no digest covers"},
		{"md5 only", testrpm.Package{
			Edit:          func(h *testrpm.Header) { h.Delete(5092); h.Delete(5097) },
			EditSignature: func(h *testrpm.Header) { h.Delete(269); h.Delete(273) },
		}, ""},
		{"format 6 with old tags", testrpm.Package{Format: 6, EditSignature: func(h *testrpm.Header) { h.Uint32s(1000, 1) }}, ""},
		{"format 6 with old tags, without reserve", testrpm.Package{Format: 6, EditSignature: func(h *testrpm.Header) { h.Delete(999); h.Uint32s(1000, 1) }}, "ends in the header"},
		{"format 6 without digests", testrpm.Package{Format: 6, EditSignature: func(h *testrpm.Header) { h.Delete(279) }}, "no digests"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := readAll(testrpm.RPM(t, test.p))
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && err == nil:
				t.Errorf("no error, want %q", test.want)
			case test.want != "" && !strings.Contains(err.Error(), test.want):
				t.Errorf("%v, want %q", err, test.want)
			}
			if err != nil {
				checkFormatError(t, err)
			}
		})
	}
}

// TestStreams has payloads that are more than one compressed stream.
func TestStreams(t *testing.T) {
	for _, c := range []testdeb.Compression{testdeb.Xz, testdeb.Zstd, testdeb.Bzip2, testdeb.Lzma} {
		t.Run(string(c), func(t *testing.T) {
			if c == testdeb.Bzip2 {
				testneed.Programs(t, "bzip2")
			}
			p := small(4, c)
			more, err := testdeb.Compress(testrpm.Trailer(), c)
			if err != nil {
				t.Fatal(err)
			}
			p.EditPayload = func(b []byte) []byte { return append(b, more...) }
			_, _, err = readAll(testrpm.RPM(t, p))
			if err == nil {
				t.Fatal("no error")
			}
			checkFormatError(t, err)
		})
	}
}

func TestNotRPM(t *testing.T) {
	for name, b := range map[string][]byte{"empty": nil, "text": []byte("hello"), "deb": []byte("!<arch>\ndebian-binary")} {
		_, err := rpm.NewReader(bytes.NewReader(b), nil)
		if want := name != "empty"; errors.Is(err, rpm.ErrNotRPM) != want {
			t.Errorf("%s: %v", name, err)
		}
		if (rpm.Format{}).Matches(b) {
			t.Errorf("%s is an rpm", name)
		}
	}
	b := testrpm.RPM(t, testrpm.Package{})
	if !(rpm.Format{}).Matches(b[:4]) {
		t.Error("an rpm is none")
	}
	for _, lead := range []struct {
		offset int
		value  byte
		want   string
	}{{4, 2, "format 2"}, {4, 5, "unknown format 5"}, {7, 1, "source package"}, {7, 2, "unknown type 2"}, {79, 4, "type 4"}} {
		damaged := slices.Clone(b)
		damaged[lead.offset] = lead.value
		if _, err := rpm.NewReader(bytes.NewReader(damaged), nil); err == nil || !strings.Contains(err.Error(), lead.want) {
			t.Errorf("%v, want %q", err, lead.want)
		}
	}
}

type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// TestReadErrors has sources that fail at each byte: their error comes through.
func TestReadErrors(t *testing.T) {
	cause := errors.New("the disk is on fire")
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Xz, testdeb.Zstd} {
		b := testrpm.RPM(t, small(4, c))
		for n := range len(b) {
			r, err := rpm.NewReader(&failingReader{bytes.NewReader(b[:n]), cause}, nil)
			for err == nil {
				_, err = r.Next()
			}
			if !errors.Is(err, cause) {
				t.Fatalf("%s, byte %d: %v", c, n, err)
			}
			if r != nil {
				r.Close()
			}
		}
	}
}
