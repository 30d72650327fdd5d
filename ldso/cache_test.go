package ldso

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

func newCache(entries ...CacheEntry) []byte {
	return buildCache(binary.LittleEndian, true, nil, entries...)
}

// byteOrder is what encoding/binary's orders are.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// buildCache writes the new format, which begins behind prefix.
func buildCache(order byteOrder, marked bool, prefix []byte, entries ...CacheEntry) []byte {
	var subdirs []string
	for _, e := range entries {
		if e.Subdir != "" {
			subdirs = append(subdirs, e.Subdir)
		}
	}
	slices.Sort(subdirs)
	subdirs = slices.Compact(subdirs)

	var strs []byte
	base := uint32(newHeaderSize + len(entries)*newEntrySize)
	put := func(s string) uint32 { // as an offset from the header
		at := base + uint32(len(strs))
		strs = append(append(strs, s...), 0)
		return at
	}
	var table []byte
	for _, e := range entries {
		table = order.AppendUint32(table, e.Flags)
		table = order.AppendUint32(table, put(e.Name))
		table = order.AppendUint32(table, put(e.Path))
		table = order.AppendUint32(table, 0)
		hwcap := e.HWCap
		if e.Subdir != "" {
			hwcap = 1<<62 | uint64(slices.Index(subdirs, e.Subdir))
		}
		table = order.AppendUint64(table, hwcap)
	}
	var names []byte
	for _, name := range subdirs {
		names = order.AppendUint32(names, put(name))
	}
	for (len(prefix)+int(base)+len(strs))%4 != 0 {
		strs = append(strs, 0)
	}
	header := []byte(newCacheMagic)
	header = order.AppendUint32(header, uint32(len(entries)))
	header = order.AppendUint32(header, uint32(len(strs)))
	flags := byte(0)
	if marked {
		flags = 2
		if order.Uint16([]byte{0, 1}) == 1 {
			flags = 3
		}
	}
	header = append(header, flags, 0, 0, 0)
	end := uint32(len(prefix)) + base + uint32(len(strs))
	extension := uint32(0)
	if len(subdirs) > 0 {
		extension = end
	}
	header = order.AppendUint32(header, extension)
	header = append(header, make([]byte, 12)...)
	b := slices.Concat(prefix, header, table, strs)
	if len(subdirs) > 0 {
		b = order.AppendUint32(b, extensionMagic)
		b = order.AppendUint32(b, 1)
		b = order.AppendUint32(b, tagHWCaps)
		b = order.AppendUint32(b, 0)
		b = order.AppendUint32(b, end+24)
		b = order.AppendUint32(b, uint32(len(names)))
		b = append(b, names...)
	}
	return b
}

// oldCache is the old format, its strings last; new goes between them.
func oldCache(order byteOrder, embedded func(prefix []byte) []byte, entries ...CacheEntry) []byte {
	b := append([]byte(oldCacheMagic), 0)
	b = order.AppendUint32(b, uint32(len(entries)))
	var strs []byte
	for _, e := range entries {
		b = order.AppendUint32(b, e.Flags)
		for _, s := range []string{e.Name, e.Path} {
			b = order.AppendUint32(b, uint32(len(strs)))
			strs = append(append(strs, s...), 0)
		}
	}
	if embedded != nil {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		return embedded(b)
	}
	return append(b, strs...)
}

