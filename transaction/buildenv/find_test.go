package buildenv_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/buildenv"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// TestFind: a directory of a package is no flag, and a needed package without dev is told of.
func TestFind(t *testing.T) {
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	install := func(p testdeb.Package, bare bool) {
		t.Helper()
		file := filepath.Join(t.TempDir(), p.Name+".deb")
		if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		o := transaction.InstallOptions{Root: root, Packages: transaction.PackageFiles(file), Now: time.Unix(1700000000, 0), NoDev: bare}
		if _, err := transaction.Install(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	header := testdeb.File{Path: "usr/include/x.h", Content: "/* */"}
	install(testdeb.Package{Name: "one-dev", Version: "1", Files: []testdeb.File{
		header, {Path: "usr/lib/libx.a", Content: "!<arch>"}, {Path: "usr/share/cmake/x -fplugin=y/libx.a", Content: "!<arch>"}, {Path: "usr/share/cmake/x -fplugin=y/x.pc", Content: "Name: x"},
	}}, false)
	found, err := buildenv.Find(root, []query.Spec{{Name: "one-dev"}, {Name: "one-dev"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found.Variables(buildenv.Any, func(string) string { return "" }) {
		if strings.Contains(v.Value, "plugin") {
			t.Errorf("%s is %s", v.Name, v.Value)
		}
	}
	install(testdeb.Package{Name: "two-dev", Version: "1", Files: []testdeb.File{header}}, true)
	install(testdeb.Package{Name: "three-dev", Version: "1", Depends: "two-dev", Files: []testdeb.File{header}}, true)
	install(testdeb.Package{Name: "four-dev", Version: "1", Depends: "three-dev", Files: []testdeb.File{header}}, false)
	if _, err := buildenv.Find(root, []query.Spec{{Name: "four-dev"}}); err == nil || !strings.Contains(err.Error(), "run hashpkg rebind three-dev two-dev") {
		t.Errorf("the error is %v", err)
	}
}
