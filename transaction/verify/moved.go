package verify

import (
	"fmt"
	"syscall"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Places knows by which paths a store can be reached.
type Places struct {
	root  *sysroot.Root
	known map[string]bool
}

// NewPlaces returns the places of a root's store.
func NewPlaces(root *sysroot.Root) *Places {
	return &Places{root, map[string]bool{root.Prefix(): true}}
}

// Moved returns the damage of a tree that was made when the store stood elsewhere: its files
// load others from there. It is nil when the store can be reached there, by a link or a mount
// for instance.
func (p *Places) Moved(m *record.Manifest) *store.Damage {
	isTree := func(tree string) bool {
		name, dir := layout.SplitTreePath(tree)
		return p.root.Store().Dir().Exists(layout.ManifestPath(name, dir))
	}
	for _, prefix := range graph.Prefixes(m, isTree) {
		if !p.isHere(prefix) {
			tree := layout.TreePath(m.Name, m.Tree)
			return &store.Damage{
				Kind: store.DamagePrefix, Package: m.Spec(), Tree: tree, Path: p.root.Store().Path(tree),
				What: fmt.Sprintf("was made for the prefix %s, and loads libraries from there", prefix),
			}
		}
	}
	return nil
}

// isHere reports whether an absolute path in the root leads to the store.
func (p *Places) isHere(prefix string) bool {
	here, known := p.known[prefix]
	if !known {
		there, err := p.root.Stat(prefix + "/" + layout.Private)
		own, ownErr := p.root.Store().Dir().Lstat(layout.Private)
		if err == nil && ownErr == nil {
			st, ok := there.Sys().(*syscall.Stat_t)
			here = ok && uint64(st.Dev) == uint64(own.Dev) && st.Ino == own.Ino //nolint:unconvert // not on every architecture
		}
		p.known[prefix] = here
	}
	return here
}
