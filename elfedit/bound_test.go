package elfedit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBound adds the note to programs of several linkers' options: they map what they mapped,
// readelf and objcopy find it, and strip keeps it.
func TestBound(t *testing.T) {
	b := newBench(t)
	list := []Bound{
		{"/var/sys/libjq1/1.7/usr/lib/libjq.so.1", strings.Repeat("0123456789abcdef", 4)},
		{"/var/sys/libc6/2.41/usr/lib/libc.so.6", strings.Repeat("f", 64)},
	}
	for linking, args := range linkings {
		data, err := b.try("main", append([]string{b.path("main.c"), b.path("libgreet.so.1"), "-Wl,-rpath," + b.dir}, args...)...)
		if err != nil {
			continue
		}
		t.Run(linking, func(t *testing.T) {
			b := &bench{t: t, dir: b.dir, gcc: b.gcc}
			e, err := Make(data, Changes{Bound: list})
			if err != nil {
				t.Fatal(err)
			}
			edited, err := e.Apply(data)
			if err != nil {
				t.Fatal(err)
			}
			before, after := mustInspect(t, data), mustInspect(t, edited)
			if before.Bound != nil || !slices.Equal(after.Bound, list) {
				t.Errorf("the libraries are %v, before %v", after.Bound, before.Bound)
			}
			if diff := sameSegments(t, data, edited); diff != "" {
				t.Error(diff)
			}
			b.mustSay(edited, says)
			file := writeProgram(t, b.dir, "noted", edited)
			out, err := exec.Command(tool(t, "readelf"), "-nW", file).CombinedOutput()
			if err != nil || bytes.Contains(out, []byte("arning")) || !bytes.Contains(out, []byte(".note.hashpkg")) || !bytes.Contains(out, []byte("hashpkg ")) {
				t.Errorf("readelf: %v: %s", err, out)
			}
			section := filepath.Join(b.dir, "section")
			if out, err := exec.Command(tool(t, "objcopy"), "-O", "binary", "--only-section=.note.hashpkg", "--set-section-flags", ".note.hashpkg=alloc", file, section).CombinedOutput(); err != nil {
				t.Fatalf("objcopy: %v: %s", err, out)
			}
			content, err := os.ReadFile(section)
			if err != nil {
				t.Fatal(err)
			}
			want := list[0].Digest + "  " + list[0].Path + "\n" + list[1].Digest + "  " + list[1].Path + "\n"
			if len(content) < 20 || strings.TrimRight(string(content[20:]), "\x00") != want {
				t.Errorf("the section is %q, want %q", content, want)
			}
			// One that stands elsewhere is the program's own, whoever it says that it is from.
			own := filepath.Join(b.dir, "own")
			if out, err := exec.Command(tool(t, "objcopy"), "--rename-section", ".note.hashpkg=.note.hashpkg2", file, own).CombinedOutput(); err != nil {
				t.Fatalf("objcopy: %v: %s", err, out)
			}
			if its, err := os.ReadFile(own); err != nil || mustInspect(t, its).Bound != nil {
				t.Errorf("a note of the program's own is taken: %v", err)
			}
			if out, err := exec.Command(tool(t, "strip"), file).CombinedOutput(); err != nil {
				t.Fatalf("strip: %v: %s", err, out)
			}
			stripped, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b.mustSay(stripped, says)
			if got := mustInspect(t, stripped).Bound; !slices.Equal(got, list) {
				t.Errorf("stripped, the libraries are %v", got)
			}
			// Together with what else becomes of a bound program; and undone.
			needed, path := append([]string{b.path("libgreet.so.1")}, before.Needed[1:]...), b.dir+strings.Repeat("/.", 3000)
			all, err := Make(data, Changes{Bound: list, SetNeeded: needed, VersionFiles: map[string]string{before.Needed[0]: needed[0]}, Path: &SearchPath{Set: &path}})
			if err != nil {
				t.Fatal(err)
			}
			if edited, err = all.Apply(data); err != nil {
				t.Fatal(err)
			}
			b.mustSay(edited, says)
			if got := mustInspect(t, edited); !slices.Equal(got.Bound, list) || !slices.Equal(got.Needed, needed) {
				t.Errorf("edited otherwise, too, the libraries are %v, needed %v", got.Bound, got.Needed)
			}
			var written bytes.Buffer
			if err := all.WriteTo(&written, data); err != nil || !bytes.Equal(written.Bytes(), edited) {
				t.Errorf("WriteTo writes other bytes than Apply returns: %v", err)
			}
			back, err := all.Invert().Apply(edited)
			if err != nil || !bytes.Equal(back, data) {
				t.Errorf("it cannot be undone: %v", err)
			}
			written.Reset()
			if err := all.Invert().WriteTo(&written, edited); err != nil || !bytes.Equal(written.Bytes(), data) {
				t.Errorf("WriteTo does not undo it: %v", err)
			}
		})
	}
}

