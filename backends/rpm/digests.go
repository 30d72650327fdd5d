package rpm

import (
	"crypto"
	_ "crypto/md5"    // the algorithms that packages name
	_ "crypto/sha1"   //
	_ "crypto/sha256" //
	_ "crypto/sha3"   //
	_ "crypto/sha512" //
	"encoding/hex"
	"hash"
	"strings"
)

// digestAlgorithm is one that a package may name by the number that OpenPGP has
// for it (RFC 9580, 9.5).
type digestAlgorithm struct {
	number uint64
	name   string
	hash   crypto.Hash
}

func (a *digestAlgorithm) size() int { return a.hash.Size() }

var digestAlgorithms = []digestAlgorithm{
	{1, "md5", crypto.MD5},
	{2, "sha1", crypto.SHA1},
	{8, "sha256", crypto.SHA256},
	{9, "sha384", crypto.SHA384},
	{10, "sha512", crypto.SHA512},
	{11, "sha224", crypto.SHA224},
	{12, "sha3-256", crypto.SHA3_256},
	{14, "sha3-512", crypto.SHA3_512},
}

func digestAlgorithmByNumber(n uint64) (*digestAlgorithm, bool) {
	for i := range digestAlgorithms {
		if digestAlgorithms[i].number == n {
			return &digestAlgorithms[i], true
		}
	}
	return nil, false
}

// fileDigestAlgorithm returns what the digests of the files are made with: MD5,
// unless the header says otherwise.
func fileDigestAlgorithm(h *header) (*digestAlgorithm, error) {
	n, ok := h.number(tagFileDigestAlgo)
	if h.err != nil {
		return nil, h.err
	}
	if !ok || n == 0 {
		n = 1
	}
	a, ok := digestAlgorithmByNumber(n)
	if !ok {
		return nil, errorIn(partHeader, "its files have digests of the unknown algorithm %d", n)
	}
	return a, nil
}

// expectation is a digest that the package gives of a part of itself.
type expectation struct {
	what string // "the SHA256 digest of the payload"
	want []byte
	hash hash.Hash
}

// check compares what was hashed with what was expected.
func (e *expectation) check(part string) error {
	if got := e.hash.Sum(nil); string(got) != string(e.want) {
		return errorIn(part, "%s is %x, and should be %x: %s", e.what, got, e.want, corrupt)
	}
	return nil
}

// expect returns the expectation of a value in hexadecimal digits, or nil if the
// header has none. Of several strings it is the first, as for rpm.
func (h *header) expect(t tag, algo crypto.Hash, what string) *expectation {
	if !h.has(t) {
		return nil
	}
	text := h.string(t)
	want, err := hex.DecodeString(strings.ToLower(text))
	if err != nil || len(want) != algo.Size() {
		h.fail(t, "is not a %s digest", algo)
		return nil
	}
	return &expectation{what: "the " + algo.String() + " digest of the " + what, want: want, hash: algo.New()}
}

// checkHeader compares the digests that the signature header gives of the header,
// with its magic, with the bytes of it.
func checkHeader(sig *header, raw []byte, format int) error {
	digests := []*expectation{
		sig.expect(sigSHA1, crypto.SHA1, "header"),
		sig.expect(sigSHA256, crypto.SHA256, "header"),
		sig.expect(sigSHA3, crypto.SHA3_256, "header"),
	}
	if sig.err != nil {
		return sig.err
	}
	if format == 6 && (digests[1] == nil || digests[2] == nil) {
		return errorIn(partSignature, "it has no digests of the header, which a package of format 6 must have: %s", corrupt)
	}
	for _, d := range digests {
		if d == nil {
			continue
		}
		d.hash.Write(raw)
		if err := d.check(partHeader); err != nil {
			return err
		}
	}
	return nil
}

// payloadDigests returns what the header says of the payload: of the compressed
// bytes, and of the cpio archive in them.
func payloadDigests(h *header) (packed, unpacked []*expectation, err error) {
	if n, ok := h.number(tagPayloadSHA256Algo); ok && n != 8 {
		h.fail(tagPayloadSHA256Algo, "names the unknown digest algorithm %d", n)
	}
	for _, d := range []struct {
		packed, unpacked tag
		algo             crypto.Hash
	}{
		{tagPayloadSHA256, tagPayloadSHA256Alt, crypto.SHA256},
		{tagPayloadSHA512, tagPayloadSHA512Alt, crypto.SHA512},
		{tagPayloadSHA3, tagPayloadSHA3Alt, crypto.SHA3_256},
	} {
		if e := h.expect(d.packed, d.algo, "payload"); e != nil {
			packed = append(packed, e)
		}
		if e := h.expect(d.unpacked, d.algo, "unpacked payload"); e != nil {
			unpacked = append(unpacked, e)
		}
	}
	return packed, unpacked, h.err
}
