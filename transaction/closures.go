package transaction

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// placeClosures puts the closure objects into the store that programs are going to need, or
// need and have lost, each in a tree of its own. They are durable when it returns.
func placeClosures(root *sysroot.Root, decisions []*programs.Decision) (err error) {
	lost := map[string]*record.Manifest{}
	for _, d := range decisions {
		if m := d.Closure; m != nil && d.Left == "" && d.Fault == nil && !HasClosure(root, m.Tree) {
			lost[m.Tree] = m
		}
	}
	if len(lost) == 0 {
		return nil
	}
	staging, err := root.Store().Begin(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staging.Discard()) }()
	for _, m := range lost {
		if err := placeClosure(root.Store(), staging, m); err != nil {
			return fmt.Errorf("make the list of what programs load, %s: %w", m.Tree, err)
		}
	}
	return root.Store().Sync()
}

// placeClosure puts one in place: its object, its tree, its manifest, in this order, each by
// one rename. Killed between them, the next one that needs it goes on.
func placeClosure(s *store.Store, staging *store.Staging, m *record.Manifest) error {
	b, err := m.Files[0].Closure.Bytes()
	if err != nil {
		return err
	}
	file := &m.Files[0]
	wanted := func(d digest.Digest) bool { return d == file.Object }
	if _, _, err := staging.Spare(bytes.NewReader(b), wanted); err != nil {
		return err
	}
	inWay := func(name string) error {
		return fmt.Errorf("%s is in the way: run hashpkg verify --repair", s.Path(name))
	}
	if err := staging.PutObjects([]store.NewObject{{Digest: file.Object, Mode: file.Mode.ObjectMode()}}, inWay); err != nil {
		return err
	}
	whole := func(*record.File) bool { return true }
	if path := layout.TreePath(m.Name, m.Tree); s.Dir().Exists(path) {
		err = staging.Mend(m, []string{layout.ClosureFile}, whole, func(name, _ string) error { return inWay(name) })
	} else {
		err = staging.Mend(m, []string{"."}, whole, func(name, _ string) error { return inWay(name) })
	}
	if err != nil {
		return err
	}
	record, err := m.Encode()
	if err != nil {
		return err
	}
	return staging.PutRecord(layout.ManifestPath(m.Name, m.Tree), record, inWay)
}

// lostClosures reports whether the store has lost a closure object that programs of a package
// need.
func lostClosures(root *sysroot.Root, p *record.SystemPackage) bool {
	return slices.ContainsFunc(p.Closures, func(tree string) bool { return !HasClosure(root, tree) })
}

// ClosureHint says how a closure object comes back of which nothing is left.
const ClosureHint = "run hashpkg sync, which makes it again"

// HasClosure reports whether the store has the closure object of a tree, with its manifest.
func HasClosure(root *sysroot.Root, tree string) bool {
	dir := root.Store().Dir()
	return dir.Exists(layout.TreePath(layout.ClosuresName, tree)+"/"+layout.ClosureFile) && dir.Exists(layout.ManifestPath(layout.ClosuresName, tree))
}
