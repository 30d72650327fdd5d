package index

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Index answers from the bytes of a file. Several goroutines may ask it at once.
type Index struct {
	count     int
	strings   table
	relations table
	packages  table
	names     nameTable
	offers    nameTable
	lines     table
}

// Open returns the index whose file has these bytes, which must not change. The error
// wraps ErrDamaged or ErrVersion.
func Open(data []byte) (*Index, error) {
	if len(data) < headerSize || string(data[:len(magic)]) != magic {
		return nil, damagedf("it does not begin as an index does")
	}
	header := data[len(magic):headerSize]
	if v := word(header, 0); v != version {
		return nil, fmt.Errorf("%w: version %d, and this hashpkg reads %d", ErrVersion, v, version)
	}
	var sections [sectionCount][]byte
	for i := range sections {
		from, size := uint64(word(header, 2+2*i)), uint64(word(header, 3+2*i))
		if from+size > uint64(len(data)) {
			return nil, damagedf("section %d ends at %d, and the file has %d bytes", i, from+size, len(data))
		}
		sections[i] = data[from : from+size : from+size]
	}
	x := &Index{
		count:     int(word(header, 1)),
		strings:   table{"string", sections[stringData], sections[stringStarts]},
		relations: table{"relation", sections[relationData], sections[relationStarts]},
		packages:  table{"package", sections[packageData], sections[packageStarts]},
		lines:     table{"line", sections[searchText], sections[searchNames]},
	}
	x.names = nameTable{&x.strings, sections[names], sections[namePosts]}
	x.offers = nameTable{&x.strings, sections[offers], sections[offerPosts]}
	if x.count != x.packages.len() {
		return nil, damagedf("it says that it has %d packages, and has %d", x.count, x.packages.len())
	}
	if x.lines.len() != x.names.len() {
		return nil, damagedf("it has %d names, and lines for %d", x.names.len(), x.lines.len())
	}
	return x, nil
}

// Len returns the number of packages.
func (x *Index) Len() int { return x.count }

// Named returns the packages of a name: all versions, of all architectures.
func (x *Index) Named(name string) ([]*pkginfo.Listed, error) {
	all, err := x.answer(&x.names, name)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Name != name {
			return nil, damagedf("the package %q stands below the name %q", p.Name, name)
		}
	}
	return all, nil
}

// Providing returns the packages that provide a name beside their own, or have a file
// of this path.
func (x *Index) Providing(name string) ([]*pkginfo.Listed, error) {
	all, err := x.answer(&x.offers, name)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if !slices.Contains(p.Files, name) && !slices.ContainsFunc(p.Provides, func(c pkginfo.Capability) bool { return c.Name == name }) {
			return nil, damagedf("the package %q does not provide %q", p.Name, name)
		}
	}
	return all, nil
}

