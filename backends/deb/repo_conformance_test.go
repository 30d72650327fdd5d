package deb_test

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func TestRepositoryConformance(t *testing.T) {
	for _, layout := range []struct {
		name     string
		isFlat   bool
		detached bool
		packed   testdeb.Compression
	}{
		{name: "suite", packed: testdeb.Xz},
		{name: "detached", detached: true, packed: testdeb.Gzip},
		{name: "flat", isFlat: true, packed: testdeb.Zstd},
	} {
		t.Run(layout.name, func(t *testing.T) {
			conformance.RunRepositories(t, conformance.RepositoryFixtures{
				Format: deb.Format{}, OpenRoot: openRoot, SourcesFile: "/etc/apt/sources.list.d/sample.sources", Architecture: "amd64",
				Sources: func(sources ...conformance.SourceText) string {
					var all []string
					for _, s := range sources {
						text := "Types: deb\nURIs: " + s.URL + "\n"
						if layout.isFlat {
							text += "Suites: ./\n"
						} else {
							text += "Suites: " + s.Name + "\nComponents: main\n"
						}
						if s.KeyFile != "" {
							text += "Signed-By: " + s.KeyFile + "\n"
						}
						if s.Unsigned {
							text += "Trusted: yes\n"
						}
						if s.Disabled {
							text += "Enabled: no\n"
						}
						all = append(all, text)
					}
					return strings.Join(all, "\n")
				},
				Build: func(t testing.TB, dir string, r conformance.Repository) {
					buildRepository(t, dir, r, layout.isFlat, layout.detached, layout.packed)
				},
			})
		})
	}
}

// buildRepository makes the files of a repository of debs, without the debs.
func buildRepository(t testing.TB, dir string, r conformance.Repository, isFlat, detached bool, packed testdeb.Compression) {
	t.Helper()
	var index strings.Builder
	for _, p := range r.Packages {
		f := fileOf(p.Name, p.Version, p.Architecture, p.Content)
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nArchitecture: %s\nDepends: %s\nRecommends: %s\nProvides: %s\nFilename: %s\nSize: %d\nSHA256: %x\nSHA512: %x\nDescription: %s\n\n",
			p.Name, p.Version, p.Architecture, relationsText(p.Requires), relationsText(p.Recommends), capabilitiesText(p.Provides), p.Path, f.Size, f.SHA256, f.SHA512, p.Summary)
	}
	base, name, end := "dists/"+r.Name, "main/binary-amd64/Packages", map[testdeb.Compression]string{testdeb.Xz: ".xz", testdeb.Gzip: ".gz", testdeb.Zstd: ".zst"}[packed]
	if isFlat {
		base, name = "", "Packages"
	}
	small := string(compress(t, []byte(index.String()), packed))
	fields := fmt.Sprintf("Suite: %s\nCodename: %[1]s\nDate: %s\nArchitectures: amd64\nComponents: main\n", r.Name, r.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	release := releaseOf(fields, map[string]string{name: index.String(), name + end: small})
	written := map[string]string{path.Join(base, name+end): small}
	switch {
	case r.Signer == nil:
		written[path.Join(base, "Release")] = release
	case detached:
		written[path.Join(base, "Release")] = release
		written[path.Join(base, "Release.gpg")] = detach(t, release, true, r.Signer)
	default:
		written[path.Join(base, "InRelease")] = clearSign(t, release, r.Signer)
	}
	writeFiles(t, dir, written)
}

func relationsText(relations []pkginfo.Relation) string {
	var all []string
	for _, r := range relations {
		var alternatives []string
		for _, c := range r.Alternatives {
			text := c.Name
			if operator := map[string]string{"<": "<<", ">": ">>"}[c.Operator]; operator != "" {
				c.Operator = operator
			}
			if c.Operator != "" {
				text += " (" + c.Operator + " " + c.Version + ")"
			}
			alternatives = append(alternatives, text)
		}
		all = append(all, strings.Join(alternatives, " | "))
	}
	return strings.Join(all, ", ")
}

func capabilitiesText(capabilities []pkginfo.Capability) string {
	var all []string
	for _, c := range capabilities {
		if c.Version != "" {
			c.Name += " (= " + c.Version + ")"
		}
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}
