package deb_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

func debOf(t *testing.T, files ...testdeb.File) []byte {
	t.Helper()
	return testdeb.Deb(t, testdeb.Package{NoParents: true, Files: files, Compression: testdeb.None})
}

// TestTree has trees that contradict themselves, and archives that tar or dpkg
// do not take. The judge is dpkg --unpack, whose own tar reader is stricter than
// GNU tar, which dpkg-deb calls.
func TestTree(t *testing.T) {
	testneed.Programs(t, "dpkg")
	text := func(path string) testdeb.File { return testdeb.File{Path: path, Content: "x"} }
	typed := func(kind byte) testdeb.File { return testdeb.File{Path: "a", Type: kind, Content: "x"} }
	header := func(edit func(b []byte)) testdeb.File { return testdeb.File{Path: "a", Header: edit} }
	dir, link, hard := testdeb.Dir, testdeb.Symlink, testdeb.HardLink
	const escapes = "it leaves the root, or could"

	runVerdicts(t, []verdicts{
		{name: "good", deb: debOf(t, dir("./"), dir("a"), text("a/b"), link("a/c", "b"), hard("a/d", "a/b"))},
		{name: "no directories", deb: debOf(t, dir("a"), text("a/b"))},
		{name: "directory after", deb: debOf(t, dir("a"), text("a/b"), dir("a"))},

		{name: "dots", deb: debOf(t, text("../x")), want: "leaves the root", stricter: escapes},
		{name: "dots inside", deb: debOf(t, dir("a"), text("./a/../x")), want: "leaves the root", stricter: escapes},
		{name: "dots in link target", deb: debOf(t, hard("a", "../../etc/passwd")), want: "leaves the root"},
		{name: "absolute", deb: debOf(t, text("/x"))},
		{name: "symlink out", deb: debOf(t, link("a", "../../../etc"))},
		{name: "through symlink out", deb: debOf(t, link("a", "/tmp"), text("a/b")), want: `goes through the symlink "a"`},
		{name: "through symlink", deb: debOf(t, dir("b"), link("a", "b"), text("a/b")), want: `goes through the symlink "a"`},
		{name: "through symlink, deep", deb: debOf(t, dir("b"), link("a", "b"), text("a/b/c/d")), want: `goes through the symlink "a"`},
		{name: "symlink over directory", deb: debOf(t, dir("a"), text("a/b"), link("a", "c")), want: "as a directory and as a symlink", stricter: "a file would be where its name does not say"},
		{name: "symlink over implied directory", deb: debOf(t, text("a/b"), link("a", "c")), want: "as a directory and as a symlink"},
		{name: "link to directory over it", deb: debOf(t, dir("a"), dir("b"), link("a", "b")), want: "as a directory and as a symlink", stricter: "a name stands for two things"},
		{name: "hard link through symlink", deb: debOf(t, dir("b"), text("b/c"), link("a", "b"), hard("d", "a/c")), want: "not an earlier regular file"},

		{name: "file twice", deb: debOf(t, text("a"), text("a")), want: "as a file and as a file", stricter: "a name stands for two things"},
		{name: "file in file", deb: debOf(t, text("a"), text("a/b")), want: `is in "a", which is a file`},
		{name: "file over directory", deb: debOf(t, dir("a"), text("a")), want: "as a directory and as a file", stricter: "a name stands for two things"},
		{name: "directory over file", deb: debOf(t, text("a"), dir("a")), want: "as a file and as a directory"},
		{name: "directory twice", deb: debOf(t, dir("a"), dir("a"))},
		{name: "directory twice, other mode", deb: debOf(t, dir("a"), testdeb.File{Path: "a/", Mode: 0o700}), want: "different modes", stricter: "a name stands for two things"},
		{name: "file as root", deb: debOf(t, text(".")), want: "the root is a file"},
		{name: "symlink as root", deb: debOf(t, link(".", "a")), want: "the root is a symlink", stricter: "dpkg does nothing with it"},

		{name: "hard link to nothing", deb: debOf(t, hard("a", "b")), want: "not an earlier regular file"},
		{name: "hard link to later file", deb: debOf(t, hard("a", "b"), text("b")), want: "not an earlier regular file"},
		{name: "hard link to itself", deb: debOf(t, hard("a", "a")), want: "not an earlier regular file"},
		{name: "hard link to symlink", deb: debOf(t, link("b", "c"), hard("a", "b")), want: "not an earlier regular file"},
		{name: "hard link to directory", deb: debOf(t, dir("b"), hard("a", "b")), want: "not an earlier regular file"},
		{name: "hard link to hard link", deb: debOf(t, text("a"), hard("b", "a"), hard("c", "b"))},
		{name: "hard link with size", deb: debOf(t, text("a"), testdeb.File{Path: "b", HardLink: "a", Size: 1})},

		{name: "device", deb: debOf(t, dir("usr"), testdeb.File{Path: "usr/x", Type: '3', Major: 1, Minor: 3}), want: "outside /dev", stricter: "devices are made by udev"},
		{name: "block device called dev", deb: debOf(t, testdeb.File{Path: "dev", Type: '4'}), want: "outside /dev", stricter: "devices are made by udev"},
		{name: "pipe", deb: debOf(t, testdeb.File{Path: "x", Type: '6'})},

		{name: "pax header", deb: debOf(t, typed('x'), text("b")), want: "pax header"},
		{name: "global pax header", deb: debOf(t, typed('g'), text("b")), want: "pax header"},
		{name: "sparse", deb: debOf(t, typed('S')), want: "unknown tar type"},
		{name: "contiguous", deb: debOf(t, typed('7')), want: "unknown tar type"},
		{name: "multi-volume", deb: debOf(t, typed('M')), want: "unknown tar type"},
		{name: "volume label", deb: debOf(t, typed('V')), want: "unknown tar type"},
		{name: "no type", deb: debOf(t, testdeb.File{Path: "a", Header: func(b []byte) { b[156] = 0 }})},
		{name: "type before ustar", deb: debOf(t, header(func(b []byte) { clear(b[257:]); copy(b, "./a/"); b[156] = 0 }))},

		{name: "checksum", deb: debOf(t, testdeb.File{Path: "a", BadChecksum: true}), want: "checksum is wrong"},
		{name: "no name", deb: debOf(t, header(func(b []byte) { clear(b[:100]) })), want: "no name"},
		{name: "negative size", deb: debOf(t, testdeb.File{Path: "a", Size: -5}), want: "size of"},
		{name: "size of a terabyte", deb: debOf(t, testdeb.File{Path: "a", Size: 1 << 40}), want: "ends in the middle"},
		{name: "directory with content", deb: debOf(t, testdeb.File{Path: "a/", Content: "x"}), want: "bytes of content"},
		{name: "symlink with content", deb: debOf(t, testdeb.File{Path: "a", Link: "b", Content: "x"}), want: "bytes of content"},
		{name: "mode", deb: debOf(t, header(func(b []byte) { copy(b[100:], "0zz") })), want: "mode of", stricter: "GNU tar refuses it"},
		{name: "owner", deb: debOf(t, header(func(b []byte) { copy(b[108:], "0zz") })), want: "owner of"},
		{name: "owner of spaces", deb: debOf(t, header(func(b []byte) { copy(b[108:], "        ") })), want: "owner of"},
		{name: "owner of NULs", deb: debOf(t, header(func(b []byte) { clear(b[108:116]) }))},
		{name: "time before 1970", deb: debOf(t, testdeb.File{Path: "a", Unix: -5})},
		{name: "symlink without target", deb: debOf(t, testdeb.File{Path: "a", Type: '2'}), want: "target of 0 bytes"},
		{name: "long part", deb: debOf(t, text(strings.Repeat("a", 256))), want: "more than 255 bytes"},
		{name: "long name", deb: debOf(t, text(strings.Repeat("a/", 2100)+"x")), want: "4203 bytes long"},
		{name: "very long name", deb: debOf(t, text(strings.Repeat("a/", 9000)+"x")), want: "18004 bytes long"},
		{name: "long name without file", deb: rawTarDeb(t, tarOf(t, text(strings.Repeat("a/", 60)+"x"))[:1024], make([]byte, 1024)), want: "not followed by a file", stricter: "dpkg takes it for the end"},
		{name: "no end", deb: rawTarDeb(t, tarOf(t, text("a"))[:1024])},
		{name: "half an end", deb: rawTarDeb(t, tarOf(t, text("a"))[:1024], make([]byte, 512))},
		{name: "two archives", deb: rawTarDeb(t, tarOf(t, text("a")), tarOf(t, text("b"))), want: "follows the end of the tar archive", stricter: "readers differ on whether it counts"},
		{name: "part of a block", deb: rawTarDeb(t, tarOf(t, text("a"))[:1024], make([]byte, 100)), want: "ends in the middle"},

		{name: "bin is a file", deb: debOf(t, text("bin")), want: "symlink to usr/bin", stricter: "/bin is a link"},
		{name: "bin leads elsewhere", deb: debOf(t, link("bin", "etc")), want: "symlink to usr/bin", stricter: "/bin leads to usr/bin"},
		{name: "file in bin and usr/bin", deb: debOf(t, dir("bin"), dir("usr"), dir("usr/bin"), text("bin/a"), text("usr/bin/a")), want: `"usr/bin/a" is there twice`, stricter: "the two are one on a merged system"},
	}, unpackVerdict)
}

