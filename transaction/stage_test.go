package transaction

import (
	"path"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/layout/record"
)

func TestLinksStayInside(t *testing.T) {
	files := []record.File{
		{Path: "etc/conf", Type: record.TypeFile},
		{Path: "usr/bin/tool", Type: record.TypeFile},
		{Path: "usr/lib/x", Type: record.TypeFile},
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
		s := &stager{m: &record.Manifest{Files: append([]record.File{{Path: tc.link, Type: record.TypeSymlink, Target: tc.target}}, files...)}}
		s.m.Index()
		got := s.linkInside(&s.m.Files[0])
		if got != tc.want {
			t.Errorf("%s -> %s becomes %s, want %s", tc.link, tc.target, got, tc.want)
		}
		if in := path.Join("tree", path.Dir(tc.link), got); !path.IsAbs(got) && in != "tree" && !strings.HasPrefix(in, "tree/") {
			t.Errorf("%s -> %s leaves the tree", tc.link, got)
		}
	}
}
