package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	headerMagic = "\x8e\xad\xe8\x01\x00\x00\x00\x00"

	introSize = 16 // of magic, number of entries and size of the store
	entrySize = 16

	// rpm's own limits (lib/header.c), but for the size of a header, of which rpm reads
	// 256 MiB: all of it is in memory, and that of a package of 20,000 files has 5.
	// What is read has to be there: nothing is allocated because a header says so.
	// maxInstalledStore is rpm's own limit, for what rpm has installed.
	maxHeaderEntries    = 0xffff
	maxHeaderStore      = 48 << 20
	maxInstalledStore   = 256 << 20
	maxSignatureEntries = 32
	maxSignatureStore   = 48 << 20

	// maxStrings is the most strings that one tag may hold.
	maxStrings = 1 << 20
)

// kind is the type of a value in a header (rpm: rpmTagType_e).
type kind uint32

const (
	kindChar kind = iota + 1
	kindInt8
	kindInt16
	kindInt32
	kindInt64
	kindString
	kindBin
	kindStrings
	kindI18nStrings
)

// size returns how many bytes one value has, or 0 for strings.
func (k kind) size() int {
	return [...]int{kindChar: 1, kindInt8: 1, kindInt16: 2, kindInt32: 4, kindInt64: 8, kindBin: 1, kindI18nStrings: 0}[k]
}

// header is a header or a signature header: values by their tags. What asks for a
// value of another kind than it has, or of a wrong number of them, sets err and
// gets nothing.
type header struct {
	part    string
	values  map[tag]value
	order   []tag // as the index has them
	regions bool  // format 4 and later
	err     error
}

type value struct {
	kind   kind
	count  int
	offset int64 // in the part, for messages
	data   string
}

// readHeader reads a header with its magic. raw is all of it, which digests and
// signatures are of.
func readHeader(r io.Reader, part string, regionTag tag) (h *header, raw []byte, err error) {
	maxEntries, maxStore := int64(maxHeaderEntries), int64(maxHeaderStore)
	if regionTag == tagSignatureRegion {
		maxEntries, maxStore = maxSignatureEntries, maxSignatureStore
	}
	var b bytes.Buffer
	if err := fill(&b, r, introSize, part); err != nil {
		return nil, nil, err
	}
	intro := b.Bytes()
	if string(intro[:len(headerMagic)]) != headerMagic {
		return nil, nil, errorIn(part, "it has the wrong magic: %s", corrupt)
	}
	entries, store := int64(binary.BigEndian.Uint32(intro[8:])), int64(binary.BigEndian.Uint32(intro[12:]))
	if store > maxStore {
		return nil, nil, &FormatError{Member: part, Offset: 12, Msg: fmt.Sprintf("it has %d bytes of data, and %d is a fixed limit of hashpkg (docs/limits.md): split the package, or shorten its changelog", store, maxStore)}
	}
	if entries == 0 || entries > maxEntries {
		return nil, nil, &FormatError{Member: part, Offset: 8, Msg: fmt.Sprintf("it has %d entries and %d bytes of data, which rpm does not allow either", entries, store)}
	}
	if err := fillExact(&b, r, entries*entrySize+store, part); err != nil {
		return nil, nil, err
	}
	raw = b.Bytes()
	h, err = parseHeader(raw[8:], part, regionTag)
	return h, raw, err
}

// fill reads exactly n bytes, and allocates no more than there are.
func fill(b *bytes.Buffer, r io.Reader, n int64, part string) error {
	start := int64(b.Len())
	got, err := io.CopyN(b, r, n)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return truncated(part, start+got)
	}
	return fmt.Errorf("read %s: %w", part, err)
}

// fillExact is fill for what is large: the buffer grows with what has come, and ends
// no larger than it must be.
func fillExact(b *bytes.Buffer, r io.Reader, n int64, part string) error {
	for step := int64(64 << 10); n > 0; step *= 2 {
		if n < 2*step {
			step = n
		}
		larger := make([]byte, b.Len(), int64(b.Len())+step+bytes.MinRead)
		copy(larger, b.Bytes())
		*b = *bytes.NewBuffer(larger)
		if err := fill(b, r, step, part); err != nil {
			return err
		}
		n -= step
	}
	return nil
}

