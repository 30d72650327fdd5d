package record

import (
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
)

// ClosureTree returns the manifest of a tree that has a closure object, and nothing else, for
// programs of the system. It follows from what the object needs, and so do its name and its
// bytes, which are returned, too.
func ClosureTree(c *elfedit.Closure) (*Manifest, []byte, error) {
	b, err := c.Bytes()
	if err != nil {
		return nil, nil, err
	}
	d := digest.Of(b)
	id := d.String()[:32]
	m := &Manifest{
		Layout: layout.FormatVersion, Name: layout.ClosuresName, Version: id, Tree: id, Identity: d, Origin: OriginClosure,
		Architecture: "all",
		Summary:      "what frozen programs load that have no room for the list",
		Files:        []File{{Path: layout.ClosureFile, Type: TypeFile, Mode: 0o644, Object: d, Source: d, Size: int64(len(b)), Closure: c}},
	}
	m.Index()
	return m, b, nil
}
