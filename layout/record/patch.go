package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/elfedit"
)

// Patch is a reversible edit as a manifest keeps it: packed, because an edit
// that moves a string table holds that table, and read by verify and restore
// only.
type Patch struct {
	OldSize int64  `json:"old_size"` // of the packaged file
	NewSize int64  `json:"new_size"` // of the edited one
	Packed  []byte `json:"packed"`   // the edit's JSON, as one zstd frame
}

// maxPatch bounds an unpacked patch, which is at most a few times an ELF file's
// string table.
const maxPatch = 1 << 30

// PackEdit returns e as a manifest keeps it.
func PackEdit(e elfedit.Edit) (*Patch, error) {
	plain, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("pack edit: %v", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("pack edit: %v", err)
	}
	defer enc.Close()
	return &Patch{OldSize: e.OldSize, NewSize: e.NewSize, Packed: enc.EncodeAll(plain, nil)}, nil
}

// Edit unpacks the patch.
func (p *Patch) Edit() (elfedit.Edit, error) {
	var e elfedit.Edit
	dec, err := zstd.NewReader(bytes.NewReader(p.Packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPatch))
	if err != nil {
		return e, fmt.Errorf("unpack edit: %v", err)
	}
	defer dec.Close()
	plain, err := io.ReadAll(io.LimitReader(dec, maxPatch))
	if err != nil {
		return e, fmt.Errorf("unpack edit: %v", err)
	}
	if err := json.Unmarshal(plain, &e); err != nil {
		return e, fmt.Errorf("unpack edit: %v", err)
	}
	if e.OldSize != p.OldSize || e.NewSize != p.NewSize {
		return e, fmt.Errorf("unpack edit: sizes %d and %d, the record says %d and %d", e.OldSize, e.NewSize, p.OldSize, p.NewSize)
	}
	return e, nil
}
