package apply

import (
	"context"
	"errors"
	"io"

	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/sysroot"
)

// rootFiles are the files that the root's own package manager has brought: a file of a closure may stand at
// its path there. It implements [objects.Source].
type rootFiles struct{ root *sysroot.Root }

// Name implements [objects.Source].
func (rootFiles) Name() string { return "the root's own files" }

// Fetch implements [objects.Source].
func (s rootFiles) Fetch(ctx context.Context, wants []objects.Want, got func(objects.Want, io.Reader) error) error {
	for _, w := range wants {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.take(w, got); err != nil {
			return err
		}
	}
	return nil
}

func (s rootFiles) take(w objects.Want, got func(objects.Want, io.Reader) error) error {
	if size, is := s.root.FileSize("/" + w.Path); !is || size != w.Size {
		return nil
	}
	f, err := s.root.Open("/" + w.Path)
	if err != nil {
		return nil // then it comes from elsewhere
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm()&0o004 == 0 {
		return nil // the store is for everybody
	}
	if err := got(w, f); !errors.Is(err, objects.ErrWrong) {
		return err
	}
	return nil // another file of the same size
}
