package sbom_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/sbom"
)

func bill() *sbom.Bill {
	one := func(name, version string, needs ...int) sbom.Package {
		return sbom.Package{
			Format: "deb", Name: name, Version: version, Architecture: "amd64", Release: "trixie", Vendor: "debian", Summary: `it's "<a & b>"`,
			File: name + ".deb", Digest: digest.Of([]byte(name)), Identity: digest.Of([]byte(name + version)), Tree: name + "/" + version, Needs: needs,
		}
	}
	b := &sbom.Bill{Name: "hashpkg prefix /var/sys", Tool: "1.0", Time: time.Unix(1700000000, 0), Packages: []sbom.Package{
		one("jq", "1.7.1-6", 1, 2), one("libc6", "2.41-12+deb13u1"), one("libstdc++6", "14.2", 1), one("libstdc++6", "12.2", 1),
	}}
	b.Packages[1].Digest, b.Packages[1].File = digest.Digest{}, "" // of the system
	b.Packages[2].Source, b.Packages[0].Program = "gcc-14", true
	return b
}

func TestPURL(t *testing.T) {
	for _, tt := range []struct {
		p    sbom.Package
		want string
	}{
		{sbom.Package{Format: "deb", Name: "jq", Version: "1.7.1-6", Architecture: "amd64", Vendor: "debian", Release: "trixie"}, "pkg:deb/debian/jq@1.7.1-6?arch=amd64&distro=trixie"},
		{sbom.Package{Format: "deb", Name: "libstdc++6", Version: "1:14.2~rc1+b1", Architecture: "amd64", Vendor: "debian"}, "pkg:deb/debian/libstdc%2B%2B6@1:14.2~rc1%2Bb1?arch=amd64"},
		{sbom.Package{Format: "rpm", Name: "vim", Version: "2:9.1-1.fc42", Architecture: "x86_64", Vendor: "fedora", Release: "fedora-42"}, "pkg:rpm/fedora/vim@9.1-1.fc42?arch=x86_64&distro=fedora-42&epoch=2"},
		{sbom.Package{Format: "deb", Name: "libssl3", Version: "3.0.11-1", Architecture: "amd64", Vendor: "debian", Release: "bookworm", Source: "openssl"}, "pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=bookworm&upstream=openssl"},
		{sbom.Package{Format: "rpm", Name: "openSUSE-release", Version: "0:15.6-lp156.415.3", Architecture: "noarch", Vendor: "opensuse", Release: "opensuse-leap-15.6"}, "pkg:rpm/opensuse/openSUSE-release@15.6-lp156.415.3?arch=noarch&distro=opensuse-leap-15.6&epoch=0"},
		{sbom.Package{Format: "rpm", Name: "own", Version: "1-1", Architecture: "noarch"}, "pkg:rpm/own@1-1?arch=noarch"},
	} {
		if have := tt.p.PURL(); have != tt.want {
			t.Errorf("%s, want %s", have, tt.want)
		}
	}
}

// TestSPDX has SPDX's own library read the document, and say whether it is valid.
func TestSPDX(t *testing.T) {
	b, err := sbom.SPDX(bill())
	if err != nil {
		t.Fatal(err)
	}
	d, err := spdxjson.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if err := spdxlib.ValidateDocument(d); err != nil {
		t.Error(err)
	}
	if len(d.Packages) != 4 || len(d.Relationships) != 4+4 || d.Packages[0].PackageExternalReferences[0].Locator != "pkg:deb/debian/jq@1.7.1-6?arch=amd64&distro=trixie" {
		t.Errorf("%s", b)
	}
	if sums := d.Packages[0].PackageChecksums; len(sums) != 1 || sums[0].Algorithm != "BLAKE3" || len(d.Packages[1].PackageChecksums) != 0 {
		t.Errorf("%s", b)
	}
	ids := map[string]bool{}
	for _, p := range d.Packages {
		if id := string(p.PackageSPDXIdentifier); ids[id] || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("the identifier %s", id)
		}
		ids[string(p.PackageSPDXIdentifier)] = true
	}
}

// TestCycloneDX compares the document with the format's schema.
func TestCycloneDX(t *testing.T) {
	b, err := sbom.CycloneDX(bill())
	if err != nil {
		t.Fatal(err)
	}
	schema := cycloneDXSchema(t)
	check := func(b []byte) error {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(document)
	}
	if err := check(b); err != nil {
		t.Errorf("%v\n%s", err, b)
	}
	if err := check(bytes.Replace(b, []byte(`"BLAKE3"`), []byte(`"BLAKE9"`), 1)); err == nil {
		t.Error("the schema refuses nothing")
	}
	var d cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(b), cdx.BOMFileFormatJSON).Decode(&d); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{"prefix": true}
	for _, c := range *d.Components {
		if refs[c.BOMRef] {
			t.Errorf("%s is there twice", c.BOMRef)
		}
		refs[c.BOMRef] = true
	}
	for _, dependency := range *d.Dependencies {
		for _, ref := range append([]string{dependency.Ref}, deref(dependency.Dependencies)...) {
			if !refs[ref] {
				t.Errorf("%s is no component", ref)
			}
		}
	}
}

func deref(list *[]string) []string {
	if list == nil {
		return nil
	}
	return *list
}

// cycloneDXSchema returns the schema, which stands in the module of CycloneDX's own library.
func cycloneDXSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("find the schema: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	const base = "http://cyclonedx.org/schema/"
	c := jsonschema.NewCompiler()
	for name, file := range map[string]string{ // with those that it refers to
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		document, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(base+name, document); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(base + "bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
