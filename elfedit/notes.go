package elfedit

import (
	"bytes"
	"debug/elf"
	"slices"
	"strings"
)

// maxNote is the size of the largest note that Make adds, in bytes.
const maxNote = 1 << 20

// noteHeader is the size of an entry's header: two sizes and a type.
const noteHeader = 12

// noteAlign is how the entries of a note segment are aligned: to 8 bytes where
// p_align says so (as .note.gnu.property is), else to 4.
func noteAlign(align uint64) uint64 {
	if align == 8 {
		return 8
	}
	return 4
}

// eachNote calls yield with the entries of a note segment, up to the first that does not
// fit, and the offset behind each, until it returns false. Their bytes are a part of b.
func eachNote(order byteOrder, b []byte, align uint64, yield func(name []byte, kind uint32, desc []byte, end uint64) bool) {
	var at uint64
	size := uint64(len(b))
	for size-at >= noteHeader {
		rest := b[at:]
		nameSize, descSize := uint64(order.Uint32(rest)), uint64(order.Uint32(rest[4:]))
		descAt := alignUp(noteHeader+nameSize, align)
		if noteHeader+nameSize > size-at || descAt > size-at || descSize > size-at-descAt {
			return
		}
		at = min(size, at+alignUp(descAt+descSize, align))
		name := bytes.TrimRight(rest[noteHeader:noteHeader+nameSize], "\x00")
		if !yield(name, order.Uint32(rest[8:]), rest[descAt:descAt+descSize], at) {
			return
		}
	}
}

// splitNotes returns the entries of a note segment, as eachNote finds them, and the offsets
// at which they start; after those comes the offset behind the last. Each Desc is a part of b.
func splitNotes(order byteOrder, b []byte, align uint64) (notes []Note, starts []uint64) {
	starts = []uint64{0}
	eachNote(order, b, align, func(name []byte, kind uint32, desc []byte, end uint64) bool {
		notes, starts = append(notes, Note{Name: string(name), Type: kind, Desc: desc}), append(starts, end)
		return true
	})
	return notes, starts
}

// appendNote appends one entry, padded to align.
func appendNote(order byteOrder, b []byte, n Note, align uint64) []byte {
	pad := func() {
		for uint64(len(b))%align != 0 {
			b = append(b, 0)
		}
	}
	pad()
	b = order.AppendUint32(b, uint32(len(n.Name)+1))
	b = order.AppendUint32(b, uint32(len(n.Desc)))
	b = order.AppendUint32(b, n.Type)
	b = append(b, n.Name...)
	b = append(b, 0)
	pad()
	b = append(b, n.Desc...)
	pad()
	return b
}

// noteList is a region of notes while it is being edited.
type noteList struct {
	r      *region
	align  uint64
	notes  []Note
	starts []uint64 // as splitNotes
	gone   []bool   // by index in notes, those that are removed
	added  []Note
	change bool
}

// changeNotes adds, replaces and removes notes.
func (e *editor) changeNotes() error {
	if len(e.changes.SetNotes)+len(e.changes.RemoveNotes) == 0 {
		return nil
	}
	lists, err := e.noteLists()
	if err != nil {
		return err
	}
	for _, n := range e.changes.SetNotes {
		if !replaceNote(lists, n) {
			lists = e.addNote(lists, n)
		}
	}
	for _, id := range e.changes.RemoveNotes {
		if !slices.ContainsFunc(e.changes.SetNotes, func(n Note) bool { return n.ID() == id }) {
			removeNote(lists, id)
		}
	}
	for _, l := range lists {
		if !l.change {
			continue
		}
		if l.r.fixed {
			return refused("the file's notes cannot be changed: other data overlaps them")
		}
		e.setNotes(l)
	}
	return nil
}

// noteLists reads the regions of notes. Those whose program headers disagree
// on the alignment, or that do not end with an entry, are fixed.
func (e *editor) noteLists() ([]*noteList, error) {
	var lists []*noteList
	for _, r := range e.regions {
		if r.kind != regionNote {
			continue
		}
		l := &noteList{r: r}
		for _, p := range e.progs {
			if p.kind != elf.PT_NOTE || p.off < r.off || p.fileEnd() > r.end() {
				continue
			}
			if align := noteAlign(p.align); l.align == 0 || l.align == align {
				l.align = align
			} else {
				r.fixed = true
			}
		}
		if l.align == 0 { // PT_GNU_PROPERTY alone
			continue
		}
		l.notes, l.starts = splitNotes(e.order, e.data[r.off:r.end()], l.align)
		l.gone = make([]bool, len(l.notes))
		if l.starts[len(l.starts)-1] != r.size {
			r.fixed = true
		}
		lists = append(lists, l)
	}
	return lists, nil
}

// removeNote removes the notes of a name and a type.
func removeNote(lists []*noteList, id NoteID) {
	for _, l := range lists {
		for i, n := range l.notes {
			if n.ID() == id {
				l.gone[i], l.change = true, true
			}
		}
	}
}

// replaceNote replaces the note of n's name and type, if there is one.
func replaceNote(lists []*noteList, n Note) bool {
	for _, l := range lists {
		for _, notes := range [][]Note{l.notes, l.added} {
			for i := range notes {
				if notes[i].Name == n.Name && notes[i].Type == n.Type {
					l.change = l.change || !bytes.Equal(notes[i].Desc, n.Desc)
					notes[i].Desc = n.Desc
					return true
				}
			}
		}
	}
	return false
}

// addNote adds a note to the region that is most like what linkers make of
// notes of 4 bytes' alignment, or to a new one.
func (e *editor) addNote(lists []*noteList, n Note) []*noteList {
	var best *noteList
	for _, l := range lists {
		if n.ID() == ResolutionCacheID() && l.align != resolutionAlign {
			continue // whatever else the file holds, its form is known to the byte
		}
		if !l.r.fixed && (best == nil || l.align < best.align) {
			best = l
		}
	}
	if best == nil {
		r := &region{kind: regionNote, align: 4, load: -1}
		e.regions = append([]*region{r}, e.regions...)
		e.addProgs = append(e.addProgs, newProg{prog{kind: elf.PT_NOTE, flags: elf.PF_R, align: 4}, r})
		best = &noteList{r: r, align: 4, starts: []uint64{0}}
		lists = append(lists, best)
	}
	best.added = append(best.added, n)
	best.change = true
	return lists
}

// setNotes makes a region's new content, and keeps which of its old bounds
// are where in it.
func (e *editor) setNotes(l *noteList) {
	r := l.r
	var content []byte
	r.bounds = map[uint64]uint64{0: 0}
	for i, n := range l.notes {
		if !l.gone[i] {
			content = appendNote(e.order, content, n, l.align)
		}
		r.bounds[l.starts[i+1]] = uint64(len(content))
	}
	for _, n := range l.added {
		start := uint64(len(content))
		content = appendNote(e.order, content, n, l.align)
		if e.sects != nil {
			e.addSects = append(e.addSects, newSect{
				name: sectNameOf(n), r: r, at: start, align: l.align,
				sect: sect{kind: elf.SHT_NOTE, flags: uint64(elf.SHF_ALLOC), size: uint64(len(content)) - start, align: l.align},
			})
		}
	}
	r.used = uint64(len(content))
	for uint64(len(content)) < r.size {
		content = append(content, 0)
	}
	r.content = content
}

// sectNameOf is the name of the section for a note: of most, after its owner.
func sectNameOf(n Note) string {
	if n.ID() == ResolutionCacheID() {
		return resolutionSection
	}
	return ".note." + strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
			return c
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '_'
	}, n.Name)
}
