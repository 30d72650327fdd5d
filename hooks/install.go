package hooks

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
)

//go:embed files/dpkg.cfg files/prelink
var files embed.FS

// Program is where the installed files look for hashpkg.
const Program = "/usr/bin/hashpkg"

// FileState is how an installed file stands.
type FileState string

// The states of files.
const (
	Installed FileState = "installed"
	Outdated  FileState = "outdated" // as another version of hashpkg, or another prefix, has it
	Changed   FileState = "changed"  // by the administrator; it is left alone
	Missing   FileState = "missing"
)

// FileStatus is one file of the hooks in a root.
type FileStatus struct {
	Path  string    `json:"path"`
	For   string    `json:"for"` // who reads it
	State FileState `json:"state"`
	// Needed says that the root has who reads it; what is optional is never needed.
	Needed bool `json:"needed"`
}

// InstallStatus is how the hooks of a root stand.
type InstallStatus struct {
	Files []FileStatus `json:"files"`
	// Notes say what no file can do in this root.
	Notes []string `json:"notes"`
}

// Any reports whether any file is there that a package manager reads: whether
// somebody has installed the hooks, as a whole or in part.
func (s *InstallStatus) Any() bool {
	return slices.ContainsFunc(s.Files, func(f FileStatus) bool { return f.Needed && f.State != Missing })
}

// hookFile is one of the files.
type hookFile struct {
	path     string // in the root
	reader   string
	text     func(*sysroot.Root) ([]byte, error) // nil for a rule in a file that others share
	mode     fs.FileMode
	present  string // a path in the root that is there if the reader is; "" for what is optional
	optional bool
}

// prelinkPath is what debsums looks for.
const prelinkPath = "/usr/sbin/prelink"

// hookFiles returns the files for a root.
func hookFiles(root *sysroot.Root) ([]hookFile, error) {
	list := []hookFile{
		{path: "/etc/dpkg/dpkg.cfg.d/hashpkg", reader: "dpkg", text: embedded("files/dpkg.cfg"), mode: 0o644, present: "/var/lib/dpkg/status"},
		{path: confine.Abstraction, reader: "AppArmor", text: abstraction, mode: 0o644, present: confine.BaseAbstraction},
		{path: prelinkPath, reader: Debsums, text: embedded("files/prelink"), mode: 0o755, optional: true},
	}
	config, err := readInside(root, confine.SELinuxConfig)
	if err != nil {
		return list, err
	}
	policy := confine.ParseSELinux(config).Type
	if policy == "" {
		return list, nil
	}
	return append(list, hookFile{
		path: confine.EquivalenceFile(policy), reader: "SELinux", mode: 0o644, present: confine.PolicyDir(policy),
	}), nil
}

// readInside returns the bytes of a file in the root; nil when it is not there.
func readInside(root *sysroot.Root, name string) ([]byte, error) {
	b, err := root.ReadFile(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hook: %w", err)
	}
	return append([]byte{}, b...), nil
}

// maxFile bounds a file that others share with hashpkg.
const maxFile = 16 << 20

// Files tells who wrote them by their last line, which has the digest of those
// before it.
const footer = "# hashpkg wrote the lines above, of which this is the digest: "

// seal ends the text of a file by its digest.
func seal(text []byte) []byte {
	return append(bytes.Clone(text), footer+digest.Of(text).String()+"\n"...)
}

// isSealed reports whether hashpkg wrote a file, and nobody has changed it.
func isSealed(b []byte) bool {
	i := bytes.LastIndex(b, []byte("\n"+footer))
	return i >= 0 && bytes.Equal(seal(b[:i+1]), b)
}

// embedded returns what has the text of a file that is the same for every root.
func embedded(name string) func(*sysroot.Root) ([]byte, error) {
	return func(*sysroot.Root) ([]byte, error) {
		b, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read hook: %v", err)
		}
		return b, nil
	}
}

// abstraction returns the text for AppArmor, which compares paths without links:
// where the prefix is one, both count.
func abstraction(root *sysroot.Root) ([]byte, error) {
	prefixes := []string{root.Prefix()}
	if real, err := root.RealPrefix(); err == nil && real != root.Prefix() {
		prefixes = append(prefixes, real)
	}
	return confine.AbstractionText(prefixes)
}

// state returns how the file stands in the root.
func (f *hookFile) state(root *sysroot.Root) (FileState, error) {
	have, err := readInside(root, f.path)
	if err != nil {
		return "", err
	}
	if f.text == nil {
		switch own, other := confine.Equivalence(have, root.Prefix()); {
		case own:
			return Installed, nil
		case other:
			return Changed, nil
		}
		return Missing, nil
	}
	want, err := f.wholeText(root)
	switch {
	case err != nil:
		return "", err
	case have == nil:
		return Missing, nil
	case bytes.Equal(have, want):
		return Installed, nil
	case isSealed(have):
		return Outdated, nil
	}
	return Changed, nil
}

