package testrpm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// Tag is the number of a value in a header.
type Tag uint32

// Value is one value of a header. Data are as they stand there; Type and Count need
// not fit them.
type Value struct {
	Tag         Tag
	Type, Count uint32
	Data        []byte
}

// Header is the values of a header or a signature header.
type Header struct {
	values   []Value
	dribbles []Value
}

// set adds v, in place of what has its tag.
func (h *Header) set(v Value) {
	h.Delete(v.Tag)
	h.values = append(h.values, v)
}

// Set adds v, in place of what has its tag.
func (h *Header) Set(v Value) { h.set(v) }

// Delete removes the value with this tag.
func (h *Header) Delete(t Tag) {
	h.values = slices.DeleteFunc(h.values, func(v Value) bool { return v.Tag == t })
}

// Append adds v, whether or not there is one with its tag.
func (h *Header) Append(v Value) { h.values = append(h.values, v) }

// Dribble adds v behind the region, where rpm has what was added to a header that
// was whole. It needs a region.
func (h *Header) Dribble(v Value) { h.dribbles = append(h.dribbles, v) }

// Get returns the value with this tag, to be changed in place, or nil.
func (h *Header) Get(t Tag) *Value {
	for i := range h.values {
		if h.values[i].Tag == t {
			return &h.values[i]
		}
	}
	return nil
}

// Strings sets a single string.
func (h *Header) Strings(t Tag, s string) { h.set(Value{t, 6, 1, []byte(s + "\x00")}) }

// StringArray sets an array of strings.
func (h *Header) StringArray(t Tag, all ...string) {
	h.set(Value{t, 8, uint32(len(all)), []byte(strings.Join(all, "\x00") + "\x00")})
}

// I18n sets a translated string, for each locale of the header.
func (h *Header) I18n(t Tag, all ...string) {
	h.set(Value{t, 9, uint32(len(all)), []byte(strings.Join(all, "\x00") + "\x00")})
}

// Bytes sets a binary value.
func (h *Header) Bytes(t Tag, b []byte) { h.set(Value{t, 7, uint32(len(b)), b}) }

// Uint16s sets numbers of 16 bits.
func (h *Header) Uint16s(t Tag, all ...uint16) {
	v := Value{Tag: t, Type: 3, Count: uint32(len(all))}
	for _, n := range all {
		v.Data = binary.BigEndian.AppendUint16(v.Data, n)
	}
	h.set(v)
}

// Uint32s sets numbers of 32 bits.
func (h *Header) Uint32s(t Tag, all ...uint32) {
	v := Value{Tag: t, Type: 4, Count: uint32(len(all))}
	for _, n := range all {
		v.Data = binary.BigEndian.AppendUint32(v.Data, n)
	}
	h.set(v)
}

// Uint64s sets numbers of 64 bits.
func (h *Header) Uint64s(t Tag, all ...uint64) {
	v := Value{Tag: t, Type: 5, Count: uint32(len(all))}
	for _, n := range all {
		v.Data = binary.BigEndian.AppendUint64(v.Data, n)
	}
	h.set(v)
}

// marshal returns the header with its magic, with an immutable region or as it was
// in format 3.
func (h *Header) marshal(region uint32, hasRegion bool) []byte {
	slices.SortStableFunc(h.values, func(a, b Value) int { return cmp.Compare(a.Tag, b.Tag) })
	var index, store []byte
	add := func(index []byte, tag, kind, offset, count uint32) []byte {
		for _, n := range []uint32{tag, kind, offset, count} {
			index = binary.BigEndian.AppendUint32(index, n)
		}
		return index
	}
	addValues := func(values []Value) {
		for _, v := range values {
			if align := map[uint32]int{3: 2, 4: 4, 5: 8}[v.Type]; align > 0 {
				store = append(store, make([]byte, -len(store)&(align-1))...)
			}
			index = add(index, uint32(v.Tag), v.Type, uint32(len(store)), v.Count)
			store = append(store, v.Data...)
		}
	}
	addValues(h.values)
	if hasRegion {
		entries := uint32(len(h.values) + 1)
		index = append(add(nil, region, 7, uint32(len(store)), 16), index...)
		store = add(store, region, 7, ^(16*entries)+1, 16)
		addValues(h.dribbles)
	}
	var b bytes.Buffer
	b.WriteString("\x8e\xad\xe8\x01\x00\x00\x00\x00")
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(index)/16)))
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(store))))
	b.Write(index)
	b.Write(store)
	return b.Bytes()
}
