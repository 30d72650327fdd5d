package elfedit

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestResolutionCacheForm(t *testing.T) {
	n := NewResolutionCache(map[string][]string{
		"libb.so": {"?$ORIGIN/lib", "=/opt/lib/libb.so"},
		"liba.so": {"=/opt/lib/liba.so"},
	})
	got := appendNote(binary.LittleEndian, nil, n, 4)
	want := "\x06\x00\x00\x00\x42\x00\x00\x00\xb6\x6c\xa8\x63NixOS\x00\x00\x00" +
		"liba.so\x00=/opt/lib/liba.so\x00" + "libb.so\x00?$ORIGIN/lib:=/opt/lib/libb.so\x00" + "\x00" + "\x00\x00"
	if string(got) != want {
		t.Errorf("the note is %q\nwant %q", got, want)
	}
}

// hasCache returns the file's resolution cache, nil without one.
func hasCache(t *testing.T, data []byte) []byte {
	t.Helper()
	var found []byte
	for _, n := range mustInspect(t, data).Notes {
		if n.ID() == ResolutionCacheID() {
			if found != nil {
				t.Error("there are two")
			}
			found = n.Desc
		}
	}
	return found
}

func TestResolutionCache(t *testing.T) {
	b := newBench(t)
	first := NewResolutionCache(map[string][]string{"libgreet.so.1": {"=" + b.path("libgreet.so.1")}})
	longer := NewResolutionCache(map[string][]string{"libgreet.so.1": {"?" + strings.Repeat("/x", 5000), "=" + b.path("libgreet.so.1")}})
	remove := Changes{RemoveNotes: []NoteID{ResolutionCacheID()}}
	sections := func(data []byte) int {
		out, err := exec.Command(tool(t, "readelf"), "-SWn", writeProgram(t, b.dir, "sections", data)).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("arning")) || bytes.Contains(out, []byte("rror")) {
			t.Errorf("readelf: %v: %s", err, out)
		}
		return strings.Count(string(out), "] "+resolutionSection)
	}
	for linking, args := range linkings {
		data, err := b.try("main", append([]string{b.path("main.c"), b.path("libgreet.so.1"), "-Wl,-rpath," + b.dir}, args...)...)
		if err != nil {
			continue
		}
		t.Run(linking, func(t *testing.T) {
			b := &bench{t: t, dir: b.dir, gcc: b.gcc}
			notes := mustInspect(t, data).Notes
			edited := data
			for _, n := range []Note{first, longer, first} {
				edited = mustMake(t, edited, Changes{SetNotes: []Note{n}})
				if got := hasCache(t, edited); !bytes.Equal(got, n.Desc) {
					t.Errorf("the cache is %.100q", got)
				}
				if n := sections(edited); n != 1 {
					t.Errorf("%d sections", n)
				}
				b.mustSay(edited, says)
				b.mustSay(b.strip(edited), says)
				if err := checkSound(data, edited); err != nil {
					t.Error(err)
				}
			}
			once := mustMake(t, mustMake(t, data, Changes{SetNotes: []Note{longer}}), remove)
			if bytes.Contains(once, longer.Desc) {
				t.Error("after its removal its bytes are still there")
			}
			for _, with := range [][]byte{edited, b.strip(edited), stripHeaders(edited)} {
				gone := mustMake(t, with, remove)
				if got := mustInspect(t, gone).Notes; !slices.EqualFunc(got, notes, func(a, b Note) bool { return a.ID() == b.ID() && bytes.Equal(a.Desc, b.Desc) }) {
					t.Errorf("after its removal the notes are %v; want %v", got, notes)
				}
				if sections(gone) != 0 {
					t.Errorf("after its removal its section is still there")
				}
				b.mustSay(gone, says)
				if img, _ := parse(gone); img.sects != nil {
					b.mustSay(b.strip(gone), says)
				}
				again := mustMake(t, gone, Changes{SetNotes: []Note{longer}, Path: &SearchPath{Last: []string{"/y"}}})
				if got := hasCache(t, again); !bytes.Equal(got, longer.Desc) {
					t.Errorf("made again, the cache is %.100q", got)
				}
				b.mustSay(again, says)
			}
		})
	}
	if e, err := Make(b.program(), remove); err != nil || !e.IsZero() {
		t.Errorf("removing what is not there: %v, %v", e, err)
	}
}

// TestResolutionCacheAlone removes a note that is all of its segment and of its
// PT_NOTE, as patchelf writes it.
func TestResolutionCacheAlone(t *testing.T) {
	for _, class := range []byte{1, 2} {
		for _, order := range []byte{1, 2} {
			data := tinyLibrary(class, order)
			img, err := parse(data)
			if err != nil {
				t.Fatal(err)
			}
			note := appendNote(img.order, nil, NewResolutionCache(map[string][]string{"libc.so.6": {"=/lib/libc.so.6"}}), 4)
			at := uint64(len(data)) + 0x1000 - uint64(len(data))%0x1000
			data = append(append(data, make([]byte, at-uint64(len(data)))...), note...)
			img.data = data
			for i, p := range img.progs {
				q := prog{flags: elf.PF_R, off: at, vaddr: at + 0x10000, paddr: at + 0x10000, filesz: uint64(len(note)), memsz: uint64(len(note))}
				switch p.kind {
				case elf.PT_NOTE:
					q.kind, q.align = elf.PT_NOTE, 4
				case elf.PT_GNU_STACK:
					q.kind, q.align = elf.PT_LOAD, 0x1000
				default:
					continue
				}
				img.putProg(data[img.phoff+uint64(i)*img.progSize():], q)
			}
			if hasCache(t, data) == nil {
				t.Fatal("the cache is not there")
			}
			gone := mustMake(t, data, Changes{RemoveNotes: []NoteID{ResolutionCacheID()}})
			if hasCache(t, gone) != nil || bytes.Contains(gone, []byte("=/lib/libc.so.6")) {
				t.Errorf("class %d, order %d: the cache is still there", class, order)
			}
			again := mustMake(t, gone, Changes{SetNotes: []Note{NewResolutionCache(map[string][]string{"libc.so.6": {"=/usr/lib/libc.so.6"}})}})
			if got := hasCache(t, again); string(got) != "libc.so.6\x00=/usr/lib/libc.so.6\x00\x00" {
				t.Errorf("class %d, order %d: the cache is %q", class, order, got)
			}
		}
	}
}
