package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// maxTaken bounds what is kept of one manifest.
const maxTaken = 1 << 20

func takenFile(from string) string {
	return layout.TakenDir + "/" + digest.Of([]byte(from)).String()
}

// Taken returns what SetTaken has kept of the closure manifest that was taken last from an address or an
// absolute path; nil for none.
func (r *Repo) Taken(from string) ([]byte, error) {
	b, err := r.Root.Store().Dir().ReadFile(takenFile(from), maxTaken)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was taken from %s: %w", from, err)
	}
	return b, nil
}

// SetTaken keeps what is to be known of the manifest that is taken from an address or an absolute path.
func (r *Repo) SetTaken(ctx context.Context, from string, b []byte) error {
	if err := r.makeDirs(ctx); err != nil {
		return err
	}
	dir := r.Root.Store().Dir()
	if err := dir.MkdirAll(layout.TakenDir, 0o755); err != nil {
		return sysroot.Hint(err)
	}
	return sysroot.Hint(dir.WriteFile(takenFile(from), b, 0o644))
}
