package sbom

import (
	"strings"

	"github.com/hashpkg/hashpkg/digest"
)

// unknown is how SPDX says that nothing is said.
const unknown = "NOASSERTION"

type spdxDocument struct {
	SPDXVersion   string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Creation      spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string         `json:"SPDXID"`
	Name             string         `json:"name"`
	Version          string         `json:"versionInfo"`
	FileName         string         `json:"packageFileName,omitempty"`
	Download         string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	Copyright        string         `json:"copyrightText"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	SourceInfo       string         `json:"sourceInfo,omitempty"`
	Summary          string         `json:"summary,omitempty"`
	Comment          string         `json:"comment"`
	References       []spdxExternal `json:"externalRefs"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// SPDX returns the bill as a document of SPDX 2.3 in JSON.
func SPDX(b *Bill) ([]byte, error) {
	d := spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: b.Name, Namespace: "urn:uuid:" + b.uuid(),
		Creation: spdxCreation{b.created(), []string{"Tool: hashpkg-" + b.Tool}},
		Packages: []spdxPackage{}, Relationships: []spdxRelationship{},
	}
	for i := range b.Packages {
		p := &b.Packages[i]
		one := spdxPackage{
			ID: spdxID(p), Name: p.Name, Version: p.Version, FileName: p.File, Download: unknown,
			LicenseConcluded: unknown, LicenseDeclared: unknown, Copyright: unknown, Summary: p.Summary,
			Comment:    "tree " + p.Tree + ", identity " + p.Identity.String(),
			References: []spdxExternal{{"PACKAGE-MANAGER", "purl", p.PURL()}},
		}
		if p.Digest != (digest.Digest{}) {
			one.Checksums = []spdxChecksum{{"BLAKE3", p.Digest.String()}}
		}
		if p.Source != "" {
			one.SourceInfo = "built from the source package " + p.Source
		}
		d.Packages = append(d.Packages, one)
		d.Relationships = append(d.Relationships, spdxRelationship{d.ID, "DESCRIBES", one.ID})
	}
	for i := range b.Packages {
		for _, j := range b.Packages[i].Needs {
			d.Relationships = append(d.Relationships, spdxRelationship{spdxID(&b.Packages[i]), "DEPENDS_ON", spdxID(&b.Packages[j])})
		}
	}
	return encode(d)
}

// spdxID returns the package's name in the document, which has letters, digits, dots and
// hyphens only.
func spdxID(p *Package) string {
	return "SPDXRef-" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, p.id())
}
