package transaction

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// TreeFiles returns what reads files of trees, to make others from: of the trees that known
// has by their paths, or else the store. staged, which may be nil, has objects before the store has
// them.
func TreeFiles(s *store.Store, known map[string]*record.Manifest, staged packagedBytes) plan.TreeFile {
	return func(tree, file string, use func([]byte) error) error {
		m := known[tree]
		if m == nil {
			var err error
			if m, err = s.Manifest(layout.SplitTreePath(tree)); err != nil {
				return err
			}
			known[tree] = m
		}
		f := m.Resolve(file)
		if f == nil || f.Type != record.TypeFile {
			return fmt.Errorf("%s of %s: %w", file, m.Spec(), fs.ErrNotExist)
		}
		checked := func(b []byte) error {
			if digest.Of(b) != f.Object {
				return advice.Errorf("object %s is damaged: %w; run hashpkg verify --repair", f.Object, digest.ErrMismatch)
			}
			return use(b)
		}
		if staged != nil {
			if err := staged.Map(f.Object, checked); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return s.MapObject(f.Object, checked)
	}
}
