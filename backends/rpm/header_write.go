package rpm

import (
	"encoding/binary"
	"slices"
	"strings"
)

// headerWriter is a header that is being made of another one. Its format is that of
// rpm's docs/manual/format_header.md: an index, and a store with the values in the
// order of the index, each aligned to its size.
type headerWriter struct {
	region tag
	order  []tag // sorted
	values map[tag]value
}

// writerOf returns a writer of what h has.
func writerOf(h *header, region tag) *headerWriter {
	w := &headerWriter{region: region, values: map[tag]value{}}
	for _, t := range h.order {
		if v, ok := h.values[t]; ok {
			w.set(t, v)
		}
	}
	return w
}

func (w *headerWriter) has(t tag) bool {
	_, ok := w.values[t]
	return ok
}

// set puts a value in the place of the one that the tag has, or where the tag belongs.
func (w *headerWriter) set(t tag, v value) {
	if i, found := slices.BinarySearch(w.order, t); !found {
		w.order = slices.Insert(w.order, i, t)
	}
	w.values[t] = v
}

func (w *headerWriter) remove(t tag) {
	if i, found := slices.BinarySearch(w.order, t); found {
		w.order = slices.Delete(w.order, i, i+1)
		delete(w.values, t)
	}
}

func (w *headerWriter) setString(t tag, s string) {
	w.set(t, value{kind: kindString, count: 1, data: s + "\x00"})
}

func (w *headerWriter) setStrings(t tag, k kind, all []string) {
	w.set(t, value{kind: k, count: len(all), data: strings.Join(all, "\x00") + "\x00"})
}

func (w *headerWriter) setBytes(t tag, b []byte) {
	w.set(t, value{kind: kindBin, count: len(b), data: string(b)})
}

func (w *headerWriter) setUint32s(t tag, all []uint32) {
	b := make([]byte, 0, 4*len(all))
	for _, n := range all {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	w.set(t, value{kind: kindInt32, count: len(all), data: string(b)})
}

func (w *headerWriter) setUint64s(t tag, all []uint64) {
	b := make([]byte, 0, 8*len(all))
	for _, n := range all {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	w.set(t, value{kind: kindInt64, count: len(all), data: string(b)})
}

// setNumber gives a tag of one number another one, of the kind that it has.
func (w *headerWriter) setNumber(t tag, n uint64) {
	if w.values[t].kind == kindInt64 {
		w.setUint64s(t, []uint64{n})
		return
	}
	w.setUint32s(t, []uint32{uint32(n)})
}

// bytes returns the header with its magic. All of it is its region, whose entry is the
// first one and whose trailer is the end of the store.
func (w *headerWriter) bytes() []byte {
	var index, store []byte
	add := func(t tag, k kind, offset, count int) {
		index = binary.BigEndian.AppendUint32(index, uint32(t))
		index = binary.BigEndian.AppendUint32(index, uint32(k))
		index = binary.BigEndian.AppendUint32(index, uint32(int32(offset)))
		index = binary.BigEndian.AppendUint32(index, uint32(count))
	}
	for _, t := range w.order {
		v := w.values[t]
		if size := v.kind.size(); size > 1 {
			store = append(store, make([]byte, -len(store)&(size-1))...)
		}
		add(t, v.kind, len(store), v.count)
		store = append(store, v.data...)
	}
	entries, values := len(w.order)+1, index
	index = nil
	add(w.region, kindBin, -entries*entrySize, entrySize)
	trailer := index
	index = nil
	add(w.region, kindBin, len(store), entrySize)
	index, store = append(index, values...), append(store, trailer...)

	b := []byte(headerMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(entries))
	b = binary.BigEndian.AppendUint32(b, uint32(len(store)))
	return append(append(b, index...), store...)
}
