package transaction

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/sysroot"
)

// rootSymbols is [programs.Symbols] of a root.
type rootSymbols struct{ root *sysroot.Root }

// Exports implements [programs.Symbols].
func (s *rootSymbols) Exports(path string) (found []elfedit.Symbol, err error) {
	f, err := s.root.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the symbols of %s: %w", path, err)
	}
	err = mapped.File(f, func(b []byte) (err error) {
		found, err = elfedit.Exports(b)
		return err
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the symbols of %s: %w", path, err)
	}
	return found, nil
}

// Bound implements [programs.Symbols].
func (s *rootSymbols) Bound(path string) ([]elfedit.Symbol, error) {
	f, err := s.fileOf(path)
	if f == nil || f.SelfBound() == nil || err != nil {
		return nil, err
	}
	var bound []elfedit.Symbol
	err = s.root.Store().MapObject(f.Object, func(b []byte) error {
		packaged, err := rewrite.Undo(b, f.Patch, f.Source)
		if err != nil {
			return err
		}
		bound, err = elfedit.SelfBindable(packaged)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find what %s is bound to: %w", path, err)
	}
	left := f.Edits[slices.IndexFunc(f.Edits, func(e record.EditRecord) bool { return e.Kind == record.EditSelf })].From
	return slices.DeleteFunc(bound, func(b elfedit.Symbol) bool {
		return slices.Contains(left, strings.TrimSuffix(b.Name+"@"+b.Version, "@"))
	}), nil
}

// fileOf returns the file of a tree's manifest that a path of the root leads to; nil where that is no
// file of a tree.
func (s *rootSymbols) fileOf(path string) (*record.File, error) {
	prefix, err := s.root.RealPrefix()
	if err != nil {
		return nil, err
	}
	final, err := s.root.Final(path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	below, inTrees := strings.CutPrefix(final, prefix+"/")
	parts := strings.SplitN(below, "/", 3)
	if !inTrees || len(parts) < 3 || layout.CheckName(parts[0]) != nil {
		return nil, nil
	}
	m, err := s.root.Store().Manifest(parts[0], parts[1])
	if err != nil {
		return nil, err
	}
	return m.Resolve(parts[2]), nil
}
