package images

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// verityBlock is the size of what fs-verity hashes at a time.
const verityBlock = 4096

// MeasureVerity returns the digest that fs-verity measures of a file: "sha256:" and 64 hexadecimal
// digits, of blocks of 4096 bytes without salt, as fsverity(1) makes it by default. A kernel
// refuses to read what is not of this digest, once it is enabled. The form is that of the
// kernel's documentation (filesystems/fsverity, "Merkle tree" and "fs-verity descriptor").
func MeasureVerity(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	root, size, err := merkleRoot(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	var descriptor [256]byte
	descriptor[0], descriptor[1], descriptor[2] = 1, 1, 12 // version, SHA-256, logarithm of the block's size
	binary.LittleEndian.PutUint64(descriptor[8:], uint64(size))
	copy(descriptor[16:], root[:])
	return fmt.Sprintf("sha256:%x", sha256.Sum256(descriptor[:])), nil
}

// merkleRoot returns the hash at the top of the tree over a file, zeros for an empty one, and the file's size.
func merkleRoot(r io.Reader) (root [sha256.Size]byte, size int64, err error) {
	var levels [][]byte // of each, what has no hash in the next yet: from the lowest
	var add func(level int, hash [sha256.Size]byte)
	add = func(level int, hash [sha256.Size]byte) {
		if level == len(levels) {
			levels = append(levels, make([]byte, 0, verityBlock))
		}
		if len(levels[level]) == verityBlock {
			full := sha256.Sum256(levels[level])
			levels[level] = levels[level][:0]
			add(level+1, full)
		}
		levels[level] = append(levels[level], hash[:]...)
	}
	var block [verityBlock]byte
	for {
		n, err := io.ReadFull(r, block[:])
		size += int64(n)
		if n > 0 {
			clear(block[n:])
			add(0, sha256.Sum256(block[:]))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return root, size, err
		}
	}
	for level := 0; level < len(levels); level++ {
		if level == len(levels)-1 && len(levels[level]) == sha256.Size {
			copy(root[:], levels[level])
			break
		}
		var padded [verityBlock]byte
		copy(padded[:], levels[level])
		add(level+1, sha256.Sum256(padded[:]))
	}
	return root, size, nil
}
