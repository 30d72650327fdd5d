package elfedit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// seeds are small ELF files of several kinds.
func seeds(f *testing.F) [][]byte {
	var list [][]byte
	for _, class := range []byte{1, 2} {
		for _, order := range []byte{1, 2} {
			list = append(list, tinyLibrary(class, order))
		}
	}
	paths, err := filepath.Glob("testdata/*.elf")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, data)
	}
	return list
}

func FuzzInspect(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Inspect(data)
		if err == nil {
			info.IsProgram()
			return
		}
		var broken *FormatError
		if !errors.Is(err, ErrNotELF) && !errors.As(err, &broken) {
			t.Errorf("the error is %v", err)
		}
	})
}

func FuzzMake(f *testing.F) {
	for _, data := range seeds(f) {
		for kind := range uint8(8) {
			f.Add(data, kind, uint16(40), "/a/b")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, size uint16, text string) {
		c := fuzzChanges(kind, size, text)
		before := bytes.Clone(data)
		e, err := Make(data, c)
		if !bytes.Equal(before, data) {
			t.Fatal("Make changed its input")
		}
		var broken *FormatError
		var reason *RefusedError
		switch {
		case err == nil:
		case errors.Is(err, ErrNotELF), errors.As(err, &broken), errors.As(err, &reason):
			return
		default:
			t.Fatalf("the error is %v", err)
		}
		edited, err := e.Apply(data)
		if err != nil {
			t.Fatal(err)
		}
		back, err := e.Invert().Apply(edited)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, data) {
			t.Fatal("undo does not give the bytes back")
		}
		// A file as linkers make it stays one that can be read.
		if _, err := Inspect(data); err == nil {
			if _, err := Inspect(edited); err != nil && !errors.As(err, &broken) {
				t.Fatal(err)
			}
		}
	})
}

func fuzzChanges(kind uint8, size uint16, text string) Changes {
	long := strings.Repeat("/x", int(size)%5000)
	many := make([]string, int(size)%200)
	for i := range many {
		many[i] = "lib" + strings.Repeat("n", i%7+1) + ".so"
	}
	switch kind % 8 {
	case 0:
		return Changes{Path: &SearchPath{Set: &text}}
	case 1:
		return Changes{Path: &SearchPath{Set: &long, Form: FormRPath}}
	case 2:
		return Changes{SetNeeded: many, VersionFiles: map[string]string{"libc.so.6": "/lib/libc.so.6"}}
	case 3:
		return Changes{Soname: &text, NoDefaultLib: ptr(true), DebugTag: true, ExecStack: ptr(true)}
	case 4:
		return Changes{RenameSymbols: map[string]string{"f": "g", "puts": long + "x"}, ClearSymbolVersions: []string{"f"}}
	case 5:
		return Changes{SetNotes: []Note{{Name: "hashpkg", Type: 1, Desc: []byte(text + long)}}}
	case 6:
		return Changes{Interpreter: ptr("/lib/ld.so" + text + long)}
	}
	return Changes{Path: &SearchPath{Last: []string{"/l"}, First: []string{"/f"}}, AddNeededFirst: []string{"a"}, RemoveNeeded: []string{"b"}}
}

// TestTruncated cuts and damages a library everywhere.
func TestTruncated(t *testing.T) {
	for _, class := range []byte{1, 2} {
		data := tinyLibrary(class, 1)
		for n := range data {
			for _, damaged := range [][]byte{data[:n], slices.Concat(data[:n], []byte{data[n] ^ 0xff}, data[n+1:])} {
				for kind := range uint8(8) {
					e, err := Make(damaged, fuzzChanges(kind, 100, "/a"))
					if err != nil {
						continue
					}
					edited, err := e.Apply(damaged)
					if err != nil {
						t.Fatalf("class %d, byte %d, change %d: %v", class, n, kind, err)
					}
					if back, err := e.Invert().Apply(edited); err != nil || !bytes.Equal(back, damaged) {
						t.Fatalf("class %d, byte %d, change %d: undo: %v", class, n, kind, err)
					}
				}
			}
		}
	}
}
