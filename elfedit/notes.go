package elfedit

import "strings"

// noteAlign is how the entries of a note segment are aligned: to 8 bytes where
// p_align says so (as .note.gnu.property is), else to 4.
func noteAlign(align uint64) uint64 {
	if align == 8 {
		return 8
	}
	return 4
}

// splitNotes returns the entries of a note segment, up to the first that does
// not fit. Desc is a part of b.
func splitNotes(order byteOrder, b []byte, align uint64) []Note {
	var notes []Note
	for len(b) >= 12 {
		nameSize, descSize := uint64(order.Uint32(b)), uint64(order.Uint32(b[4:]))
		descAt := alignUp(12+nameSize, align)
		if 12+nameSize > uint64(len(b)) || descAt > uint64(len(b)) || descSize > uint64(len(b))-descAt {
			break
		}
		notes = append(notes, Note{
			Name: strings.TrimRight(string(b[12:12+nameSize]), "\x00"),
			Type: order.Uint32(b[8:]),
			Desc: b[descAt : descAt+descSize],
		})
		end := alignUp(descAt+descSize, align)
		if end >= uint64(len(b)) {
			break
		}
		b = b[end:]
	}
	return notes
}

// appendNote appends one entry, padded to align.
func appendNote(order byteOrder, b []byte, n Note, align uint64) []byte {
	pad := func() {
		for uint64(len(b))%align != 0 {
			b = append(b, 0)
		}
	}
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

// maxNote is the size of the largest note that Make adds, in bytes.
const maxNote = 1 << 20

// changeNotes adds and replaces notes.
func (e *editor) changeNotes() error {
	return nil
}
