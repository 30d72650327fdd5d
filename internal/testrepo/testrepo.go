// Package testrepo makes small signed repositories of packages that tests build from
// literals, and serves them on loopback. [Debs] and [RPMs] say what is in one, and
// their Files builds it; [Serve] puts such files at an address:
//
//	key := testrepo.NewKey(t, "archive", 0)
//	s := testrepo.Serve(t, testrepo.Debs{Suite: "stable", Signer: key, Packages: []testdeb.Package{{Name: "tool"}}}.Files(t))
//
// # Bad networks, and bad repositories
//
// [Server.Bend] has the server answer otherwise for a path; [Server.Set] changes what
// the repository has while it is being served. What a repository says of itself can be
// changed before it is signed, with the Edit functions; and Files returns a map, in
// which anything can be changed after that.
package testrepo

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// Date is when a repository says that it was made, unless a test does.
var Date = time.Date(2023, 11, 1, 12, 0, 0, 0, time.UTC)

// Files are what a repository has, by their paths below its address.
type Files map[string]string

// Debs describes a repository of debs with one suite.
type Debs struct {
	Suite      string // "stable" when empty; its codename as well
	Packages   []testdeb.Package
	Component  string                // of all packages; "main" when empty
	Date       time.Time             // [Date] when zero
	ValidUntil time.Time             // not said when zero
	Packed     []testdeb.Compression // of its indexes; xz and gzip when nil
	Digests    []string              // "SHA256" and "SHA512", in the Release file and in indexes; both when nil
	ByHash     bool
	Detached   bool // a Release file with its signature beside it, in place of InRelease

	Signer   *openpgp.Entity // nil for a repository that nobody has signed
	SignWith crypto.Hash     // SHA-256 when zero; SHA-1 for Detached only
	SignedAt time.Time       // the date when zero

	EditIndex   func(text string) string // changes an index before it is packed
	EditRelease func(text string) string // changes the Release file before it is signed
}

// Files builds the repository.
func (d Debs) Files(tb testing.TB) Files {
	tb.Helper()
	d.defaults()
	files := Files{}
	for i := range d.Packages {
		files[DebPath(d.Packages[i])] = string(testdeb.Deb(tb, d.Packages[i]))
	}
	index := d.index(tb, files)
	base := "dists/" + d.Suite + "/"
	name := d.Component + "/binary-amd64/Packages"
	listed := Files{name: index}
	for _, c := range d.Packed {
		packed, err := testdeb.Compress([]byte(index), c)
		if err != nil {
			tb.Fatal(err)
		}
		listed[name+ending(c)] = string(packed)
		files[base+name+ending(c)] = string(packed)
		for _, kind := range d.Digests {
			if d.ByHash {
				files[base+path.Dir(name)+"/by-hash/"+kind+"/"+sum(kind, string(packed))] = string(packed)
			}
		}
	}
	release := d.release(listed)
	if d.EditRelease != nil {
		release = d.EditRelease(release)
	}
	switch {
	case d.Signer == nil:
		files[base+"Release"] = release
	case d.Detached:
		files[base+"Release"] = release
		files[base+"Release.gpg"] = Detached(tb, release, d.Signer, d.SignWith, d.SignedAt)
	default:
		files[base+"InRelease"] = clearSign(tb, release, d.Signer, signing(d.SignWith, d.SignedAt))
	}
	return files
}

func (d *Debs) defaults() {
	if d.Suite == "" {
		d.Suite = "stable"
	}
	if d.Component == "" {
		d.Component = "main"
	}
	if d.Packed == nil {
		d.Packed = []testdeb.Compression{testdeb.Xz, testdeb.Gzip}
	}
	if d.Digests == nil {
		d.Digests = []string{"SHA256", "SHA512"}
	}
	if d.Date.IsZero() {
		d.Date = Date
	}
	if d.SignedAt.IsZero() {
		d.SignedAt = d.Date
	}
	if d.SignWith == 0 {
		d.SignWith = crypto.SHA256
	}
}

// DebPath returns where a repository has a package.
func DebPath(p testdeb.Package) string {
	name, version, arch := orElse(p.Name, "hello"), orElse(p.Version, "1.0-1"), orElse(p.Arch, "amd64")
	if _, rest, hasEpoch := strings.Cut(version, ":"); hasEpoch {
		version = rest
	}
	return fmt.Sprintf("pool/%s/%s_%s_%s.deb", name, name, version, arch)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// index returns the Packages file.
func (d *Debs) index(tb testing.TB, files Files) string {
	tb.Helper()
	var b strings.Builder
	for i := range d.Packages {
		p := &d.Packages[i]
		file := DebPath(*p)
		b.WriteString(p.ControlFile())
		fmt.Fprintf(&b, "Filename: %s\nSize: %d\n", file, len(files[file]))
		for _, kind := range d.Digests {
			fmt.Fprintf(&b, "%s: %s\n", kind, sum(kind, files[file]))
		}
		b.WriteByte('\n')
	}
	if d.EditIndex != nil {
		return d.EditIndex(b.String())
	}
	return b.String()
}

// release returns the Release file for what it lists.
func (d *Debs) release(listed Files) string {
	const form = "Mon, 02 Jan 2006 15:04:05 UTC"
	var b strings.Builder
	fmt.Fprintf(&b, "Origin: Test\nSuite: %s\nCodename: %[1]s\nDate: %s\n", d.Suite, d.Date.UTC().Format(form))
	if !d.ValidUntil.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", d.ValidUntil.UTC().Format(form))
	}
	if d.ByHash {
		b.WriteString("Acquire-By-Hash: yes\n")
	}
	fmt.Fprintf(&b, "Architectures: amd64\nComponents: %s\n", d.Component)
	for _, kind := range d.Digests {
		fmt.Fprintf(&b, "%s:\n", kind)
		for _, name := range slices.Sorted(maps.Keys(listed)) {
			fmt.Fprintf(&b, " %s %d %s\n", sum(kind, listed[name]), len(listed[name]), name)
		}
	}
	return b.String()
}

func sum(kind, content string) string {
	if kind == "SHA512" {
		return fmt.Sprintf("%x", sha512.Sum512([]byte(content)))
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
}

func ending(c testdeb.Compression) string {
	switch c {
	case testdeb.Gzip:
		return ".gz"
	case testdeb.Xz:
		return ".xz"
	case testdeb.Zstd:
		return ".zst"
	case testdeb.Bzip2:
		return ".bz2"
	}
	return ""
}

// Sources returns a file of sources for the suite at an address, whose keys are in it.
func (d Debs) Sources(tb testing.TB, url string) string {
	tb.Helper()
	d.defaults()
	text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", url, d.Suite, d.Component)
	if d.Signer != nil {
		text += "Signed-By:\n"
		for line := range strings.Lines(PublicKeys(tb, d.Signer)) {
			if line = strings.TrimSpace(line); line == "" {
				line = "."
			}
			text += " " + line + "\n"
		}
	}
	return text
}
