package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Builder makes the file of a source from its packages. The zero Builder is ready.
type Builder struct {
	// Expected is about how many bytes the packages have in what they are read from; 0 if
	// that is not known. Room for so many is made at once.
	Expected int64

	strings   interned
	relations interned
	packages  growing
	// known are the relations of each text that came last: most come often.
	known map[string]knownRelation

	names, offers []post
	lines         []string // for the search, in the order in which their names came
	lineOf        []int    // by the ID of a name, which line is its, from 1; 0 for none
	scratch       []byte
}

// post says that a package has a name, or provides it.
type post struct{ name, number uint32 }

// knownRelation is a relation that has an ID.
type knownRelation struct {
	id           uint32
	alternatives []pkginfo.Constraint
}

// Add adds a package. Those of one name, and the answers to any one question, come out
// in the order in which they were added. An index has no place for Fields, Scripts,
// Triggers, Conffiles and Shlibs, and does not tell an empty list from none. p may be
// changed afterwards. It is an error, of which the Builder is not the worse, when p is
// too large.
func (b *Builder) Add(p *pkginfo.Listed) error {
	if b.known == nil {
		// In Debian's main there is a string for 256 bytes, and a relation for 640.
		bytes := min(b.Expected, maxExpected)
		b.strings.ids = make(map[string]uint32, bytes/256)
		b.relations.ids = make(map[string]uint32, bytes/640)
		b.known = make(map[string]knownRelation, bytes/640)
	}
	if cost(p) > maxPackage {
		return fmt.Errorf("index %s: it has more than %d bytes, a fixed limit of hashpkg (docs/limits.md): no package needs more", p.Spec(), maxPackage)
	}
	number := uint32(b.packages.len())
	b.packages.add(b.encodePackage(p))

	name := b.strings.id(p.Name)
	b.names = append(b.names, post{name, number})
	if n := int(name) + 1 - len(b.lineOf); n > 0 {
		b.lineOf = append(b.lineOf, make([]int, n)...)
	}
	if b.lineOf[name] == 0 {
		b.lines = append(b.lines, searchLine(p))
		b.lineOf[name] = len(b.lines)
	}
	for _, c := range p.Provides {
		b.offers = append(b.offers, post{b.strings.id(c.Name), number})
	}
	for _, path := range p.Files {
		b.offers = append(b.offers, post{b.strings.id(path), number})
	}
	return nil
}

// maxExpected is for how many bytes room is made at most: the rest has it when it came.
const maxExpected = 64 << 20

// cost returns about what a package takes of memory when it is read: what reader.take
// counts.
func cost(p *pkginfo.Listed) int {
	n := elementCost
	for _, s := range []string{string(p.Format), p.Name, p.Version, p.Architecture, p.Source, p.Summary, p.MultiArch, p.Priority, p.Path, p.Digest} {
		n += len(s)
	}
	for _, relations := range relationLists(p) {
		for _, r := range *relations {
			n += elementCost + len(r.Text)
			for _, c := range r.Alternatives {
				n += elementCost + len(c.Name) + len(c.Architecture) + len(c.Operator) + len(c.Version)
			}
		}
	}
	for _, c := range p.Provides {
		n += elementCost + len(c.Name) + len(c.Version)
	}
	for _, path := range p.Files {
		n += elementCost + len(path)
	}
	return n
}

// relationLists returns the lists of relations that a package has, in their order in a
// record.
func relationLists(p *pkginfo.Listed) []*[]pkginfo.Relation {
	return []*[]pkginfo.Relation{&p.Requires, &p.ScriptRequires, &p.Recommends, &p.Conflicts, &p.Replaces}
}

