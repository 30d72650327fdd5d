package transaction

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// aptLists is where apt keeps the indexes of archives.
const aptLists = "/var/lib/apt/lists"

// checkIndexes looks the debs of a command up in signed indexes, and sets in their
// manifests who vouches for them. sums has the SHA-256 of their files. given says
// that somebody gave the keys.
func checkIndexes(ctx context.Context, o InstallOptions, given bool, drafts []*record.Manifest, sums map[*record.Manifest][sha256.Size]byte) (warnings []string, err error) {
	var files []deb.File
	var debs []*record.Manifest
	for _, m := range drafts {
		if m.Format == pkginfo.Deb {
			debs = append(debs, m)
			files = append(files, deb.File{
				Name: m.Name, Version: m.Version, Architecture: m.Architecture, SHA256: sums[m], Size: m.Package.Size,
			})
		}
	}
	if len(debs) == 0 || o.Signature == SignatureOff {
		return nil, nil
	}
	dir, where := o.Index, o.Index
	if dir == "" {
		where = aptLists // in the root, wherever that stands
		if dir, err = o.Root.HostPath(aptLists); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(dir); err != nil {
		if o.Index != "" {
			return nil, fmt.Errorf("read indexes: %w", err)
		}
		for _, m := range debs {
			m.Package.SignatureReason = where + ": there are no indexes"
		}
		return nil, nil
	}
	keysOf := func(string) deb.Keys { return deb.Keys(o.Keyring.Entities()) }
	if !given {
		apt := &aptKeys{root: o.Root}
		if err := apt.read(); err != nil {
			return nil, err
		}
		warnings, keysOf = apt.warnings, apt.of
	}
	proofs, err := deb.CheckFiles(ctx, dir, files, keysOf)
	if err != nil {
		return nil, err
	}
	for i, p := range proofs {
		m := debs[i]
		if p.Signer == "" {
			m.Package.SignatureReason = where + ": " + p.Reason
			if p.Differs || o.Index != "" || o.Signature == SignatureWarn {
				warnings = append(warnings, fmt.Sprintf("%s is not proved by a signed index: %s", m.Package.File, m.Package.SignatureReason))
			}
			continue
		}
		m.Package.Signature, m.Package.Signer = string(rpm.Good), p.Signer
		if !p.ValidUntil.IsZero() && o.Now.After(p.ValidUntil) {
			m.Package.SignatureReason = fmt.Sprintf("by an index that was to be replaced by %s: that there is no newer version is not said", p.ValidUntil.Format("2006-01-02"))
		}
	}
	return warnings, nil
}

// aptKeys are the keys that the root's apt trusts (apt-key(8), sources.list(5)).
type aptKeys struct {
	root     *sysroot.Root
	trusted  deb.Keys            // for archives whose source names no keys
	sources  map[string]deb.Keys // by prefix, for the others
	warnings []string
}

func (a *aptKeys) of(prefix string) deb.Keys {
	if keys, ok := a.sources[prefix]; ok {
		return keys
	}
	return a.trusted
}

func (a *aptKeys) read() error {
	a.sources = map[string]deb.Keys{}
	parts, err := a.list("/etc/apt/trusted.gpg.d", ".gpg", ".asc")
	if err != nil {
		return err
	}
	for _, name := range append(parts, "/etc/apt/trusted.gpg") {
		a.trusted = append(a.trusted, a.file(name)...)
	}
	lists, err := a.list("/etc/apt/sources.list.d", ".list", ".sources")
	if err != nil {
		return err
	}
	for _, name := range append(lists, "/etc/apt/sources.list") {
		text, err := a.bytes(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.warn(name, err)
		}
		for _, s := range deb.ParseSources(name, string(text)) {
			keys := deb.Keys{} // a source that names keys trusts no others, whatever becomes of these
			if s.Key != "" {
				keys = a.parse(name, []byte(s.Key))
			}
			for _, by := range s.SignedBy {
				if path.IsAbs(by) {
					keys = append(keys, a.file(by)...)
				} else {
					keys = append(keys, a.trusted.WithFingerprint(by)...)
				}
			}
			for _, prefix := range s.Prefixes {
				a.sources[prefix] = append(a.sources[prefix], keys...)
			}
		}
	}
	return nil
}

// list returns the files of a directory in the root that have one of some ends.
func (a *aptKeys) list(dir string, ends ...string) ([]string, error) {
	host, err := a.root.HostPath(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(host)
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

// file returns the keys of a file; none of one that cannot be read, which is told.
func (a *aptKeys) file(name string) deb.Keys {
	b, err := a.bytes(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.warn(name, err)
		}
		return nil
	}
	return a.parse(name, b)
}

func (a *aptKeys) parse(name string, b []byte) deb.Keys {
	if len(b) == 0 {
		return nil
	}
	keyring, err := rpm.ParseKeyring(b)
	if err != nil {
		a.warn(name, err)
		return nil
	}
	return deb.Keys(keyring.Entities())
}

func (a *aptKeys) warn(name string, err error) {
	a.warnings = append(a.warnings, fmt.Sprintf("keys of apt are left out: %s: %v", name, err))
}

// maxAptFile bounds a file of keys or sources; all of Debian's keys have 60 kB.
const maxAptFile = 4 << 20

func (a *aptKeys) bytes(name string) ([]byte, error) {
	host, err := a.root.HostPath(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxAptFile {
		return nil, errors.Join(errors.New("it is no regular file of a sensible size"), err)
	}
	return io.ReadAll(io.LimitReader(f, maxAptFile))
}
