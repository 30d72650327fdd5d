package record

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestReadPackageFile reads the beginning of a manifest, and of what is none.
func TestReadPackageFile(t *testing.T) {
	m := jqManifest()
	m.Package = PackageFile{File: "jq_1.6_amd64.deb", Size: 60, Signature: pkginfo.Signature{Verdict: pkginfo.Good, Signer: "somebody", Reason: "a reason"}}
	for len(m.Files) < 10000 {
		m.Files = append(m.Files, m.Files[0])
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, head := range map[string]string{
		"as written":     "",
		"another order":  `{"layout":1,"files":[{"path":"}"}],`,
		"with more":      `{"later":{"package":{"file":"x"}},`,
		"package before": `{"package":` + strings.SplitN(strings.SplitN(string(b), `"package":`, 2)[1], "}", 2)[0] + "},",
	} {
		text := string(b)
		if head != "" {
			text = head + text[1:]
		}
		r := strings.NewReader(text)
		got, err := ReadPackageFile(r)
		if err != nil || got != m.Package {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if read := r.Size() - int64(r.Len()); read > 4096 {
			t.Errorf("%s: %d bytes were read", name, read)
		}
	}
	at := bytes.Index(b, []byte(`"package":`)) + 20
	for _, text := range []string{"", "{", "[", `{"layout":1}`, "null", "[1,2]", `{"layout":99,"package":{}}`, `{"package":[]}`, string(b[:at])} {
		if got, err := ReadPackageFile(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q: %+v", text, got)
		}
	}
}

// TestReadGenerated reads the end of a manifest.
func TestReadGenerated(t *testing.T) {
	m := jqManifest()
	if b, err := m.Encode(); err != nil {
		t.Fatal(err)
	} else if got, err := ReadGenerated(b); err != nil || got != nil {
		t.Errorf("of a package: %v, %v", got, err)
	}
	input := digest.Of([]byte("input"))
	m.Origin, m.Generated = OriginView, []Generated{{By: `a "],"generated":[` + "`", Input: input}, {By: "MIME types", Input: digest.Of(nil)}}
	m.Files[0].Generated = &input
	m.Files[0].Path = `a,"generated":[{"by":"x"}]`
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadGenerated(b); err != nil || !slices.Equal(got, m.Generated) {
		t.Errorf("%+v, %v; want %+v", got, err, m.Generated)
	}
	if got, err := ReadGenerated(b[:len(b)-3]); err == nil {
		t.Errorf("of one that was cut: %+v", got)
	}
}
