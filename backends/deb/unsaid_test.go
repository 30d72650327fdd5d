package deb_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestUnsaid: who reads descriptions of terminals requires some where a root has none, wherever
// distributions keep them.
func TestUnsaid(t *testing.T) {
	libtinfo := &pkginfo.Package{Name: "libtinfo6", Source: "ncurses"}
	for _, test := range []struct {
		p    *pkginfo.Package
		has  string
		want int
	}{
		{libtinfo, "", 1},
		{libtinfo, "usr/share/terminfo/v/vt100", 1},
		{libtinfo, "usr/share/terminfo/x/xterm", 0},
		{libtinfo, "lib/terminfo/x/xterm", 0},
		{&pkginfo.Package{Name: "ncurses-base", Source: "ncurses"}, "", 0},
		{&pkginfo.Package{Name: "libtinfoil", Source: "tinfoil"}, "", 0},
	} {
		dir := t.TempDir()
		if test.has != "" {
			file := filepath.Join(dir, test.has)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got := deb.Format{}.Unsaid(openRoot(t, dir), test.p)
		if len(got) != test.want || test.want > 0 && got[0].Alternatives[0].Name != "ncurses-base" {
			t.Errorf("%s where there is %q requires %v", test.p.Name, test.has, got)
		}
	}
}
