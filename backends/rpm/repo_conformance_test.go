package rpm

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func TestRepositoryConformance(t *testing.T) {
	conformance.RunRepositories(t, conformance.RepositoryFixtures{
		Format: Format{}, OpenRoot: openRoot, Architecture: "x86_64",
		Build: buildRepository, Sources: repoFile, SourcesFile: "/etc/yum.repos.d/sample.repo",
	})
}

func repoFile(sources ...conformance.SourceText) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintf(&b, "[%s]\nname=A repository\nbaseurl=%s\n", s.Name, s.URL)
		if s.Disabled {
			b.WriteString("enabled=0\n")
		}
		if s.KeyFile != "" {
			fmt.Fprintf(&b, "gpgkey=file://%s\n", s.KeyFile)
		}
		if s.Unsigned {
			b.WriteString("gpgcheck=0\n")
		} else {
			b.WriteString("gpgcheck=0\nrepo_gpgcheck=1\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func escapeXML(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}

// evrAttributes returns a version as the index has it.
func evrAttributes(version string) string {
	epoch, v, r := splitEVR(version)
	text := fmt.Sprintf(`epoch="%s" ver="%s"`, escapeXML(epoch), escapeXML(v))
	if r != "" {
		text += fmt.Sprintf(` rel="%s"`, escapeXML(r))
	}
	return text
}

func entryXML(name, operator, version string) string {
	if operator == "" {
		return fmt.Sprintf(`<rpm:entry name="%s"/>`, escapeXML(name))
	}
	flags := map[string]string{"=": "EQ", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}[operator]
	return fmt.Sprintf(`<rpm:entry name="%s" flags="%s" %s/>`, escapeXML(name), flags, evrAttributes(version))
}

func relationsXML(what string, all []pkginfo.Relation) string {
	var b strings.Builder
	for _, r := range all {
		if len(r.Alternatives) == 1 {
			c := r.Alternatives[0]
			b.WriteString(entryXML(c.Name, c.Operator, c.Version))
			continue
		}
		var parts []string
		for _, c := range r.Alternatives {
			part := c.Name
			if c.Operator != "" {
				part += " " + c.Operator + " " + c.Version
			}
			parts = append(parts, part)
		}
		b.WriteString(entryXML("("+strings.Join(parts, " or ")+")", "", ""))
	}
	if b.Len() == 0 {
		return ""
	}
	return "<rpm:" + what + ">" + b.String() + "</rpm:" + what + ">"
}

// primaryXML returns the index of packages.
func primaryXML(packages []conformance.RepositoryPackage) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">
`, len(packages))
	for _, p := range packages {
		var provides strings.Builder
		for _, c := range append([]pkginfo.Capability{{Name: p.Name, Version: p.Version}}, p.Provides...) {
			operator := "="
			if c.Version == "" {
				operator = ""
			}
			provides.WriteString(entryXML(c.Name, operator, c.Version))
		}
		fmt.Fprintf(&b, `<package type="rpm">
  <name>%s</name>
  <arch>%s</arch>
  <version %s/>
  <checksum type="sha256" pkgid="YES">%x</checksum>
  <summary>%s</summary>
  <description>Text</description>
  <time file="1" build="2"/>
  <size package="%d" installed="1000" archive="2000"/>
  <location href="%s"/>
  <format>
    <rpm:license>MIT</rpm:license>
    <rpm:sourcerpm>source-1-1.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="4504" end="90000"/>
    <rpm:provides>%s</rpm:provides>
    %s%s
    <file>/usr/bin/%s</file>
  </format>
</package>
`, escapeXML(p.Name), escapeXML(p.Architecture), evrAttributes(p.Version), sha256.Sum256([]byte(p.Content)), escapeXML(p.Summary),
			len(p.Content), escapeXML(p.Path), provides.String(), relationsXML("requires", p.Requires), relationsXML("recommends", p.Recommends),
			escapeXML(p.Name))
	}
	b.WriteString("</metadata>\n")
	return b.String()
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func buildRepository(t testing.TB, dir string, r conformance.Repository) {
	t.Helper()
	text := primaryXML(r.Packages)
	packed := gzipped(t, text)
	name := fmt.Sprintf("repodata/%x-primary.xml.gz", sha256.Sum256(packed))
	description := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>%d</revision>
  <data type="primary">
    <checksum type="sha256">%x</checksum>
    <open-checksum type="sha256">%x</open-checksum>
    <location href="%s"/>
    <timestamp>%d</timestamp>
    <size>%d</size>
    <open-size>%d</open-size>
  </data>
</repomd>
`, r.Date.Unix(), sha256.Sum256(packed), sha256.Sum256([]byte(text)), name, r.Date.Unix(), len(packed), len(text))
	writeInto(t, dir, name, string(packed))
	writeInto(t, dir, "repodata/repomd.xml", description)
	if r.Signer != nil {
		writeInto(t, dir, "repodata/repomd.xml.asc", detachedSignature(t, r.Signer, description))
	}
}

func detachedSignature(t testing.TB, signer *openpgp.Entity, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, signer, strings.NewReader(text), &packet.Config{DefaultHash: crypto.SHA256}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeInto(t testing.TB, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
