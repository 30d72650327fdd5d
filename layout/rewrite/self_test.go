package rewrite

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout/record"
)

// build returns a library that calls its own functions one and two.
func build(t *testing.T) []byte {
	t.Helper()
	testneed.Programs(t, "gcc")
	dir := t.TempDir()
	source, library := filepath.Join(dir, "a.c"), filepath.Join(dir, "liba.so.1")
	text := "int one(void) { return 1; }\nint two(void) { return 2; }\nint sum(void) { return one() + two(); }\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "gcc", "-O1", "-fPIC", "-fno-plt", "-shared", "-nostdlib", "-Wl,-z,now", "-Wl,-soname,liba.so.1", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// asked returns the symbols that the loader looks up for a file.
func asked(t *testing.T, b []byte) (names []string) {
	t.Helper()
	f, err := elf.NewFile(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	relocations, err := f.Section(".rela.dyn").Data()
	if err != nil {
		t.Fatal(err)
	}
	for ; len(relocations) >= 24; relocations = relocations[24:] {
		if i := f.ByteOrder.Uint64(relocations[8:]) >> 32; i > 0 {
			names = append(names, symbols[i-1].Name)
		}
	}
	return names
}

// TestARecordMakesItsEditAgain has what a record of a file that is bound to itself leaves out.
func TestARecordMakesItsEditAgain(t *testing.T) {
	if elf.EM_X86_64 != hostMachine(t) {
		t.Skip("the library is for another machine")
	}
	packaged := build(t)
	r, edit, _, err := MakeSelf(packaged, nil, func(s elfedit.Symbol) bool { return s.Name == "two" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&record.EditRecord{Kind: record.EditSelf, From: []string{"two"}, To: []string{SelfRules, "1"}}, r); diff != "" {
		t.Fatalf("(-want +have)\n%s", diff)
	}
	bound, err := edit.Apply(packaged)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := strings.Join(asked(t, packaged), " "), strings.Join(asked(t, bound), " "); !strings.Contains(before, "one") || strings.Contains(after, "one") || !strings.Contains(after, "two") {
		t.Errorf("looked up are %q, and %q before", after, before)
	}
	again, _, err := Make(packaged, []record.EditRecord{*r})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := again.Apply(packaged); err != nil || digest.Of(b) != digest.Of(bound) {
		t.Errorf("the record makes something else: %v", err)
	}
	patch, err := record.PackEdit(edit)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Undo(bound, patch, digest.Of(packaged)); err != nil || digest.Of(b) != digest.Of(packaged) {
		t.Errorf("undo: %v", err)
	}

	if r, _, _, err := MakeSelf(packaged, nil, func(elfedit.Symbol) bool { return true }); r != nil || err != nil {
		t.Errorf("of a file that can be bound to nothing the record is %v, %v", r, err)
	}
	for _, damaged := range []record.EditRecord{
		{Kind: record.EditSelf},
		{Kind: record.EditSelf, To: []string{"0", "1"}, From: []string{"two"}},
		{Kind: record.EditSelf, To: []string{SelfRules, "2"}, From: []string{"two"}},
	} {
		if _, _, err := Make(packaged, []record.EditRecord{damaged}); err == nil {
			t.Errorf("%v makes an edit", damaged)
		}
	}
}

func hostMachine(t *testing.T) elf.Machine {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Machine
}
