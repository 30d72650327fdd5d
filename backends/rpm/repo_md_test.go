package rpm

import (
	"strings"
	"testing"
)

// dataXML is what a description says of a file of a type.
func dataXML(kind string) string {
	return `<data type="` + kind + `"><checksum type="sha256">` + strings.Repeat("0", 64) + `</checksum><location href="repodata/` + kind + `"/><size>1</size></data>`
}

// TestZchunk has what createrepo_c writes with --zck, beside the plain indexes, and a
// repository of which somebody has removed these.
func TestZchunk(t *testing.T) {
	m, err := parseRepomd([]byte("<repomd>" + dataXML("primary_zck") + dataXML("filelists_zck") + dataXML("primary") + dataXML("filelists") + "</repomd>"))
	if err != nil || m.primary.Paths[0] != "repodata/primary" || m.files.Paths[0] != "repodata/filelists" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := parseRepomd([]byte("<repomd>" + dataXML("primary_zck") + "</repomd>")); err == nil || !strings.Contains(err.Error(), "zchunk only") {
		t.Errorf("only zchunk: %v", err)
	}
	if _, err := parseRepomd([]byte("<repomd>" + dataXML("other") + "</repomd>")); err == nil || strings.Contains(err.Error(), "zchunk") {
		t.Errorf("neither: %v", err)
	}
}
