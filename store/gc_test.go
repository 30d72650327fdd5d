package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

var toolNames = []string{layout.ManifestPath("tool", "1.0"), "tool/1.0", "tool/default", layout.GenerationPath(1)}

func TestTakeOut(t *testing.T) {
	undo := map[string]func(*store.Store, *store.Staging) error{
		"Undo":    func(_ *store.Store, staging *store.Staging) error { return staging.Undo() },
		"Discard": func(_ *store.Store, staging *store.Staging) error { return staging.Discard() },
		"PutBack": func(_ *store.Store, staging *store.Staging) error {
			return staging.PutBack(append(toolNames, "unknown/1.0"))
		},
		"Recover": func(s *store.Store, _ *store.Staging) error { return s.Recover(nil) },
	}
	for who, f := range undo {
		s, _ := installed(t)
		before := listing(t, s.Path("."))
		staging, err := s.Begin(nil)
		must(t, err)
		must(t, staging.TakeOut(append(slices.Clone(toolNames), "missing/1.0")))
		for _, name := range toolNames {
			if at := staging.Taken(name); s.Dir().Exists(name) || at == "" || !s.Dir().Exists(at) {
				t.Errorf("%s was taken out to %q, which is there: %v", name, at, s.Dir().Exists(at))
			}
		}
		if at := staging.Taken("missing/1.0"); at != "" {
			t.Errorf("what was not there is at %q", at)
		}
		if err := staging.Sweep(t.Context(), nil, nil); err == nil {
			t.Error("Sweep deletes what can still be put back")
		}
		must(t, f(s, staging))
		if who == "PutBack" && staging.Taken("tool/1.0") != "" {
			t.Error("Taken says where something was that is back")
		}
		if who != "Recover" {
			must(t, staging.Discard())
		}
		if after := listing(t, s.Path(".")); after != before {
			t.Errorf("%s makes\n%sof\n%s", who, after, before)
		}
	}
}

func TestSweep(t *testing.T) {
	s, m := installed(t)
	staging := beginIn(t, s, nil)
	want, err := s.DiskUse([]string{layout.ObjectsDir})
	must(t, err)
	all, err := s.DiskUse([]string{"tool/1.0", layout.ObjectsDir})
	if err != nil || all <= want {
		t.Errorf("with the tree, %d bytes are used, and without its links %d (%v)", all, want, err)
	}
	must(t, staging.TakeOut(toolNames))
	must(t, staging.PutBack([]string{layout.GenerationPath(1)}))
	must(t, staging.Forget())
	used := map[digest.Digest]bool{}
	for _, f := range m.Files {
		if f.Path == "usr/bin/tool" {
			used[f.Object] = true
		}
	}
	objects, err := s.Unreferenced(used)
	must(t, err)
	if len(objects) != 3 {
		t.Errorf("%q are not referred to", objects)
	}
	steps := 0
	must(t, staging.Sweep(t.Context(), objects, func(done int) {
		if steps++; done != steps {
			t.Errorf("after %d names, %d are said to be gone", steps, done)
		}
	}))
	if steps != 6 {
		t.Errorf("%d names are gone, and should be 6", steps)
	}
	left, err := s.Unreferenced(nil)
	must(t, err)
	for name, want := range map[string]bool{"tool": false, layout.ManifestsDir + "/tool": false, layout.GenerationPath(1): true} {
		if s.Dir().Exists(name) != want {
			t.Errorf("%s is there: %v", name, !want)
		}
	}
	if len(left) != 1 {
		t.Errorf("the objects %q are left", left)
	}
	for _, name := range []string{"tool/1.0", layout.ObjectsDir, "x"} {
		if err := staging.Sweep(t.Context(), []string{name}, nil); err == nil {
			t.Errorf("Sweep takes %s for an object", name)
		}
	}
}

// TestPlantedTree has a record of a tree whose package's directory is a link.
func TestPlantedTree(t *testing.T) {
	out := outside(t)
	s, _ := installed(t)
	link(t, out, s.Path("evil"))
	write(t, s.Path(layout.ManifestPath("evil", "1.0")), "{}")
	before := listing(t, s.Path("."))
	staging := beginIn(t, s, nil)
	names := []string{layout.ManifestPath("evil", "1.0"), "evil/1.0", "evil/default"}
	if err := staging.TakeOut(names); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("TakeOut gives %v", err)
	}
	must(t, staging.Discard())
	must(t, s.Recover(nil))
	if after := listing(t, s.Path(".")); after != before {
		t.Errorf("TakeOut makes\n%sof\n%s", after, before)
	}
	if _, err := s.DiskUse(names); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("DiskUse gives %v", err)
	}
	// Its record is gone: the link stays, and holds nobody up.
	staging = beginIn(t, s, nil)
	must(t, staging.TakeOut(names[:1]))
	must(t, staging.Forget())
	must(t, staging.Sweep(t.Context(), nil, nil))
	if !s.Dir().Exists("evil") {
		t.Error("somebody's link went")
	}
}