func TestParseCache(t *testing.T) {
	entries := []CacheEntry{
		{Name: "libb.so.2", Path: "/usr/lib/glibc-hwcaps/x86-64-v2/libb.so.2", Flags: 0x303, Subdir: "x86-64-v2"},
		{Name: "libb.so.2", Path: "/usr/lib/glibc-hwcaps/x86-64-v3/libb.so.2", Flags: 0x303, Subdir: "x86-64-v3"},
		{Name: "libb.so.2", Path: "/usr/lib/libb.so.2", Flags: 0x303},
		{Name: "liba.so.1", Path: "/usr/lib/tls/liba.so.1", Flags: 0x303, HWCap: 1 << 63},
	}
	plain := []CacheEntry{{Name: "liba.so.1", Path: "/lib/liba.so.1", Flags: 3}}
	for _, tt := range []struct {
		name string
		b    []byte
		want []CacheEntry
	}{
		{"empty", newCache(), []CacheEntry{}},
		{"little", newCache(entries...), entries},
		{"big", buildCache(binary.BigEndian, true, nil, entries...), entries},
		{"little, unmarked", buildCache(binary.LittleEndian, false, nil, entries...), entries},
		{"big, unmarked", buildCache(binary.BigEndian, false, nil, entries...), entries},
		{"old", oldCache(binary.LittleEndian, nil, plain...), plain},
		{"old, big", oldCache(binary.BigEndian, nil, plain...), plain},
		{"new in old", oldCache(binary.LittleEndian, func(b []byte) []byte {
			return buildCache(binary.LittleEndian, true, b, entries[2:]...)
		}, plain...), entries[2:]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCache(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseCacheRefuses(t *testing.T) {
	good := newCache(CacheEntry{Name: "liba.so.1", Path: "/lib/liba.so.1", Flags: 3, Subdir: "v2"})
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "does not begin as one"},
		{"text", []byte("hello"), "does not begin as one"},
		{"short header", good[:30], "offset 0x0: the header is cut short"},
		{"invalid", change(28, 1), "offset 0x1c"},
		{"too many entries", change(20, 0xff, 0xff, 0xff, 0x7f), "offset 0x14"},
		{"name past the end", change(52, 0xff, 0xff, 0xff, 0xff), "offset 0x30: name"},
		{"path without end", append(change(56, byte(len(good))), "no end"...), "offset 0x30: path"},
		{"extensions past the end", change(32, 0xfc, 0xff, 0xff, 0xff), "extensions at 0xfffffffc"},
		{"old, too many", []byte("ld.so-1.7.0\x00\xff\xff\xff\xff...."), "offset 0xc"},
	} {
		if got, err := ParseCache(tt.b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestCacheLookup(t *testing.T) {
	i386 := &elfedit.Info{Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_386}
	entries := []CacheEntry{
		{Name: "libv.so", Path: "/v2", Flags: 0x303, Subdir: "x86-64-v2"},
		{Name: "libv.so", Path: "/v3", Flags: 0x303, Subdir: "x86-64-v3"},
		{Name: "libv.so", Path: "/plain", Flags: 0x303},
		{Name: "libv.so", Path: "/32", Flags: 3},
		{Name: "libl.so", Path: "/sse2", Flags: 0x303, HWCap: 4},
		{Name: "libl.so", Path: "/tls", Flags: 0x303, HWCap: 1 << 63},
		{Name: "libl.so", Path: "/later", Flags: 0x303},
		{Name: "libn.so.010", Path: "/ten", Flags: 0x303},
		{Name: "libe.so", Path: "/elf", Flags: 1},
		{Name: "libe.so", Path: "/libc6", Flags: 3},
	}
	for _, tt := range []struct {
		name    string
		program *elfedit.Info
		hwcaps  []string
		needed  string
		want    string
	}{
		{"no capabilities", amd64(), nil, "libv.so", "/plain"},
		{"best first", amd64(), []string{"x86-64-v4", "x86-64-v3", "x86-64-v2"}, "libv.so", "/v3"},
		{"one", amd64(), []string{"x86-64-v2"}, "libv.so", "/v2"},
		{"other architecture", i386, []string{"x86-64-v2"}, "libv.so", "/32"},
		{"legacy capabilities", amd64(), nil, "libl.so", "/tls"},
		{"digits are numbers", amd64(), nil, "libn.so.10", "/ten"},
		{"and not others", amd64(), nil, "libn.so.1", ""},
		{"own flags before also", i386, nil, "libe.so", "/libc6"},
		{"unknown", amd64(), nil, "libq.so", ""},
	} {
		c := newCacheIndex(entries, tt.program, tt.hwcaps)
		if got := c.lookup(tt.needed); got != tt.want {
			t.Errorf("%s: lookup(%q) = %q, want %q", tt.name, tt.needed, got, tt.want)
		}
	}
}

// TestParseCacheOfSystem compares with what ldconfig prints of the same file.
func TestParseCacheOfSystem(t *testing.T) {
	const ldconfig = "/sbin/ldconfig"
	testneed.Programs(t, ldconfig)
	b, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil {
		testneed.Unmet(t, err)
	}
	out, err := exec.Command(ldconfig, "-p").Output()
	if err != nil {
		testneed.Unmet(t, "ldconfig -p: ", err)
	}
	var want []string
	for _, line := range strings.Split(string(out), "\n") {
		if name, file, ok := strings.Cut(line, " => "); ok {
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			want = append(want, name+" "+file)
		}
	}
	entries, err := ParseCache(b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name+" "+e.Path)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("entries (-ldconfig +ParseCache):\n%s", diff)
	}
	t.Logf("%d entries", len(got))
}

func FuzzParseCache(f *testing.F) {
	e := CacheEntry{Name: "liba.so.1", Path: "/lib/liba.so.1", Flags: 3, Subdir: "v2"}
	f.Add(newCache(e))
	f.Add(buildCache(binary.BigEndian, false, nil, e))
	f.Add(oldCache(binary.LittleEndian, nil, e))
	f.Add(oldCache(binary.LittleEndian, func(b []byte) []byte { return buildCache(binary.LittleEndian, true, b, e) }, e))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ParseCache(b)
		if err != nil {
			return
		}
		if room := len(b) / oldEntrySize; len(entries) > room {
			t.Errorf("%d entries in %d bytes", len(entries), len(b))
		}
		c := newCacheIndex(entries, amd64(), []string{"v2"})
		for _, e := range entries {
			if file := c.lookup(e.Name); file != "" && !slices.ContainsFunc(entries, func(e CacheEntry) bool { return e.Path == file }) {
				t.Errorf("lookup(%q) = %q, which is in no entry", e.Name, file)
			}
		}
	})
}
