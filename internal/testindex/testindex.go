// Package testindex gives tests the packages of Debian's releases, from the index that
// package archive has in its cache.
package testindex

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Release is a release of Debian: main, for one architecture.
type Release struct {
	Packages []*pkginfo.Listed
	// AptConfig is a configuration of apt with this release and an empty root.
	AptConfig string
}

// Debian returns the packages of a release for amd64. The test needs apt and the
// network, or what the cache has.
func Debian(tb testing.TB, suite string) Release {
	tb.Helper()
	testneed.Network(tb)
	testneed.Programs(tb, "apt-get")
	description, err := archive.Describe(tb.Context(), archive.Options{Suite: suite, Arch: "amd64", MaxAge: 30 * 24 * time.Hour, Log: os.Stderr})
	if err != nil {
		tb.Fatal(err)
	}
	apt := filepath.Join(description.Dir, ".apt")
	files, err := filepath.Glob(filepath.Join(apt, "state/lists/*_Packages*"))
	if err != nil || len(files) != 1 {
		tb.Fatalf("indexes of %s: %v, %v", suite, files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	r := Release{AptConfig: filepath.Join(apt, "apt.conf")}
	_, name, _ := strings.Cut(filepath.Base(files[0]), "_binary-amd64_")
	r.Packages = read(tb, &backends.Part{Paths: []string{name}, Unpacked: -1}, f)
	return r
}

// Parse returns the packages of the text of a Packages file.
func Parse(tb testing.TB, text string) []*pkginfo.Listed {
	tb.Helper()
	return read(tb, &backends.Part{Paths: []string{"Packages"}, Size: int64(len(text)), Unpacked: -1}, strings.NewReader(text))
}

func read(tb testing.TB, part *backends.Part, from io.Reader) (all []*pkginfo.Listed) {
	tb.Helper()
	err := deb.Format{}.ReadIndex(part, from, func(l *pkginfo.Listed) error {
		all = append(all, l)
		return nil
	})
	if err != nil {
		tb.Fatalf("read %s: %v", part.Paths[0], err)
	}
	return all
}
