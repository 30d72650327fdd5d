package rpm_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// verify reads a whole package with a keyring.
func verify(t testing.TB, b []byte, keyring *trust.Keyring) (pkginfo.Verdict, []rpm.Signature) {
	t.Helper()
	r, err := rpm.NewReader(bytes.NewReader(b), keyring)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Signature().Verdict == pkginfo.Good {
		t.Error("a package is good before it is read")
	}
	for err == nil {
		_, err = r.Next()
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return r.Signature().Verdict, r.Signatures()
}

func keyring(t testing.TB, files ...[]byte) *trust.Keyring {
	t.Helper()
	k, err := trust.ParseKeyring(files...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSignedPackage(t *testing.T) {
	dir := realPackages
	signed := readFile(t, filepath.Join(dir, "hello-2.0-1.x86_64-signed.rpm"))
	keys := keyring(t, readFile(t, filepath.Join(dir, "rpm.org-rsa-2048-test.pub")))
	verdict, signatures := verify(t, signed, keys)
	if verdict != pkginfo.Good || len(signatures) != 2 {
		t.Errorf("%s, %v", verdict, signatures)
	}
	if s := signatures[0]; s.Kind != rpm.Header || s.KeyID != "4344591e1964c5fc" || s.Algorithm != "RSA" || s.Hash != "SHA-256" || s.Version != 4 || !strings.Contains(s.Signer, "rpm.org RSA") {
		t.Errorf("%+v", s)
	}
	if signatures[1].Kind != rpm.HeaderAndPayload {
		t.Errorf("%+v", signatures[1])
	}
	if verdict, signatures = verify(t, signed, nil); verdict != pkginfo.NoKey || len(signatures) != 2 {
		t.Errorf("without a keyring: %s, %v", verdict, signatures)
	}
	unsigned := readFile(t, filepath.Join(dir, "hello-2.0-1.x86_64.rpm"))
	if verdict, signatures = verify(t, unsigned, keys); verdict != pkginfo.Unsigned || len(signatures) != 0 {
		t.Errorf("unsigned: %s, %v", verdict, signatures)
	}
}

// TestReleaseSignatures verifies packages of CentOS 2 to 7 with the keys that they
// hold. Their signatures are of version 3, by DSA and RSA.
func TestReleaseSignatures(t *testing.T) {
	packages, err := filepath.Glob(filepath.Join(moduleDir(t, moduleCentOS), "testdata", "*.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	packages = append(packages, testrpm.CentOS("../..")...)
	var keys [][]byte
	for _, file := range packages {
		r, err := rpm.NewReader(bytes.NewReader(readFile(t, file)), nil)
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(filepath.Base(e.Path), "GPG-KEY") && len(b) > 0 {
				keys = append(keys, b)
			}
		}
		r.Close()
	}
	all := keyring(t, keys...)
	good := 0
	for _, file := range packages {
		verdict, signatures := verify(t, readFile(t, file), all)
		switch {
		case strings.Contains(file, "centos-release-3.1"): // its key is not in it
			if verdict != pkginfo.NoKey {
				t.Errorf("%s: %s", filepath.Base(file), verdict)
			}
		case verdict != pkginfo.Good:
			t.Errorf("%s: %s: %v", filepath.Base(file), verdict, signatures)
		default:
			good++
		}
	}
	t.Logf("%d keys, %d packages are good", all.Len(), good)
	if good < 9 {
		t.Errorf("%d packages are good", good)
	}
}

// TestRPMSign verifies what rpmsign signs with keys of gpg, and asks rpmkeys, too.
func TestRPMSign(t *testing.T) {
	testneed.Programs(t, "rpmsign", "gpg", "rpmkeys")
	for _, key := range []struct{ algorithm, name, want string }{
		{"rsa2048", "rsa", "RSA"},
		{"ed25519", "eddsa", "EdDSA"},
		{"nistp256", "ecdsa", "ECDSA"}, // which rpm 4.18 does not know
		{"nistp521", "ecdsa 521", "ECDSA"},
	} {
		for _, kind := range []string{"--addsign", "--rpmv3"} {
			if kind == "--rpmv3" && key.want == "ECDSA" {
				continue
			}
			t.Run(key.name+" "+kind, func(t *testing.T) {
				home, err := os.MkdirTemp("", "gpg") // its sockets have short names
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(home)
				run := func(name string, args ...string) string {
					t.Helper()
					cmd := exec.Command(name, args...)
					cmd.Env = append(os.Environ(), "GNUPGHOME="+home, "LC_ALL=C")
					output, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%s: %v\n%s", name, err, output)
					}
					return string(output)
				}
				defer exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
				run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "tester@example.org", key.algorithm, "sign", "never")
				public, err := exec.Command("gpg", "--homedir", home, "--armor", "--export").Output()
				if err != nil {
					t.Fatal(err)
				}
				if key.want == "ECDSA" {
					signByGPG(t, home, public)
					return
				}
				file := filepath.Join(home, "x.rpm")
				if err := os.WriteFile(file, testrpm.RPM(t, small(4, "zst")), 0o600); err != nil {
					t.Fatal(err)
				}
				program, err := exec.LookPath("gpg")
				if err != nil {
					t.Fatal(err)
				}
				args := []string{"--addsign", "--define", "__gpg " + program, "--define", "_gpg_name tester@example.org", file}
				if kind == "--rpmv3" {
					args = append([]string{"--rpmv3"}, args...)
				}
				run("rpmsign", args...)
				verdict, signatures := verify(t, readFile(t, file), keyring(t, public))
				if verdict != pkginfo.Good || len(signatures) == 0 {
					t.Fatalf("%s: %v", verdict, signatures)
				}
				for _, s := range signatures {
					if s.State != pkginfo.Good || s.Algorithm != key.want {
						t.Errorf("%+v", s)
					}
				}
				if kind == "--rpmv3" && len(signatures) != 2 {
					t.Errorf("%v", signatures)
				}
				keyFile := filepath.Join(home, "key")
				if err := os.WriteFile(keyFile, public, 0o600); err != nil {
					t.Fatal(err)
				}
				run("rpmkeys", "--dbpath", filepath.Join(home, "db"), "--import", keyFile)
				if output := run("rpmkeys", "--dbpath", filepath.Join(home, "db"), "-Kv", file); !strings.Contains(output, "ignature, key ID") || strings.Contains(output, "NOKEY") {
					t.Errorf("rpmkeys: %s", output)
				}
			})
		}
	}
}

// signByGPG verifies packages of the formats 4 and 6 whose header gpg has signed.
func signByGPG(t *testing.T, home string, public []byte) {
	t.Helper()
	for _, format := range []int{4, 6} {
		p := small(format, "none")
		p.Sign = func(header, _ []byte) []testrpm.Value {
			cmd := exec.Command("gpg", "--homedir", home, "--batch", "--detach-sign")
			cmd.Stdin = bytes.NewReader(header)
			sig, err := cmd.Output()
			if err != nil {
				t.Fatal("gpg: ", err)
			}
			if format == 6 {
				text := base64.StdEncoding.EncodeToString(sig) + "\x00"
				return []testrpm.Value{{Tag: 278, Type: 8, Count: 1, Data: []byte(text)}}
			}
			return []testrpm.Value{{Tag: 267, Type: 7, Count: uint32(len(sig)), Data: sig}}
		}
		verdict, signatures := verify(t, testrpm.RPM(t, p), keyring(t, public))
		if verdict != pkginfo.Good || len(signatures) != 1 || signatures[0].Algorithm != "ECDSA" {
			t.Errorf("format %d: %s: %v", format, verdict, signatures)
		}
	}
}

// signer makes keys and signatures without programs.
type signer struct {
	entity *openpgp.Entity
	config *packet.Config
}

func newSigner(t testing.TB, algo packet.PublicKeyAlgorithm) *signer {
	t.Helper()
	config := &packet.Config{
		Algorithm: algo, RSABits: 2048,
		Time: func() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) },
	}
	entity, err := openpgp.NewEntity("tester", "", "tester@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{entity, config}
}

// newSigner6 makes keys of version 6 (RFC 9580), as rpm 6 signs with.
func newSigner6(t testing.TB, algo packet.PublicKeyAlgorithm) *signer {
	t.Helper()
	config := &packet.Config{
		Algorithm: algo, V6Keys: true, DefaultHash: crypto.SHA512,
		Time: func() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) },
	}
	entity, err := openpgp.NewEntity("tester", "", "tester@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{entity, config}
}

