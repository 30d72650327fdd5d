package deb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
)

func TestParseSources(t *testing.T) {
	lines := `# deb [signed-by=/no] http://no.example.org x main
deb http://deb.debian.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://user:secret@packages.example.org/deb_x/ stable main # text
deb [ signed-by=/a.gpg,/b.asc ] file:///srv/archive ./
deb [trusted=yes] http://x.example.org y main
deb [signed-by=/a.gpg
`
	want := []deb.Source{
		{Prefixes: []string{"packages.example.org_deb%5fx_dists_stable_"}, SignedBy: []string{"/usr/share/keyrings/x.gpg"}},
		{Prefixes: []string{"_srv_archive_._"}, SignedBy: []string{"/a.gpg", "/b.asc"}},
	}
	if diff := cmp.Diff(want, deb.ParseSources("sources.list", lines)); diff != "" {
		t.Error(diff)
	}
	paragraphs := `Types: deb
# comment
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://z.example.org/
Suites: s/
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

URIs: http://w.example.org/
Suites: s
`
	want = []deb.Source{
		{
			Prefixes: []string{"deb.debian.org_debian_dists_trixie_", "deb.debian.org_debian_dists_trixie-updates_"},
			SignedBy: []string{"/usr/share/keyrings/debian-archive-keyring.gpg"},
		},
		{Prefixes: []string{"z.example.org_s_"}, Key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"},
	}
	if diff := cmp.Diff(want, deb.ParseSources("x.sources", paragraphs)); diff != "" {
		t.Error(diff)
	}
}

func TestWithFingerprint(t *testing.T) {
	a, b := newKey(t, "a"), newKey(t, "b")
	found := keyring(t, a, b).WithFingerprint(strings.ToUpper(fmt.Sprintf("%x!", b.PrimaryKey.Fingerprint)))
	if e := found.Entities(); len(e) != 1 || e[0].PrimaryKey.KeyId != b.PrimaryKey.KeyId {
		t.Errorf("%d keys", len(e))
	}
}
