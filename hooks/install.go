package hooks

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/sysroot"
)

//go:embed files/dpkg.cfg files/apparmor files/prelink
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
	name     string // of the embedded file; "" for a line of a file that others share
	line     string
	mode     fs.FileMode
	present  string // a path in the root that is there if the reader is; "" for what is optional
	optional bool
}

// prelinkPath is what debsums looks for.
const prelinkPath = "/usr/sbin/prelink"

// hookFiles returns the files for a root.
func hookFiles(root *sysroot.Root) ([]hookFile, error) {
	list := []hookFile{
		{path: "/etc/dpkg/dpkg.cfg.d/hashpkg", reader: "dpkg", name: "files/dpkg.cfg", mode: 0o644, present: "/var/lib/dpkg/status"},
		{path: "/etc/apparmor.d/abstractions/base.d/hashpkg", reader: "AppArmor", name: "files/apparmor", mode: 0o644, present: "/etc/apparmor.d/abstractions/base"},
		{path: prelinkPath, reader: Debsums, name: "files/prelink", mode: 0o755, optional: true},
	}
	policy, err := selinuxPolicy(root)
	if err != nil || policy == "" {
		return list, err
	}
	// What `semanage fcontext -a -e /usr/lib PREFIX` writes: libraries and their
	// hard links in the store are labeled alike.
	return append(list, hookFile{
		path: "/etc/selinux/" + policy + "/contexts/files/file_contexts.subs", reader: "SELinux",
		line: root.Prefix() + " /usr/lib", mode: 0o644, present: "/etc/selinux/" + policy,
	}), nil
}

var selinuxType = regexp.MustCompile(`(?m)^\s*SELINUXTYPE\s*=\s*([A-Za-z0-9_-]+)\s*$`)

// selinuxPolicy returns the name of the root's SELinux policy; "" where there is
// none (selinux_config(5)).
func selinuxPolicy(root *sysroot.Root) (string, error) {
	b, err := readInside(root, "/etc/selinux/config")
	if err != nil {
		return "", err
	}
	if m := selinuxType.FindSubmatch(b); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

// readInside returns the bytes of a file in the root; nil when it is not there.
func readInside(root *sysroot.Root, name string) ([]byte, error) {
	path, err := root.HostPath(name)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hook: %w", err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

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

var plainPrefix = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// text returns what the file shall be.
func (f *hookFile) text(root *sysroot.Root) ([]byte, error) {
	b, err := files.ReadFile(f.name)
	if err != nil {
		return nil, fmt.Errorf("read hook: %v", err)
	}
	if !bytes.Contains(b, []byte("@PREFIX@")) {
		return seal(b), nil
	}
	// AppArmor compares paths without links: where the prefix is one, both count.
	prefixes := []string{root.Prefix()}
	if real, err := filepath.Rel(root.Dir(), root.Store().Path(".")); err == nil && "/"+real != root.Prefix() {
		prefixes = append(prefixes, "/"+real)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "@PREFIX@") {
			lines = append(lines, line)
			continue
		}
		for _, p := range prefixes {
			if !plainPrefix.MatchString(p) {
				return nil, fmt.Errorf("the prefix %q has characters that mean something to AppArmor", p)
			}
			lines = append(lines, strings.ReplaceAll(line, "@PREFIX@", p))
		}
	}
	return seal([]byte(strings.Join(lines, ""))), nil
}

// state returns how the file stands in the root.
func (f *hookFile) state(root *sysroot.Root) (FileState, error) {
	have, err := readInside(root, f.path)
	if err != nil {
		return "", err
	}
	if f.line != "" {
		for line := range strings.Lines(string(have)) {
			if line == f.line+"\n" {
				return Installed, nil
			}
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] == root.Prefix() {
				return Changed, nil // to another equivalent
			}
		}
		return Missing, nil
	}
	want, err := f.text(root)
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
			s.Notes = append(s.Notes, "rpm calls nothing but what a package brings: hashpkg's own .rpm has its hooks")
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
	if program, err := root.HostPath(Program); err != nil {
		return nil, err
	} else if info, err := os.Stat(program); err != nil || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("install hooks: they call %s, which is not there; copy hashpkg to it first", Program)
	}
	return change(root, readers, func(f *hookFile, state FileState) error {
		switch {
		case len(readers) == 0 && state != Outdated && (f.optional || !root.HasFile(f.present)):
			return nil
		case state == Installed:
			return nil
		case state == Changed:
			return fmt.Errorf("%w: %s; move it away if you want hashpkg's", ErrChanged, f.path)
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
			return fmt.Errorf("%w: %s; remove it by hand", ErrChanged, f.path)
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
			return nil, fmt.Errorf("%w %s in this root; hashpkg hooks status lists what there is", ErrReader, r)
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
	path, err := root.HostPath(f.path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("install hook: %w", err)
	}
	return replaceFile(path, text, f.mode)
}

// wholeText returns what the file is to be, with what is others' in it.
func (f *hookFile) wholeText(root *sysroot.Root) ([]byte, error) {
	if f.line == "" {
		return f.text(root)
	}
	have, err := readInside(root, f.path)
	if err != nil {
		return nil, err
	}
	if len(have) > 0 && have[len(have)-1] != '\n' {
		have = append(have, '\n')
	}
	return append(have, f.line+"\n"...), nil
}

func (f *hookFile) remove(root *sysroot.Root) error {
	path, err := root.HostPath(f.path)
	if err != nil {
		return err
	}
	if f.line != "" {
		have, err := readInside(root, f.path)
		if err != nil {
			return err
		}
		return replaceFile(path, []byte(strings.ReplaceAll("\n"+string(have), "\n"+f.line+"\n", "\n")[1:]), f.mode)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove hook: %w", err)
	}
	return nil
}

// replaceFile puts a file in place, whole or not at all. The name of the new one
// is none that dpkg or AppArmor would read.
func replaceFile(path string, text []byte, mode fs.FileMode) (err error) {
	fresh := path + ".hashpkg-new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("install hook: %w", err)
	}
	_, err = f.Write(text)
	for _, step := range []func() error{func() error { return f.Chmod(mode) }, f.Sync} {
		if err == nil {
			err = step()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("install hook: %w", err), os.Remove(fresh))
	}
	return nil
}
