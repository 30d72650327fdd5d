package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// fakeEditor answers as it is told, by paths of files.
type fakeEditor struct {
	refuse map[string]string
	leaves map[string]bool
	err    error
	asked  []string // each request, as "PATH EDITS"
}

func (e *fakeEditor) Edit(requests []EditRequest) ([]EditResult, error) {
	var results []EditResult
	for _, r := range requests {
		e.asked = append(e.asked, fmt.Sprint(r.File.Path, " ", r.Edits))
		result := EditResult{Refused: e.refuse[r.File.Path], LeavesRelRO: e.leaves[r.File.Path]}
		if result.Refused == "" {
			result.Patch = patchOf(r.File.Path, r.Edits)
		}
		results = append(results, result)
	}
	return results, e.err
}

func patchOf(path string, edits []record.EditRecord) *record.Patch {
	return &record.Patch{OldSize: 1, NewSize: 2, Packed: fmt.Append(nil, path, " ", edits)}
}

const (
	libjqFile = libDir + "libjq.so.1.0.4"
	onigFile  = libDir + "libonig.so.5.6.9"
)

func four() []*record.Manifest {
	return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34")}
}

func treeOf(t *testing.T, plan *Plan, name string) *PlannedTree {
	t.Helper()
	for i := range plan.Trees {
		if plan.Trees[i].Name == name {
			return &plan.Trees[i]
		}
	}
	t.Fatalf("the plan has no tree of %s", name)
	return nil
}

// TestMakeLeavesItsInput compares what Make was given with deep copies of it.
func TestMakeLeavesItsInput(t *testing.T) {
	w := newWorld()
	w.editor = &fakeEditor{refuse: map[string]string{onigFile: "it is full"}}
	w.install(t, four)
	second := func() []*record.Manifest {
		return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("7.0")}
	}
	var before []string // of the drafts, the manifests that stand there, and the generation
	given, encoded := second(), func(given []*record.Manifest) (list []string) {
		for _, m := range given {
			b, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(b))
		}
		for _, name := range []string{"jq/1.6", "libjq1/1.6", "libonig5/6.9", "libc6/2.36"} {
			b, err := w.manifests[name].Encode()
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(b))
		}
		return append(list, fmt.Sprintf("%+v", w.generation))
	}
	before = encoded(given)
	plan := w.plan(t, given...)
	if diff := cmp.Diff(before, encoded(given)); diff != "" {
		t.Errorf("Make has changed its input (-before +after):\n%s", diff)
	}
	fresh := second()
	for i := range fresh {
		if diff := cmp.Diff(fresh[i], given[i], cmpopts.IgnoreUnexported(record.Manifest{})); diff != "" {
			t.Errorf("Make has changed a draft (-before +after):\n%s", diff)
		}
	}
	if name := treeOf(t, plan, "jq").Tree; !strings.HasPrefix(name, "1.6@") {
		t.Errorf("jq stands at %s: the plan does not move it, and the test shows little", name)
	}
	if again := w.plan(t, given...); !cmp.Equal(plan, again, cmpopts.IgnoreUnexported(record.Manifest{}), cmpopts.IgnoreFields(record.Generation{}, "Orders")) {
		t.Error("a second plan of the same input is another")
	}
}

func TestEditsAreInThePlan(t *testing.T) {
	w := newWorld()
	w.editor = &fakeEditor{}
	plan := w.install(t, four)
	for _, planned := range plan.Trees {
		var edited []PlannedEdit
		for _, f := range planned.Manifest.Files {
			if (f.Patch != nil) != (len(f.Edits) > 0) || f.Patch != nil && !cmp.Equal(f.Patch, patchOf(f.Path, f.Edits)) {
				t.Errorf("%s has the edits %v and the patch %+v", f.Path, f.Edits, f.Patch)
			}
			if len(f.Edits) > 0 {
				edited = append(edited, PlannedEdit{File: f.Path, Edits: f.Edits})
			}
		}
		if diff := cmp.Diff(edited, planned.Edits, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: the plan prints other edits than the manifest has:\n%s", planned.Name, diff)
		}
	}
	if len(plan.Warnings) > 0 {
		t.Errorf("warnings: %q", plan.Warnings)
	}
	w = newWorld() // an editor that makes every edit changes nothing in the identities
	for i, same := range w.install(t, four).Trees {
		if same.Identity != plan.Trees[i].Identity {
			t.Errorf("%s has another identity without an editor", same.Name)
		}
	}
}

func TestRefusedEdits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		editor  fakeEditor
		warning string
		problem Problem
	}{
		{
			name: "library", editor: fakeEditor{refuse: map[string]string{libjqFile: "it is full"}},
			warning: libjqFile + " of libjq1=1.6 is left as it is: it is full; ",
		},
		{
			name: "program", editor: fakeEditor{refuse: map[string]string{"usr/bin/jq": "it is full"}},
			problem: Problem{
				Package: "jq=1.6", File: "usr/bin/jq",
				Message: "usr/bin/jq of jq=1.6 cannot be edited to load its libraries from their trees: it is full",
			},
		},
		{
			name: "RELRO", editor: fakeEditor{leaves: map[string]bool{"usr/bin/jq": true}},
			warning: "usr/bin/jq of jq=1.6: its dynamic section stays writable while it runs: ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.editor = &tt.editor
			plan := w.plan(t, four()...)
			if (tt.warning == "") != (len(plan.Warnings) == 0) || len(plan.Warnings) > 1 || tt.warning != "" && !strings.HasPrefix(plan.Warnings[0], tt.warning) {
				t.Errorf("the warnings are %q, want %q", plan.Warnings, tt.warning)
			}
			if tt.problem.Message == "" {
				if len(plan.Problems) > 0 || plan.Generation == nil {
					t.Errorf("problems: %+v", plan.Problems)
				}
				return
			}
			if diff := cmp.Diff([]Problem{tt.problem}, plan.Problems); diff != "" || plan.Generation != nil {
				t.Errorf("problems (-want +have):\n%s; generation: %v", diff, plan.Generation)
			}
		})
	}
}

