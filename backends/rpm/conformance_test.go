package rpm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func TestConformance(t *testing.T) {
	fixtures := conformance.Fixtures{
		Format: Format{}, Others: backends.Formats{deb.Format{}},
		Build: func(t testing.TB, p conformance.Package) []byte {
			t.Helper()
			return testrpm.RPM(t, packageOfFixture(p))
		},
		Versions: [][]string{
			{"1.0~rc1-1"}, {"1.0-1", "0:1.0-1", "1.0-01"}, {"1.0-9"}, {"1.0-10"}, {"1.0^git1-1"}, {"1.9-1"}, {"1.10-1"}, {"1:0.9-1"}, {"1:0.10-2.el9"},
		},
		OpenRoot: openRoot,
	}
	for file, pack := range map[string]func(...[]byte) []byte{
		"rpmdb.sqlite": sqliteDatabase, "Packages.db": ndbDatabase, "Packages": bdbDatabase,
	} {
		for _, dir := range databaseDirs {
			t.Run(file+strings.ReplaceAll(dir, "/", " "), func(t *testing.T) {
				fixtures := fixtures
				fixtures.DatabaseFile = dir + "/" + file
				fixtures.Install = func(t testing.TB, root string, packages ...conformance.Package) {
					t.Helper()
					var blobs [][]byte
					for _, p := range packages {
						blobs = append(blobs, storedPackage(t, packageOfFixture(p), strings.Repeat("\x00", len(p.Files))))
					}
					to := filepath.Join(root, fixtures.DatabaseFile)
					if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(to, pack(blobs...), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if file != "rpmdb.sqlite" || dir != databaseDirs[0] { // packages are the same every time
					fixtures.Only = []string{"NoDatabase", "Database", "DatabaseElsewhere", "DamagedDatabase"}
				}
				conformance.Run(t, fixtures)
			})
		}
	}
}

// packageOfFixture returns a package to be built.
func packageOfFixture(p conformance.Package) testrpm.Package {
	version := p.Version
	out := testrpm.Package{Name: p.Name, Arch: p.Architecture}
	if p.AfterInstall != "" {
		out.Scripts = map[string]string{"post": p.AfterInstall, "preun": "true"}
	}
	if epoch, rest, ok := strings.Cut(version, ":"); ok {
		out.Epoch, version = epoch, rest
	}
	i := strings.LastIndexByte(version, '-')
	out.Version, out.Release = version[:i], version[i+1:]
	inodes := map[string]uint32{}
	for i, f := range p.Files {
		if f.Type == pkginfo.HardLink {
			inodes[f.Path], inodes[f.Link] = uint32(i), uint32(i)
		}
	}
	for _, f := range p.Files {
		kind := map[pkginfo.Type]uint32{pkginfo.Directory: testrpm.TypeDir, pkginfo.Symlink: testrpm.TypeSymlink}[f.Type]
		if kind == 0 {
			kind = testrpm.TypeFile
		}
		file := testrpm.File{Path: "/" + f.Path, Mode: kind | f.Mode, Content: f.Content, Inode: inodes[f.Path]}
		if f.UID != 0 {
			file.Owner = fmt.Sprintf("user%d", f.UID)
		}
		switch f.Type {
		case pkginfo.Symlink:
			file.Link = f.Link
		case pkginfo.HardLink:
			for _, of := range p.Files {
				if of.Path == f.Link {
					file.Content = of.Content
				}
			}
		}
		out.Files = append(out.Files, file)
	}
	return out
}