// encodePackage returns the record of a package, which is valid until the next call:
// IDs of the strings that packages share, the strings of its own, numbers, and lists.
func (b *Builder) encodePackage(p *pkginfo.Listed) []byte {
	r := b.scratch[:0]
	for _, s := range []string{string(p.Format), p.Name, p.Version, p.Architecture, p.Source, p.MultiArch, p.Priority} {
		r = binary.AppendUvarint(r, uint64(b.strings.id(s)))
	}
	for _, s := range []string{p.Summary, p.Path} {
		r = appendString(r, s)
	}
	r = appendDigest(r, p.Digest)
	r = binary.AppendVarint(r, p.Size)
	r = binary.AppendVarint(r, p.InstalledSize)
	essential := byte(0)
	if p.Essential {
		essential = 1
	}
	r = append(r, essential)
	for _, relations := range relationLists(p) {
		r = binary.AppendUvarint(r, uint64(len(*relations)))
		for _, relation := range *relations {
			r = binary.AppendUvarint(r, uint64(b.relation(relation)))
		}
	}
	r = binary.AppendUvarint(r, uint64(len(p.Provides)))
	for _, c := range p.Provides {
		r = binary.AppendUvarint(r, uint64(b.strings.id(c.Name)))
		r = binary.AppendUvarint(r, uint64(b.strings.id(c.Version)))
	}
	r = binary.AppendUvarint(r, uint64(len(p.Files)))
	for _, path := range p.Files {
		r = binary.AppendUvarint(r, uint64(b.strings.id(path)))
	}
	b.scratch = r
	return r
}

// relation returns the ID of a relation.
func (b *Builder) relation(relation pkginfo.Relation) uint32 {
	if known, ok := b.known[relation.Text]; ok && slices.Equal(known.alternatives, relation.Alternatives) {
		return known.id
	}
	var room [128]byte
	r := binary.AppendUvarint(room[:0], uint64(b.strings.id(relation.Text)))
	r = binary.AppendUvarint(r, uint64(len(relation.Alternatives)))
	for _, c := range relation.Alternatives {
		for _, s := range []string{c.Name, c.Architecture, c.Operator, c.Version} {
			r = binary.AppendUvarint(r, uint64(b.strings.id(s)))
		}
	}
	id := b.relations.idOf(r)
	b.known[relation.Text] = knownRelation{id, slices.Clone(relation.Alternatives)}
	return id
}

func appendString(r []byte, s string) []byte {
	return append(binary.AppendUvarint(r, uint64(len(s))), s...)
}

// digestKinds are the digests that are packed; their place is the kind in a record.
var digestKinds = []struct {
	prefix string
	size   int
}{{"", 0}, {"sha256:", 32}, {"sha512:", 64}}

// appendDigest packs a digest if it comes out again as it was.
func appendDigest(r []byte, digest string) []byte {
	for kind, k := range digestKinds[1:] {
		text, ok := strings.CutPrefix(digest, k.prefix)
		if !ok || len(text) != 2*k.size || strings.ContainsFunc(text, func(c rune) bool { return c >= 'A' && c <= 'F' }) {
			continue
		}
		if packed, err := hex.AppendDecode(append(r, byte(kind+1)), []byte(text)); err == nil {
			return packed
		}
	}
	return appendString(append(r, 0), digest)
}