// Status returns how the hooks of a root stand.
func Status(root *sysroot.Root) (*InstallStatus, error) {
	list, err := hookFiles(root)
	if err != nil {
		return nil, err
	}
	s := &InstallStatus{Files: []FileStatus{}, Notes: []string{}}
	for _, f := range list {
		state, err := f.state(root)
		if err != nil {
			return nil, err
		}
		s.Files = append(s.Files, FileStatus{
			Path: f.path, For: f.reader, State: state, Needed: !f.optional && root.HasFile(f.present),
		})
	}
	for _, db := range []string{"/usr/lib/sysimage/rpm", "/var/lib/rpm"} {
		if root.HasFile(db+"/rpmdb.sqlite") || root.HasFile(db+"/Packages") || root.HasFile(db+"/Packages.db") {
			s.Notes = append(s.Notes, "rpm calls nothing but what a package brings: hashpkg-follow has its hooks")
			break
		}
	}
	return s, nil
}

// Debsums is the reader of the program at /usr/sbin/prelink. It is installed when
// it is named only.
const Debsums = "debsums"

// ErrReader is returned (wrapped) for a name that is none of a reader of hooks.
var ErrReader = errors.New("no hooks are for")

// ErrChanged is returned (wrapped) when a file that hashpkg has not written is in
// the way.
var ErrChanged = errors.New("not hashpkg's, or changed since")

// Install installs the hooks for the readers that are named ("dpkg", "apparmor"),
// or without names for those that the root has. Files that somebody has changed are
// left, and named in the error.
func Install(root *sysroot.Root, readers []string) (*InstallStatus, error) {
	if info, err := root.Stat(Program); err != nil || info.Mode()&0o111 == 0 {
		return nil, advice.Errorf("install hooks: they call %s, which is not there; copy hashpkg to it first", Program)
	}
	return change(root, readers, func(f *hookFile, state FileState) error {
		switch {
		case len(readers) == 0 && state != Outdated && (f.optional || !root.HasFile(f.present)):
			return nil
		case state == Installed:
			return nil
		case state == Changed:
			return advice.Errorf("%w: %s; move it away if you want hashpkg's", ErrChanged, f.path)
		}
		return f.write(root)
	})
}

// Remove removes the hooks for the readers that are named, or all, from a root.
// Files that somebody has changed are left, and named in the error.
func Remove(root *sysroot.Root, readers []string) (*InstallStatus, error) {
	return change(root, readers, func(f *hookFile, state FileState) error {
		switch state {
		case Missing:
			return nil
		case Changed:
			if f.optional && len(readers) == 0 {
				return nil // somebody's own
			}
			return advice.Errorf("%w: %s; remove it by hand", ErrChanged, f.path)
		}
		return f.remove(root)
	})
}

// change does something to each file of the readers, and returns how they stand
// then.
func change(root *sysroot.Root, readers []string, do func(*hookFile, FileState) error) (*InstallStatus, error) {
	list, err := hookFiles(root)
	if err != nil {
		return nil, err
	}
	for _, r := range readers {
		if !slices.ContainsFunc(list, func(f hookFile) bool { return strings.EqualFold(f.reader, r) }) {
			return nil, advice.Errorf("%w %s in this root; hashpkg hooks status lists what there is", ErrReader, r)
		}
	}
	var faults error
	for i := range list {
		if len(readers) > 0 && !slices.ContainsFunc(readers, func(r string) bool { return strings.EqualFold(list[i].reader, r) }) {
			continue
		}
		state, err := list[i].state(root)
		if err == nil {
			err = do(&list[i], state)
		}
		faults = errors.Join(faults, err)
	}
	status, err := Status(root)
	return status, errors.Join(faults, err)
}

func (f *hookFile) write(root *sysroot.Root) error {
	text, err := f.wholeText(root)
	if err != nil {
		return err
	}
	return f.put(root, text)
}

// wholeText returns what the file is to be, with what is others' in it.
func (f *hookFile) wholeText(root *sysroot.Root) ([]byte, error) {
	if f.text != nil {
		text, err := f.text(root)
		return seal(text), err
	}
	have, err := readInside(root, f.path)
	if err != nil {
		return nil, err
	}
	return confine.AddEquivalence(have, root.Prefix()), nil
}

func (f *hookFile) remove(root *sysroot.Root) error {
	if f.text == nil {
		have, err := readInside(root, f.path)
		if err != nil {
			return err
		}
		return f.put(root, confine.RemoveEquivalence(have, root.Prefix()))
	}
	if err := root.Remove(f.path); err != nil {
		return fmt.Errorf("remove hook: %w", err)
	}
	return nil
}

// put puts the file in place, whole or not at all.
func (f *hookFile) put(root *sysroot.Root, text []byte) error {
	if err := root.WriteFile(f.path, text, f.mode); err != nil {
		return fmt.Errorf("install hook: %w", err)
	}
	return nil
}
