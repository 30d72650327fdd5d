package rpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/adler32"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// storedBlob returns the header of an installed package, as databases have it.
func storedBlob(t testing.TB, name string) []byte {
	t.Helper()
	return storedPackage(t, testrpm.Package{Name: name, Files: []testrpm.File{
		{Path: "/usr/bin/" + name, Content: name, Mode: 0o100755},
		{Path: "/etc/" + name, Content: strings.Repeat("x", 100), Flags: 1},
	}}, "\x00\x02")
}

// storedPackage returns the header of a package that is installed with these states
// of its files.
func storedPackage(t testing.TB, p testrpm.Package, states string) []byte {
	t.Helper()
	r := bytes.NewReader(testrpm.RPM(t, p))
	if err := readLead(r); err != nil {
		t.Fatal(err)
	}
	_, raw, err := readHeader(r, partSignature, tagSignatureRegion)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(&bytes.Buffer{}, r, int64(-len(raw)&7), partSignature); err != nil {
		t.Fatal(err)
	}
	if _, raw, err = readHeader(r, partHeader, tagHeaderRegion); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(raw)
	be := binary.BigEndian
	entries := be.Uint32(raw[8:])
	index, store := raw[16:16+16*entries:16+16*entries], raw[16+16*entries:]
	for _, v := range []struct {
		tag   tag
		kind  kind
		count uint32
		data  string
	}{
		{sigSHA256, kindString, 1, hex.EncodeToString(digest[:]) + "\x00"},
		{tagInstallTime, kindInt32, 1, "\x60\x00\x00\x00"},
		{tagFileStates, kindChar, uint32(len(states)), states},
	} {
		if v.kind == kindInt32 {
			store = append(store, make([]byte, -len(store)&3)...)
		}
		for _, n := range []uint32{uint32(v.tag), uint32(v.kind), uint32(len(store)), v.count} {
			index = be.AppendUint32(index, n)
		}
		store = append(store, v.data...)
		entries++
	}
	blob := be.AppendUint32(nil, entries)
	blob = be.AppendUint32(blob, uint32(len(store)))
	return append(append(blob, index...), store...)
}

// ndbDatabase returns a Packages.db.
func ndbDatabase(blobs ...[]byte) []byte {
	le := binary.LittleEndian
	b := []byte(ndbMagic)
	for _, n := range []uint32{0, 7, 1, uint32(len(blobs) + 1), 0, 0, 0} {
		b = le.AppendUint32(b, n)
	}
	var data []byte
	for i := range (ndbPage - ndbHeader) / ndbSlot {
		b = append(b, ndbSlotMagic...)
		if i >= len(blobs) {
			b = append(b, make([]byte, 12)...)
			continue
		}
		blob := blobs[i]
		blocks := (ndbBlobHead + len(blob) + ndbBlobTail + ndbBlock - 1) / ndbBlock
		for _, n := range []int{i + 1, (ndbPage + len(data)) / ndbBlock, blocks} {
			b = le.AppendUint32(b, uint32(n))
		}
		one := []byte(ndbBlobMagic)
		for _, n := range []int{i + 1, 7, len(blob)} {
			one = le.AppendUint32(one, uint32(n))
		}
		one = append(one, blob...)
		one = append(one, make([]byte, blocks*ndbBlock-ndbBlobTail-len(one))...)
		one = le.AppendUint32(one, adler32.Checksum(one))
		one = le.AppendUint32(one, uint32(len(blob)))
		data = append(data, append(one, ndbBlobEnd...)...)
	}
	return append(b, data...)
}

// bdbDatabase returns a Packages whose table has one page. The packages are in
// further ones.
func bdbDatabase(blobs ...[]byte) []byte {
	const pageSize = 512
	le := binary.LittleEndian
	page := func(n uint32, kind byte) []byte {
		p := make([]byte, pageSize)
		le.PutUint32(p[8:], n)
		p[25] = kind
		return p
	}
	meta, table := page(0, bdbTypeHashMeta), page(1, bdbTypeHash)
	le.PutUint32(meta[12:], bdbHashMagic)
	le.PutUint32(meta[16:], 9)
	le.PutUint32(meta[20:], pageSize)
	end, items := pageSize, 0
	put := func(item []byte) {
		end -= len(item)
		copy(table[end:], item)
		le.PutUint16(table[bdbPageHeader+2*items:], uint16(end))
		items++
	}
	var rest []byte
	next := uint32(2)
	put([]byte{bdbItemData, 0, 0, 0, 0})
	put([]byte{bdbItemData, byte(len(blobs)), 0, 0, 0})
	for i, blob := range blobs {
		put([]byte{bdbItemData, byte(i + 1), 0, 0, 0})
		put(le.AppendUint32(le.AppendUint32([]byte{bdbItemOffPage, 0, 0, 0}, next), uint32(len(blob))))
		for len(blob) > 0 {
			n := min(len(blob), pageSize-bdbPageHeader)
			p := page(next, bdbTypeOverflow)
			copy(p[bdbPageHeader:], blob[:n])
			le.PutUint16(p[20:], 1)
			le.PutUint16(p[22:], uint16(n))
			blob = blob[n:]
			next++
			if len(blob) > 0 {
				le.PutUint32(p[16:], next)
			}
			rest = append(rest, p...)
		}
	}
	le.PutUint16(table[20:], uint16(items))
	le.PutUint16(table[22:], uint16(end))
	le.PutUint32(meta[32:], next-1)
	return append(append(meta, table...), rest...)
}

