package rewrite

import (
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

var updateGolden = flag.Bool("update-golden", false, "write the digests of what is made now")

// goldenDir has the packaged files, see its build.sh, and the digests.
const goldenDir = "../../testdata/elf"

// goldenRequests are edits of all kinds, and what install writes together.
var goldenRequests = []struct {
	name    string
	records []record.EditRecord
}{
	{"runpath", []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/var/sys/current-system/lib64"}}}},
	{"rpath", []record.EditRecord{{Kind: record.EditRPath, To: []string{"$ORIGIN/../lib"}}}},
	{"interpreter", []record.EditRecord{{Kind: record.EditInterpreter, To: []string{"/var/sys/libc6/2.36-9+deb12u10/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"}}}},
	{"replace", []record.EditRecord{{Kind: record.EditReplace, From: []string{"libc.so.6"}, To: []string{"/var/sys/libc6/2.36-9+deb12u10/lib64/libc.so.6"}}}},
	{"add", []record.EditRecord{{Kind: record.EditAdd, To: []string{"/var/sys/golden/1/lib64/libmore.so.1"}}}},
	{"self", []record.EditRecord{{Kind: record.EditSelf}}},
	{"bound", []record.EditRecord{
		{Kind: record.EditInterpreter, To: []string{"/var/sys/libc6/2.36-9+deb12u10/lib64/ld.so"}},
		{Kind: record.EditNeeded, From: append([]string{"libgolden.so.1", "libc.so.6"}, make([]string, 40)...), To: goldenClosure()},
		{Kind: record.EditNote, To: []string{strings.Repeat("0f", 32) + "  /var/sys/golden/1/lib64/libgolden.so.1"}},
	}},
}

// goldenClosure is more libraries than a program's dynamic section has room for.
func goldenClosure() []string {
	list := []string{"/var/sys/golden/1/lib64/libgolden.so.1", "/var/sys/libc6/2.36-9+deb12u10/lib64/libc.so.6"}
	for i := range 40 {
		list = append(list, fmt.Sprintf("/var/sys/golden/1/lib64/lib%d.so.1", i))
	}
	return list
}

// TestGoldenEdits has every edit give the bytes that it always gave. A tree's identity says which
// edits were made, and not what became of them: two machines may get the objects of one identity
// from each other. A change of the editor that fails here, and is meant, raises
// [layout.EditorVersion], and has the digests written anew by -update-golden.
func TestGoldenEdits(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "*-*"))
	if err != nil || len(files) != 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var made bytes.Buffer
	fmt.Fprintf(&made, "version %d\n", layout.EditorVersion)
	for _, file := range files {
		packaged, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range goldenRequests {
			fmt.Fprintf(&made, "%s %s %s\n", filepath.Base(file), request.name, goldenEdit(t, packaged, request.records))
		}
	}
	for _, machine := range []struct {
		elf.Machine
		elf.Class
	}{{elf.EM_X86_64, elf.ELFCLASS64}, {elf.EM_386, elf.ELFCLASS32}, {elf.EM_AARCH64, elf.ELFCLASS64}} {
		c := elfedit.Closure{Machine: machine.Machine, Class: machine.Class, Data: elf.ELFDATA2LSB, Needed: goldenClosure()}
		b, err := c.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&made, "closure %s %s\n", machine.Machine, digest.Of(b))
	}

	golden := filepath.Join(goldenDir, "golden.txt")
	if *updateGolden {
		if err := os.WriteFile(golden, made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(made.String(), "\n")); diff != "" {
		t.Errorf("the editor makes other bytes: see the comment of this test (-want +have)\n%s", diff)
	}
}

// goldenEdit returns the digest of the edited file, or why it is refused.
func goldenEdit(t *testing.T, packaged []byte, records []record.EditRecord) string {
	t.Helper()
	var edit elfedit.Edit
	var err error
	if records[0].Kind == record.EditSelf {
		var r *record.EditRecord
		if r, edit, _, err = MakeSelf(packaged, nil, func(elfedit.Symbol) bool { return false }); r == nil && err == nil {
			return "nothing"
		}
	} else {
		edit, _, err = Make(packaged, records)
	}
	if refused := (*elfedit.RefusedError)(nil); errors.As(err, &refused) {
		return "refused: " + err.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	edited, err := edit.Apply(packaged)
	if err != nil {
		t.Fatal(err)
	}
	return digest.Of(edited).String()
}