func (x *Index) answer(names *nameTable, name string) ([]*pkginfo.Listed, error) {
	i, found, err := names.find(name)
	if err != nil || !found {
		return nil, err
	}
	posts, err := names.posts(i)
	if err != nil {
		return nil, err
	}
	var all []*pkginfo.Listed
	r := reader{index: x, left: maxAnswer}
	last := int64(-1)
	for i := range len(posts) / 4 {
		number := word(posts, i)
		if int64(number) <= last {
			return nil, damagedf("the packages of %q are not in order", name)
		}
		last = int64(number)
		p, err := r.read(number)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// All returns the packages in the order in which they were added, until the first
// error.
func (x *Index) All() iter.Seq2[*pkginfo.Listed, error] {
	return func(yield func(*pkginfo.Listed, error) bool) {
		for i := range x.count {
			r := reader{index: x, left: maxPackage}
			p, err := r.read(uint32(i))
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// Names returns the names of packages that begin with prefix, limit of them at most, in
// the order of their bytes.
func (x *Index) Names(prefix string, limit int) ([]string, error) {
	i, _, err := x.names.find(prefix)
	if err != nil {
		return nil, err
	}
	var found []string
	r := reader{index: x, left: maxAnswer}
	for ; i < x.names.len() && len(found) < limit; i++ {
		name, err := x.names.name(i)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(name, []byte(prefix)) {
			break
		}
		r.take(elementCost)
		found = append(found, r.copy(name))
		if r.err != nil {
			return nil, r.err
		}
	}
	return found, nil
}

// nameTable leads from names to numbers of packages.
type nameTable struct {
	strings *table
	names   []byte
	numbers []byte
}

// len returns the number of names.
func (t *nameTable) len() int { return max(len(t.names)/8-1, 0) }

func (t *nameTable) name(i int) ([]byte, error) { return t.strings.record(uint64(word(t.names, 2*i))) }

// find returns the place of a name, or the one at which it would be.
func (t *nameTable) find(name string) (i int, found bool, err error) {
	i = sort.Search(t.len(), func(i int) bool {
		at, e := t.name(i)
		if e != nil {
			err = e
		}
		return bytes.Compare(at, []byte(name)) >= 0
	})
	if err != nil || i == t.len() {
		return i, false, err
	}
	at, err := t.name(i)
	return i, string(at) == name, err
}

// posts returns the numbers of the packages of the i-th name.
func (t *nameTable) posts(i int) ([]byte, error) {
	from, to := uint64(word(t.names, 2*i+1)), uint64(word(t.names, 2*i+3))
	if from > to || 4*to > uint64(len(t.numbers)) {
		return nil, damagedf("the packages of a name end outside of the file, or before they begin")
	}
	return t.numbers[4*from : 4*to], nil
}

// reader reads packages, until they have taken what is left of memory.
type reader struct {
	index *Index
	left  int
	err   error
}

// take returns whether n bytes of memory may be taken.
func (r *reader) take(n int) bool {
	r.left -= n
	if r.left < 0 && r.err == nil {
		r.err = damagedf("what was asked for takes too much memory")
	}
	return r.err == nil
}

// string returns the string of an ID.
func (r *reader) string(id uint64) string {
	b, err := r.index.strings.record(id)
	if err != nil && r.err == nil {
		r.err = err
	}
	return r.copy(b)
}

func (r *reader) copy(b []byte) string {
	if !r.take(len(b)) {
		return ""
	}
	return string(b)
}

// read returns a package.
func (r *reader) read(number uint32) (*pkginfo.Listed, error) {
	record, err := r.index.packages.record(uint64(number))
	if err != nil {
		return nil, err
	}
	f := &fields{rest: record}
	p := &pkginfo.Listed{}
	r.take(elementCost)
	p.Format = pkginfo.Format(r.string(f.uvarint()))
	for _, s := range []*string{&p.Name, &p.Version, &p.Architecture, &p.Source, &p.MultiArch, &p.Priority} {
		*s = r.string(f.uvarint())
	}
	p.Summary = r.copy(f.bytes())
	p.Path = r.copy(f.bytes())
	p.Digest = r.digest(f)
	p.Size = f.varint()
	p.InstalledSize = f.varint()
	p.Essential = f.uvarint() == 1
	for _, list := range relationLists(p) {
		*list = r.relations(f)
	}
	for n := f.count(); n > 0 && r.take(elementCost) && f.err == nil; n-- {
		p.Provides = append(p.Provides, pkginfo.Capability{Name: r.string(f.uvarint()), Version: r.string(f.uvarint())})
	}
	for n := f.count(); n > 0 && r.take(elementCost) && f.err == nil; n-- {
		p.Files = append(p.Files, r.string(f.uvarint()))
	}
	if r.err != nil {
		return nil, r.err
	}
	return p, f.end()
}

func (r *reader) digest(f *fields) string {
	kind := f.uvarint()
	switch {
	case kind == 0:
		return r.copy(f.bytes())
	case kind >= uint64(len(digestKinds)) || len(f.rest) < digestKinds[kind].size:
		f.fail()
		return ""
	}
	k := digestKinds[kind]
	packed := f.rest[:k.size]
	f.rest = f.rest[k.size:]
	r.take(len(k.prefix) + 2*k.size)
	return k.prefix + hex.EncodeToString(packed)
}

func (r *reader) relations(f *fields) []pkginfo.Relation {
	n := f.count()
	if n == 0 || !r.take(n*elementCost) {
		return nil
	}
	all := make([]pkginfo.Relation, 0, n)
	for range n {
		if f.err != nil || r.err != nil {
			return nil
		}
		record, err := r.index.relations.record(f.uvarint())
		if err != nil {
			r.err = err
			return nil
		}
		all = append(all, r.relation(record))
	}
	return all
}

func (r *reader) relation(record []byte) pkginfo.Relation {
	f := &fields{rest: record}
	relation := pkginfo.Relation{Text: r.string(f.uvarint())}
	for n := f.count(); n > 0 && r.take(elementCost) && f.err == nil; n-- {
		relation.Alternatives = append(relation.Alternatives, pkginfo.Constraint{
			Name: r.string(f.uvarint()), Architecture: r.string(f.uvarint()),
			Operator: r.string(f.uvarint()), Version: r.string(f.uvarint()),
		})
	}
	if err := f.end(); err != nil && r.err == nil {
		r.err = err
	}
	return relation
}