// sqliteDatabase returns an rpmdb.sqlite with a leaf for each package below page 2.
func sqliteDatabase(blobs ...[]byte) []byte {
	const pageSize = 512
	be := binary.BigEndian
	varint := func(n int) []byte { // of at most 14 bits
		if n < 128 {
			return []byte{byte(n)}
		}
		return []byte{byte(n>>7) | 0x80, byte(n & 0x7f)}
	}
	tree := func(page []byte, start int, kind byte, cells ...[]byte) {
		end, pointers := pageSize, start+8
		if kind == sqliteInterior {
			pointers += 4
		}
		for i, c := range cells {
			end -= len(c)
			copy(page[end:], c)
			be.PutUint16(page[pointers+2*i:], uint16(end))
		}
		page[start] = kind
		be.PutUint16(page[start+3:], uint16(len(cells)))
		be.PutUint16(page[start+5:], uint16(end))
	}
	first, root := make([]byte, pageSize), make([]byte, pageSize)
	copy(first, sqliteMagic)
	be.PutUint16(first[16:], pageSize)
	first[18], first[19], first[21], first[22], first[23] = 2, 2, 64, 32, 32
	be.PutUint32(first[56:], 1)
	row := []byte{6, 23, 29, 29, 1, 15}
	row = append(row, "tablePackagesPackages\x02x"...)
	tree(first, sqliteHeaderSize, sqliteLeaf, append([]byte{byte(len(row)), 1}, row...))

	var rest []byte
	next := uint32(3)
	var cells [][]byte
	for i, blob := range blobs {
		kind := varint(12 + 2*len(blob))
		payload := append(append([]byte{byte(2 + len(kind)), 0}, kind...), blob...)
		cell := append(varint(len(payload)), byte(i+1))
		least := (pageSize-12)*32/255 - 23
		local := least + (len(payload)-least)%(pageSize-4)
		if local > pageSize-35 {
			local = least
		}
		cell = append(cell, payload[:local]...)
		payload = payload[local:]
		leaf := make([]byte, pageSize)
		cell = be.AppendUint32(cell, next+1)
		tree(leaf, 0, sqliteLeaf, cell)
		rest = append(rest, leaf...)
		if i < len(blobs)-1 {
			cells = append(cells, append(be.AppendUint32(nil, next), byte(i+1)))
		} else {
			be.PutUint32(root[8:], next)
		}
		next++
		for len(payload) > 0 {
			p := make([]byte, pageSize)
			payload = payload[copy(p[4:], payload):]
			next++
			if len(payload) > 0 {
				be.PutUint32(p, next)
			}
			rest = append(rest, p...)
		}
	}
	tree(root, 0, sqliteInterior, cells...)
	be.PutUint32(first[24:], 1)
	be.PutUint32(first[92:], 1)
	be.PutUint32(first[28:], next-1)
	return append(append(first, root...), rest...)
}

// walOf returns the log of a transaction that leaves an sqlite database as b.
func walOf(b []byte) []byte {
	const pageSize = 512
	be := binary.BigEndian
	sum := walSum{order: be}
	sums := func(log []byte) []byte { return be.AppendUint32(be.AppendUint32(log, sum.s1), sum.s2) }
	var log []byte
	for _, n := range []uint32{walMagic | 1, walVersion, pageSize, 0, 11, 12} {
		log = be.AppendUint32(log, n)
	}
	sum.add(log)
	log = sums(log)
	for i := 0; i*pageSize < len(b); i++ {
		page := b[i*pageSize : (i+1)*pageSize]
		frame := be.AppendUint32(nil, uint32(i+1))
		if (i+1)*pageSize == len(b) {
			frame = be.AppendUint32(frame, uint32(i+1))
		} else {
			frame = be.AppendUint32(frame, 0)
		}
		sum.add(frame)
		sum.add(page)
		frame = be.AppendUint32(be.AppendUint32(frame, 11), 12)
		log = append(append(log, sums(frame)...), page...)
	}
	return log
}

// kinds are the kinds of databases.
var kinds = []struct {
	name  string
	build func(blobs ...[]byte) []byte
	read  func(db, wal *source, each recordFunc) error
}{
	{"sqlite", sqliteDatabase, readSqlite},
	{"ndb", ndbDatabase, func(db, _ *source, each recordFunc) error { return readNdb(db, each) }},
	{"bdb", bdbDatabase, func(db, _ *source, each recordFunc) error { return readBdb(db, each) }},
}

