package gc

import (
	"debug/elf"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

var now = time.Unix(1700000000, 0).UTC()

func newRoot(t *testing.T) *sysroot.Root {
	t.Helper()
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root
}

// commit makes a generation of these trees alone, "NAME/VERSION", each of which has one
// file of its own and one that all share.
func commit(t *testing.T, root *sysroot.Root, trees ...string) {
	t.Helper()
	commitAt(t, root, now, trees...)
}

func commitAt(t *testing.T, root *sysroot.Root, now time.Time, trees ...string) {
	t.Helper()
	w, err := transaction.Begin(t.Context(), root, transaction.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.End(); err != nil {
			t.Error(err)
		}
	}()
	next := w.Active().Next(0, now)
	next.SetTrees(nil)
	var manifests []*record.Manifest
	for _, path := range trees {
		name, version, _ := strings.Cut(path, "/")
		id := digest.Of([]byte(path))
		next.Add(record.DefaultHighest, record.Tree{
			Name: name, Version: version, Dir: version, Architecture: "amd64", Format: deb.Name, Origin: record.OriginPrivate, Identity: id,
		})
		if _, err := os.Lstat(root.Store().Path(layout.ManifestPath(name, version))); err == nil {
			continue
		}
		m := &record.Manifest{
			Layout: layout.FormatVersion, Name: name, Version: version, Architecture: "amd64", Format: deb.Name,
			Origin: record.OriginPrivate, Tree: version, Identity: id, Package: record.PackageFile{Digest: id},
		}
		for file, content := range map[string]string{"own": path, "shared": "of all"} {
			d, size, err := w.Staging().Add(strings.NewReader(content), int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			m.Files = append(m.Files, record.File{Path: file, Type: record.TypeFile, Mode: 0o644, Object: d, Source: d, Size: size})
		}
		if m.Files[0].Path > m.Files[1].Path {
			m.Files[0], m.Files[1] = m.Files[1], m.Files[0]
		}
		m.Index()
		manifests = append(manifests, m)
	}
	if err := w.Commit(t.Context(), manifests, next); err != nil {
		t.Fatal(err)
	}
}

// trees returns the paths of the trees that are there.
func trees(t *testing.T, root *sysroot.Root) (list []string) {
	t.Helper()
	names, err := root.Store().Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		versions, err := root.Store().Trees(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range versions {
			if _, err := os.Lstat(root.Store().Path(name + "/" + v)); err != nil {
				t.Errorf("a manifest without its tree: %v", err)
			}
			list = append(list, name+"/"+v)
		}
	}
	return list
}

func collect(t *testing.T, root *sysroot.Root, keep int, dryRun bool) *Result {
	t.Helper()
	result, err := Collect(t.Context(), Options{Root: root, Keep: keep, DryRun: dryRun})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestCollect collects among five generations, of which the last is active unless
// back is given.
func TestCollect(t *testing.T) {
	pin := []record.Pin{{Program: "/usr/bin/x", Library: "jq", Version: "1", Tree: "1"}}
	edits := &record.PackageEdits{
		Layout: layout.FormatVersion, Key: pkginfo.Key{Format: deb.Name, ID: "x:amd64"}, Package: "x",
		Files: []record.EditedFile{{
			Path: "/usr/bin/x", Source: digest.Of([]byte("x")),
			Applied: []record.AppliedEdit{{Object: digest.Of([]byte("y")), Patch: &record.Patch{}, Pins: []record.PinnedTree{{Library: "jq", Tree: "2"}}}},
		}},
	}
	for _, tt := range []struct {
		name        string
		keep, back  int
		before      func(root *sysroot.Root) error
		generations []int // that go
		gone        []string
		objects     int
		stay        []string
	}{
		{"all stay", 5, 0, nil, []int{}, nil, 0, []string{"awk/1", "jq/1", "jq/2", "jq/3", "jq/4"}},
		{"one goes", 4, 0, nil, []int{1}, []string{"jq/1"}, 1, []string{"awk/1", "jq/2", "jq/3", "jq/4"}},
		{"the active one and its parent stay", 1, 0, nil, []int{1, 2, 3}, []string{"jq/1", "jq/2", "jq/3"}, 3, []string{"awk/1", "jq/4"}},
		{"after a roll-back", 1, 2, nil, []int{3, 4}, []string{"jq/3"}, 1, []string{"awk/1", "jq/1", "jq/2", "jq/4"}},
		{
			"pinned", 1, 0, func(root *sysroot.Root) error { return root.SetPins(pin) },
			[]int{1, 2, 3},
			[]string{"jq/2", "jq/3"},
			2,
			[]string{"awk/1", "jq/1", "jq/4"},
		},
		{
			"a program loads from it", 1, 0, func(root *sysroot.Root) error { return root.SetEdits([]*record.PackageEdits{edits}) },
			[]int{1, 2, 3},
			[]string{"jq/1", "jq/3"},
			2,
			[]string{"awk/1", "jq/2", "jq/4"},
		},
		{
			"a service has it", 1, 0, func(root *sysroot.Root) error {
				return root.SetServices(&record.Services{Layout: layout.FormatVersion, List: []record.Service{{Name: "jq-old", Package: "jq", Trees: []string{"jq/3"}}}})
			},
			[]int{1, 2, 3},
			[]string{"jq/1", "jq/2"},
			2,
			[]string{"awk/1", "jq/3", "jq/4"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			for _, list := range [][]string{{"jq/1"}, {"jq/2"}, {"jq/3"}, {"jq/4"}, {"awk/1", "jq/4"}} {
				commit(t, root, list...)
			}
			if tt.back > 0 {
				if _, err := transaction.Rollback(t.Context(), transaction.Change{Root: root, Now: now}, tt.back); err != nil {
					t.Fatal(err)
				}
			}
			if tt.before != nil {
				if err := tt.before(root); err != nil {
					t.Fatal(err)
				}
			}
			all := trees(t, root)
			dry := collect(t, root, tt.keep, true)
			if diff := cmp.Diff(all, trees(t, root)); diff != "" {
				t.Errorf("a dry run removes:\n%s", diff)
			}
			result := collect(t, root, tt.keep, false)
			if diff := cmp.Diff(dry, result); diff != "" {
				t.Errorf("the results differ (-dry run +collection):\n%s", diff)
			}
			var gone []string
			for _, n := range result.Trees {
				gone = append(gone, n.Name+"/"+n.Tree)
			}
			if diff := cmp.Diff(tt.generations, result.Generations); diff != "" {
				t.Errorf("generations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.gone, gone); diff != "" || result.Objects != tt.objects || (result.Bytes > 0) != (tt.objects > 0) {
				t.Errorf("%d objects with %d bytes go, want %d; trees (-want +got):\n%s", result.Objects, result.Bytes, tt.objects, diff)
			}
			if diff := cmp.Diff(tt.stay, trees(t, root)); diff != "" {
				t.Errorf("trees that stay (-want +got):\n%s", diff)
			}
			if again := collect(t, root, tt.keep, false); again.Changes() {
				t.Errorf("a second one removes %+v", again)
			}
		})
	}
}

// brought makes a generation that has these trees of the active one to be run once, until
// a time, or for good.
func brought(t *testing.T, root *sysroot.Root, run string, until time.Time, trees ...string) {
	t.Helper()
	w, err := transaction.Begin(t.Context(), root, transaction.Options{})
	if err != nil {
		t.Fatal(err)
	}
	next := w.Active().Next(0, now)
	next.Run = run
	for i := range next.Trees {
		if slices.Contains(trees, next.Trees[i].Path()) {
			next.Trees[i].Until = until
		}
	}
	if err := errors.Join(w.Commit(t.Context(), nil, next), w.End()); err != nil {
		t.Fatal(err)
	}
}

// TestCollectRanOnce has trees that were brought to be run once. A dry run tells what the
// collection then does: they go when no generation has them any more, whatever the policy
// keeps.
func TestCollectRanOnce(t *testing.T) {
	until := now.Add(time.Hour)
	for _, tt := range []struct {
		name string
		more func(*testing.T, *sysroot.Root)
		keep int
		at   time.Duration
		want []string // the trees that stay
	}{
		{"before its time", nil, 1, time.Minute, []string{"jq/1", "once/1"}},
		{"the last that was run", nil, 1, 2 * time.Hour, []string{"jq/1"}},
		{"something was installed since", func(t *testing.T, root *sysroot.Root) { brought(t, root, "", until) }, 1, 2 * time.Hour, []string{"jq/1", "once/1"}},
		{"it was installed since", func(t *testing.T, root *sysroot.Root) {
			brought(t, root, "", time.Time{}, "once/1")
			commit(t, root, "jq/1")
			commit(t, root, "jq/1")
		}, 1, 2 * time.Hour, []string{"jq/1", "once/1"}},
		{"generations are kept", nil, 5, 2 * time.Hour, []string{"jq/1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			commit(t, root, "jq/1", "once/1") // which has the tree on the disk
			commit(t, root, "jq/1")
			commit(t, root, "jq/1", "once/1")
			brought(t, root, transaction.RunOnce, until, "once/1")
			for _, id := range []int{1, 2, 3} { // no generation has it for good
				if err := os.RemoveAll(root.Store().Path(layout.GenerationPath(id))); err != nil {
					t.Fatal(err)
				}
			}
			if tt.more != nil {
				tt.more(t, root)
			}
			o := Options{Root: root, Keep: tt.keep, Policy: Policy{Versions: 2, Since: 30 * 24 * time.Hour}, Now: now.Add(tt.at), DryRun: true}
			would, err := Collect(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := Collect(t.Context(), o); err != nil || cmp.Diff(would, again) != "" {
				t.Errorf("a second dry run says something else: %+v, %v", again, err)
			}
			o.DryRun = false
			did, err := Collect(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(would, did); diff != "" {
				t.Errorf("(-dry run +collection):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, trees(t, root)); diff != "" {
				t.Errorf("the trees (-want +have):\n%s", diff)
			}
			if result, err := Collect(t.Context(), o); err != nil || result.Changes() {
				t.Errorf("a second collection: %+v, %v", result, err)
			}
		})
	}
}

func TestCollectIsRefused(t *testing.T) {
	root := newRoot(t)
	if _, err := Collect(t.Context(), Options{Root: root}); err == nil || err.Error() != "keep 0 generations: expected 1 or more" {
		t.Errorf("the error is %v", err)
	}
	if result := collect(t, root, 1, false); result.Changes() {
		t.Errorf("without a store: %+v", result)
	}
	commit(t, root, "jq/1")
	commit(t, root, "jq/2")
	commit(t, root, "jq/3")
	manifest := root.Store().Path(layout.ManifestPath("jq", "3"))
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ content, err string }{
		{"", "generation 3 has jq=3, whose manifest " + manifest + " is lost; nothing was removed, because it is unknown what this tree uses: run hashpkg verify --repair --from the package"},
		{"{", "; nothing was removed, because it is unknown what this tree uses; run hashpkg verify --repair"},
	} {
		if err := os.Remove(manifest); err != nil {
			t.Fatal(err)
		}
		if tt.content != "" {
			text = []byte(tt.content)
			if err := os.WriteFile(manifest, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, dryRun := range []bool{true, false} {
			_, err := Collect(t.Context(), Options{Root: root, Keep: 1, DryRun: dryRun})
			if err == nil || !strings.HasSuffix(err.Error(), tt.err) {
				t.Errorf("the manifest is %q: the error is %v, want %s", tt.content, err, tt.err)
			}
		}
		if _, err := os.Lstat(root.Store().Path("jq/1")); err != nil {
			t.Errorf("a tree was removed: %v", err)
		}
		if tt.content == "" {
			if err := os.WriteFile(manifest, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCollectClosures has a closure object, of which programs of the system need one in a tree of
// no generation: it stays, with the libraries that it leads to, as long as such a program does, and
// no policy keeps it then.
func TestCollectClosures(t *testing.T) {
	root := newRoot(t)
	commit(t, root, "jq/1")
	commit(t, root, "jq/2")
	commit(t, root, "jq/3")
	closure, bytes, err := record.ClosureTree(&elfedit.Closure{
		Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64, Needed: []string{"/var/sys/jq/1/own"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := transaction.Begin(t.Context(), root, transaction.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.Staging().Add(strings.NewReader(string(bytes)), int64(len(bytes)))
	if err := errors.Join(err, w.Commit(t.Context(), []*record.Manifest{closure}, w.Active().Next(0, now)), w.End()); err != nil {
		t.Fatal(err)
	}
	frozen := record.PackageEdits{
		Layout: layout.FormatVersion, Key: pkginfo.Key{Format: deb.Name, ID: "x:amd64"}, Package: "x",
		Files: []record.EditedFile{{
			Path: "/usr/bin/x", Source: digest.Of([]byte("x")),
			Applied: []record.AppliedEdit{{Object: digest.Of([]byte("y")), Patch: &record.Patch{}, Edits: []record.EditRecord{{
				Kind: record.EditNeeded, To: []string{"/var/sys/" + layout.TreePath(closure.Name, closure.Tree) + "/" + layout.ClosureFile},
			}}}},
		}},
	}
	object := layout.TreePath(closure.Name, closure.Tree)
	for _, step := range []struct {
		what string
		set  *record.PackageEdits
		gone []string
		stay []string
	}{
		{"a program needs it", &frozen, []string{"jq/2"}, []string{object, "jq/1", "jq/3"}},
		{"none does", &record.PackageEdits{Key: frozen.Key}, []string{object, "jq/1"}, []string{"jq/3"}},
	} {
		if err := root.SetEdits([]*record.PackageEdits{step.set}); err != nil {
			t.Fatal(err)
		}
		// As long as a policy says, everything stays that one may want to go back to: jq, and no object.
		kept, err := Collect(t.Context(), Options{Root: root, Keep: 1, Policy: Policy{OlderThan: time.Hour}, Now: now, DryRun: true})
		if err != nil || slices.ContainsFunc(kept.Kept, func(k TreeKept) bool { return k.Name == closure.Name }) {
			t.Errorf("%s: the policy keeps %+v, %v", step.what, kept, err)
		}
		var gone []string
		for _, n := range collect(t, root, 1, false).Trees {
			gone = append(gone, n.Name+"/"+n.Tree)
		}
		if diff := cmp.Diff(step.gone, gone); diff != "" {
			t.Errorf("%s: what goes (-want +have):\n%s", step.what, diff)
		}
		if diff := cmp.Diff(step.stay, trees(t, root)); diff != "" {
			t.Errorf("%s: what stays (-want +have):\n%s", step.what, diff)
		}
	}
}

// TestCollectLastUpgrade has the version that the last upgrade replaced go, or not.
func TestCollectLastUpgrade(t *testing.T) {
	generations := [][]string{{"a/1", "b/1", "c/1"}, {"a/2", "b/1", "c/1"}, {"a/2", "b/2", "c/1"}, {"a/2", "b/2"}, {"a/2", "b/2", "d/1"}}
	for _, tt := range []struct {
		name   string
		more   [][]string
		before func(*sysroot.Root) error
		policy Policy
		want   []string // with the last versions
		stay   []string
	}{
		{"no version is to stay", nil, nil, Policy{}, []string{"b/1 by 2"}, []string{"a/2", "b/2", "d/1"}},
		{"one may", nil, nil, Policy{Versions: 1}, nil, []string{"a/2", "b/1", "b/2", "d/1"}},
		{"the policy has it anyway", nil, nil, Policy{Versions: 1, Since: 99 * 24 * time.Hour}, nil, []string{"a/1", "a/2", "b/1", "b/2", "c/1", "d/1"}},
		{"something else keeps it", nil, func(root *sysroot.Root) error {
			return root.SetPins([]record.Pin{{Program: "/usr/bin/x", Library: "b", Version: "1", Tree: "1"}})
		}, Policy{}, nil, []string{"a/2", "b/1", "b/2", "d/1"}},
		{"another one stays", [][]string{{"a/2", "b/3"}, {"a/2", "b/3", "d/1"}}, func(root *sysroot.Root) error {
			return root.SetPins([]record.Pin{{Program: "/usr/bin/x", Library: "b", Version: "1", Tree: "1"}})
		}, Policy{Versions: 1}, nil, []string{"a/2", "b/1", "b/3", "d/1"}},
		{"the active generation has another one", [][]string{{"a/2", "b/2", "b/3"}, {"a/2", "b/2", "b/3", "d/1"}}, nil, Policy{}, []string{"a/1 by 2"}, []string{"a/2", "b/2", "b/3", "d/1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			for i, list := range append(slices.Clone(generations), tt.more...) {
				commitAt(t, root, now.Add(time.Duration(i)*time.Hour), list...)
			}
			if tt.before != nil {
				if err := tt.before(root); err != nil {
					t.Fatal(err)
				}
			}
			for _, dryRun := range []bool{true, false} {
				var warned []TreeReplaced
				r, err := Collect(t.Context(), Options{
					Root: root, Keep: 1, Policy: tt.policy, Now: now.Add(24 * time.Hour), DryRun: dryRun,
					Warn: func(r TreeReplaced) { warned = append(warned, r) },
				})
				if err != nil {
					t.Fatal(err)
				}
				var last []string
				for _, l := range r.Last {
					last = append(last, l.Name+"/"+l.Tree+" by "+l.By)
				}
				if diff := cmp.Diff(tt.want, last); diff != "" || len(warned) != len(last) {
					t.Errorf("dry run %v warns of %v; the last versions (-want +have):\n%s", dryRun, warned, diff)
				}
			}
			if diff := cmp.Diff(tt.stay, trees(t, root)); diff != "" {
				t.Errorf("what stays (-want +have):\n%s", diff)
			}
		})
	}
}

// TestCollectDropsLinkages has the index of symbols be of what is there.
func TestCollectDropsLinkages(t *testing.T) {
	root := newRoot(t)
	commit(t, root, "a/1", "b/1")
	commit(t, root, "b/1")
	commit(t, root, "b/1", "c/1")
	linkage := func(tree string) *record.Linkage { return &record.Linkage{Identity: digest.Of([]byte(tree))} }
	const index = layout.IndexDir + "/symbols"
	root.Store().PutIndex(index, record.EncodeLinkages([]*record.Linkage{linkage("a/1"), linkage("b/1")}))
	for _, dryRun := range []bool{true, false} {
		collect(t, root, 1, dryRun)
		b, err := root.Store().Dir().ReadFile(index, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		want := []*record.Linkage{linkage("a/1"), linkage("b/1")}
		if !dryRun {
			want = want[1:]
		}
		if have, err := record.DecodeLinkages(b); err != nil || !cmp.Equal(want, have) {
			t.Errorf("dry run %v: %d linkages, %v", dryRun, len(have), err)
		}
	}
}
