package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// notingEditor gives edited libraries objects, and refuses notes of some files.
type notingEditor struct {
	fakeEditor
	refuse map[string]bool
}

func (e *notingEditor) Edit(requests []EditRequest) ([]EditResult, error) {
	results, err := e.fakeEditor.Edit(requests)
	for i, r := range requests {
		if !r.File.ELF.IsProgram() {
			results[i].Object = digest.Of([]byte("edited " + r.File.Path))
		}
		if e.refuse[r.File.Path] && slices.ContainsFunc(r.Edits, func(e record.EditRecord) bool { return e.Kind == record.EditNote }) {
			results[i] = EditResult{Refused: "it has no sections"}
		}
	}
	return results, err
}

func noteOf(m *record.Manifest, file string) []string {
	for _, e := range m.Lookup(file).Edits {
		if e.Kind == record.EditNote {
			return e.To
		}
	}
	return nil
}

// TestProgramsNoteWhatTheyAreBoundTo has notes of libraries: edited ones by what came of the edit, and
// others by what the package has.
func TestProgramsNoteWhatTheyAreBoundTo(t *testing.T) {
	w := newWorld()
	w.editor = &notingEditor{}
	plan := w.install(t, four)
	line := func(path string, d digest.Digest) string {
		return d.String() + "  /var/sys/" + path
	}
	edited := func(path string) digest.Digest { return digest.Of([]byte("edited " + path)) }
	c := treeOf(t, plan, "libc6").Manifest
	want := []string{
		line("libjq1/1.6/"+libjqFile, edited(libjqFile)),
		line("libc6/2.36/"+libDir+"libc.so.6", edited(libDir+"libc.so.6")),
		line("libc6/2.36/"+libDir+"libm.so.6", edited(libDir+"libm.so.6")),
		line("libonig5/6.9/"+onigFile, edited(onigFile)),
		line("libc6/2.36/"+libDir+"ld-linux-x86-64.so.2", c.Lookup(libDir+"ld-linux-x86-64.so.2").Object),
	}
	if diff := cmp.Diff(want, noteOf(treeOf(t, plan, "jq").Manifest, "usr/bin/jq")); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if noteOf(treeOf(t, plan, "libjq1").Manifest, libjqFile) != nil {
		t.Error("a library has a note")
	}
}

// TestTreesWithoutNoteStay has trees that an earlier hashpkg made: their packages are there,
// and get no other trees.
func TestTreesWithoutNoteStay(t *testing.T) {
	with, without := newWorld(), newWorld()
	with.editor, without.editor = &notingEditor{}, &notingEditor{refuse: map[string]bool{"usr/bin/jq": true}}
	noted, bare := treeOf(t, with.install(t, four), "jq"), treeOf(t, without.install(t, four), "jq")
	if noteOf(noted.Manifest, "usr/bin/jq") == nil || noteOf(bare.Manifest, "usr/bin/jq") != nil || bare.Manifest.Lookup("usr/bin/jq").Patch == nil {
		t.Fatal("the wrong ones have a note")
	}
	if noted.Identity != bare.Identity {
		t.Error("a note makes another identity")
	}
	without.editor = &notingEditor{}
	if again := without.plan(t, four()...); again.Generation != nil || !treeOf(t, again, "jq").Present {
		t.Errorf("another tree is planned: %+v", again.Trees)
	}
	asked := strings.Join(without.editor.(*notingEditor).asked, " ")
	if strings.Contains(asked, "usr/bin/jq") {
		t.Errorf("a program that is there is edited again: %s", asked)
	}
}

// TestPathsThatNoNoteHas: a note has a line for each path, so that a program which loads one with
// a line feed in it goes without.
func TestPathsThatNoNoteHas(t *testing.T) {
	w := newWorld()
	w.editor = &notingEditor{}
	odd := pkg("libonig5", "6.9", []string{"libc6"}, facts{path: libDir + "libonig.so.5\n", soname: "libonig.so.5", needed: []string{"libc.so.6"}})
	plan := w.install(t, func() []*record.Manifest { return []*record.Manifest{tool("1"), odd, libc("2.36")} })
	m := treeOf(t, plan, "tool").Manifest
	if noteOf(m, "usr/bin/tool") != nil || m.Lookup("usr/bin/tool").Patch == nil {
		t.Errorf("its edits are %+v", m.Lookup("usr/bin/tool").Edits)
	}
}