// TestIdentityNamesTheEditsMade plans for a library that cannot be edited: neither
// identity nor manifest nor what is printed says that it was.
func TestIdentityNamesTheEditsMade(t *testing.T) {
	w := newWorld()
	made := treeOf(t, w.plan(t, four()...), "libjq1")
	w.editor = &fakeEditor{refuse: map[string]string{libjqFile: "it is full"}}
	plan := w.install(t, four)
	refused := treeOf(t, plan, "libjq1")
	if made.Identity == refused.Identity {
		t.Error("the tree with the edit and the one without have one identity")
	}
	f := refused.Manifest.Lookup(libjqFile)
	if len(refused.Edits) > 0 || len(f.Edits) > 0 || f.Patch != nil {
		t.Errorf("the plan prints %v, and the manifest has the edits %v and the patch %v", refused.Edits, f.Edits, f.Patch)
	}
	if again := w.plan(t, four()...); len(again.Warnings) > 0 {
		t.Errorf("of a tree that is there, the plan warns again: %q", again.Warnings)
	}
	// The identity is what docs/layout.md says: over the edits that the manifest has.
	h := digest.New()
	hashUnedited(h, refused.Manifest)
	if want := digest.Sum(h); refused.Identity != want {
		t.Errorf("the identity is %s, want that of a tree without edits, %s", refused.Identity, want)
	}
}

// TestEditorIsAskedOnce installs what moves to other directories than it was planned
// for at first.
func TestEditorIsAskedOnce(t *testing.T) {
	w := newWorld()
	editor := &fakeEditor{}
	w.editor = editor
	w.install(t, four) // the second plan in install finds the trees there
	second := func() []*record.Manifest {
		return []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("7.0")}
	}
	editor.asked = nil
	w.plan(t, second()...)
	if len(editor.asked) == 0 {
		t.Error("the editor was not asked")
	}
	slices.Sort(editor.asked)
	if once := slices.Compact(slices.Clone(editor.asked)); len(once) != len(editor.asked) {
		t.Errorf("the editor was asked twice for the same:\n%s", strings.Join(editor.asked, "\n"))
	}
	editor.asked = nil
	plan := w.plan(t, four()...)
	if len(editor.asked) > 0 {
		t.Errorf("the editor was asked for trees that are there:\n%s", strings.Join(editor.asked, "\n"))
	}
	for _, planned := range plan.Trees {
		there := w.manifests[planned.Name+"/"+planned.Tree]
		if diff := cmp.Diff(there, planned.Manifest, cmpopts.IgnoreUnexported(record.Manifest{})); diff != "" || !planned.Present {
			t.Errorf("%s is there: %v, with another manifest (-there +plan):\n%s", planned.Name, planned.Present, diff)
		}
	}
}

// shortEditor leaves out a result.
type shortEditor struct{ fakeEditor }

func (e *shortEditor) Edit(requests []EditRequest) ([]EditResult, error) {
	results, err := e.fakeEditor.Edit(requests)
	return results[1:], err
}

func TestEditorFails(t *testing.T) {
	fault := errors.New("the disk is gone")
	for _, tt := range []struct {
		editor Editor
		want   string
	}{{&fakeEditor{err: fault}, "the disk is gone"}, {&shortEditor{}, "the editor has"}} {
		w := newWorld()
		_, err := Make(Input{
			Prefix: "/var/sys", Generation: w.generation, Command: four(), Edit: tt.editor,
			Occupied: func(string) ([]*record.Manifest, error) { return nil, nil },
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("the error is %v, want %q", err, tt.want)
		}
	}
}

// TestEditsOfLaunchedPrograms: that programs of a package have launchers does not keep
// anybody from being told of their edits.
func TestEditsOfLaunchedPrograms(t *testing.T) {
	w := newWorld()
	w.editor = &fakeEditor{leaves: map[string]bool{"usr/bin/vim": true}}
	vim := naming(with(commandOf("vim"), "usr/share/vim/runtime"), "usr/bin/vim", "/usr/share/vim/runtime")
	plan := w.planWithRoot(t, map[string]int64{}, vim, libc("2.36"))
	if len(treeOf(t, plan, "vim").Launchers) == 0 {
		t.Fatal("vim has no launcher")
	}
	if !slices.ContainsFunc(plan.Warnings, func(s string) bool { return strings.Contains(s, "usr/bin/vim of vim=1: its dynamic section") }) {
		t.Errorf("the warnings are %q", plan.Warnings)
	}
}