// parseHeader parses what follows the magic of a header in a package file (rpm:
// lib/header.cc, hdrblobVerifyInfo and hdrblobImport). Its region, if there is one,
// must hold all of it. Only of a signature header there may be more behind the
// region: rpmsign and others have left there what they added.
func parseHeader(b []byte, part string, regionTag tag) (*header, error) {
	count := int64(binary.BigEndian.Uint32(b))
	index := b[8 : 8+count*entrySize]
	store := string(b[8+count*entrySize:])
	base := introSize + count*entrySize // where the store begins in the part
	h := &header{part: part, values: make(map[tag]value, count)}

	r, err := findRegion(index, store, part, regionTag)
	if err != nil {
		return nil, err
	}
	if regionTag != tagSignatureRegion && (r.entries != count || r.size != int64(len(store))) {
		return nil, &FormatError{Member: part, Offset: introSize, Msg: "its region is not all of it: " + corrupt}
	}
	size := int64(0) // of all values, and what aligns them
	if r.hasTrailer {
		index, h.regions, size = index[entrySize:], true, entrySize
		r.entries--
	}

	pos := int64(0) // in the store, behind the values so far
	for i := int64(0); len(index) > 0; i++ {
		e := parseEntry(index)
		index = index[entrySize:]
		v, err := e.value(store, pos)
		end := e.offset + int64(len(v.data))
		if err == nil && r.hasTrailer && e.offset < r.size && end > r.size-entrySize {
			err = errors.New("overlaps the trailer of the region")
		}
		if err != nil {
			return nil, &FormatError{Member: part, Offset: base + e.offset, Msg: fmt.Sprintf("the value of tag %d %v: %s", e.tag, err, corrupt)}
		}
		pos = end
		if alignment := int64(e.kind.size()); alignment > 1 {
			size += -size & (alignment - 1)
		}
		size += int64(len(v.data))
		if _, exists := h.values[e.tag]; exists {
			if i >= r.entries { // rpm verifies the first as well
				continue
			}
			return nil, errorIn(part, "tag %d is there twice", e.tag)
		}
		v.offset = base + e.offset
		h.values[e.tag] = v
		h.order = append(h.order, e.tag)
	}
	if size != int64(len(store)) {
		return nil, errorIn(part, "it has %d bytes of data, of which %d belong to no value: %s", len(store), int64(len(store))-size, corrupt)
	}
	return h, nil
}

// region is what the packer of a header has put into it: the first entries, and the
// first bytes of the store. What comes behind it was added later.
type region struct {
	entries    int64 // its own among them
	size       int64 // with the trailer, which is its end
	hasTrailer bool  // or it is all of a header without a region
}

// findRegion returns the region of a header (rpm: lib/header.cc,
// hdrblobVerifyRegion; docs/manual/format_header.md).
func findRegion(index []byte, store, part string, regionTag tag) (region, error) {
	e := parseEntry(index)
	count := int64(len(index) / entrySize)
	if e.tag != regionTag {
		return region{entries: count, size: int64(len(store))}, nil
	}
	if e.kind != kindBin || e.count != entrySize || e.offset < 0 || e.offset > int64(len(store))-entrySize {
		return region{}, &FormatError{Member: part, Offset: introSize, Msg: "its region is not in it: " + corrupt}
	}
	trailer := parseEntry([]byte(store[e.offset : e.offset+entrySize]))
	isTag := trailer.tag == regionTag
	if regionTag == tagSignatureRegion && trailer.tag == tagOldRegion { // in some old packages
		isTag = true
	}
	entries := -trailer.offset / entrySize
	if !isTag || trailer.kind != kindBin || trailer.count != entrySize || trailer.offset%entrySize != 0 || entries < 1 || entries > count {
		return region{}, &FormatError{
			Member: part, Offset: introSize + count*entrySize + e.offset,
			Msg: "the trailer of its region is wrong: " + corrupt,
		}
	}
	return region{entries: entries, size: e.offset + entrySize, hasTrailer: true}, nil
}

// entry is one entry of a header's index.
type entry struct {
	tag    tag
	kind   kind
	offset int64 // in the store
	count  int64
}

func parseEntry(b []byte) entry {
	return entry{
		tag:    tag(binary.BigEndian.Uint32(b)),
		kind:   kind(binary.BigEndian.Uint32(b[4:])),
		offset: int64(int32(binary.BigEndian.Uint32(b[8:]))),
		count:  int64(binary.BigEndian.Uint32(b[12:])),
	}
}

