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
	// Files are those that were last seen to lead to trees: these stay where the files cannot be looked
	// at any more.
	Files []KeptLead `json:"files"`
}

// KeptLead is a file that leads to trees.
type KeptLead struct {
	Path  string   `json:"path"`
	Trees []string `json:"trees"` // NAME/TREE, sorted
}

func (k *Kept) check() error {
	for _, f := range k.List {
		if !path.IsAbs(f.Path) {
			return fmt.Errorf("%q is no absolute path", f.Path)
		}
	}
	return nil
}
