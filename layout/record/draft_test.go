package record

import (
	"path"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/pkginfo"
)

func TestLinksStayInside(t *testing.T) {
	files := []File{
		{Path: "etc/conf", Type: TypeFile},
		{Path: "usr/bin/tool", Type: TypeFile},
		{Path: "usr/lib/x", Type: TypeFile},
	}
	for _, tc := range []struct{ link, target, want string }{
		{"usr/bin/t", "tool", "tool"},
		{"usr/bin/t", "../lib/x", "../lib/x"},
		{"usr/bin/t", "/usr/bin/tool", "tool"},
		{"usr/bin/t", "/lib/x", "../lib/x"},
		{"usr/share/a/b", "/etc/conf", "../../../etc/conf"},
		{"top", "/etc/conf", "etc/conf"},
		{"usr/bin/t", "/etc/alternatives/t", "/etc/alternatives/t"}, // another package's
		{"usr/bin/t", "../../../../etc/shadow", "../../etc/shadow"},
		{"usr/bin/t", "../..", "../.."},
		{"usr/bin/t", "../../..", "../../."},
		{"t", "..", "."},
	} {
		d, err := NewDraft(&pkginfo.Package{Name: "t", Version: "1", Architecture: "all"}, OriginPrivate)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append([]File{{Path: tc.link, Type: TypeSymlink, Target: tc.target}}, files...) {
			if err := d.Put(f); err != nil {
				t.Fatal(err)
			}
		}
		got := d.Manifest().Lookup(tc.link).Target
		if got != tc.want {
			t.Errorf("%s -> %s becomes %s, want %s", tc.link, tc.target, got, tc.want)
		}
		if in := path.Join("tree", path.Dir(tc.link), got); !path.IsAbs(got) && in != "tree" && !strings.HasPrefix(in, "tree/") {
			t.Errorf("%s -> %s leaves the tree", tc.link, got)
		}
	}
}
