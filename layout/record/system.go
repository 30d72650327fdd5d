package record

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// SystemState is what a sync remembers of the package managers' databases, so
// that the next one looks at what has changed only. It is derived: without it
// everything is looked at again.
type SystemState struct {
	Layout int `json:"layout"` // FormatVersion
	// Facts is the number of what was known of packages and programs then: where it is
	// another one, everything is looked at again.
	Facts int `json:"facts,omitempty"`
	// Databases holds what changes with every change of a database or of the
	// loader's configuration, by their names.
	Databases map[string]string `json:"databases"`
	// Settings is the digest of what the administrator has set, pins included.
	Settings   digest.Digest `json:"settings"`
	Generation int           `json:"generation"` // that was active when it had ended
	// Views changes with the files of the host that indexes of views follow from; "" when
	// they are to be looked at.
	Views string `json:"views,omitempty"`
	// Absent has frozen programs that are not there, which no package lists, and the process of
	// the package manager that was at work then: their freezes end after it.
	Absent map[string]string `json:"absent,omitempty"`
	// Packages has every package of the databases.
	Packages map[pkginfo.Key]SystemPackage `json:"packages"`
}

// SystemPackage is one package in a SystemState.
type SystemPackage struct {
	Stamp string `json:"stamp"`          // changes when it is installed again
	Tree  string `json:"tree,omitempty"` // its tree's path; "" when it has no libraries
	// Unresolved are sonames that its programs need and that no tree offered.
	Unresolved []string `json:"unresolved,omitempty"`
	Pinned     bool     `json:"pinned,omitempty"` // a program of it is
	// Unsettled: a program of it was left because of something that may change
	// without its package: what the loader finds, which other packages change, and
	// ldconfig, which may have run after the sync; or a file that could not be
	// replaced.
	Unsettled bool `json:"unsettled,omitempty"`
	// Closures are the trees of closure objects that programs of it need, by their directories.
	Closures []string `json:"closures,omitempty"`
	// Large: a library or program of it has more bytes than the settings allow.
	Large bool `json:"large,omitempty"`
}

// EditsDir has the records of edited programs: see EditsPath.
const EditsDir = layout.SystemDir + "/edits"

// EditsPath returns the path, relative to the prefix, of the record of a
// package's edited programs.
func EditsPath(key pkginfo.Key) string { return EditsDir + "/" + key.FileName() + EditsSuffix }

// EditsSuffix ends the name of a record of edited programs.
const EditsSuffix = ".json"

// PackageEdits is the record of the programs that were edited in place in one
// package, and the truth about them: it is durable before a file changes, and
// goes when the last of its files is as it was packaged.
type PackageEdits struct {
	Layout  int          `json:"layout"` // FormatVersion
	Key     pkginfo.Key  `json:"key"`
	Package string       `json:"package,omitempty"` // the package's name
	Files   []EditedFile `json:"files"`             // sorted by path
}

// EditedFile is one program that was edited in place.
type EditedFile struct {
	Path   string        `json:"path"` // in the root, absolute
	Source digest.Digest `json:"source_digest"`
	// Applied are the edits that the file may have, of which each was made from
	// the packaged bytes: one, and while it takes another's place both.
	Applied []AppliedEdit `json:"applied"`
	// Restored says that somebody asked for the packaged bytes: a sync leaves
	// them until the package brings others.
	Restored bool `json:"restored,omitempty"`
}

// AppliedEdit is an edit of a packaged program.
type AppliedEdit struct {
	Object digest.Digest `json:"object"` // of the edited bytes
	Edits  []EditRecord  `json:"edits"`
	Patch  *Patch        `json:"patch"`
	Pins   []PinnedTree  `json:"pins,omitempty"` // that it follows
}

// PinnedTree is the tree that a pin is to, as the record of an edit names it. As
// text, and in JSON, it is "LIBRARY=TREE".
type PinnedTree struct {
	Library string // the package that has the library
	Tree    string // its directory below the package's own
}

// Path returns the tree's path relative to the prefix.
func (t PinnedTree) Path() string { return layout.TreePath(t.Library, t.Tree) }

// String returns the tree for people: the version as they read it.
func (t PinnedTree) String() string { return t.Library + "=" + layout.VersionText(t.Tree) }