func (s *signer) public(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.entity.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sign returns a signature packet over data.
func (s *signer) sign(t testing.TB, kind packet.SignatureType, when time.Time, hash crypto.Hash, data ...[]byte) []byte {
	t.Helper()
	key := s.entity.PrivateKey
	sig := &packet.Signature{
		Version: key.Version, SigType: kind, PubKeyAlgo: key.PubKeyAlgo, Hash: hash, CreationTime: when, IssuerKeyId: &key.KeyId,
	}
	h, err := sig.PrepareSign(s.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		h.Write(d)
	}
	if err := sig.Sign(h, key, s.config); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSignatureStates has signatures of every state, in every tag.
func TestSignatureStates(t *testing.T) {
	rsa, eddsa := newSigner(t, packet.PubKeyAlgoRSA), newSigner(t, packet.PubKeyAlgoEdDSA)
	ed25519, ed448 := newSigner6(t, packet.PubKeyAlgoEd25519), newSigner6(t, packet.PubKeyAlgoEd448)
	known := keyring(t, rsa.public(t), eddsa.public(t), ed25519.public(t), ed448.public(t))
	stranger6 := newSigner6(t, packet.PubKeyAlgoEd25519)
	stranger := newSigner(t, packet.PubKeyAlgoEdDSA)
	now := time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	const binary = packet.SigTypeBinary
	value := func(tag testrpm.Tag, b []byte) testrpm.Value {
		return testrpm.Value{Tag: tag, Type: 7, Count: uint32(len(b)), Data: b}
	}
	v6 := func(all ...[]byte) testrpm.Value {
		v := testrpm.Value{Tag: 278, Type: 8, Count: uint32(len(all))}
		for _, b := range all {
			v.Data = append(v.Data, base64.StdEncoding.EncodeToString(b)+"\x00"...)
		}
		return v
	}
	old := func(algo, hash byte) []byte {
		return []byte{0x88, 22, 3, 5, 0, 0x60, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, algo, hash, 0, 0, 0, 8, 0xff}
	}
	for _, test := range []struct {
		name   string
		format int
		sign   func(header, payload []byte) []testrpm.Value
		want   pkginfo.Verdict
	}{
		{"unsigned", 4, func(h, p []byte) []testrpm.Value { return nil }, pkginfo.Unsigned},
		{"rsa header", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(268, rsa.sign(t, binary, now, crypto.SHA256, h))}
		}, pkginfo.Good},
		{"eddsa header, sha512", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(267, eddsa.sign(t, binary, now, crypto.SHA512, h))}
		}, pkginfo.Good},
		{"header and payload", 3, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(1002, rsa.sign(t, binary, now, crypto.SHA256, h, p))}
		}, pkginfo.Good},
		{"header and payload, eddsa", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(1005, eddsa.sign(t, binary, now, crypto.SHA256, h, p))}
		}, pkginfo.Good},
		{"format 6", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(rsa.sign(t, binary, now, crypto.SHA256, h))}
		}, pkginfo.Good},
		{"format 6, two", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(rsa.sign(t, binary, now, crypto.SHA256, h), stranger.sign(t, binary, now, crypto.SHA256, h))}
		}, pkginfo.Good},
		{"format 6, one bad", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(rsa.sign(t, binary, now, crypto.SHA256, h), eddsa.sign(t, binary, now, crypto.SHA256, p))}
		}, pkginfo.Bad},
		{"stranger", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(267, stranger.sign(t, binary, now, crypto.SHA256, h))}
		}, pkginfo.NoKey},
		{"of another header", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(268, rsa.sign(t, binary, now, crypto.SHA256, h[1:]))}
		}, pkginfo.Bad},
		{"header as header and payload", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(1002, rsa.sign(t, binary, now, crypto.SHA256, h))}
		}, pkginfo.Bad},
		{"good and bad", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(268, rsa.sign(t, binary, now, crypto.SHA256, h)), value(1002, rsa.sign(t, binary, now, crypto.SHA256, p))}
		}, pkginfo.Bad},
		{"before its key", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(268, rsa.sign(t, binary, now.AddDate(-9, 0, 0), crypto.SHA256, h))}
		}, pkginfo.Bad},
		{"of text", 4, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{value(268, rsa.sign(t, packet.SigTypeText, now, crypto.SHA256, h))}
		}, pkginfo.Unsupported},
		{"no packet", 4, func(h, p []byte) []testrpm.Value { return []testrpm.Value{value(268, []byte("signed, me"))} }, pkginfo.Bad},
		{"two packets", 4, func(h, p []byte) []testrpm.Value {
			s := rsa.sign(t, binary, now, crypto.SHA256, h)
			return []testrpm.Value{value(268, append(s, s...))}
		}, pkginfo.Bad},
		{"version 3, stranger", 4, func(h, p []byte) []testrpm.Value { return []testrpm.Value{value(268, old(1, 8))} }, pkginfo.NoKey},
		{"version 3, md5", 4, func(h, p []byte) []testrpm.Value { return []testrpm.Value{value(1002, old(1, 1))} }, pkginfo.Unsupported},
		{"version 3, unknown hash", 4, func(h, p []byte) []testrpm.Value { return []testrpm.Value{value(268, old(1, 99))} }, pkginfo.Unsupported},
		{"version 3, ecdsa", 4, func(h, p []byte) []testrpm.Value { return []testrpm.Value{value(268, old(19, 8))} }, pkginfo.Unsupported},
		{"version 6", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(ed25519.sign(t, binary, now, crypto.SHA256, h), ed448.sign(t, binary, now, crypto.SHA3_512, h))}
		}, pkginfo.Good},
		{"version 6 beside 4", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(ed25519.sign(t, binary, now, crypto.SHA512, h), rsa.sign(t, binary, now, crypto.SHA256, h))}
		}, pkginfo.Good},
		{"version 6, of another header", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(ed25519.sign(t, binary, now, crypto.SHA512, h[1:]))}
		}, pkginfo.Bad},
		{"version 6, stranger", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6(stranger6.sign(t, binary, now, crypto.SHA512, h))}
		}, pkginfo.NoKey},
		{"version 6, other salt", 6, func(h, p []byte) []testrpm.Value {
			s := ed25519.sign(t, binary, now, crypto.SHA512, h)
			s[bytes.Index(s, saltOf(t, s))] ^= 1
			return []testrpm.Value{v6(s)}
		}, pkginfo.Bad},
		{"version 6, cut off", 6, func(h, p []byte) []testrpm.Value {
			return []testrpm.Value{v6([]byte{0xc2, 5, 6, 0, 27, 8, 0})}
		}, pkginfo.Unsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := small(test.format, "none")
			p.Sign = test.sign
			verdict, signatures := verify(t, testrpm.RPM(t, p), known)
			if verdict != test.want {
				t.Errorf("%s, want %s: %v", verdict, test.want, signatures)
			}
			for _, s := range signatures {
				if (s.State == pkginfo.Good) != (s.Err == nil) || (s.State == pkginfo.Good) != (s.Signer != "") {
					t.Errorf("%+v", s)
				}
				if text := s.String(); !strings.Contains(text, string(s.State)) {
					t.Error(text)
				}
			}
		})
	}

	if err := rsa.entity.RevokeKey(packet.KeyCompromised, "lost", rsa.config); err != nil {
		t.Fatal(err)
	}
	p := small(4, "none")
	p.Sign = func(h, _ []byte) []testrpm.Value {
		return []testrpm.Value{value(268, rsa.sign(t, binary, now, crypto.SHA256, h))}
	}
	if verdict, signatures := verify(t, testrpm.RPM(t, p), keyring(t, rsa.public(t))); verdict != pkginfo.Bad {
		t.Errorf("revoked key: %s, %v", verdict, signatures)
	}
}

