package deb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Fixtures{
		Format: deb.Format{}, Others: backends.Formats{rpm.Format{}},
		Build: buildDeb,
		Versions: [][]string{
			{"1.0~rc1-1"}, {"1.0-1", "0:1.0-1", "1.0-01"}, {"1.0-1+b1"}, {"1.0-9"}, {"1.0-10"}, {"1.9-1"}, {"1.10-1"}, {"1:0.9-1"}, {"1:0.10"},
		},
		OpenRoot: openRoot, Install: installDebs, DatabaseFile: "/var/lib/dpkg/status",
	})
}

func openRoot(t testing.TB, dir string) backends.Root {
	t.Helper()
	root, err := sysroot.Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() }) // nothing is written through it
	return root
}

func buildDeb(t testing.TB, p conformance.Package) []byte {
	t.Helper()
	out := testdeb.Package{Name: p.Name, Version: p.Version, Arch: p.Architecture, NoParents: true}
	if p.Architecture == "noarch" {
		out.Arch = "all"
	}
	if p.AfterInstall != "" {
		out.Scripts = map[string]string{"postinst": "#!/bin/sh\n" + p.AfterInstall + "\n", "prerm": "#!/bin/sh\n"}
	}
	for _, f := range p.Files {
		file := testdeb.File{Path: f.Path, Mode: f.Mode, Content: f.Content, UID: f.UID}
		switch f.Type {
		case pkginfo.Directory:
			file.Path += "/"
		case pkginfo.Symlink:
			file.Link = f.Link
		case pkginfo.HardLink:
			file.HardLink = "./" + f.Link
		}
		out.Files = append(out.Files, file)
	}
	return testdeb.Deb(t, out)
}

func installDebs(t testing.TB, dir string, packages ...conformance.Package) {
	t.Helper()
	status := ""
	write := func(name, text string) {
		file := filepath.Join(dir, "var/lib/dpkg", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range packages {
		same := ""
		name := "info/" + p.Name
		if strings.HasPrefix(p.Name, "lib") {
			same, name = "Multi-Arch: same\n", name+":"+p.Architecture
		}
		status += fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: %s\n%sVersion: %s\n\n", p.Name, p.Architecture, same, p.Version)
		list := ""
		for _, f := range p.Files {
			list += "/" + f.Path + "\n"
		}
		write(name+".list", list)
	}
	write("status", status)
}
