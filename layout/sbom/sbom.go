// Package sbom writes bills of materials: [SPDX] by the specification of SPDX 2.3, and
// [CycloneDX] by that of CycloneDX 1.6. Both are pure functions of a [Bill], so that the
// same packages give the same bytes.
//
// What a package's license is, and whether what it says is so, is left to others: hashpkg
// knows neither.
package sbom

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Bill is what stands in a prefix.
type Bill struct {
	Name     string // of the whole
	Tool     string // the version of hashpkg
	Time     time.Time
	Packages []Package
}

// Package is one package version of a Bill.
type Package struct {
	Format       pkginfo.Format
	Name         string
	Version      string // whole, with the epoch
	Architecture string
	Release      string // where it is from: "trixie"; "" where that is not known
	Vendor       string // "debian"; "" where that is not known
	Source       string // the source package's name, "" if it is the same
	Summary      string
	File         string        // the package file's name
	Digest       digest.Digest // of the package file; zero where there was none
	Identity     digest.Digest // of its tree, which no other one of the bill has
	Tree         string        // NAME/TREE
	Program      bool          // it has commands
	Needs        []int         // what it loads or requires, as places in Packages; ascending
}

// PURL returns the package's URL: see https://github.com/package-url/purl-spec.
func (p *Package) PURL() string {
	version, epoch := p.Version, ""
	if p.Format == "rpm" {
		if e, rest, ok := strings.Cut(version, ":"); ok {
			version, epoch = rest, e
		}
	}
	text := "pkg:" + string(p.Format) + "/"
	if p.Vendor != "" {
		text += escape(p.Vendor) + "/"
	}
	text += escape(p.Name) + "@" + escape(version)
	separator := "?"
	add := func(key, value string) {
		if value != "" {
			text += separator + key + "=" + escape(value)
			separator = "&"
		}
	}
	add("arch", p.Architecture)
	add("distro", p.Release)
	add("epoch", epoch)
	add("upstream", p.Source) // by which advisories of Debian and others go; syft and grype know it
	return text
}

// escape encodes all but what a package URL has as it is.
func escape(s string) string {
	return strings.NewReplacer("%3A", ":", "+", "%20").Replace(url.QueryEscape(s))
}

// id returns what names a package in a document.
func (p *Package) id() string { return p.Name + "-" + hex.EncodeToString(p.Identity[:8]) }

// encode returns a document in JSON, on one line.
func encode(document any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(document)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// uuid returns a number for the bill, which follows from what is in it (RFC 9562, version 8).
func (b *Bill) uuid() string {
	var text strings.Builder
	fmt.Fprintln(&text, b.Name, b.Time.UTC().Format(time.RFC3339))
	for i := range b.Packages {
		text.WriteString(b.Packages[i].Identity.String())
	}
	d := digest.Of([]byte(text.String()))
	u := d[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func (b *Bill) created() string { return b.Time.UTC().Format("2006-01-02T15:04:05Z") }
