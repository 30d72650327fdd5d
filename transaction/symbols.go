package transaction

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/advice"
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
		found[i], err = s.of(requests[i])
		return err
	})
	return found, err
}

func (s *symbols) of(r plan.SymbolsRequest) (found plan.Symbols, err error) {
	exports := func(b []byte) (err error) {
		found.Exports, err = hashed(elfedit.Exports(b))
		return err
	}
	own := func(b []byte) (err error) {
		found.Own, err = hashed(elfedit.SelfBindable(b))
		return err
	}
	switch {
	case r.File == nil:
		f, err := s.root.Open(r.Path)
		if err != nil {
			return found, err
		}
		err = mapped.File(f, exports)
		return found, errors.Join(err, f.Close())
	case !r.Installed:
		err = s.from.Map(r.File.Source, func(b []byte) error {
			if r.Own {
				if err := own(b); err != nil {
					return err
				}
			}
			return exports(b)
		})
	default:
		err = s.from.store.MapObject(r.File.Object, func(b []byte) error {
			if r.Own {
				packaged := b
				if r.File.Patch != nil {
					if packaged, err = rewrite.Undo(b, r.File.Patch, r.File.Source); err != nil {
						return advice.Errorf("object %s is damaged: %w; run hashpkg verify --repair", r.File.Object, err)
					}
				}
				if err := own(packaged); err != nil {
					return err
				}
			}
			return exports(b)
		})
	}
	if err != nil {
		return found, fmt.Errorf("read the symbols of %s: %w", r.File.Path, err)
	}
	return found, nil
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
