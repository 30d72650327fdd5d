package transaction

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/sysroot"
)

// symbols reads the symbols of files, for a plan.
type symbols struct {
	ctx  context.Context // of the transaction that plans
	root *sysroot.Root
	from *packagedFiles
}

// read is [plan.Input.Symbols].
func (s *symbols) read(requests []plan.SymbolsRequest) ([]plan.Symbols, error) {
	found := make([]plan.Symbols, len(requests))
	err := eachInParallel(s.ctx, len(requests), func(_ context.Context, i int) (err error) {
		r := requests[i]
		switch {
		case r.File == nil:
			if found[i], err = s.ofRoot(r.Path); err != nil {
				found[i] = plan.Symbols{Unread: fmt.Sprintf("read the symbols of %s: %v", r.Path, err)}
			}
			return nil
		case r.Installed:
			if found[i], err = s.installed(r); err != nil {
				found[i] = plan.Symbols{Unread: fmt.Sprintf("read the symbols of %s: %v", r.File.Path, err)}
			}
			return nil
		}
		if found[i], err = s.packaged(r.File.Source, r.Own); err != nil {
			return fmt.Errorf("read the symbols of %s: %w", r.File.Path, err)
		}
		return nil
	})
	return found, err
}

func (s *symbols) ofRoot(path string) (found plan.Symbols, err error) {
	f, err := s.root.Open(path)
	if err != nil {
		return found, err
	}
	err = mapped.File(f, func(b []byte) error { return read(&found, b, false) })
	return found, errors.Join(err, f.Close())
}

// packaged reads the symbols of a packaged file, which was compared with its digest.
func (s *symbols) packaged(source digest.Digest, own bool) (found plan.Symbols, err error) {
	err = s.from.Map(source, func(b []byte) error { return read(&found, b, own) })
	return found, err
}

// installed reads the symbols of a file of a tree. What an edit changes is no symbol, so that
// it is the object that is read, unless relocations have to be as they were packaged. What damaged bytes
// say would be kept, and so they are compared with their digest.
func (s *symbols) installed(r plan.SymbolsRequest) (found plan.Symbols, err error) {
	err = s.from.store.MapObject(r.File.Object, func(b []byte) error {
		packaged := b
		if !s.from.isWhole(r.File.Object, b) {
			err = digest.ErrMismatch
		} else if r.Own && r.File.Patch != nil {
			packaged, err = rewrite.Undo(b, r.File.Patch, r.File.Source)
		}
		if err != nil {
			return fmt.Errorf("object %s is damaged: %w", r.File.Object, err)
		}
		return read(&found, packaged, r.Own)
	})
	return found, err
}

func read(found *plan.Symbols, b []byte, own bool) (err error) {
	if found.Exports, err = hashed(elfedit.Exports(b)); err == nil && own {
		found.Own, err = hashed(elfedit.SelfBindable(b))
	}
	return err
}

// hashed returns what stands for symbols. A file whose symbols cannot be read has none: no
// loader loads it.
func hashed(symbols []elfedit.Symbol, err error) ([]plan.Symbol, error) {
	var format *elfedit.FormatError
	if errors.As(err, &format) {
		return []plan.Symbol{}, nil
	}
	return plan.SymbolsOf(symbols), err
}
