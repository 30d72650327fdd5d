package deb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// verdicts is one broken or odd deb and what is expected of it.
type verdicts struct {
	name string
	deb  []byte
	want string // part of the error; "" when it is accepted
	// stricter says why it is refused although dpkg accepts it.
	stricter string
}

func runVerdicts(t *testing.T, cases []verdicts, dpkg func(testing.TB, []byte) error) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readAll(c.deb)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && err == nil:
				t.Errorf("accepted, want an error with %q", c.want)
			case c.want != "" && !strings.Contains(err.Error(), c.want):
				t.Errorf("error %q, want one with %q", err, c.want)
			}
			if formatError := new(deb.FormatError); err != nil && !errors.As(err, &formatError) {
				t.Errorf("error %v is of type %T, want *FormatError", err, err)
			}
			dpkgErr := dpkg(t, c.deb)
			dpkgAccepts := c.want == "" || c.stricter != ""
			if dpkgAccepts != (dpkgErr == nil) {
				t.Errorf("want dpkg to accept it: %t, it says: %v", dpkgAccepts, dpkgErr)
			}
		})
	}
}

// TestContainer has the cases of dpkg's own src/at/deb-format.at, and more of
// the kind.
func TestContainer(t *testing.T) {
	testneed.Programs(t, "dpkg-deb", "tar")
	members, err := testdeb.Package{
		Compression: testdeb.None,
		Files:       []testdeb.File{{Path: "file-templ", Content: "test\n"}},
	}.Members()
	if err != nil {
		t.Fatal(err)
	}
	binary, control, data := members[0], members[1], members[2]
	unknown := testdeb.Member{Name: "unknown", Data: []byte("x")}
	ignored := testdeb.Member{Name: "_ignore", Data: []byte("x")}
	ar := testdeb.Ar
	named := func(m testdeb.Member, name string) testdeb.Member { m.Name = name; return m }
	sized := func(m testdeb.Member, size string) testdeb.Member { m.Size = size; return m }
	format := func(text string) []byte {
		return ar(testdeb.Member{Name: "debian-binary", Data: []byte(text)}, control, data)
	}
	oddData := testdeb.Member{Name: "data.tar", Data: append(bytes.Clone(data.Data), 0), NoPad: true}

	runVerdicts(t, []verdicts{
		{name: "good", deb: ar(binary, control, data)},

		{name: "empty file", deb: nil, want: "truncated"},
		{name: "other file", deb: []byte("hello\n"), want: "not a deb package"},
		{name: "old magic only", deb: []byte("0.93\n"), want: "not a deb package"},
		{name: "text mode", deb: []byte("!<arch>\r\ndebian-binary"), want: "text mode"},
		{name: "magic only", deb: []byte("!<arch>\n"), want: "truncated"},

		{name: "format 2.1", deb: format("2.1\n")},
		{name: "format 2.999", deb: format("2.999\n")},
		{name: "format 02.0", deb: format("02.0\n")},
		{name: "extra line", deb: format("2.0\nextra line\n")},
		{name: "format 3.0", deb: format("3.0\n"), want: "format version 3.0"},
		{name: "format 1.0", deb: format("1.0\n"), want: "format version 1.0"},
		{name: "no newline", deb: format("2.0"), want: "no complete line"},
		{name: "NUL before newline", deb: format("2.0\x00\n"), want: "no complete line"},
		{name: "no dot", deb: format("2\n"), want: "not a format version"},
		{name: "no minor", deb: format("2.\n"), want: "not a format version"},
		{name: "no major", deb: format(".0\n"), want: "not a format version"},
		{name: "junk after", deb: format("2.0 \n"), want: "not a format version"},
		{name: "huge minor", deb: format("2.2147483648\n"), want: "not a format version"},
		{name: "empty format", deb: format("\n"), want: "not a format version"},
		{name: "huge format", deb: format("2.0\n" + strings.Repeat("x", 5000)), want: "not the few", stricter: "no writer needs it"},

		{name: "missing debian-binary", deb: ar(control, data), want: "first member is not debian-binary"},
		{name: "missing control", deb: ar(binary, data), want: `"data.tar" is where control.tar must be`},
		{name: "missing data", deb: ar(binary, control), want: "ends in place of the header of data.tar"},
		{name: "duplicate debian-binary", deb: ar(binary, binary, control, data), want: `"debian-binary" is where control.tar must be`},
		{name: "duplicate control", deb: ar(binary, control, control, data), want: `"control.tar" is where data.tar must be`},
		{name: "duplicate control, other compression", deb: ar(binary, control, testdeb.Member{Name: "control.tar.gz", Data: compress(t, control.Data, testdeb.Gzip)}, data), want: `"control.tar.gz" is where data.tar must be`},
		{name: "duplicate data", deb: ar(binary, control, data, data)},
		{name: "unknown before control", deb: ar(binary, unknown, control, data), want: `"unknown" is where control.tar must be`},
		{name: "unknown before data", deb: ar(binary, control, unknown, data), want: `"unknown" is where data.tar must be`},
		{name: "unknown last", deb: ar(binary, control, data, unknown)},
		{name: "garbage last", deb: append(ar(binary, control, data), "garbage"...)},
		{name: "swapped", deb: ar(binary, data, control), want: `"data.tar" is where control.tar must be`},
		{name: "ignored first", deb: ar(ignored, binary, control, data), want: "first member is not debian-binary"},
		{name: "ignored", deb: ar(binary, ignored, control, ignored, data, ignored)},
		{name: "ignored, cut", deb: ar(binary, control, sized(ignored, "9999")), want: "read _ignore: it ends in the middle"},
		{name: "slash after name", deb: ar(named(binary, "debian-binary/"), named(control, "control.tar/"), named(data, "data.tar/"))},
		{name: "wrong compression", deb: ar(binary, control, named(data, "data.tar.bad")), want: "unknown compression"},
		{name: "suffix without dot", deb: ar(binary, control, named(data, "data.tarx")), want: "unknown compression"},
		{name: "two suffixes", deb: ar(binary, control, named(data, "data.tar.gz.gz")), want: "unknown compression"},
		{name: "compress", deb: ar(binary, control, named(data, "data.tar.Z")), want: "unknown compression"},
		{name: "bzip2 control", deb: ar(binary, named(control, "control.tar.bz2"), data), want: "unknown compression"},
		{name: "lzma control", deb: ar(binary, named(control, "control.tar.lzma"), data), want: "unknown compression"},
		{name: "not compressed as it says", deb: ar(binary, control, named(data, "data.tar.gz")), want: "data are corrupt", stricter: "zlib passes on what is not compressed"},
		{name: "empty data", deb: ar(binary, control, testdeb.Member{Name: "data.tar"}), want: "is empty"},
		{name: "empty control", deb: ar(binary, testdeb.Member{Name: "control.tar"}, data), want: "is empty"},

		{name: "member magic", deb: ar(binary, control, testdeb.Member{Name: "data.tar", Data: data.Data, Magic: "`x"}), want: "wrong magic"},
		{name: "negative size", deb: ar(binary, control, sized(data, "-60")), want: "not a number"},
		{name: "signed size", deb: ar(binary, control, sized(data, "+60")), want: "not a number"},
		{name: "hexadecimal size", deb: ar(binary, control, sized(data, "0x60")), want: "not a number"},
		{name: "size too large", deb: ar(binary, control, sized(data, "9999999999")), want: "ends in the middle"},
		{name: "size too small", deb: ar(binary, control, sized(data, "100")), want: "ends in the middle"},
		{name: "space before size", deb: ar(binary, control, sized(data, fmt.Sprintf("  %d", len(data.Data))))},
		{name: "text after size", deb: ar(binary, control, sized(data, fmt.Sprintf("%d x", len(data.Data))))},
		{name: "control size too small", deb: ar(binary, sized(control, "600"), data), want: "read control.tar: it ends in the middle"},
		{name: "no padding", deb: ar(binary, control, oddData), want: "pads data.tar", stricter: "newer dpkg-deb refuses it as truncated"},
	}, dpkgVerdict)
}

