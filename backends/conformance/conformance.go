// Package conformance is the suite of tests that every package format passes:
// [Run]. A test of the format's own package calls it with [Fixtures], which build
// packages and databases of the format.
//
// It tests what hashpkg relies on and what all formats have in common. What one
// format alone has, and whether it is read as its own tools read it, is for the
// tests of its package.
package conformance

import (
	"slices"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Fixtures is what the suite needs of a format.
type Fixtures struct {
	Format backends.Format
	// Others are other formats: none of them takes a file for its own.
	Others backends.Formats

	// Build returns a package file.
	Build func(t testing.TB, p Package) []byte

	// Versions has versions that the format allows, oldest first; those that stand
	// together are equal.
	Versions [][]string

	// OpenRoot returns a directory as a root.
	OpenRoot func(t testing.TB, dir string) backends.Root

	// Install makes the database of the root in dir one that has these packages, and
	// no others. They have regular files only.
	Install func(t testing.TB, dir string, packages ...Package)

	// Only names the tests to run, if not all: of a format with several kinds of
	// databases, for the further ones.
	Only []string

	// DatabaseFile is the file, absolute in the root, without which there is no
	// database. Its directory holds all of it.
	DatabaseFile string
}

// Package is a package that a fixture builds.
type Package struct {
	Name, Version, Architecture string
	Files                       []File // parents first
	// AfterInstall is what a script does, in the shell's language, when the package's
	// files are in place; "" for none.
	AfterInstall string
}

// File is one file of a package.
type File struct {
	Path    string // relative to the root
	Type    pkginfo.Type
	Mode    uint32
	Content string // of a regular file
	Link    string // see [pkginfo.Entry]
	// UID is the number of its owner: 0 is root. A format that has names gives another
	// one any name.
	UID int
}

// Run runs the suite.
func Run(t *testing.T, f Fixtures) {
	s := &suite{f}
	type test struct {
		name string
		run  func(*testing.T)
	}
	tests := []test{
		{"Name", s.testName},
		{"Matches", s.testMatches},
		{"Read", s.testRead},
		{"Scripts", s.testScripts},
		{"Unsigned", s.testUnsigned},
		{"Sources", s.testSources},
		{"Close", s.testClose},
		{"Truncated", s.testTruncated},
		{"Damaged", s.testDamaged},
		{"Hostile", s.testHostile},
		{"Order", s.testOrder},
		{"Ranges", s.testRanges},
		{"NoDatabase", s.testNoDatabase},
		{"Database", s.testDatabase},
		{"DatabaseElsewhere", s.testDatabaseElsewhere},
		{"DamagedDatabase", s.testDamagedDatabase},
	}
	if prover, ok := f.Format.(backends.Prover); ok {
		tests = append(tests, test{"Unproved", func(t *testing.T) { s.testUnproved(t, prover) }})
	}
	for _, test := range tests {
		if len(f.Only) == 0 || slices.Contains(f.Only, test.name) {
			t.Run(test.name, test.run)
		}
	}
}

type suite struct{ Fixtures }

// sample is a package with a file of each kind that formats have in common.
func (s *suite) sample() Package {
	return Package{
		Name: "sample", Version: s.Versions[0][0], Architecture: "noarch",
		Files: []File{
			{Path: "usr", Type: pkginfo.Directory, Mode: 0o755},
			{Path: "usr/bin", Type: pkginfo.Directory, Mode: 0o755},
			{Path: "usr/bin/sample", Type: pkginfo.Regular, Mode: 0o755, Content: "a program\n"},
			{Path: "usr/bin/suid", Type: pkginfo.Regular, Mode: 0o4755, Content: "another one\n", UID: 1234},
			{Path: "usr/bin/link", Type: pkginfo.Symlink, Mode: 0o777, Link: "../../usr/bin/sample"},
			{Path: "usr/share", Type: pkginfo.Directory, Mode: 0o755},
			{Path: "usr/share/empty", Type: pkginfo.Regular, Mode: 0o600},
			{Path: "usr/share/large", Type: pkginfo.Regular, Mode: 0o644, Content: noise(300 << 10)},
			{Path: "usr/share/one", Type: pkginfo.Regular, Mode: 0o644, Content: "two names"},
			{Path: "usr/share/two", Type: pkginfo.HardLink, Mode: 0o644, Link: "usr/share/one"},
			{Path: "usr/share/with space \u00e9", Type: pkginfo.Regular, Mode: 0o644, Content: "x"},
		},
	}
}

// noise returns bytes that do not compress, the same each time.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}