// TestBuiltAgainst adds the note of what a program was built against, and later that of what it is bound
// to: each is what it was, readelf has no complaint, strip keeps both, and each edit can be undone.
func TestBuiltAgainst(t *testing.T) {
	b := newBench(t)
	built := []Bound{{"/usr/lib/libgreet.so.1", strings.Repeat("ab", 32)}, {"/usr/lib/libc.so.6", strings.Repeat("0", 64)}}
	list := []Bound{{"/var/sys/libc6/2.41/usr/lib/libc.so.6", strings.Repeat("f", 64)}}
	for linking, args := range linkings {
		data, err := b.try("main", append([]string{b.path("main.c"), b.path("libgreet.so.1"), "-Wl,-rpath," + b.dir}, args...)...)
		if err != nil {
			continue
		}
		t.Run(linking, func(t *testing.T) {
			b := &bench{t: t, dir: b.dir, gcc: b.gcc}
			steps := [][]byte{data}
			for _, c := range []Changes{{BuiltAgainst: built}, {Bound: list}} {
				was := steps[len(steps)-1]
				e, err := Make(was, c)
				if err != nil {
					t.Fatal(err)
				}
				is, err := e.Apply(was)
				if err != nil {
					t.Fatal(err)
				}
				if back, err := e.Invert().Apply(is); err != nil || !bytes.Equal(back, was) {
					t.Errorf("it cannot be undone: %v", err)
				}
				steps = append(steps, is)
				b.mustSay(is, says)
			}
			if first := mustInspect(t, steps[1]); first.Bound != nil || !slices.Equal(first.BuiltAgainst, built) {
				t.Errorf("built against %v, bound to %v", first.BuiltAgainst, first.Bound)
			}
			file := writeProgram(t, b.dir, "built", steps[2])
			if out, err := exec.Command(tool(t, "readelf"), "-SnW", file).CombinedOutput(); err != nil || bytes.Contains(out, []byte("arning")) || bytes.Count(out, []byte("Displaying notes found in: .note.hashpkg")) != 2 {
				t.Errorf("readelf: %v: %s", err, out)
			}
			if out, err := exec.Command(tool(t, "strip"), file).CombinedOutput(); err != nil {
				t.Fatalf("strip: %v: %s", err, out)
			}
			stripped, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b.mustSay(stripped, says)
			for _, is := range [][]byte{steps[2], stripped} {
				if got := mustInspect(t, is); !slices.Equal(got.BuiltAgainst, built) || !slices.Equal(got.Bound, list) {
					t.Errorf("built against %v, bound to %v", got.BuiltAgainst, got.Bound)
				}
			}
		})
	}
}

// sameSegments says how the program headers of two files differ.
func sameSegments(t *testing.T, a, b []byte) string {
	t.Helper()
	x, err := parse(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(x.progs, y.progs) {
		return "it has other program headers"
	}
	return ""
}

func TestBoundRefuses(t *testing.T) {
	var refused *RefusedError
	for _, bad := range []Bound{{"libc.so.6", strings.Repeat("0", 64)}, {"/a\nb", strings.Repeat("0", 64)}, {"/a", "00"}, {"/a", strings.Repeat("G", 64)}} {
		if _, err := Make(tinyLibrary(2, 1), Changes{Bound: []Bound{bad}}); !errors.As(err, &refused) {
			t.Errorf("%v: the error is %v", bad, err)
		}
	}
	// A file without section headers.
	if _, err := Make(tinyLibrary(2, 1), Changes{Bound: []Bound{{"/a", strings.Repeat("0", 64)}}}); !errors.As(err, &refused) {
		t.Errorf("the error is %v", err)
	}
}

// TestNotesThatAreNothing: a section of zeros, which is empty entries to its end, costs nothing.
func TestNotesThatAreNothing(t *testing.T) {
	zeros := make([]byte, 1<<20)
	entries := 0
	allocated := testing.AllocsPerRun(1, func() {
		entries = 0
		eachNote(binary.LittleEndian, zeros, 4, func([]byte, uint32, []byte, uint64) bool {
			entries++
			return true
		})
	})
	if entries != len(zeros)/noteHeader || allocated > 4 {
		t.Errorf("%d entries, %v allocations", entries, allocated)
	}
}
