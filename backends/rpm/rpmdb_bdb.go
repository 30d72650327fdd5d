package rpm

import (
	"bytes"
	"encoding/binary"
)

// The format of Packages: a hash table of Berkeley DB, whose keys are the numbers
// of the packages (Berkeley DB: src/dbinc/db_page.h). It is in the byte order of
// the machine that made it.
const (
	bdbHashMagic = 0x061561

	bdbMetaSize   = 72
	bdbPageHeader = 26
	bdbOffPage    = 12 // an item that is elsewhere

	bdbTypeFree         = 0
	bdbTypeHashUnsorted = 2 // before Berkeley DB 4.6
	bdbTypeOverflow     = 7
	bdbTypeHashMeta     = 8
	bdbTypeHash         = 13

	bdbItemData    = 1
	bdbItemOffPage = 3

	bdbFlagChecksum = 1
)

// bdbFile is an open hash table.
type bdbFile struct {
	db       *source
	order    binary.ByteOrder
	pageSize int64
	last     uint32 // number of the last page
	// highest is the highest number of a package ever, and seen the highest here.
	highest, seen uint32
	// used are the overflow pages that values were read from, each of which
	// belongs to one.
	used map[uint32]bool
}

// readBdb reads the packages of a Berkeley DB database.
func readBdb(db *source, each recordFunc) error {
	f, err := openBdb(db)
	if err != nil {
		return err
	}
	page := make([]byte, f.pageSize)
	for n := uint32(1); n <= f.last && n != 0; n++ {
		if err := f.readPage(page, n); err != nil {
			return err
		}
		switch t := page[25]; t {
		case bdbTypeHash, bdbTypeHashUnsorted:
			if err := f.readItems(page, n, each); err != nil {
				return err
			}
		case bdbTypeFree, bdbTypeOverflow, bdbTypeHashMeta:
		default:
			return db.damage(int64(n)*f.pageSize+25, "page %d is of type %d", n, t)
		}
	}
	if f.seen > f.highest {
		return db.damage(0, "it has package %d, and should have none above %d", f.seen, f.highest)
	}
	return nil
}

func openBdb(db *source) (*bdbFile, error) {
	meta := make([]byte, bdbMetaSize)
	if err := db.read(meta, 0); err != nil {
		return nil, err
	}
	f := &bdbFile{db: db, used: map[uint32]bool{}}
	switch {
	case binary.LittleEndian.Uint32(meta[12:]) == bdbHashMagic:
		f.order = binary.LittleEndian
	case binary.BigEndian.Uint32(meta[12:]) == bdbHashMagic:
		f.order = binary.BigEndian
	default:
		return nil, db.unreadable("it does not begin as a hash table of Berkeley DB does")
	}
	if version := f.order.Uint32(meta[16:]); version < 5 || version > 10 {
		return nil, db.unreadable("it is a hash table of Berkeley DB, of version %d", version)
	}
	if meta[24] != 0 || meta[26]&bdbFlagChecksum != 0 {
		return nil, db.unreadable("it is encrypted or has checksums, which rpm does not do")
	}
	if meta[25] != bdbTypeHashMeta {
		return nil, db.damage(25, "its first page is of type %d", meta[25])
	}
	f.pageSize = int64(f.order.Uint32(meta[20:]))
	if f.pageSize < 512 || f.pageSize > 65536 || f.pageSize&(f.pageSize-1) != 0 {
		return nil, db.damage(20, "its pages have %d bytes", f.pageSize)
	}
	f.last = f.order.Uint32(meta[32:])
	if int64(f.last) >= db.size/f.pageSize {
		return nil, db.damage(32, "it should have %d pages of %d bytes, and has %d bytes", int64(f.last)+1, f.pageSize, db.size)
	}
	return f, nil
}

// readPage reads a page. One that was never used is all zeros.
func (f *bdbFile) readPage(page []byte, n uint32) error {
	at := int64(n) * f.pageSize
	if err := f.db.read(page, at); err != nil {
		return err
	}
	if number := f.order.Uint32(page[8:]); number != n && page[25] != 0 {
		return f.db.damage(at+8, "page %d says that it is page %d", n, number)
	}
	return nil
}

// readItems hands out the packages on page n of the table. Items are keys and
// values in turn, the first at the end of the page.
func (f *bdbFile) readItems(page []byte, n uint32, each recordFunc) error {
	at := int64(n) * f.pageSize
	count := int64(f.order.Uint16(page[20:]))
	if count%2 != 0 || bdbPageHeader+2*count > f.pageSize {
		return f.db.damage(at+20, "page %d has %d items", n, count)
	}
	end := f.pageSize
	var key []byte
	for i := range count {
		start := int64(f.order.Uint16(page[bdbPageHeader+2*i:]))
		if start < bdbPageHeader+2*count || start >= end {
			return f.db.damage(at+bdbPageHeader+2*i, "item %d of page %d is not in it", i, n)
		}
		item := page[start:end]
		end = start
		if i%2 == 0 {
			key = item
			continue
		}
		if len(key) != 5 || key[0] != bdbItemData {
			return f.db.damage(at+start, "a key on page %d is not a number", n)
		}
		instance := f.order.Uint32(key[1:])
		if instance == 0 { // its value is the highest number so far
			if len(item) != 5 || item[0] != bdbItemData {
				return f.db.damage(at+start, "package 0 is not a number")
			}
			f.highest = f.order.Uint32(item[1:])
			continue
		}
		f.seen = max(f.seen, instance)
		blob, err := f.value(item, at+start)
		if err != nil {
			return err
		}
		if err := each(instance, blob); err != nil {
			return err
		}
	}
	if first := int64(f.order.Uint16(page[22:])); first != end&0xffff {
		return f.db.damage(at+22, "the items of page %d begin at byte %d, and should at %d", n, end, first)
	}
	return nil
}

// value returns what an item is or stands for.
func (f *bdbFile) value(item []byte, at int64) ([]byte, error) {
	switch {
	case item[0] == bdbItemData:
		return bytes.Clone(item[1:]), nil
	case item[0] != bdbItemOffPage || len(item) != bdbOffPage:
		return nil, f.db.damage(at, "a value of type %d and %d bytes is not a package", item[0], len(item))
	}
	next, size := f.order.Uint32(item[4:]), int64(f.order.Uint32(item[8:]))
	if size > maxInstalledStore+maxHeaderEntries*entrySize {
		return nil, f.db.damage(at, "a package has %d bytes", size)
	}
	var blob []byte
	page := make([]byte, f.pageSize)
	for int64(len(blob)) < size {
		if next == 0 || next > f.last || f.used[next] {
			return nil, f.db.damage(at, "a package goes on at page %d, which is not there or belongs to another one", next)
		}
		f.used[next] = true
		if err := f.readPage(page, next); err != nil {
			return nil, err
		}
		length := int64(f.order.Uint16(page[22:]))
		if page[25] != bdbTypeOverflow || length == 0 || length > f.pageSize-bdbPageHeader || length > size-int64(len(blob)) {
			return nil, f.db.damage(int64(next)*f.pageSize, "page %d, of type %d, with %d bytes, is not a part of a package", next, page[25], length)
		}
		blob = append(blob, page[bdbPageHeader:bdbPageHeader+length]...)
		next = f.order.Uint32(page[16:])
	}
	if next != 0 {
		return nil, f.db.damage(at, "a package has more than its %d bytes", size)
	}
	return blob, nil
}
