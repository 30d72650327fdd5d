package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/sysroot"
)

// elfPatchFormat is the number of the form that patches have (docs/elf.md).
const elfPatchFormat = 1

// elfPatch is one edit of one file, as --save-patch writes it.
type elfPatch struct {
	Format int           `json:"hashpkg_patch"`
	File   string        `json:"file"` // as it was named, for people
	Before digest.Digest `json:"before"`
	After  digest.Digest `json:"after"`
	Edit   elfedit.Edit  `json:"edit"`
}

// create writes a new file with the patch, and returns what removes it again.
func (p *elfPatch) create(name string) (remove func() error, err error) {
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

// readElfPatch reads what create wrote.
func readElfPatch(name string) (*elfPatch, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read patch: %w", err)
	}
	p := new(elfPatch)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("read patch: %s is no patch: %w", name, err)
	}
	if p.Format != elfPatchFormat {
		return nil, fmt.Errorf("read patch: %s is no patch of a form that is known: it says %d, and not %d", name, p.Format, elfPatchFormat)
	}
	if err := p.Edit.Validate(); err != nil {
		return nil, fmt.Errorf("read patch: %s: %w", name, err)
	}
	return p, nil
}

// undo gives a file the bytes back that it had before a patch.
func (r *elfRun) undo(file string, out *elfFileResult) error {
	p, err := readElfPatch(r.o.undo)
	if err != nil {
		return err
	}
	err = sysroot.ReadMapped(file, func(data []byte) error {
		switch now := digest.Of(data); now {
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
	out.Edit = newElfEditOutput(inverse)
	return r.write(file, inverse, out, func(data []byte) error {
		if got := digest.Of(data); got != p.Before {
			return fmt.Errorf("the edit of %s does not lead back to the bytes that it names", r.o.undo)
		}
		return nil
	})
}