// rawTarDeb is a deb whose data.tar is these bytes.
func rawTarDeb(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	members, err := testdeb.Package{Compression: testdeb.None}.Members()
	if err != nil {
		t.Fatal(err)
	}
	members[2].Data = nil
	for _, part := range parts {
		members[2].Data = append(members[2].Data, part...)
	}
	return testdeb.Ar(members...)
}

// Every kind of entry comes out, where it is on a system with a merged /usr.
func TestEntries(t *testing.T) {
	_, got, err := readAll(debOf(t,
		testdeb.Dir("./"),
		testdeb.Symlink("lib32", "usr/lib32"),
		testdeb.Dir("bin"), testdeb.Exec("bin/a", "a"),
		testdeb.HardLink("sbin/a", "bin/a"),
		testdeb.Dir("usr/bin"),
		testdeb.Symlink("lib64/ld.so", "/lib/ld.so"),
		testdeb.File{Path: "opt/bin/x", Content: "x"},
		testdeb.File{Path: "dev/null", Type: '3', Major: 1, Minor: 3},
		testdeb.File{Path: "dev/loop", Type: '4', Major: 7},
		testdeb.File{Path: "run/pipe", Type: '6'},
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drwxr-xr-x .",
		"lrwxrwxrwx lib32 -> usr/lib32",
		"drwxr-xr-x usr/bin",
		"-rwxr-xr-x usr/bin/a ca978112",
		"hrw-r--r-- usr/sbin/a -> usr/bin/a",
		"lrwxrwxrwx usr/lib64/ld.so -> /lib/ld.so",
		"-rw-r--r-- opt/bin/x 2d711642",
		"crw-r--r-- dev/null",
		"brw-r--r-- dev/loop",
		"prw-r--r-- run/pipe",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
