package ldso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
)

// CacheEntry is one library of /etc/ld.so.cache.
type CacheEntry struct {
	Name  string // the soname, as ldconfig -p prints it
	Path  string
	Flags uint32 // 3 for a library of glibc, with bits for some machines
	// HWCap is the legacy mask of processor capabilities; 0 with a Subdir.
	HWCap uint64
	// Subdir is the glibc-hwcaps subdirectory, such as "x86-64-v3"; empty for
	// a library that every processor runs.
	Subdir string
}

// The formats of the cache (glibc sysdeps/generic/dl-cache.h).
const (
	oldCacheMagic  = "ld.so-1.7.0"
	oldHeaderSize  = 16
	oldEntrySize   = 12
	newCacheMagic  = "glibc-ld.so.cache1.1"
	newHeaderSize  = 48
	newEntrySize   = 24
	cacheByteOrder = 28 // offset of the byte order in the new header
	cacheExtension = 32 // offset of the offset of the extensions
	extensionMagic = 0xeaa42174
	tagHWCaps      = 1

	// A legacy mask has one bit for each capability; with only bit 62 beside
	// ten bits of an ISA level, the low half is the number of a subdirectory.
	hwcapTLS       = 1 << 63
	hwcapExtension = 1 << 30 // in the high half
	hwcapISALevels = 1<<10 - 1

	maxCacheString = 4096 // PATH_MAX
)

// ParseCache reads /etc/ld.so.cache: the format of glibc 2.2 and later, alone
// or behind the older one, or the older one alone. The entries are in the
// file's order, without those for subdirectories that it does not name. The
// error says the offset at which the file is damaged.
func ParseCache(b []byte) ([]CacheEntry, error) {
	s := string(b)
	if strings.HasPrefix(s, newCacheMagic) {
		return parseNewCache(s, 0)
	}
	if !strings.HasPrefix(s, oldCacheMagic) || len(s) < oldHeaderSize {
		return nil, errors.New("parse ld.so.cache: it does not begin as one")
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		count := uint64(order.Uint32(b[12:]))
		if count > uint64(len(s)-oldHeaderSize)/oldEntrySize {
			continue
		}
		strs := oldHeaderSize + int(count)*oldEntrySize
		for _, align := range []int{8, 4} { // 4 on i386
			start := (strs + align - 1) &^ (align - 1)
			if start < len(s) && strings.HasPrefix(s[start:], newCacheMagic) {
				return parseNewCache(s, start)
			}
		}
		return parseEntries(s, order, cacheTable{
			first: oldHeaderSize, count: int(count), size: oldEntrySize, strings: strs,
		})
	}
	return nil, fmt.Errorf("parse ld.so.cache: offset %#x: more entries than the file has room for", 12)
}

// parseNewCache reads the new format, which begins at start.
func parseNewCache(s string, start int) ([]CacheEntry, error) {
	if len(s)-start < newHeaderSize {
		return nil, fmt.Errorf("parse ld.so.cache: offset %#x: the header is cut short", start)
	}
	header := []byte(s[start : start+newHeaderSize])
	room := uint64(len(s)-start-newHeaderSize) / newEntrySize
	var order binary.ByteOrder = binary.LittleEndian
	switch header[cacheByteOrder] & 3 {
	case 0: // not said, by glibc 2.32 and older
		if uint64(order.Uint32(header[20:])) > room {
			order = binary.BigEndian
		}
	case 1:
		return nil, fmt.Errorf("parse ld.so.cache: offset %#x: it is marked as invalid", start+cacheByteOrder)
	case 3:
		order = binary.BigEndian
	}
	count := uint64(order.Uint32(header[20:]))
	if count > room {
		return nil, fmt.Errorf("parse ld.so.cache: offset %#x: %d entries, and room for %d", start+20, count, room)
	}
	subdirs, err := parseSubdirs(s, order, uint64(order.Uint32(header[cacheExtension:])))
	if err != nil {
		return nil, err
	}
	return parseEntries(s, order, cacheTable{
		first: start + newHeaderSize, count: int(count), size: newEntrySize, strings: start, subdirs: subdirs,
	})
}

// cacheTable is where the entries of a cache are in the file.
type cacheTable struct {
	first, count, size int
	strings            int // where the offsets of strings count from
	subdirs            []string
}

