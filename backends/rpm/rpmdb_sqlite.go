package rpm

import (
	"encoding/binary"
	"strings"
)

// The format of rpmdb.sqlite (sqlite.org/fileformat2.html), of which this reads
// one table: Packages (hnum INTEGER PRIMARY KEY, blob BLOB).
const (
	sqliteMagic      = "SQLite format 3\x00"
	sqliteHeaderSize = 100
	sqliteTable      = "Packages"

	sqliteInterior = 5
	sqliteLeaf     = 13

	// sqliteMaxDepth is more than a file of 2^32 pages can need.
	sqliteMaxDepth = 32

	// sqliteMaxPayload is what a row may have besides a header of the largest size.
	sqliteMaxPayload = maxInstalledStore + maxHeaderEntries*entrySize + 64
)

// sqliteFile is an open database.
type sqliteFile struct {
	db       *source
	log      *walLog
	pageSize int
	usable   int    // without what is reserved at the end of a page
	pages    uint32 // how many there are
	// used are the pages that were read, each of which is in one place of one tree.
	used map[uint32]bool
}

// readSqlite reads the packages of an sqlite database. wal is its write-ahead log,
// and is empty if there is none.
func readSqlite(db, wal *source, each recordFunc) error {
	f, err := openSqlite(db, wal)
	if err != nil {
		return err
	}
	root := uint32(0)
	err = f.walk(1, func(_ int64, payload []byte) error {
		row, ok := parseRecord(payload)
		if !ok || len(row) < 5 {
			return db.damage(0, "its list of tables is wrong")
		}
		if string(row[0].data) == "table" && strings.EqualFold(string(row[1].data), sqliteTable) {
			root = uint32(row[3].integer())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if root < 2 {
		return db.damage(0, "it has no table %s", sqliteTable)
	}
	return f.walk(root, func(id int64, payload []byte) error {
		row, ok := parseRecord(payload)
		if !ok || len(row) != 2 || row[0].kind != 0 || row[1].kind < 12 || row[1].kind%2 != 0 {
			return db.damage(0, "package %d has the wrong columns", id)
		}
		if id < 1 || id > 1<<32-1 {
			return db.damage(0, "a package has the number %d", id)
		}
		return each(uint32(id), row[1].data)
	})
}

func openSqlite(db, wal *source) (*sqliteFile, error) {
	head := make([]byte, sqliteHeaderSize)
	if err := db.read(head[:min(int64(len(head)), db.size)], 0); err != nil {
		return nil, err
	}
	if db.size < sqliteHeaderSize {
		return nil, db.damage(db.size, "it ends in the middle of its header")
	}
	if string(head[:len(sqliteMagic)]) != sqliteMagic {
		return nil, db.unreadable("it does not begin as one of sqlite does")
	}
	f := &sqliteFile{db: db, used: map[uint32]bool{}}
	f.pageSize = int(binary.BigEndian.Uint16(head[16:]))
	if f.pageSize == 1 {
		f.pageSize = 65536
	}
	f.usable = f.pageSize - int(head[20])
	if f.pageSize < 512 || f.pageSize&(f.pageSize-1) != 0 || f.usable < 480 {
		return nil, db.damage(16, "its pages have %d bytes, %d of them usable", f.pageSize, f.usable)
	}
	if head[19] == 2 {
		var err error
		if f.log, err = openWal(wal, f.pageSize); err != nil {
			return nil, err
		}
	}
	f.pages = uint32(min(db.size/int64(f.pageSize), 1<<32-1))
	if f.log != nil && f.log.pages > 0 {
		f.pages = f.log.pages
	}
	first, err := f.page(1)
	if err != nil {
		return nil, err
	}
	f.used[1] = false // the list of tables begins there
	// Written by an sqlite that knows the size (since 3.7.0), in the header too.
	if size := binary.BigEndian.Uint32(first[28:]); size > f.pages && string(first[24:28]) == string(first[92:96]) {
		return nil, db.damage(28, "it should have %d pages, and has %d", size, f.pages)
	}
	switch read, encoding := first[19], binary.BigEndian.Uint32(first[56:]); {
	case read != 1 && read != 2:
		return nil, db.unreadable("only an sqlite of version %d may read it", read)
	case encoding != 1 && encoding != 0:
		return nil, db.unreadable("its text is in UTF-16")
	}
	return f, nil
}

// page returns page number n as the last transaction left it.
func (f *sqliteFile) page(n uint32) ([]byte, error) {
	if n == 0 || n > f.pages {
		return nil, f.db.damage(0, "it refers to page %d of %d", n, f.pages)
	}
	if f.used[n] {
		return nil, f.db.damage(int64(n-1)*int64(f.pageSize), "page %d is used twice", n)
	}
	f.used[n] = true
	b := make([]byte, f.pageSize)
	if f.log != nil {
		if offset, ok := f.log.frames[n]; ok {
			return b, f.log.wal.read(b, offset)
		}
	}
	return b, f.db.read(b, int64(n-1)*int64(f.pageSize))
}

// treeWalk hands out the rows of one tree.
type treeWalk struct {
	*sqliteFile
	row   func(id int64, payload []byte) error
	last  int64 // the ID of the row before
	isAny bool  // there was one
}

// walk calls row for each row of the table that begins at page root, in the order
// of their IDs.
func (f *sqliteFile) walk(root uint32, row func(id int64, payload []byte) error) error {
	w := &treeWalk{sqliteFile: f, row: row}
	return w.visit(root, 0)
}

func (w *treeWalk) visit(n uint32, depth int) error {
	b, err := w.page(n)
	if err != nil {
		return err
	}
	at := int64(n-1) * int64(w.pageSize)
	start := 0
	if n == 1 {
		start = sqliteHeaderSize
	}
	kind, count := b[start], int(binary.BigEndian.Uint16(b[start+3:]))
	cells := start + 8
	if kind == sqliteInterior {
		cells += 4
	}
	if kind != sqliteInterior && kind != sqliteLeaf || depth > sqliteMaxDepth || cells+2*count > w.usable {
		return w.db.damage(at, "page %d, of type %d, with %d cells, is not a part of a table", n, kind, count)
	}
	used := 0
	for i := range count {
		cell := int(binary.BigEndian.Uint16(b[cells+2*i:]))
		if cell < cells+2*count || cell >= w.usable {
			return w.db.damage(at+int64(cells+2*i), "cell %d of page %d is not in it", i, n)
		}
		visit := w.leaf
		if kind == sqliteInterior {
			visit = w.interior
		}
		size, err := visit(b[cell:w.usable], at+int64(cell), depth)
		if err != nil {
			return err
		}
		used += max(size, 4)
	}
	if !isFilled(b[:w.usable], start, cells+2*count, used) {
		return w.db.damage(at, "the %d cells of page %d are not all that it has", count, n)
	}
	if kind == sqliteInterior {
		return w.visit(binary.BigEndian.Uint32(b[start+8:]), depth+1)
	}
	return nil
}

// isFilled reports whether the cells of a page, of used bytes in all, and the gaps
// that it says are between them, are all that follows the free space in its middle,
// which begins at end. So cells cannot be lost.
func isFilled(b []byte, start, end, used int) bool {
	be := binary.BigEndian
	content := int(be.Uint16(b[start+5:]))
	if content == 0 {
		content = 65536
	}
	used += int(b[start+7]) // gaps too small to be listed
	for next, last := int(be.Uint16(b[start+1:])), content-1; next != 0; {
		if next <= last || next+4 > len(b) {
			return false
		}
		last = next
		used += int(be.Uint16(b[next+2:]))
		next = int(be.Uint16(b[next:]))
	}
	return content >= end && content+used == len(b)
}

// interior visits the page that a cell names, and returns the cell's size.
func (w *treeWalk) interior(cell []byte, at int64, depth int) (size int, err error) {
	if len(cell) < 5 {
		return 0, w.db.damage(at, "a cell is not in its page")
	}
	highest, n := sqliteVarint(cell[4:])
	if err := w.visit(binary.BigEndian.Uint32(cell), depth+1); err != nil {
		return 0, err
	}
	if w.isAny && w.last > int64(highest) {
		return 0, w.db.damage(at, "row %d is in the wrong part of the table", w.last)
	}
	return 4 + n, nil
}

// leaf hands out the row in a cell, and returns the cell's size.
func (w *treeWalk) leaf(cell []byte, at int64, _ int) (size int, err error) {
	length, n := sqliteVarint(cell)
	id, m := sqliteVarint(cell[n:])
	if n == 0 || m == 0 || length > sqliteMaxPayload {
		return 0, w.db.damage(at, "a row has %d bytes", length)
	}
	if w.isAny && int64(id) <= w.last {
		return 0, w.db.damage(at, "the rows %d and %d are in the wrong order", w.last, int64(id))
	}
	w.last, w.isAny = int64(id), true
	payload, local, err := w.payload(cell[n+m:], int(length), at)
	if err != nil {
		return 0, err
	}
	return n + m + local, w.row(int64(id), payload)
}

// payload returns a row of size bytes, which begins in its cell and goes on in
// pages of its own, and how many bytes in the cell are about it.
func (w *treeWalk) payload(cell []byte, size int, at int64) (payload []byte, inCell int, err error) {
	local := size
	if most := w.usable - 35; size > most {
		least := (w.usable-12)*32/255 - 23
		local = least + (size-least)%(w.usable-4)
		if local > most {
			local = least
		}
	}
	inCell = local
	if local < size {
		inCell += 4
	}
	if inCell > len(cell) {
		return nil, 0, w.db.damage(at, "a row does not fit in its page")
	}
	payload = append([]byte(nil), cell[:local]...)
	if local == size {
		return payload, inCell, nil
	}
	next := binary.BigEndian.Uint32(cell[local:])
	for len(payload) < size {
		b, err := w.page(next)
		if err != nil {
			return nil, 0, err
		}
		next = binary.BigEndian.Uint32(b)
		payload = append(payload, b[4:min(w.usable, 4+size-len(payload))]...)
	}
	if next != 0 {
		return nil, 0, w.db.damage(at, "a row has more than its %d bytes", size)
	}
	return payload, inCell, nil
}

// sqliteVarint returns the number at the beginning of b, and how many bytes it
// takes: 0 if it does not end there.
func sqliteVarint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i == 8 {
			return v<<8 | uint64(c), 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// column is one value of a row. Kinds from 12 on are blobs, if they are even, and
// texts.
type column struct {
	kind uint64
	data []byte
}

// parseRecord returns the values of a row.
func parseRecord(b []byte) (row []column, ok bool) {
	size, n := sqliteVarint(b)
	if n == 0 || size < uint64(n) || size > uint64(len(b)) {
		return nil, false
	}
	kinds, data := b[n:size], b[size:]
	for len(kinds) > 0 {
		kind, n := sqliteVarint(kinds)
		if n == 0 {
			return nil, false
		}
		kinds = kinds[n:]
		length := uint64(0)
		switch {
		case kind >= 12:
			length = (kind - 12) / 2
		case kind < 8:
			length = [...]uint64{0, 1, 2, 3, 4, 6, 8, 8}[kind]
		case kind >= 10:
			return nil, false
		}
		if length > uint64(len(data)) {
			return nil, false
		}
		row = append(row, column{kind, data[:length]})
		data = data[length:]
	}
	return row, len(data) == 0
}

// integer returns the value of a whole number that is not negative, and 0 for
// everything else.
func (c column) integer() uint64 {
	if c.kind == 9 {
		return 1
	}
	if c.kind < 1 || c.kind > 6 || c.data[0] >= 0x80 {
		return 0
	}
	v := uint64(0)
	for _, b := range c.data {
		v = v<<8 | uint64(b)
	}
	return v
}
