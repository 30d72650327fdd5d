package index

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The file: the magic, the version, the number of packages, the section table, and then
// the sections. Integers of a fixed size are 32 bits and little-endian; those in records
// are varints (encoding/binary). "ID" of a string or a relation, and the number of a
// package, is its place in its table.
//
// A table of records is two sections: the records one behind another, and where each
// begins in it, with the end of the last. A table of names is two sections: for each name, in
// the order of their bytes, its ID and where its packages begin, with an end of both;
// and the numbers of packages, which rise for each name.
const (
	magic   = "hashpkg\x00index\x00\x00\x00"
	version = 1

	headerSize = len(magic) + 4 + 4 + 8*int(sectionCount)
)

// section is one of the parts of a file, in their order.
type section int

const (
	stringData section = iota
	stringStarts
	relationData // the text's ID, the number of alternatives, and the IDs of the four parts of each
	relationStarts
	packageData // see encodePackage
	packageStarts
	names // of packages
	namePosts
	offers // what packages provide, and their files
	offerPosts
	searchText  // a line for each name: see searchLine
	searchNames // where each line begins in it
	sectionCount
)

var (
	// ErrDamaged is wrapped by the errors of a file that is not as a Builder writes it.
	ErrDamaged = errors.New("the index is damaged")

	// ErrVersion is wrapped by the error for a file that another version of hashpkg has
	// written.
	ErrVersion = errors.New("the index has another form")
)

// Limits of what one package, and the answer to one question, may take of memory, so
// that a file of some bytes, which name one long string often, does not take all. The
// first holds for a Builder, too. Debian's largest package takes 200 KiB.
const (
	maxPackage = 16 << 20
	maxAnswer  = 128 << 20
)

// elementCost is what an element of a list takes at least, beside its strings.
const elementCost = 64

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// table is the records of one sort.
type table struct {
	what         string // for messages
	data, starts []byte
}

// len returns the number of records.
func (t *table) len() int { return max(len(t.starts)/4-1, 0) }

// record returns a record, in the file's bytes.
func (t *table) record(id uint64) ([]byte, error) {
	if id >= uint64(t.len()) {
		return nil, damagedf("there is no %s %d", t.what, id)
	}
	from, to := word(t.starts, int(id)), word(t.starts, int(id)+1)
	if from > to || uint64(to) > uint64(len(t.data)) {
		return nil, damagedf("the %s %d ends outside of the file, or before it begins", t.what, id)
	}
	return t.data[from:to], nil
}

// word returns the i-th integer of a section.
func word(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }

// fields takes apart a record. The first error is kept.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) fail() {
	if f.err == nil {
		f.err = damagedf("a record is too short")
	}
	f.rest = nil
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// count returns the length of a list: each of its elements has a byte or more.
func (f *fields) count() int {
	n := f.uvarint()
	if n > uint64(len(f.rest)) {
		f.fail()
		return 0
	}
	return int(n)
}

func (f *fields) bytes() []byte {
	n := f.count()
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

// end reports what is left over as an error.
func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		return damagedf("a record is too long")
	}
	return f.err
}
