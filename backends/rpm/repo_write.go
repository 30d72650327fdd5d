package rpm

import (
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// AllArchitectures implements [backends.Repositories].
func (Format) AllArchitectures() (word string, same bool) { return "noarch", false }

// Obsoletes implements [backends.Repositories].
func (Format) Obsoletes() bool { return true }

// Unsaid implements [backends.Repositories]: packages name all that they require.
func (Format) Unsaid(backends.Root, *pkginfo.Package) []pkginfo.Relation { return nil }

// Keys of a section that only hashpkg reads: the release that a source is a part of, and
// the package that has its keys.
const (
	keyRelease    = "hashpkg_release"
	keyKeyPackage = "hashpkg_key_package"
)

// FormatSources implements [backends.Repositories].
func (Format) FormatSources(sources []backends.Source) []byte {
	var b strings.Builder
	for i, s := range sources {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", s.Name)
		line := func(key string, values ...string) {
			if len(values) > 0 {
				fmt.Fprintf(&b, "%s = %s\n", key, strings.Join(values, "\n    "))
			}
		}
		line("name", s.Name)
		line("baseurl", s.URLs...)
		for _, l := range s.Lists {
			key := "mirrorlist"
			if l.Metalink {
				key = "metalink"
			}
			line(key, l.URL)
		}
		line("gpgcheck", bit(s.PackagesSigned))
		line("repo_gpgcheck", bit(!s.Unsigned))
		line("gpgkey", s.Keys.Files...)
		if s.Release != s.Name {
			line(keyRelease, s.Release)
		}
		if s.Keys.Package != "" {
			line(keyKeyPackage, s.Keys.Package)
		}
	}
	return []byte(b.String())
}

func bit(on bool) string {
	if on {
		return "1"
	}
	return "0"
}
