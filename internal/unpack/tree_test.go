package unpack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/pkginfo"
)

func dirAt(path string) pkginfo.Entry {
	return pkginfo.Entry{Type: pkginfo.Directory, Path: path, Mode: 0o755}
}

func fileAt(path string) pkginfo.Entry {
	return pkginfo.Entry{Type: pkginfo.Regular, Path: path, Mode: 0o644}
}

func symlinkAt(path, target string) pkginfo.Entry {
	return pkginfo.Entry{Type: pkginfo.Symlink, Path: path, Link: target, Mode: 0o777}
}

func hardLinkAt(path, target string) pkginfo.Entry {
	return pkginfo.Entry{Type: pkginfo.HardLink, Path: path, Link: target, Mode: 0o644}
}

// addAll returns the tree as lines of text, up to the first entry that is refused.
func addAll(usrMerge bool, entries ...pkginfo.Entry) (lines []string, err error) {
	tree := NewTree(usrMerge)
	for _, entry := range entries {
		e, err := tree.Add(entry)
		if err != nil {
			return lines, err
		}
		if e == nil {
			continue
		}
		line := e.Path
		if e.Link != "" {
			line += " -> " + e.Link
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func TestTreeRules(t *testing.T) {
	secret := dirAt("a")
	secret.Mode = 0o700
	foreign := dirAt("a")
	foreign.Owner = "daemon"
	device := pkginfo.Entry{Type: pkginfo.CharDevice, Path: "usr/null"}
	type tree = []pkginfo.Entry
	for _, c := range []struct {
		name    string
		entries tree
		want    string // part of the error of the last entry; "" when it is accepted
	}{
		{"whole", tree{dirAt("./"), dirAt("a"), fileAt("a/b"), symlinkAt("a/c", "b"), hardLinkAt("a/d", "a/b")}, ""},
		{"no directories", tree{fileAt("a/b/c")}, ""},
		{"directory after", tree{fileAt("a/b"), dirAt("a")}, ""},
		{"slash first", tree{fileAt("/a")}, ""},
		{"directory twice", tree{dirAt("a"), dirAt("a/")}, ""},
		{"symlink out", tree{symlinkAt("a", "../../etc")}, ""},
		{"device", tree{{Type: pkginfo.CharDevice, Path: "dev/null"}}, ""},

		{"no name", tree{fileAt("")}, "a name is empty"},
		{"dots", tree{fileAt("../x")}, "leaves the root"},
		{"dots inside", tree{fileAt("a/../x")}, "leaves the root"},
		{"NUL", tree{fileAt("a\x00b")}, "has a NUL in it"},
		{"long part", tree{fileAt(strings.Repeat("a", 256))}, "more than 255 bytes"},
		{"long name", tree{fileAt(strings.Repeat("a/", 2100))}, "4200 bytes long"},
		{"file as root", tree{fileAt(".")}, "the root is a file"},

		{"file twice", tree{fileAt("a"), fileAt("./a")}, `"a" is there twice, as a file and as a file`},
		{"file over directory", tree{dirAt("a"), fileAt("a")}, "as a directory and as a file"},
		{"symlink over implied directory", tree{fileAt("a/b"), symlinkAt("a", "c")}, "as a directory and as a symlink"},
		{"file in file", tree{fileAt("a"), fileAt("a/b")}, `is in "a", which is a file`},
		{"through symlink", tree{symlinkAt("a", "/tmp"), fileAt("a/b/c")}, `goes through the symlink "a"`},
		{"other mode", tree{dirAt("a"), secret}, "different modes or owners"},
		{"other owner", tree{dirAt("a"), foreign}, "different modes or owners"},

		{"symlink without target", tree{symlinkAt("a", "")}, "target of 0 bytes"},
		{"NUL in target", tree{symlinkAt("a", "b\x00")}, "has a NUL in it"},
		{"hard link out", tree{hardLinkAt("a", "../b")}, "leaves the root"},
		{"hard link to nothing", tree{hardLinkAt("a", "b")}, "not an earlier regular file"},
		{"hard link to itself", tree{hardLinkAt("a", "a")}, "not an earlier regular file"},
		{"hard link to symlink", tree{symlinkAt("b", "c"), hardLinkAt("a", "b")}, "not an earlier regular file"},
		{"hard link through symlink", tree{fileAt("b/c"), symlinkAt("a", "b"), hardLinkAt("d", "a/c")}, "not an earlier regular file"},
		{"device elsewhere", tree{device}, "outside /dev"},

		{"bin is a file", tree{fileAt("bin")}, "symlink to usr/bin"},
		{"bin leads elsewhere", tree{symlinkAt("bin", "etc")}, "symlink to usr/bin"},
		{"file in bin and usr/bin", tree{fileAt("bin/a"), fileAt("usr/bin/a")}, `"usr/bin/a" is there twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := len(c.entries)
			if c.want != "" {
				whole--
			}
			if _, err := addAll(true, c.entries[:whole]...); err != nil {
				t.Fatal(err)
			}
			_, err := addAll(true, c.entries...)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && !strings.Contains(fmt.Sprint(err), c.want):
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// What is in the top-level directories of before the usr-merge is in /usr.
func TestUsrMerge(t *testing.T) {
	entries := []pkginfo.Entry{
		dirAt("./"),
		symlinkAt("lib32", "usr/lib32"),
		symlinkAt("libx32", "/usr/libx32"),
		dirAt("bin"), fileAt("bin/a"),
		hardLinkAt("sbin/a", "bin/a"),
		hardLinkAt("sbin/b", "/usr/sbin/a"),
		dirAt("usr/bin"), dirAt("lib"), dirAt("usr/lib"),
		symlinkAt("lib64/ld.so", "/lib/ld.so"),
		fileAt("lib32/x"),
		fileAt("libexec/x"),
		fileAt("opt/bin/x"),
	}
	got, err := addAll(true, entries...)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		".",
		"lib32 -> usr/lib32",
		"libx32 -> /usr/libx32",
		"usr/bin", "usr/bin/a",
		"usr/sbin/a -> usr/bin/a",
		"usr/sbin/b -> usr/bin/a",
		"usr/lib",
		"usr/lib64/ld.so -> /lib/ld.so",
		"usr/lib32/x",
		"libexec/x",
		"opt/bin/x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := addAll(false, entries[:6]...); err != nil {
		t.Error("without the merge: ", err)
	}
	if _, err := addAll(false, fileAt("bin/a"), fileAt("usr/bin/a")); err != nil {
		t.Error("without the merge: ", err)
	}
}
