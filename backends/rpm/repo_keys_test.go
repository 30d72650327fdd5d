package rpm

import (
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestReleaseKeys looks the keys of all releases up in the package that is named for
// them, as Debian has it: each is there, and a key.
func TestReleaseKeys(t *testing.T) {
	testneed.Network(t)
	debs, err := archive.Fetch(t.Context(), archive.Options{Suite: "trixie", Arch: "amd64", Packages: []string{keysPackage}})
	if err != nil {
		testneed.Unmet(t, err)
	}
	files := debFiles(t, debs[0])
	for _, name := range (Format{}).Releases() {
		for _, s := range (Format{}).Release(name, nil, "") {
			keys := 0
			for _, file := range s.Keys.Files {
				if !strings.HasPrefix(file, keysDir) {
					continue
				}
				k, err := trust.ParseKeyring([]byte(files[file]))
				if err != nil {
					t.Errorf("%s: %s: %v", s.Name, file, err)
				}
				keys += k.Len()
			}
			if keys == 0 {
				t.Errorf("%s has no key", s.Name)
			}
		}
	}
}

// debFiles returns the contents of the files of a deb by their absolute paths; those of
// a link are what it leads to in its directory.
func debFiles(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := deb.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files, links := map[string]string{}, map[string]string{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case pkginfo.Regular:
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files["/"+e.Path] = string(b)
		case pkginfo.Symlink:
			links["/"+e.Path] = path.Join("/", path.Dir(e.Path), e.Link)
		}
	}
	for link, target := range links {
		files[link] = files[target]
	}
	return files
}
