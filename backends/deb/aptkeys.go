package deb

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
)

// maxAptFile bounds a file of keys or sources; all of Debian's keys have 60 kB.
const maxAptFile = 4 << 20

// aptKeys are the keys that a root's apt trusts (apt-key(8), sources.list(5)).
type aptKeys struct {
	root     backends.Root
	trusted  *trust.Keyring            // for archives whose source names no keys
	sources  map[string]*trust.Keyring // by prefix, for the others
	warnings []string
}

// of returns the keys for indexes whose names have a prefix.
func (a *aptKeys) of(prefix string) *trust.Keyring {
	if keys, ok := a.sources[prefix]; ok {
		return keys
	}
	return a.trusted
}

// readTrusted returns the keys for archives whose source names no keys.
func readTrusted(root backends.Root) (*aptKeys, error) {
	a := &aptKeys{root: root}
	parts, err := a.list("/etc/apt/trusted.gpg.d", ".gpg", ".asc")
	if err != nil {
		return nil, err
	}
	for _, name := range append(parts, "/etc/apt/trusted.gpg") {
		a.trusted = a.trusted.With(a.file(name))
	}
	return a, nil
}

// readAptKeys returns all keys.
func readAptKeys(root backends.Root) (*aptKeys, error) {
	a, err := readTrusted(root)
	if err != nil {
		return nil, err
	}
	lists, err := a.list("/etc/apt/sources.list.d", ".list", ".sources")
	if err != nil {
		return nil, err
	}
	architectures, err := Format{}.Architectures(root)
	if err != nil {
		a.warn("sources with $(ARCH)", err)
	}
	a.sources = map[string]*trust.Keyring{}
	for _, name := range append(lists, "/etc/apt/sources.list") {
		text, err := root.ReadFile(name, maxAptFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.warn(name, err)
		}
		file := readSources(name, string(text), architectures)
		for _, p := range file.problems {
			a.warnings = append(a.warnings, fmt.Sprintf("keys of a source are left out: %v", p))
		}
		for _, s := range file.sources {
			if hasKeys(s.Keys) {
				prefix := indexPrefix(s.uri, s.Suite)
				a.sources[prefix] = a.sources[prefix].With(a.keysOf(name, s.Keys))
			}
		}
	}
	return a, nil
}

// hasKeys reports whether a source names keys: it trusts no others then, whatever
// becomes of these.
func hasKeys(k backends.Keys) bool {
	return len(k.Files) > 0 || len(k.Fingerprints) > 0 || k.Text != ""
}

// keysOf returns the keys that a source names. name is what messages call the source.
func (a *aptKeys) keysOf(name string, k backends.Keys) *trust.Keyring {
	keys := &trust.Keyring{}
	if k.Text != "" {
		keys = keys.With(a.parse(name, []byte(k.Text)))
	}
	for _, file := range k.Files {
		keys = keys.With(a.file(file))
	}
	for _, fingerprint := range k.Fingerprints {
		keys = keys.With(a.trusted.WithFingerprint(fingerprint))
	}
	return keys
}

// list returns the files of a directory in the root that have one of some ends.
func (a *aptKeys) list(dir string, ends ...string) ([]string, error) {
	entries, err := a.root.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("read the keys of apt: %w", err)
	}
	var names []string
	for _, e := range entries {
		if slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(e.Name(), end) }) {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names, nil
}

// file returns the keys of a file; none of one that cannot be read, which is reported.
func (a *aptKeys) file(name string) *trust.Keyring {
	b, err := a.root.ReadFile(name, maxAptFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.warn(name, err)
		}
		return nil
	}
	return a.parse(name, b)
}

func (a *aptKeys) parse(name string, b []byte) *trust.Keyring {
	if len(b) == 0 {
		return nil
	}
	keys, err := trust.ParseKeyring(b)
	if err != nil {
		a.warn(name, err)
		return nil
	}
	return keys
}

func (a *aptKeys) warn(name string, err error) {
	a.warnings = append(a.warnings, fmt.Sprintf("keys of apt are left out: %s: %v", name, err))
}
