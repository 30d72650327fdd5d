package rpm

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // packages of twenty years ago are signed with it
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// oldSignature is a signature packet of version 3 (RFC 4880, 5.2.2), which rpmsign
// made until 2018 and go-crypto does not read.
type oldSignature struct {
	hashed    [5]byte // type and time, which are hashed after the data
	created   time.Time
	keyID     uint64
	algorithm packet.PublicKeyAlgorithm
	hash      crypto.Hash
	start     [2]byte // of the hash
	numbers   []*big.Int
}

const maxSignatureNumber = 16 << 10 // bits

func parseOldSignature(b []byte) (*oldSignature, error) {
	const fixed = 19
	if len(b) < fixed || b[1] != 5 {
		return nil, errors.New("it is cut off")
	}
	s := &oldSignature{
		hashed:    [5]byte(b[2:7]),
		created:   time.Unix(int64(binary.BigEndian.Uint32(b[3:])), 0),
		keyID:     binary.BigEndian.Uint64(b[7:]),
		algorithm: packet.PublicKeyAlgorithm(b[15]),
		start:     [2]byte(b[17:19]),
	}
	if a, ok := digestAlgorithmByNumber(uint64(b[16])); ok {
		s.hash = a.hash
	}
	for rest := b[fixed:]; len(rest) > 0; {
		if len(rest) < 2 {
			return nil, errors.New("it is cut off")
		}
		bits := int(binary.BigEndian.Uint16(rest))
		size := (bits + 7) / 8
		if bits > maxSignatureNumber || len(rest) < 2+size || len(s.numbers) == 2 {
			return nil, errors.New("it has a wrong number")
		}
		s.numbers = append(s.numbers, new(big.Int).SetBytes(rest[2:2+size]))
		rest = rest[2+size:]
	}
	return s, nil
}

// check returns an error if the signature cannot be verified.
func (s *oldSignature) check() error {
	want := 1
	switch s.algorithm {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
	case packet.PubKeyAlgoDSA:
		want = 2
	default:
		return fmt.Errorf("signatures of version 3 with algorithm %d are not verified", s.algorithm)
	}
	switch {
	case len(s.numbers) != want:
		return errors.New("it has a wrong number of values")
	case s.hash == 0:
		return errors.New("its hash is unknown")
	case s.hashed[0] != 0:
		return fmt.Errorf("it is a signature of type %d, and not of a file", s.hashed[0])
	}
	return nil
}

// verify returns nil if key made the signature of what h has hashed.
func (s *oldSignature) verify(key *packet.PublicKey, h hash.Hash) error {
	h.Write(s.hashed[:])
	sum := h.Sum(nil)
	if [2]byte(sum) != s.start {
		return errors.New("it is of other data")
	}
	switch public := key.PublicKey.(type) {
	case *rsa.PublicKey:
		if s.algorithm != packet.PubKeyAlgoRSA && s.algorithm != packet.PubKeyAlgoRSASignOnly {
			return errors.New("its key is of another algorithm")
		}
		size := public.Size()
		if s.numbers[0].BitLen() > 8*size {
			return errors.New("it is larger than its key")
		}
		if err := rsa.VerifyPKCS1v15(public, s.hash, sum, s.numbers[0].FillBytes(make([]byte, size))); err != nil {
			return errors.New("it is of other data")
		}
		return nil
	case *dsa.PublicKey:
		if s.algorithm != packet.PubKeyAlgoDSA {
			return errors.New("its key is of another algorithm")
		}
		sum = sum[:min(len(sum), (public.Q.BitLen()+7)/8)] // FIPS 186-3, 4.6
		if !dsa.Verify(public, sum, s.numbers[0], s.numbers[1]) {
			return errors.New("it is of other data")
		}
		return nil
	}
	return errors.New("its key is of another algorithm")
}