// WriteTo writes the file. No package may be added afterwards.
func (b *Builder) WriteTo(w io.Writer) (int64, error) {
	var sections [sectionCount][]byte
	sections[stringData], sections[stringStarts] = b.strings.data, b.strings.starts()
	sections[relationData], sections[relationStarts] = b.relations.data, b.relations.starts()
	sections[packageData], sections[packageStarts] = b.packages.data, b.packages.starts()
	named := b.sorted(b.names)
	sections[names], sections[namePosts] = nameTables(named)
	sections[searchText], sections[searchNames] = b.searchTable(named)
	sections[offers], sections[offerPosts] = nameTables(b.sorted(b.offers))

	header := append(make([]byte, 0, headerSize), magic...)
	header = binary.LittleEndian.AppendUint32(header, version)
	header = binary.LittleEndian.AppendUint32(header, uint32(b.packages.len()))
	at := int64(headerSize)
	for _, s := range sections {
		if at+int64(len(s)) > math.MaxUint32 {
			return 0, fmt.Errorf("write an index: it would have more than %d bytes, a fixed limit of hashpkg (docs/limits.md)", uint32(math.MaxUint32))
		}
		header = binary.LittleEndian.AppendUint32(header, uint32(at))
		header = binary.LittleEndian.AppendUint32(header, uint32(len(s)))
		at += int64(len(s))
	}
	parts := append([][]byte{header}, sections[:]...)
	var written int64
	for _, part := range parts {
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// sorted returns posts in the order of the bytes of their names, and those of one name in
// that of their numbers, each once.
func (b *Builder) sorted(posts []post) []post {
	// Most names differ in their first bytes, which are compared as a number.
	type keyed struct {
		key uint64
		post
	}
	all := make([]keyed, len(posts))
	for i, p := range posts {
		var first [8]byte
		copy(first[:], b.strings.get(p.name))
		all[i] = keyed{binary.BigEndian.Uint64(first[:]), p}
	}
	slices.SortFunc(all, func(x, y keyed) int {
		switch {
		case x.key != y.key:
			return cmp.Compare(x.key, y.key)
		case x.name != y.name:
			return bytes.Compare(b.strings.get(x.name), b.strings.get(y.name))
		}
		return cmp.Compare(x.number, y.number)
	})
	sorted := make([]post, len(all))
	for i, k := range all {
		sorted[i] = k.post
	}
	return slices.Compact(sorted)
}

// nameTables returns the sections of a table of names, of posts that are sorted.
func nameTables(posts []post) (table, all []byte) {
	for i, p := range posts {
		if i == 0 || p.name != posts[i-1].name {
			table = appendWords(table, p.name, uint32(i))
		}
		all = appendWords(all, p.number)
	}
	return appendWords(table, math.MaxUint32, uint32(len(posts))), all
}

// searchTable returns the lines of names, and where they begin.
func (b *Builder) searchTable(posts []post) (text, starts []byte) {
	for i, p := range posts {
		if i == 0 || p.name != posts[i-1].name {
			starts = appendWords(starts, uint32(len(text)))
			text = append(text, b.lines[b.lineOf[p.name]-1]...)
		}
	}
	return text, appendWords(starts, uint32(len(text)))
}

func appendWords(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// growing is a table of records that is being made.
type growing struct {
	data []byte
	ends []int
}

func (g *growing) len() int { return len(g.ends) }

func (g *growing) add(record []byte) {
	g.data = append(g.data, record...)
	g.ends = append(g.ends, len(g.data))
}

// starts returns where the records begin, and the last one ends. Numbers that are too
// large are found when the size of the file is.
func (g *growing) starts() []byte {
	b := make([]byte, 4, 4+4*len(g.ends))
	for _, end := range g.ends {
		b = binary.LittleEndian.AppendUint32(b, uint32(end))
	}
	return b
}

// interned is a table of records of which none is there twice.
type interned struct {
	growing
	ids map[string]uint32
}

// id returns the ID of a string.
func (t *interned) id(s string) uint32 {
	if id, ok := t.ids[s]; ok {
		return id
	}
	return t.insert(strings.Clone(s))
}

// idOf is id for bytes, which stay the caller's.
func (t *interned) idOf(b []byte) uint32 {
	if id, ok := t.ids[string(b)]; ok {
		return id
	}
	return t.insert(string(b))
}

func (t *interned) insert(s string) uint32 {
	if t.ids == nil {
		t.ids = map[string]uint32{}
	}
	id := uint32(t.len())
	t.ids[s] = id
	t.data = append(t.data, s...)
	t.ends = append(t.ends, len(t.data))
	return id
}

// get returns the string of an ID.
func (t *interned) get(id uint32) []byte {
	from := 0
	if id > 0 {
		from = t.ends[id-1]
	}
	return t.data[from:t.ends[id]]
}
