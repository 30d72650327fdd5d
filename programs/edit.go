package programs

import (
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
)

// Undo returns the packaged bytes of an edited file, and the edit that its bytes
// have: nil, with data itself, when they have none of the recorded ones.
func Undo(f *record.EditedFile, data []byte) (packaged []byte, current *record.AppliedEdit, err error) {
	current = f.With(digest.Of(data))
	if current == nil {
		return data, nil, nil
	}
	if packaged, err = rewrite.Undo(data, current.Patch, f.Source); err != nil {
		return nil, nil, err
	}
	return packaged, current, nil
}
