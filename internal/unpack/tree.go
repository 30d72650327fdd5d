package unpack

import (
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// MaxPath is Linux PATH_MAX, without its NUL.
const MaxPath = 4095

// What one package may have, at most; docs/limits.md has these.
const (
	maxEntries   = 1 << 18 // the largest of Debian has less than half as many
	maxNameBytes = 64 << 20
	maxComponent = 255 // Linux NAME_MAX
	maxDepth     = 128 // directories above a file; those of Debian and Fedora stay below 30
)

// fixed ends the message of a limit that nothing raises.
const fixed = "a fixed limit of hashpkg (docs/limits.md): split the package"

// Tree is the files of a package so far. It refuses an entry that would not stay
// where its name says, or that contradicts an earlier one.
type Tree struct {
	usrMerge  bool
	nodes     map[string]node
	links     map[string]string // of hard links: the regular file
	nameBytes int
	entries   int // that were added, repeated directories among them
}

type node struct {
	kind     nodeKind
	mode     uint16
	uid, gid uint32
	owner    string // of a directory
	group    string
}

type nodeKind uint8

const (
	impliedDir nodeKind = iota + 1 // something is in it, but it was no entry itself
	dir
	file
	symlink
	special
)

func (k nodeKind) String() string {
	return [...]string{"", "directory", "directory", "file", "symlink", "device or pipe"}[k]
}

// NewTree returns an empty tree. With usrMerge the paths are those of a system
// with a merged /usr: what is in /bin has a path in usr/bin, and so on.
func NewTree(usrMerge bool) *Tree {
	return &Tree{usrMerge: usrMerge, nodes: map[string]node{}, links: map[string]string{}}
}

// Add checks an entry whose Path is the name that the archive has for it, and, of
// a hard link, whose Link is the name that it has for the other file. It returns
// the entry with both clean and merged. It returns nil for a directory that came
// before, which packages of the time before the usr-merge hold in two names.
func (t *Tree) Add(e pkginfo.Entry) (*pkginfo.Entry, error) {
	name, link := e.Path, e.Link
	if t.entries++; t.entries > maxEntries {
		return nil, fmt.Errorf("the package has more than %d entries, %s", maxEntries, fixed)
	}
	var err error
	if e.Path, err = CleanName(name); err != nil {
		return nil, err
	}
	if n := strings.Count(e.Path, "/"); n > maxDepth {
		return nil, fmt.Errorf("%.80q... is %d directories deep, and %d is %s", name, n, maxDepth, fixed)
	}
	if e.Path, err = t.merge(&e, link); err != nil {
		return nil, err
	}
	if e.Type == pkginfo.HardLink { // before it is placed: it may name itself
		if e.Link, err = t.linkTarget(link); err != nil {
			return nil, fmt.Errorf("the hard link %q %w", name, err)
		}
	}
	n := node{kind: kindOf(e.Type), mode: uint16(e.Mode), uid: uint32(e.UID), gid: uint32(e.GID)}
	if n.kind == dir {
		n.owner, n.group = e.Owner, e.Group
	}
	if isRepeated, err := t.place(e.Path, n); isRepeated || err != nil {
		return nil, err
	}

	switch e.Type {
	case pkginfo.Symlink:
		if link == "" || len(link) > MaxPath {
			return nil, fmt.Errorf("the symlink %q has a target of %d bytes", name, len(link))
		}
		if strings.IndexByte(link, 0) >= 0 {
			return nil, fmt.Errorf("the target of the symlink %q has a NUL in it", name)
		}
	case pkginfo.HardLink:
		t.links[e.Path] = e.Link
	case pkginfo.CharDevice, pkginfo.BlockDevice:
		if !strings.HasPrefix(e.Path, "dev/") {
			return nil, fmt.Errorf("%q is a device outside /dev", name)
		}
	}
	return &e, nil
}

func kindOf(t pkginfo.Type) nodeKind {
	switch t {
	case pkginfo.Regular, pkginfo.HardLink:
		return file
	case pkginfo.Directory:
		return dir
	case pkginfo.Symlink:
		return symlink
	}
	return special
}

// linkTarget returns the regular file that a hard link to name is another name of.
func (t *Tree) linkTarget(name string) (string, error) {
	target, err := CleanName(name)
	if err != nil {
		return "", fmt.Errorf("has a bad target: %w", err)
	}
	if t.usrMerge {
		target = MergedPath(target)
	}
	switch n := t.nodes[target]; {
	case n.kind != file:
		return "", fmt.Errorf("leads to %q, which is not an earlier regular file", name)
	case t.links[target] != "":
		return t.links[target], nil
	}
	return target, nil
}

// place records n at path. isRepeated is true for a directory that is there
// already, and the same.
func (t *Tree) place(path string, n node) (isRepeated bool, err error) {
	if err := t.placeParents(path); err != nil {
		return false, err
	}
	have, exists := t.nodes[path]
	switch {
	case path == "." && n.kind != dir:
		return false, fmt.Errorf("the root is a %s", n.kind)
	case !exists:
		return false, t.put(path, n)
	case have.kind == impliedDir && n.kind == dir:
		t.nodes[path] = n
		return false, nil
	case have == n && n.kind == dir:
		return true, nil
	case have.kind == dir && n.kind == dir:
		return false, fmt.Errorf("the directory %q is there twice, with different modes or owners", path)
	}
	return false, fmt.Errorf("%q is there twice, as a %s and as a %s", path, have.kind, n.kind)
}

// placeParents checks that every directory above path is one.
func (t *Tree) placeParents(path string) error {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		parent := path[:i]
		switch n, exists := t.nodes[parent]; {
		case !exists:
			if err := t.put(parent, node{kind: impliedDir}); err != nil {
				return err
			}
		case n.kind == dir || n.kind == impliedDir:
			return nil // and all above it are
		case n.kind == symlink:
			return fmt.Errorf("%q goes through the symlink %q of the same package", path, parent)
		default:
			return fmt.Errorf("%q is in %q, which is a %s", path, parent, n.kind)
		}
	}
	return nil
}

