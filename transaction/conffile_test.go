package transaction

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// TestConffile has packages that call one of their files configuration: the manifest says
// which.
func TestConffile(t *testing.T) {
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}, rpm.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	const config = 1 << 0 // RPMFILE_CONFIG
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"a.deb": testdeb.Deb(t, testdeb.Package{Name: "a", Version: "1", Conffiles: "/etc/x\n/etc/gone\n", Files: []testdeb.File{
			{Path: "etc/x", Content: "x"}, {Path: "etc/y", Content: "y"},
		}}),
		"b.rpm": testrpm.RPM(t, testrpm.Package{Name: "b", Version: "1", Release: "1", Arch: "noarch", Files: []testrpm.File{
			{Path: "/etc/x", Content: "x", Flags: config}, {Path: "/etc/y", Content: "y"},
		}}),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		result, err := Install(t.Context(), InstallOptions{Root: root, Packages: PackageFiles(file), Signature: trust.Off, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		p := result.Plan.Trees[0]
		m, err := root.Store().Manifest(p.Name, p.Tree)
		if err != nil {
			t.Fatal(err)
		}
		if x, y := m.Lookup("etc/x"), m.Lookup("etc/y"); x == nil || y == nil || !x.Conffile || y.Conffile {
			t.Errorf("%s: %+v, %+v", name, x, y)
		}
	}
}
