package rpm

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// flags of files (rpm: rpmfileAttrs_e), in the order in which they are given.
var fileFlags = []struct {
	bit  uint32
	name string
}{
	{1 << 0, "config"},
	{1 << 1, "doc"},
	{1 << 2, "icon"},
	{1 << 3, "missingok"},
	{1 << 4, "noreplace"},
	{1 << 6, "ghost"},
	{1 << 7, "license"},
	{1 << 8, "readme"},
	{1 << 12, "artifact"},
}

// maxNameBytes is how long the names of one package's files may be together: a header
// names a directory once.
const maxNameBytes = 64 << 20

const (
	flagConfig uint32 = 1 << 0
	flagGhost  uint32 = 1 << 6
)

// file is one file that the header lists.
type file struct {
	// entry is what Next returns for it, unless it belongs to a set of hard links.
	// It is nil for a directory that has two names, and comes once.
	entry  *pkginfo.Entry
	name   string // as the header has it, for messages
	kind   pkginfo.Type
	ghost  bool
	size   int64
	digest []byte   // or nil, if the header has none
	set    *linkSet // or nil
	seen   bool     // in the payload
}

// linkSet is the files that are one inode.
type linkSet struct {
	files []*file
	left  int     // how many of them the payload has still to bring
	begun []*file // those that it brought, without content
}

// fileList is the files of a package.
type fileList struct {
	files  []*file
	byName map[string]int // by the name without a slash before it, as the payload has it
	algo   *digestAlgorithm
}

// columns are the values of all files that a header has, each with one value a
// file.
type columns struct {
	modes, rdevs             []uint16
	mtimes, flags, dev, ino  []uint32
	sizes                    []uint64
	digests, links           []string
	users, groups, caps      []string
	hasRdevs, hasIno, hasCap bool
}

// filesOf returns the files that a header lists.
func filesOf(h *header) (*fileList, error) {
	names, err := fileNames(h)
	if err != nil {
		return nil, err
	}
	l := &fileList{byName: make(map[string]int, len(names))}
	if len(names) == 0 {
		return l, h.err
	}
	c, err := fileColumns(h, len(names))
	if err != nil {
		return nil, err
	}
	if l.algo, err = fileDigestAlgorithm(h); err != nil {
		return nil, err
	}
	l.files = make([]*file, len(names))
	for i, name := range names {
		f, err := newFile(c, i, name, l.algo)
		if err != nil {
			return nil, &FormatError{Member: partHeader, Msg: err.Error()}
		}
		key := strings.TrimPrefix(name, "/")
		if _, exists := l.byName[key]; exists {
			return nil, errorIn(partHeader, "the file %q is there twice", name)
		}
		l.files[i], l.byName[key] = f, i
	}
	if err := l.join(c); err != nil {
		return nil, &FormatError{Member: partHeader, Msg: err.Error()}
	}
	if err := l.place(); err != nil {
		return nil, &FormatError{Member: partHeader, Msg: err.Error()}
	}
	return l, nil
}

