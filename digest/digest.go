// Package digest implements the names of the store's objects: BLAKE3-256 of a
// file's bytes.
//
// Most callers need [Of] for bytes in memory, [New] for a stream, and [Parse]
// for a name read back. [VerifyReader] passes a stream through and fails at its
// end when the bytes are not the ones that were promised.
//
// A digest is compared with ==; the zero Digest is no file's name and stands
// for "none".
package digest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/zeebo/blake3"
)

// Size is the length of a digest in bytes.
const Size = 32

// Digest is the BLAKE3-256 of a file's bytes.
type Digest [Size]byte

// ErrMismatch is returned (wrapped) when bytes do not have the promised digest.
var ErrMismatch = errors.New("digest mismatch")

// Of returns the digest of b.
func Of(b []byte) Digest { return Digest(blake3.Sum256(b)) }

// New returns a running hash whose Sum is a digest's bytes; see [Sum].
func New() hash.Hash { return blake3.New() }

// Sum returns the digest of what was written to h, which [New] returned.
func Sum(h hash.Hash) Digest {
	var d Digest
	h.Sum(d[:0])
	return d
}

// OfReader reads r to its end and returns the digest and the number of bytes.
func OfReader(r io.Reader) (Digest, int64, error) {
	h := New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Digest{}, n, err
	}
	return Sum(h), n, nil
}

// Parse reads the 64 hexadecimal digits that [Digest.String] writes.
func Parse(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*Size {
		return d, fmt.Errorf("parse digest %q: expected %d hexadecimal digits", s, 2*Size)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("parse digest %q: %v", s, err)
	}
	if d.String() != s {
		return Digest{}, fmt.Errorf("parse digest %q: digits are not in lower case", s)
	}
	return d, nil
}

// IsZero reports whether d stands for "none".
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first eight digits, for people and for tree names.
func (d Digest) Short() string { return hex.EncodeToString(d[:4]) }

// MarshalText implements [encoding.TextMarshaler]; the zero digest is "".
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return hex.AppendEncode(nil, d[:]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	v, err := Parse(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// VerifyReader returns a reader of r's bytes that ends with an error wrapping
// [ErrMismatch], in place of io.EOF, when they are not want's.
func VerifyReader(r io.Reader, want Digest) io.Reader {
	return &verifier{r: r, want: want, h: New()}
}

type verifier struct {
	r    io.Reader
	want Digest
	h    hash.Hash
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	if err == io.EOF {
		if got := Sum(v.h); got != v.want {
			return n, fmt.Errorf("%w: expected %s, got %s", ErrMismatch, v.want, got)
		}
	}
	return n, err
}
