package transaction

import (
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// InstalledFiles returns the packaged bytes of the private trees of a root's active generation. A tree whose
// manifest cannot be read has none.
func InstalledFiles(root *sysroot.Root) (*Packaged, error) {
	p := NewPackaged(root.Store())
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Origin != record.OriginPrivate {
			continue
		}
		if m, err := root.Store().Manifest(t.Name, t.Dir); err == nil {
			p.Learn(m)
		}
	}
	return p, nil
}
