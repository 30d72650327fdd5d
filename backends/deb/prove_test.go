package deb_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// sumOf returns what the format proves a package file by.
func sumOf(content string) []byte {
	h := deb.Format{}.NewHash()
	io.WriteString(h, content)
	return h.Sum(nil)
}

// TestNewHash compares the sum with those of the two digests.
func TestNewHash(t *testing.T) {
	sum256, sum512 := sha256.Sum256([]byte("jq")), sha512.Sum512([]byte("jq"))
	h := deb.Format{}.NewHash()
	io.WriteString(h, "x")
	h.Reset()
	io.WriteString(h, "jq")
	if got := h.Sum([]byte("-")); !bytes.Equal(got, slices.Concat([]byte("-"), sum256[:], sum512[:])) || h.Size() != len(got)-1 {
		t.Errorf("%x", got)
	}
}

// TestProve has roots whose apt trusts, or does not, the key that has signed.
func TestProve(t *testing.T) {
	key, other := newKey(t, "archive"), newKey(t, "other")
	public := func(k *openpgp.Entity) string {
		var b bytes.Buffer
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	index := paragraphOf(fileOf("jq", "1", "amd64", "jq"))
	release := clearSign(t, releaseOf("Valid-Until: Sat, 08 Feb 2025 20:10:01 UTC\n", map[string]string{indexPath: index}), key)
	file := backends.PackageFile{Name: "jq", Version: "1", Architecture: "amd64", Size: 2, Sum: sumOf("jq")}
	const (
		trusted = "etc/apt/trusted.gpg.d/archive.gpg"
		source  = "etc/apt/sources.list.d/archive.sources"
		named   = "Types: deb\nURIs: http://deb.example.org/debian\nSuites: stable\nComponents: main\nSigned-By: "
		lists   = "var/lib/apt/lists/"
	)
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(public(key))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	inSource := strings.ReplaceAll("\n"+armored.String(), "\n\n", "\n.\n")
	for _, tc := range []struct {
		name    string
		files   map[string]string // of the root, beside the lists
		keys    *trust.Keyring
		given   bool // the lists are in a directory of their own
		noLists bool
		want    string // a part of the reason; "" if it is proved
		warning string
	}{
		{name: "trusted", files: map[string]string{trusted: public(key)}},
		{name: "old file", files: map[string]string{"etc/apt/trusted.gpg": public(key)}},
		{name: "nobody", want: "there is no key"},
		{name: "other trusted", files: map[string]string{trusted: public(other)}, want: "a key that is not known"},
		{name: "given", keys: keyring(t, key)},
		{name: "given another", files: map[string]string{trusted: public(key)}, keys: keyring(t, other), want: "a key that is not known"},
		{name: "named by the source", files: map[string]string{source: named + "/keys/a.gpg\n", "keys/a.gpg": public(key)}},
		{name: "named in the source", files: map[string]string{source: named + strings.ReplaceAll(inSource, "\n", "\n ") + "\n"}},
		{
			name: "another named by the source", want: "a key that is not known",
			files: map[string]string{source: named + "/keys/a.gpg\n", "keys/a.gpg": public(other), trusted: public(key)},
		},
		{name: "file of no keys", files: map[string]string{trusted: "hello"}, want: "there is no key", warning: "archive.gpg"},
		{name: "other directory", files: map[string]string{trusted: public(key)}, given: true},
		{name: "no lists", files: map[string]string{trusted: public(key)}, noLists: true, want: "/var/lib/apt/lists: there are no indexes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, elsewhere := t.TempDir(), t.TempDir()
			write := func(to, name, content string) {
				file := filepath.Join(to, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for name, content := range tc.files {
				write(dir, name, content)
			}
			request := backends.ProofRequest{Files: []backends.PackageFile{file}, Keys: tc.keys, Now: time.Unix(1700000000, 0)}
			switch {
			case tc.given:
				request.Index = elsewhere
				write(elsewhere, inRelease, release)
				write(elsewhere, indexFile, index)
			case !tc.noLists:
				write(dir, lists+inRelease, release)
				write(dir, lists+indexFile, index)
			}
			proofs, warnings, err := deb.Format{}.Prove(context.Background(), openRoot(t, dir), request)
			if err != nil || len(proofs) != 1 {
				t.Fatal(proofs, err)
			}
			p := proofs[0]
			isGood := p.Verdict == pkginfo.Good && strings.HasPrefix(p.Signer, "archive ") && p.Reason == ""
			isUnsigned := p.Verdict == pkginfo.Unsigned && p.Signer == "" && strings.Contains(p.Reason, tc.want)
			if tc.want == "" && !isGood || tc.want != "" && !isUnsigned {
				t.Errorf("%+v, want %q", p, tc.want)
			}
			if got := strings.Join(warnings, "; "); (got != "") != (tc.warning != "") || !strings.Contains(got, tc.warning) {
				t.Errorf("told: %q", got)
			}
			request.Now = time.Unix(1800000000, 0)
			proofs, _, err = deb.Format{}.Prove(context.Background(), openRoot(t, dir), request)
			if err != nil || tc.want == "" && (proofs[0].Verdict != pkginfo.Good || !strings.Contains(proofs[0].Reason, "2025-02-08")) {
				t.Errorf("of an index that has expired: %+v, %v", proofs, err)
			}
		})
	}
	request := backends.ProofRequest{Files: []backends.PackageFile{file}, Index: filepath.Join(t.TempDir(), "missing")}
	if _, _, err := (deb.Format{}).Prove(context.Background(), openRoot(t, t.TempDir()), request); err == nil {
		t.Error("a directory that was named and is not there is no error")
	}
}
