package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// recordedOutput is what the manifest of a tree says of one of its files. It implements
// [fmt.Stringer], for people.
type recordedOutput struct {
	Package string              `json:"package"`
	Version string              `json:"version"`
	Tree    string              `json:"tree"` // NAME/TREE
	File    string              `json:"file"` // in the tree
	Same    bool                `json:"same"` // the file has the recorded bytes
	Object  digest.Digest       `json:"object"`
	Source  digest.Digest       `json:"source_digest"`
	Edits   []record.EditRecord `json:"edits"`
	// Prelocated says what of it is bound to the file itself; nil for nothing.
	Prelocated *record.SelfBound `json:"prelocated,omitempty"`
}

// editTexts say for people what edits change.
var editTexts = map[string]string{
	record.EditInterpreter: "the loader is %s",
	record.EditNeeded:      "the needed libraries are %s",
	record.EditReplace:     "needed libraries are replaced by %s",
	record.EditAdd:         "needed as well are %s",
	record.EditRunPath:     "the search path is %s",
	record.EditRPath:       "the old search path is %s",
}

func (o *recordedOutput) String() string {
	text := fmt.Sprintf("%s of %s=%s (%s)\n", visible.Line(o.File), o.Package, o.Version, o.Tree)
	if !o.Same {
		text += "  it has other bytes than were recorded; hashpkg verify says more\n"
	}
	for _, e := range o.Edits {
		switch form := editTexts[e.Kind]; {
		case form != "":
			text += "  " + fmt.Sprintf(form, visible.Line(strings.Join(e.To, " "))) + "\n"
		case e.Kind == record.EditNote:
			text += fmt.Sprintf("  a note has the digests of the %s that it is bound to\n", count(len(e.To), "file"))
		}
	}
	if o.Prelocated != nil {
		text += "  prelocated: " + prelocatedText(o.Prelocated, true) + "\n"
	}
	if len(o.Edits) == 0 {
		text += "  as its package has it\n"
	}
	return visible.Text(text)
}

// maxRecordedManifest bounds a manifest that is read for one file.
const maxRecordedManifest = 256 << 20

// recordedOf returns what is recorded of a file, of this machine's file system; nil for one
// that is in no tree whose record can be read.
func recordedOf(name string) (fmt.Stringer, error) {
	final, err := filepath.Abs(name)
	if err == nil {
		final, err = filepath.EvalSymlinks(final)
	}
	if err != nil {
		return nil, err
	}
	parts := strings.Split(final, "/")
	for i := len(parts) - 3; i >= 1; i-- {
		if layout.CheckName(parts[i]) != nil {
			continue
		}
		file := filepath.Join("/", strings.Join(parts[:i], "/"), layout.ManifestPath(parts[i], parts[i+1]))
		text, err := readBounded(file, maxRecordedManifest)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := record.DecodeManifest(text)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		inTree := strings.Join(parts[i+2:], "/")
		at := slices.IndexFunc(m.Files, func(f record.File) bool { return f.Path == inTree && f.Type == record.TypeFile })
		if at < 0 {
			return nil, nil
		}
		f := &m.Files[at]
		o := &recordedOutput{m.Name, m.Version, layout.TreePath(m.Name, m.Tree), f.Path, false, f.Object, f.Source, append([]record.EditRecord{}, f.Edits...), f.SelfBound()}
		is, err := digestOf(final)
		o.Same = is == f.Object
		return o, err
	}
	return nil, nil
}

// readBounded returns the bytes of a regular file.
func readBounded(file string, limit int) (b []byte, err error) {
	err = mapped.Open(file, func(data []byte) error {
		if len(data) > limit {
			return fmt.Errorf("read %s: it is too large for a record", file)
		}
		b = slices.Clone(data)
		return nil
	})
	return b, err
}

func digestOf(file string) (d digest.Digest, err error) {
	err = mapped.Open(file, func(data []byte) error {
		d = digest.Of(data)
		return nil
	})
	return d, err
}
