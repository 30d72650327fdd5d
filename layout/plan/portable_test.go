package plan

import (
	"debug/elf"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// TestPortable compares trees that stand in directories of other names: they have the same
// identity where they are bound to the same packages, and another where they are not.
func TestPortable(t *testing.T) {
	packages := map[string]string{"tool/1": "tool", "tool/1@aa": "tool", "libx/1": "libx", "libx/1@bb": "libx", "libx/2": "another libx"}
	packageOf := func(tree string) (digest.Digest, bool) {
		name, is := packages[tree]
		return digest.Of([]byte(name)), is
	}
	tool := func(own, lib string) *record.Manifest {
		object := &elfedit.Closure{
			Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64,
			Needed: []string{"/var/sys/" + lib + "/usr/lib/libx.so.1", "libc.so.6"},
		}
		b, err := object.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		file := closureFile(digest.Of(b))
		edits := []record.EditRecord{
			{Kind: record.EditNeeded, From: []string{"libx.so.1"}, To: []string{"/var/sys/" + own + "/" + file}},
			{Kind: record.EditRunPath, To: []string{"/var/sys/" + own + "/lib64:/var/sys/" + lib + "/lib64:/usr/lib/tool/closures/x.so"}},
			{Kind: record.EditSelf, From: []string{own}, To: []string{"1", "2"}},
		}
		musl := "closures/" + lib[len(lib)-1:]
		return &record.Manifest{
			Name: "tool", Tree: own[len("tool/"):], Files: []record.File{
				{Path: "usr/bin/tool", Type: record.TypeFile, Edits: edits},
				{Path: "usr/bin/musl", Type: record.TypeFile, Edits: []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/var/sys/" + own + "/" + musl}}}},
				{Path: musl + "/libx.so.1", Type: record.TypeSymlink, Target: "../../../../" + lib + "/usr/lib/libx.so.1"},
				{Path: file, Type: record.TypeFile, Closure: object},
			},
			Links: []record.Link{{Path: "lib64/libx.so.1", Target: "../../../" + lib + "/usr/lib/libx.so.1"}},
		}
	}
	first := Portable(tool("tool/1", "libx/1"), packageOf)
	for _, same := range [][2]string{{"tool/1@aa", "libx/1"}, {"tool/1", "libx/1@bb"}, {"tool/1@aa", "libx/1@bb"}} {
		if got := Portable(tool(same[0], same[1]), packageOf); got != first {
			t.Errorf("%s with %s: %s, want %s", same[0], same[1], got, first)
		}
	}
	other := tool("tool/1", "libx/1")
	other.Editor = 2
	if Portable(other, packageOf) == first {
		t.Error("it is the same with another editor's bytes")
	}
	if Portable(tool("tool/1", "libx/2"), packageOf) == first {
		t.Error("it is the same with another package's library")
	}
	for what, change := range map[string]func(*record.Manifest){
		"edit":     func(m *record.Manifest) { m.Files[0].Edits[1].To = []string{"/var/sys/libx/1/usr/lib/other"} },
		"file":     func(m *record.Manifest) { m.Files[0].Path = "usr/bin/other" },
		"binding":  func(m *record.Manifest) { m.Binding.Bind = record.BindRunPath },
		"launcher": func(m *record.Manifest) { m.Files[1].Launches = "/usr/bin/musl" },
		"link":     func(m *record.Manifest) { m.Links[0].Path = "lib64/libx.so" },
		"closure":  func(m *record.Manifest) { m.Files[3].Closure.Needed[1] = "libm.so.6" },
		"musl's":   func(m *record.Manifest) { m.Files[2].Path = "closures/1/liby.so.1" },
	} {
		m := tool("tool/1", "libx/1")
		change(m)
		if Portable(m, packageOf) == first {
			t.Errorf("it is the same with another %s", what)
		}
	}
}

func TestEditor(t *testing.T) {
	c := &candidate{m: &record.Manifest{Files: []record.File{{Path: "usr/bin/tool"}}}}
	if n := c.editor(2); n != 0 {
		t.Errorf("a tree without edits is of the editor %d", n)
	}
	c.stubs = []stub{{path: "dev/lib64/libx.so"}}
	if n := c.editor(2); n != 2 {
		t.Errorf("a tree with stubs is of the editor %d", n)
	}
	c.stubs, c.m.Files[0].Edits = nil, []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/x"}}}
	if first, second := c.editor(1), c.editor(2); first != 0 || second != 2 {
		t.Errorf("a tree with edits is of the editors %d and %d, want 0 and 2", first, second)
	}
}
