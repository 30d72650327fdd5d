package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
)

// Edit stages the edited form of an object and returns its digest and size. With
// last, nobody wants the object as it was any more, and a staged one is edited
// where it is.
func (t *Staging) Edit(d digest.Digest, e elfedit.Edit, last bool) (digest.Digest, int64, error) {
	edited, name, err := t.edit(d, e, last)
	if err != nil {
		if name != "" {
			err = errors.Join(err, t.files.RemoveIfThere(name))
		}
		return digest.Digest{}, 0, fmt.Errorf("edit object: %w", err)
	}
	return edited, e.NewSize, t.record(edited, name, e.NewSize)
}

// edit is Edit, but for the record of the new object, which is in the file name.
func (t *Staging) edit(d digest.Digest, e elfedit.Edit, last bool) (edited digest.Digest, name string, err error) {
	if err := e.Validate(); err != nil {
		return edited, "", err
	}
	t.mu.Lock()
	o := t.objects[d]
	// A file of the distribution's has the inode that its own path has.
	inPlace := last && o != nil && !o.system
	if last && o != nil {
		delete(t.objects, d)
	}
	t.mu.Unlock()
	if o != nil {
		if err := t.ready(o); err != nil {
			return edited, "", err
		}
	}
	if inPlace {
		name = o.name
	} else {
		from, base := t.files, ""
		if o != nil {
			base = o.name
		} else if from, base, err = t.object(d); err != nil {
			return edited, "", err
		}
		name = t.newName()
		if err := copyFile(from, base, t.files, name); err != nil {
			return edited, name, err
		}
		if last && o != nil {
			if err := t.files.Remove(o.name); err != nil {
				return edited, name, err
			}
		}
	}
	if err := t.editFile(name, e); err != nil {
		return edited, name, err
	}
	err = mapFile(t.files, name, func(b []byte) error {
		edited = digest.Of(b)
		return nil
	})
	return edited, name, err
}

// editFile applies an edit to a staged file, one hunk at a time.
func (t *Staging) editFile(name string, e elfedit.Edit) error {
	if err := t.files.Chmod(name, stagedMode); err != nil { // objects are read-only, to their owner too
		return err
	}
	f, err := t.files.OpenFile(name, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = applyHunks(f, e); err == nil {
		err = t.finishObject(f, name, e.NewSize)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func applyHunks(f *os.File, e elfedit.Edit) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != e.OldSize {
		return fmt.Errorf("%w: has %d bytes, expected %d", elfedit.ErrEditMismatch, info.Size(), e.OldSize)
	}
	for _, h := range e.Hunks {
		old := make([]byte, len(h.Old))
		if _, err := f.ReadAt(old, h.Offset); err != nil {
			return err
		}
		if !bytes.Equal(old, h.Old) {
			return fmt.Errorf("%w: other bytes at offset %d", elfedit.ErrEditMismatch, h.Offset)
		}
		if _, err := f.WriteAt(h.New, h.Offset); err != nil {
			return err
		}
	}
	return f.Truncate(e.NewSize)
}
