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

	// FileLists has the index name only commands and configuration, as createrepo_c does,
	// and a second one all files.
	FileLists bool

	Digest string // "SHA512"; of indexes and packages: "SHA256" when empty

	EditIndex       func(text string) string // changes the index before it is packed
	EditDescription func(text string) string // changes the description before it is signed
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
	r.Digest = orElse(r.Digest, "SHA256")
	files := Files{}
	for i := range r.Packages {
		files[RPMPath(r.Packages[i])] = string(testrpm.RPM(tb, r.Packages[i]))
	}
	data := r.data(tb, files, "primary", r.index(files))
	if r.FileLists {
		data += r.data(tb, files, "filelists", r.fileLists(files))
	}
	description := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo">
  <revision>%d</revision>
%s</repomd>
`, r.Date.Unix(), data)
	if r.EditDescription != nil {
		description = r.EditDescription(description)
	}
	files["repodata/repomd.xml"] = description
	if r.Signer != nil {
		files["repodata/repomd.xml.asc"] = Detached(tb, description, r.Signer, r.SignWith, r.Date)
	}
	return files
}

// data packs an index, adds it to the files, and returns what the description says of it.
func (r *RPMs) data(tb testing.TB, files Files, kind, text string) string {
	tb.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	name := fmt.Sprintf("repodata/%x-%s.xml.gz", sha256.Sum256(packed.Bytes()), kind)
	files[name] = packed.String()
	return fmt.Sprintf(`  <data type="%s">
    <checksum type="%s">%s</checksum>
    <open-checksum type="%[2]s">%[4]s</open-checksum>
    <location href="%[5]s"/>
    <timestamp>%d</timestamp>
    <size>%d</size>
    <open-size>%d</open-size>
  </data>
`, kind, strings.ToLower(r.Digest), sum(r.Digest, packed.String()), sum(r.Digest, text), name, r.Date.Unix(), packed.Len(), len(text))
}

// fileLists returns filelists.xml.
func (r *RPMs) fileLists(files Files) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>
<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="%d">
`, len(r.Packages))
	for i := range r.Packages {
		p := &r.Packages[i]
		fmt.Fprintf(&b, `<package pkgid="%s" name="%s" arch="%s">
  <version epoch="0" ver="%s" rel="%s"/>
`, sum(r.Digest, files[RPMPath(*p)]), escape(orElse(p.Name, "hello")), orElse(p.Arch, "x86_64"), escape(orElse(p.Version, "1.0")), escape(orElse(p.Release, "1")))
		for _, f := range p.Files {
			fmt.Fprintf(&b, "  <file>%s</file>\n", escape(f.Path))
		}
		b.WriteString("</package>\n")
	}
	b.WriteString("</filelists>\n")
	return b.String()
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
  <checksum type="%s" pkgid="YES">%s</checksum>
  <summary>%s</summary>
  <time file="1" build="2"/>
  <size package="%d" installed="1000" archive="2000"/>
  <location href="%s"/>
  <format>
    <rpm:provides><rpm:entry name="%[1]s" flags="EQ" epoch="0" ver="%[3]s" rel="%[4]s"/>%[10]s</rpm:provides>
    <rpm:requires>%[11]s</rpm:requires>
`, escape(name), orElse(p.Arch, "x86_64"), escape(version), escape(release), strings.ToLower(r.Digest), sum(r.Digest, content), escape(orElse(p.Summary, "a package")),
			len(content), escape(RPMPath(*p)), entries(p.Provides), entries(p.Requires))
		for _, f := range p.Files {
			if !r.FileLists || strings.HasPrefix(f.Path, "/etc/") || strings.Contains(f.Path, "bin/") {
				fmt.Fprintf(&b, "    <file>%s</file>\n", escape(f.Path))
			}
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
