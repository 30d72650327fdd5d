package elfcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// patchFormat is the number of the form that patches have (docs/elf.md).
const patchFormat = 1

// patch is one edit of one file, as --save-patch writes it.
type patch struct {
	Format int          `json:"hashpkg_patch"`
	File   string       `json:"file"` // as it was named, for people
	Before checksum     `json:"before"`
	After  checksum     `json:"after"`
	Edit   elfedit.Edit `json:"edit"`
}

// create writes a new file with the patch, and returns what removes it again.
func (p *patch) create(name string) (remove func() error, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("save patch: %s is there already, and may be needed to undo its edit; remove it, or name another", name)
	}
	if err != nil {
		return nil, fmt.Errorf("save patch: %w", err)
	}
	err = json.NewEncoder(f).Encode(p)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("save patch: %w", err), os.Remove(name))
	}
	return func() error { return os.Remove(name) }, nil
}

// readPatch reads what create wrote.
func readPatch(name string) (*patch, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read patch: %w", err)
	}
	p := new(patch)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("read patch: %s is not a patch: %w", name, err)
	}
	if p.Format != patchFormat {
		return nil, fmt.Errorf("read patch: %s is not a patch of a form that is known: it says %d, and not %d", name, p.Format, patchFormat)
	}
	if err := p.Edit.Validate(); err != nil {
		return nil, fmt.Errorf("read patch: %s: %w", name, err)
	}
	return p, nil
}

// undo gives a file the bytes back that it had before a patch.
func (r *run) undo(file string, out *fileResult) error {
	p, err := readPatch(r.o.undo)
	if err != nil {
		return err
	}
	err = mapped.Open(file, func(data []byte) error {
		switch now := checksumOf(data); now {
		case p.After:
			return nil
		case p.Before:
			return fmt.Errorf("it is already as it was before the edit of %s", r.o.undo)
		default:
			return fmt.Errorf("it is not what the edit of %s left: its BLAKE3 is %s, and not %s", r.o.undo, now, p.After)
		}
	})
	if err != nil {
		return err
	}
	inverse := p.Edit.Invert()
	out.Edit = newEditOutput(inverse)
	return r.write(file, inverse, out, func(data []byte) error {
		if got := checksumOf(data); got != p.Before {
			return fmt.Errorf("the edit of %s does not lead back to the bytes that it names", r.o.undo)
		}
		return nil
	})
}
