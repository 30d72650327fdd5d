package elfedit

import (
	"bytes"
	"maps"
	"slices"
)

// overlay is a file with changes that are not yet made: it keeps copies of the
// pages that were written and leaves data alone.
type overlay struct {
	data  []byte
	size  uint64
	pages map[uint64][]byte
}

const overlayPage = 1 << 12

func newOverlay(data []byte) *overlay {
	return &overlay{data: data, size: uint64(len(data)), pages: make(map[uint64][]byte)}
}

// page returns the page with that number, which may be written to.
func (o *overlay) page(number uint64) []byte {
	if p, ok := o.pages[number]; ok {
		return p
	}
	p := make([]byte, overlayPage)
	if at := number * overlayPage; at < uint64(len(o.data)) {
		copy(p, o.data[at:])
	}
	o.pages[number] = p
	return p
}

// write replaces the bytes at off. Writing past the end grows the file, with
// zeros between.
func (o *overlay) write(off uint64, b []byte) {
	o.size = max(o.size, off+uint64(len(b)))
	for len(b) > 0 {
		n := copy(o.page(off / overlayPage)[off%overlayPage:], b)
		b, off = b[n:], off+uint64(n)
	}
}

// zero clears n bytes at off.
func (o *overlay) zero(off, n uint64) { o.write(off, make([]byte, n)) }

// read copies n bytes at off, which is within the file as it is now.
func (o *overlay) read(off, n uint64) []byte {
	b := make([]byte, n)
	for at := uint64(0); at < n; {
		number, within := (off+at)/overlayPage, (off+at)%overlayPage
		size := min(n-at, overlayPage-within)
		if p, ok := o.pages[number]; ok {
			copy(b[at:at+size], p[within:])
		} else if off+at < uint64(len(o.data)) {
			copy(b[at:at+size], o.data[off+at:])
		}
		at += size
	}
	return b
}

// hunkGap is how many equal bytes may stand between two changes of one hunk:
// a hunk of its own costs about as much.
const hunkGap = 16

// edit returns what was changed.
func (o *overlay) edit() Edit {
	e := Edit{OldSize: int64(len(o.data)), NewSize: int64(o.size)}
	kept := uint64(len(o.data))
	for _, number := range slices.Sorted(maps.Keys(o.pages)) {
		start, p := number*overlayPage, o.pages[number]
		if start >= kept {
			break
		}
		old := o.data[start:min(start+overlayPage, kept)]
		if bytes.Equal(old, p[:len(old)]) {
			continue
		}
		for at := 0; at < len(old); at++ {
			if old[at] != p[at] {
				e.add(start+uint64(at), old[at], p[at], o)
			}
		}
	}
	if o.size > kept {
		last := len(e.Hunks) - 1
		if last >= 0 && e.Hunks[last].Offset+int64(len(e.Hunks[last].Old)) == int64(kept) {
			e.Hunks[last].New = append(e.Hunks[last].New, o.read(kept, o.size-kept)...)
		} else {
			e.Hunks = append(e.Hunks, Hunk{Offset: int64(kept), Old: []byte{}, New: o.read(kept, o.size-kept)})
		}
	}
	return e
}

// add appends one changed byte to the last hunk, or opens another.
func (e *Edit) add(off uint64, before, after byte, o *overlay) {
	if last := len(e.Hunks) - 1; last >= 0 {
		h := &e.Hunks[last]
		if end := uint64(h.Offset) + uint64(len(h.Old)); off-end <= hunkGap {
			h.Old = append(append(h.Old, o.data[end:off]...), before)
			h.New = append(append(h.New, o.data[end:off]...), after)
			return
		}
	}
	e.Hunks = append(e.Hunks, Hunk{Offset: int64(off), Old: []byte{before}, New: []byte{after}})
}
