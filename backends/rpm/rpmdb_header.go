package rpm

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// storedHeader is the header of an installed package.
type storedHeader struct {
	*header
	digest string // of the region, with magic, as "sha256:hex"
}

// parseStored parses a header as databases have it: without magic, the region that
// is the header of the package file first, and then what rpm has added, which
// replaces what was there of it (rpm: docs/manual/hregions.md; lib/header.c,
// headerExport). It checks the digests of the region that the package came with.
func parseStored(b []byte) (*storedHeader, error) {
	if len(b) < 8 {
		return nil, errorIn(partHeader, "it has %d bytes", len(b))
	}
	entries, size := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if entries == 0 || entries > maxHeaderEntries || size > maxInstalledStore || 8+entries*entrySize+size != int64(len(b)) {
		return nil, errorIn(partHeader, "it should have %d entries and %d bytes of data, and has %d bytes in all", entries, size, len(b))
	}
	index, store := b[8:8+entries*entrySize], string(b[8+entries*entrySize:])
	r, err := findRegion(index, store, partHeader, tagHeaderRegion)
	if err != nil {
		return nil, err
	}

	// What rpm made itself, such as keys, has no region, and is as good as one.
	raw := make([]byte, 0, introSize+r.entries*entrySize+r.size)
	raw = append(raw, headerMagic...)
	raw = binary.BigEndian.AppendUint32(raw, uint32(r.entries))
	raw = binary.BigEndian.AppendUint32(raw, uint32(r.size))
	raw = append(raw, index[:r.entries*entrySize]...)
	raw = append(raw, store[:r.size]...)
	h, err := parseHeader(raw[len(headerMagic):], partHeader, tagHeaderRegion)
	if err != nil {
		return nil, err
	}
	if err := h.addStored(index[r.entries*entrySize:], store, r.size); err != nil {
		return nil, err
	}
	if err := checkStored(h, raw); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(raw)
	return &storedHeader{header: h, digest: "sha256:" + hex.EncodeToString(digest[:])}, nil
}

// addStored adds the values behind the region, which begin at pos in the store.
func (h *header) addStored(index []byte, store string, pos int64) error {
	added := map[tag]bool{}
	for ; len(index) > 0; index = index[entrySize:] {
		e := parseEntry(index)
		v, err := e.value(store, pos)
		if err == nil && added[e.tag] {
			err = errors.New("is there twice")
		}
		if err != nil {
			return errorIn(partHeader, "the value of tag %d, added by rpm, %v", e.tag, err)
		}
		added[e.tag] = true
		pos = e.offset + int64(len(v.data))
		v.offset = e.offset
		if !h.has(e.tag) {
			h.order = append(h.order, e.tag)
		}
		h.values[e.tag] = v
	}
	return nil
}

// checkStored compares the header of the package file with the digests that rpm
// keeps of it.
func checkStored(h *header, raw []byte) error {
	for _, d := range []*expectation{
		h.expect(sigSHA1, crypto.SHA1, "header"),
		h.expect(sigSHA256, crypto.SHA256, "header"),
		h.expect(sigSHA3, crypto.SHA3_256, "header"),
	} {
		if d == nil {
			continue
		}
		d.hash.Write(raw)
		if err := d.check(partHeader); err != nil {
			return err
		}
	}
	return h.err
}

// storedError says which package of the database an error is about. What it is
// that is corrupt is the database, whatever the reader of packages says.
func storedError(instance uint32, name string, err error) error {
	member := fmt.Sprintf("package %d", instance)
	if name != "" {
		member += ", " + name
	}
	var f *FormatError
	if !errors.As(err, &f) {
		return fmt.Errorf("%s: %w", member, err)
	}
	return &FormatError{
		Member: member, Offset: f.Offset,
		Msg:   strings.TrimSuffix(f.Msg, ": "+corrupt) + ": " + damagedDatabase,
		cause: f.cause,
	}
}
