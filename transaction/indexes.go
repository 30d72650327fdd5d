package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/sandbox"
	"github.com/hashpkg/hashpkg/layout/generate"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Indexes makes the indexes of trees of the active generation, see package generate, as these are where the packages'
// files are all of /usr, as in an image: their bytes, by their paths relative to the root. It changes nothing. That
// a program fails for want of something in the trees, as it would on every machine, is said in faults; that an index cannot be
// made on this machine is an error.
func Indexes(ctx context.Context, root *sysroot.Root, lock sysroot.LockOptions, trees []*record.Manifest) (indexes map[string][]byte, faults []string, err error) {
	tasks, err := generate.Tasks(trees, noHost{})
	if err != nil || len(tasks) == 0 {
		return nil, nil, err
	}
	w, err := Begin(ctx, root, Options{Lock: lock, Generate: true})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	if err := w.stageRelease(); err != nil {
		return nil, nil, err
	}
	indexes = map[string][]byte{}
	made := map[digest.Digest][]byte{}
	g := &generating{
		Writer: w, next: w.active, manifests: map[string]*record.Manifest{},
		keep: func(b []byte) error {
			made[digest.Of(b)] = bytes.Clone(b)
			return nil
		},
	}
	s := &scene{generating: g, view: view.Merge(view.Parts{Trees: trees}), whole: true}
	defer s.close()
	for i := range tasks {
		t := &tasks[i]
		r := s.make(ctx, t)
		if cause := ctx.Err(); cause != nil {
			return nil, nil, cause
		}
		var fault *sandbox.Error
		switch {
		case errors.Is(r.fault, errNothingMade), errors.As(r.fault, &fault) && fault.HasFailed():
			faults = append(faults, fmt.Sprintf("there is no index of %s: %v", t.By, r.fault))
			continue
		case r.fault != nil:
			return nil, nil, fmt.Errorf("make the index of %s: %w", t.By, r.fault)
		}
		for _, f := range r.files {
			if f.Size > 0 { // an empty one is in the way of what the root has, of which there is nothing
				indexes[f.Path] = made[f.Object]
			}
		}
	}
	return indexes, faults, nil
}

// noHost has no files of its own. It implements [generate.Host].
type noHost struct{}

// Files implements [generate.Host].
func (noHost) Files(string) ([]generate.Input, error) { return nil, nil }