// TestCompression has what may go wrong inside a member.
func TestCompression(t *testing.T) {
	testneed.Programs(t, "dpkg-deb", "tar", "xz", "bzip2")
	base := testdeb.Package{Compression: testdeb.None, Files: []testdeb.File{{Path: "usr/x", Content: strings.Repeat("content ", 100)}}}
	members, err := base.Members()
	if err != nil {
		t.Fatal(err)
	}
	tar := members[2].Data
	half := len(tar) / 2 / 512 * 512
	var cases []verdicts
	for _, c := range []testdeb.Compression{testdeb.Gzip, testdeb.Xz, testdeb.Zstd, testdeb.Bzip2, testdeb.Lzma} {
		whole := compress(t, tar, c)
		add := func(name string, data []byte, want, stricter string) {
			m := slices.Clone(members)
			m[2] = testdeb.Member{Name: "data.tar." + string(c), Data: data}
			cases = append(cases, verdicts{name: string(c) + " " + name, deb: testdeb.Ar(m...), want: want, stricter: stricter})
		}
		const ambiguous = "readers differ on whether it counts"
		add("good", whole, "", "")
		add("cut", whole[:len(whole)-9], "data are corrupt", "")
		add("cut in half", whole[:len(whole)/2], "data are corrupt", "")
		add("empty stream", compress(t, nil, c), "no tar archive", "")
		add("cut tar", compress(t, tar[:half+100], c), "ends in the middle", "")
		add("garbage after", append(bytes.Clone(whole), "garbage!"...), "data are corrupt", ambiguous)
		add("zeros after", append(bytes.Clone(whole), make([]byte, 8)...), "data are corrupt", ambiguous)
		add("much garbage after", append(bytes.Clone(whole), bytes.Repeat([]byte("garbage!"), 1<<16)...), "data are corrupt", "")
		halves := append(compress(t, tar[:half], c), compress(t, tar[half:], c)...)
		twice := append(bytes.Clone(whole), whole...)
		if c == testdeb.Gzip { // dpkg joins them
			add("two streams", halves, "", "")
			add("all twice", twice, "follows the end", ambiguous)
		} else { // dpkg reads the first
			add("two streams", halves, "data are corrupt", "")
			add("all twice", twice, "read data.tar", ambiguous)
		}
		if c == testdeb.Zstd {
			add("skippable frame first", append([]byte("\x50\x2a\x4d\x18\x01\x00\x00\x00x"), whole...), "data are corrupt", "")
		}
	}
	t.Run("programs", func(t *testing.T) { runVerdicts(t, cases, dpkgVerdict) })

	// The same without the xz program.
	t.Setenv("PATH", t.TempDir())
	for _, c := range cases {
		if _, _, err := readAll(c.deb); (err == nil) != (c.want == "") {
			t.Errorf("without programs, %s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// A deb that ends anywhere before its end is refused, and said to be truncated.
func TestTruncated(t *testing.T) {
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd, testdeb.Lzma} {
		p := testdeb.Package{Compression: c, ControlCompression: testdeb.Gzip, Files: []testdeb.File{{Path: "usr/x", Content: "content"}}}
		whole := testdeb.Deb(t, p)
		step := 1
		if c == testdeb.Lzma {
			step = 7 // each starts a program
		}
		for n := 0; n < len(whole); n += step {
			_, _, err := readAll(whole[:n])
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "download it again") {
				t.Fatalf("%s, %d of %d bytes: %v", c, n, len(whole), err)
			}
		}
		if _, _, err := readAll(whole); err != nil {
			t.Errorf("%s, whole: %v", c, err)
		}
	}
}

// A byte that is not right gives an error, or changes nothing, or what dpkg-deb
// sees too. A sample is put to dpkg-deb: what it refuses is not accepted.
func TestFlippedBytes(t *testing.T) {
	testneed.Programs(t, "dpkg-deb", "tar")
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd} {
		p := testdeb.Package{
			Control:     "Package: a\nVersion: 1\nArchitecture: all\n",
			Compression: c, ControlCompression: testdeb.Gzip, NoParents: true,
			Files: []testdeb.File{{Path: "x", Content: "content"}},
		}
		whole := testdeb.Deb(t, p)
		_, want, err := readAll(whole)
		if err != nil {
			t.Fatal(err)
		}
		rangeCoder := -1
		if c == testdeb.Xz { // the first byte of a range coder's data, which only xz itself looks at
			rangeCoder = bytes.Index(whole, []byte("\xfd7zXZ")) + 12 + 12 + 6
		}
		judged := 0
		for i := range whole {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << (i % 8)
			_, got, err := readAll(flipped)
			if err != nil {
				continue
			}
			isSame := slices.Equal(got, want)
			if isSame && (i%5 != 0 || i == rangeCoder) {
				continue // most are padding, dates and owners, which nobody reads
			}
			judged++
			if err := dpkgVerdict(t, flipped); err != nil {
				t.Errorf("%s, byte %d: accepted, but %v", c, i, err)
			}
			if !isSame {
				compareBytes(t, flipped)
			}
		}
		t.Logf("%s: %d bytes, %d put to dpkg-deb", c, len(whole), judged)
	}
}

// Errors of what is read from are kept, and are no FormatError.
func TestSourceError(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd} {
		whole := testdeb.Deb(t, testdeb.Package{Compression: c, Files: []testdeb.File{{Path: "usr/x", Content: noise(100 << 10)}}})
		for _, n := range []int{4, 30, 100, 500, len(whole) - 1} {
			source := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken))
			err := readFrom(source)
			if formatError := new(deb.FormatError); !errors.Is(err, broken) || errors.As(err, &formatError) {
				t.Errorf("%s, after %d bytes: %v", c, n, err)
			}
		}
	}
}

// TestMatches sees to it that files of which the reader has something to say are
// given to it.
func TestMatches(t *testing.T) {
	whole := testdeb.Deb(t, testdeb.Package{})
	textMode := strings.ReplaceAll(string(whole), "\n", "\r\n")
	for _, c := range []struct {
		magic string
		want  bool
	}{
		{string(whole), true},
		{string(whole[:21]), true},
		{string(whole[:20]), true}, // cut off
		{string(whole[:1]), true},
		{textMode, true},
		{"0.939000\n", true},
		{"!<arch>\n/               0           ", false},
		{"\xed\xab\xee\xdb", false},
		{"", false},
	} {
		if got := (deb.Format{}).Matches([]byte(c.magic)); got != c.want {
			t.Errorf("Matches(%.30q) = %t, want %t", c.magic, got, c.want)
		}
	}
}
