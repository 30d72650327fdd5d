package testrepo

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// RPMs describes a repository of rpms. Of the relations of its packages the index has
// those without versions.
type RPMs struct {
	Packages []testrpm.Package
	Date     time.Time       // [Date] when zero
	Signer   *openpgp.Entity // of the description; nil if nobody has signed it
	SignWith crypto.Hash     // SHA-256 when zero

	EditIndex func(text string) string // changes the index before it is packed
}

// RPMPath returns where a repository has a package.
func RPMPath(p testrpm.Package) string {
	return fmt.Sprintf("Packages/%s-%s-%s.%s.rpm", orElse(p.Name, "hello"), orElse(p.Version, "1.0"), orElse(p.Release, "1"), orElse(p.Arch, "x86_64"))
}

// Files builds the repository.
func (r RPMs) Files(tb testing.TB) Files {
	tb.Helper()
	if r.Date.IsZero() {
		r.Date = Date
	}
	if r.SignWith == 0 {
		r.SignWith = crypto.SHA256
	}
	files := Files{}
	for i := range r.Packages {
		files[RPMPath(r.Packages[i])] = string(testrpm.RPM(tb, r.Packages[i]))
	}
	index := r.index(files)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(index)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	name := fmt.Sprintf("repodata/%x-primary.xml.gz", sha256.Sum256(packed.Bytes()))
	description := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo">
  <revision>%d</revision>
  <data type="primary">
    <checksum type="sha256">%x</checksum>
    <open-checksum type="sha256">%x</open-checksum>
    <location href="%s"/>
    <timestamp>%[1]d</timestamp>
    <size>%[5]d</size>
    <open-size>%[6]d</open-size>
  </data>
</repomd>
`, r.Date.Unix(), sha256.Sum256(packed.Bytes()), sha256.Sum256([]byte(index)), name, packed.Len(), len(index))
	files[name] = packed.String()
	files["repodata/repomd.xml"] = description
	if r.Signer != nil {
		files["repodata/repomd.xml.asc"] = Detached(tb, description, r.Signer, r.SignWith, r.Date)
	}
	return files
}

// index returns primary.xml.
func (r *RPMs) index(files Files) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">
`, len(r.Packages))
	for i := range r.Packages {
		p := &r.Packages[i]
		name, version, release := orElse(p.Name, "hello"), orElse(p.Version, "1.0"), orElse(p.Release, "1")
		content := files[RPMPath(*p)]
		fmt.Fprintf(&b, `<package type="rpm">
  <name>%s</name>
  <arch>%s</arch>
  <version epoch="0" ver="%s" rel="%s"/>
  <checksum type="sha256" pkgid="YES">%x</checksum>
  <summary>%s</summary>
  <time file="1" build="2"/>
  <size package="%d" installed="1000" archive="2000"/>
  <location href="%s"/>
  <format>
    <rpm:provides><rpm:entry name="%[1]s" flags="EQ" epoch="0" ver="%[3]s" rel="%[4]s"/>%[9]s</rpm:provides>
    <rpm:requires>%[10]s</rpm:requires>
`, escape(name), orElse(p.Arch, "x86_64"), escape(version), escape(release), sha256.Sum256([]byte(content)), escape(orElse(p.Summary, "a package")),
			len(content), escape(RPMPath(*p)), entries(p.Provides), entries(p.Requires))
		for _, f := range p.Files {
			fmt.Fprintf(&b, "    <file>%s</file>\n", escape(f.Path))
		}
		b.WriteString("  </format>\n</package>\n")
	}
	b.WriteString("</metadata>\n")
	if r.EditIndex != nil {
		return r.EditIndex(b.String())
	}
	return b.String()
}

func entries(names []string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, `<rpm:entry name="%s"/>`, escape(name))
	}
	return b.String()
}

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return err.Error() // a Builder returns none
	}
	return b.String()
}

// Sources returns a file of sources for the repository at an address, as the one of this
// name. keys is the address of a file of keys, or its path in the root.
func (r RPMs) Sources(name, url, keys string) string {
	return fmt.Sprintf("[%s]\nname=A repository\nbaseurl=%s\ngpgcheck=0\nrepo_gpgcheck=1\ngpgkey=file://%s\n", name, url, keys)
}