func parseEntries(s string, order binary.ByteOrder, t cacheTable) ([]CacheEntry, error) {
	entries := make([]CacheEntry, 0, t.count)
	for i := range t.count {
		at := t.first + i*t.size
		b := []byte(s[at : at+t.size])
		e := CacheEntry{Flags: order.Uint32(b)}
		var err error
		if e.Name, err = cacheString(s, t.strings, order.Uint32(b[4:])); err != nil {
			return nil, fmt.Errorf("parse ld.so.cache: offset %#x: name: %w", at, err)
		}
		if e.Path, err = cacheString(s, t.strings, order.Uint32(b[8:])); err != nil {
			return nil, fmt.Errorf("parse ld.so.cache: offset %#x: path: %w", at, err)
		}
		if t.size == newEntrySize {
			e.HWCap = order.Uint64(b[16:])
		}
		if e.HWCap>>32&^hwcapISALevels == hwcapExtension {
			number := uint64(uint32(e.HWCap))
			if number >= uint64(len(t.subdirs)) || t.subdirs[number] == "" {
				continue
			}
			e.Subdir, e.HWCap = t.subdirs[number], 0
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// cacheString returns the string at an offset from base, up to its NUL.
func cacheString(s string, base int, offset uint32) (string, error) {
	if uint64(offset) >= uint64(len(s)-base) {
		return "", fmt.Errorf("string at %#x is past the end", offset)
	}
	rest := s[base+int(offset):]
	rest = rest[:min(len(rest), maxCacheString)]
	n := strings.IndexByte(rest, 0)
	if n < 0 {
		return "", fmt.Errorf("string at %#x has no end", offset)
	}
	return rest[:n], nil
}

// parseSubdirs reads the names of glibc-hwcaps subdirectories from the
// extensions, whose directory is at an offset in the file; 0 is for none. The
// loader counts the offsets of names from the start of the file, where they
// are wrong behind a table in the old format: it uses no such entry then.
func parseSubdirs(s string, order binary.ByteOrder, offset uint64) ([]string, error) {
	if offset == 0 {
		return nil, nil
	}
	size := uint64(len(s))
	if offset%4 != 0 || offset+8 > size {
		return nil, fmt.Errorf("parse ld.so.cache: extensions at %#x: past the end or not aligned", offset)
	}
	head := []byte(s[offset : offset+8])
	count := uint64(order.Uint32(head[4:]))
	if order.Uint32(head) != extensionMagic || count > (size-offset-8)/16 {
		return nil, fmt.Errorf("parse ld.so.cache: extensions at %#x: wrong magic or count", offset)
	}
	var subdirs []string
	for i := range count {
		at := offset + 8 + i*16
		section := []byte(s[at : at+16])
		if order.Uint32(section) != tagHWCaps {
			continue
		}
		start, length := uint64(order.Uint32(section[8:])), uint64(order.Uint32(section[12:]))
		if start+length > size || length%4 != 0 {
			return nil, fmt.Errorf("parse ld.so.cache: offset %#x: section is past the end or not aligned", at)
		}
		subdirs = subdirs[:0] // the last section counts
		for ; length > 0; start, length = start+4, length-4 {
			name, err := cacheString(s, 0, order.Uint32([]byte(s[start:start+4])))
			if err != nil {
				name = "" // to the loader, a subdirectory that is not active
			}
			subdirs = append(subdirs, name)
		}
	}
	return subdirs, nil
}

// cacheIndex answers names from a cache for the loader of one program.
type cacheIndex struct {
	entries   map[string][]CacheEntry // by cacheKey
	own, also uint32
	priority  map[string]int // of a subdirectory; higher is better
}

func newCacheIndex(entries []CacheEntry, program *elfedit.Info, hwcaps []string) *cacheIndex {
	c := &cacheIndex{entries: make(map[string][]CacheEntry, len(entries)), priority: map[string]int{}}
	c.own, c.also = cacheFlags(program)
	for _, e := range entries {
		key := cacheKey(e.Name)
		c.entries[key] = append(c.entries[key], e)
	}
	for i, name := range hwcaps {
		c.priority[name] = len(hwcaps) - i
	}
	return c
}

// lookup returns the path for a name, or "" (glibc elf/dl-cache.c,
// search_cache). Entries for subdirectories come first in the file.
func (c *cacheIndex) lookup(name string) string {
	best, bestPriority := "", 0
	for _, e := range c.entries[cacheKey(name)] {
		if e.Flags != c.own && e.Flags != c.also {
			continue
		}
		if e.Subdir != "" {
			if p := c.priority[e.Subdir]; p > bestPriority {
				best, bestPriority = e.Path, p
			}
			continue
		}
		if bestPriority > 0 {
			break
		}
		if e.HWCap&^uint64(hwcapTLS) != 0 {
			continue
		}
		if best == "" || e.Flags == c.own {
			best = e.Path
		}
		if e.Flags == c.own {
			break
		}
	}
	return best
}

// cacheKey returns a string that is equal for names that the cache's order
// holds for equal: it compares runs of digits as numbers.
func cacheKey(name string) string {
	zero := strings.IndexByte(name, '0')
	if zero < 0 {
		return name
	}
	var b strings.Builder
	digits := false
	for i := 0; i < len(name); i++ {
		c := name[i]
		isDigit := '0' <= c && c <= '9'
		followed := i+1 < len(name) && '0' <= name[i+1] && name[i+1] <= '9'
		if c == '0' && !digits && followed {
			continue
		}
		digits = isDigit
		b.WriteByte(c)
	}
	return b.String()
}
