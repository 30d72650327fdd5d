package elfedit

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAddedSegmentFollows edits libraries whose names fit into no gap, so that a segment is added. There is no hole
// before it, which costs a call at each start, but where a relocation's symbol reaches further than the segments before.
func TestAddedSegmentFollows(t *testing.T) {
	tool(t, "gcc")
	tool(t, "eu-elflint")
	var names strings.Builder
	for i := range 400 {
		fmt.Fprintf(&names, "int a_function_with_a_rather_long_name_%d(void) { return %d; }\n", i, i)
	}
	for _, tt := range []struct {
		name, source string
		hole         bool
	}{
		{"small", "int small; int *p = &small;\n", false},
		{"large", "char large[200000]; char *p = large; char *q = large + 1;\n", false},
		// The pointer is in the last pages, and its symbol reaches beyond them.
		{"reaching", "const char large[200000] = {1}; const char *p = large;\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			source, file := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.so")
			if err := os.WriteFile(source, []byte(names.String()+tt.source), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", file, source).CombinedOutput(); err != nil {
				t.Fatalf("gcc: %v\n%s", err, out)
			}
			before := lint(t, file)
			old := mustRead(t, file)
			path := strings.Repeat("/a/long/directory", 300)
			b := mustMake(t, old, Changes{Path: &SearchPath{Set: &path}})
			if err := os.WriteFile(file, b, 0o755); err != nil {
				t.Fatal(err)
			}
			if complaints := newComplaints(before, lint(t, file)); len(complaints) > 0 {
				t.Errorf("eu-elflint: %q", complaints)
			}
			were, are := loads(t, old), loads(t, b)
			if len(are) != len(were)+1 {
				t.Fatalf("it has %d segments, want one more than %d", len(are), len(were))
			}
			last, added := are[len(are)-2], are[len(are)-1]
			const page = 1 << 12
			if hole := alignUp(last.Vaddr+last.Memsz, page) != alignDown(added.Vaddr, page); hole != tt.hole {
				t.Errorf("a hole is between %#x and %#x: %v, want %v", last.Vaddr+last.Memsz, added.Vaddr, hole, tt.hole)
			}
		})
	}
}

func loads(t *testing.T, b []byte) []elf.ProgHeader {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var found []elf.ProgHeader
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			found = append(found, p.ProgHeader)
		}
	}
	return found
}