// fileNames returns the whole names of the files, in the order of all that is said
// of them.
func fileNames(h *header) ([]string, error) {
	switch {
	case h.has(tagBaseNames) && h.has(tagOldFileNames):
		return nil, errorIn(partHeader, "it has its file names twice")
	case h.has(tagOldFileNames):
		return h.strings(tagOldFileNames, -1), h.err
	case !h.has(tagBaseNames):
		if h.has(tagFileModes) || h.has(tagDirNames) {
			return nil, errorIn(partHeader, "it has files without names: %s", corrupt)
		}
		return nil, h.err
	}
	names := h.strings(tagBaseNames, -1)
	dirs := h.strings(tagDirNames, -1)
	indexes := h.uint32s(tagDirIndexes, len(names))
	if h.err == nil && (dirs == nil || indexes == nil) {
		return nil, errorIn(partHeader, "its files have no directories: %s", corrupt)
	}
	if h.err != nil {
		return nil, h.err
	}
	total := 0
	for i, base := range names {
		if indexes[i] >= uint32(len(dirs)) {
			return nil, errorIn(partHeader, "the file %q is in directory %d of %d", base, indexes[i], len(dirs))
		}
		dir := dirs[indexes[i]]
		if strings.Contains(base, "/") {
			return nil, errorIn(partHeader, "the name %q of a file has a slash in it", base)
		}
		if base == "" && dir != "/" {
			return nil, errorIn(partHeader, "a file in %q has no name", fmt.Sprintf("%.300s", dir))
		}
		if total += len(dir) + len(base); total > maxNameBytes || len(dir) > unpack.MaxPath {
			return nil, errorIn(partHeader, "its file names have more than %d bytes, or one has more than %d: fixed limits of hashpkg (docs/limits.md)", maxNameBytes, unpack.MaxPath)
		}
		names[i] = dir + base
	}
	return names, nil
}

// fileColumns returns what the header says of n files.
func fileColumns(h *header, n int) (*columns, error) {
	c := &columns{
		modes:    h.uint16s(tagFileModes, n),
		rdevs:    h.uint16s(tagFileRdevs, n),
		mtimes:   h.uint32s(tagFileMtimes, n),
		flags:    h.uint32s(tagFileFlags, n),
		dev:      h.uint32s(tagFileDevices, n),
		ino:      h.uint32s(tagFileInodes, n),
		digests:  h.strings(tagFileDigests, n),
		links:    h.strings(tagFileLinkTos, n),
		users:    h.strings(tagFileUserName, n),
		groups:   h.strings(tagFileGroupName, n),
		caps:     h.strings(tagFileCaps, n),
		hasRdevs: h.has(tagFileRdevs),
		hasIno:   h.has(tagFileInodes) && h.has(tagFileDevices),
		hasCap:   h.has(tagFileCaps),
	}
	if h.has(tagLongFileSizes) {
		c.sizes = h.uint64s(tagLongFileSizes, n)
		if h.has(tagFileSizes) {
			h.fail(tagFileSizes, "gives the sizes of the files once more")
		}
	} else {
		short := h.uint32s(tagFileSizes, n)
		c.sizes = make([]uint64, len(short))
		for i, size := range short {
			c.sizes[i] = uint64(size)
		}
	}
	if h.err != nil {
		return nil, h.err
	}
	for _, have := range []bool{
		c.modes != nil, c.mtimes != nil, c.flags != nil, len(c.sizes) == n,
		c.digests != nil, c.links != nil, c.users != nil, c.groups != nil,
	} {
		if !have {
			return nil, errorIn(partHeader, "it does not say all of its files: %s", corrupt)
		}
	}
	return c, nil
}

// newFile returns file i, whose entry has the names of the header still.
func newFile(c *columns, i int, name string, algo *digestAlgorithm) (*file, error) {
	f := &file{name: name, ghost: c.flags[i]&flagGhost != 0}
	if !strings.HasPrefix(name, "/") {
		return nil, fmt.Errorf("the file name %q is not absolute", name)
	}
	kind, ok := fileType(c.modes[i])
	if !ok {
		return nil, fmt.Errorf("the file %q is of an unknown type: its mode is %o", name, c.modes[i])
	}
	f.kind = kind
	f.entry = &pkginfo.Entry{
		Path: name, Type: kind, Mode: uint32(c.modes[i]) & 0o7777,
		Owner: c.users[i], Group: c.groups[i],
		ModTime: time.Unix(int64(c.mtimes[i]), 0),
		Flags:   flagNames(c.flags[i]),
	}
	if c.sizes[i] > 1<<62 {
		return nil, fmt.Errorf("the file %q has %d bytes", name, c.sizes[i])
	}
	switch kind {
	case pkginfo.Regular:
		f.size = int64(c.sizes[i])
		f.entry.Size = f.size
		if err := f.setDigest(c.digests[i], algo); err != nil {
			return nil, err
		}
	case pkginfo.Symlink:
		f.entry.Link = c.links[i]
		f.size = int64(len(c.links[i]))
		if !f.ghost && f.size != int64(c.sizes[i]) {
			return nil, fmt.Errorf("the symlink %q has a target of %d bytes, and should have %d", name, f.size, c.sizes[i])
		}
	case pkginfo.CharDevice, pkginfo.BlockDevice:
		if !c.hasRdevs {
			return nil, fmt.Errorf("the device %q has no number", name)
		}
		f.entry.Major, f.entry.Minor = uint32(c.rdevs[i]>>8), uint32(c.rdevs[i]&0xff)
	}
	if c.hasCap && c.caps[i] != "" {
		xattr, err := encodeCapabilities(c.caps[i])
		if err != nil {
			return nil, fmt.Errorf("the capabilities %q of the file %q: %w", c.caps[i], name, err)
		}
		if xattr != "" {
			f.entry.Xattrs = map[string]string{"security.capability": xattr}
		}
	}
	return f, nil
}

