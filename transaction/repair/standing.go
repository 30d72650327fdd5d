package repair

import (
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
)

// What a manifest says and its tree's identity does not, to what files are bound of their own and
// which notes they have, is told by the files, when the manifest is lost.

// standing returns what has the bytes of files of trees whose manifests are lost: the tree, or
// the object that a note of a program names.
func (r *repairer) standing(lost map[string]lostManifest) transaction.Standing {
	noted := r.noted()
	return func(m *record.Manifest, f *record.File, use func([]byte) bool) {
		tree := layout.TreePath(m.Name, m.Tree)
		if l, ok := lost[tree]; !ok || l.tree.Identity != m.Identity {
			return
		}
		done := false
		file := tree + "/" + f.Path
		for _, name := range append([]string{file}, noted[file]...) {
			if !done {
				mapEdited(r.inStore(name), nil, func(b []byte) { done = use(b) })
			}
		}
	}
}

// noted returns the objects that notes of programs name, below the prefix, by where they say that
// these are.
func (r *repairer) noted() map[string][]string {
	noted := map[string][]string{}
	for _, m := range r.manifests {
		for i := range m.Files {
			for _, e := range m.Files[i].Edits {
				if e.Kind != record.EditNote {
					continue
				}
				for _, line := range e.To {
					b, _ := elfedit.ParseBound(line)
					file, ok := strings.CutPrefix(b.Path, r.Root.Prefix()+"/")
					d, err := digest.Parse(b.Digest)
					if object := layout.ObjectPath(d); ok && err == nil && !slices.Contains(noted[file], object) {
						noted[file] = append(noted[file], object)
					}
				}
			}
		}
	}
	return noted
}

// replanTwins makes lost manifests again from those of other trees of the same identity: they
// differ in what their files are bound to.
func (r *repairer) replanTwins(lost map[string]lostManifest) error {
	for _, p := range sortedKeys(lost) {
		t := lost[p].tree
		if t.Origin != record.OriginPrivate || !r.inScope(p) {
			continue
		}
		for _, other := range sortedKeys(r.manifests) {
			twin := r.manifests[other]
			if _, isLost := lost[other]; isLost || twin.Name != t.Name || twin.Identity != t.Identity {
				continue
			}
			m, err := transaction.ReplanTwin(r.Root, twin, t.Dir, r.architecture(), r.standing(lost))
			if err != nil {
				r.note("the manifest of %s is not made again from that of %s: %v", p, other, err)
				continue
			}
			if err := r.putManifest(m, lost[p].what, "made again from that of "+other+", which has the same identity"); err != nil {
				return err
			}
			delete(lost, p)
			break
		}
	}
	return nil
}