// MarshalText implements [encoding.TextMarshaler].
func (t PinnedTree) MarshalText() ([]byte, error) { return []byte(t.Library + "=" + t.Tree), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. A name that would lead out of
// the place that it is for is an error.
func (t *PinnedTree) UnmarshalText(b []byte) error {
	library, tree, ok := strings.Cut(string(b), "=")
	if !ok {
		return fmt.Errorf("%q is not a pinned tree: expected LIBRARY=TREE", b)
	}
	*t = PinnedTree{library, tree}
	return t.check()
}

func (t *PinnedTree) check() error {
	if err := layout.CheckName(t.Library); err != nil {
		return err
	}
	if layout.CheckPayloadPath(t.Tree) != nil || strings.Contains(t.Tree, "/") {
		return fmt.Errorf("tree %q of %s is not a directory name", t.Tree, t.Library)
	}
	return nil
}

// With returns the applied edit whose result has the digest d; nil if none has.
func (f *EditedFile) With(d digest.Digest) *AppliedEdit {
	for i := range f.Applied {
		if f.Applied[i].Object == d {
			return &f.Applied[i]
		}
	}
	return nil
}

// EveryProgram stands in a Pin for all programs that load the library.
const EveryProgram = "*"

// Pin says that a program loads a certain version of a library.
type Pin struct {
	Program string `json:"program"` // a path in the root, the name of a package, or EveryProgram
	Library string `json:"library"` // the package that has the library
	Version string `json:"version"`
	Tree    string `json:"tree"`            // its directory below the package's own
	Force   bool   `json:"force,omitempty"` // though the symbol versions do not fit
	// Since is when it was made (RFC 3339); "" where that was not recorded.
	Since string `json:"since,omitempty"`
	// File, unless it is "", makes the pin a part of the freeze of a program, which is a
	// pin for each library that it loads: to this file below the tree, which has the
	// digest Object, and which answers Name. Program is a path then.
	File   string        `json:"file,omitempty"`
	Name   string        `json:"name,omitempty"`
	Object digest.Digest `json:"object,omitzero"`
}

// Frozen reports whether the pin is a part of a freeze. All pins of a freeze count, and no
// others for its program.
func (p *Pin) Frozen() bool { return p.File != "" }

// Spec returns "NAME=VERSION" of the library.
func (p *Pin) Spec() string { return p.Library + "=" + p.Version }

// Pinned returns the tree that the pin is to.
func (p *Pin) Pinned() PinnedTree { return PinnedTree{p.Library, p.Tree} }

// Of reports whether the pin is for a program of a package.
func (p *Pin) Of(program, pkg string) bool {
	return p.Program == EveryProgram || p.Program == program || p.Program == pkg
}

// Pins is the record of all pins.
type Pins struct {
	Layout int   `json:"layout"` // FormatVersion
	List   []Pin `json:"pins"`
}

// check returns an error when a name of the record would lead out of the place
// that it is for.
func (p *Pins) check() error {
	for _, pin := range p.List {
		if tree := pin.Pinned(); tree.check() != nil {
			return tree.check()
		}
		if !pin.Frozen() {
			continue
		}
		if err := layout.CheckPayloadPath(pin.File); err != nil {
			return err
		}
		if !strings.HasPrefix(pin.Program, "/") {
			return fmt.Errorf("%q is frozen, which is no path of a program", pin.Program)
		}
	}
	return nil
}

func (e *PackageEdits) check() error {
	for _, f := range e.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return fmt.Errorf("%q is not a path in a root", f.Path)
		}
	}
	return nil
}

func (s *SystemState) check() error { return nil }

// systemRecord is one of the records of the system.
type systemRecord interface {
	*SystemState | *PackageEdits | *Pins | *Conf | *Services | *PinHistory | *PinChange | *Kept
	check() error
}

// DecodeSystemRecord reads a record of the system into r. It returns an error for
// another layout and for a record that contradicts itself.
func DecodeSystemRecord[R systemRecord](b []byte, r R) error {
	var version struct{ Layout int }
	if err := json.Unmarshal(b, &version); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if version.Layout != layout.FormatVersion {
		return fmt.Errorf("decode record: layout %d, this program knows %d", version.Layout, layout.FormatVersion)
	}
	if err := json.Unmarshal(b, r); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	return nil
}
