package record

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Linkage is what a private tree has to do with the symbols of others: by which of them its
// files answer look-ups, and what it needs, so that its files come into one process with
// others. It follows from the identity of the tree, and is derived: a file of linkages
// ([EncodeLinkages]) is read in a fraction of the time that manifests and symbol tables take.
type Linkage struct {
	Identity digest.Digest
	Wants    [][]pkginfo.Constraint // the alternatives of each relation, of those that it recommends, too
	Leads    []string               // NAME/TREE of what may be trees that its files lead to
	Files    []LinkedFile
}

// LinkedFile is a file that may answer look-ups of others.
type LinkedFile struct {
	Path    string // relative to the tree
	Name    string // its soname; of a file without one, where it stands in its package
	Exports SymbolHashes
	// Own are the symbols to which relocations of the file itself can be bound, where HasOwn
	// says that somebody has asked for them.
	Own    SymbolHashes
	HasOwn bool
}

// SymbolHashes are hashes of symbols, 8 bytes of a name and 4 of a version, the lowest byte first.
type SymbolHashes string

const symbolHash = 12

// AppendSymbolHash appends the hashes of one symbol.
func AppendSymbolHash(b []byte, name uint64, version uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, name), version)
}

// Len returns how many symbols there are.
func (s SymbolHashes) Len() int { return len(s) / symbolHash }

// All yields the names and versions.
func (s SymbolHashes) All() iter.Seq2[uint64, uint32] {
	return func(yield func(uint64, uint32) bool) {
		for ; len(s) >= symbolHash; s = s[symbolHash:] {
			if !yield(uint64(s.word(0))|uint64(s.word(4))<<32, s.word(8)) {
				return
			}
		}
	}
}

func (s SymbolHashes) word(at int) uint32 {
	b := s[at : at+4]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// linkagesMagic changes with the form, and with what elfedit.Exports and elfedit.SelfBindable return.
const linkagesMagic = "hashpkg linkages 3\n"

// EncodeLinkages returns linkages as a file: the magic, the digest of the rest, then numbers
// and strings as in the index of a generation, in the order of [Linkage].
func EncodeLinkages(linkages []*Linkage) []byte {
	var w indexWriter
	w.number(int64(len(linkages)))
	for _, l := range linkages {
		w.Write(l.Identity[:])
		w.number(int64(len(l.Wants)))
		for _, alternatives := range l.Wants {
			w.number(int64(len(alternatives)))
			for _, c := range alternatives {
				w.text(c.Name)
				w.text(c.Architecture)
				w.text(c.Operator)
				w.text(c.Version)
			}
		}
		w.texts(l.Leads)
		w.number(int64(len(l.Files)))
		for i := range l.Files {
			f := &l.Files[i]
			w.text(f.Path)
			w.text(f.Name)
			w.text(string(f.Exports))
			w.number(flags(f.HasOwn))
			w.text(string(f.Own))
		}
	}
	return sealed(linkagesMagic, w.Bytes())
}

// DecodeLinkages reads what EncodeLinkages wrote.
func DecodeLinkages(b []byte) ([]*Linkage, error) {
	fail := errors.New("the index of symbols is damaged")
	r, ok := unsealed(linkagesMagic, b)
	if !ok {
		return nil, fail
	}
	var list []*Linkage
	for n := r.count(); n > 0 && !r.bad; n-- {
		l := &Linkage{Identity: r.digest()}
		for n := r.count(); n > 0 && !r.bad; n-- {
			var alternatives []pkginfo.Constraint
			for n := r.count(); n > 0 && !r.bad; n-- {
				alternatives = append(alternatives, pkginfo.Constraint{Name: r.text(), Architecture: r.text(), Operator: r.text(), Version: r.text()})
			}
			l.Wants = append(l.Wants, alternatives)
		}
		l.Leads = r.texts()
		for n := r.count(); n > 0 && !r.bad; n-- {
			f := LinkedFile{Path: r.text(), Name: r.text(), Exports: SymbolHashes(r.text())}
			f.HasOwn = r.number()&1 != 0
			f.Own = SymbolHashes(r.text())
			if len(f.Exports)%symbolHash != 0 || len(f.Own)%symbolHash != 0 {
				return nil, fail
			}
			l.Files = append(l.Files, f)
		}
		list = append(list, l)
	}
	if r.bad || r.b != "" {
		return nil, fail
	}
	return list, nil
}
