package elfedit

import (
	"debug/elf"
	"slices"
	"strings"
)

// Bound is one library that a program is bound to, or was built against.
type Bound struct {
	Path   string `json:"path"`   // as the program, or its closure object, asks for it
	Digest string `json:"digest"` // the BLAKE3-256 of the file, as 64 hexadecimal digits in lower case
}

// The notes that say which files a program is bound to, or was built against. No segment holds them,
// so that a start maps not a byte more; readers find them by their section headers.
const (
	boundOwner   = "hashpkg"
	boundSection = ".note.hashpkg"

	boundType        = 1 // Info.Bound
	builtAgainstType = 2 // Info.BuiltAgainst
)

const digestDigits = 64

// String returns the line of the note: the digest, two spaces, and the path, as b3sum writes it.
func (b Bound) String() string { return b.Digest + "  " + b.Path }

// ParseBound reads what [Bound.String] writes.
func ParseBound(line string) (b Bound, ok bool) {
	digest, path, ok := strings.Cut(line, "  ")
	if !ok || len(digest) != digestDigits || strings.Trim(digest, "0123456789abcdef") != "" || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\n\x00") {
		return Bound{}, false
	}
	return Bound{Path: path, Digest: digest}, true
}

// boundNote returns the note of a list.
func boundNote(kind uint32, list []Bound) Note {
	var desc strings.Builder
	for _, b := range list {
		desc.WriteString(b.String() + "\n")
	}
	return Note{Name: boundOwner, Type: kind, Desc: []byte(desc.String())}
}

// parseBoundNote returns the list of a note's descriptor; nil for one that holds something else.
func parseBoundNote(desc []byte) (list []Bound) {
	for line := range strings.Lines(string(desc)) {
		b, ok := ParseBound(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil
		}
		list = append(list, b)
	}
	return list
}

// bound notes what the notes of a file say, the last one of several of a type. Nothing that is loaded
// depends on them: what cannot be read is left out. hashpkg's own stand in the last sections;
// how much else is looked at is bounded, since a hostile file has sections that overlap.
func (in *inspector) bound() {
	img := in.img
	if img.sectsErr != nil {
		return
	}
	left := uint64(4 * maxNote)
	var bound, built []Bound
	for _, s := range slices.Backward(img.sects) {
		if s.kind != elf.SHT_NOTE || s.flags&uint64(elf.SHF_ALLOC) != 0 || s.size > left || !img.isNamed(s, boundSection) {
			continue
		}
		left -= s.size
		b, err := img.bytes(s.off, s.size, "notes")
		if err != nil {
			continue
		}
		var ofSection [builtAgainstType + 1][]Bound
		eachNote(img.order, b, noteAlign(s.align), func(name []byte, kind uint32, desc []byte, _ uint64) bool {
			if string(name) == boundOwner && (kind == boundType || kind == builtAgainstType) {
				if list := parseBoundNote(desc); list != nil {
					ofSection[kind] = list
				}
			}
			return true
		})
		if bound == nil {
			bound = ofSection[boundType]
		}
		if built == nil {
			built = ofSection[builtAgainstType]
		}
		if bound != nil && built != nil {
			break
		}
	}
	in.info.Bound, in.info.BuiltAgainst = bound, built
}

// isNamed reports whether a section has a name: a note of that owner in another section is the
// program's own.
func (img *image) isNamed(s sect, name string) bool {
	if uint64(img.shstrndx) >= uint64(len(img.sects)) {
		return false
	}
	names := img.sects[img.shstrndx]
	table, err := img.bytes(names.off, names.size, "section names")
	want := name + "\x00"
	return err == nil && uint64(s.name)+uint64(len(want)) <= uint64(len(table)) && string(table[s.name:][:len(want)]) == want
}

// placeBound puts the notes that the changes ask for behind all else in the file, and adds
// their section headers.
func (e *editor) placeBound() error {
	for _, note := range []struct {
		kind uint32
		list []Bound
	}{{builtAgainstType, e.changes.BuiltAgainst}, {boundType, e.changes.Bound}} {
		if len(note.list) == 0 {
			continue
		}
		const align = 4
		if e.sects == nil || e.shstrndx == 0 || int(e.shstrndx) >= len(e.sects) || len(e.sects)+1 >= int(elf.SHN_LORESERVE) {
			return refused("a note of bound libraries needs section headers with names, and the file has none")
		}
		if err := e.payload(); err != nil {
			return err
		}
		content := appendNote(e.order, nil, boundNote(note.kind, note.list), align)
		r := &region{kind: regionNote, content: content, newSize: uint64(len(content))}
		e.boundAt = append(e.boundAt, r)
		e.addSects = append(e.addSects, newSect{
			name: boundSection, r: r, align: align,
			sect: sect{kind: elf.SHT_NOTE, size: uint64(len(content)), align: align},
		})
	}
	return nil
}

// writeBound writes the notes where nothing of the file stands any more.
func (e *editor) writeBound() {
	for _, r := range e.boundAt {
		r.newOff = alignUp(e.out.size, 4)
		e.out.write(r.newOff, r.content)
	}
}