// TestOldSignaturesOfFormat6 has packages of format 6 with what programs for format
// 4 add to them, and what rpm 6.1 says of them: it looks at none of that, unless the
// package lacks one of the two tags by which rpm 6 knows the format.
func TestOldSignaturesOfFormat6(t *testing.T) {
	rsa := newSigner(t, packet.PubKeyAlgoRSA)
	now := time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	sign := func(data ...[]byte) []byte { return rsa.sign(t, packet.SigTypeBinary, now, crypto.SHA512, data...) }
	for _, test := range []struct {
		name       string
		sign       func(sig *testrpm.Header, h, p []byte)
		want       pkginfo.Verdict
		signatures int
	}{
		{"good", func(sig *testrpm.Header, h, p []byte) {
			sig.Bytes(268, sign(h))
			sig.Bytes(1002, sign(h, p))
		}, pkginfo.Good, 1},
		{"of other data", func(sig *testrpm.Header, h, p []byte) {
			sig.Bytes(268, sign(h))
			sig.Bytes(1002, sign(p))
		}, pkginfo.Good, 1},
		{"alone", func(sig *testrpm.Header, h, p []byte) { sig.Bytes(1002, sign(h, p)) }, pkginfo.Unsigned, 0},
		{"wrong sizes and digest", func(sig *testrpm.Header, h, p []byte) {
			sig.Uint32s(1000, 1)
			sig.Strings(1004, "no digest")
			sig.Uint32s(1007, 1, 2)
		}, pkginfo.Unsigned, 0},
		{"without reserve", func(sig *testrpm.Header, h, p []byte) {
			sig.Delete(999)
			sig.Bytes(1002, sign(h, p))
		}, pkginfo.Good, 1},
		{"without reserve, of other data", func(sig *testrpm.Header, h, p []byte) {
			sig.Delete(999)
			sig.Bytes(1002, sign(p))
		}, pkginfo.Bad, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := small(6, "none")
			var header, payload []byte
			p.Sign = func(h, p []byte) []testrpm.Value { header, payload = h, p; return nil }
			p.EditSignature = func(sig *testrpm.Header) { test.sign(sig, header, payload) }
			b := testrpm.RPM(t, p)
			if verdict, signatures := verify(t, b, keyring(t, rsa.public(t))); verdict != test.want || len(signatures) != test.signatures {
				t.Errorf("%s, want %s: %v", verdict, test.want, signatures)
			}
		})
	}
}

