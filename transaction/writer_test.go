package transaction

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

var now = time.Unix(1700000000, 0).UTC()

// begin begins a writer, which the caller ends.
func begin(t *testing.T, root *sysroot.Root, o Options) *Writer {
	t.Helper()
	w, err := Begin(t.Context(), root, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func end(t *testing.T, w *Writer) {
	t.Helper()
	if err := w.End(); err != nil {
		t.Error(err)
	}
}

// emptyTree is a tree of a package without files, and its line in a generation.
func emptyTree(name, version string, origin record.Origin) (*record.Manifest, record.Tree) {
	id := digest.Of([]byte(name + version))
	m := &record.Manifest{
		Layout: layout.FormatVersion, Name: name, Version: version, Architecture: "amd64", Format: deb.Name,
		Origin: origin, Tree: version, Identity: id, Package: record.PackageFile{Digest: id},
	}
	return m, record.Tree{Name: name, Version: version, Dir: version, Architecture: "amd64", Format: deb.Name, Origin: origin, Identity: id}
}

// add commits a generation with one more tree.
func add(t *testing.T, root *sysroot.Root, name, version string, origin record.Origin) {
	t.Helper()
	w := begin(t, root, Options{Create: true})
	defer end(t, w)
	m, tree := emptyTree(name, version, origin)
	next := w.Active().Next(0, now)
	next.Add(record.DefaultHighest, tree)
	if err := w.Commit(t.Context(), []*record.Manifest{m}, next); err != nil {
		t.Fatal(err)
	}
}

// stateOf returns the active generation in short: "ID<PARENT NAME/TREE:SINCE* ...", where
// the star is at defaults.
func stateOf(t *testing.T, root *sysroot.Root) string {
	t.Helper()
	g, err := root.Active()
	if err != nil {
		t.Fatal(err)
	}
	return inShort(g)
}

func inShort(g *record.Generation) string {
	text := string(rune('0'+g.ID)) + "<" + string(rune('0'+g.Parent))
	for i := range g.Trees {
		tree := &g.Trees[i]
		text += " " + tree.Path() + ":" + string(rune('0'+tree.Since))
		if tree.Default {
			text += "*"
		}
	}
	return text
}

func checkState(t *testing.T, root *sysroot.Root, want string) {
	t.Helper()
	if got := stateOf(t, root); got != want {
		t.Errorf("the active generation is %q, want %q", got, want)
	}
}

func TestCommitNumbers(t *testing.T) {
	root := newRoot(t)
	add(t, root, "jq", "1.6", record.OriginPrivate)
	checkState(t, root, "1<0 jq/1.6:1*")
	add(t, root, "jq", "1.7", record.OriginPrivate)
	checkState(t, root, "2<1 jq/1.6:1 jq/1.7:2*")
	if _, err := Rollback(t.Context(), Change{Root: root, Now: now}, 0); err != nil {
		t.Fatal(err)
	}
	checkState(t, root, "1<0 jq/1.6:1*")
	add(t, root, "awk", "1", record.OriginPrivate) // after the highest number, from the active one
	checkState(t, root, "3<1 awk/1:3* jq/1.6:1*")
}

// TestBegin has roots without a store, with a lost link, and with a lock that is held.
func TestBegin(t *testing.T) {
	root := newRoot(t)
	_, err := Begin(t.Context(), root, Options{})
	want := "not installed: there is no hashpkg store at " + root.Dir() + "/var/sys yet; hashpkg install or hashpkg sync makes one"
	if !errors.Is(err, query.ErrNotInstalled) || strings.ReplaceAll(err.Error(), "/.", "") != want {
		t.Errorf("without a store: %v, want %s", err, want)
	}
	w := begin(t, root, Options{Create: true})
	if _, err := Begin(t.Context(), root, Options{}); !errors.Is(err, sysroot.ErrLocked) {
		t.Errorf("while another one writes: %v", err)
	}
	end(t, w)
	if entries, err := os.ReadDir(root.Dir()); len(entries) > 0 || err != nil {
		t.Errorf("a writer that did nothing leaves %v (%v)", entries, err)
	}
	add(t, root, "jq", "1", record.OriginPrivate)
	if err := os.Remove(root.Store().Path(layout.CurrentSystem)); err != nil {
		t.Fatal(err)
	}
	if _, err := Begin(t.Context(), root, Options{}); !errors.Is(err, sysroot.ErrNoActive) {
		t.Errorf("the link is lost: %v", err)
	}
	w = begin(t, root, Options{Recovering: true}) // which needs the lock that Begin gave back
	if g := w.Active(); g.ID != 0 || len(g.Trees) > 0 {
		t.Errorf("recovering, the active one is %+v", g)
	}
	end(t, w)
	result, err := Rollback(t.Context(), Change{Root: root, Now: now}, 1)
	if err != nil || result.Generation != 1 || !result.Changed {
		t.Errorf("%+v, %v", result, err)
	}
	checkState(t, root, "1<0 jq/1:1*")
}

// TestFailedCommit has each step of a commit fail: nothing is left of it.
func TestFailedCommit(t *testing.T) {
	for _, tt := range []struct {
		name string
		// fail makes the commit of two/1 fail
		fail func(t *testing.T, root *sysroot.Root, m *record.Manifest)
	}{
		{"an object is missing", func(_ *testing.T, _ *sysroot.Root, m *record.Manifest) {
			m.Files = []record.File{{Path: "x", Type: record.TypeFile, Mode: 0o644, Object: digest.Of([]byte("x")), Source: digest.Of([]byte("x")), Size: 1}}
		}},
		{"the manifest's place is taken", func(t *testing.T, root *sysroot.Root, _ *record.Manifest) {
			if err := os.MkdirAll(root.Store().Path(layout.ManifestPath("two", "1"))+"/x", 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"the tree's place is taken", func(t *testing.T, root *sysroot.Root, _ *record.Manifest) {
			if err := os.MkdirAll(root.Store().Path("two/1/x"), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			add(t, root, "one", "1", record.OriginPrivate)
			w := begin(t, root, Options{})
			m, tree := emptyTree("two", "1", record.OriginPrivate)
			next := w.Active().Next(0, now)
			next.Add(record.DefaultHighest, tree)
			tt.fail(t, root, m)
			before := list(t, root)
			if err := w.Commit(t.Context(), []*record.Manifest{m}, next); err == nil {
				t.Error("it did not fail")
			}
			end(t, w)
			if diff := cmp.Diff(before, list(t, root)); diff != "" {
				t.Errorf("it leaves (-before +after):\n%s", diff)
			}
		})
	}
}

// TestFailedSwitch has the last step fail, and with it the undoing: nobody knows
// which generation is active. The next writer undoes it.
func TestFailedSwitch(t *testing.T) {
	root := newRoot(t)
	add(t, root, "one", "1", record.OriginPrivate)
	before := list(t, root)
	w := begin(t, root, Options{})
	m, tree := emptyTree("two", "1", record.OriginPrivate)
	next := w.Active().Next(0, now)
	next.Add(record.DefaultHighest, tree)
	link := root.Store().Path(layout.CurrentSystem)
	if err := errors.Join(os.Remove(link), os.MkdirAll(link+"/x", 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), []*record.Manifest{m}, next); err == nil {
		t.Error("it did not fail")
	}
	if _, err := os.Lstat(root.Store().Path("two/1")); err != nil {
		t.Errorf("it was undone already: %v", err)
	}
	end(t, w)
	if err := errors.Join(os.RemoveAll(link), os.Symlink(layout.GenerationPath(1), link)); err != nil {
		t.Fatal(err)
	}
	checkState(t, root, "1<0 one/1:1*")
	end(t, begin(t, root, Options{}))
	if diff := cmp.Diff(before, list(t, root)); diff != "" {
		t.Errorf("the next writer leaves (-before +after):\n%s", diff)
	}
}

// list returns the names below the prefix, but for what is in staging.
func list(t *testing.T, root *sysroot.Root) []string {
	t.Helper()
	top := root.Store().Path(".")
	var names []string
	err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
		if rel, rerr := filepath.Rel(top, path); rerr == nil && !strings.HasPrefix(rel, layout.StagingDir+"/") {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestChanges uses, removes and rolls back, step after step.
func TestChanges(t *testing.T) {
	root := newRoot(t)
	add(t, root, "jq", "1.6", record.OriginPrivate)
	add(t, root, "jq", "1.7", record.OriginPrivate)
	add(t, root, "libc6", "2.36", record.OriginSystem)
	c := Change{Root: root, Now: now}
	use := func(spec query.Spec) func() (Result, error) {
		return func() (Result, error) { return Use(t.Context(), c, spec) }
	}
	highest := func() (Result, error) { return UseHighest(t.Context(), c, "jq") }
	remove := func(spec query.Spec) func() (Result, error) {
		return func() (Result, error) { return Remove(t.Context(), c, spec) }
	}
	back := func(id int) func() (Result, error) {
		return func() (Result, error) { return Rollback(t.Context(), c, id) }
	}
	for i, step := range []struct {
		do   func() (Result, error)
		err  string
		want string
	}{
		{use(query.Spec{Name: "jq", Version: "1.7"}), "", "4<3 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"}, // chosen now
		{use(query.Spec{Name: "jq", Version: "1.7"}), "", "4<3 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{use(query.Spec{Name: "jq", Version: "1.6"}), "", "5<4 jq/1.6:1* jq/1.7:2 libc6/2.36:3*"},
		{use(query.Spec{Name: "jq", Version: "3"}), "not installed: jq=3; the installed versions are 1.6, 1.7", "5<4 jq/1.6:1* jq/1.7:2 libc6/2.36:3*"},
		{highest, "", "6<5 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{highest, "", "6<5 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{remove(query.Spec{Name: "libc6"}), "remove libc6: it belongs to the system's package manager; remove it with that", "6<5 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{remove(query.Spec{Name: "awk"}), "not installed: awk; hashpkg list shows what is", "6<5 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{remove(query.Spec{Name: "jq", Version: "1.7"}), "", "7<6 jq/1.6:1* libc6/2.36:3*"},
		{back(6), "", "6<5 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{back(6), "", "6<5 jq/1.6:1 jq/1.7:2* libc6/2.36:3*"},
		{back(0), "", "5<4 jq/1.6:1* jq/1.7:2 libc6/2.36:3*"},
		// What the package manager has installed since stays.
		{back(1), "", "8<5 jq/1.6:1* libc6/2.36:3*"},
		{back(9), "roll back: no such generation: 9; hashpkg generations lists those that are there", "8<5 jq/1.6:1* libc6/2.36:3*"},
		{remove(query.Spec{Name: "jq"}), "", "9<8 libc6/2.36:3*"},
		{remove(query.Spec{Name: "jq"}), "not installed: jq; hashpkg list shows what is", "9<8 libc6/2.36:3*"},
	} {
		before := stateOf(t, root)
		result, err := step.do()
		if err != nil && err.Error() != step.err || err == nil && step.err != "" {
			t.Errorf("step %d: the error is %v, want %q", i, err, step.err)
		}
		if got := stateOf(t, root); got != step.want || err == nil && result.Changed != (before != got) {
			t.Errorf("step %d: changed: %v, the generation is %q, want %q", i, result.Changed, got, step.want)
		}
	}
	if _, err := Rollback(t.Context(), Change{Root: newRoot(t), Now: now}, 0); !errors.Is(err, query.ErrNotInstalled) {
		t.Errorf("without a store: %v", err)
	}
	first := newRoot(t)
	add(t, first, "jq", "1", record.OriginPrivate)
	_, err := Rollback(t.Context(), Change{Root: first, Now: now}, 0)
	if want := "roll back: generation 1 is the first, there is none before it"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

// TestRollbackRestoresTheFarm rolls back to a generation that lent its links.
func TestRollbackRestoresTheFarm(t *testing.T) {
	root := newRoot(t)
	for _, v := range []string{"1", "2", "3", "4"} {
		add(t, root, "jq", v, record.OriginPrivate)
	}
	link := root.Store().Path(layout.GenerationPath(1) + "/default/jq")
	if _, err := os.Lstat(link); err == nil {
		t.Error("it has its links still")
	}
	if _, err := Rollback(context.Background(), Change{Root: root, Now: now}, 1); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != "../../../../jq/1" {
		t.Errorf("its link leads to %q (%v)", target, err)
	}
	checkState(t, root, "1<0 jq/1:1*")
}
