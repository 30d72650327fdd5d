package rpm

import (
	"encoding/binary"
	"hash/adler32"
	"math"
)

// The format of Packages.db: a header, pages of slots that say where the packages
// are, and the packages, in blocks (rpm: lib/backend/ndb/rpmpkg.c). All numbers are
// little-endian.
const (
	ndbMagic, ndbSlotMagic, ndbBlobMagic, ndbBlobEnd = "RpmP", "Slot", "BlbS", "BlbE"

	ndbPage     = 4096 // of slots
	ndbBlock    = 16
	ndbSlot     = 16
	ndbHeader   = 2 * ndbSlot
	ndbBlobHead = 16
	ndbBlobTail = 12
)

// readNdb reads the packages of an ndb database.
func readNdb(db *source, each recordFunc) error {
	head := make([]byte, ndbHeader)
	if err := db.read(head, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	if string(head[:4]) != ndbMagic {
		return db.unreadable("it does not begin as one of ndb does")
	}
	if version := le.Uint32(head[4:]); version != 0 {
		return db.unreadable("it is of version %d", version)
	}
	pages, generation := int64(le.Uint32(head[12:])), le.Uint32(head[8:])
	if pages == 0 || pages > db.size/ndbPage {
		return db.damage(12, "it has %d pages of slots in %d bytes", pages, db.size)
	}
	var blobs ndbBlobs
	blobs.db, blobs.first = db, pages*ndbPage
	page := make([]byte, ndbPage)
	for n := range pages {
		if err := db.read(page, n*ndbPage); err != nil {
			return err
		}
		for at := 0; at < ndbPage; at += ndbSlot {
			if n == 0 && at < ndbHeader {
				continue
			}
			slot := page[at : at+ndbSlot]
			if string(slot[:4]) != ndbSlotMagic {
				return db.damage(n*ndbPage+int64(at), "a slot has the wrong magic")
			}
			instance := le.Uint32(slot[4:])
			if instance == 0 && string(slot[8:]) == string(make([]byte, 8)) {
				continue
			}
			blob, err := blobs.read(instance, int64(le.Uint32(slot[8:])), int64(le.Uint32(slot[12:])))
			if err != nil {
				return err
			}
			if err := each(instance, blob); err != nil {
				return err
			}
		}
	}
	if err := db.read(head, 0); err != nil {
		return err
	}
	if le.Uint32(head[8:]) != generation {
		return db.damage(8, "it changed while it was read")
	}
	return nil
}

// ndbBlobs reads blobs, which may not hold more than the file in all.
type ndbBlobs struct {
	db    *source
	first int64 // where they begin
	total int64
}

// read returns the blob in count blocks from block number offset on.
func (b *ndbBlobs) read(instance uint32, offset, count int64) ([]byte, error) {
	le := binary.LittleEndian
	at, size := offset*ndbBlock, count*ndbBlock
	if at < b.first || size < ndbBlobHead+ndbBlobTail || size > maxInstalledStore+math.MaxUint16*entrySize || at > b.db.size-size {
		return nil, b.db.damage(at, "package %d is said to be %d bytes there", instance, size)
	}
	if b.total += size; b.total > b.db.size {
		return nil, b.db.damage(at, "package %d shares its place with others", instance)
	}
	all := make([]byte, size)
	if err := b.db.read(all, at); err != nil {
		return nil, err
	}
	tail := all[size-ndbBlobTail:]
	length := int64(le.Uint32(all[12:]))
	isWhole := string(all[:4]) == ndbBlobMagic && le.Uint32(all[4:]) == instance &&
		(ndbBlobHead+length+ndbBlobTail+ndbBlock-1)/ndbBlock == count &&
		int64(le.Uint32(tail[4:])) == length && string(tail[8:]) == ndbBlobEnd
	if !isWhole {
		return nil, b.db.damage(at, "package %d is not there", instance)
	}
	if sum := adler32.Checksum(all[:size-ndbBlobTail]); sum != le.Uint32(tail) {
		return nil, b.db.damage(at, "the checksum of package %d is %08x, and should be %08x", instance, sum, le.Uint32(tail))
	}
	return all[ndbBlobHead : ndbBlobHead+length], nil
}