// saltOf returns the salt of a signature of version 6.
func saltOf(t testing.TB, b []byte) []byte {
	t.Helper()
	p, err := packet.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return p.(*packet.Signature).Salt()
}

func TestParseKeyring(t *testing.T) {
	a, b := newSigner(t, packet.PubKeyAlgoEdDSA), newSigner(t, packet.PubKeyAlgoEdDSA)
	armored := func(kind string, s *signer) []byte {
		var text bytes.Buffer
		w, err := armor.Encode(&text, kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(s.public(t)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		text.WriteString("\n")
		return text.Bytes()
	}
	for _, test := range []struct {
		name  string
		files [][]byte
		want  int // 0 for an error
	}{
		{"binary", [][]byte{a.public(t)}, 1},
		{"two binary", [][]byte{append(a.public(t), b.public(t)...)}, 2},
		{"two files", [][]byte{a.public(t), b.public(t)}, 2},
		{"armored", [][]byte{armored(openpgp.PublicKeyType, a)}, 1},
		{"two armored", [][]byte{append(armored(openpgp.PublicKeyType, a), armored(openpgp.PublicKeyType, b)...)}, 2},
		{"with text", [][]byte{append([]byte("The key of A:\n\n"), armored(openpgp.PublicKeyType, a)...)}, 1},
		{"empty", [][]byte{nil}, 0},
		{"text", [][]byte{[]byte("hello")}, 0},
		{"packets of nothing", [][]byte{{0x99, 0x01}}, 0},
		{"signature", [][]byte{armored("PGP SIGNATURE", a)}, 0},
	} {
		k, err := trust.ParseKeyring(test.files...)
		if (err != nil) != (test.want == 0) || k.Len() != test.want {
			t.Errorf("%s: %d keys, %v, want %d", test.name, k.Len(), err, test.want)
		}
	}
}
