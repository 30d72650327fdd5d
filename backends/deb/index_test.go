package deb_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

func newKey(t testing.TB, name string) *openpgp.Entity {
	t.Helper()
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) }}
	key, err := openpgp.NewEntity(name, "", name+"@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyring returns the public part of keys.
func keyring(t testing.TB, keys ...*openpgp.Entity) *trust.Keyring {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := trust.ParseKeyring(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func clearSign(t testing.TB, text string, keys ...*openpgp.Entity) string {
	t.Helper()
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, private, &packet.Config{DefaultHash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func detach(t testing.TB, text string, armored bool, key *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	sign := openpgp.DetachSign
	if armored {
		sign = openpgp.ArmoredDetachSign
	}
	if err := sign(&b, key, strings.NewReader(text), nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// releaseOf returns a Release file of indexes, by their path in the archive.
func releaseOf(fields string, indexes map[string]string) string {
	text := "Origin: Test\n" + fields + "MD5Sum:\n 0123 1 main/binary-amd64/Packages\nSHA256:\n"
	for path, content := range indexes {
		text += fmt.Sprintf(" %x %8d %s\n", sha256.Sum256([]byte(content)), len(content), path)
	}
	return text
}

// release512Of is releaseOf an archive that has no SHA-256.
func release512Of(indexes map[string]string) string {
	text := "Origin: Test\nSHA512:\n"
	for path, content := range indexes {
		text += fmt.Sprintf(" %x %8d %s\n", sha512.Sum512([]byte(content)), len(content), path)
	}
	return text
}

// fileOf returns what a package file with some content is looked up by.
func fileOf(name, version, architecture, content string) deb.File {
	return deb.File{
		Name: name, Version: version, Architecture: architecture, Size: int64(len(content)),
		SHA256: sha256.Sum256([]byte(content)), SHA512: sha512.Sum512([]byte(content)),
	}
}

func paragraphOf(f deb.File) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nDepends: %s\nFilename: ../../../etc/passwd\nSize: %d\nSHA256: %x\nDescription: text\n more: of it\n",
		f.Name, f.Version, f.Architecture, strings.Repeat("libx, ", 40000), f.Size, f.SHA256)
}

const (
	indexPath = "main/binary-amd64/Packages"
	indexFile = "deb.example.org_debian_dists_stable_main_binary-amd64_Packages"
	inRelease = "deb.example.org_debian_dists_stable_InRelease"
)

// TestCheckFiles has a directory of lists for each way to be proved, and not to be.
func TestCheckFiles(t *testing.T) {
	key, other := newKey(t, "archive"), newKey(t, "other")
	want := fileOf("jq", "1:1.7-1", "amd64", "jq")
	altered, elsewhere := want, want
	altered.SHA256[0] ^= 1
	strong := func(f deb.File) string {
		return strings.Replace(paragraphOf(f), "Description:", fmt.Sprintf("SHA512: %x\nDescription:", f.SHA512), 1)
	}
	only512 := func(f deb.File) string {
		return strings.Replace(strong(f), fmt.Sprintf("SHA256: %x\n", f.SHA256), "", 1)
	}
	altered512 := want
	altered512.SHA512[0] ^= 1
	elsewhere.Name = "yq"
	index := paragraphOf(elsewhere) + "\n" + paragraphOf(want) + "\n"
	release := releaseOf("", map[string]string{indexPath: index})
	pack := func(content string, c testdeb.Compression) string {
		b, err := testdeb.Compress([]byte(content), c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	oneByte := strings.Replace(index, "text", "Text", 1)
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string // the beginning of the reason; "" if it is proved
	}{
		{"plain", map[string]string{inRelease: clearSign(t, release, key), indexFile: index}, ""},
		{"short names", map[string]string{"InRelease": clearSign(t, release, key), "main_binary-amd64_Packages": index}, ""},
		{"flat", map[string]string{"InRelease": clearSign(t, releaseOf("", map[string]string{"Packages": index}), key), "Packages": index}, ""},
		{"two keys", map[string]string{inRelease: clearSign(t, release, other, key), indexFile: index}, ""},
		{"packed by apt", map[string]string{inRelease: clearSign(t, release, key), indexFile + ".gz": pack(index, testdeb.Gzip)}, ""},
		{"xz", map[string]string{inRelease: clearSign(t, release, key), indexFile + ".xz": pack(index, testdeb.Xz)}, ""},
		{"two streams of xz", map[string]string{inRelease: clearSign(t, release, key), indexFile + ".xz": pack(index[:20], testdeb.Xz) + pack(index[20:], testdeb.Xz)}, ""},
		{"zstd", map[string]string{inRelease: clearSign(t, release, key), indexFile + ".zst": pack(index, testdeb.Zstd)}, ""},
		{"lz4", map[string]string{inRelease: clearSign(t, release, key), indexFile + ".lz4": pack(index, testdeb.Lz4)}, ""},
		{"listed packed only", map[string]string{
			inRelease:         clearSign(t, releaseOf("", map[string]string{indexPath + ".xz": pack(index, testdeb.Xz)}), key),
			indexFile + ".xz": pack(index, testdeb.Xz),
		}, ""},
		{"Release.gpg", map[string]string{"Release": release, "Release.gpg": detach(t, release, true, key), "main_binary-amd64_Packages": index}, ""},
		{"Release.gpg, not armored", map[string]string{"Release": release, "Release.gpg": detach(t, release, false, key), "main_binary-amd64_Packages": index}, ""},

		{"SHA-512 only", map[string]string{inRelease: clearSign(t, release512Of(map[string]string{indexPath: only512(want)}), key), indexFile: only512(want)}, ""},
		{"SHA-512 in the index only", map[string]string{inRelease: clearSign(t, releaseOf("", map[string]string{indexPath: only512(want)}), key), indexFile: only512(want)}, ""},
		{"both digests", map[string]string{inRelease: clearSign(t, releaseOf("", map[string]string{indexPath: strong(want)}), key), indexFile: strong(want)}, ""},

		{"nothing", nil, "there are no indexes"},
		{"other contents, by SHA-512 only", map[string]string{
			inRelease: clearSign(t, release512Of(map[string]string{indexPath: only512(altered512)}), key), indexFile: only512(altered512),
		}, "lists other contents"},
		{"other contents, by one of two digests", map[string]string{
			inRelease: clearSign(t, release512Of(map[string]string{indexPath: strong(altered512)}), key), indexFile: strong(altered512),
		}, "lists other contents"},
		{"tampered index, SHA-512 only", map[string]string{
			inRelease: clearSign(t, release512Of(map[string]string{indexPath: only512(want) + "\n"}), key), indexFile: only512(want) + " ",
		}, indexFile + ": it is not the one that is signed"},
		{"stronger digest of another index", map[string]string{
			inRelease: clearSign(t, release+strings.TrimPrefix(release512Of(map[string]string{indexPath: strings.Replace(index, "text", "Text", 1)}), "Origin: Test\n"), key), indexFile: index,
		}, indexFile + ": it is not the one that is signed"},
		{"not listed", map[string]string{
			"InRelease":                  clearSign(t, releaseOf("", map[string]string{indexPath: paragraphOf(elsewhere)}), key),
			"main_binary-amd64_Packages": paragraphOf(elsewhere),
		}, "no index whose signature is good lists it"},
		{"other contents", map[string]string{
			"InRelease":                  clearSign(t, releaseOf("", map[string]string{indexPath: paragraphOf(altered)}), key),
			"main_binary-amd64_Packages": paragraphOf(altered),
		}, "the index of InRelease lists other contents"},
		{"tampered index", map[string]string{inRelease: clearSign(t, release, key), indexFile: oneByte}, indexFile + ": it is not the one that is signed"},
		{"longer index", map[string]string{inRelease: clearSign(t, release, key), indexFile: index + "\n"}, indexFile + ": it is not the one that is signed"},
		{"cut off", map[string]string{inRelease: clearSign(t, release, key), indexFile: index[:len(index)-20]}, ""},
		{"tampered, packed", map[string]string{
			inRelease:         clearSign(t, releaseOf("", map[string]string{indexPath + ".xz": pack(index, testdeb.Xz)}), key),
			indexFile + ".xz": pack(oneByte, testdeb.Xz),
		}, indexFile + ".xz: it is not the one that is signed"},
		{"no index", map[string]string{inRelease: clearSign(t, release, key)}, "no index whose signature is good lists it"},
		{"index of another archive", map[string]string{inRelease: clearSign(t, release, key), "other_" + indexFile: index}, "no index whose signature is good lists it"},
		{"wrong key", map[string]string{inRelease: clearSign(t, release, other), indexFile: index}, inRelease + ": it is signed with a key that is not known: "},
		{"tampered Release", map[string]string{inRelease: strings.Replace(clearSign(t, release, key), "Origin: T", "Origin: B", 1), indexFile: index}, inRelease + ": its signature is not good"},
		{"text before", map[string]string{inRelease: release + clearSign(t, release, key), indexFile: index}, inRelease + ": it is not clear-signed"},
		{"text behind", map[string]string{inRelease: clearSign(t, release, key) + release, indexFile: index}, inRelease + ": it is not clear-signed"},
		{"not signed", map[string]string{"Release": release, "main_binary-amd64_Packages": index}, "Release: it is not signed"},
		{"of another text", map[string]string{"Release": release, "Release.gpg": detach(t, release+" ", true, key), "main_binary-amd64_Packages": index}, "Release: its signature is not good"},
		{"no signature", map[string]string{"Release": release, "Release.gpg": "none", "main_binary-amd64_Packages": index}, "Release: its signature is damaged"},
		{"no lz4", map[string]string{inRelease: clearSign(t, release, key), indexFile + ".lz4": "x"}, indexFile + ".lz4: it is damaged"},
		{"field twice", map[string]string{
			"InRelease":                  clearSign(t, releaseOf("", map[string]string{indexPath: "Package: jq\n" + index}), key),
			"main_binary-amd64_Packages": "Package: jq\nPackage: jq\n" + index,
		}, "main_binary-amd64_Packages: line 2: the field"},
		{"no digest of sha256", map[string]string{inRelease: clearSign(t, "Origin: Test\n", key), indexFile: index}, inRelease + ": it has no SHA-512 or SHA-256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "tampered, packed" { // without xz another check finds it first
				testneed.Programs(t, "xz")
			}
			dir := t.TempDir()
			for name, content := range test.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			proofs, err := deb.CheckFiles(context.Background(), os.DirFS(dir), []deb.File{want}, func(string) *trust.Keyring { return keyring(t, key) })
			if err != nil || len(proofs) != 1 {
				t.Fatal(proofs, err)
			}
			p := proofs[0]
			if test.name == "cut off" { // whatever it says, it is not proved
				if p.Signer != "" || p.Reason == "" {
					t.Errorf("%+v", p)
				}
				return
			}
			isProved := p.Signer == fmt.Sprintf("archive <archive@example.org> (key %016x)", key.PrimaryKey.KeyId)
			if isProved != (test.want == "") || isProved != (p.Reason == "") || !strings.Contains(p.Reason, test.want) {
				t.Errorf("%+v, want the reason %q", p, test.want)
			}
			if p.Differs != strings.HasPrefix(test.name, "other contents") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestCheckFilesValidUntil sees to it that the date is reported, of the newest index.
func TestCheckFilesValidUntil(t *testing.T) {
	key := newKey(t, "archive")
	want := fileOf("jq", "1", "all", "jq")
	index := paragraphOf(want)
	dir := t.TempDir()
	for prefix, date := range map[string]string{"a_": "Sat, 08 Feb 2025 20:10:01 UTC", "b_": "Sun, 09 Feb 2025 20:10:01 +0000"} {
		release := clearSign(t, releaseOf("Valid-Until: "+date+"\n", map[string]string{indexPath: index}), key)
		for name, content := range map[string]string{"InRelease": release, "main_binary-amd64_Packages": index} {
			if err := os.WriteFile(filepath.Join(dir, prefix+name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	proofs, err := deb.CheckFiles(context.Background(), os.DirFS(dir), []deb.File{want}, func(string) *trust.Keyring { return keyring(t, key) })
	if err != nil || proofs[0].Signer == "" || !proofs[0].ValidUntil.Equal(time.Date(2025, 2, 9, 20, 10, 1, 0, time.UTC)) || proofs[0].Index != "b_InRelease" {
		t.Errorf("%+v, %v", proofs, err)
	}
	// The keys of one archive do not sign for another.
	proofs, err = deb.CheckFiles(context.Background(), os.DirFS(dir), []deb.File{want}, func(prefix string) *trust.Keyring {
		if prefix == "a_" {
			return keyring(t, key)
		}
		return nil
	})
	if err != nil || proofs[0].Index != "a_InRelease" {
		t.Errorf("%+v, %v", proofs, err)
	}
}

// FuzzCheckFiles reads a signed Release file and an index of any content: nothing is
// proved that the digest of the index does not cover.
func FuzzCheckFiles(f *testing.F) {
	key := newKey(f, "archive")
	want := fileOf("jq", "1.7-1", "amd64", "jq")
	index := "Package: jq\nVersion: 1.7-1\nArchitecture: amd64\nSize: 2\nSHA256: " + fmt.Sprintf("%x", want.SHA256) + "\n"
	f.Add(releaseOf("Valid-Until: Sat, 08 Feb 2025 20:10:01 UTC\n", map[string]string{"Packages": index}), index, false)
	f.Add(releaseOf("", map[string]string{"Packages": index}), strings.ToUpper(index), true)
	f.Add("SHA256:\n x", "\n\n \n", false)
	index = strings.Replace(index, fmt.Sprintf("SHA256: %x", want.SHA256), fmt.Sprintf("SHA512: %x", want.SHA512), 1)
	f.Add(release512Of(map[string]string{"Packages": index}), index, false)
	f.Fuzz(func(t *testing.T, release, index string, raw bool) {
		if !raw { // else the reader of signatures has its turn
			release = clearSign(t, release, key)
		}
		dir := t.TempDir()
		for name, content := range map[string]string{"InRelease": release, "Packages": index} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		proofs, err := deb.CheckFiles(context.Background(), os.DirFS(dir), []deb.File{want}, func(string) *trust.Keyring { return keyring(t, key) })
		if err != nil || len(proofs) != 1 || (proofs[0].Signer == "") != (proofs[0].Reason != "") {
			t.Fatalf("%+v, %v", proofs, err)
		}
		sum, sum512 := fmt.Sprintf("%x", sha256.Sum256([]byte(index))), fmt.Sprintf("%x", sha512.Sum512([]byte(index)))
		release = strings.ToLower(release)
		if proofs[0].Signer != "" && (raw || !strings.Contains(release, sum) && !strings.Contains(release, sum512)) {
			t.Errorf("proved by %q", release)
		}
	})
}