func sourceOf(b []byte) *source {
	return &source{ReaderAt: bytes.NewReader(b), name: "database", size: int64(len(b))}
}

// summary returns what is in a database, in a line a package, but for the instance
// numbers, which no checksum protects.
func summary(b []byte, read func(db, wal *source, each recordFunc) error) (string, error) {
	var c collection
	if err := read(sourceOf(b), sourceOf(nil), c.add); err != nil {
		return "", err
	}
	var s strings.Builder
	all := c.packages()
	slices.SortFunc(all, func(a, b *Installed) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range all {
		fmt.Fprintf(&s, "%s %s %s %d\n", p.Name, p.Version, p.HeaderDigest, len(p.Files))
	}
	return s.String(), nil
}

// TestDamagedDatabases cuts databases off at each length and changes each byte of
// them: they are refused or have the same packages.
func TestDamagedDatabases(t *testing.T) {
	one, two := storedBlob(t, "one"), storedBlob(t, "two")
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			whole := k.build(one, two)
			want, err := summary(whole, k.read)
			if err != nil || strings.Count(want, "\n") != 2 {
				t.Fatalf("%q, %v", want, err)
			}
			check := func(what string, b []byte) {
				t.Helper()
				got, err := summary(b, k.read)
				var format *FormatError
				if err != nil && !errors.As(err, &format) {
					t.Errorf("%s: %v", what, err)
				}
				if err == nil && got != want {
					t.Errorf("%s: read as\n%s", what, got)
				}
			}
			for n := range len(whole) {
				b := whole[:n]
				if _, err := summary(b, k.read); err == nil {
					t.Errorf("cut off after %d of %d bytes, it is read", n, len(whole))
				}
			}
			root := -1
			if k.name == "sqlite" {
				root = 510 // where the table begins, which nothing else tells
			}
			for i := range whole {
				if i == root {
					continue
				}
				for _, mask := range []byte{0xff, 1, 0x80} {
					b := bytes.Clone(whole)
					b[i] ^= mask
					check(fmt.Sprintf("byte %d changed from %#x to %#x", i, whole[i], b[i]), b)
				}
			}
		})
	}
}

// TestDamagedLog cuts a log off at each length, and changes each byte of it: the
// transaction in it has been committed or has not.
func TestDamagedLog(t *testing.T) {
	one, two := storedBlob(t, "one"), storedBlob(t, "two")
	db, next := sqliteDatabase(one), sqliteDatabase(one, two)
	read := func(log []byte) string {
		t.Helper()
		got, err := summary(db, func(db, _ *source, each recordFunc) error { return readSqlite(db, sourceOf(log), each) })
		if err != nil && !errors.Is(err, errUnreadable) { // a log of another version
			t.Error(err)
		}
		return got
	}
	before, whole := read(nil), walOf(next)
	after := read(whole)
	if strings.Count(before, "\n") != 1 || strings.Count(after, "\n") != 2 {
		t.Fatalf("before\n%s, and after\n%s", before, after)
	}
	for n := range whole {
		if got := read(whole[:n]); got != before {
			t.Errorf("cut off after %d of %d bytes, it is read as\n%s", n, len(whole), got)
		}
		b := bytes.Clone(whole)
		b[n] ^= 0xff
		if got := read(b); got != before && got != after && got != "" {
			t.Errorf("with byte %d changed, it is read as\n%s", n, got)
		}
	}
}

// TestHostileDatabases have sizes that are not true.
func TestHostileDatabases(t *testing.T) {
	blob := storedBlob(t, "one")
	for _, k := range kinds {
		whole := k.build(blob)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range len(whole) - 4 {
			b := bytes.Clone(whole)
			copy(b[i:], "\x0f\xff\xff\xff")
			if _, err := summary(b, k.read); err != nil && len(err.Error()) > 1000 {
				t.Errorf("%s: an error of %d bytes", k.name, len(err.Error()))
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / uint64(len(whole)); each > 64*uint64(len(whole)) {
			t.Errorf("%s: %d bytes are allocated for a database of %d", k.name, each, len(whole))
		}
	}
}

func FuzzDatabase(f *testing.F) {
	blob := storedBlob(f, "one")
	for i, k := range kinds {
		f.Add(byte(i), k.build(blob, blob[:len(blob)/2]), []byte(nil))
		f.Add(byte(i), k.build(blob, blob), []byte(nil))
		f.Add(byte(i), []byte{}, []byte{})
	}
	f.Add(byte(0), sqliteDatabase(blob), walOf(sqliteDatabase(blob, blob)))
	f.Fuzz(func(t *testing.T, kind byte, b, log []byte) {
		k := kinds[int(kind)%len(kinds)]
		var c collection
		err := k.read(sourceOf(b), sourceOf(log), c.add)
		var format *FormatError
		if err != nil && !errors.As(err, &format) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzStoredHeader(f *testing.F) {
	f.Add(storedBlob(f, "one"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var c collection
		if err := c.add(1, b); err == nil {
			_ = c.packages()
		}
	})
}