func (t *Tree) put(path string, n node) error {
	t.nameBytes += len(path)
	if len(t.nodes) >= maxEntries || t.nameBytes > maxNameBytes {
		return fmt.Errorf("the package has more than %d files and directories, or %d bytes of names, %s", maxEntries, maxNameBytes, fixed)
	}
	t.nodes[path] = n
	return nil
}

// merge returns the path of e after the usr-merge: what a package ships in
// /bin, /sbin or /lib* is in /usr/bin and so on. The links that make it so, of
// the package base-files, stay.
func (t *Tree) merge(e *pkginfo.Entry, link string) (string, error) {
	if !t.usrMerge {
		return e.Path, nil
	}
	if !isMerged(e.Path) || e.Type == pkginfo.Directory {
		return MergedPath(e.Path), nil
	}
	if e.Type != pkginfo.Symlink || strings.TrimPrefix(strings.TrimSuffix(link, "/"), "/") != "usr/"+e.Path {
		return "", fmt.Errorf("%q is there, which must be a directory or a symlink to usr/%s", e.Path, e.Path)
	}
	return e.Path, nil
}

// MergedPath returns where a clean path is after the usr-merge.
func MergedPath(path string) string {
	first, _, _ := strings.Cut(path, "/")
	if isMerged(first) {
		return "usr/" + path
	}
	return path
}

func isMerged(name string) bool {
	switch name {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		return true
	}
	return false
}

// CleanName returns the path in the root that a name in the archive stands for.
// As with tar, a slash before it does not count.
func CleanName(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("a name is empty")
	}
	if len(name) > MaxPath {
		return "", fmt.Errorf("a name is %d bytes long, and Linux allows %d", len(name), MaxPath)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("the name %q has a NUL in it", name)
	}
	if isClean(name) {
		return strings.TrimPrefix(name, "/"), nil
	}
	var b strings.Builder
	b.Grow(len(name))
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return "", fmt.Errorf("the name %q leaves the root", name)
		case len(part) > maxComponent:
			return "", fmt.Errorf("the name %q has a part of more than %d bytes", name, maxComponent)
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(part)
	}
	if b.Len() == 0 {
		return ".", nil
	}
	return b.String(), nil
}

// isClean reports whether a name, but for a slash before it, is the path that it
// stands for, as most are. What it does not report is looked at part by part.
func isClean(name string) bool {
	start := 0
	if name[0] == '/' {
		start = 1
	}
	for i := start; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if n := i - start; n == 0 || n > maxComponent || name[start] == '.' && n <= 2 {
			return false
		}
		start = i + 1
	}
	return true
}
