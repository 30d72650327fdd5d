package rpm

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// installedPackage returns what a stored header says of its package, less strictly
// than [packageOf]: what rpm has installed is there.
func installedPackage(h *header) (*pkginfo.Package, error) {
	p := &pkginfo.Package{
		Format:       Name,
		Name:         h.string(tagName),
		Architecture: h.string(tagArch),
		Summary:      h.string(tagSummary),
		Source:       sourceName(h),
	}
	p.Summary, _, _ = strings.Cut(p.Summary, "\n")
	version, release := h.string(tagVersion), h.string(tagRelease)
	if h.err != nil {
		return nil, h.err
	}
	if err := checkWord("name", p.Name, nameChars, maxName); err != nil {
		return nil, err
	}
	if err := checkWord("version", version, versionChars, maxVersion); err != nil {
		return nil, err
	}
	if err := checkWord("release", release, versionChars, maxVersion); err != nil {
		return nil, err
	}
	if p.Architecture != "" || p.Name != keyPackage {
		if err := checkWord("architecture", p.Architecture, "_", maxName); err != nil {
			return nil, err
		}
	}
	p.Version = version + "-" + release
	if epoch, ok := h.number(tagEpoch); ok {
		p.Version = strconv.FormatUint(epoch, 10) + ":" + p.Version
	}
	fillRelations(p, h)
	addScripts(p, h)
	addFields(p, h)
	return p, h.err
}

// installedFiles returns the files that a stored header lists. Two of one path are
// allowed, as for rpm.
func installedFiles(h *header) ([]InstalledFile, error) {
	names, err := fileNames(h)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	c, err := fileColumns(h, len(names))
	if err != nil {
		return nil, err
	}
	algo, err := fileDigestAlgorithm(h)
	if err != nil {
		return nil, err
	}
	states, ok := h.get(tagFileStates, len(names), kindChar, kindInt8)
	if h.err != nil {
		return nil, h.err
	}
	files := make([]InstalledFile, len(names))
	for i, name := range names {
		f := &files[i]
		f.State = FileMissing
		if ok {
			f.State = FileState(states.data[i])
		}
		if err := f.fill(c, i, name, algo); err != nil {
			return nil, errorIn(partHeader, "%v", err)
		}
	}
	return files, nil
}

// fill sets all but the state of file i.
func (f *InstalledFile) fill(c *columns, i int, name string, algo *digestAlgorithm) error {
	path, err := unpack.CleanName(name)
	if err != nil {
		return err
	}
	kind, ok := fileType(c.modes[i])
	if !ok {
		return fmt.Errorf("the file %q is of an unknown type: its mode is %o", name, c.modes[i])
	}
	if c.sizes[i] > 1<<62 {
		return fmt.Errorf("the file %q has %d bytes", name, c.sizes[i])
	}
	f.Entry = pkginfo.Entry{
		Path: path, Type: kind, Mode: uint32(c.modes[i]) & 0o7777,
		Owner: c.users[i], Group: c.groups[i],
		ModTime: time.Unix(int64(c.mtimes[i]), 0),
		Flags:   flagNames(c.flags[i]),
	}
	switch kind {
	case pkginfo.Regular:
		f.Size = int64(c.sizes[i])
		f.Digest, err = digestOf(c.digests[i], algo)
		if err != nil {
			return fmt.Errorf("the file %q: %v", name, err)
		}
	case pkginfo.Symlink:
		f.Link = c.links[i]
	case pkginfo.CharDevice, pkginfo.BlockDevice:
		if c.hasRdevs {
			f.Major, f.Minor = uint32(c.rdevs[i]>>8), uint32(c.rdevs[i]&0xff)
		}
	}
	if c.hasCap && c.caps[i] != "" {
		xattr, err := encodeCapabilities(c.caps[i])
		if err != nil {
			return fmt.Errorf("the capabilities %q of the file %q: %v", c.caps[i], name, err)
		}
		if xattr != "" {
			f.Xattrs = map[string]string{"security.capability": xattr}
		}
	}
	return nil
}

// digestOf returns a digest as entries have it: "" for none, for which old packages
// have zeros.
func digestOf(text string, algo *digestAlgorithm) (string, error) {
	if strings.Trim(text, "0") == "" {
		return "", nil
	}
	digest, err := hex.DecodeString(text)
	if err != nil || len(digest) != algo.size() {
		return "", fmt.Errorf("%q is not a digest of %s", text[:min(len(text), 200)], algo.name)
	}
	return algo.name + ":" + hex.EncodeToString(digest), nil
}