// value returns what the entry stands for. Values follow each other in the order
// of the index; pos is where this one may begin.
func (e entry) value(store string, pos int64) (value, error) {
	switch {
	case e.tag < tagI18nTable:
		return value{}, errors.New("is none that may be there")
	case e.kind < kindChar || e.kind > kindI18nStrings:
		return value{}, fmt.Errorf("has the unknown type %d", e.kind)
	case e.offset < pos:
		return value{}, errors.New("overlaps another one")
	case e.offset > int64(len(store)):
		return value{}, errors.New("is outside the header")
	case e.count == 0:
		return value{}, errors.New("is empty")
	}
	v := value{kind: e.kind, count: int(e.count)}
	rest := store[e.offset:]
	if size := int64(e.kind.size()); size > 0 {
		if e.offset%size != 0 {
			return v, errors.New("is not aligned")
		}
		if e.count > int64(len(rest))/size {
			return v, errors.New("does not fit in the header")
		}
		v.data = rest[:e.count*size]
		return v, nil
	}
	if e.kind == kindString && e.count != 1 || e.count > maxStrings {
		return v, fmt.Errorf("has %d strings", e.count)
	}
	end := 0
	for range e.count {
		n := strings.IndexByte(rest[end:], 0)
		if n < 0 {
			return v, errors.New("does not end in the header")
		}
		end += n + 1
	}
	v.data = rest[:end]
	return v, nil
}

func (h *header) has(t tag) bool {
	_, ok := h.values[t]
	return ok
}

// fail sets err, if it is not set, to say that the value is not as it must be.
func (h *header) fail(t tag, format string, args ...any) {
	if h.err == nil {
		h.err = &FormatError{Member: h.part, Offset: h.values[t].offset, Msg: fmt.Sprintf("tag %d ", t) + fmt.Sprintf(format, args...)}
	}
}

// get returns the value if it is there, of one of the kinds, and, unless count is
// negative, of count values.
func (h *header) get(t tag, count int, kinds ...kind) (value, bool) {
	v, ok := h.values[t]
	if !ok {
		return v, false
	}
	for _, k := range kinds {
		if v.kind == k && (count < 0 || v.count == count) {
			return v, true
		}
	}
	h.fail(t, "has %d values of type %d, and should not", v.count, v.kind)
	return v, false
}

// strings returns the strings of a value: count of them, or as many as there are
// if count is negative. They share the header's memory.
func (h *header) strings(t tag, count int) []string {
	v, ok := h.get(t, count, kindStrings, kindString, kindI18nStrings)
	if !ok {
		return nil
	}
	all := make([]string, v.count)
	for i, rest := 0, v.data; i < v.count; i++ {
		all[i], rest, _ = strings.Cut(rest, "\x00")
	}
	return all
}

// string returns one string, of translated ones that of the locale "C".
func (h *header) string(t tag) string {
	v, ok := h.get(t, -1, kindString, kindStrings, kindI18nStrings)
	if !ok {
		return ""
	}
	all := h.strings(t, -1)
	if v.kind == kindI18nStrings {
		for i, locale := range h.strings(tagI18nTable, -1) {
			if locale == "C" && i < len(all) {
				return all[i]
			}
		}
	}
	return all[0]
}

func (h *header) bytes(t tag) []byte {
	v, _ := h.get(t, -1, kindBin)
	return []byte(v.data)
}

func (h *header) uint16s(t tag, count int) []uint16 {
	return numbers[uint16](h, t, count, kindInt16)
}

func (h *header) uint32s(t tag, count int) []uint32 {
	return numbers[uint32](h, t, count, kindInt32)
}

func (h *header) uint64s(t tag, count int) []uint64 {
	return numbers[uint64](h, t, count, kindInt64)
}

// numbers returns the numbers of a value: count of them, or as many as there are if
// count is negative.
func numbers[T uint16 | uint32 | uint64](h *header, t tag, count int, k kind) []T {
	v, ok := h.get(t, count, k)
	if !ok {
		return nil
	}
	all := make([]T, v.count)
	if _, err := binary.Decode([]byte(v.data), binary.BigEndian, all); err != nil {
		h.fail(t, "is not read: %v", err)
	}
	return all
}

// number returns a single number of 32 or 64 bits, and whether it is there.
func (h *header) number(t tag) (n uint64, ok bool) {
	v, ok := h.get(t, 1, kindInt32, kindInt64)
	switch {
	case !ok:
		return 0, false
	case v.kind == kindInt64:
		return h.uint64s(t, 1)[0], true
	}
	return uint64(h.uint32s(t, 1)[0]), true
}
