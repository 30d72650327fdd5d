package store_test

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

func has(*record.File) bool { return true }

// unmoved is for what nothing is in the way of.
func unmoved(t *testing.T) func(name string) error {
	return func(name string) error {
		t.Errorf("%s is moved away", name)
		return nil
	}
}

func TestMend(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, tree string)
		paths  []string
		moved  []string // paths of the tree that were in the way
	}{
		"files": {func(t *testing.T, tree string) {
			must(t, os.Remove(tree+"/usr/bin/tool"))
			must(t, os.Remove(tree+"/usr/lib/own"))
			link(t, "x", tree+"/bin/tool")
			must(t, os.Remove(tree+"/usr/bin/pipe"))
		}, []string{"usr/bin/tool", "usr/lib/own", "bin/tool", "usr/bin/pipe"}, nil},
		"a directory": {func(t *testing.T, tree string) { must(t, os.RemoveAll(tree+"/usr/bin")) }, []string{"usr/bin"}, nil},
		"a file for a directory": {func(t *testing.T, tree string) {
			must(t, os.RemoveAll(tree+"/usr/bin"))
			write(t, tree+"/usr/bin", "x")
		}, []string{"usr/bin"}, []string{"usr/bin"}},
		"a directory for a file": {func(t *testing.T, tree string) {
			must(t, os.Remove(tree+"/bin/tool"))
			write(t, tree+"/bin/tool/x", "x")
		}, []string{"bin/tool"}, []string{"bin/tool"}},
		"a directory with other entries": {func(t *testing.T, tree string) { must(t, os.RemoveAll(tree+"/bin")); link(t, "usr", tree+"/bin") }, []string{"bin"}, []string{"bin"}},
		"a tree":                         {func(t *testing.T, tree string) { must(t, os.RemoveAll(tree)) }, []string{"."}, nil},
		"a package":                      {func(t *testing.T, tree string) { must(t, os.RemoveAll(strings.TrimSuffix(tree, "/1.0"))) }, []string{"."}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := installed(t)
			tree := s.Path("tool/1.0")
			before := listing(t, tree)
			c.damage(t, tree)
			var moved []string
			q := s.Quarantine(time.Unix(0, 0))
			staging := beginIn(t, s, nil)
			must(t, staging.Mend(m, c.paths, has, func(name, at string) error {
				moved = append(moved, at)
				_, err := q.Take(name, "tool/1.0", at)
				return err
			}))
			must(t, staging.Discard())
			if after := listing(t, tree); after != before {
				t.Errorf("the tree was\n%s\nand is\n%s", before, after)
			}
			if !slices.Equal(moved, c.moved) {
				t.Errorf("moved away are %q, want %q", moved, c.moved)
			}
			for _, p := range moved {
				if _, err := os.Lstat(s.Path(layout.QuarantineDir + "/19700101T000000Z-tool-1.0/" + p)); err != nil {
					t.Error(err)
				}
			}
			if _, damaged, err := s.Verify(t.Context(), []*record.Manifest{m}, nil); err != nil || len(damaged) > 0 {
				t.Errorf("Verify gives %+v, %v", damaged, err)
			}
		})
	}
}

func TestPutObjects(t *testing.T) {
	s, m := installed(t)
	f := m.Lookup("usr/bin/tool")
	object := s.Path(layout.ObjectPath(f.Object))
	staging := beginIn(t, s, nil)
	wanted := func(d digest.Digest) bool { return d == f.Object }
	if _, kept, err := staging.Spare(strings.NewReader("other"), wanted); kept || err != nil {
		t.Errorf("other bytes are kept: %v, %v", kept, err)
	}
	list := []store.NewObject{{Digest: f.Object, Mode: f.Mode.ObjectMode()}}
	if err := staging.PutObjects(list, unmoved(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that there is no spare of: %v", err)
	}
	for what, damage := range map[string]func(){
		"other bytes": func() { overwrite(t, object, "TOOL") },
		"missing":     func() { must(t, os.RemoveAll(s.Path(layout.ObjectsDir))) },
		"a link":      func() { link(t, "x", object) },
		"setuid":      func() { must(t, os.Chmod(object, 0o755|fs.ModeSetuid)) },
	} {
		damage()
		if _, kept, err := staging.Spare(strings.NewReader("tool"), wanted); !kept || err != nil {
			t.Fatalf("%s: the bytes are not kept: %v", what, err)
		}
		must(t, staging.PutObjects(list, unmoved(t)))
		b, err := os.ReadFile(object)
		if info, serr := os.Lstat(object); err != nil || serr != nil || string(b) != "tool" || info.Mode() != 0o555 || info.ModTime().Unix() != store.ObjectTime {
			t.Errorf("%s: the object has %q, %v, %v", what, b, info, err)
		}
	}
	must(t, os.Remove(object))
	write(t, object+"/x", "x")
	_, _, err := staging.Spare(strings.NewReader("tool"), wanted)
	must(t, err)
	moved := 0
	must(t, staging.PutObjects(list, func(string) error { moved++; return nil }))
	if b, err := os.ReadFile(object); err != nil || string(b) != "tool" || moved != 1 {
		t.Errorf("in the place of a directory: %q, %v, %d", b, err, moved)
	}
}

func TestQuarantine(t *testing.T) {
	s := prefix(t)
	q := s.Quarantine(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for _, want := range []string{"20260102T030405Z-a-b/x/y", "20260102T030405Z-a-b/z"} {
		write(t, s.Path("a"), "a")
		_, rel, _ := strings.Cut(want, "/")
		to, err := q.Take("a", "a/b", rel)
		if err != nil || to != layout.QuarantineDir+"/"+want {
			t.Errorf("it goes to %s, %v; want %s", to, err, want)
		}
	}
	write(t, s.Path("dir/file"), "a")
	if to, err := q.Take("dir", "whole", ""); err != nil || to != layout.QuarantineDir+"/20260102T030405Z-whole" {
		t.Errorf("a directory goes to %s, %v", to, err)
	}
	write(t, s.Path("a"), "a")
	again := s.Quarantine(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) // of another repair in the same second
	if to, err := again.Take("a", "a/b", "z"); err != nil || to != layout.QuarantineDir+"/20260102T030405Z-a-b-2/z" {
		t.Errorf("the next repair's goes to %s, %v", to, err)
	}
	if info, err := os.Stat(s.Path(layout.QuarantineDir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the quarantine is %v, %v", info, err)
	}
	if _, err := q.Take("none", "a/b", "n"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of what is not there: %v", err)
	}
}

func TestRecoverAside(t *testing.T) {
	s := prefix(t)
	write(t, s.Path(layout.StagingDir+"/t1/journal"), "{")
	write(t, s.Path(layout.StagingDir+"/t2/file"), "x")
	if names, err := s.UnreadableJournals(); err != nil || !slices.Equal(names, []string{layout.StagingDir + "/t1"}) {
		t.Errorf("journals that cannot be read are %q, %v", names, err)
	}
	if err := s.Recover(nil); !errors.Is(err, store.ErrJournal) {
		t.Errorf("Recover gives %v", err)
	}
	q := s.Quarantine(time.Unix(0, 0))
	must(t, s.Recover(func(name string) error {
		_, err := q.Take(name, "staging-t1", "")
		return err
	}))
	left, err := os.ReadDir(s.Path(layout.StagingDir))
	if err != nil || len(left) > 0 {
		t.Errorf("in staging there is %v, %v", left, err)
	}
	if _, err := os.Stat(s.Path(layout.QuarantineDir + "/19700101T000000Z-staging-t1/journal")); err != nil {
		t.Error(err)
	}
}
