package verify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// Bindings compares the notes of a tree's programs, which say to which files these are
// bound, with the trees of these files. What the files have is compared with the manifests
// of these trees by [Trees]. manifest returns a tree's manifest by its path; its error wraps
// [store.ErrNoManifest] for one that is not there.
func Bindings(s *store.Store, prefix string, m *record.Manifest, manifest func(tree string) (*record.Manifest, error)) (damaged []store.Damage) {
	for i := range m.Files {
		f := &m.Files[i]
		for _, e := range f.Edits {
			if e.Kind != record.EditNote {
				continue
			}
			for _, line := range e.To {
				b, ok := elfedit.ParseBound(line)
				below, isBelow := strings.CutPrefix(b.Path, prefix+"/")
				parts := strings.SplitN(below, "/", 3)
				if !ok || !isBelow || len(parts) < 3 { // of a store that stood elsewhere: see [Places]
					continue
				}
				what := ""
				to, err := manifest(layout.TreePath(parts[0], parts[1]))
				if errors.Is(err, store.ErrNoManifest) {
					what = fmt.Sprintf("is bound to %s, and there is no such tree", b.Path)
				} else if err != nil {
					what = fmt.Sprintf("is bound to %s, and what is known of its tree cannot be read: %v", b.Path, err)
				} else if is := to.Lookup(parts[2]); is == nil {
					what = fmt.Sprintf("is bound to %s, and its tree has no such file", b.Path)
				} else if is.Object.String() != b.Digest {
					what = fmt.Sprintf("is bound to %s with the digest %s, and there it is %s", b.Path, b.Digest, is.Object)
				}
				if what != "" {
					tree := layout.TreePath(m.Name, m.Tree)
					damaged = append(damaged, store.Damage{
						Kind: store.DamageBinding, Package: m.Spec(), Tree: tree, File: f.Path, Path: s.Path(tree + "/" + f.Path),
						What: what,
					})
				}
			}
		}
	}
	return damaged
}
