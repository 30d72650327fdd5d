package programs

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
)

// hasDigest reports whether bytes have the digest that a package manager's database
// gives, "algorithm:hex". One that is missing says nothing against them.
func hasDigest(data []byte, want string) bool {
	algorithm, sum, _ := strings.Cut(want, ":")
	h := newHash(algorithm)
	if h == nil {
		return true
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)) == sum
}

// knownDigest reports whether a digest of a database can be compared.
func knownDigest(want string) bool {
	algorithm, _, _ := strings.Cut(want, ":")
	return newHash(algorithm) != nil
}

// newHash returns the hash function of a database's digests; nil for one that is
// not known.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "md5":
		return md5.New()
	case "sha1":
		return sha1.New()
	case "sha224":
		return sha256.New224()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}
