package elfcmd

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// checksum is the BLAKE3-256 of a file. Package digest has a faster one, which asks
// the processor at the program's start for what it can do. That takes longer than
// most edits, in virtual machines above all, and few calls need a checksum.
type checksum [32]byte

// String returns 64 hexadecimal digits.
func (c checksum) String() string { return hex.EncodeToString(c[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (c checksum) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *checksum) UnmarshalText(b []byte) error {
	if n, err := hex.Decode(make([]byte, hex.DecodedLen(len(b))), b); err != nil || n != len(c) {
		return fmt.Errorf("%q is not a checksum of %d hexadecimal digits", b, 2*len(c))
	}
	_, err := hex.Decode(c[:], b)
	return err
}

// The names and numbers below are those of the BLAKE3 paper, section 2.
const (
	blake3Block = 64
	blake3Chunk = 1024

	blake3ChunkStart = 1 << 0
	blake3ChunkEnd   = 1 << 1
	blake3Parent     = 1 << 2
	blake3Root       = 1 << 3
)

type blake3Words [8]uint32

func blake3IV() blake3Words {
	return blake3Words{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
}

// checksumOf returns the checksum of b.
func checksumOf(b []byte) (c checksum) {
	words := blake3Tree(b, 0, blake3Root)
	for i, w := range words {
		binary.LittleEndian.PutUint32(c[4*i:], w)
	}
	return c
}

// blake3Tree returns the chaining value of a subtree whose first chunk has a number.
// root is its flag, or 0.
func blake3Tree(b []byte, chunk uint64, root uint32) blake3Words {
	if len(b) <= blake3Chunk {
		return blake3Leaf(b, chunk, root)
	}
	// To the left is the largest power of two of chunks that leaves something over.
	left := uint64(1) << (bits.Len64(uint64(len(b)-1)/blake3Chunk) - 1)
	x := blake3Tree(b[:left*blake3Chunk], chunk, 0)
	y := blake3Tree(b[left*blake3Chunk:], chunk+left, 0)
	var m [16]uint32
	copy(m[:8], x[:])
	copy(m[8:], y[:])
	return blake3Compress(blake3IV(), &m, 0, blake3Block, blake3Parent|root)
}

// blake3Leaf returns the chaining value of one chunk.
func blake3Leaf(b []byte, chunk uint64, root uint32) blake3Words {
	cv := blake3IV()
	for flags := uint32(blake3ChunkStart); ; flags = 0 {
		var block [blake3Block]byte
		n := copy(block[:], b)
		b = b[n:]
		if len(b) == 0 {
			flags |= blake3ChunkEnd | root
		}
		var m [16]uint32
		for i := range m {
			m[i] = binary.LittleEndian.Uint32(block[4*i:])
		}
		cv = blake3Compress(cv, &m, chunk, uint32(n), flags)
		if len(b) == 0 {
			return cv
		}
	}
}

// blake3Compress is the compression function, of which the first half of the
// output is wanted.
func blake3Compress(cv blake3Words, m *[16]uint32, counter uint64, size, flags uint32) blake3Words {
	iv := blake3IV()
	v := [16]uint32{
		cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7],
		iv[0], iv[1], iv[2], iv[3], uint32(counter), uint32(counter >> 32), size, flags,
	}
	words := *m
	for round := range 7 {
		if round > 0 {
			w := words
			for i, from := range [16]uint8{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8} {
				words[i] = w[from]
			}
		}
		for i := range 4 { // the columns
			blake3Mix(&v, i, 4+i, 8+i, 12+i, words[2*i], words[2*i+1])
		}
		for i := range 4 { // the diagonals
			blake3Mix(&v, i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4, words[8+2*i], words[9+2*i])
		}
	}
	for i := range cv {
		cv[i] = v[i] ^ v[i+8]
	}
	return cv
}

func blake3Mix(v *[16]uint32, a, b, c, d int, x, y uint32) {
	v[a] += v[b] + x
	v[d] = bits.RotateLeft32(v[d]^v[a], -16)
	v[c] += v[d]
	v[b] = bits.RotateLeft32(v[b]^v[c], -12)
	v[a] += v[b] + y
	v[d] = bits.RotateLeft32(v[d]^v[a], -8)
	v[c] += v[d]
	v[b] = bits.RotateLeft32(v[b]^v[c], -7)
}