// setDigest keeps what the header says of the content. Only of empty files and
// ghosts may it say nothing, for which old packages have zeros.
func (f *file) setDigest(text string, algo *digestAlgorithm) error {
	if f.ghost || f.size == 0 && strings.Trim(text, "0") == "" {
		return nil
	}
	digest, err := hex.DecodeString(text)
	if err != nil || len(digest) != algo.size() {
		return fmt.Errorf("the digest %q of the file %q is none of %s", text[:min(len(text), 200)], f.name, algo.name)
	}
	f.digest = digest
	f.entry.Digest = algo.name + ":" + strings.ToLower(text)
	return nil
}

// fileType returns what kind of file a mode stands for.
func fileType(mode uint16) (t pkginfo.Type, ok bool) {
	switch mode & 0o170000 {
	case 0o100000:
		return pkginfo.Regular, true
	case 0o040000:
		return pkginfo.Directory, true
	case 0o120000:
		return pkginfo.Symlink, true
	case 0o020000:
		return pkginfo.CharDevice, true
	case 0o060000:
		return pkginfo.BlockDevice, true
	case 0o010000:
		return pkginfo.FIFO, true
	}
	return 0, false
}

func flagNames(flags uint32) []string {
	var names []string
	for _, f := range fileFlags {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// join finds the sets of hard links: the regular files with one inode number
// (rpm: rpmfilesBuildNLink).
func (l *fileList) join(c *columns) error {
	if !c.hasIno {
		return nil
	}
	type inode struct{ dev, ino uint32 }
	sets := map[inode]*linkSet{}
	for i, f := range l.files {
		if f.kind != pkginfo.Regular || f.ghost || c.ino[i] == 0 {
			continue
		}
		id := inode{c.dev[i], c.ino[i]}
		if sets[id] == nil {
			sets[id] = &linkSet{}
		}
		f.set = sets[id]
		f.set.files = append(f.set.files, f)
		f.set.left++
	}
	for _, f := range l.files {
		if f.set == nil {
			continue
		}
		first := f.set.files[0]
		if f.size != first.size || string(f.digest) != string(first.digest) {
			return fmt.Errorf("%q and %q are hard links of one file and differ", first.name, f.name)
		}
		if len(f.set.files) == 1 {
			f.set = nil
		}
	}
	return nil
}

// place gives the entries their paths, and refuses what would not stay where its
// name says.
func (l *fileList) place() error {
	tree := unpack.NewTree(true)
	for _, f := range l.files {
		if f.ghost {
			path, err := unpack.CleanName(f.name)
			if err != nil {
				return err
			}
			f.entry.Path = unpack.MergedPath(path)
			continue
		}
		e, err := tree.Add(*f.entry)
		if err != nil {
			return err
		}
		f.entry = e
	}
	return nil
}
