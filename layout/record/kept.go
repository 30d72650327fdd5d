package record

import (
	"fmt"
	"path"

	"github.com/hashpkg/hashpkg/layout"
)

// KeptPath is the path, relative to the prefix, of the record of programs outside of packages
// whose trees stay.
const KeptPath = layout.SystemDir + "/kept.json"

// Kept is the record of programs that no package has, and whose trees stay.
type Kept struct {
	Layout int        `json:"layout"` // FormatVersion
	List   []KeptFile `json:"kept"`   // sorted by path
}

// KeptFile is one of them, or a directory of them.
type KeptFile struct {
	Path string `json:"path"` // absolute in the root
	// Trees are those that it led to when somebody named it: they stay where it cannot be looked
	// at any more.
	Trees []string `json:"trees"`
}

func (k *Kept) check() error {
	for _, f := range k.List {
		if !path.IsAbs(f.Path) {
			return fmt.Errorf("%q is no absolute path", f.Path)
		}
	}
	return nil
}
